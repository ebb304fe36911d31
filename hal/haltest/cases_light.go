package haltest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"iid2secure.nl/camagent/hal"
)

func lightCases() []Case {
	const within = 20 * time.Second
	return []Case{
		{"daynight", "SetDayNight switches filter, light and colour together; DayNight tells the wish and what came of it.",
			"a filter whose two lines are mixed up, or a mode that is forgotten", within, dayNight},
		{"irfilter", "SetIRFilter moves the infrared filter, there and back.",
			"a coil that is left under current", within, irFilter},
		{"lights", "SetLight takes 0 to 100 percent and returns what is in force: a lamp that only switches makes 100 of everything above 0.",
			"percent taken for the driver's own steps, or a lamp that can't be switched off", within, lights},
		{"lightsensor", "Light returns 0 (dark) to 1000 (as bright as it can tell).",
			"the converter's raw number", within, lightSensor},
	}
}

func dayNight(ctx context.Context, s *subject) error {
	d, err := need[hal.DayNight](ctx, s, hal.CapDayNight)
	if err != nil {
		return err
	}
	before, err := d.DayNight()
	if err != nil {
		return err
	}
	for _, mode := range []hal.DayNightMode{hal.Night, hal.Day, hal.Auto} {
		if err := switched(ctx, d, mode); err != nil {
			return errors.Join(err, d.SetDayNight(before.Mode))
		}
	}
	return d.SetDayNight(before.Mode)
}

func switched(ctx context.Context, d hal.DayNight, mode hal.DayNightMode) error {
	if err := d.SetDayNight(mode); err != nil {
		return fmt.Errorf("%s: %w", mode, err)
	}
	var is hal.DayNightState
	ok, err := eventually(ctx, 3*time.Second, func() (bool, error) {
		var err error
		is, err = d.DayNight()
		return is.Mode == mode && (mode == hal.Auto || is.Night == (mode == hal.Night)), err
	})
	if err == nil && !ok {
		err = fmt.Errorf("set to %s it says %+v", mode, is)
	}
	return err
}

func irFilter(ctx context.Context, s *subject) error {
	f, err := need[hal.IRFilter](ctx, s, hal.CapIRFilter)
	if err != nil {
		return err
	}
	for _, inPath := range []bool{false, false, true} {
		if err := start(func() error { return f.SetIRFilter(inPath) }).wait(3 * time.Second); err != nil {
			return fmt.Errorf("in the path %v: %w", inPath, err)
		}
	}
	return nil
}

func lights(ctx context.Context, s *subject) error {
	l, err := need[hal.Lights](ctx, s, hal.CapLights)
	if err != nil {
		return err
	}
	list := l.Lights()
	if len(list) == 0 {
		return errors.New("the list is empty: a board without lamps has no Lights")
	}
	seen := map[hal.LightKind]bool{}
	for _, kind := range list {
		if kind != hal.Infrared && kind != hal.White || seen[kind] {
			return fmt.Errorf("a lamp called %q, want infrared or white, once", kind)
		}
		seen[kind] = true
		err := lamp(l, kind)
		_, off := l.SetLight(kind, 0) // whatever came of it
		if err := errors.Join(err, off); err != nil {
			return fmt.Errorf("%s: %w", kind, err)
		}
	}
	return nil
}

func lamp(l hal.Lights, kind hal.LightKind) error {
	for _, percent := range []int{0, 1, 50, 100, 0} {
		is, err := l.SetLight(kind, percent)
		switch {
		case err != nil:
			return fmt.Errorf("%d %%: %w", percent, err)
		case percent == 0 && is != 0, percent == 100 && is != 100, percent > 0 && is < 1, is > 100:
			return fmt.Errorf("it says %d %% after it was set to %d %%", is, percent)
		}
	}
	return nil
}

func lightSensor(ctx context.Context, s *subject) error {
	l, err := need[hal.LightSensor](ctx, s, "light sensor")
	if err != nil {
		return err
	}
	for range 3 {
		v, err := l.Light(ctx)
		if err != nil {
			return err
		}
		if v < 0 || v > 1000 {
			return fmt.Errorf("it says %d, want 0 to 1000", v)
		}
	}
	return nil
}
