package sim

import (
	"errors"
	"fmt"
	"image"
	"slices"
	"testing"
	"time"

	"iid2secure.nl/camagent/hal"
)

func TestM1_PTZShowsAnotherPartOfTheScene(t *testing.T) {
	t.Parallel()
	bubble(t, Config{Scenario: script(t, "traffic: off")}, func(t *testing.T, b *Board) {
		plain := painted(b, 0)
		if err := b.MoveTo(hal.Position{Pan: 0.5, Tilt: 0.25}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(500 * time.Millisecond) // simulated
		if p, err := b.Position(); err != nil || p != (hal.Position{Pan: 0.25, Tilt: 0.125}) {
			t.Errorf("half way: %+v, %v", p, err)
		}
		time.Sleep(time.Second)
		if p, _ := b.Position(); p != (hal.Position{Pan: 0.5, Tilt: 0.25}) {
			t.Errorf("%+v", p)
		}
		turned := painted(b, time.Since(b.Start()))
		for y := 120; y < 300; y++ { // to the right and up: what is seen moves left and down
			for x := 100; x < 460; x++ {
				if got, want := turned.Y[y*640+x], clip(plain.Y[(y-45)*640+x+160]); got != want && y-45 > 64 {
					t.Fatalf("%d, %d is %d, want %d", x, y, got, want)
				}
			}
		}
		if err := b.MoveTo(hal.Position{Zoom: 1}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		near := painted(b, time.Since(b.Start()))
		for _, at := range []image.Point{{200, 120}, {320, 180}, {500, 280}} {
			x, y := 320+(at.X-320)/4, 180+(at.Y-180)/4
			if d := int(near.Y[at.Y*640+at.X]) - int(plain.Y[y*640+x]); d*d > 40*40 {
				t.Errorf("%v is %d, was %d", at, near.Y[at.Y*640+at.X], plain.Y[y*640+x])
			}
		}
	})
}

func TestM1_DriveStopsByItselfAndPresetsAreKept(t *testing.T) {
	t.Parallel()
	bubble(t, Config{}, func(t *testing.T, b *Board) {
		is := func(want hal.Position) {
			t.Helper()
			if p, err := b.Position(); err != nil || fmt.Sprintf("%.3f", p) != fmt.Sprintf("%.3f", want) {
				t.Errorf("%+v, %v, want %+v", p, err, want)
			}
		}
		if err := b.Drive(hal.Position{Pan: -1, Zoom: 0.5}, time.Second); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second) // simulated
		is(hal.Position{Pan: -0.5, Zoom: 0.25})
		if err := b.SavePreset("gate"); err != nil {
			t.Fatal(err)
		}
		if err := b.Drive(hal.Position{Pan: 1, Tilt: 1}, 10*time.Second); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if err := b.Drive(hal.Position{}, 0); err != nil {
			t.Fatal(err)
		}
		is(hal.Position{Tilt: 0.5, Zoom: 0.25})
		time.Sleep(time.Second)
		is(hal.Position{Tilt: 0.5, Zoom: 0.25})
		if err := b.GoToPreset("gate"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		is(hal.Position{Pan: -0.5, Zoom: 0.25})
		if err := b.Drive(hal.Position{Pan: -1}, 10*time.Second); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		is(hal.Position{Pan: -1, Zoom: 0.25})
		if err := b.SavePreset("door"); err != nil {
			t.Fatal(err)
		}
		if list, err := b.Presets(); err != nil || !slices.Equal(list, []string{"door", "gate"}) {
			t.Errorf("%v, %v", list, err)
		}
		if err := b.DeletePreset("door"); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(b.GoToPreset("door")); !errors.Is(err, hal.ErrNotFound) {
			t.Errorf("%v", err)
		}
		if err := b.DeletePreset("door"); !errors.Is(err, hal.ErrNotFound) {
			t.Errorf("%v", err)
		}
		for i := range maxPresets - 1 {
			if err := b.SavePreset(fmt.Sprint(i)); err != nil {
				t.Fatal(err)
			}
		}
		if err := b.SavePreset("one too many"); err == nil {
			t.Error("presets without bound")
		}
	})
}
