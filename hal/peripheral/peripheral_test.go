package peripheral

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/hal/internal/errtest"
)

func TestM13_EveryProblemOfTheConfigurationIsTold(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		config Config
		want   []string // one for each line
	}{
		{Config{IRFilter: &IRFilter{}}, []string{"ir_filter: has none, want exactly one of in with out, line"}},
		{Config{IRFilter: &IRFilter{In: "1"}}, []string{`ir_filter.out: is empty, want a line: "gpiochip0:17", or its name`}},
		{Config{IRFilter: &IRFilter{In: "1", Out: "2", Line: "3"}}, []string{"ir_filter: has in with out and line, want exactly one of in with out, line"}},
		{Config{IRFilter: &IRFilter{In: "1", Out: "1"}}, []string{"ir_filter.out: is line 1, which peripherals.ir_filter.in has: want another one"}},
		{Config{IRFilter: &IRFilter{In: "1", Out: "2", Pulse: time.Minute}}, []string{"ir_filter.pulse: is 1m0s, want 1ms to 2s"}},
		{Config{IRFilter: &IRFilter{Line: "1", Pulse: time.Second}}, []string{"ir_filter.pulse: goes with in and out alone: leave it out"}},
		{Config{Lights: []Light{{Kind: "red", Line: "1"}}}, []string{`lights[0].kind: is "red", want "infrared" or "white"`}},
		{Config{Lights: []Light{{Kind: "white", Line: "1"}, {Kind: "white", Line: "2"}}}, []string{`lights[1].kind: is "white", as another one: want each name once`}},
		{Config{Lights: []Light{{Kind: "white", Line: "1", LED: "a"}}}, []string{"lights[0]: has line and led, want exactly one of line, led, pwm"}},
		{Config{Lights: []Light{{Kind: "white", LED: "a", ActiveLow: true, Period: 1}}}, []string{
			"lights[0].period: goes with pwm alone: leave it out", "lights[0].active_low: goes with line and pwm alone: leave it out", "lights[0].period: is 1ns, want 1µs to 1s"}},
		{Config{Lights: []Light{{Kind: "white", LED: "../../etc"}}}, []string{`lights[0].led: is "../../etc", want a name in /sys/class/leds`}},
		{Config{Lights: []Light{{Kind: "white", PWM: "pwmchip0"}}}, []string{`lights[0].pwm: is "pwmchip0", want a chip of /sys/class/pwm and its channel: "pwmchip0:1"`}},
		{Config{Lights: []Light{{Kind: "white", PWM: "pwmchip../x:0"}}}, []string{`lights[0].pwm: is "pwmchip../x:0", want a chip of /sys/class/pwm and its channel: "pwmchip0:1"`}},
		{Config{LightSensor: &LightSensor{}}, []string{"light_sensor: has none, want exactly one of line, iio, file"}},
		{Config{LightSensor: &LightSensor{Line: "1", Dark: 1}}, []string{"light_sensor.dark: goes with iio and file alone: leave it out"}},
		{Config{LightSensor: &LightSensor{IIO: "in_voltage0_raw"}}, []string{"light_sensor.bright: is 0, and so is dark: want the numbers that are read in bright light and in the dark"}},
		{Config{LightSensor: &LightSensor{IIO: "a/../b", Bright: 1}}, []string{`light_sensor.iio: is "../b", want a name in /sys/bus/iio/devices/…`}},
		{Config{LightSensor: &LightSensor{File: "adc", Bright: 1}}, []string{`light_sensor.file: is "adc", want a path that begins with /`}},
		{Config{Buttons: []Button{{Button: "Reset!", Key: "KEY_RESTART"}}}, []string{`buttons[0].button: is "Reset!", want a name of 1 to 32 of a-z, 0-9, - and _`}},
		{Config{Buttons: []Button{{Button: "reset"}}}, []string{"buttons[0]: has none, want exactly one of key, line"}},
		{Config{Buttons: []Button{{Button: "reset", Key: "KEY_RESET"}}}, []string{`buttons[0].key: is "KEY_RESET", want a key's name (KEY_RESTART, KEY_WPS_BUTTON, KEY_POWER, …) or its number, 1 to 767`}},
		{Config{Buttons: []Button{{Button: "a", Key: "408"}, {Button: "b", Key: "KEY_RESTART"}}}, []string{`buttons[1].key: is key 408 of device "", which peripherals.buttons[0].key has: want another one`}},
		{Config{Buttons: []Button{{Button: "a", Key: "408", ActiveLow: true, Debounce: time.Second}}}, []string{
			"buttons[0].active_low: goes with line alone: leave it out", "buttons[0].debounce: goes with line alone: leave it out"}},
		{Config{Buttons: []Button{{Button: "a", Line: "1", Device: "x", Debounce: time.Hour}}}, []string{
			"buttons[0].device: goes with key alone: leave it out", "buttons[0].debounce: is 1h0m0s, want 1ms to 1s"}},
		{Config{LEDs: []LED{{LED: "status"}}}, []string{"leds[0]: has none, want exactly one of class, line"}},
		{Config{LEDs: []LED{{LED: "status", Class: "x", ActiveLow: true}}}, []string{"leds[0].active_low: goes with line alone: leave it out"}},
		{Config{LEDs: []LED{{LED: "status", Class: "x"}}, Lights: []Light{{Kind: "white", LED: "x"}}}, []string{"leds[0].class: is LED x, which peripherals.lights[0].led has: want another one"}},
		{Config{Siren: &Siren{Line: "gpiochip0:x"}, LEDs: []LED{{LED: "a", Line: "gpiochip0:x"}}}, []string{"siren.line: is line gpiochip0:x, which peripherals.leds[0].line has: want another one"}},
		{Config{Siren: &Siren{}}, []string{`siren.line: is empty, want a line: "gpiochip0:17", or its name`}},
		{Config{Sensors: []Sensor{{Sensor: "soc"}}}, []string{"sensors[0]: has none, want exactly one of thermal, hwmon"}},
		{Config{Sensors: []Sensor{{Sensor: "soc", Thermal: "*"}}}, []string{`sensors[0].sensor: goes with one sensor, not with "*": leave it out`}},
		{Config{Sensors: []Sensor{{Hwmon: "ina219"}}}, []string{`sensors[0].hwmon: is "ina219", want chip:input or chip:label, or "*"`}},
	} {
		c.config.Root = t.TempDir()
		_, err := New(c.config)
		if err == nil {
			t.Errorf("taken: %q", c.want)
			continue
		}
		got := strings.Split(err.Error(), "\n")
		for i, w := range c.want {
			c.want[i] = "peripherals." + w
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%q\nwant %q", got, c.want)
		}
	}
}

func TestM13_EveryMissingDeviceIsToldAndNothingStaysOpen(t *testing.T) {
	root := gpioTree(t, "1", "2") // not parallel: it counts descriptors
	before := descriptors(t)
	_, err := New(Config{
		Root:        root,
		IRFilter:    &IRFilter{In: "1", Out: "77"},
		Lights:      []Light{{Kind: "infrared", Line: "2"}, {Kind: "white", LED: "white:flash"}},
		LightSensor: &LightSensor{File: "/dev/adc", Bright: 1},
		Buttons:     []Button{{Button: "reset", Key: "KEY_RESTART"}, {Button: "wps", Key: "KEY_WPS_BUTTON", Device: "gpio-keys"}},
		LEDs:        []LED{{LED: "status", Line: "gpiochip0:3"}},
		Siren:       &Siren{Line: "BUZZER"},
		Sensors:     []Sensor{{Thermal: "cpu-thermal"}},
	})
	if !errors.Is(err, hal.ErrNotFound) {
		t.Fatal(err)
	}
	lines := strings.Split(err.Error(), "\n")
	for i, w := range [][2]string{
		{"ir_filter.out", "no chip has line 77"}, {"lights[1].led", `no LED "white:flash", want one of none`}, {"light_sensor.file", "dev/adc"},
		{"buttons[0].key", "no input device has the key 408; there is none"}, {"buttons[1].key", `no input device "gpio-keys"`},
		{"leds[0].line", `there is no chip "gpiochip0", want one of none`}, {"siren.line", "want the number"}, {"sensors[0].thermal", `no "cpu-thermal": this kernel has no such sensors`},
	} {
		if i >= len(lines) || !strings.HasPrefix(lines[i], "peripherals."+w[0]+": ") || !strings.Contains(lines[i], w[1]) {
			t.Fatalf("problem %d is not %q:\n%v", i, w, err)
		}
	}
	if len(lines) != 8 {
		t.Errorf("%d problems, want 8:\n%v", len(lines), err)
	}
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors open, before %d", after, before)
	}
}

func TestM13_AKeyThatTwoButtonsHaveIsTold(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	inputs(t, root, "event0", "gpio-keys", 0x198, 0x211)
	_, err := New(Config{Root: root, Buttons: []Button{{Button: "a", Key: "KEY_RESTART"}, {Button: "b", Key: "0x211"}, {Button: "c", Key: "408", Device: "gpio-keys"}}})
	errtest.Says(t, err, nil, "peripherals.buttons[2].key", `button "a" has`)
}

func TestM13_ASetHasThePartsThatAreConfiguredAndNoOthers(t *testing.T) {
	root := gpioTree(t, "1", "2", "3", "4", "5", "6") // not parallel: it counts descriptors
	inputs(t, root, "event0", "gpio-keys", 0x198)
	before := descriptors(t)
	c := Config{
		Root:        root,
		IRFilter:    &IRFilter{In: "1", Out: "2"},
		Lights:      []Light{{Kind: "infrared", Line: "3"}},
		LightSensor: &LightSensor{Line: "4"},
		Buttons:     []Button{{Button: "reset", Key: "KEY_RESTART"}, {Button: "doorbell", Line: "5"}},
		Siren:       &Siren{Line: "6"},
	}
	if none := opened(t, Config{}); len(none.Parts()) != 0 {
		t.Errorf("parts of nothing: %v", none.Parts())
	}
	s := opened(t, c)
	camera := hal.NewCamera(bare{}, s)
	var can []string
	for _, k := range camera.Capabilities() {
		if k.By == "" {
			can = append(can, k.Name)
		}
	}
	for _, want := range []string{hal.CapIRFilter, hal.CapLights, hal.CapLightSensor, hal.CapButtons, hal.CapSiren} {
		if !slices.Contains(can, want) {
			t.Errorf("%s is missing in %v", want, can)
		}
	}
	for _, not := range []string{hal.CapLEDs, hal.CapSensors, hal.CapPTZ, hal.CapMotion} {
		if slices.Contains(can, not) {
			t.Errorf("%s is in %v", not, can)
		}
	}
	if err := camera.SetSiren(true); err != nil {
		t.Fatal(err)
	}
	if on, err := camera.Siren(); err != nil || !on {
		t.Fatal(on, err)
	}
	if err := camera.Close(); err != nil {
		t.Fatal(err)
	}
	if value(t, root, "6") != '0' {
		t.Error("the siren sounds after Close")
	}
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors open, before %d", after, before)
	}
}

// bare is a board that can do nothing.
type bare struct{ hal.Board }

func (bare) Info() hal.Info            { return hal.Info{Board: "bare"} }
func (bare) Streams() []hal.StreamInfo { return nil }
func (bare) Close() error              { return nil }
