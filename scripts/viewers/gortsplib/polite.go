package main

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"sync/atomic"
	"time"
)

// politeConn waits for the answer to TEARDOWN before it is closed. The library
// does not, so that its kernel would refuse the answer, which looks like a fault
// in a capture.
type politeConn struct {
	net.Conn
	asked, answered atomic.Bool
}

// answerWait is how long a camera may take for it.
const answerWait = 5 * time.Second

func dialPolitely(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, network, address)
	return &politeConn{Conn: c}, err
}

func (c *politeConn) Write(b []byte) (int, error) {
	if bytes.HasPrefix(b, []byte("TEARDOWN ")) {
		c.asked.Store(true)
	}
	return c.Conn.Write(b)
}

func (c *politeConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.asked.Load() && bytes.Contains(b[:n], []byte("RTSP/1.0 200")) {
		c.answered.Store(true)
	}
	return n, err
}

// Close reads what the library reads no more; it may go on reading meanwhile.
func (c *politeConn) Close() error {
	rest := make([]byte, 64<<10)
	for begin := time.Now(); c.asked.Load() && !c.answered.Load() && time.Since(begin) < answerWait; {
		c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		if _, err := c.Read(rest); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
	}
	return c.Conn.Close()
}
