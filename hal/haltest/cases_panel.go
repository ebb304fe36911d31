package haltest

import (
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"slices"
	"time"

	"iid2secure.nl/camagent/hal"
)

func panelCases() []Case {
	const within = 20 * time.Second
	return []Case{
		{"buttons", "NextButton blocks for the next event; errors as VideoStream.Next.",
			"a read of the input device that nothing can interrupt", within, buttons},
		{"events-close", "NextButton and NextMotion return ErrClosed when the board is closed meanwhile.",
			"Close waits for a reader that waits for a press", within, eventsClose},
		{"leds", "SetLED: on and off in turns; without Off steadily, without On not at all.",
			"a trigger that stays when the lamp is to shine steadily", within, leds},
		{"siren", "SetSiren and Siren: what was set is what is told.",
			"a siren that can't be switched off", within, siren},
		{"display", "Show shows a picture; nil clears the display.",
			"a picture larger than the display, or nil taken for one", within, display},
		{"sensors", "Readings: each a name, a value and one of the units °C, V, %, lx.",
			"thousandths of a degree", within, sensors},
	}
}

func unique(what string, names []string) error {
	if len(names) == 0 {
		return fmt.Errorf("no %s is listed: a board without has no such capability", what)
	}
	sorted := slices.Sorted(slices.Values(names))
	if sorted[0] == "" || len(slices.Compact(sorted)) != len(names) {
		return fmt.Errorf("the names of the %ss are %q, want each once", what, names)
	}
	return nil
}

func buttons(ctx context.Context, s *subject) error {
	b, err := need[hal.Buttons](ctx, s, hal.CapButtons)
	if err != nil {
		return err
	}
	if err := unique("button", b.Buttons()); err != nil {
		return err
	}
	return waits(ctx, func(ctx context.Context) (time.Time, error) {
		e, err := b.NextButton(ctx)
		if err == nil && !slices.Contains(b.Buttons(), e.Button) {
			err = fmt.Errorf("an event of button %q, which is not listed", e.Button)
		}
		return e.Time, err
	})
}

func eventsClose(ctx context.Context, s *subject) error {
	o, err := s.fresh(ctx)
	if err != nil {
		return err
	}
	var waiting []func(context.Context) error
	if b, ok := hal.As[hal.Buttons](o.parts...); ok {
		waiting = append(waiting, func(ctx context.Context) error { _, err := b.NextButton(ctx); return err })
	}
	if m, ok := hal.As[hal.MotionDetector](o.parts...); ok {
		waiting = append(waiting, func(ctx context.Context) error { _, err := m.NextMotion(ctx); return err })
	}
	if len(waiting) == 0 {
		return lacks("it has neither buttons nor motion")
	}
	ended := make([]error, len(waiting))
	var calls []*call
	for i, next := range waiting {
		calls = append(calls, start(func() error {
			for ended[i] == nil {
				ended[i] = next(ctx)
			}
			return nil
		}))
	}
	if err := pause(ctx, 50*time.Millisecond); err != nil {
		return err
	}
	if err := s.close(); err != nil {
		return err
	}
	for i, c := range calls {
		if err := c.wait(soon); err != nil {
			return err
		}
		if !errors.Is(ended[i], hal.ErrClosed) {
			return fmt.Errorf("it returned %v, want ErrClosed", ended[i])
		}
	}
	return nil
}

func leds(ctx context.Context, s *subject) error {
	l, err := need[hal.LEDs](ctx, s, hal.CapLEDs)
	if err != nil {
		return err
	}
	if err := unique("LED", l.LEDs()); err != nil {
		return err
	}
	blink := 100 * time.Millisecond
	for _, name := range l.LEDs() {
		for _, p := range []hal.Pattern{{On: time.Second}, {On: blink, Off: blink}, {On: time.Second}, {Off: blink}, {}} {
			if err := l.SetLED(name, p); err != nil {
				return fmt.Errorf("%s, %+v: %w", name, p, err)
			}
		}
	}
	return nil
}

func siren(ctx context.Context, s *subject) error {
	k, err := need[hal.Siren](ctx, s, hal.CapSiren)
	if err != nil {
		return err
	}
	if s.Quiet {
		return lacks("left out: it is to be quiet")
	}
	defer k.SetSiren(false)
	for _, on := range []bool{false, true, false} {
		if err := k.SetSiren(on); err != nil {
			return fmt.Errorf("on %v: %w", on, err)
		}
		if is, err := k.Siren(); err != nil || is != on {
			return errors.Join(err, fmt.Errorf("it says %v after %v", is, on))
		}
	}
	return nil
}

func display(ctx context.Context, s *subject) error {
	d, err := need[hal.Display](ctx, s, hal.CapDisplay)
	if err != nil {
		return err
	}
	// As large as the smallest QR, with its quiet zone.
	p := image.NewGray(image.Rect(0, 0, 29, 29))
	for i := range p.Pix {
		p.Pix[i] = byte(255 * (i & 1))
	}
	odd := image.NewPaletted(image.Rect(3, 5, 40, 42), color.Palette{color.White, color.Black})
	for _, picture := range []image.Image{p, odd, nil, p, nil} {
		if err := d.Show(picture); err != nil {
			return err
		}
	}
	return nil
}

func sensors(ctx context.Context, s *subject) error {
	k, err := need[hal.Sensors](ctx, s, hal.CapSensors)
	if err != nil {
		return err
	}
	list, err := k.Readings(ctx)
	if err != nil {
		return err
	}
	// As much as is sane.
	sane := map[string][2]float64{"°C": {-60, 150}, "V": {0, 400}, "%": {0, 100}, "lx": {0, 200000}}
	var names []string
	for _, r := range list {
		names = append(names, r.Name)
		limits, ok := sane[r.Unit]
		if !ok {
			return fmt.Errorf("%s is told in %q, want one of °C, V, %%, lx", r.Name, r.Unit)
		}
		if !(r.Value >= limits[0] && r.Value <= limits[1]) {
			return fmt.Errorf("%s is %g %s, want %g to %g", r.Name, r.Value, r.Unit, limits[0], limits[1])
		}
	}
	return unique("sensor", names)
}
