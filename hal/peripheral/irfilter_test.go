package peripheral

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/hal/internal/errtest"
)

// coil watches the two lines of a filter.
type coil struct {
	t  *testing.T
	mu sync.Mutex

	in, out bool
	moves   []string
	since   time.Time
	fail    map[string]bool // "in true", "out false", …
	lie     bool            // what fails happens all the same
}

// end is one of the lines.
type end struct {
	c    *coil
	name string
	is   *bool
}

func (e end) Set(active bool) error {
	e.c.mu.Lock()
	defer e.c.mu.Unlock()
	var err error
	if e.c.fail[fmt.Sprintf("%s %v", e.name, active)] {
		if err = errors.New("no such voltage"); !e.c.lie {
			return err
		}
	}
	switch {
	case active && !*e.is:
		e.c.since = time.Now()
	case !active && *e.is:
		e.c.moves = append(e.c.moves, fmt.Sprintf("%s %v", e.name, time.Since(e.c.since)))
	}
	*e.is = active
	if e.c.in && e.c.out {
		e.c.t.Error("both lines are driven")
	}
	return err
}

func (e end) Close() error { return nil }

func (c *coil) filter() *pulsedFilter {
	return newPulsedFilter(end{c, "in", &c.in}, end{c, "out", &c.out}, defaultPulse)
}

func (c *coil) atRest(moves ...string) {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.in || c.out {
		c.t.Errorf("a line is driven: in %v, out %v", c.in, c.out)
	}
	if fmt.Sprint(c.moves) != fmt.Sprint(moves) {
		c.t.Errorf("pulses %v, want %v", c.moves, moves)
	}
}

func TestM13_FilterIsPulsedOneWayAtATime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := &coil{t: t}
		f := c.filter()
		for _, in := range []bool{true, false} {
			if err := f.SetIRFilter(in); err != nil {
				t.Fatal(err)
			}
		}
		c.atRest("in 100ms", "out 100ms")
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				if err := f.SetIRFilter(i%2 == 0); err != nil {
					t.Error(err)
				}
			})
		}
		began := time.Now()
		all.Wait()
		if took := time.Since(began); took != 800*time.Millisecond {
			t.Errorf("8 pulses took %v, want one after the other", took)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestR4_FilterClosedInMidPulseIsAtRest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := &coil{t: t}
		f := c.filter()
		failed := make(chan error, 2)
		for range 2 {
			go func() { failed <- f.SetIRFilter(true) }()
		}
		time.Sleep(30 * time.Millisecond) // the bubble's clock
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		c.atRest("in 30ms")
		for range 2 {
			errtest.Says(t, <-failed, hal.ErrClosed, "filter")
		}
		errtest.Says(t, f.SetIRFilter(false), hal.ErrClosed)
		c.atRest("in 30ms")
	})
}

func TestR4_FilterLineThatStaysOnKeepsTheOtherOff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := &coil{t: t, fail: map[string]bool{"in false": true}}
		f := c.filter()
		c.in = true // stuck
		if f.SetIRFilter(false) == nil {
			t.Fatal("a stuck line was not told")
		}
		if c.out {
			t.Fatal("both lines are driven")
		}
		c.in, c.fail, c.lie = false, map[string]bool{"out true": true}, true
		if f.SetIRFilter(false) == nil {
			t.Fatal("a line that can't be driven was not told")
		}
		c.atRest("out 0s")
	})
}

func TestR4_FilterThatAKilledProcessLeftDrivenIsAtRestOnceItIsOpened(t *testing.T) {
	t.Parallel()
	root := gpioTree(t, "17", "18")
	set(t, root, "17", '1')
	opened(t, Config{Root: root, IRFilter: &IRFilter{In: "17", Out: "18"}})
	if value(t, root, "17") != '0' || value(t, root, "18") != '0' {
		t.Error("a line is driven")
	}
	holds(t, root, map[string]string{"sys/class/gpio/gpio17/direction": "low"})
}

func TestM13_FilterOnLines(t *testing.T) {
	t.Parallel()
	root := gpioTree(t, "17", "18", "5")
	s := opened(t, Config{Root: root, IRFilter: &IRFilter{In: "17", Out: "18", Pulse: time.Millisecond}})
	if err := part[hal.IRFilter](t, s).SetIRFilter(true); err != nil {
		t.Fatal(err)
	}
	if value(t, root, "17") != '0' || value(t, root, "18") != '0' {
		t.Error("a line is driven")
	}
	level := opened(t, Config{Root: root, IRFilter: &IRFilter{Line: "5", ActiveLow: true}})
	if value(t, root, "5") != '1' {
		t.Error("the filter is not in the path at the start")
	}
	if err := part[hal.IRFilter](t, level).SetIRFilter(false); err != nil || value(t, root, "5") != '0' {
		t.Error("the filter is still in the path", err)
	}
}
