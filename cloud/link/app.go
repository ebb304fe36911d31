package link

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"sync"

	"go.uber.org/zap"

	"iid2secure.nl/camagent/cloud"
)

// AppConfig says where the broker is and who the app is.
type AppConfig struct {
	Broker   string      // host:port
	TLS      *tls.Config // client certificate and root pool, both required; TLS 1.3 is enforced
	ClientID string      // cloud.ValidClient; the common name of the certificate
	Log      *zap.Logger
}

// App is one connection of an owner's app to a broker, for any number of
// cameras. It does not reconnect: when it is lost, every Receive says
// ErrOffline, and the caller dials again. Safe for concurrent use.
type App struct {
	cfg  AppConfig
	wire *wire
	done chan struct{}
	once sync.Once

	mu     sync.Mutex
	conns  map[cloud.Serial]*AppConn
	states map[cloud.Serial]chan []byte
	closed bool
}

// DialApp connects, within ctx. Errors are one clear line: ErrOffline (nobody
// there), ErrUntrusted (wrong CA, name or date), ErrRefused (our certificate).
func DialApp(ctx context.Context, cfg AppConfig) (*App, error) {
	t, err := tlsConfig(cfg.Broker, cfg.TLS)
	if err != nil {
		return nil, err
	}
	if !cloud.ValidClient(cfg.ClientID) {
		return nil, fmt.Errorf("client id %.70q: only a-z, 0-9 and dash, at most 64", cfg.ClientID)
	}
	if cfg.Log == nil {
		cfg.Log = zap.NewNop()
	}
	a := &App{cfg: cfg, done: make(chan struct{}), conns: map[cloud.Serial]*AppConn{}, states: map[cloud.Serial]chan []byte{}}
	a.wire, err = openWire(ctx, wireConfig{broker: cfg.Broker, tls: t, clientID: cfg.ClientID, receive: a.receive})
	if err != nil {
		return nil, err
	}
	go a.watch()
	return a, nil
}

// watch ends with the connection, or with Close.
func (a *App) watch() {
	select {
	case <-a.wire.lost:
		a.cfg.Log.Warn("connection to the broker lost", zap.Error(a.wire.reason()))
		a.finish()
	case <-a.done:
	}
}

// finish tells everyone that the connection is over.
func (a *App) finish() {
	a.once.Do(func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.closed = true
		close(a.done)
		for _, ch := range a.states {
			close(ch)
		}
	})
}

// receive runs in the library's goroutine and only enqueues.
func (a *App) receive(topic string, payload []byte, retained bool) {
	serial, kind, client, err := cloud.SplitTopic(topic)
	if err != nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	switch c := a.conns[serial]; {
	case kind == "out" && client == a.cfg.ClientID && c != nil && !retained && len(payload) > 0:
		c.in.push(Message{Payload: payload})
	case kind == "status" && a.states[serial] != nil && !a.closed:
		newest(a.states[serial], payload)
	}
}

// newest puts v into a channel of one, in place of an older value.
func newest(ch chan []byte, v []byte) {
	select {
	case <-ch:
	default:
	}
	select {
	case ch <- v:
	default:
	}
}

// Conn opens the conversation with one camera; one at a time per camera.
func (a *App) Conn(ctx context.Context, serial cloud.Serial) (*AppConn, error) {
	c := &AppConn{app: a, serial: serial, in: newQueue(), closed: make(chan struct{})}
	a.mu.Lock()
	taken := a.conns[serial] != nil
	if !taken {
		a.conns[serial] = c
	}
	a.mu.Unlock()
	if taken {
		return nil, fmt.Errorf("camera %s: a conversation is open already", serial)
	}
	if err := a.wire.subscribe(ctx, cloud.TopicOut(serial, a.cfg.ClientID), 0); err != nil {
		a.remove(c)
		return nil, fmt.Errorf("camera %s: %w", serial, err)
	}
	return c, nil
}

func (a *App) remove(c *AppConn) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.conns[c.serial] == c {
		delete(a.conns, c.serial)
	}
}

// Status yields the payloads of the camera's status topic, retained one first;
// only the newest is kept for a slow reader. The channel is closed when the
// connection ends. Ask once per camera.
func (a *App) Status(ctx context.Context, serial cloud.Serial) (<-chan []byte, error) {
	a.mu.Lock()
	ch := a.states[serial]
	fresh := ch == nil && !a.closed
	if fresh {
		ch = make(chan []byte, 1)
		a.states[serial] = ch
	}
	a.mu.Unlock()
	if !fresh {
		return nil, fmt.Errorf("camera %s: its status is watched already, or the connection has ended", serial)
	}
	if err := a.wire.subscribe(ctx, cloud.TopicStatus(serial), 1); err != nil {
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.states, serial)
		return nil, fmt.Errorf("camera %s: %w", serial, err)
	}
	return ch, nil
}

// Done is closed when the connection has ended.
func (a *App) Done() <-chan struct{} { return a.done }

// Close ends the connection and all its Conns.
func (a *App) Close() error {
	a.finish()
	a.wire.goodbye()
	return nil
}

// AppConn is a cloud.Conn over MQTT. Its receive queue holds at most 64
// messages and 1 MiB; newer ones are dropped while it is full.
type AppConn struct {
	app    *App
	serial cloud.Serial
	in     *queue
	once   sync.Once
	closed chan struct{}
}

var _ cloud.Conn = (*AppConn)(nil)

var errConnClosed = errors.New("conversation closed")

// Send publishes msg to the camera; it returns when the message is on the wire.
func (c *AppConn) Send(ctx context.Context, msg []byte) error {
	select {
	case <-c.closed:
		return errConnClosed
	case <-c.app.done:
		return c.lost()
	default:
	}
	token, err := c.app.wire.publish(cloud.TopicIn(c.serial, c.app.cfg.ClientID), 0, false, msg)
	if err != nil {
		return err
	}
	return c.app.wire.await(ctx, token)
}

// Receive waits for the camera's next message; ErrOffline when the connection
// has ended.
func (c *AppConn) Receive(ctx context.Context) ([]byte, error) {
	for {
		if m, ok := c.in.pop(); ok {
			return m.Payload, nil
		}
		select {
		case <-c.in.ready:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-c.closed:
			return nil, errConnClosed
		case <-c.app.done:
			return nil, c.lost()
		}
	}
}

func (c *AppConn) lost() error {
	if err := c.app.wire.reason(); err != nil {
		return err
	}
	return ErrOffline
}

// Close ends the conversation; the App goes on.
func (c *AppConn) Close() error {
	c.once.Do(func() {
		close(c.closed)
		c.app.remove(c)
		if w := c.app.wire; w.client.IsConnectionOpen() {
			w.client.Unsubscribe(cloud.TopicOut(c.serial, c.app.cfg.ClientID))
		}
	})
	return nil
}
