package rtsp

import (
	"bytes"
	"context"
	"encoding/binary"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
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

// R1: whatever viewers' connections take, whenever they come and whoever else
// writes to them: what each is given is whole and in order, and those who take
// everything get everything.
func TestR1_ViewersInAndOutOfStepLoseAndDoubleNothing(t *testing.T) {
	t.Parallel()
	for seed := range uint64(10) {
		ok := t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) { synctest.Test(t, func(t *testing.T) { stageRun(t, seed) }) })
		require.True(t, ok)
	}
}

type actor struct {
	*viewer
	sink *moody
	mood int
}

const (
	keen = iota // takes everything at once
	slow        // takes less than comes
	lame        // takes a byte at a time, or a part
	busy        // has its connection used by answers
	moods
)

func (s *stage) actor(ctx context.Context) *actor {
	a := &actor{mood: s.rnd.IntN(moods)}
	rnd := rand.New(rand.NewPCG(s.rnd.Uint64(), 0))
	a.viewer = s.viewer(ctx, rnd.IntN(2) == 0, func(ctx context.Context) sink {
		a.sink = newMoody(ctx)
		switch a.mood {
		case slow:
			a.sink.takes = func(n int) int { return min(n, rnd.IntN(2*n+1)*rnd.IntN(2)) }
			a.sink.waits = func() time.Duration { return time.Duration(rnd.IntN(300)) * time.Millisecond }
		case lame:
			a.sink.takes = func(n int) int { return max(1, rnd.IntN(2)*n/2) }
			a.sink.waits = func() time.Duration { return time.Duration(rnd.IntN(100)) * time.Microsecond }
		}
		return a.sink
	})
	return a
}

func stageRun(t *testing.T, seed uint64) {
	s := newStage(t, 60_000, seed)
	if s.large = seed%2 == 0; s.large {
		s.stream.Ring = media.NewRing(16 << 20)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var all []*actor
	var late []int // pictures pushed when each one came
	var others sync.WaitGroup
	for range 120 {
		if s.rnd.IntN(8) == 0 && len(all) < 12 {
			all, late = append(all, s.actor(ctx)), append(late, s.n)
			synctest.Wait()
		}
		s.picture()
		if s.rnd.IntN(2) == 0 {
			s.tone()
		}
		for _, a := range all {
			if a.mood == busy && s.rnd.IntN(6) == 0 {
				others.Go(func() { a.sink.answer(time.Duration(s.rnd.IntN(2)) * 70 * time.Millisecond) })
				synctest.Wait()
			}
		}
		if !s.large {
			synctest.Wait() // keen ones have read, or the small ring would overtake them
		}
		if s.rnd.IntN(4) > 0 { // or a burst
			time.Sleep(40 * time.Millisecond)
		}
	}
	for range stageGOP { // those who wait for a key frame get one
		s.picture()
		time.Sleep(40 * time.Millisecond)
	}
	time.Sleep(time.Hour) // all have caught up
	synctest.Wait()
	others.Wait()
	require.Equal(t, len(all), s.inStep())
	require.Equal(t, min(1, len(all)), s.stream.Ring.Stats().Readers)
	cancel()
	s.srv.work.Wait()
	require.Zero(t, s.inStep())
	require.Zero(t, s.stream.Ring.Stats().Readers)
	for i, a := range all {
		r := read(t, a.viewer, a.sink.got)
		r.requireInOrder(t, a.skips.Load())
		require.EqualValues(t, len(r.pictures), a.seen.Load())
		if len(r.pictures) > 0 {
			require.Equal(t, s.n-1, r.pictures[len(r.pictures)-1], "the last picture")
			require.NotZero(t, r.reports)
		}
		if a.mood == keen {
			require.Zero(t, a.skips.Load())
			require.LessOrEqual(t, r.pictures[0], late[i], "begins with the newest key frame")
		}
	}
}

// A connection may be slower than its time limit, as long as it takes something;
// one that takes nothing ends its viewer.
func TestR1_TimeLimitIsOfProgress(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, 1<<20, 1)
		left := 50 // calls in which it takes something
		var m *moody
		v := s.viewer(t.Context(), false, func(ctx context.Context) sink {
			m = newMoody(ctx)
			m.takes = func(n int) int {
				if left == 0 {
					return 0
				}
				left--
				return min(n, 100)
			}
			m.waits = func() time.Duration { return -1 }
			return m
		})
		s.tone() // so that there is something that it does not want
		for s.n < 3 {
			s.picture()
		}
		s.srv.work.Wait()
		require.Zero(t, left, "gave up on one that took something")
		require.Len(t, m.got, 50*100)
		require.EqualValues(t, 1, s.srv.count.timeouts.Load())
		require.Zero(t, v.rest.Data, "holds a frame")
		select {
		case <-m.over:
		default:
			t.Error("the connection was not closed")
		}
	})
}

// A connection that says that it takes something, and then does not, is not asked
// all the time.
func TestR6_NoBusyLoopForAConnectionWithoutMemory(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, 1<<20, 1)
		start, asked := time.Now(), 0
		v := s.viewer(t.Context(), false, func(ctx context.Context) sink {
			m := newMoody(ctx)
			m.takes = func(n int) int {
				if asked++; time.Since(start) < time.Second {
					return 0
				}
				return n
			}
			return m
		})
		s.picture()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		require.Equal(t, 1, s.inStep())
		require.Less(t, asked, 100)
		v.cancel(errDropped)
		s.srv.work.Wait()
	})
}

// A viewer in step has no goroutine, and is ended nevertheless.
func TestR5_EveryWayOutOfStep(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*stage, *viewer, *moody){
		"cancelled":       func(_ *stage, v *viewer, _ *moody) { v.cancel(errDropped) },
		"connection gone": func(s *stage, _ *viewer, m *moody) { m.close(); s.picture() },
		"ring closed":     func(s *stage, _ *viewer, _ *moody) { s.stream.Ring.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t, 1<<20, 1)
				var m *moody
				v := s.viewer(t.Context(), false, func(ctx context.Context) sink { m = newMoody(ctx); return m })
				s.picture()
				synctest.Wait()
				require.Equal(t, 1, s.inStep())
				end(s, v, m)
				s.srv.work.Wait()
				require.Zero(t, s.inStep())
				require.Zero(t, s.stream.Ring.Stats().Readers)
				require.Nil(t, s.srv.fans["main"].shared.out.buf)
				v.cancel(nil)
			})
		})
	}
}

// A fan that was overtaken goes on at a key frame, and all who missed something
// are told.
func TestR1_FanThatIsOvertaken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, 60_000, 3)
		var sinks []*moody
		var viewers []*viewer
		for range 3 {
			viewers = append(viewers, s.viewer(t.Context(), true, func(ctx context.Context) sink {
				sinks = append(sinks, newMoody(ctx))
				return sinks[len(sinks)-1]
			}))
		}
		s.picture()
		synctest.Wait()
		require.Equal(t, 3, s.inStep())
		f := s.srv.fans["main"]
		f.mu.Lock() // it comes to nothing for a while
		for range 100 {
			s.picture()
		}
		f.mu.Unlock()
		synctest.Wait()
		for i, v := range viewers {
			require.NotZero(t, v.skips.Load())
			r := read(t, v, sinks[i].got)
			r.requireInOrder(t, v.skips.Load())
			require.Equal(t, 100, r.pictures[len(r.pictures)-1])
			v.cancel(errDropped)
		}
		s.srv.work.Wait()
	})
}

// Packets that are relabelled are those that would have been packed.
func FuzzS5_Relabel(f *testing.F) {
	f.Add(avc([]byte{0x67, 1}, []byte{0x68, 2}, bytes.Repeat([]byte{0x65}, 3000)), uint16(65534), uint32(1<<32-1), uint32(7), true)
	f.Add(bytes.Repeat([]byte{9}, 5000), uint16(0), uint32(5), uint32(1), false)
	f.Fuzz(func(t *testing.T, data []byte, seq uint16, ts, ssrc uint32, begin bool) {
		for _, s := range []media.Sample{
			{Data: data}, {Kind: media.Audio, Data: data, Format: &hal.AudioFormat{Codec: hal.PCMA, Rate: 8000}},
			{Kind: media.Audio, Data: data, Format: &hal.AudioFormat{Codec: hal.L16, Channels: 2}},
			{Kind: media.Audio, Data: data, Format: &hal.AudioFormat{Codec: hal.AAC}},
			{Kind: media.Audio, Data: data, Format: &hal.AudioFormat{Codec: hal.Opus}},
		} {
			own := track{channel: 8, payload: 99, ssrc: ssrc, seq: seq}
			l := label{ts: ts, begin: begin}
			pack := func(t *track, l label) []byte {
				g := gather{most: 1 << 20, send: tooLarge}
				t.pack(&g, &s, l)
				return g.buf
			}
			var common, other track
			c := shared{Sample: s, out: gather{most: 1 << 20, buf: pack(&common, label{})}}
			c.size, c.totals = len(c.out.buf), common
			v := &viewer{}
			other.seq, other.ssrc = uint16(ts), ssrc+1
			c.relabel(v, &other, label{ts: ^ts, begin: !begin}) // it was somebody else's before
			got := c.relabel(v, &own, l)
			want := pack(&own, l)
			require.Equal(t, want, got[:len(got):len(got)])
			require.EqualValues(t, own.packets, common.packets)
		}
	})
}
