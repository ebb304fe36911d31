package local

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"iid2secure.nl/camagent/cloud"
)

// Conn is an app's connection to a camera. It is a [cloud.Conn]; Close may be
// called from any goroutine.
type Conn struct {
	raw    net.Conn
	in     *bufio.Reader
	client string
	once   sync.Once
	done   chan struct{}
}

var _ cloud.Conn = (*Conn)(nil)

// Dial connects to a camera (host:port). Who is there is for the session to find out.
func Dial(ctx context.Context, address string) (*Conn, error) {
	var d net.Dialer
	raw, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	c := newConn(raw)
	if err := c.Send(ctx, hello(c.client)); err != nil {
		return nil, fmt.Errorf("%s: %w", address, err)
	}
	return c, nil
}

func newConn(raw net.Conn) *Conn {
	return &Conn{raw: raw, in: bufio.NewReaderSize(raw, headLen+maxFrame), client: newClient(), done: make(chan struct{})}
}

// Client is the id under which the camera knows this connection: for
// channel.ClientConfig.
func (c *Conn) Client() string { return c.client }

// Send sends one message. After an error the connection is closed: half a frame
// may have left.
func (c *Conn) Send(ctx context.Context, msg []byte) error {
	frame, err := appendFrame(make([]byte, 0, headLen+len(msg)), msg)
	if err != nil {
		return err
	}
	deadline, _ := ctx.Deadline()
	stop, err := during(ctx, c.raw.SetWriteDeadline, deadline)
	if err != nil {
		return err
	}
	_, err = c.raw.Write(frame)
	stop()
	if err != nil {
		c.Close()
		return because(ctx, err)
	}
	return nil
}

// Receive waits for the camera's next message. When ctx ends it, the next call
// goes on where this one stopped.
func (c *Conn) Receive(ctx context.Context) ([]byte, error) {
	deadline, _ := ctx.Deadline()
	stop, err := during(ctx, c.raw.SetReadDeadline, deadline)
	if err != nil {
		return nil, err
	}
	defer stop()
	head, err := c.in.Peek(headLen)
	if err != nil {
		return nil, c.failed(ctx, err)
	}
	n, err := frameLen(head, maxFrame)
	if err != nil {
		c.Close()
		return nil, err
	}
	b, err := c.in.Peek(headLen + n)
	if err != nil {
		return nil, c.failed(ctx, err)
	}
	msg := append([]byte(nil), b[headLen:]...)
	_, err = c.in.Discard(len(b))
	return msg, err
}

// during applies ctx to what is done with the connection, by set, until stop.
func during(ctx context.Context, set func(time.Time) error, deadline time.Time) (stop func(), err error) {
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	set(deadline) //nolint:errcheck // what is done next tells of a closed connection
	done := make(chan struct{})
	cancel := context.AfterFunc(ctx, func() {
		defer close(done)
		set(time.Unix(1, 0)) //nolint:errcheck // it is closed then
	})
	return func() {
		if !cancel() {
			<-done // or it would meet what is done next
		}
	}, nil
}

// failed ends the connection, unless it was only ctx that ended.
func (c *Conn) failed(ctx context.Context, err error) error {
	if err = because(ctx, err); ctx.Err() == nil && !errors.Is(err, context.DeadlineExceeded) {
		c.Close()
	}
	return err
}

// because tells a context's end as such.
func because(ctx context.Context, err error) error {
	var late net.Error
	if errors.As(err, &late) && late.Timeout() {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return context.DeadlineExceeded
	}
	return err
}

// Done is closed when the connection has ended, or its end has been seen.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Close ends the connection.
func (c *Conn) Close() (err error) {
	c.once.Do(func() {
		close(c.done)
		err = c.raw.Close()
	})
	return err
}
