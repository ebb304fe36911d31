package hal

import (
	"context"
	"errors"
	"image"
	"io"
	"io/fs"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"
)

// fakePart can do everything beyond video, and keeps what it was told last.
type fakePart struct{ told []any }

func (p *fakePart) tell(what ...any) error { p.told = what; return nil }

func (p *fakePart) RequestKeyframe(s string) error                    { return p.tell(s) }
func (p *fakePart) Tune(s string, c VideoConfig) (VideoConfig, error) { return c, p.tell(s, c) }
func (p *fakePart) ImageControls() []Control {
	return []Control{{ID: "contrast", Range: Range{-10, 10}}, {ID: "grayscale", Range: Range{0, 1}}}
}
func (p *fakePart) SetImageControl(id string, v int) (int, error) { return v, p.tell(id, v) }
func (p *fakePart) SetOverlay(t []Overlay) error                  { return p.tell(len(t)) }
func (p *fakePart) SetDayNight(m DayNightMode) error              { return p.tell(m) }
func (p *fakePart) DayNight() (DayNightState, error)              { return DayNightState{Mode: Auto}, nil }
func (p *fakePart) SetIRFilter(in bool) error                     { return p.tell(in) }
func (p *fakePart) Lights() []LightKind                           { return []LightKind{White} }
func (p *fakePart) SetLight(k LightKind, v int) (int, error)      { return v, p.tell(k, v) }
func (p *fakePart) Light(context.Context) (int, error)            { return 500, nil }
func (p *fakePart) Snapshot(context.Context) ([]byte, error)      { return []byte{1}, nil }
func (p *fakePart) MotionZones() bool                             { return true }
func (p *fakePart) SetMotion(c MotionConfig) error                { return p.tell(c.Sensitivity, len(c.Zones)) }
func (p *fakePart) Axes() (bool, bool, bool)                      { return true, true, false }
func (p *fakePart) Position() (Position, error)                   { return Position{Pan: 0.5}, nil }
func (p *fakePart) MoveTo(at Position) error                      { return p.tell(at) }
func (p *fakePart) Drive(v Position, d time.Duration) error       { return p.tell(v, d) }
func (p *fakePart) Presets() ([]string, error)                    { return []string{"door"}, nil }
func (p *fakePart) SavePreset(n string) error                     { return p.tell(n) }
func (p *fakePart) GoToPreset(n string) error                     { return p.tell(n) }
func (p *fakePart) DeletePreset(n string) error                   { return p.tell(n) }
func (p *fakePart) Buttons() []string                             { return []string{"reset"} }
func (p *fakePart) LEDs() []string                                { return []string{"status"} }
func (p *fakePart) SetLED(n string, v Pattern) error              { return p.tell(n, v) }
func (p *fakePart) SetSiren(on bool) error                        { return p.tell(on) }
func (p *fakePart) Siren() (bool, error)                          { return true, nil }
func (p *fakePart) Show(i image.Image) error                      { return p.tell(i == nil) }
func (p *fakePart) Readings(context.Context) ([]Reading, error) {
	return []Reading{{"soc", 40, "°C"}}, nil
}
func (p *fakePart) Identity() (fs.FS, error) { return fstest.MapFS{}, nil }
func (p *fakePart) Slots() ([]Slot, error) {
	return []Slot{{Name: "a", Active: true}, {Name: "b"}}, nil
}
func (p *fakePart) BootNext(s string) error                                  { return p.tell(s) }
func (p *fakePart) Confirm() error                                           { return p.tell("confirm") }
func (p *fakePart) WriteSlot(_ context.Context, s string, _ io.Reader) error { return p.tell(s) }
func (p *fakePart) NextMotion(ctx context.Context) (MotionEvent, error) {
	<-ctx.Done()
	return MotionEvent{}, ctx.Err()
}
func (p *fakePart) NextButton(ctx context.Context) (ButtonEvent, error) {
	<-ctx.Done()
	return ButtonEvent{}, ctx.Err()
}

// calls are all methods of Camera that a capability stands behind, with right
// values.
func calls(ctx context.Context, c *Camera) map[string][]func() error {
	drop := func(_ any, err error) error { return err }
	return map[string][]func() error{
		CapKeyframe:    {func() error { return c.RequestKeyframe("main") }},
		CapTune:        {func() error { return drop(c.Tune("main", VideoConfig{})) }},
		CapImage:       {func() error { return drop(c.SetImageControl("contrast", 10)) }},
		CapOverlay:     {func() error { return c.SetOverlay([]Overlay{{TopLeft, "text"}}) }},
		CapDayNight:    {func() error { return c.SetDayNight(Night) }, func() error { return drop(c.DayNight()) }},
		CapIRFilter:    {func() error { return c.SetIRFilter(true) }},
		CapLights:      {func() error { return drop(c.SetLight(White, 100)) }},
		CapLightSensor: {func() error { return drop(c.Light(ctx)) }},
		CapSnapshot:    {func() error { return drop(c.Snapshot(ctx)) }},
		CapMotion:      {func() error { return c.SetMotion(MotionConfig{Sensitivity: 100, Zones: []Zone{{0, 0, 1000, 1000}}}) }},
		CapMicrophone:  {func() error { return drop(c.OpenMicrophone(ctx)) }},
		CapSpeaker:     {func() error { return drop(c.OpenSpeaker(ctx, AudioFormat{})) }},
		CapPTZ: {func() error { return drop(c.Position()) }, func() error { return c.MoveTo(Position{Pan: -1, Tilt: 1}) },
			func() error { return c.Drive(Position{Pan: 1}, MaxDrive) }, func() error { return drop(c.Presets()) },
			func() error { return c.SavePreset("x") }, func() error { return c.GoToPreset("x") }, func() error { return c.DeletePreset("x") }},
		CapButtons:  {func() error { return drop(c.NextButton(ctx)) }},
		CapLEDs:     {func() error { return c.SetLED("status", Pattern{time.Minute, 0}) }},
		CapSiren:    {func() error { return c.SetSiren(true) }, func() error { return drop(c.Siren()) }},
		CapDisplay:  {func() error { return c.Show(nil) }},
		CapSensors:  {func() error { return drop(c.Readings(ctx)) }},
		CapIdentity: {func() error { return drop(c.Identity()) }},
		CapFirmware: {func() error { return drop(c.Slots()) }, func() error { return c.WriteSlot(ctx, "b", strings.NewReader("")) },
			func() error { return c.BootNext("b") }, c.Confirm},
	}
}

func TestM13_WhatIsLackingIsRefusedByName(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, b *fakeBoard, c *Camera) {
		byFallback := []string{CapKeyframe, CapTune, CapMotion}
		for name, list := range calls(t.Context(), c) {
			for i, call := range list {
				if _, can := c.Capability(name); can != slices.Contains(byFallback, name) {
					t.Errorf("%s: %v", name, can)
				} else if err := call(); !can && (!errors.Is(err, ErrUnable) || err.Error() != "this camera can't do "+name) {
					t.Errorf("%s, %d: %v", name, i, err)
				}
			}
		}
		pan, tilt, zoom := c.Axes()
		if c.ImageControls() != nil || c.Lights() != nil || c.Buttons() != nil || c.LEDs() != nil || c.SpeakerFormats() != nil || pan || tilt || zoom {
			t.Error("lists of what is lacking")
		}
	})
}

func TestM13_RightValuesReachThePart(t *testing.T) {
	t.Parallel()
	part := &fakePart{}
	bubble(t, func(t *testing.T, _ *fakeBoard, c *Camera) {
		c.mustOpen(t, "main", VideoConfig{})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for name, list := range calls(ctx, c) {
			for i, call := range list {
				// Sound has tests of its own; a wait ends with its context.
				err := call()
				if err != nil && name != CapMicrophone && name != CapSpeaker && !(name == CapButtons && errors.Is(err, context.Canceled)) {
					t.Errorf("%s, %d: %v", name, i, err)
				}
			}
		}
		if err := c.SetOverlay(nil); err != nil || part.told[0] != 0 {
			t.Error(err, part.told)
		}
		if len(c.ImageControls()) != 2 || len(c.Lights()) != 1 || len(c.Buttons()) != 1 || len(c.LEDs()) != 1 {
			t.Error("lists")
		}
	}, part)
}

func TestM13_WrongValuesAreRefusedWithTheirRange(t *testing.T) {
	t.Parallel()
	part := &fakePart{}
	bubble(t, func(t *testing.T, _ *fakeBoard, c *Camera) {
		overlay := func(list ...Overlay) func() error { return func() error { return c.SetOverlay(list) } }
		zone := func(z Zone) func() error {
			return func() error { return c.SetMotion(MotionConfig{50, []Zone{{0, 0, 1, 1}, z}}) }
		}
		image := func(id string, v int) func() error {
			return func() error { _, err := c.SetImageControl(id, v); return err }
		}
		light := func(k LightKind, v int) func() error { return func() error { _, err := c.SetLight(k, v); return err } }
		move := func(p Position) func() error { return func() error { return c.MoveTo(p) } }
		drive := func(p Position, d time.Duration) func() error { return func() error { return c.Drive(p, d) } }
		led := func(n string, p Pattern) func() error { return func() error { return c.SetLED(n, p) } }
		for _, w := range []struct {
			call func() error
			says string
		}{
			{image("contrast", 11), "image.contrast: wrong value: is 11, want -10 to 10"},
			{image("contrast", -11), "image.contrast: wrong value: is -11, want -10 to 10"},
			{image("gamma", 0), "image control: wrong value: is gamma, want one of [contrast grayscale]"},
			{overlay(Overlay{"middle", "x"}), "overlay corner: wrong value: is middle, want one of [top-left top-right bottom-left bottom-right]"},
			{overlay(Overlay{TopLeft, "x"}, Overlay{TopLeft, "y"}), "overlay corner: wrong value: is top-left, want each corner once"},
			{overlay(Overlay{TopLeft, ""}), `overlay text: wrong value: is "", want 1 to 64 printable ASCII characters`},
			{overlay(Overlay{TopLeft, "é"}), `overlay text: wrong value: is "é", want 1 to 64 printable ASCII characters`},
			{overlay(Overlay{TopLeft, strings.Repeat("x", 65)}), "want 1 to 64 printable ASCII characters"},
			{func() error { return c.SetDayNight("dusk") }, "day and night mode: wrong value: is dusk, want one of [auto day night]"},
			{light(Infrared, 1), "light: wrong value: is infrared, want one of [white]"},
			{light(White, 101), "light.white: wrong value: is 101, want 0 to 100"},
			{light(White, -1), "light.white: wrong value: is -1, want 0 to 100"},
			{func() error { return c.SetMotion(MotionConfig{}) }, "motion sensitivity: wrong value: is 0, want 1 to 100"},
			{func() error { return c.SetMotion(MotionConfig{Sensitivity: 101}) }, "motion sensitivity: wrong value: is 101, want 1 to 100"},
			{zone(Zone{-1, 0, 1, 1}), "motion zone 1: wrong value: is {X:-1 Y:0 Width:1 Height:1}, want a part of 1000 by 1000"},
			{zone(Zone{0, 0, 0, 1}), "motion zone 1"},
			{zone(Zone{500, 0, 501, 1}), "motion zone 1"},
			{zone(Zone{0, 500, 1, 501}), "motion zone 1"},
			{zone(Zone{1, 0, math.MaxInt, 1}), "motion zone 1"},
			{zone(Zone{0, 1, 1, math.MaxInt}), "motion zone 1"},
			{move(Position{Pan: 1.1}), "ptz pan: wrong value: is 1.1, want -1 to 1"},
			{move(Position{Tilt: -1.1}), "ptz tilt: wrong value: is -1.1, want -1 to 1"},
			{move(Position{Pan: math.NaN()}), "ptz pan: wrong value: is NaN, want -1 to 1"},
			{move(Position{Zoom: 0.1}), "ptz zoom: wrong value: is 0.1, want 0: this camera has no zoom"},
			{drive(Position{Pan: math.Inf(1)}, time.Second), "ptz pan: wrong value: is +Inf, want -1 to 1"},
			{drive(Position{}, -1), "ptz time: wrong value: is -1ns, want 0s to 10s"},
			{drive(Position{}, MaxDrive+1), "ptz time: wrong value: is 10.000000001s, want 0s to 10s"},
			{func() error { return c.SavePreset("") }, `preset: wrong value: is "", want 1 to 32 printable ASCII characters`},
			{func() error { return c.GoToPreset("a\n") }, "preset: wrong value"},
			{func() error { return c.DeletePreset(strings.Repeat("x", 33)) }, "preset: wrong value"},
			{led("power", Pattern{}), "led: wrong value: is power, want one of [status]"},
			{led("status", Pattern{On: -1}), "led status: wrong value: is {-1ns 0s}, want times of 0s to 1m"},
			{led("status", Pattern{Off: time.Hour}), "led status: wrong value: is {0s 1h0m0s}, want times of 0s to 1m"},
			{func() error { return c.WriteSlot(t.Context(), "a", nil) }, "firmware slot: wrong value: is a, want one of [b]"},
			{func() error { return c.BootNext("a") }, "firmware slot: wrong value: is a, want one of [b]"},
			{func() error { return c.BootNext("c") }, "firmware slot: wrong value: is c, want one of [b]"},
		} {
			part.told = nil
			if err := w.call(); !errors.Is(err, ErrArgument) || !strings.Contains(err.Error(), w.says) {
				t.Errorf("%v, want %q", err, w.says)
			}
			if part.told != nil {
				t.Errorf("%q reached the part", w.says)
			}
		}
	}, part)
}

func TestM13_AfterCloseAllIsClosed(t *testing.T) {
	t.Parallel()
	part := &fakePart{}
	bubble(t, func(t *testing.T, _ *fakeBoard, c *Camera) {
		c.mustOpen(t, "main", VideoConfig{})
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		part.told = nil
		for name, list := range calls(t.Context(), c) {
			for i, call := range list {
				if err := call(); !errors.Is(err, ErrClosed) {
					t.Errorf("%s, %d: %v", name, i, err)
				}
			}
		}
		if part.told != nil {
			t.Errorf("it reached the part: %v", part.told)
		}
		if err := c.Run(t.Context()); !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	}, part)
}

func TestM13_OneReaderOfEvents(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, _ *fakeBoard, c *Camera) {
		for _, next := range []func(context.Context) error{
			func(ctx context.Context) error { _, err := c.NextMotion(ctx); return err },
			func(ctx context.Context) error { _, err := c.NextButton(ctx); return err },
		} {
			ctx, cancel := context.WithCancel(t.Context())
			first := make(chan error, 1)
			go func() { first <- next(ctx) }()
			synctest.Wait()
			if err := next(ctx); !errors.Is(err, ErrBusy) {
				t.Error(err)
			}
			cancel()
			if err := <-first; !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
			if err := next(ctx); !errors.Is(err, context.Canceled) {
				t.Errorf("the place was not given back: %v", err)
			}
		}
	}, &fakePart{})
}

// Parts are asked before the board, in their order, and parts of parts too.
func TestM13_PartsComeFirst(t *testing.T) {
	t.Parallel()
	first, second := &fakePart{}, &fakePart{}
	bubble(t, func(t *testing.T, _ *fakeBoard, c *Camera) {
		if err := c.SetSiren(true); err != nil || first.told == nil || second.told != nil {
			t.Error(err, first.told, second.told)
		}
		for _, k := range c.Capabilities() {
			if k.By != "" {
				t.Errorf("%+v although the part can do it", k)
			}
		}
		if len(c.Capabilities()) != 18 { // all but sound
			t.Errorf("%+v", c.Capabilities())
		}
	}, inside{first}, second)
}

type inside struct{ what any }

func (i inside) Parts() []any { return []any{i.what} }
