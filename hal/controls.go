package hal

import (
	"context"
	"fmt"
	"image"
	"io"
	"io/fs"
	"math"
	"slices"
	"time"
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

// checkPosition compares p with what the axes can reach.
func checkPosition(p PTZ, at Position, lowZoom float64) error {
	pan, tilt, zoom := p.Axes()
	for _, a := range []struct {
		name   string
		is, lo float64
		has    bool
	}{{"pan", at.Pan, -1, pan}, {"tilt", at.Tilt, -1, tilt}, {"zoom", at.Zoom, lowZoom, zoom}} {
		if !a.has && a.is != 0 {
			return wrong("ptz "+a.name, a.is, "0: this camera has no %s", a.name)
		}
		if math.IsNaN(a.is) || a.is < a.lo || a.is > 1 {
			return wrong("ptz "+a.name, a.is, "%g to 1", a.lo)
		}
	}
	return nil
}

// Axes tells which axes the camera moves; none without PTZ.
func (c *Camera) Axes() (pan, tilt, zoom bool) {
	p, err := find[PTZ](c, CapPTZ)
	if err != nil {
		return false, false, false
	}
	return p.Axes()
}

// Position is where the camera looks now.
func (c *Camera) Position() (Position, error) {
	p, err := find[PTZ](c, CapPTZ)
	if err != nil {
		return Position{}, err
	}
	return p.Position()
}

// MoveTo starts a move.
func (c *Camera) MoveTo(at Position) error {
	p, err := find[PTZ](c, CapPTZ)
	if err != nil {
		return err
	}
	if err := checkPosition(p, at, 0); err != nil {
		return err
	}
	return p.MoveTo(at)
}

// MaxDrive is the longest time for which one Drive turns the camera.
const MaxDrive = 10 * time.Second

// Drive turns the camera at a speed for a time.
func (c *Camera) Drive(speed Position, d time.Duration) error {
	p, err := find[PTZ](c, CapPTZ)
	if err != nil {
		return err
	}
	if err := checkPosition(p, speed, -1); err != nil {
		return err
	}
	if d < 0 || d > MaxDrive {
		return wrong("ptz time", d, "0s to %v", MaxDrive)
	}
	return p.Drive(speed, d)
}

// Presets lists the names of kept positions.
func (c *Camera) Presets() ([]string, error) {
	p, err := find[PTZ](c, CapPTZ)
	if err != nil {
		return nil, err
	}
	return p.Presets()
}

// SavePreset keeps the present position.
func (c *Camera) SavePreset(name string) error { return c.preset(name, PTZ.SavePreset) }

// GoToPreset starts a move to a kept position.
func (c *Camera) GoToPreset(name string) error { return c.preset(name, PTZ.GoToPreset) }

// DeletePreset forgets a kept position.
func (c *Camera) DeletePreset(name string) error { return c.preset(name, PTZ.DeletePreset) }

func (c *Camera) preset(name string, do func(PTZ, string) error) error {
	p, err := find[PTZ](c, CapPTZ)
	if err != nil {
		return err
	}
	if len(name) == 0 || len(name) > 32 || !printable(name) {
		return wrong("preset", fmt.Sprintf("%q", name), "1 to 32 printable ASCII characters")
	}
	return do(p, name)
}

// Buttons lists the buttons; none without them.
func (c *Camera) Buttons() []string {
	b, err := find[Buttons](c, CapButtons)
	if err != nil {
		return nil
	}
	return b.Buttons()
}

// NextButton blocks for the next press or release; one reader.
func (c *Camera) NextButton(ctx context.Context) (ButtonEvent, error) {
	b, err := find[Buttons](c, CapButtons)
	if err != nil {
		return ButtonEvent{}, err
	}
	if err := c.button.take("buttons"); err != nil {
		return ButtonEvent{}, err
	}
	defer c.button.free()
	return b.NextButton(ctx)
}

// LEDs lists the indicators; none without them.
func (c *Camera) LEDs() []string {
	l, err := find[LEDs](c, CapLEDs)
	if err != nil {
		return nil
	}
	return l.LEDs()
}

// SetLED makes an indicator shine.
func (c *Camera) SetLED(name string, p Pattern) error {
	l, err := find[LEDs](c, CapLEDs)
	if err != nil {
		return err
	}
	if err := among("led", name, l.LEDs()); err != nil {
		return err
	}
	if p.On < 0 || p.Off < 0 || p.On > time.Minute || p.Off > time.Minute {
		return wrong("led "+name, p, "times of 0s to 1m")
	}
	return l.SetLED(name, p)
}

// SetSiren switches the siren.
func (c *Camera) SetSiren(on bool) error {
	s, err := find[Siren](c, CapSiren)
	if err != nil {
		return err
	}
	return s.SetSiren(on)
}

// Siren tells whether it sounds.
func (c *Camera) Siren() (bool, error) {
	s, err := find[Siren](c, CapSiren)
	if err != nil {
		return false, err
	}
	return s.Siren()
}

// Show shows a picture on the camera's display; nil clears it.
func (c *Camera) Show(picture image.Image) error {
	d, err := find[Display](c, CapDisplay)
	if err != nil {
		return err
	}
	return d.Show(picture)
}

// Readings measures the camera itself.
func (c *Camera) Readings(ctx context.Context) ([]Reading, error) {
	s, err := find[Sensors](c, CapSensors)
	if err != nil {
		return nil, err
	}
	return s.Readings(ctx)
}

// Identity returns the files of the device's identity as the board keeps them.
func (c *Camera) Identity() (fs.FS, error) {
	s, err := find[IdentityStore](c, CapIdentity)
	if err != nil {
		return nil, err
	}
	return s.Identity()
}

// Slots lists the places for firmware.
func (c *Camera) Slots() ([]Slot, error) {
	f, err := find[Firmware](c, CapFirmware)
	if err != nil {
		return nil, err
	}
	return f.Slots()
}

// spare finds a slot by name; the active one is refused.
func (c *Camera) spare(name string) (Firmware, error) {
	f, err := find[Firmware](c, CapFirmware)
	if err != nil {
		return nil, err
	}
	slots, err := f.Slots()
	if err != nil {
		return nil, err
	}
	var spare []string
	for _, s := range slots {
		if !s.Active {
			spare = append(spare, s.Name)
		}
	}
	return f, among("firmware slot", name, spare)
}

// WriteSlot fills a slot that is not active.
func (c *Camera) WriteSlot(ctx context.Context, slot string, r io.Reader) error {
	f, err := c.spare(slot)
	if err != nil {
		return err
	}
	return f.WriteSlot(ctx, slot, r)
}

// BootNext makes a written slot boot next time.
func (c *Camera) BootNext(slot string) error {
	f, err := c.spare(slot)
	if err != nil {
		return err
	}
	return f.BootNext(slot)
}

// Confirm tells that the running slot works.
func (c *Camera) Confirm() error {
	f, err := find[Firmware](c, CapFirmware)
	if err != nil {
		return err
	}
	return f.Confirm()
}
