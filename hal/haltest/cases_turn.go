package haltest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"iid2secure.nl/camagent/hal"
)

func turnCases() []Case {
	const within = 30 * time.Second
	return []Case{
		{"ptz-position", "Position: pan and tilt -1 to 1, zoom 0 to 1; axes that do not move stay 0.",
			"degrees or motor steps", within, turning(position)},
		{"ptz-move", "MoveTo starts a move to p, and returns.",
			"a motor that waits for its end switch, or axes mixed up", within, turning(move)},
		{"ptz-drive", "Drive turns at a speed, right and up positive, and stops by itself.",
			"a motor that runs into its end when the stop command is lost", within, turning(drive)},
		{"ptz-stop", "Drive with zero speed stops at once.",
			"a stop that is queued behind the move", within, turning(driveStop)},
		{"ptz-presets", "Presets lists the names of kept positions, sorted; SavePreset replaces; DeletePreset forgets.",
			"presets kept in the order of the motor's memory", within, turning(presets)},
		{"ptz-goto", "GoToPreset starts the move to a kept position.",
			"the position of the last move is kept instead of the present one", within, turning(goTo)},
		{"ptz-no-preset", "GoToPreset and DeletePreset: ErrNotFound if there is no such name.",
			"an unknown preset moves to the middle", within, turning(noPreset)},
	}
}

// turning runs f and turns the camera back to where it looked.
func turning(f func(context.Context, hal.PTZ) error) func(context.Context, *subject) error {
	return func(ctx context.Context, s *subject) error {
		p, err := need[hal.PTZ](ctx, s, "motors to turn it")
		if err != nil {
			return err
		}
		before, err := p.Position()
		if err != nil {
			return err
		}
		return errors.Join(f(ctx, p), p.MoveTo(before))
	}
}

// near is how exactly a motor must arrive.
const near = 0.02

func distance(a, b hal.Position) float64 {
	return max(math.Abs(a.Pan-b.Pan), math.Abs(a.Tilt-b.Tilt), math.Abs(a.Zoom-b.Zoom))
}

func position(_ context.Context, p hal.PTZ) error {
	at, err := p.Position()
	if err != nil {
		return err
	}
	pan, tilt, zoom := p.Axes()
	if !pan && !tilt && !zoom {
		return errors.New("no axis moves: a board without motors has no PTZ")
	}
	if !pan && at.Pan != 0 || !tilt && at.Tilt != 0 || !zoom && at.Zoom != 0 {
		return fmt.Errorf("it looks at %+v, want 0 in what does not move", at)
	}
	if math.Abs(at.Pan) > 1 || math.Abs(at.Tilt) > 1 || at.Zoom < 0 || at.Zoom > 1 {
		return fmt.Errorf("it looks at %+v, want -1 to 1, zoom 0 to 1", at)
	}
	return nil
}

// aside is a position at some distance from at, in all axes that move.
func aside(p hal.PTZ, at hal.Position) hal.Position {
	step := func(moves bool, v, by float64) float64 {
		switch {
		case !moves:
			return 0
		case v > 0.5:
			return v - by
		}
		return v + by
	}
	pan, tilt, zoom := p.Axes()
	// Different in each axis, so that mixed up ones are seen.
	return hal.Position{Pan: step(pan, at.Pan, 0.25), Tilt: step(tilt, at.Tilt, 0.15), Zoom: step(zoom, at.Zoom, 0.2)}
}

// arrives waits until the camera looks at to.
func arrives(ctx context.Context, p hal.PTZ, to hal.Position) error {
	var at hal.Position
	ok, err := eventually(ctx, 10*time.Second, func() (bool, error) {
		var err error
		at, err = p.Position()
		return distance(at, to) < near, err
	})
	if err == nil && !ok {
		err = fmt.Errorf("it looks at %+v, and should at %+v", at, to)
	}
	return err
}

func move(ctx context.Context, p hal.PTZ) error {
	at, err := p.Position()
	if err != nil {
		return err
	}
	to := aside(p, at)
	if err := start(func() error { return p.MoveTo(to) }).wait(soon); err != nil {
		return err
	}
	return arrives(ctx, p, to)
}

// speeds turns in all axes that move, away from the nearer end.
func speeds(p hal.PTZ, at hal.Position) hal.Position {
	away := func(moves bool, v float64) float64 {
		switch {
		case !moves:
			return 0
		case v > 0.3:
			return -0.5
		}
		return 0.5
	}
	pan, tilt, zoom := p.Axes()
	return hal.Position{Pan: away(pan, at.Pan), Tilt: away(tilt, at.Tilt), Zoom: away(zoom, at.Zoom)}
}

// stands tells where the camera looks once it does not move for a while.
func stands(ctx context.Context, p hal.PTZ, within time.Duration) (hal.Position, error) {
	last, err := p.Position()
	if err != nil {
		return last, err
	}
	for end := time.Now().Add(within); ; {
		if err := pause(ctx, 200*time.Millisecond); err != nil {
			return last, err
		}
		at, err := p.Position()
		switch {
		case err != nil || at == last:
			return at, err
		case time.Now().After(end):
			return at, fmt.Errorf("it still moves after %v", within)
		}
		last = at
	}
}

func drive(ctx context.Context, p hal.PTZ) error {
	from, err := stands(ctx, p, 10*time.Second)
	if err != nil {
		return err
	}
	v := speeds(p, from)
	const lasts = 300 * time.Millisecond
	if err := start(func() error { return p.Drive(v, lasts) }).wait(soon); err != nil {
		return err
	}
	if err := pause(ctx, lasts); err != nil {
		return err
	}
	to, err := stands(ctx, p, soon)
	if err != nil {
		return err
	}
	for _, a := range [][2]float64{{v.Pan, to.Pan - from.Pan}, {v.Tilt, to.Tilt - from.Tilt}, {v.Zoom, to.Zoom - from.Zoom}} {
		if (a[0] > 0) != (a[1] > 0) || (a[0] < 0) != (a[1] < 0) {
			return fmt.Errorf("at speed %+v it went from %+v to %+v", v, from, to)
		}
	}
	return nil
}

func driveStop(ctx context.Context, p hal.PTZ) error {
	from, err := stands(ctx, p, 10*time.Second)
	if err != nil {
		return err
	}
	if err := p.Drive(speeds(p, from), 5*time.Second); err != nil {
		return err
	}
	if err := pause(ctx, 100*time.Millisecond); err != nil {
		return err
	}
	if err := p.Drive(hal.Position{}, 0); err != nil {
		return err
	}
	_, err = stands(ctx, p, soon/4)
	return err
}

// testPreset is a name that nobody else takes.
const testPreset = "hal test"

func presets(_ context.Context, p hal.PTZ) (err error) {
	had, err := p.Presets()
	if err != nil {
		return err
	}
	names := []string{testPreset + " 2", testPreset + " 10", testPreset}
	for _, n := range append(names, testPreset) {
		if err := p.SavePreset(n); err != nil {
			return fmt.Errorf("keeping %q: %w", n, err)
		}
	}
	list, err := p.Presets()
	for _, n := range names {
		err = errors.Join(err, p.DeletePreset(n))
	}
	if err != nil {
		return err
	}
	if want := slices.Sorted(slices.Values(append(slices.Clone(had), names...))); !slices.Equal(list, want) {
		return fmt.Errorf("the list is %q, want %q", list, want)
	}
	if list, err = p.Presets(); err == nil && !slices.Equal(list, had) {
		err = fmt.Errorf("the list is %q after all was deleted, want %q", list, had)
	}
	return err
}

func goTo(ctx context.Context, p hal.PTZ) (err error) {
	from, err := stands(ctx, p, 10*time.Second)
	if err != nil {
		return err
	}
	if err := p.SavePreset(testPreset); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.DeletePreset(testPreset)) }()
	if err := p.MoveTo(aside(p, from)); err != nil {
		return err
	}
	if _, err := stands(ctx, p, 10*time.Second); err != nil {
		return err
	}
	if err := start(func() error { return p.GoToPreset(testPreset) }).wait(soon); err != nil {
		return err
	}
	return arrives(ctx, p, from)
}

func noPreset(_ context.Context, p hal.PTZ) error {
	for _, err := range []error{p.GoToPreset("hal test: no such"), p.DeletePreset("hal test: no such")} {
		if !errors.Is(err, hal.ErrNotFound) {
			return fmt.Errorf("it returned %v, want ErrNotFound", err)
		}
	}
	return nil
}
