package hal

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// When auto switches: the light must be beyond a limit for the hold time. The
// limits lie apart, so that a cloud, or our own lamp, switches nothing.
const (
	darkBelow   = 150
	brightAbove = 350
	lightLooks  = time.Second
	lightHolds  = 10 * time.Second
)

// dayNightByFilter switches the infrared filter, and with it the infrared lamp
// and the colour, where there are such.
type dayNightByFilter struct {
	filter IRFilter
	lamp   Lights      // nil: none
	sensor LightSensor // nil: none
	colour ImageTuner  // nil: none
	did    func()      // called when the picture changed

	mu    sync.Mutex
	state DayNightState
	since time.Time // since when the light is for switching; zero: it is not
}

func newDayNightByFilter(filter IRFilter, parts []any, did func()) *dayNightByFilter {
	d := &dayNightByFilter{filter: filter, did: did, state: DayNightState{Mode: Day}}
	if l, ok := As[Lights](parts...); ok && among("light", Infrared, l.Lights()) == nil {
		d.lamp = l
	}
	if t, ok := As[ImageTuner](parts...); ok && hasControl(t, "grayscale") {
		d.colour = t
	}
	d.sensor, _ = As[LightSensor](parts...)
	return d
}

func hasControl(t ImageTuner, id string) bool {
	for _, c := range t.ImageControls() {
		if c.ID == id {
			return true
		}
	}
	return false
}

// SetDayNight is DayNight's; Auto needs a light sensor.
func (d *dayNightByFilter) SetDayNight(mode DayNightMode) error {
	if mode == Auto && d.sensor == nil {
		return fmt.Errorf("%w by itself: it has no light sensor; want day or night", unable(CapDayNight))
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.since = time.Time{}
	if mode != Auto {
		if err := d.put(mode == Night); err != nil {
			return err
		}
	}
	d.state.Mode = mode
	return nil
}

// DayNight is DayNight's.
func (d *dayNightByFilter) DayNight() (DayNightState, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.state, nil
}

// put switches all of it: the lamp is lit only while the filter lets it through.
func (d *dayNightByFilter) put(night bool) error {
	do := []func(bool) error{d.filters, d.colours, d.lights}
	if !night {
		do = []func(bool) error{d.lights, d.filters, d.colours}
	}
	defer d.did()
	var errs []error
	for _, f := range do {
		errs = append(errs, f(night))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("day and night: %w", err)
	}
	d.state.Night = night
	return nil
}

func (d *dayNightByFilter) filters(night bool) error { return d.filter.SetIRFilter(!night) }

func (d *dayNightByFilter) lights(night bool) error {
	if d.lamp == nil {
		return nil
	}
	percent := 0
	if night {
		percent = 100
	}
	_, err := d.lamp.SetLight(Infrared, percent)
	return err
}

func (d *dayNightByFilter) colours(night bool) error {
	if d.colour == nil {
		return nil
	}
	gray := 0
	if night {
		gray = 1
	}
	_, err := d.colour.SetImageControl("grayscale", gray)
	return err
}

// run looks at the light until ctx ends or the sensor fails.
func (d *dayNightByFilter) run(ctx context.Context) error {
	tick := time.NewTicker(lightLooks)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		if s, _ := d.DayNight(); s.Mode != Auto {
			continue
		}
		light, err := d.sensor.Light(ctx)
		if err == nil {
			err = d.see(light, time.Now())
		}
		if err != nil {
			return fmt.Errorf("day and night: %w", err)
		}
	}
}

// see switches once the light has been beyond the limit for long enough.
func (d *dayNightByFilter) see(light int, now time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.state.Mode != Auto {
		return nil // changed meanwhile
	}
	against := light < darkBelow && !d.state.Night || light > brightAbove && d.state.Night
	switch {
	case !against:
		d.since = time.Time{}
	case d.since.IsZero():
		d.since = now
	case now.Sub(d.since) >= lightHolds:
		d.since = time.Time{}
		return d.put(!d.state.Night)
	}
	return nil
}
