package rtsp

import (
	"context"
	"errors"
	"net"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/bluenviron/gortsplib/v4"
	"github.com/bluenviron/gortsplib/v4/pkg/base"
	"github.com/bluenviron/gortsplib/v4/pkg/description"
	"github.com/bluenviron/gortsplib/v4/pkg/format"
	"github.com/pion/rtp"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

// R6: viewers that come and go, politely or not, leave no goroutine, no file and
// no memory. Not parallel: it counts for the whole process. make bench does the
// same with twenty thousand, from outside.
func TestR6_JoinsAndLeavesLeaveNothing(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Log = zap.NewNop() }) // the test's log grows
	r.play()
	r.visits(60) // for what is made once
	before := r.holds(nil)
	r.visits(500)
	after := r.holds(&before)
	require.Equal(t, before.files, after.files, "open files")
	require.Less(t, after.heap-before.heap, 500*500, "bytes on the heap, of 500 visits")
}

// visits has n viewers come and go, some at a time.
func (r *rig) visits(n int) {
	r.t.Helper()
	next := make(chan int)
	errs := make(chan error, n)
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() {
			for i := range next {
				errs <- r.visit(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	all.Wait()
	for range n {
		require.NoError(r.t, <-errs)
	}
}

// visit looks at a picture and leaves: by TEARDOWN over TCP and UDP, by closing
// the connection, by resetting it.
func (r *rig) visit(i int) error {
	var conn *net.TCPConn
	c := gortsplib.Client{
		ReadTimeout:   patience,
		OnDecodeError: func(error) {}, OnPacketsLost: func(uint64) {}, // it leaves in the middle of something
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			nc, err := new(net.Dialer).DialContext(ctx, network, address)
			conn, _ = nc.(*net.TCPConn)
			return nc, err
		},
	}
	transport := gortsplib.TransportTCP
	if i%4 == 2 {
		transport = gortsplib.TransportUDP
	}
	c.Transport = &transport
	if err := r.look(&c); err != nil {
		return err
	}
	defer c.Close()
	switch i % 4 {
	case 1:
		return conn.Close()
	case 3:
		return errors.Join(conn.SetLinger(0), conn.Close())
	}
	return nil
}

// look plays until the end of a picture is there.
func (r *rig) look(c *gortsplib.Client) error {
	u, err := base.ParseURL(r.url("main"))
	if err != nil {
		return err
	}
	if err := c.Start(u.Scheme, u.Host); err != nil {
		return err
	}
	seen := make(chan struct{})
	if err := start(c, u, sync.OnceFunc(func() { close(seen) })); err != nil {
		c.Close()
		return err
	}
	select {
	case <-seen:
		return nil
	case <-time.After(patience):
		c.Close()
		return errors.New("no picture came")
	}
}

func start(c *gortsplib.Client, u *base.URL, seen func()) error {
	desc, _, err := c.Describe(u)
	if err != nil {
		return err
	}
	if err := c.SetupAll(desc.BaseURL, desc.Medias); err != nil {
		return err
	}
	c.OnPacketRTPAny(func(_ *description.Media, _ format.Format, p *rtp.Packet) {
		if p.Marker {
			seen()
		}
	})
	_, err = c.Play(nil)
	return err
}

// holdings is what a process has.
type holdings struct{ goroutines, files, heap int }

// holds waits until the server knows of no viewer, and has no more goroutines
// than before.
func (r *rig) holds(before *holdings) (h holdings) {
	r.t.Helper()
	eventually(r.t, "viewers or connections are left", func() bool {
		s := r.Stats()
		return s.Viewers == 0 && s.Conns == 0
	})
	calm := 0 // how often in a row there were as many
	eventually(r.t, "goroutines are left", func() bool {
		n := runtime.NumGoroutine()
		if n != h.goroutines || before != nil && n > before.goroutines {
			calm = 0
		}
		h.goroutines = n
		calm++
		return calm > 20
	})
	list, err := os.ReadDir("/proc/self/fd")
	require.NoError(r.t, err)
	h.files = len(list)
	runtime.GC()
	runtime.GC() // what pools hold goes at the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	h.heap = int(m.HeapAlloc)
	return h
}
