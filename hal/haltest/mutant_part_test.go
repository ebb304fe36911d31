package haltest_test

import (
	"bytes"
	"context"
	"errors"
	"image"
	"io"
	"io/fs"
	"slices"
	"testing/fstest"
	"time"

	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/hal/sim"
)

// part makes a mutant of a part that stands before the simulator.
func part(make func(*sim.Board) any) func(*sim.Board, *afterwards) (hal.Board, []any) {
	return func(b *sim.Board, _ *afterwards) (hal.Board, []any) { return b, []any{make(b)} }
}

// Other names, as a field that is called like a method hides it.
type (
	aButtons  = hal.Buttons
	aDayNight = hal.DayNight
	aLights   = hal.Lights
	aLEDs     = hal.LEDs
)

type halfStill struct{ hal.Snapshotter }

func (s halfStill) Snapshot(ctx context.Context) ([]byte, error) {
	b, err := s.Snapshotter.Snapshot(ctx)
	return b[:len(b)/2], err
}

type oneBuffer struct{ p *image.YCbCr }

func (g *oneBuffer) Grab(context.Context) (*image.YCbCr, error) {
	if g.p == nil {
		g.p = image.NewYCbCr(image.Rect(0, 0, 64, 36), image.YCbCrSubsampleRatio420)
	}
	g.p.Y[0]++
	return g.p, nil
}

type doubleControl struct{ hal.ImageTuner }

func (t doubleControl) ImageControls() []hal.Control {
	list := t.ImageTuner.ImageControls()
	return append(list, list[0])
}

type deafControl struct{ hal.ImageTuner }

func (deafControl) SetImageControl(_ string, value int) (int, error) { return value, nil }

type onceOverlay struct {
	hal.Overlayer
	full bool
}

func (o *onceOverlay) SetOverlay(texts []hal.Overlay) error {
	if o.full && len(texts) > 0 {
		return errors.New("no region left")
	}
	o.full = o.full || len(texts) > 1
	return o.Overlayer.SetOverlay(texts)
}

// gone makes an error of a context into one of a device.
func gone(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return hal.ErrGone
	}
	return err
}

type rawMotion struct{ hal.MotionDetector }

func (m rawMotion) NextMotion(ctx context.Context) (hal.MotionEvent, error) {
	e, err := m.MotionDetector.NextMotion(ctx)
	return e, gone(err)
}

type rawButtons struct{ aButtons }

func (b rawButtons) NextButton(ctx context.Context) (hal.ButtonEvent, error) {
	e, err := b.aButtons.NextButton(ctx)
	return e, gone(err)
}

type goneButtons struct{ aButtons }

func (b goneButtons) NextButton(ctx context.Context) (hal.ButtonEvent, error) {
	e, err := b.aButtons.NextButton(ctx)
	if errors.Is(err, hal.ErrClosed) {
		err = hal.ErrGone
	}
	return e, err
}

type owl struct{ aDayNight }

func (d owl) DayNight() (hal.DayNightState, error) {
	s, err := d.aDayNight.DayNight()
	s.Night = !s.Night
	return s, err
}

type stuckFilter struct{ out bool }

func (f *stuckFilter) SetIRFilter(inPath bool) error {
	if f.out && !inPath {
		return errors.New("it is out already")
	}
	f.out = !inPath
	return nil
}

type rawLights struct{ aLights }

func (l rawLights) SetLight(kind hal.LightKind, percent int) (int, error) {
	v, err := l.aLights.SetLight(kind, percent)
	return v * 255 / 100, err
}

type rawSensor struct{}

func (rawSensor) Light(context.Context) (int, error) { return 4095, nil }

// head is the simulator's, of which each mutant changes one method.
type head struct{ hal.PTZ }

type pastEnd struct{ head }

func (h pastEnd) Position() (hal.Position, error) {
	p, err := h.PTZ.Position()
	p.Zoom -= 0.001
	return p, err
}

type crossed struct{ head }

func (h crossed) MoveTo(p hal.Position) error {
	p.Pan, p.Tilt = p.Tilt, p.Pan
	return h.PTZ.MoveTo(p)
}

type runaway struct{ head }

func (h runaway) Drive(v hal.Position, d time.Duration) error {
	if v != (hal.Position{}) {
		d = hal.MaxDrive
	}
	return h.PTZ.Drive(v, d)
}

type noBrake struct{ head }

func (h noBrake) Drive(v hal.Position, d time.Duration) error {
	if v == (hal.Position{}) {
		return nil
	}
	return h.PTZ.Drive(v, d)
}

type unsorted struct{ head }

func (h unsorted) Presets() ([]string, error) {
	list, err := h.PTZ.Presets()
	slices.Reverse(list)
	return list, err
}

type lost struct{ head }

func (h lost) GoToPreset(name string) error {
	if err := h.PTZ.GoToPreset(name); err != nil {
		return err
	}
	return h.PTZ.Drive(hal.Position{}, 0)
}

type obliging struct{ head }

func (h obliging) GoToPreset(name string) error {
	if err := h.PTZ.GoToPreset(name); err != nil {
		return h.PTZ.MoveTo(hal.Position{})
	}
	return nil
}

type blinker struct {
	aLEDs
	blinks map[string]bool
}

func (l *blinker) SetLED(name string, p hal.Pattern) error {
	if l.blinks[name] && p.On > 0 && p.Off == 0 {
		return errors.New("the trigger is timer")
	}
	l.blinks[name] = p.On > 0 && p.Off > 0
	return l.aLEDs.SetLED(name, p)
}

type mute struct{}

func (mute) SetSiren(bool) error  { return nil }
func (mute) Siren() (bool, error) { return false, nil }

type nilDisplay struct{ hal.Display }

func (d nilDisplay) Show(p image.Image) error {
	_ = p.Bounds()
	return d.Display.Show(p)
}

type milli struct{ hal.Sensors }

func (s milli) Readings(ctx context.Context) ([]hal.Reading, error) {
	list, err := s.Sensors.Readings(ctx)
	for i := range list {
		list[i].Value *= 1000
	}
	return list, err
}

type locked struct{}

func (locked) Identity() (fs.FS, error) { return lockedFiles{fstest.MapFS{"key": {}}}, nil }

type lockedFiles struct{ fstest.MapFS }

func (f lockedFiles) Open(name string) (fs.File, error) {
	if name == "key" {
		return nil, fs.ErrPermission
	}
	return f.MapFS.Open(name)
}

func (f lockedFiles) ReadFile(name string) ([]byte, error) { return nil, fs.ErrPermission }

type allRun struct{ hal.Firmware }

func (f allRun) Slots() ([]hal.Slot, error) {
	list, err := f.Firmware.Slots()
	for i := range list {
		list[i].Size = 0
	}
	return list, err
}

type forgetful struct{ hal.Firmware }

func (f forgetful) WriteSlot(ctx context.Context, slot string, r io.Reader) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	return f.Firmware.WriteSlot(ctx, slot, bytes.NewReader(b))
}

func (forgetful) BootNext(string) error { return nil }

func partMutants() []mutant {
	return []mutant{
		{finds: "snapshot", how: "half a JPEG", make: part(func(b *sim.Board) any { return halfStill{b} })},
		{finds: "grab", how: "one buffer for all pictures", make: part(func(*sim.Board) any { return &oneBuffer{} })},
		{finds: "image-list", how: "a control is listed twice", make: part(func(b *sim.Board) any { return doubleControl{b} })},
		{finds: "image-set", how: "a value is not set", make: part(func(b *sim.Board) any { return deafControl{b} })},
		{finds: "overlay", how: "texts are not taken away", make: part(func(b *sim.Board) any { return &onceOverlay{Overlayer: b} })},
		{finds: "motion", how: "a context that ends is told as a device that is gone", make: part(func(b *sim.Board) any { return rawMotion{b} })},
		{finds: "daynight", how: "night is day", make: part(func(b *sim.Board) any { return owl{b} })},
		{finds: "irfilter", how: "out twice is an error", make: part(func(*sim.Board) any { return &stuckFilter{} })},
		{finds: "lights", how: "0 to 255", make: part(func(b *sim.Board) any { return rawLights{b} })},
		{finds: "lightsensor", how: "the converter's number", make: part(func(*sim.Board) any { return rawSensor{} })},
		{finds: "ptz-position", how: "a little past the end", make: part(func(b *sim.Board) any { return pastEnd{head{b}} })},
		{finds: "ptz-move", how: "pan and tilt are mixed up", make: part(func(b *sim.Board) any { return crossed{head{b}} })},
		{finds: "ptz-drive", how: "it does not stop by itself", make: part(func(b *sim.Board) any { return runaway{head{b}} })},
		{finds: "ptz-stop", how: "it can't be stopped", make: part(func(b *sim.Board) any { return noBrake{head{b}} })},
		{finds: "ptz-presets", how: "presets in another order", make: part(func(b *sim.Board) any { return unsorted{head{b}} })},
		{finds: "ptz-goto", how: "a kept position is not gone to", make: part(func(b *sim.Board) any { return lost{head{b}} })},
		{finds: "ptz-no-preset", how: "an unknown name is the middle", make: part(func(b *sim.Board) any { return obliging{head{b}} })},
		{finds: "buttons", how: "a context that ends is told as a device that is gone", make: part(func(b *sim.Board) any { return rawButtons{b} })},
		{finds: "events-close", how: "Close is told as a device that is gone", make: part(func(b *sim.Board) any { return goneButtons{b} })},
		{finds: "leds", how: "steady light after blinking fails", make: part(func(b *sim.Board) any { return &blinker{b, map[string]bool{}} })},
		{finds: "siren", how: "it says off always", make: part(func(*sim.Board) any { return mute{} })},
		{finds: "display", how: "nil is taken for a picture, which panics", make: part(func(b *sim.Board) any { return nilDisplay{b} })},
		{finds: "sensors", how: "thousandths", make: part(func(b *sim.Board) any { return milli{b} })},
		{finds: "identity", how: "a file that can't be read", make: part(func(*sim.Board) any { return locked{} })},
		{finds: "firmware-slots", how: "slots of no size", make: part(func(b *sim.Board) any { return allRun{b} })},
		{finds: "firmware-write", how: "the next boot is not set", make: part(func(b *sim.Board) any { return forgetful{b} })},
	}
}
