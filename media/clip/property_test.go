package clip

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"iid2secure.nl/camagent/hal"
)

// pushed is one picture that the camera gave.
type pushed struct {
	seq uint64
	at  time.Time
	gop int // which one it is of
	i   int // in the camera's list
}

// world is a camera and its owner, who act at random, and what is to come of it.
type world struct {
	*camera
	rnd      *rand.Rand
	luck     *rand.Rand // the store's: of the recorder's goroutine
	r        *Recorder
	store    *memStore
	pictures []pushed
	must     []mark // what has to be recorded
	may      []mark // and what may, as nothing else was when it was wanted
	gop      int
	mu       sync.Mutex // of the next two
	sick     float64    // how often a call of the store fails
	slow     time.Duration
	events   int
}

func (w *world) fail() error {
	w.mu.Lock()
	sick, slow := w.sick, w.slow
	w.mu.Unlock()
	time.Sleep(time.Duration(w.luck.Int64N(int64(slow) + 1)))
	if w.luck.Float64() < sick {
		return errFull
	}
	return nil
}

func (w *world) health(sick float64, slow time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sick, w.slow = sick, slow
}

func (w *world) push() {
	i := int(w.seq % uint64(len(w.list)))
	if w.list[i].Key {
		w.gop++
	}
	w.pictures = append(w.pictures, pushed{w.seq, time.Now(), w.gop, i})
	w.camera.push()
}

func (w *world) play(n int) {
	for range n {
		w.push()
		if w.Audio() != nil {
			w.PushAudio(hal.AudioFrame{Data: make([]byte, 320), Samples: 320, Time: time.Now()})
		}
		time.Sleep(frame)
	}
}

// follow tells the recorder, and notes what holds.
func (w *world) follow(o Order, back time.Duration) {
	since := time.Now().Add(-back)
	w.r.Follow(o, since)
	w.may = truncated(w.may, mark{from: since, Order: o})
	for _, m := range w.must { // clips follow one another: what was before one can't come after it
		if m.Trigger != "" && m.from.After(since) {
			since = m.from
		}
	}
	w.must = truncated(w.must, mark{from: since, Order: o})
}

// truncated is the list with m, which voids what was said of later times.
func truncated(list []mark, m mark) []mark {
	i := slices.IndexFunc(list, func(x mark) bool { return !x.from.Before(m.from) })
	if i < 0 {
		i = len(list)
	}
	return append(list[:i], m)
}

func wanted(list []mark, t time.Time) bool {
	for i := len(list) - 1; i >= 0; i-- {
		if !list[i].from.After(t) {
			return list[i].Trigger != ""
		}
	}
	return false
}

// act does one thing at random.
func (w *world) act() {
	switch w.rnd.IntN(9) {
	case 0:
		w.follow(continuous, 0)
	case 1, 2:
		w.follow(Order{}, 0)
	case 3, 4:
		w.events++
		back := 8000 // the ring holds it
		if w.ring < 1<<20 {
			back = 2500
		}
		w.follow(motion(fmt.Sprint(w.events)), time.Duration(w.rnd.IntN(back))*time.Millisecond)
	case 5:
		w.health([]float64{0, 0, 0.02, 0.3, 1}[w.rnd.IntN(5)], w.slow)
	case 6:
		w.health(w.sick, []time.Duration{0, 0, 50 * time.Millisecond, time.Second}[w.rnd.IntN(4)])
	case 7:
		if w.Audio() == nil {
			w.SetAudio(pcmu)
		} else {
			w.SetAudio(nil)
		}
	case 8: // the board fails for a while, and begins with a key frame
		time.Sleep(time.Duration(w.rnd.IntN(9000)) * time.Millisecond)
		w.seq = (w.seq/25 + 1 + uint64(w.rnd.IntN(3))) * 25
	}
	if w.rnd.IntN(3) > 0 {
		w.play(w.rnd.IntN(120))
	}
}

// No picture is lost or doubled, whatever is wanted when, and however the store
// fails: a picture that was wanted is in one clip, or among those missed; one
// that was not is in a clip only for the sake of its GOP.
func TestM3_R2_R7_EveryPictureOnceOverRandomOrdersAndFailures(t *testing.T) {
	t.Parallel()
	list := real(t)
	runs := 100
	if testing.Short() {
		runs = 40
	}
	for seed := range runs {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			store := &memStore{keeps: seed%3 > 0}
			c := newCamera(list)
			if seed%2 == 1 {
				c.ring = 200_000 // some 6 s
			}
			w := &world{camera: c, rnd: rand.New(rand.NewPCG(uint64(seed), 5)), luck: rand.New(rand.NewPCG(uint64(seed), 6)), store: store}
			store.create = func(context.Context) error { return w.fail() }
			store.write = func(int) error { return w.fail() }
			store.sync, store.close = w.fail, w.fail
			following(t, w.camera, store, Config{}, func(_ *camera, r *Recorder) {
				w.r = r
				for range 25 {
					w.act()
				}
				w.health(0, 0)
				w.play(25 * 40)
			})
			w.check(t)
		})
	}
}

const (
	inClip = 1 << iota
	isMissed
)

func (w *world) check(t *testing.T) {
	t.Helper()
	state := map[uint64]int{}
	of := map[int]bool{} // GOPs of which something may be recorded
	next := uint64(0)
	for i, c := range w.store.clips {
		if c.info.FirstFrame < next {
			t.Fatalf("clip %d begins with %d, the one before ended before %d", i, c.info.FirstFrame, next)
		}
		next = c.info.LastFrame + 1
		in := w.between(c.info.FirstFrame, c.info.LastFrame)
		got := open(t, c.data)
		if c.info.Frames != len(in) || len(got.video) != len(in) {
			t.Fatalf("clip %d: %+v, holds %d pictures, the camera gave %d", i, c.info, len(got.video), len(in))
		}
		for k, p := range in {
			au := w.list[p.i]
			if !bytes.Equal(got.video[k].Payload, au.Data[au.Params:]) {
				t.Fatalf("clip %d: picture %d is not number %d", i, k, p.seq)
			}
			state[p.seq] = inClip
		}
	}
	next = 0
	for _, m := range w.store.missed {
		if m.FirstFrame < next || m.LastFrame < m.FirstFrame || m.To.Before(m.From) || !errors.Is(m.Err, errFull) && !errors.Is(m.Err, errLag) {
			t.Errorf("missed %+v", m)
		}
		next = m.LastFrame + 1
		for _, p := range w.between(m.FirstFrame, m.LastFrame) {
			state[p.seq] |= isMissed
		}
	}
	for i, p := range w.pictures {
		begins := slices.ContainsFunc(w.may, func(m mark) bool { // before the next picture
			return m.Trigger != "" && !m.from.Before(p.at) && (i+1 == len(w.pictures) || m.from.Before(w.pictures[i+1].at))
		})
		if begins || wanted(w.may, p.at) || wanted(w.must, p.at) {
			of[p.gop] = true
		}
	}
	for _, p := range w.pictures {
		switch s := state[p.seq]; {
		case s == inClip|isMissed:
			t.Fatalf("picture %d is in a clip, and told as missed", p.seq)
		case s == 0 && wanted(w.must, p.at):
			t.Fatalf("picture %d of %v is wanted, and neither in a clip nor missed: %v, %+v", p.seq, p.at, told(w.store), w.store.missed)
		case s == inClip && !of[p.gop]:
			t.Fatalf("picture %d is in a clip, and nothing of its GOP is wanted", p.seq)
		}
	}
}

func (w *world) between(first, last uint64) []pushed {
	from, _ := slices.BinarySearchFunc(w.pictures, first, func(p pushed, n uint64) int { return int(p.seq) - int(n) })
	to, _ := slices.BinarySearchFunc(w.pictures, last+1, func(p pushed, n uint64) int { return int(p.seq) - int(n) })
	return w.pictures[from:to]
}
