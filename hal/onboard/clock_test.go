package onboard

import (
	"math/rand/v2"
	"testing"
	"time"
)

// frames feeds a clock with frames that were captured every step, arrived after
// a delay, and were stamped by a clock of so many ticks a second.
func frames(c *clock, start time.Time, stamp uint32, ticks float64, n int, step time.Duration, delay func(i int) time.Duration) (list []time.Time) {
	for i := range n {
		captured := time.Duration(i) * step
		list = append(list, c.at(stamp+uint32(int64(captured.Seconds()*ticks)), start.Add(captured+delay(i))))
	}
	return list
}

func none(int) time.Duration { return 0 }

const frame = 40 * time.Millisecond

// rising checks that times rise, and returns the least and the largest step.
func rising(t *testing.T, list []time.Time) (least, most time.Duration) {
	t.Helper()
	least = time.Hour
	for i := 1; i < len(list); i++ {
		step := list[i].Sub(list[i-1])
		if step <= 0 {
			t.Fatalf("time %d is %v after the one before", i, step)
		}
		least, most = min(least, step), max(most, step)
	}
	return least, most
}

func TestClockKeepsTheStreamersSpacing(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	c, start := &clock{rate: videoRate}, time.Now()
	late := func(i int) time.Duration {
		if i == 0 {
			return 0
		}
		return time.Duration(r.IntN(int(30 * time.Millisecond)))
	}
	list := frames(c, start, 1<<32-90000, videoRate, 10000, frame, late) // the stamps wrap
	if least, most := rising(t, list); least < frame-50*time.Microsecond || most > frame+50*time.Microsecond {
		t.Errorf("steps are %v to %v, want %v", least, most, frame)
	}
}

// A session that follows another one goes on later, though both were ahead.
func TestClockAfterAnotherSession(t *testing.T) {
	t.Parallel()
	start := time.Now()
	c := &clock{rate: videoRate, after: start.Add(100 * time.Millisecond)}
	list := frames(c, start, 0, videoRate, 500, frame, none)
	rising(t, list)
	if off := list[0].Sub(start); off < 100*time.Millisecond || off > 101*time.Millisecond {
		t.Errorf("the first time is %v off", off)
	}
	if off := list[499].Sub(start.Add(499 * frame)); off.Abs() > 2*slack {
		t.Errorf("it is %v off in the end", off)
	}
}

// The crystals of sensor and processor differ; 0.02 % is more than they may.
func TestClockFollowsDrift(t *testing.T) {
	t.Parallel()
	for _, ticks := range []float64{videoRate * 1.0002, videoRate * 0.9998} {
		c, start := &clock{rate: videoRate}, time.Now()
		const n = 25 * 3600
		list := frames(c, start, 7, ticks, n, frame, none)
		if least, most := rising(t, list); least < frame*9/10 || most > frame*11/10 {
			t.Errorf("steps are %v to %v", least, most)
		}
		if off := list[n-1].Sub(start.Add((n - 1) * frame)); off.Abs() > 100*time.Millisecond {
			t.Errorf("after an hour it is %v off", off)
		}
	}
}

func TestClockOfAStreamerThatSetsIts(t *testing.T) {
	t.Parallel()
	for _, jump := range []int64{-90000 / 2, -90000 * 3600, 90000 * 2, 90000 * 3600, 1 << 31, -(1 << 31) + 1} {
		c, start := &clock{rate: videoRate}, time.Now()
		list := frames(c, start, 0, videoRate, 100, frame, none)
		after := start.Add(100 * frame)
		list = append(list, frames(c, after, uint32(int64(100*3600)+jump), videoRate, 100, frame, none)...)
		rising(t, list)
		if off := list[199].Sub(after.Add(99 * frame)); off.Abs() > frame {
			t.Errorf("after a jump of %d ticks it is %v off", jump, off)
		}
	}
}

// Frames that were held up, and then came at once, were still captured evenly.
func TestClockOfABurst(t *testing.T) {
	t.Parallel()
	c, start := &clock{rate: videoRate}, time.Now()
	hold := func(i int) time.Duration {
		if i >= 50 && i < 85 {
			return time.Duration(85-i) * frame // up to 1.4 s
		}
		return 0
	}
	list := frames(c, start, 0, videoRate, 200, frame, hold)
	if least, most := rising(t, list); least < frame-frame/500 || most > frame+frame/500 {
		t.Errorf("steps are %v to %v, want %v", least, most, frame)
	}
}

// A streamer that stood still, its stamps too, is later than thought for good.
func TestClockThatStoodStill(t *testing.T) {
	t.Parallel()
	for _, pause := range []time.Duration{1500 * time.Millisecond, time.Minute} {
		c, start := &clock{rate: videoRate}, time.Now()
		list := frames(c, start, 0, videoRate, 200, frame, func(i int) time.Duration {
			if i < 100 {
				return 0
			}
			return pause
		})
		rising(t, list)
		if off := list[199].Sub(start.Add(199*frame + pause)); off.Abs() > frame {
			t.Errorf("after a pause of %v it is %v off", pause, off)
		}
	}
}

// Some streamers begin with what they still have: a second of it, at once.
func TestClockAfterABurstAtTheStart(t *testing.T) {
	t.Parallel()
	c, start := &clock{rate: videoRate}, time.Now()
	list := frames(c, start, 0, videoRate, 500, frame, func(i int) time.Duration { return max(0, time.Duration(20-i)*frame) })
	rising(t, list)
	if off := list[499].Sub(start.Add(499 * frame)); off.Abs() > 2*slack {
		t.Errorf("it is %v off in the end", off)
	}
}
