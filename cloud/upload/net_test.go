package upload

import (
	"context"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// memNet is a network in memory, for virtual time: connections to one listener.
type memNet struct {
	accept chan net.Conn
	done   chan struct{}
	once   sync.Once

	mu    sync.Mutex
	fail  func(addr string) error // of dialling
	rate  int                     // bytes a second that the uplink takes, 0: any
	dials int
	sent  []sample
}

// sample is bytes that the camera has sent at a time.
type sample struct {
	at time.Time
	n  int
}

func newMemNet() *memNet { return &memNet{accept: make(chan net.Conn), done: make(chan struct{})} }

type memAddr struct{}

func (memAddr) Network() string { return "mem" }
func (memAddr) String() string  { return "example.com:443" }

func (*memNet) Addr() net.Addr { return memAddr{} }

func (m *memNet) Close() error {
	m.once.Do(func() { close(m.done) })
	return nil
}

func (m *memNet) Accept() (net.Conn, error) {
	select {
	case c := <-m.accept:
		return c, nil
	case <-m.done:
		return nil, net.ErrClosed
	}
}

func (m *memNet) dial(ctx context.Context, _, addr string) (net.Conn, error) {
	m.mu.Lock()
	fail := m.fail
	m.dials++
	m.mu.Unlock()
	if fail != nil {
		if err := fail(addr); err != nil {
			return nil, err
		}
	}
	ours, theirs := net.Pipe()
	select {
	case m.accept <- theirs:
		return &memConn{Conn: ours, net: m}, nil
	case <-m.done:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// memConn counts what the camera sends, and makes it as slow as the uplink.
type memConn struct {
	net.Conn
	net *memNet
}

func (c *memConn) Write(p []byte) (int, error) {
	c.net.mu.Lock()
	rate := c.net.rate
	c.net.mu.Unlock()
	if rate > 0 {
		time.Sleep(time.Duration(len(p)) * time.Second / time.Duration(rate))
	}
	n, err := c.Conn.Write(p)
	if n == 0 {
		return n, err
	}
	c.net.mu.Lock()
	c.net.sent = append(c.net.sent, sample{time.Now(), n})
	c.net.mu.Unlock()
	return n, err
}

func (m *memNet) set(f func(m *memNet)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f(m)
}

// bubble runs f in virtual time.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, f)
}
