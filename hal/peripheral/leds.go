package peripheral

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"iid2secure.nl/camagent/hal"
)

// indicator is one LED.
type indicator interface {
	// blink lets the hardware or the kernel blink; an error: we have to.
	blink(on, off time.Duration) error
	Set(on bool) error
	Close() error
}

// shortest is the shortest time that we switch an LED for: shorter ones nobody
// sees, and they cost.
const shortest = 10 * time.Millisecond

// leds are all indicators.
type leds struct {
	names []string
	lamps map[string]*led
}

var _ hal.LEDs = (*leds)(nil)

func newLEDs() *leds { return &leds{lamps: map[string]*led{}} }

func (l *leds) add(name string, to indicator) {
	l.names = append(l.names, name)
	l.lamps[name] = &led{name: name, indicator: to}
}

// LEDs implements [hal.LEDs].
func (l *leds) LEDs() []string { return slices.Clone(l.names) }

// SetLED implements [hal.LEDs].
func (l *leds) SetLED(name string, p hal.Pattern) error { return l.lamps[name].show(p) }

// Close switches all off and ends the blinking.
func (l *leds) Close() error {
	var errs []error
	for _, name := range l.names {
		errs = append(errs, l.lamps[name].Close())
	}
	return errors.Join(errs...)
}

// led is one LED and, while it blinks by us, the goroutine that does it.
type led struct {
	name string
	indicator

	mu      sync.Mutex
	closed  bool
	stop    chan struct{} // nil: no goroutine
	stopped chan struct{}
}

// show replaces the pattern.
func (l *led) show(p hal.Pattern) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return fmt.Errorf("led %s: %w", l.name, hal.ErrClosed)
	}
	l.still()
	if p.On <= 0 || p.Off <= 0 {
		return l.Set(p.On > 0)
	}
	if l.blink(p.On, p.Off) == nil {
		return nil
	}
	if err := l.Set(true); err != nil {
		return err
	}
	l.stop, l.stopped = make(chan struct{}), make(chan struct{})
	go l.run(p, l.stop, l.stopped)
	return nil
}

// run blinks until stop; the LED is on when it begins.
func (l *led) run(p hal.Pattern, stop <-chan struct{}, stopped chan<- struct{}) {
	defer close(stopped)
	t := time.NewTimer(max(p.On, shortest))
	defer t.Stop()
	for on := false; ; on = !on {
		select {
		case <-stop:
			return
		case <-t.C:
		}
		if l.Set(on) != nil {
			return // the next pattern tells
		}
		t.Reset(max(map[bool]time.Duration{true: p.On, false: p.Off}[on], shortest))
	}
}

// still ends the goroutine.
func (l *led) still() {
	if l.stop != nil {
		close(l.stop)
		<-l.stopped
		l.stop = nil
	}
}

// Close switches it off.
func (l *led) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	l.still()
	return errors.Join(l.Set(false), l.indicator.Close())
}

// lineLED can't blink by itself.
type lineLED struct{ output }

func (lineLED) blink(_, _ time.Duration) error { return hal.ErrUnable }

// classLED is one of the LED class.
type classLED struct{ ledClass }

// Set shines steadily, or not at all.
func (c classLED) Set(on bool) error {
	if on {
		return c.brightness(c.max)
	}
	return c.brightness(0)
}

// Close has nothing to give back.
func (classLED) Close() error { return nil }
