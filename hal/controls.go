package hal

import (
	"context"
	"fmt"
	"slices"
)

// wrong is an ErrArgument that says what, where, and what would be right.
func wrong(what string, is any, want string, args ...any) error {
	return fmt.Errorf("%s: %w: is %v, want %s", what, ErrArgument, is, fmt.Sprintf(want, args...))
}

func among[T comparable](what string, is T, list []T) error {
	if slices.Contains(list, is) {
		return nil
	}
	return wrong(what, is, "one of %v", list)
}

func between(what string, is, low, high int) error {
	if is >= low && is <= high {
		return nil
	}
	return wrong(what, is, "%d to %d", low, high)
}

// running returns the open stream of a name.
func (c *Camera) running(stream string) (*Video, error) {
	s, err := c.slot(stream)
	if err != nil {
		return nil, err
	}
	v := s.video()
	if v == nil {
		return nil, fmt.Errorf("stream %s: %w", stream, ErrClosed)
	}
	return v, nil
}

// RequestKeyframe makes an open stream begin a new GOP; by "restart" it is
// interrupted for as long as the device takes to begin again.
func (c *Camera) RequestKeyframe(stream string) error {
	k, err := find[KeyframeRequester](c, CapKeyframe)
	if err != nil {
		return err
	}
	if _, err := c.running(stream); err != nil {
		return err
	}
	return k.RequestKeyframe(stream)
}

// Tune changes an open stream, adjusted to its ranges, and returns what is in
// force.
func (c *Camera) Tune(stream string, patch VideoConfig) (VideoConfig, error) {
	t, err := find[EncoderTuner](c, CapTune)
	if err != nil {
		return VideoConfig{}, err
	}
	v, err := c.running(stream)
	if err != nil {
		return VideoConfig{}, err
	}
	patch = v.slot.clampConfig(patch)
	got, err := t.Tune(stream, patch)
	if err == nil {
		v.wish(patch) // a restart is not to lose it
		c.sizes.reset()
	}
	return got, err
}

// ImageControls lists the numbers of the picture's processing; none without them.
func (c *Camera) ImageControls() []Control {
	t, err := find[ImageTuner](c, CapImage)
	if err != nil {
		return nil
	}
	return t.ImageControls()
}

// SetImageControl sets one and returns what is in force.
func (c *Camera) SetImageControl(id string, value int) (int, error) {
	t, err := find[ImageTuner](c, CapImage)
	if err != nil {
		return 0, err
	}
	list := t.ImageControls()
	i := slices.IndexFunc(list, func(k Control) bool { return k.ID == id })
	if i < 0 {
		var ids []string
		for _, k := range list {
			ids = append(ids, k.ID)
		}
		return 0, wrong("image control", id, "one of %v", ids)
	}
	if err := between("image."+id, value, list[i].Min, list[i].Max); err != nil {
		return 0, err
	}
	defer c.disturbed()
	return t.SetImageControl(id, value)
}

// MaxOverlay is the longest text in the picture.
const MaxOverlay = 64

// SetOverlay replaces the texts in the picture.
func (c *Camera) SetOverlay(texts []Overlay) error {
	o, err := find[Overlayer](c, CapOverlay)
	if err != nil {
		return err
	}
	seen := map[Corner]bool{}
	for _, t := range texts {
		if err := among("overlay corner", t.Corner, []Corner{TopLeft, TopRight, BottomLeft, BottomRight}); err != nil {
			return err
		}
		if seen[t.Corner] {
			return wrong("overlay corner", t.Corner, "each corner once")
		}
		seen[t.Corner] = true
		if len(t.Text) == 0 || len(t.Text) > MaxOverlay || !printable(t.Text) {
			return wrong("overlay text", fmt.Sprintf("%q", t.Text), "1 to %d printable ASCII characters", MaxOverlay)
		}
	}
	return o.SetOverlay(texts)
}

func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// SetDayNight switches filter, light and colour together.
func (c *Camera) SetDayNight(mode DayNightMode) error {
	d, err := find[DayNight](c, CapDayNight)
	if err != nil {
		return err
	}
	if err := among("day and night mode", mode, []DayNightMode{Auto, Day, Night}); err != nil {
		return err
	}
	defer c.disturbed()
	return d.SetDayNight(mode)
}

// DayNight tells the mode and what came of it.
func (c *Camera) DayNight() (DayNightState, error) {
	d, err := find[DayNight](c, CapDayNight)
	if err != nil {
		return DayNightState{}, err
	}
	return d.DayNight()
}

// SetIRFilter puts the infrared filter into the path (true: day) or out of it.
func (c *Camera) SetIRFilter(inPath bool) error {
	f, err := find[IRFilter](c, CapIRFilter)
	if err != nil {
		return err
	}
	defer c.disturbed()
	return f.SetIRFilter(inPath)
}

// Lights lists the lamps; none without them.
func (c *Camera) Lights() []LightKind {
	l, err := find[Lights](c, CapLights)
	if err != nil {
		return nil
	}
	return l.Lights()
}

// SetLight sets a lamp to 0 to 100 percent and returns what is in force.
func (c *Camera) SetLight(kind LightKind, percent int) (int, error) {
	l, err := find[Lights](c, CapLights)
	if err != nil {
		return 0, err
	}
	if err := among("light", kind, l.Lights()); err != nil {
		return 0, err
	}
	if err := between("light."+string(kind), percent, 0, 100); err != nil {
		return 0, err
	}
	defer c.disturbed()
	return l.SetLight(kind, percent)
}

// Light measures the scene, 0 to 1000.
func (c *Camera) Light(ctx context.Context) (int, error) {
	l, err := find[LightSensor](c, CapLightSensor)
	if err != nil {
		return 0, err
	}
	return l.Light(ctx)
}

// Snapshot returns one JPEG of the present scene.
func (c *Camera) Snapshot(ctx context.Context) ([]byte, error) {
	s, err := find[Snapshotter](c, CapSnapshot)
	if err != nil {
		return nil, err
	}
	return s.Snapshot(ctx)
}

// SetMotion changes what counts as motion.
func (c *Camera) SetMotion(m MotionConfig) error {
	d, err := find[MotionDetector](c, CapMotion)
	if err != nil {
		return err
	}
	if err := between("motion sensitivity", m.Sensitivity, 1, 100); err != nil {
		return err
	}
	if len(m.Zones) > 0 && !d.MotionZones() {
		return wrong("motion zones", len(m.Zones), "none: this camera can't look at zones")
	}
	for i, z := range m.Zones {
		if z.X < 0 || z.Y < 0 || z.Width < 1 || z.Height < 1 || z.Width > 1000-z.X || z.Height > 1000-z.Y {
			return wrong(fmt.Sprintf("motion zone %d", i), fmt.Sprintf("%+v", z), "a part of 1000 by 1000")
		}
	}
	return d.SetMotion(m)
}

// NextMotion blocks for the next begin or end of motion; one reader.
func (c *Camera) NextMotion(ctx context.Context) (MotionEvent, error) {
	d, err := find[MotionDetector](c, CapMotion)
	if err != nil {
		return MotionEvent{}, err
	}
	if err := c.motion.take("motion"); err != nil {
		return MotionEvent{}, err
	}
	defer c.motion.free()
	return d.NextMotion(ctx)
}
