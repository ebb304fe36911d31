package media

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const size = 1000 - sampleOverhead // of a sample's data: a sample costs 1000

// push adds n samples numbered from from: every gop-th is a key frame, and every
// fifth is sound, unless it is a key frame.
func push(r *Ring, from, n, gop uint64) {
	for i := from; i < from+n; i++ {
		s := Sample{Data: make([]byte, size), Seq: i, Key: i%gop == 0, Time: time.Now()}
		if !s.Key && i%5 == 4 {
			s.Kind = Audio
		}
		r.Push(s)
	}
}

// take reads n samples and checks that they are numbered from from.
func take(t *testing.T, rd *Reader, from, n uint64) {
	t.Helper()
	for i := from; i < from+n; i++ {
		if s, ok, err := rd.TryNext(); !ok || err != nil || s.Seq != i {
			t.Fatalf("sample %d: got %d, %v, %v", i, s.Seq, ok, err)
		}
	}
}

// nothing checks that there is nothing to read.
func nothing(t *testing.T, rd *Reader) {
	t.Helper()
	if s, ok, err := rd.TryNext(); ok || err != nil {
		t.Fatalf("got %d, %v, %v; want nothing", s.Seq, ok, err)
	}
}

// lagged checks that the reader is told of a lag.
func lagged(t *testing.T, rd *Reader, missed uint64) {
	t.Helper()
	var lag *LagError
	if _, ok, err := rd.TryNext(); ok || !errors.As(err, &lag) || lag.Missed != missed {
		t.Fatalf("%v, %v; want a lag of %d", ok, err, missed)
	}
}

func TestR6_RingIsBoundedAndEvictsWholeGOPs(t *testing.T) {
	t.Parallel()
	r := NewRing(35_000)
	for i := uint64(0); i < 200; i++ {
		push(r, i, 1, 10)
		st := r.Stats()
		if st.Bytes > 35_000 || st.Bytes != st.Samples*1000 {
			t.Fatalf("after %d: %+v", i, st)
		}
		if i > 40 && (st.GOPs < 3 || st.Samples < 26) {
			t.Fatalf("after %d: only %+v", i, st)
		}
		rd := r.NewReader(time.Hour)
		if s, ok, err := rd.TryNext(); err != nil || !ok || !s.Key {
			t.Fatalf("after %d the oldest sample held is %+v, %v", i, s, err)
		}
		rd.Close()
	}
}

func TestR6_GOPLargerThanTheRingLosesItsFront(t *testing.T) {
	t.Parallel()
	r := NewRing(10_000)
	reader := r.NewReader(0)
	defer reader.Close()
	for i := uint64(0); i < 50; i++ {
		push(r, i, 1, 50)
		take(t, reader, i, 1) // who is not slow notices nothing
	}
	if st := r.Stats(); st.Samples != 10 || st.GOPs != 0 {
		t.Errorf("%+v", st)
	}
	late := r.NewLiveReader()
	defer late.Close()
	nothing(t, late)
	push(r, 50, 3, 50)
	take(t, reader, 50, 3)
	take(t, late, 50, 3)
}

// One sample is always held, however large.
func TestR6_SampleLargerThanTheRing(t *testing.T) {
	t.Parallel()
	r := NewRing(10)
	rd := r.NewReader(0)
	defer rd.Close()
	push(r, 0, 1, 1)
	push(r, 1, 1, 1)
	lagged(t, rd, 1)
	take(t, rd, 1, 1)
	nothing(t, rd)
}

func TestR1_SlowReaderAloneLags(t *testing.T) {
	t.Parallel()
	r := NewRing(30_000)
	slow, live, quick := r.NewReader(0), r.NewLiveReader(), r.NewReader(0)
	for _, rd := range []*Reader{slow, live, quick} {
		defer rd.Close()
	}
	for i := uint64(0); i < 100; i++ {
		push(r, i, 1, 10)
		take(t, quick, i, 1)
		if i < 5 {
			take(t, slow, i, 1)
			take(t, live, i, 1)
		}
	}
	if n := slow.Behind(); n != 95 {
		t.Errorf("behind by %d", n)
	}
	lagged(t, slow, 65) // 70 to 99 are held
	take(t, slow, 70, 30)
	lagged(t, live, 85)
	take(t, live, 90, 10)
	nothing(t, slow)
	nothing(t, live)
}

// After a lag a reader waits for a key frame if none is held.
func TestR1_LagWithoutAKeyFrame(t *testing.T) {
	t.Parallel()
	r := NewRing(10_000)
	rd := r.NewReader(0)
	defer rd.Close()
	push(r, 0, 30, 1000)
	lagged(t, rd, 30)
	push(r, 30, 5, 1000)
	nothing(t, rd)
	push(r, 35, 3, 35)
	take(t, rd, 35, 3)
}

func TestM3_ReaderStartsSomeSecondsBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := NewRing(1 << 20)
		for i := uint64(0); i < 100; i++ { // a key frame a second, for ten
			push(r, i, 1, 10)
			time.Sleep(100 * time.Millisecond)
		}
		for _, test := range []struct {
			back  time.Duration
			first uint64
		}{
			{0, 90}, {999 * time.Millisecond, 90}, {time.Second, 90}, {1001 * time.Millisecond, 80},
			{5 * time.Second, 50}, {9999 * time.Millisecond, 0}, {time.Hour, 0},
		} {
			rd := r.NewReader(test.back)
			take(t, rd, test.first, 100-test.first)
			rd.Close()
		}
		live := r.NewLiveReader()
		take(t, live, 90, 10)
		live.Close()
	})
}

func TestM2_ReaderOfAnEmptyRingBeginsAtAKeyFrame(t *testing.T) {
	t.Parallel()
	r := NewRing(1 << 20)
	a, b := r.NewReader(time.Minute), r.NewLiveReader()
	defer a.Close()
	defer b.Close()
	push(r, 3, 20, 10) // begins with P frames and sound
	take(t, a, 10, 13)
	take(t, b, 10, 13)
	if _, ok := NewRing(10).NewestKey(); ok {
		t.Error("an empty ring has a key frame")
	}
}

// P5: what was cleared is gone, for every reader; all go on with a key frame.
func TestP5_ClearForgetsEverything(t *testing.T) {
	t.Parallel()
	r := NewRing(1 << 20)
	behind, upToDate := r.NewReader(0), r.NewReader(0)
	defer behind.Close()
	defer upToDate.Close()
	push(r, 0, 25, 10)
	take(t, behind, 0, 5)
	take(t, upToDate, 0, 25)
	r.Clear()
	if st := r.Stats(); st.Bytes != 0 || st.Samples != 0 || st.GOPs != 0 || st.Readers != 2 {
		t.Errorf("%+v", st)
	}
	for i := range r.buf {
		if r.buf[i].Data != nil {
			t.Fatal("the ring still holds bytes")
		}
	}
	push(r, 25, 3, 10)
	lagged(t, behind, 23) // 20 unread ones, and 3 that need a key frame
	nothing(t, behind)
	nothing(t, upToDate)
	push(r, 28, 10, 10)
	take(t, behind, 30, 8)
	take(t, upToDate, 30, 8)
}

func TestRingCloseEndsReaders(t *testing.T) {
	t.Parallel()
	r := NewRing(1 << 20)
	rd, waiting := r.NewReader(0), r.NewReader(0)
	defer rd.Close()
	defer waiting.Close()
	done := make(chan error)
	go func() { _, err := waiting.Next(context.Background()); done <- err }()
	push(r, 0, 1, 10)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	go func() { _, err := waiting.Next(context.Background()); done <- err }()
	r.Close()
	if err := <-done; !errors.Is(err, ErrRingClosed) {
		t.Fatal(err)
	}
	push(r, 1, 5, 10)
	take(t, rd, 0, 1) // what was pushed before
	if _, _, err := rd.TryNext(); !errors.Is(err, ErrRingClosed) {
		t.Error(err)
	}
	r.Close()
}

func TestNextEndsWithItsContext(t *testing.T) {
	t.Parallel()
	r := NewRing(1 << 20)
	rd := r.NewReader(0)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := rd.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	push(r, 0, 1, 10)
	if s, err := rd.Next(ctx); err != nil || s.Seq != 0 { // what is there is given
		t.Fatal(s, err)
	}
	rd.Close()
	rd.Close()
	if n := r.Stats().Readers; n != 0 {
		t.Errorf("%d readers", n)
	}
}

// A push that meets a cancelled wait must not block, nor leave a stale wake-up.
func TestR1_PushAndCancelAtOnce(t *testing.T) {
	t.Parallel()
	r := NewRing(1 << 20)
	rd := r.NewReader(0)
	defer rd.Close()
	next := uint64(0)
	for i := uint64(0); i < 3000; i++ {
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(cancel)
		wg.Go(func() { push(r, i, 1, 10) })
		for {
			s, err := rd.Next(ctx)
			if err != nil {
				break
			}
			if s.Seq != next {
				t.Errorf("got %d, want %d", s.Seq, next)
			}
			next++
		}
		wg.Wait()
	}
	for ; next < 3000; next++ {
		take(t, rd, next, 1)
	}
}

// Readers of all kinds against a writer at full speed: order, key frames after
// a lag, and no sample twice. Run with -race.
func TestR1_ManyReaders(t *testing.T) {
	t.Parallel()
	const total = 20_000
	r := NewRing(60_000)
	var wg sync.WaitGroup
	for i := range 8 {
		rd := r.NewReader(0)
		if i%2 == 0 {
			rd.Close()
			rd = r.NewLiveReader()
		}
		wg.Go(func() {
			defer rd.Close()
			last, needKey := int64(-1), true
			rnd := rand.New(rand.NewPCG(uint64(i), 0))
			for {
				s, err := rd.Next(context.Background())
				var lag *LagError
				switch {
				case errors.As(err, &lag):
					needKey = true
					continue
				case err != nil:
					if last != total-1 {
						t.Errorf("reader %d ended at %d", i, last)
					}
					return
				}
				if int64(s.Seq) <= last || needKey && !s.Key || !needKey && int64(s.Seq) != last+1 {
					t.Errorf("reader %d got %d (key %v) after %d, waiting for a key frame: %v", i, s.Seq, s.Key, last, needKey)
					return
				}
				last, needKey = int64(s.Seq), false
				for range rnd.IntN(i*20 + 1) { // some are slower
					rd.Behind()
				}
			}
		})
	}
	push(r, 0, total, 10)
	r.Close()
	wg.Wait()
}

// Random calls, checked against what the comments promise.
func TestRingKeepsItsPromises(t *testing.T) {
	t.Parallel()
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		r := NewRing(1000 + rnd.IntN(100_000))
		type state struct {
			rd   *Reader
			last int64
			key  bool // must be next
		}
		var readers []*state
		next := uint64(0)
		for range 600 {
			switch k := rnd.IntN(20); {
			case k < 10:
				r.Push(Sample{Data: make([]byte, rnd.IntN(3000)), Seq: next, Key: rnd.IntN(8) == 0, Time: time.Now()})
				next++
			case k == 10 && len(readers) < 5:
				readers = append(readers, &state{r.NewReader(0), -1, true}, &state{r.NewLiveReader(), -1, true})
			case k == 11 && len(readers) > 0:
				i := rnd.IntN(len(readers))
				readers[i].rd.Close()
				readers = append(readers[:i], readers[i+1:]...)
			case k == 12 && rnd.IntN(10) == 0:
				r.Clear()
				for _, s := range readers {
					s.key = true
				}
			case len(readers) > 0:
				s := readers[rnd.IntN(len(readers))]
				got, ok, err := s.rd.TryNext()
				if err != nil {
					s.key = true
				}
				if ok && (int64(got.Seq) <= s.last || s.key && !got.Key || !s.key && int64(got.Seq) != s.last+1) {
					t.Fatalf("seed %d: %d (key %v) after %d, key needed: %v", seed, got.Seq, got.Key, s.last, s.key)
				}
				if ok {
					s.last, s.key = int64(got.Seq), false
				}
			}
			if st := r.Stats(); st.Bytes > r.max && st.Samples > 1 || st.Samples == 0 && st.Bytes != 0 || st.Readers != len(readers) {
				t.Fatalf("seed %d: %+v of %d", seed, st, r.max)
			}
		}
	}
}

// A fork reads on by itself, from where its origin was.
func TestM2_ForkGoesOnWhereItsOriginIs(t *testing.T) {
	t.Parallel()
	r := NewRing(1 << 20)
	push(r, 0, 15, 10)
	rd := r.NewLiveReader()
	defer rd.Close()
	take(t, rd, 10, 3)
	fork := rd.Fork()
	defer fork.Close()
	if fork.Position() != 13 || rd.Position() != 13 {
		t.Errorf("positions %d, %d", fork.Position(), rd.Position())
	}
	take(t, rd, 13, 2)
	take(t, fork, 13, 2)
	r.Clear()
	waits := rd.Fork()
	defer waits.Close()
	push(r, 15, 10, 10)
	for _, rd := range []*Reader{rd, fork, waits} {
		take(t, rd, 20, 5)
	}
}

func TestM2_CaughtUpMeansThatNothingIsMissed(t *testing.T) {
	t.Parallel()
	r := NewRing(1 << 20)
	ahead, behind := r.NewLiveReader(), r.NewLiveReader()
	defer ahead.Close()
	defer behind.Close()
	caughtUp := func(want bool) {
		t.Helper()
		if ahead.CaughtUp(behind) != want {
			t.Errorf("caught up: %v", !want)
		}
	}
	caughtUp(true) // both wait for a key frame
	push(r, 0, 5, 10)
	caughtUp(false)
	take(t, ahead, 0, 5)
	caughtUp(false) // behind needs a key frame, which it has not read yet
	take(t, behind, 0, 3)
	caughtUp(true)
	if behind.CaughtUp(ahead) {
		t.Error("one that has something to read is not as far")
	}
	r.Clear()
	caughtUp(true) // both wait for a key frame again
	fresh := r.NewLiveReader()
	defer fresh.Close()
	push(r, 5, 1, 5)
	take(t, fresh, 5, 1)
	caughtUp(false)
}

func TestR1_ResumeGoesToTheNewestKeyFrame(t *testing.T) {
	t.Parallel()
	r := NewRing(1 << 20)
	live, old := r.NewLiveReader(), r.NewReader(0)
	defer live.Close()
	defer old.Close()
	push(r, 0, 35, 10)
	take(t, live, 0, 1)
	live.Resume()
	take(t, live, 30, 5)
	take(t, old, 0, 12)
	old.Resume()
	take(t, old, 0, 35)
}

func TestWaitReturnsForWhatIsThereAndForTheEnd(t *testing.T) {
	t.Parallel()
	r := NewRing(1 << 20)
	rd := r.NewReader(0)
	defer rd.Close()
	woken := make(chan error)
	wait := func(ctx context.Context) { go func() { woken <- rd.Wait(ctx) }() }
	wait(context.Background())
	push(r, 0, 1, 10)
	if err := <-woken; err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := rd.Wait(ctx); err != nil {
		t.Error(err, "although there is something")
	}
	take(t, rd, 0, 1)
	if err := rd.Wait(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	wait(context.Background())
	r.Close()
	if err := <-woken; err != nil {
		t.Error(err)
	}
}

// A recorder's reader begins with what it has not read, and goes back to it.
func TestM3_ReaderSinceAndRewind(t *testing.T) {
	t.Parallel()
	now := time.Now()
	r := NewRing(1 << 20)
	for i := range uint64(50) {
		r.Push(Sample{Key: i%10 == 0, Seq: 100 + i, Time: now.Add(time.Duration(i) * time.Second), Data: []byte{1}})
	}
	for _, c := range []struct {
		since int
		least uint64
		want  uint64
	}{
		{25, 0, 120}, {20, 0, 120}, {-5, 0, 100}, {99, 0, 140}, // the key frame before
		{25, 120, 120}, {25, 121, 130}, {0, 131, 140}, // not what was read
	} {
		rd := r.NewReaderSince(now.Add(time.Duration(c.since)*time.Second), c.least)
		if s, ok, err := rd.TryNext(); !ok || err != nil || s.Seq != c.want {
			t.Errorf("since %d s, from %d: picture %d, %v, %v, want %d", c.since, c.least, s.Seq, ok, err, c.want)
		}
		rd.Close()
	}
	rd := r.NewReaderSince(now, 141)
	defer rd.Close()
	if _, ok, err := rd.TryNext(); ok || err != nil {
		t.Error("there is a picture beyond the newest key frame", ok, err)
	}
	r.Push(Sample{Seq: 150, Data: []byte{1}})
	r.Push(Sample{Key: true, Seq: 160, Data: []byte{1}})
	if s, ok, err := rd.TryNext(); !ok || err != nil || s.Seq != 160 {
		t.Errorf("picture %d, %v, %v, want the next key frame", s.Seq, ok, err)
	}
	if rd.Rewind(161) || !rd.Rewind(125) {
		t.Error("Rewind tells wrong")
	}
	if s, _, _ := rd.TryNext(); s.Seq != 130 {
		t.Errorf("rewound to %d, want 130", s.Seq)
	}
	if rd.Rewind(141) {
		t.Error("rewound forward")
	}
}

func TestR6_SpanTellsWhatTheRingHolds(t *testing.T) {
	t.Parallel()
	now := time.Now()
	r := NewRing(10 * (100 + sampleOverhead))
	for i := range 10 {
		r.Push(Sample{Key: i%5 == 0, Seq: uint64(i), Time: now.Add(time.Duration(i) * time.Second), Data: make([]byte, 100)})
	}
	if held, full := r.Span(now.Add(9 * time.Second)); held != 9*time.Second || full {
		t.Errorf("holds %v, full %v", held, full)
	}
	r.Push(Sample{Seq: 10, Time: now.Add(10 * time.Second), Data: make([]byte, 100)})
	if held, full := r.Span(now.Add(10 * time.Second)); held != 5*time.Second || !full {
		t.Errorf("holds %v, full %v", held, full)
	}
	r.Clear()
	if held, full := r.Span(now); held != 0 || full {
		t.Errorf("holds %v, full %v after it was cleared", held, full)
	}
}
