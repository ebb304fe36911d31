package local

import (
	"bytes"
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// proof is a message of the camera that shows who its client is.
var proof = []byte("proof")

func proves(msg []byte) bool { return bytes.Equal(msg, proof) }

// pipes is a listener whose connections are pipes from addresses of a test's choice.
type pipes struct {
	in   chan net.Conn
	once sync.Once
	done chan struct{}
}

func (l *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-l.in:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipes) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(10, 0, 0, 9), Port: 8555} }

type from struct {
	net.Conn
	addr net.Addr
}

func (c from) RemoteAddr() net.Addr { return c.addr }

// rig is a server in a bubble. What clients send is kept, unless held.
type rig struct {
	*Server

	t    *testing.T
	l    *pipes
	mu   sync.Mutex
	got  []Message
	held bool
}

// bubble runs f with a server in simulated time.
func bubble(t *testing.T, f func(t *testing.T, r *rig)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &rig{Server: NewServer(Config{Proves: proves}), t: t, l: &pipes{in: make(chan net.Conn), done: make(chan struct{})}}
		ctx, cancel := context.WithCancel(context.Background())
		var work sync.WaitGroup
		work.Go(func() { r.serve(ctx, r.l, func() {}) })
		work.Go(func() {
			for {
				select {
				case m := <-r.Inbox():
					r.mu.Lock()
					r.got = append(r.got, m)
					r.mu.Unlock()
				case <-ctx.Done():
					return
				}
			}
		})
		defer func() {
			cancel()
			work.Wait()
			require.Zero(t, r.waiting(), "bytes are still counted")
			require.Zero(t, r.Stats().Connections)
			require.Empty(t, r.names)
		}()
		f(t, r)
	})
}

// waiting is what is queued for all.
func (r *rig) waiting() int {
	r.Server.mu.Lock()
	defer r.Server.mu.Unlock()
	return r.queued
}

// connect opens a raw connection from an address.
func (r *rig) connect(ip string) net.Conn {
	r.t.Helper()
	near, far := net.Pipe()
	r.l.in <- from{far, &net.TCPAddr{IP: net.ParseIP(ip), Port: 50000}}
	synctest.Wait()
	return near
}

// join opens a connection and says hello; with member, the camera has spoken in a
// session with it.
func (r *rig) join(ip string, member bool) *Conn {
	r.t.Helper()
	c := newConn(r.connect(ip))
	require.NoError(r.t, c.Send(r.t.Context(), hello(c.client)))
	synctest.Wait()
	if member {
		require.True(r.t, r.Send(c.client, proof))
		got, err := c.Receive(r.t.Context())
		require.NoError(r.t, err)
		require.Equal(r.t, proof, got)
	}
	return c
}

func (r *rig) messages() []Message {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Message(nil), r.got...)
}

// open tells whether the server has kept a connection, which must have got nothing.
func open(t *testing.T, c net.Conn) bool {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(time.Millisecond)) // a pipe that is closed refuses that
	n, err := c.Read(make([]byte, 1))
	require.Zero(t, n, "the camera has said something")
	return err != io.EOF
}
