package rtsp

import (
	"bytes"
	"context"
	"crypto/tls"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// conn is a viewer's connection. gortsplib writes its responses and a viewer's
// goroutine its frames; the mutex keeps each of them whole. Deadlines are set
// here alone: what gortsplib asks for is ignored.
type conn struct {
	net.Conn              // what is read from and written to: raw, or TLS over it
	raw      *net.TCPConn // for deadlines and options
	tls      bool         // it came to TLSAddress
	srv      *Server
	once     sync.Once
	parting  atomic.Bool // being closed

	asked *group // that it was told of; guarded by Server.mu
	gone  bool   // has been counted out; guarded by Server.mu

	mu       sync.Mutex
	deadline time.Time // of writes; over TLS its own lock guards it
	written  func()    // runs once, after the next response has been written

	// Reading is gortsplib's, which waits for an answer to be written before it reads on.
	greeted bool
	in      framer

	// The rest belongs to gortsplib's goroutine for this connection; its session's
	// goroutine uses it while that one waits for an answer.
	nonce     string
	wrong     int
	shown     string // the password that was right; "": none was yet
	described *offer
	terms     *terms     // of the next session, by what was described
	choice    *transport // what a SETUP gets, nil: none of what it asks for
	setup     *answered  // a SETUP that is being answered
	teardown  bool       // a TEARDOWN is being answered
	viewer    *viewer    // plays over this connection
}

func newConn(c *net.TCPConn, srv *Server, secure *tls.Config) *conn {
	_ = c.SetWriteBuffer(srv.cfg.SendBuffer) // an advice: without it memory per stalled viewer is larger
	srv.vanish.mind(c)
	_ = c.SetReadDeadline(time.Now().Add(srv.cfg.LoginTimeout))
	n := &conn{Conn: c, raw: c, srv: srv}
	if secure != nil {
		n.tls, n.Conn = true, tls.Server(wire{TCPConn: c, c: n}, secure)
	}
	srv.meet(n)
	return n
}

// Read gives gortsplib what the client sends, as long as that is RTSP within its
// bounds.
func (c *conn) Read(b []byte) (n int, err error) {
	if !c.greeted {
		c.greeted = true
		if err := c.handshake(); err != nil {
			return 0, err
		}
		n, err = c.greet(b)
	} else {
		n, err = c.Conn.Read(b)
	}
	if wrong := c.in.take(b[:n]); wrong != nil {
		c.srv.count.malformed.Add(1)
		c.srv.slowLog(&c.srv.garbageLog, "RTSP connection ended for what came over it", zap.Stringer("address", c.RemoteAddr()), zap.Error(wrong))
		return 0, wrong
	}
	return n, err
}

// greet reads until it is clear whether the client speaks HTTP, which is served
// here and now.
func (c *conn) greet(b []byte) (n int, err error) {
	for err == nil && n < len(b) {
		var m int
		m, err = c.Conn.Read(b[n:])
		n += m
		if yes, known := looksLikeHTTP(b[:n]); yes {
			return 0, c.srv.serveHTTP(c, bytes.Clone(b[:n]))
		} else if known {
			break
		}
	}
	return n, err
}

// Write sends one response of gortsplib.
func (c *conn) Write(b []byte) (int, error) {
	c.mu.Lock()
	n, err := c.write(b)
	then := c.written
	c.written = nil
	c.mu.Unlock()
	c.in.answered()
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

func (c *conn) write(b []byte) (int, error) {
	if !c.tls { // or else its wire does
		if err := c.renew(); err != nil {
			return 0, err
		}
	}
	return c.Conn.Write(b)
}

// renew puts the deadline of writes off, now and then: it costs more than it looks.
func (c *conn) renew() error {
	now := time.Now()
	if c.parting.Load() || c.deadline.Sub(now) >= c.srv.cfg.WriteTimeout/10*9 {
		return nil
	}
	c.deadline = now.Add(c.srv.cfg.WriteTimeout)
	err := c.raw.SetWriteDeadline(c.deadline)
	if c.parting.Load() { // since just now: part waits no longer than it said
		c.hurry()
	}
	return err
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
	err := net.ErrClosed
	c.once.Do(func() {
		c.part()
		err = c.raw.Close()
		c.srv.leave(c)
	})
	return err
}
