package rtsp

import (
	"context"
	"errors"
	"net"
	"sync"
	"syscall"
	"time"
)

// listener gives gortsplib connections of type *conn.
type listener struct {
	*net.TCPListener
	ctx context.Context
	srv *Server
}

// Accept waits for a connection within the limit. Only a closed listener is an
// error: gortsplib would end the whole server for any other.
func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.AcceptTCP()
		switch {
		case errors.Is(err, net.ErrClosed):
			return nil, err
		case err != nil:
			l.pause(err)
		case !l.srv.admit():
			c.Close()
		default:
			return newConn(c, l.srv), nil
		}
	}
}

// pause lets descriptors become free again after ENFILE or EMFILE.
func (l *listener) pause(err error) {
	if errors.Is(err, syscall.ECONNABORTED) {
		return
	}
	l.srv.complain("cannot accept RTSP connections", err)
	select {
	case <-l.ctx.Done():
	case <-time.After(acceptRetryWait):
	}
}

// conn is a viewer's connection. gortsplib writes its responses and a viewer's
// goroutine its frames; the mutex keeps each of them whole. Deadlines are set
// here alone: what gortsplib asks for is ignored.
type conn struct {
	net.Conn              // what is read from and written to: raw, or TLS over it
	raw      *net.TCPConn // for deadlines and options
	tls      bool         // the connection is RTSPS
	srv      *Server
	once     sync.Once

	mu       sync.Mutex
	deadline time.Time
	written  func() // runs once, after the next response has been written

	// The rest belongs to gortsplib's goroutine for this connection; its session's
	// goroutine uses it while that one waits for an answer.
	nonce     string
	wrong     int
	shown     string // the password that was right; "": none was yet
	described *offer
	choice    *transport // what a SETUP gets, nil: none of what it asks for
	setup     *answered  // a SETUP that is being answered
	teardown  bool       // a TEARDOWN is being answered
	viewer    *viewer    // plays over this connection
}

func newConn(c *net.TCPConn, srv *Server) *conn {
	_ = c.SetWriteBuffer(srv.cfg.SendBuffer) // an advice: without it memory per stalled viewer is larger
	_ = c.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 10 * time.Second, Count: 3})
	setUserTimeout(c, userTimeout)
	_ = c.SetReadDeadline(time.Now().Add(srv.cfg.LoginTimeout))
	n := &conn{Conn: c, raw: c, srv: srv}
	srv.meet(n)
	return n
}

// Write sends one response of gortsplib.
func (c *conn) Write(b []byte) (int, error) {
	c.mu.Lock()
	n, err := c.write(b)
	then := c.written
	c.written = nil
	c.mu.Unlock()
	if then != nil && err == nil {
		then()
	}
	return n, err
}

// writeMedia sends whole interleaved packets, unless ctx has ended: then the
// response to a TEARDOWN may have been written, and nothing may follow it.
func (c *conn) writeMedia(ctx context.Context, b []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	_, err := c.write(b)
	return err
}

// write renews the deadline only now and then: it costs more than it looks.
func (c *conn) write(b []byte) (int, error) {
	now := time.Now()
	if c.deadline.Sub(now) < c.srv.cfg.WriteTimeout/10*9 {
		c.deadline = now.Add(c.srv.cfg.WriteTimeout)
		if err := c.raw.SetWriteDeadline(c.deadline); err != nil {
			return 0, err
		}
	}
	return c.Conn.Write(b)
}

// afterNextWrite has f run when the response that is now being made is out.
func (c *conn) afterNextWrite(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.written = f
}

// mayIdle takes the deadline away from, or gives it back to, a connection.
func (c *conn) mayIdle(ok bool) {
	var t time.Time
	if !ok {
		t = time.Now().Add(c.srv.cfg.LoginTimeout)
	}
	_ = c.raw.SetReadDeadline(t) // fails on a closed connection only
}

// SetDeadline, SetReadDeadline and SetWriteDeadline are gortsplib's, ignored.
func (c *conn) SetDeadline(time.Time) error      { return nil }
func (c *conn) SetReadDeadline(time.Time) error  { return nil }
func (c *conn) SetWriteDeadline(time.Time) error { return nil }

// Close ends the connection, and a write that waits on it.
func (c *conn) Close() error {
	err := c.raw.Close()
	c.once.Do(func() { c.srv.leave(c) })
	return err
}
