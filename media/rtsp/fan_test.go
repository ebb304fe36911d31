package rtsp

import (
	"bytes"
	"context"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/media"
)

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
