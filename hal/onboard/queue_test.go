package onboard

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"iid2secure.nl/camagent/hal"
)

// reel is a stream without a streamer.
func reel() *video {
	return &video{name: "main", queue: newQueue[hal.AccessUnit](4 * time.Second), clock: clock{rate: videoRate}}
}

// show hands pictures over, a key frame every gop.
func (v *video) show(from, to, size int) {
	for i := from; i < to; i++ {
		v.got(picture{data: make([]byte, size), key: i%gop == 0, stamp: uint32(i * 3600), at: time.Now()})
		time.Sleep(frame)
	}
}

// R4: a reader that is away loses whole GOPs, is told how many pictures, and
// goes on at a key frame; what waits for it stays bounded.
func TestSlowReaderLosesWholeGOPs(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1000, 100_000} {
		synctest.Test(t, func(t *testing.T) {
			v := reel()
			v.show(0, 10, size)
			a, _ := v.Next(t.Context())
			b, _ := v.Next(t.Context())
			if a.Seq != 0 || b.Seq != 1 || a.Lost+b.Lost != 0 {
				t.Fatalf("it begins with %d, %d", a.Seq, b.Seq)
			}
			v.show(10, 2000, size)
			held := 0
			for _, au := range v.queue.items {
				held += len(au.Data)
			}
			if len(v.queue.items) > maxQueued || held > maxQueuedBytes {
				t.Errorf("%d pictures of %d bytes wait", len(v.queue.items), held)
			}
			next, last := uint64(2), uint64(0)
			for len(v.queue.items) > 0 {
				au, err := v.Next(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if au.Seq != next+au.Lost || au.Lost > 0 && !au.Key {
					t.Fatalf("picture %d after %d lost, key %v, want %d", au.Seq, au.Lost, au.Key, next+au.Lost)
				}
				if au.Key != (au.Seq%gop == 0) {
					t.Fatalf("picture %d: key %v", au.Seq, au.Key)
				}
				if age := time.Since(au.Time); age > maxQueuedTime+2*frame {
					t.Fatalf("picture %d is %v old", au.Seq, age)
				}
				next, last = au.Seq+1, au.Seq
			}
			if last < 2000-2*gop {
				t.Errorf("the newest picture that waited is %d", last)
			}
			v.show(2000, 2000+gop, size)
			if au, err := v.Next(t.Context()); err != nil || au.Lost > 0 && !au.Key {
				t.Errorf("afterwards comes %d, %d lost, %v", au.Seq, au.Lost, err)
			}
		})
	}
}

// One GOP alone may be longer than what can wait: nothing of it does then, as
// what is older than 5 s is refused above.
func TestSlowReaderOfALongGOP(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := reel()
		const again = 500
		for i := range again + 50 {
			v.got(picture{data: []byte{1}, key: i == 0 || i == again, stamp: uint32(i * 3600), at: time.Now()})
			time.Sleep(frame)
			if n := len(v.queue.items); n > 1+int(maxQueuedTime/frame) {
				t.Fatalf("%d pictures wait", n)
			}
			if i == 10 {
				for range 5 {
					v.Next(t.Context())
				}
			}
		}
		au, err := v.Next(t.Context())
		if err != nil || au.Seq != again || !au.Key || au.Lost != again-5 {
			t.Errorf("picture %d, key %v, %d lost, %v", au.Seq, au.Key, au.Lost, err)
		}
	})
}

func TestLossesWaitForAKeyFrame(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := reel()
		step := func(i int, whole bool) {
			p := picture{key: i%gop == 0, stamp: uint32(i * 900), at: time.Now()}
			if whole {
				p.data = []byte{1}
			}
			v.got(p)
			time.Sleep(frame / 4)
		}
		step(5, true) // before the first key frame: left out, not lost
		for i := range 100 {
			switch {
			case i == 30: // torn
				step(i, false)
			case i == 47: // lost without a trace
				v.lost()
			case i == 80: // a key frame is: one picture, two packets
				v.lost()
				v.lost()
			default:
				step(i+gop, true)
			}
		}
		want := []struct{ seq, lost uint64 }{}
		for i := range uint64(100) {
			switch {
			case i < 30 || i >= 40 && i < 47 || i >= 60 && i < 80:
				want = append(want, struct{ seq, lost uint64 }{i, 0})
			}
		}
		for _, w := range want {
			au, err := v.Next(t.Context())
			if err != nil || au.Seq != w.seq || au.Lost > 0 != (w.seq == 40 || w.seq == 60) || au.Lost > 0 && !au.Key {
				t.Fatalf("picture %d, %d lost, key %v, %v; want %d", au.Seq, au.Lost, au.Key, err, w.seq)
			}
		}
		if n := len(v.queue.items); n != 0 {
			t.Errorf("%d more pictures wait", n)
		}
	})
}

func TestStreamWithoutKeyFramesEnds(t *testing.T) {
	t.Parallel()
	for _, from := range []int{1, 0} { // none at all; none after a loss
		synctest.Test(t, func(t *testing.T) {
			v := reel()
			for i := from; i < 400; i++ {
				if i == 30 {
					v.lost()
				}
				v.got(picture{data: []byte{1}, key: i == 0, stamp: uint32(i * 3600), at: time.Now()})
				time.Sleep(frame)
			}
			n := 0
			var err error
			for ; err == nil; n++ {
				_, err = v.Next(t.Context())
			}
			says(t, err, hal.ErrGarbage, "no key frame for 10s")
			if want := 30 * (1 - from); n-1 != want {
				t.Errorf("%d pictures came, want %d", n-1, want)
			}
		})
	}
}

func TestQueueTellsWhenNothingComes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newQueue[int](4 * time.Second)
		go func() {
			for i := range 5 {
				time.Sleep(3 * time.Second)
				q.hear(time.Now())
				q.update(func(list []int) []int { return append(list, i) })
			}
		}()
		began := time.Now()
		for i := range 5 {
			if got, err := q.next(t.Context()); got != i || err != nil {
				t.Fatalf("%d, %v", got, err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := q.next(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a context that ends: %v", err)
		}
		_, err := q.next(t.Context())
		says(t, err, hal.ErrGone, "sent nothing for 4s")
		if took := time.Since(began); took != 19*time.Second {
			t.Errorf("that was told after %v", took)
		}
		if _, err := q.next(t.Context()); !errors.Is(err, hal.ErrGone) {
			t.Errorf("and then %v", err)
		}
	})
}

// What came before the end is handed out; what came before Close is not.
func TestQueueEnds(t *testing.T) {
	t.Parallel()
	q := newQueue[int](time.Minute)
	q.update(func([]int) []int { return []int{1, 2} })
	q.fail(hal.ErrGone)
	q.fail(hal.ErrGarbage)
	if got, err := q.next(t.Context()); got != 1 || err != nil {
		t.Errorf("%d, %v", got, err)
	}
	q.close()
	q.update(func([]int) []int { return []int{3} })
	if got, err := q.next(t.Context()); !errors.Is(err, hal.ErrClosed) {
		t.Errorf("%d, %v", got, err)
	}
}
