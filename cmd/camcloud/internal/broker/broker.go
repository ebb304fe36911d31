// Package broker is camcloud's MQTT broker: an embedded engine (NATS with
// JetStream) behind a guard that ties every connection to its certificate.
//
// It is trusted for delivery only. A device may write
// cam/1/<own serial>/{out/#,status,event,ask} and read {in/#,answer}; an app
// may write in/<own client> and read out/<own client>, status and event of the
// cameras of its account, and in and out alone of those it has an outstanding
// claim token for. Everything else is denied, wills included. What an app may
// do is fixed when it connects. Denied publishes are acknowledged and thrown
// away, denied subscriptions get the failure code (MQTT 3.1.1, 3.3.5, 3.9.3).
//
// The broker hands a device's asks to Options.Ask and delivers the answer; it
// understands no payload.
package broker

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"sync"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cmd/camcloud/internal/store"
)

// MaxConnections is how many peers may be connected at a time. R6.
const MaxConnections = 4096

// Options of a Broker; all but Capture are required.
type Options struct {
	Listener    net.Listener // Run closes it
	Certificate tls.Certificate
	Devices     *x509.CertPool    // roots of the factory
	Apps        *x509.Certificate // the authority that signs the certificates of apps
	// Device reads the serial out of a device's certificate whose chain is verified.
	Device func(*x509.Certificate) (cloud.Serial, error)
	Store  *store.Store
	Dir    string // of the engine: retained messages and sessions
	// Ask answers a device's request; nil is no answer. It is called from
	// several goroutines, and serial is certain.
	Ask func(ctx context.Context, serial cloud.Serial, payload []byte) []byte
	Log *zap.Logger
	// Capture, if set, gets all that passes in both directions, as it is inside
	// TLS: for tests that search it. Writes are serialised.
	Capture io.Writer
}

// Broker is made by New and runs in Run. Its methods may be called from any
// goroutine while it runs.
type Broker struct {
	opt    Options
	tls    *tls.Config
	engine *engine

	ready chan struct{}

	capture sync.Mutex
	mu      sync.Mutex
	online  map[*session]struct{}
}

// session is a connection that was let in.
type session struct {
	peer peer
	end  context.CancelFunc
}

// New starts nothing.
func New(o Options) *Broker {
	return &Broker{opt: o, tls: serverTLS(o), ready: make(chan struct{}), online: make(map[*session]struct{})}
}

// Ready is closed when connections are served.
func (b *Broker) Ready() <-chan struct{} { return b.ready }

// Run serves until ctx ends; then it returns nil after everything has ended
// and what is retained is on disk.
func (b *Broker) Run(outer context.Context) error {
	defer b.opt.Listener.Close()
	e, err := startEngine(b.opt.Dir, b.opt.Log)
	if err != nil {
		return err
	}
	defer e.close()
	b.engine = e
	own, err := dialCloudSide(e)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(outer)
	stop := context.AfterFunc(ctx, func() { b.opt.Listener.Close() })
	defer stop()
	group.Go(func() error { return b.serveAsks(ctx, own) })
	group.Go(func() error { return b.accept(ctx) })
	close(b.ready)
	err = group.Wait()
	if outer.Err() != nil {
		return nil
	}
	return fmt.Errorf("broker: %w", err)
}

func (b *Broker) accept(ctx context.Context) error {
	var conns sync.WaitGroup
	defer conns.Wait()
	slots := make(chan struct{}, MaxConnections)
	for {
		conn, err := b.opt.Listener.Accept()
		if err != nil {
			return err
		}
		select {
		case slots <- struct{}{}:
		default:
			conn.Close()
			continue
		}
		conns.Go(func() {
			defer func() { <-slots }()
			b.serve(ctx, conn)
		})
	}
}

// join lists a connection until the returned func is called.
func (b *Broker) join(p peer, end context.CancelFunc) func() {
	s := &session{p, end}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.online[s] = struct{}{}
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.online, s)
	}
}

// Online tells whether a device is connected: a hint.
func (b *Broker) Online(serial cloud.Serial) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for s := range b.online {
		if s.peer.serial == serial {
			return true
		}
	}
	return false
}

// Drop ends the connections of an account's apps, so that they come back with
// what they may do now.
func (b *Broker) Drop(account string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for s := range b.online {
		if s.peer.account == account && account != "" {
			s.end()
		}
	}
}

func (b *Broker) captured(p []byte) {
	if b.opt.Capture == nil {
		return
	}
	b.capture.Lock()
	defer b.capture.Unlock()
	b.opt.Capture.Write(p)
}
