package rtsp

import (
	"bufio"
	"net"
	"runtime"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"
)

// R1: among a hundred viewers, of whom some read nothing and some stall now and
// then, one that behaves misses no frame; those who read nothing are dropped.
// Not parallel: players beside it would have to share the processors with it.
func TestR1_GoodViewerInABadCrowd(t *testing.T) {
	r := newRig(t, func(c *Config) { c.WriteTimeout = 2 * time.Second })
	r.play()
	const stuck, moody, fine = 25, 25, 49
	over := make(chan struct{})
	var others sync.WaitGroup
	var conns []*net.TCPConn
	for i := range stuck + moody + fine {
		c := r.raw()
		if i < stuck+moody {
			require.NoError(t, c.conn.SetReadBuffer(8<<10))
		}
		c.play()
		conns = append(conns, c.conn)
		switch {
		case i < stuck:
		case i < stuck+moody:
			others.Go(func() { c.stall(over) })
		default:
			others.Go(func() { c.discard() })
		}
	}
	t.Cleanup(func() {
		close(over)
		for _, c := range conns {
			c.Close()
		}
		others.Wait()
	})
	good := r.raw() // the last to come, as it must be read from then on
	good.play()
	p := good.pictures()
	var got [][]byte
	for r.Stats().Timeouts < stuck || len(got) < 100 {
		b, err := p.next()
		require.NoError(t, err)
		got = append(got, b)
	}
	requireRun(t, r.units(), got, 100)
	for _, s := range r.Sessions() {
		if s.Address == good.conn.LocalAddr().String() {
			require.Zero(t, s.Skips)
			return
		}
	}
	t.Fatal("the good viewer is no session")
}

// stall reads in bursts; what it reads is whole and in order.
func (c *rawClient) stall(over <-chan struct{}) {
	p := c.pictures()
	for i := 0; ; i++ {
		if _, err := p.next(); err != nil {
			return // skipped so often that it was dropped, or the end
		}
		if i%20 > 0 {
			continue
		}
		select {
		case <-time.After(700 * time.Millisecond):
		case <-over:
			return
		}
	}
}

func (c *rawClient) discard() {
	buf := make([]byte, 64<<10)
	for {
		if _, err := c.conn.Read(buf); err != nil {
			return
		}
	}
}

// R6: viewers that read nothing hold no buffers of the server's, and only their
// goroutines. Not parallel: it measures the memory of the process.
func TestR6_TwoHundredViewersThatReadNothing(t *testing.T) {
	const viewers = 200
	r := newRig(t, func(c *Config) { c.MaxViewers, c.WriteTimeout, c.SendBuffer = viewers+1, time.Minute, 16<<10 })
	good := r.raw()
	require.NoError(t, good.conn.SetReadBuffer(4<<20))
	r.push(0, time.Now())
	good.play()
	before := memory()
	var all []*rawClient
	for range viewers {
		c := r.raw()
		require.NoError(t, c.conn.SetReadBuffer(8<<10))
		c.play()
		all = append(all, c)
	}
	stuck := func() bool {
		f := r.fans["main"]
		f.mu.Lock()
		defer f.mu.Unlock()
		return len(f.viewers) == 1
	}
	for n := 1; n < 100 || !stuck(); n++ {
		r.push(n, time.Now())
		_, err := good.br.Discard(good.br.Buffered())
		require.NoError(t, err)
	}
	require.Less(t, memory()-before, viewers*72<<10, "bytes, the clients' own included")
	require.Len(t, r.Sessions(), viewers+1)
	runtime.KeepAlive(all)
}

// memory is what the process uses, garbage aside.
func memory() int {
	runtime.GC()
	runtime.GC() // what pools have let go
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc + m.StackInuse)
}

// A connection that is read byte by byte gets every byte.
func TestM2_ViewerThatReadsByteByByte(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	for i := range 5 {
		r.push(i, time.Now())
	}
	c := r.raw()
	require.NoError(t, c.conn.SetReadBuffer(4096))
	c.br = bufio.NewReader(iotest.OneByteReader(c.conn))
	c.play()
	p := c.pictures()
	for i := range 4 {
		b, err := p.next()
		require.NoError(t, err)
		require.Equal(t, pictureBytes(r.units()[i]), b)
		r.push(i+5, time.Now())
	}
}

// Who watches is told while they do.
func TestM2_SessionsTellWhoWatches(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	require.Empty(t, r.Sessions())
	r.push(0, time.Now())
	before := time.Now()
	c := r.raw()
	require.Empty(t, r.Sessions())
	c.play()
	p := c.pictures()
	_, err := p.next()
	require.NoError(t, err)
	for i := range 9 {
		r.push(i+1, time.Now())
		_, err := p.next()
		require.NoError(t, err)
	}
	eventually(t, "the frames counted", func() bool { return r.Sessions()[0].Frames == 10 })
	s := r.Sessions()[0]
	require.WithinRange(t, s.Since, before, time.Now())
	s.Since = time.Time{}
	require.Equal(t, Session{User: user, Address: c.conn.LocalAddr().String(), Stream: "main", Transport: "tcp", Frames: 10}, s)
	r.Drop(user)
	require.True(t, c.closed())
	eventually(t, "nobody watches", func() bool { return len(r.Sessions()) == 0 })
}
