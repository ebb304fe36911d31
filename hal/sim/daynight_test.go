package sim

import (
	"context"
	"errors"
	"testing"
	"time"

	"iid2secure.nl/camagent/hal"
)

func TestM1_NightIsDarkAndGreyWithInfraredLight(t *testing.T) {
	t.Parallel()
	bubble(t, Config{Scenario: script(t, "light: 2")}, func(t *testing.T, b *Board) {
		if s, err := b.DayNight(); err != nil || s != (hal.DayNightState{Mode: hal.Auto, Night: true}) {
			t.Fatalf("a camera that starts in the dark: %+v, %v", s, err)
		}
		luma, _, colour := mean(painted(b, 0), middleRect)
		if luma < 80 || colour > 0.1 {
			t.Errorf("with infrared light: luma %.0f, colour %.1f", luma, colour)
		}
		if err := b.SetDayNight(hal.Day); err != nil {
			t.Fatal(err)
		}
		dark, spread, _ := mean(painted(b, 1), middleRect)
		if dark > 35 || spread > 20 {
			t.Errorf("without: luma %.0f, spread %.0f", dark, spread)
		}
		if got, err := b.SetLight(hal.White, 100); err != nil || got != 100 {
			t.Fatal(got, err)
		}
		if luma, _, colour := mean(painted(b, 1), middleRect); luma < 80 || colour < 3 {
			t.Errorf("with white light: luma %.0f, colour %.1f", luma, colour)
		}
		if _, err := b.SetLight(hal.White, 0); err != nil {
			t.Fatal(err)
		}
		if _, err := b.SetLight(hal.Infrared, 100); err != nil {
			t.Fatal(err)
		}
		if luma, _, _ := mean(painted(b, 1), middleRect); luma > 35 {
			t.Errorf("infrared light through the filter: luma %.0f", luma)
		}
		if err := b.SetIRFilter(false); err != nil {
			t.Fatal(err)
		}
		if luma, _, _ := mean(painted(b, 1), middleRect); luma < 80 {
			t.Errorf("infrared light without the filter: luma %.0f", luma)
		}
		if s := b.State(); s.IRFilter || s.Lights[hal.Infrared] != 100 || s.Scene.Light != 2 {
			t.Errorf("%+v", s)
		}
	})
}

// By day, without the filter, infrared light tints what should be grey.
func TestM1_WithoutTheFilterDayIsTinted(t *testing.T) {
	t.Parallel()
	bubble(t, Config{}, func(t *testing.T, b *Board) {
		before := painted(b, 0)
		if err := b.SetIRFilter(false); err != nil {
			t.Fatal(err)
		}
		after := painted(b, 0)
		if is, was := int(after.Cr[50*320+100]), int(before.Cr[50*320+100]); is < was+10 {
			t.Errorf("red is %d after %d", is, was)
		}
	})
}

// Auto mode waits until the light has settled, and takes no notice of what lies
// between its two thresholds, however often anybody looks.
func TestM1_AutoModeSwitchesWithHysteresis(t *testing.T) {
	t.Parallel()
	dusk := []string{
		"{at: 5s, light: 20, for: 8s}", // a lorry
		"{at: 20s, light: 20}", "{at: 60s, light: 100}", "{at: 90s, light: 300, for: 5s}", "{at: 120s, light: 300}", "{at: 150s, light: 100}",
	}
	want := []time.Duration{29 * time.Second, 129 * time.Second}
	for _, every := range []time.Duration{40 * time.Millisecond, time.Second, 3 * time.Second} {
		bubble(t, Config{Scenario: script(t, dusk...)}, func(t *testing.T, b *Board) {
			var switched []time.Duration
			for at := time.Duration(0); at < 200*time.Second; at += every {
				if grey := b.moment(at).view.tone.grey; grey != (len(switched)%2 == 1) {
					switched = append(switched, at)
				}
			}
			if len(switched) != 2 || switched[0]-want[0] >= every || switched[0] < want[0] || switched[1]-want[1] >= every || switched[1] < want[1] {
				t.Errorf("looking every %v: switched at %v, want %v", every, switched, want)
			}
		})
	}
}

// A stream that is a little behind another one sees the past as it was.
func TestM13_TheSwitchToNightIsAtOneTimeForAllStreams(t *testing.T) {
	t.Parallel()
	bubble(t, Config{Scenario: script(t, "{at: 20s, light: 20}")}, func(t *testing.T, b *Board) {
		for _, at := range []time.Duration{28900, 29000, 28990, 28999, 29010} {
			if grey := b.moment(at * time.Millisecond).view.tone.grey; grey != (at >= 29000) {
				t.Errorf("at %v ms: grey is %v", int64(at), grey)
			}
		}
	})
}

func TestM1_LightSensorMeasuresTheScene(t *testing.T) {
	t.Parallel()
	s := script(t, "{at: 10s, light: 200, over: 10s}", "{at: 30s, light: 1000, for: 5s}", "{at: 40s, light: 0, over: 4s}")
	bubble(t, Config{Scenario: s}, func(t *testing.T, b *Board) {
		for _, c := range []struct{ at, want int }{{0, 800}, {10, 800}, {15, 500}, {20, 200}, {29, 200}, {30, 1000}, {34, 1000}, {35, 200}, {41, 150}, {44, 0}, {5000, 0}} {
			time.Sleep(time.Duration(c.at)*time.Second - time.Since(b.Start())) // simulated
			if got, err := b.Light(t.Context()); err != nil || got != c.want {
				t.Errorf("after %d s: %d, %v, want %d", c.at, got, err, c.want)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := b.Light(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
	})
}
