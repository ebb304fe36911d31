package peripheral

import (
	"context"
	"testing"

	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/hal/haltest"
)

// everything is a tree with all that a Config can name, and the Config.
func everything(t *testing.T) Config {
	t.Helper()
	root := gpioTree(t, "1", "2", "3", "4", "5", "6", "7")
	inputs(t, root, "event0", "gpio-keys", 0x198)
	for path, content := range map[string]string{
		"sys/class/leds/green:status/brightness": "0", "sys/class/leds/green:status/max_brightness": "1", "sys/class/leds/green:status/trigger": "[none] timer",
		"sys/class/leds/green:status/delay_on": "0", "sys/class/leds/green:status/delay_off": "0",
		"sys/class/leds/white:flash/brightness": "0", "sys/class/leds/white:flash/max_brightness": "255",
		"sys/class/thermal/thermal_zone0/type": "cpu-thermal", "sys/class/thermal/thermal_zone0/temp": "41500",
		"dev/adc": "300\n",
	} {
		put(t, root, path, content)
	}
	return Config{
		Root:        root,
		IRFilter:    &IRFilter{In: "1", Out: "2"},
		Lights:      []Light{{Kind: "infrared", Line: "3"}, {Kind: "white", LED: "white:flash"}},
		LightSensor: &LightSensor{File: "/dev/adc", Dark: 100, Bright: 900},
		Buttons:     []Button{{Button: "reset", Key: "KEY_RESTART"}, {Button: "doorbell", Line: "5"}},
		LEDs:        []LED{{LED: "status", Class: "green:status"}, {LED: "power", Line: "6"}},
		Siren:       &Siren{Line: "7"},
		Sensors:     []Sensor{{Sensor: "soc", Thermal: "cpu-thermal"}},
	}
}

func TestM13_Conformance(t *testing.T) {
	t.Parallel()
	c := everything(t)
	report := haltest.Check(t, haltest.Subject{
		Name: "peripherals",
		Open: func(context.Context) (hal.Board, []any, error) {
			s, err := New(c)
			return bare{}, []any{s}, err
		},
		Shared: true,
		Only:   []string{"irfilter", "lights", "lightsensor", "buttons", "events-close", "leds", "siren", "sensors"},
	})
	if n := report.Count(haltest.Passed); n != len(report.Results) || n != 8 {
		t.Errorf("%d cases passed, want 8", n)
	}
}
