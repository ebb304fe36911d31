package peripheral

import (
	"slices"
	"strings"
	"testing"
	"time"

	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/hal/internal/errtest"
)

func dim(t *testing.T, l hal.Lights, kind hal.LightKind, percent, want int) {
	t.Helper()
	got, err := l.SetLight(kind, percent)
	if err != nil || got != want {
		t.Fatalf("%s at %d%%: in force is %d, %v; want %d", kind, percent, got, err, want)
	}
}

func TestM13_LampOnALineOnlySwitches(t *testing.T) {
	t.Parallel()
	root := gpioTree(t, "4")
	s := opened(t, Config{Root: root, Lights: []Light{{Kind: "infrared", Line: "4"}}})
	l := part[hal.Lights](t, s)
	if !slices.Equal(l.Lights(), []hal.LightKind{hal.Infrared}) {
		t.Fatal(l.Lights())
	}
	dim(t, l, hal.Infrared, 1, 100)
	if value(t, root, "4") != '1' {
		t.Error("the lamp is dark")
	}
	dim(t, l, hal.Infrared, 0, 0)
	if value(t, root, "4") != '0' {
		t.Error("the lamp shines")
	}
	dim(t, l, hal.Infrared, 80, 100)
	if err := s.Close(); err != nil || value(t, root, "4") != '0' {
		t.Error("the lamp shines after Close:", err)
	}
	_, err := l.SetLight(hal.Infrared, 1)
	errtest.Says(t, err, hal.ErrClosed, "infrared")
}

func ledTree(t testing.TB, name, most, triggers string) string {
	dir := "sys/class/leds/" + name + "/"
	files := map[string]string{dir + "brightness": "3", dir + "max_brightness": most + "\n"}
	if triggers != "" {
		files[dir+"trigger"] = triggers
	}
	return tree(t, files)
}

func TestM13_LampOfTheLEDClassIsDimmed(t *testing.T) {
	t.Parallel()
	for most, want := range map[string][]struct {
		percent, force int
		file           string
	}{
		"255": {{50, 50, "128"}, {100, 100, "255"}, {1, 1, "3"}, {0, 0, "0"}},
		"7":   {{1, 14, "1"}, {50, 57, "4"}, {100, 100, "7"}},
		"1":   {{1, 100, "1"}, {0, 0, "0"}, {100, 100, "1"}},
	} {
		root := ledTree(t, "white:flash", most, "[none] timer\n")
		l := part[hal.Lights](t, opened(t, Config{Root: root, Lights: []Light{{Kind: "white", LED: "white:flash"}}}))
		holds(t, root, map[string]string{"sys/class/leds/white:flash/brightness": "0"})
		for _, w := range want {
			dim(t, l, hal.White, w.percent, w.force)
			holds(t, root, map[string]string{"sys/class/leds/white:flash/brightness": w.file})
		}
		// Nothing wrote to the trigger: that would darken it for a moment.
		if got := read(t, root, "sys/class/leds/white:flash/trigger"); !strings.Contains(got, "[none]") {
			t.Errorf("trigger %q", got)
		}
	}
}

func TestM13_LampOfPWM(t *testing.T) {
	t.Parallel()
	dir := "sys/class/pwm/pwmchip1/pwm2/"
	root := tree(t, map[string]string{
		"sys/class/pwm/pwmchip1/export": "", dir + "period": "0\n", dir + "duty_cycle": "0\n", dir + "enable": "0\n", dir + "polarity": "normal\n",
	})
	s := opened(t, Config{Root: root, Lights: []Light{{Kind: "white", PWM: "pwmchip1:2", ActiveLow: true, Period: 40 * time.Microsecond}}})
	holds(t, root, map[string]string{dir + "period": "40000", dir + "duty_cycle": "0", dir + "enable": "1", dir + "polarity": "inversed"})
	dim(t, part[hal.Lights](t, s), hal.White, 25, 25)
	holds(t, root, map[string]string{dir + "duty_cycle": "10000", "sys/class/pwm/pwmchip1/export": ""})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	holds(t, root, map[string]string{dir + "duty_cycle": "0"})
}
