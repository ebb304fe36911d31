package remote

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/link"
	"iid2secure.nl/camagent/cloud/seal"

	"iid2secure.nl/camagent/cmd/camctl/internal/home"
)

// lockWait is how long others may have the broker connection.
const lockWait = 2 * time.Minute

// Broker is a connection to the account's broker. Not for several goroutines.
type Broker struct {
	app      *link.App
	name     string
	home     *home.Home
	clientID string
	timeout  time.Duration
	unlock   func()
}

// Connect connects with the account's certificate, within timeout once the
// connection is free.
func Connect(ctx context.Context, h *home.Home, a home.Account, timeout time.Duration) (*Broker, error) {
	cfg, err := a.TLS()
	if err != nil {
		return nil, err
	}
	waiting, cancel := context.WithTimeout(ctx, lockWait)
	defer cancel()
	unlock, err := h.Lock(waiting, "broker")
	if errors.Is(err, home.ErrLocked) && ctx.Err() == nil {
		return nil, fmt.Errorf("another camctl of %s has had the broker connection for %v", h.Dir(), lockWait)
	}
	if err != nil {
		return nil, err
	}
	dialling, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	app, err := link.DialApp(dialling, link.AppConfig{Broker: a.Broker, TLS: cfg, ClientID: a.ClientID, Log: zap.NewNop()})
	if err != nil {
		unlock()
		return nil, noBroker(ctx, a.Broker, err)
	}
	return &Broker{app: app, name: a.Broker, home: h, clientID: a.ClientID, timeout: timeout, unlock: unlock}, nil
}

// noBroker says why there is no connection.
func noBroker(ctx context.Context, broker string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("broker %s does not answer", broker)
	}
	return err // which names the broker
}

// Close ends the connection; others may have it.
func (b *Broker) Close() {
	b.app.Close()
	b.unlock()
}

// Conn opens the bare conversation with a camera, for pairing.
func (b *Broker) Conn(ctx context.Context, serial cloud.Serial) (*link.AppConn, error) {
	ctx, cancel := context.WithTimeout(ctx, b.timeout)
	defer cancel()
	conn, err := b.app.Conn(ctx, serial)
	if err != nil {
		return nil, fmt.Errorf("broker: conversation with camera %v: %w", serial, err)
	}
	return conn, nil
}

// Presence is the camera's last signed word of itself, as the broker keeps it. Who
// runs the broker can hold it back, or show an older one, and can't make one.
func (b *Broker) Presence(ctx context.Context, c home.Camera) (cloud.Presence, error) {
	ctx, cancel := context.WithTimeout(ctx, b.timeout)
	defer cancel()
	states, err := b.app.Status(ctx, c.Serial)
	if err != nil {
		return cloud.Presence{}, fmt.Errorf("broker: %w", err)
	}
	var p cloud.Presence
	select {
	case token := <-states:
		err = seal.Verify(cloud.TypPresence, c.Signing, string(token), &p)
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err == nil && (p.Serial != c.Serial || p.Epoch != c.Epoch || p.BindID != c.BindID) {
		err = errors.New("is of another camera or binding")
	}
	if err != nil {
		return cloud.Presence{}, fmt.Errorf("presence of camera %v: %w", c.Serial, err)
	}
	return p, nil
}

// Session opens a session with a paired camera by this broker alone; the
// connection stays when it is closed.
func (b *Broker) Session(ctx context.Context, o home.Owner, c home.Camera) (*Session, error) {
	t := Target{Home: b.home, Owner: o, Camera: c, Timeout: b.timeout, LAN: Off}
	l, err := b.line(ctx, t)
	if err != nil {
		return nil, err
	}
	return &Session{target: t, line: l}, nil
}

func (b *Broker) line(ctx context.Context, t Target) (*line, error) {
	conn, err := b.Conn(ctx, t.Camera.Serial)
	if err != nil {
		return nil, err
	}
	l := &line{kind: broker, at: b.name, lost: b.app.Done(), close: func() { conn.Close() }}
	dialling, cancel := context.WithTimeout(ctx, b.timeout)
	defer cancel()
	if l.client, err = t.dial(dialling, conn, b.clientID); err != nil {
		conn.Close()
		return nil, t.why(ctx, l, err)
	}
	return l, nil
}

// byBroker opens a line with a connection of its own.
func (t Target) byBroker(ctx context.Context) (*line, error) {
	if t.NoAccount != nil {
		return nil, t.NoAccount
	}
	b, err := Connect(ctx, t.Home, t.Account, t.Timeout)
	if err != nil {
		return nil, err
	}
	l, err := b.line(ctx, t)
	if err != nil {
		b.Close()
		return nil, err
	}
	conversation := l.close
	l.close = func() {
		conversation()
		b.Close()
	}
	return l, nil
}
