package hal

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"
)

// evening is a filter, a lamp, a sensor and a colour that note what is done.
type evening struct {
	mu    sync.Mutex
	did   []string
	level int
	err   error
}

func (e *evening) do(what string, on bool) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.did = append(e.did, what+map[bool]string{true: " on", false: " off"}[on])
	return e.err
}

func (e *evening) done() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	did := e.did
	e.did = nil
	return did
}

func (e *evening) set(level int) { e.mu.Lock(); e.level = level; e.mu.Unlock() }

type aFilter struct{ *evening }

func (f aFilter) SetIRFilter(in bool) error { return f.do("filter", in) }

type aLamp struct{ *evening }

func (l aLamp) Lights() []LightKind { return []LightKind{White, Infrared} }
func (l aLamp) SetLight(k LightKind, v int) (int, error) {
	return v, l.do(string(k), v > 0)
}

type aColour struct{ *evening }

func (c aColour) ImageControls() []Control {
	return []Control{{ID: "grayscale", Range: Range{0, 1}}}
}
func (c aColour) SetImageControl(id string, v int) (int, error) { return v, c.do(id, v > 0) }

type aSensor struct{ *evening }

func (s aSensor) Light(context.Context) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.level, s.err
}

func TestM5_DayAndNightByFilterAndLight(t *testing.T) {
	t.Parallel()
	e := &evening{level: 500}
	bubble(t, func(t *testing.T, _ *fakeBoard, c *Camera) {
		if k, ok := c.Capability(CapDayNight); !ok || k.By != "filter and light" {
			t.Fatalf("%+v", k)
		}
		for _, w := range []struct {
			mode  DayNightMode
			night bool
			did   []string
		}{
			{Night, true, []string{"filter off", "grayscale on", "infrared on"}},
			{Auto, true, nil},
			{Day, false, []string{"infrared off", "filter on", "grayscale off"}},
			{Auto, false, nil},
		} {
			if err := c.SetDayNight(w.mode); err != nil {
				t.Fatal(err)
			}
			is, err := c.DayNight()
			if did := e.done(); err != nil || is != (DayNightState{w.mode, w.night}) || !slices.Equal(did, w.did) {
				t.Errorf("%s: %+v, %v, %v", w.mode, is, did, err)
			}
		}
		e.err = ErrGone
		if err := c.SetDayNight(Night); !errors.Is(err, ErrGone) {
			t.Error(err)
		}
		if is, _ := c.DayNight(); is != (DayNightState{Auto, false}) {
			t.Errorf("%+v after a failure", is)
		}
		if err := c.Run(t.Context()); !errors.Is(err, ErrGone) {
			t.Errorf("Run with a sensor that fails: %v", err)
		}
	}, aFilter{e}, aLamp{e}, aColour{e}, aSensor{e})
}

// M5: with hysteresis, and only after the hold time.
func TestM5_AutoFollowsTheLight(t *testing.T) {
	t.Parallel()
	e := &evening{level: 500}
	bubble(t, func(t *testing.T, _ *fakeBoard, c *Camera) {
		if err := c.SetDayNight(Auto); err != nil {
			t.Fatal(err)
		}
		running(t, c, func() {
			for i, w := range []struct {
				level int
				lasts time.Duration
				night bool
			}{
				{500, time.Minute, false},
				{darkBelow - 1, lightHolds - 2*lightLooks, false}, // a shadow
				{darkBelow, time.Minute, false},
				{darkBelow - 1, lightHolds + 3*lightLooks, true},
				{brightAbove, time.Minute, true}, // our own lamp
				{brightAbove + 1, lightHolds - 2*lightLooks, true},
				{brightAbove, 2 * time.Second, true},
				{brightAbove + 1, lightHolds + 3*lightLooks, false},
			} {
				e.set(w.level)
				<-time.After(w.lasts)
				if is, _ := c.DayNight(); is != (DayNightState{Auto, w.night}) {
					t.Errorf("%d: %+v", i, is)
				}
			}
			if did, want := e.done(), []string{"filter off", "filter on"}; !slices.Equal(did, want) {
				t.Errorf("%v, want %v", did, want)
			}
			// Nothing by itself but in auto.
			if err := c.SetDayNight(Day); err != nil {
				t.Error(err)
			}
			e.set(0)
			<-time.After(time.Minute)
			if is, _ := c.DayNight(); is.Night {
				t.Errorf("%+v", is)
			}
		})
	}, aFilter{e}, aSensor{e})
}

func TestM5_AutoNeedsALightSensor(t *testing.T) {
	t.Parallel()
	e := &evening{}
	bubble(t, func(t *testing.T, _ *fakeBoard, c *Camera) {
		err := c.SetDayNight(Auto)
		if want := "this camera can't do daynight by itself: it has no light sensor; want day or night"; !errors.Is(err, ErrUnable) || err.Error() != want {
			t.Error(err)
		}
		if err := errors.Join(c.SetDayNight(Night), c.SetDayNight(Day)); err != nil {
			t.Error(err)
		}
		running(t, c, func() { <-time.After(time.Second) }) // nothing to do
	}, aFilter{e})
}
