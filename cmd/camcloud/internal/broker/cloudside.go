package broker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"iid2secure.nl/camagent/cloud"
)

// cloudSide is the cloud's own connection to the engine, in memory: it hears
// the ask topics and writes the answers.
type cloudSide struct {
	conn   *nats.Conn
	asks   chan *nats.Msg
	closed chan struct{}
}

// Limits of asks. R6. One that finds the queue full is dropped and counted by
// the engine's client: the device asks again.
const (
	askWorkers = 4
	askQueue   = 256
)

// askSubject is the ask topic of every device, as the engine spells it.
const askSubject = "cam.1.*.ask"

func dialCloudSide(e *engine) (*cloudSide, error) {
	user, password := e.ticket(&server.Permissions{
		Publish:   &server.SubjectPermission{Allow: []string{"cam.1.*.answer"}},
		Subscribe: &server.SubjectPermission{Allow: []string{askSubject}},
	})
	c := &cloudSide{asks: make(chan *nats.Msg, askQueue), closed: make(chan struct{})}
	var err error
	c.conn, err = nats.Connect("", nats.InProcessServer(e.srv), nats.UserInfo(user, password), nats.NoReconnect(),
		nats.ClosedHandler(func(*nats.Conn) { close(c.closed) }))
	if err != nil {
		return nil, fmt.Errorf("broker's engine refuses the cloud: %w", err)
	}
	if _, err = c.conn.ChanSubscribe(askSubject, c.asks); err == nil {
		err = c.conn.Flush() // the subscription stands
	}
	if err != nil {
		c.conn.Close()
		return nil, fmt.Errorf("broker's engine refuses the cloud: %w", err)
	}
	return c, nil
}

// serveAsks answers asks until ctx ends or the connection fails.
func (b *Broker) serveAsks(ctx context.Context, c *cloudSide) error {
	defer c.conn.Close()
	var workers sync.WaitGroup
	for range askWorkers {
		workers.Go(func() {
			for {
				select {
				case m := <-c.asks:
					b.handle(ctx, c, m)
				case <-c.closed:
					return
				case <-ctx.Done():
					return
				}
			}
		})
	}
	workers.Wait()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return errors.New("broker's engine ended the cloud's connection")
}

// handle answers one ask. The access list is why the serial in its topic can be believed.
func (b *Broker) handle(ctx context.Context, c *cloudSide, m *nats.Msg) {
	serial, ok := strings.CutPrefix(m.Subject, "cam.1.")
	serial, ok2 := strings.CutSuffix(serial, ".ask")
	if !ok || !ok2 {
		return
	}
	s := cloud.Serial(serial)
	if payload := b.opt.Ask(ctx, s, m.Data); payload != nil {
		c.conn.Publish(subject(s)+".answer", payload)
	}
}
