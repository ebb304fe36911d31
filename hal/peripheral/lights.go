package peripheral

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"iid2secure.nl/camagent/hal"
)

// lamp is one dimmable or switched light.
type lamp interface {
	// dim takes 0 to 100 and returns what is in force.
	dim(percent int) (int, error)
	Close() error
}

// lights are all lamps.
type lights struct {
	kinds []hal.LightKind
	lamps map[hal.LightKind]lamp

	mu     sync.Mutex
	closed bool
}

var _ hal.Lights = (*lights)(nil)

func newLights() *lights { return &lights{lamps: map[hal.LightKind]lamp{}} }

func (l *lights) add(kind hal.LightKind, to lamp) {
	l.kinds = append(l.kinds, kind)
	l.lamps[kind] = to
}

// Lights implements [hal.Lights].
func (l *lights) Lights() []hal.LightKind { return slices.Clone(l.kinds) }

// SetLight implements [hal.Lights].
func (l *lights) SetLight(kind hal.LightKind, percent int) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return 0, fmt.Errorf("light %s: %w", kind, hal.ErrClosed)
	}
	return l.lamps[kind].dim(percent)
}

// Close switches all lamps off.
func (l *lights) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	var errs []error
	for _, kind := range l.kinds {
		_, err := l.lamps[kind].dim(0)
		errs = append(errs, err, l.lamps[kind].Close())
	}
	return errors.Join(errs...)
}

// switchedLamp knows on and off.
type switchedLamp struct{ output }

func (s switchedLamp) dim(percent int) (int, error) {
	if err := s.Set(percent > 0); err != nil || percent <= 0 {
		return 0, err
	}
	return 100, nil
}

// classLamp is one of the LED class.
type classLamp struct{ ledClass }

func (c classLamp) dim(percent int) (int, error) {
	level := scale(percent, c.max)
	if err := c.brightness(level); err != nil {
		return 0, err
	}
	return (level*100 + c.max/2) / c.max, nil
}

// Close has nothing to give back.
func (classLamp) Close() error { return nil }

// scale makes of 0 to 100 percent 0 to most; a lamp that is to shine shines.
func scale(percent, most int) int {
	if percent <= 0 {
		return 0
	}
	return max(1, (percent*most+50)/100)
}
