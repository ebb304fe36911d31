package broker

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"iid2secure.nl/camagent/cloud"
)

// cloudSide is the cloud's own connection to the engine: it hears the ask
// topics and writes the answers. It speaks the engine's plain text protocol
// over a pipe in memory (NATS client protocol: INFO, CONNECT, SUB, PUB, MSG,
// PING, PONG), of which it needs five verbs.
type cloudSide struct {
	conn net.Conn
	r    *bufio.Reader
	mu   sync.Mutex // of writing
}

// Limits of asks. R6.
const (
	askWorkers  = 4
	askQueue    = 256
	maxLine     = 4096
	cloudWrites = 10 * time.Second
)

// ask is one request of a device; the access list is why serial can be believed.
type ask struct {
	serial  cloud.Serial
	payload []byte
}

func dialCloudSide(e *engine) (*cloudSide, error) {
	user, password := e.ticket(&server.Permissions{
		Publish:   &server.SubjectPermission{Allow: []string{"cam.1.*.answer"}},
		Subscribe: &server.SubjectPermission{Allow: []string{"cam.1.*.ask"}},
	})
	conn, err := e.srv.InProcessConn()
	if err != nil {
		return nil, err
	}
	c := &cloudSide{conn: conn, r: bufio.NewReaderSize(conn, maxLine)}
	if _, err := c.line(); err != nil { // INFO
		conn.Close()
		return nil, err
	}
	hello, err := json.Marshal(map[string]any{"verbose": false, "pedantic": false, "headers": false, "lang": "go", "version": "1",
		"protocol": 1, "user": user, "pass": password})
	if err == nil {
		err = c.write("CONNECT " + string(hello) + "\r\nSUB cam.1.*.ask 1\r\nPING\r\n")
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return c, c.ready()
}

// ready waits until the subscription stands.
func (c *cloudSide) ready() error {
	for {
		line, err := c.line()
		if err != nil {
			return err
		}
		switch {
		case line == "PONG":
			return nil
		case line == "PING":
			if err := c.write("PONG\r\n"); err != nil {
				return err
			}
		case strings.HasPrefix(line, "-ERR"):
			return errors.New("broker's engine refuses the cloud: " + line)
		}
	}
}

// listen reads until the connection ends; each ask is handed to take.
func (c *cloudSide) listen(take func(ask)) error {
	for {
		line, err := c.line()
		if err != nil {
			return err
		}
		switch verb, rest, _ := strings.Cut(line, " "); verb {
		case "PING":
			err = c.write("PONG\r\n")
		case "MSG":
			var a ask
			if a, err = c.message(rest); err == nil {
				take(a)
			}
		case "-ERR":
			err = errors.New("broker's engine: " + line)
		}
		if err != nil {
			return err
		}
	}
}

// message reads the rest of "MSG <subject> <sid> [reply] <bytes>" and its payload.
func (c *cloudSide) message(args string) (ask, error) {
	f := strings.Fields(args)
	if len(f) < 3 {
		return ask{}, errMalformed
	}
	size, err := strconv.Atoi(f[len(f)-1])
	if err != nil || size < 0 || size > maxPacket {
		return ask{}, errMalformed
	}
	b := make([]byte, size+2)
	if _, err := io.ReadFull(c.r, b); err != nil {
		return ask{}, err
	}
	serial, ok := strings.CutPrefix(f[0], "cam.1.")
	serial, ok2 := strings.CutSuffix(serial, ".ask")
	if !ok || !ok2 {
		return ask{}, errMalformed
	}
	return ask{cloud.Serial(serial), b[:size]}, nil
}

func (c *cloudSide) answer(s cloud.Serial, payload []byte) error {
	return c.write("PUB " + subject(s) + ".answer " + strconv.Itoa(len(payload)) + "\r\n" + string(payload) + "\r\n")
}

func (c *cloudSide) write(s string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conn.SetWriteDeadline(time.Now().Add(cloudWrites))
	_, err := io.WriteString(c.conn, s)
	return err
}

func (c *cloudSide) line() (string, error) {
	b, err := c.r.ReadSlice('\n')
	if err != nil {
		return "", fmt.Errorf("broker's engine: %w", err)
	}
	return strings.TrimRight(string(b), "\r\n"), nil
}

// serveAsks answers asks until ctx ends or the connection fails. Those that
// find the queue full are dropped and counted: the device asks again.
func (b *Broker) serveAsks(ctx context.Context, c *cloudSide) error {
	queue := make(chan ask, askQueue)
	var workers sync.WaitGroup
	for range askWorkers {
		workers.Go(func() {
			for a := range queue {
				b.handle(ctx, c, a)
			}
		})
	}
	err := c.listen(func(a ask) {
		select {
		case queue <- a:
		default:
			b.dropped.Add(1)
		}
	})
	close(queue)
	workers.Wait()
	return err
}

func (b *Broker) handle(ctx context.Context, c *cloudSide, a ask) {
	payload := b.opt.Ask(ctx, a.serial, a.payload)
	if payload == nil {
		return
	}
	if err := c.answer(a.serial, payload); err != nil && ctx.Err() == nil {
		b.dropped.Add(1)
	}
}
