// Package remote joins camctl to a camera: the broker connection with the
// account's certificate, and the end-to-end session inside it. It says in one
// line which of the two ends is silent. A broker knows one connection per
// certificate, so that only one camctl of a configuration folder is connected
// at a time: others wait.
package remote

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/channel"
	"iid2secure.nl/camagent/cloud/link"

	"iid2secure.nl/camagent/cmd/camctl/internal/home"
)

// lockWait is how long others may have the broker connection.
const lockWait = 2 * time.Minute

// Broker is a connection to the account's broker. Not for several goroutines.
type Broker struct {
	app      *link.App
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
	return &Broker{app: app, clientID: a.ClientID, timeout: timeout, unlock: unlock}, nil
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

// Session is a member's session with one camera; it is a command.Caller.
type Session struct {
	broker *Broker
	serial cloud.Serial
	conn   *link.AppConn
	client *channel.Client
}

// Session opens the session with a paired camera.
func (b *Broker) Session(ctx context.Context, o home.Owner, c home.Camera) (*Session, error) {
	conn, err := b.Conn(ctx, c.Serial)
	if err != nil {
		return nil, err
	}
	s := &Session{broker: b, serial: c.Serial, conn: conn}
	dialling, cancel := context.WithTimeout(ctx, b.timeout)
	defer cancel()
	s.client, err = channel.Dial(dialling, conn, channel.ClientConfig{
		Serial: c.Serial, Epoch: c.Epoch, BindID: c.BindID, ClientID: b.clientID, Static: o.Noise, Device: c.NoisePublic,
	})
	if err != nil {
		conn.Close()
		return nil, s.why(ctx, err)
	}
	return s, nil
}

// Call runs one command, within the connection's timeout.
func (s *Session) Call(ctx context.Context, name string, args, result any) error {
	calling, cancel := context.WithTimeout(ctx, s.broker.timeout)
	defer cancel()
	if err := s.client.Call(calling, name, args, result); err != nil {
		return s.why(ctx, err)
	}
	return nil
}

// Close ends the session; the connection stays.
func (s *Session) Close() {
	s.client.Close()
	s.conn.Close()
}

// SilenceError is a camera that does not answer while the broker does.
type SilenceError struct{ serial cloud.Serial }

func (e *SilenceError) Error() string {
	return fmt.Sprintf("camera %v does not answer: is it switched on and online? (the broker is connected)", e.serial)
}

// why turns an end by our own clock into who was silent; what the camera refuses
// stays as it is.
func (s *Session) why(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if refusal, ok := errors.AsType[*cloud.Refusal](err); ok {
		return refusal
	}
	select {
	case <-s.broker.app.Done():
		return errors.New("the connection to the broker was lost")
	default:
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return &SilenceError{s.serial}
	}
	return fmt.Errorf("camera %v: %w", s.serial, err)
}
