package rtsp

import (
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/hal"
)

// measured pushes one frame over and over and waits until all viewers have
// every byte of it.
type measured struct {
	r    *rig
	unit hal.AccessUnit
	base time.Time
	all  sync.WaitGroup
	next []chan struct{}
}

func newMeasured(t testing.TB, viewers int) *measured {
	m := &measured{r: newRig(t, nil), unit: pictures(t)[1], base: time.Now()}
	var tr track
	var size int
	g := gather{buf: make([]byte, 0, chunk), send: func(b []byte) error { size += len(b); return nil }}
	tr.video(&g, m.unit.Data, 0)
	g.flush()
	m.r.push(0, m.base)
	for range viewers {
		c := m.r.raw()
		c.play()
		_, err := c.pictures().next()
		require.NoError(t, err)
		_, report, err := c.read()
		require.NoError(t, err)
		require.Equal(t, 1, report.Channel)
		next := make(chan struct{})
		m.next = append(m.next, next)
		go m.read(c, make([]byte, size), next)
	}
	t.Cleanup(func() {
		for _, n := range m.next {
			close(n)
		}
	})
	return m
}

func (m *measured) read(c *rawClient, buf []byte, next <-chan struct{}) {
	for range next {
		if _, err := io.ReadFull(c.br, buf); err != nil {
			m.r.t.Error(err)
		}
		m.all.Done()
	}
}

// frame is captured a microsecond after the one before, so that no report falls
// due and all have one size.
func (m *measured) frame() {
	m.all.Add(len(m.next))
	for _, n := range m.next {
		n <- struct{}{}
	}
	m.unit.Seq++
	m.unit.Time = m.base.Add(time.Duration(m.unit.Seq) * time.Microsecond)
	m.r.stream.PushVideo(m.unit)
	m.all.Wait()
}

// R6: a frame on its way from the board to a viewer over TCP allocates nothing.
// Not parallel: it counts for the whole process.
func TestR6_FramesCostNoAllocation(t *testing.T) {
	m := newMeasured(t, 1)
	for range 100 {
		m.frame()
	}
	require.Less(t, testing.AllocsPerRun(1000, m.frame), 1.0)
}

// BenchmarkServe is the time and the memory that a frame takes to reach all
// viewers, their reading in the same process included.
func BenchmarkServe(b *testing.B) {
	for _, viewers := range []int{1, 10, 100} {
		b.Run(fmt.Sprintf("viewers=%d", viewers), func(b *testing.B) {
			m := newMeasured(b, viewers)
			b.ReportAllocs()
			for b.Loop() {
				m.frame()
			}
		})
	}
}
