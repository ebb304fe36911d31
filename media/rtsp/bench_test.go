package rtsp

import (
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/bluenviron/gortsplib/v4/pkg/base"
	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/hal"
)

// measured pushes one frame of usual size over and over and waits until all
// viewers have every byte of it.
type measured struct {
	r    *rig
	unit hal.AccessUnit
	base time.Time
	all  *audience
}

func usualFrame() []byte { return avc(append([]byte{0x41}, make([]byte, 9_999)...)) }

// packedSize is what a frame has on a wire: bytes, framing included, and packets.
func packedSize(data []byte) (size, packets int) {
	var tr track
	g := gather{buf: make([]byte, 0, chunk), send: func(b []byte) error { size += len(b); return nil }}
	tr.video(&g, data, 0)
	g.flush()
	return size, int(tr.packets)
}

func newMeasured(t testing.TB, viewers int) *measured {
	m := &measured{r: newRig(t, nil), unit: hal.AccessUnit{Data: usualFrame()}, base: time.Now()}
	m.r.push(0, m.base)
	var conns []socket
	for range viewers {
		c := m.r.raw()
		c.play()
		_, err := c.pictures().next()
		require.NoError(t, err)
		_, report, err := c.read()
		require.NoError(t, err)
		require.Equal(t, 1, report.Channel)
		conns = append(conns, c.conn)
	}
	size, _ := packedSize(m.unit.Data)
	m.all = newAudience(t, conns, size)
	return m
}

// newMeasuredUDP is the same with viewers over UDP, whose reports are not counted.
func newMeasuredUDP(t testing.TB, viewers int) *measured {
	m := &measured{r: newRig(t, nil), unit: hal.AccessUnit{Data: usualFrame()}, base: time.Now()}
	m.r.push(0, m.base)
	var conns []socket
	for range viewers {
		p, err := listenPair(net.IPv4(127, 0, 0, 1), 0)
		require.NoError(t, err)
		t.Cleanup(p.close)
		c := m.r.raw()
		require.Equal(t, base.StatusOK, c.login().StatusCode)
		require.Equal(t, base.StatusOK, c.do(base.Setup, "/trackID=0", base.Header{"Transport": {udpPorts(p)}}).StatusCode)
		require.Equal(t, base.StatusOK, c.do(base.Play, "", nil).StatusCode)
		for buf := make([]byte, 2000); buf[1]&0x80 == 0; { // marker
			require.NoError(t, p.rtp.SetReadDeadline(time.Now().Add(patience)))
			_, err := p.rtp.Read(buf)
			require.NoError(t, err)
		}
		conns = append(conns, p.rtp)
	}
	size, packets := packedSize(m.unit.Data)
	m.all = newAudience(t, conns, size-packets*frameHeader)
	return m
}

// frame is captured a microsecond after the one before, so that no report falls
// due and all have one size.
func (m *measured) frame() {
	m.unit.Seq++
	m.unit.Time = m.base.Add(time.Duration(m.unit.Seq) * time.Microsecond)
	m.r.stream.PushVideo(m.unit)
	m.all.wait()
}

// R6: a frame on its way from the board to a viewer over TCP allocates nothing.
// Not parallel: it counts for the whole process.
func TestR6_FramesCostNoAllocation(t *testing.T) {
	for _, viewers := range []int{1, 20} {
		m := newMeasured(t, viewers)
		for range 100 {
			m.frame()
		}
		require.Less(t, testing.AllocsPerRun(1000, m.frame), 1.0)
	}
}

// BenchmarkServe is what a frame of 10 KB costs that goes to all viewers over
// TCP: the time until the last has read it, and the processor time of this
// process by viewer. The floor is the least that a server in Go needs which has
// a goroutine for each viewer. Compare figures of one run:
//
//	go test -bench Serve -count 5 ./media/rtsp
func BenchmarkServe(b *testing.B) {
	for _, viewers := range []int{1, 10, 100} {
		b.Run(fmt.Sprintf("ours/viewers=%d", viewers), func(b *testing.B) {
			m := newMeasured(b, viewers)
			measure(b, viewers, m.frame)
		})
		b.Run(fmt.Sprintf("floor/viewers=%d", viewers), func(b *testing.B) {
			f := newFloor(b, viewers)
			measure(b, viewers, f.frame)
		})
	}
}

// BenchmarkServeUDP is the same over UDP, which is paced: a frame that follows at
// once may wait, as it never would at the rate of a camera. Only the processor's
// time tells something.
func BenchmarkServeUDP(b *testing.B) {
	for _, viewers := range []int{1, 10, 100} {
		b.Run(fmt.Sprintf("udp/viewers=%d", viewers), func(b *testing.B) {
			m := newMeasuredUDP(b, viewers)
			measure(b, viewers, m.frame)
		})
	}
}

func measure(b *testing.B, viewers int, frame func()) {
	for range 20 {
		frame()
	}
	b.ReportAllocs()
	b.ResetTimer()
	start := cpuTime()
	for b.Loop() {
		frame()
	}
	b.ReportMetric(float64((cpuTime()-start).Nanoseconds())/1e3/float64(b.N)/float64(viewers), "cpu-µs/viewer")
}

// floor packs a frame once, into new memory, and hands it to a goroutine for each
// viewer, which writes it.
type floor struct {
	tr   track
	data []byte
	ts   uint32
	next []chan []byte
	all  *audience
}

func newFloor(t testing.TB, viewers int) *floor {
	f := &floor{data: usualFrame()}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	var conns []socket
	for range viewers {
		peer, err := net.Dial("tcp", ln.Addr().String())
		require.NoError(t, err)
		conns = append(conns, peer.(*net.TCPConn))
		c, err := ln.Accept()
		require.NoError(t, err)
		converse(t, peer, c)
		next := make(chan []byte, 128)
		f.next = append(f.next, next)
		go func() {
			defer c.Close()
			for b := range next {
				_, _ = c.Write(b) // a frame that does not come ends the test
			}
		}()
	}
	t.Cleanup(func() {
		for _, n := range f.next {
			close(n)
		}
	})
	size, _ := packedSize(f.data)
	f.all = newAudience(t, conns, size)
	return f
}

// converse is what RTSP does before media: after that the kernel acknowledges as
// on any connection that goes both ways, less often.
func converse(t testing.TB, client, server net.Conn) {
	var b [100]byte
	for range 5 {
		for _, pair := range [][2]net.Conn{{client, server}, {server, client}} {
			_, err := pair[0].Write(b[:])
			require.NoError(t, err)
			_, err = io.ReadFull(pair[1], b[:])
			require.NoError(t, err)
		}
	}
}

func (f *floor) frame() {
	g := gather{buf: make([]byte, 0, 11_000), send: func(b []byte) error {
		for _, n := range f.next {
			n <- b
		}
		return nil
	}}
	f.ts += 3600
	f.tr.video(&g, f.data, f.ts)
	g.flush()
	f.all.wait()
}
