package rtsp

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/media"
)

// moody is a connection that takes what it likes, and at times nothing.
type moody struct {
	ctx   context.Context
	takes func(n int) int      // of n bytes, at once
	waits func() time.Duration // until it takes more; negative: for too long
	mu    chan struct{}        // the connection's lock, filled by who holds it
	got   []byte               // guarded by mu
	over  chan struct{}        // closed by close
	once  sync.Once
}

func newMoody(ctx context.Context) *moody {
	return &moody{ctx: ctx, mu: make(chan struct{}, 1), over: make(chan struct{}), takes: func(n int) int { return n }, waits: func() time.Duration { return 0 }}
}

func (m *moody) send([]byte) error { panic("a direct sink is not sent to") }

func (m *moody) close() { m.once.Do(func() { close(m.over) }) }

func (m *moody) hold(wait bool) (bool, error) {
	select {
	case m.mu <- struct{}{}:
	default:
		if !wait {
			return false, nil
		}
		m.mu <- struct{}{}
	}
	if m.ctx.Err() != nil {
		m.release()
		return false, context.Cause(m.ctx)
	}
	return true, nil
}

func (m *moody) release() { <-m.mu }

func (m *moody) sendNow(_ *writer, b []byte) (int, error) {
	select {
	case <-m.over:
		return 0, net.ErrClosed
	default:
	}
	n := m.takes(len(b))
	m.got = append(m.got, b[:n]...)
	return n, nil
}

func (m *moody) ready() error {
	d := m.waits()
	late := d < 0
	if late {
		d = 10 * time.Second
	}
	select {
	case <-time.After(d):
	case <-m.over:
		return net.ErrClosed
	}
	if late {
		return os.ErrDeadlineExceeded
	}
	return nil
}

// answer is what the other user of the connection writes, which takes a while.
func (m *moody) answer(d time.Duration) {
	m.mu <- struct{}{}
	defer m.release()
	m.got = append(m.got, 'R')
	time.Sleep(d)
}

// stage is a stream with its fan, without network.
type stage struct {
	t      testing.TB
	srv    *Server
	stream *media.Stream
	sound  *hal.AudioFormat
	rnd    *rand.Rand
	large  bool // some pictures are larger than the fan shares
	n      int  // pictures pushed
	tones  int  // frames of sound pushed
	start  time.Time
}

func newStage(t testing.TB, ringBytes int, seed uint64) *stage {
	st := media.NewStream("main", ringBytes)
	sound := &hal.AudioFormat{Codec: hal.PCMU, Rate: 8000, Channels: 1}
	st.SetAudio(sound)
	srv := New(Config{MaxLag: time.Second}, []*media.Stream{st}, nil, nil)
	srv.fans["main"].largest = 20_000
	return &stage{t: t, srv: srv, stream: st, sound: sound, start: time.Now(), rnd: rand.New(rand.NewPCG(seed, 0))}
}

const stageGOP = 10

// picture pushes a picture that tells its number, of one to three NAL units,
// some larger than a packet and a few larger than the fan shares.
func (s *stage) picture() {
	key := s.n%stageGOP == 0
	size := s.rnd.IntN(6000)
	if s.large && s.rnd.IntN(40) == 0 {
		size = 20_000 + s.rnd.IntN(150_000)
	}
	var nals [][]byte
	if key {
		nals = append(nals, []byte{0x67, 1}, []byte{0x68, 2})
	}
	kind := byte(0x41)
	if key {
		kind = 0x65
	}
	nal := append([]byte{kind}, binary.BigEndian.AppendUint32(nil, uint32(s.n))...)
	nals = append(nals, append(nal, make([]byte, size)...))
	s.stream.PushVideo(hal.AccessUnit{Data: avc(nals...), Key: key, Time: time.Now(), Seq: uint64(s.n)})
	s.n++
}

func (s *stage) tone() {
	data := binary.BigEndian.AppendUint32(make([]byte, 0, 160), uint32(s.tones))[:160]
	captured := s.start.Add(time.Duration(s.tones) * 20 * time.Millisecond)
	s.stream.PushAudio(hal.AudioFrame{Data: data, Samples: 160, Time: captured})
	s.tones++
}

// viewer begins to play to a sink.
func (s *stage) viewer(ctx context.Context, sound bool, sinkOf func(context.Context) sink) *viewer {
	v := &viewer{
		srv: s.srv, user: "u", name: "name", address: &net.TCPAddr{},
		offer: &offer{stream: s.stream, sound: s.sound}, way: way{by: overTCP},
		tracks: []track{
			{on: true, channel: 4, payload: videoType, ssrc: s.rnd.Uint32(), seq: uint16(s.rnd.Uint32()), base: s.rnd.Uint32(), rate: 90000},
			{on: sound, channel: 6, payload: 0, ssrc: s.rnd.Uint32(), seq: uint16(s.rnd.Uint32()), base: s.rnd.Uint32(), rate: 8000},
		},
	}
	v.live(ctx)
	v.setSink(sinkOf(v.ctx))
	s.srv.work.Add(1)
	go v.run()
	return v
}

func (s *stage) inStep() int {
	f := s.srv.fans["main"]
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.viewers)
}

// told is what a viewer was sent, checked byte by byte.
type told struct {
	pictures, tones []int
	answers         int
	reports         int
}

type medium struct {
	ssrc            uint32
	seq             uint16
	ts              uint32
	packets, octets uint32
	begun           bool
}

// read takes apart what v was sent on channels 4 to 7: packets are whole, their
// sequence numbers without a gap, their timestamps rise, reports are right.
func read(t testing.TB, v *viewer, b []byte) (r told) {
	t.Helper()
	media := map[byte]*medium{4: {}, 6: {}}
	var nal []byte
	for len(b) > 0 {
		if b[0] == 'R' {
			r.answers++
			b = b[1:]
			continue
		}
		channel, n := b[1], int(binary.BigEndian.Uint16(b[2:]))
		m := media[channel&^1]
		if b[0] != '$' || m == nil || len(b) < 4+n {
			t.Fatalf("%d bytes before the end: %x is no packet", len(b), b[:4])
		}
		p := b[4 : 4+n]
		b = b[4+n:]
		if channel&1 == 1 {
			requireReport(t, v, m, p)
			r.reports++
			continue
		}
		var pkt rtp.Packet
		if err := pkt.Unmarshal(p); err != nil {
			t.Fatal(err)
		}
		m.next(t, v, channel, &pkt)
		if channel == 6 {
			r.tones = append(r.tones, int(binary.BigEndian.Uint32(pkt.Payload)))
			continue
		}
		if nal = unpackNAL(nal, pkt.Payload); pkt.Marker {
			r.pictures = append(r.pictures, int(binary.BigEndian.Uint32(nal[1:])))
		}
	}
	return r
}

func (m *medium) next(t testing.TB, v *viewer, channel byte, p *rtp.Packet) {
	t.Helper()
	tr := v.tracks[(channel-4)/2]
	follows := !m.begun || p.SequenceNumber == m.seq && int32(p.Timestamp-m.ts) >= 0
	if !follows || p.SSRC != tr.ssrc || p.PayloadType != tr.payload {
		t.Fatalf("packet %+v does not follow %+v", p.Header, m)
	}
	m.begun, m.seq, m.ts = true, p.SequenceNumber+1, p.Timestamp
	m.packets++
	m.octets += uint32(len(p.Payload))
}

func requireReport(t testing.TB, v *viewer, m *medium, b []byte) {
	t.Helper()
	list, err := rtcp.Unmarshal(b)
	require.NoError(t, err)
	sr := list[0].(*rtcp.SenderReport)
	require.Equal(t, m.ts, sr.RTPTime)
	require.Equal(t, m.packets, sr.PacketCount)
	require.Equal(t, m.octets, sr.OctetCount)
	require.Equal(t, v.name, list[1].(*rtcp.SourceDescription).Chunks[0].Items[0].Text)
}

// unpackNAL adds a payload to a NAL unit, or begins another one.
func unpackNAL(nal, payload []byte) []byte {
	if payload[0]&31 != fuA {
		return payload
	}
	if payload[1]&0x80 != 0 {
		nal = []byte{payload[0]&0xe0 | payload[1]&31}
	}
	return append(nal, payload[2:]...)
}

// requireInOrder checks that nothing comes twice or out of order, and that after
// a gap a key frame comes.
func (r told) requireInOrder(t testing.TB, skips uint64) {
	t.Helper()
	var gaps uint64
	for i, n := range r.pictures {
		if i == 0 || n != r.pictures[i-1]+1 {
			require.Zero(t, n%stageGOP, "picture %d, which is no key frame, after %v", n, r.pictures[:i])
		}
		if i > 0 && n != r.pictures[i-1]+1 {
			require.Greater(t, n, r.pictures[i-1])
			gaps++
		}
	}
	require.LessOrEqual(t, gaps, skips, "gaps that were not counted")
	for i := 1; i < len(r.tones); i++ {
		require.Greater(t, r.tones[i], r.tones[i-1])
		if skips == 0 {
			require.Equal(t, r.tones[i-1]+1, r.tones[i])
		}
	}
}
