package peripheral

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/hal/internal/errtest"
)

func TestM13_KernelBlinksAnLED(t *testing.T) {
	t.Parallel()
	dir := "sys/class/leds/green:status/"
	root := ledTree(t, "green:status", "255", "none [heartbeat] timer\n")
	put(t, root, dir+"delay_on", "500\n")
	put(t, root, dir+"delay_off", "500\n")
	s := opened(t, Config{Root: root, LEDs: []LED{{LED: "status", Class: "green:status"}}})
	l := part[hal.LEDs](t, s)
	holds(t, root, map[string]string{dir + "trigger": "none", dir + "brightness": "0"})
	show := func(on, off time.Duration) {
		t.Helper()
		if err := l.SetLED("status", hal.Pattern{On: on, Off: off}); err != nil {
			t.Fatal(err)
		}
	}
	show(200*time.Millisecond, 1800*time.Millisecond)
	holds(t, root, map[string]string{dir + "trigger": "timer", dir + "delay_on": "200", dir + "delay_off": "1800", dir + "brightness": "255"})
	show(time.Second, 0)
	holds(t, root, map[string]string{dir + "trigger": "none", dir + "brightness": "255"})
	show(0, time.Second)
	holds(t, root, map[string]string{dir + "brightness": "0"})
	show(time.Second, 0)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	holds(t, root, map[string]string{dir + "brightness": "0"})
	errtest.Says(t, l.SetLED("status", hal.Pattern{}), hal.ErrClosed, "status")
}

func TestR4_LEDThatIsUnpluggedIsGone(t *testing.T) {
	t.Parallel()
	root := ledTree(t, "green:status", "255", "")
	l := part[hal.LEDs](t, opened(t, Config{Root: root, LEDs: []LED{{LED: "status", Class: "green:status"}}}))
	remove(t, root, "sys/class/leds/green:status")
	errtest.Says(t, l.SetLED("status", hal.Pattern{On: 1}), hal.ErrGone, "green:status")
}

func TestM13_LEDOfAKernelWithoutTheTimerBlinksAllTheSame(t *testing.T) {
	t.Parallel()
	root := ledTree(t, "green:status", "255", "")
	s := opened(t, Config{Root: root, LEDs: []LED{{LED: "status", Class: "green:status"}}})
	if err := part[hal.LEDs](t, s).SetLED("status", hal.Pattern{On: shortest, Off: shortest}); err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for ctx := limit(t); seen["0"] < 2 || seen["255"] < 2; {
		if ctx.Err() != nil {
			t.Fatal("it does not blink:", seen)
		}
		seen[read(t, root, "sys/class/leds/green:status/brightness")]++
	}
}

// bulb is an LED that can't blink; it notes when it changed.
type bulb struct {
	mu    sync.Mutex
	since time.Time
	is    bool
	list  []string
	fail  error

	slow    chan struct{} // if it is there, Set waits for it
	within  atomic.Int32  // calls of Set
	crowded atomic.Bool   // there were two at once
}

func (b *bulb) blink(_, _ time.Duration) error { return hal.ErrUnable }
func (b *bulb) Close() error                   { return nil }

func (b *bulb) Set(on bool) error {
	if b.within.Add(1) > 1 {
		b.crowded.Store(true)
	}
	defer b.within.Add(-1)
	if b.slow != nil {
		<-b.slow
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if on != b.is {
		b.list = append(b.list, fmt.Sprintf("%v after %v", on, time.Since(b.since)))
	}
	b.is, b.since = on, time.Now()
	return b.fail
}

func TestM13_LEDOnALineBlinksByOneGoroutine(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := &bulb{since: time.Now()}
		l := newLEDs()
		l.add("status", b)
		if err := l.SetLED("status", hal.Pattern{On: 100 * time.Millisecond, Off: 300 * time.Millisecond}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(850 * time.Millisecond) // the bubble's clock
		if err := l.SetLED("status", hal.Pattern{On: 1, Off: 1}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(15 * time.Millisecond)
		if err := l.Close(); err != nil { // joins it, or the bubble complains
			t.Fatal(err)
		}
		want := "[true after 0s false after 100ms true after 300ms false after 100ms true after 300ms false after 10ms]"
		if got := fmt.Sprint(b.list); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	})
}

func TestR4_NewPatternWaitsForTheOldOnesGoroutine(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := &bulb{slow: make(chan struct{}, 1)}
		l := newLEDs()
		l.add("status", b)
		b.slow <- struct{}{}
		if err := l.SetLED("status", hal.Pattern{On: time.Second, Off: time.Second}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(1500 * time.Millisecond) // the goroutine is within Set(false)
		shown := make(chan error, 1)
		go func() { shown <- l.SetLED("status", hal.Pattern{On: time.Second}) }()
		synctest.Wait()
		b.slow <- struct{}{}
		synctest.Wait()
		b.slow <- struct{}{}
		if err := <-shown; err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(b.is, len(b.list)); got != "true 3" || b.crowded.Load() {
			t.Errorf("lit, changes: %s, want true 3: %v; two at once: %v", got, b.list, b.crowded.Load())
		}
		close(b.slow)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestR4_LEDThatFailsEndsItsBlinking(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := &bulb{}
		l := newLEDs()
		l.add("status", b)
		if err := l.SetLED("status", hal.Pattern{On: time.Second, Off: time.Second}); err != nil {
			t.Fatal(err)
		}
		b.mu.Lock()
		b.fail = hal.ErrGone
		b.mu.Unlock()
		time.Sleep(10 * time.Second)
		b.mu.Lock()
		changes := len(b.list)
		b.mu.Unlock()
		if changes != 2 {
			t.Errorf("%d changes after it failed: %v", changes, b.list)
		}
		errtest.Says(t, l.SetLED("status", hal.Pattern{On: time.Second, Off: time.Second}), hal.ErrGone)
		_ = l.Close()
	})
}
