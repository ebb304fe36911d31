package upload

import (
	"context"
	"io"
	"net"
	"os"
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

	mu     sync.Mutex
	fail   func(addr string) error // of dialling
	rate   int                     // bytes a second that the uplink takes, 0: any
	detour *memNet                 // where connections end up
	after  func()
	dials  int
	free   time.Time // when it can take more
	sent   []sample
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
	fail, to := m.fail, m
	if m.detour != nil {
		to = m.detour
	}
	m.dials++
	m.mu.Unlock()
	if fail != nil {
		if err := fail(addr); err != nil {
			return nil, err
		}
	}
	ours, theirs := newPair()
	select {
	case to.accept <- theirs:
		return &memConn{Conn: ours, net: m}, nil
	case <-to.done:
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

// turn is how long n bytes wait until the uplink, which all share, has taken them.
func (m *memNet) turn(n int) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.rate == 0 {
		return 0
	}
	now := time.Now()
	if m.free.Before(now) {
		m.free = now
	}
	m.free = m.free.Add(time.Duration(n) * time.Second / time.Duration(m.rate))
	return m.free.Sub(now)
}

func (c *memConn) Write(p []byte) (int, error) {
	time.Sleep(c.net.turn(len(p)))
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

// end is one end of a connection with room for some bytes on their way: a
// writer that closes never waits for a reader, which net.Pipe's does.
type end struct {
	in, out *way
}

func newPair() (a, b net.Conn) {
	x, y := &way{changed: make(chan struct{})}, &way{changed: make(chan struct{})}
	return &end{x, y}, &end{y, x}
}

// way is one direction.
type way struct {
	mu       sync.Mutex
	buf      []byte
	closed   bool
	deadline [2]time.Time // of reading, of writing
	changed  chan struct{}
}

const wayRoom = 64 << 10

func (w *way) wake() {
	close(w.changed)
	w.changed = make(chan struct{})
}

// do waits until f, called under mu, says that it is done.
func (w *way) do(deadline int, f func() bool) error {
	for {
		w.mu.Lock()
		if d := w.deadline[deadline]; !d.IsZero() && !time.Now().Before(d) {
			w.mu.Unlock()
			return os.ErrDeadlineExceeded
		}
		if f() {
			w.wake()
			w.mu.Unlock()
			return nil
		}
		changed := w.changed
		w.mu.Unlock()
		<-changed
	}
}

func (w *way) setDeadline(i int, t time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.deadline[i] = t
	w.wake()
	if d := time.Until(t); !t.IsZero() && d > 0 {
		time.AfterFunc(d, func() { w.mu.Lock(); w.wake(); w.mu.Unlock() })
	}
}

func (w *way) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	w.wake()
}

func (e *end) Read(p []byte) (n int, err error) {
	late := e.in.do(0, func() bool {
		n = copy(p, e.in.buf)
		e.in.buf = e.in.buf[n:]
		if n == 0 && e.in.closed {
			err = io.EOF
		}
		return n > 0 || err != nil || len(p) == 0
	})
	if late != nil {
		err = late
	}
	return n, err
}

func (e *end) Write(p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		late := e.out.do(1, func() bool {
			if e.out.closed {
				err = io.ErrClosedPipe
				return true
			}
			if !e.out.deadline[1].IsZero() && len(e.out.buf) >= wayRoom {
				err = os.ErrDeadlineExceeded // TLS says good-bye, holding a mutex: virtual time would stand still
				return true
			}
			k := min(len(p)-n, wayRoom-len(e.out.buf))
			e.out.buf = append(e.out.buf, p[n:n+k]...)
			n += k
			return k > 0
		})
		if late != nil {
			err = late
		}
	}
	return n, err
}

func (e *end) Close() error {
	e.in.close()
	e.out.close()
	return nil
}

func (*end) LocalAddr() net.Addr                  { return memAddr{} }
func (*end) RemoteAddr() net.Addr                 { return memAddr{} }
func (e *end) SetReadDeadline(t time.Time) error  { e.in.setDeadline(0, t); return nil }
func (e *end) SetWriteDeadline(t time.Time) error { e.out.setDeadline(1, t); return nil }
func (e *end) SetDeadline(t time.Time) error {
	e.SetReadDeadline(t)
	return e.SetWriteDeadline(t)
}

// bubble runs f in virtual time.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		t.Cleanup(func() { time.Sleep(time.Hour) }) // handlers that play dead end, too
		f(t)
	})
}
