package broker

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"go.uber.org/zap"

	"iid2secure.nl/camagent/cloud"
)

// engine is the embedded NATS server that speaks MQTT on a loopback port. It
// lets nobody in without a ticket: a password for one log-in, made by the
// guard, that stands for a set of permissions.
type engine struct {
	srv  *server.Server
	addr string // of its MQTT port
	log  *zap.Logger

	mu      sync.Mutex
	tickets map[string]*server.Permissions
}

// Limits of the engine. R6.
const (
	engineMemory  = 64 << 20 // bytes
	engineDisk    = 1 << 30  // bytes
	engineSubs    = 3*maxCameras + 64
	engineTimeout = 15 * time.Second
)

func startEngine(dir string, log *zap.Logger) (*engine, error) {
	e := &engine{log: log, tickets: make(map[string]*server.Permissions)}
	o := &server.Options{
		ServerName:                 "camcloud",
		DontListen:                 true,
		NoSigs:                     true,
		JetStream:                  true,
		StoreDir:                   dir,
		JetStreamMaxMemory:         engineMemory,
		JetStreamMaxStore:          engineDisk,
		DisableJetStreamBanner:     true,
		MaxSubs:                    engineSubs,
		CustomClientAuthentication: e,
		MQTT:                       server.MQTTOpts{Host: "127.0.0.1", Port: -1},
	}
	srv, err := server.NewServer(o)
	if err != nil {
		return nil, fmt.Errorf("broker's engine: %w", err)
	}
	srv.SetLoggerV2(engineLog{log}, false, false, false)
	e.srv = srv
	srv.Start()
	if !srv.ReadyForConnections(engineTimeout) {
		e.close()
		return nil, errors.New("broker's engine: not ready in time")
	}
	e.addr = net.JoinHostPort(o.MQTT.Host, strconv.Itoa(o.MQTT.Port))
	return e, nil
}

func (e *engine) close() {
	e.srv.Shutdown()
	e.srv.WaitForShutdown()
}

// ticket makes a log-in for perms; it is good once, until withdrawn.
func (e *engine) ticket(perms *server.Permissions) (user, password string) {
	password = rand.Text()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.tickets[password] = perms
	return "guarded", password
}

func (e *engine) withdraw(password string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.tickets, password)
}

// Check implements server.Authentication; the engine calls it from the
// goroutine of each connection that logs in.
func (e *engine) Check(c server.ClientAuthentication) bool {
	password := c.GetOpts().Password
	e.mu.Lock()
	perms, ok := e.tickets[password]
	delete(e.tickets, password)
	e.mu.Unlock()
	if ok {
		c.RegisterUser(&server.User{Username: c.GetOpts().Username, Permissions: perms})
	}
	return ok
}

// engineLog hands the engine's warnings and errors to ours, serials masked. Its
// notices are about itself and left out. P8.
type engineLog struct{ log *zap.Logger }

// Noticef implements server.Logger.
func (l engineLog) Noticef(string, ...any) {}

// Debugf implements server.Logger.
func (l engineLog) Debugf(string, ...any) {}

// Tracef implements server.Logger.
func (l engineLog) Tracef(string, ...any) {}

// Warnf implements server.Logger.
func (l engineLog) Warnf(format string, v ...any) { l.log.Debug(mask(format, v)) }

// Errorf implements server.Logger. What the engine calls an error is mostly a
// client's doing, a denied subject for example.
func (l engineLog) Errorf(format string, v ...any) { l.log.Info(mask(format, v)) }

// Fatalf implements server.Logger; it ends nothing: the caller of startEngine
// sees that the engine does not become ready.
func (l engineLog) Fatalf(format string, v ...any) { l.log.Error(mask(format, v)) }

// mask prints a line of the engine's with every serial in it masked.
func mask(format string, v []any) string {
	line := "broker's engine: " + fmt.Sprintf(format, v...)
	words := strings.FieldsFunc(line, func(r rune) bool { return !strings.ContainsRune(cloud.Crockford, r) })
	for _, w := range words {
		if s, err := cloud.ParseSerial(w); err == nil && s.Plain() == w {
			line = strings.ReplaceAll(line, w, s.String())
		}
	}
	return line
}
