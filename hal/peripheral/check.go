package peripheral

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/hal/peripheral/internal/evdev"
	"iid2secure.nl/camagent/hal/peripheral/internal/gpio"
)

// at puts a field's path before what is wrong with it.
func at(field string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("peripherals.%s: %w", field, err)
}

// checker gathers problems, and who uses what.
type checker struct {
	problems []error
	users    map[string]string // of lines and devices, their field
	names    map[string]bool
}

// check tells everything that is wrong with c itself.
func (c *Config) check() error {
	k := &checker{users: map[string]string{}, names: map[string]bool{}}
	if c.IRFilter != nil {
		k.irFilter("ir_filter", *c.IRFilter)
	}
	for i, l := range c.Lights {
		k.light(fmt.Sprintf("lights[%d]", i), l)
	}
	if c.LightSensor != nil {
		k.lightSensor("light_sensor", *c.LightSensor)
	}
	for i, b := range c.Buttons {
		k.button(fmt.Sprintf("buttons[%d]", i), b)
	}
	for i, l := range c.LEDs {
		k.led(fmt.Sprintf("leds[%d]", i), l)
	}
	if c.Siren != nil {
		k.line("siren.line", c.Siren.Line)
	}
	for i, s := range c.Sensors {
		k.sensor(fmt.Sprintf("sensors[%d]", i), s)
	}
	return errors.Join(k.problems...)
}

func (k *checker) wrong(field, format string, args ...any) {
	k.problems = append(k.problems, at(field, fmt.Errorf(format, args...)))
}

// line checks a GPIO line.
func (k *checker) line(field, text string) {
	spec, err := gpio.Parse(text)
	if err != nil {
		k.problems = append(k.problems, at(field, err))
		return
	}
	k.use(field, "line "+spec.String())
}

// use refuses what another field has.
func (k *checker) use(field, what string) {
	if by, taken := k.users[what]; taken {
		k.wrong(field, "is %s, which peripherals.%s has: want another one", what, by)
		return
	}
	k.users[what] = field
}

// oneOf checks that exactly one of fields is set.
func (k *checker) oneOf(field string, fields ...[2]string) bool {
	var names, set []string
	for _, f := range fields {
		names = append(names, f[0])
		if f[1] != "" {
			set = append(set, f[0])
		}
	}
	if len(set) == 1 {
		return true
	}
	have := "none"
	if len(set) > 0 {
		have = strings.Join(set, " and ")
	}
	k.wrong(field, "has %s, want exactly one of %s", have, strings.Join(names, ", "))
	return false
}

// only refuses an option that goes with another field.
func (k *checker) only(field string, set bool, with string, has bool) {
	if set && !has {
		k.wrong(field, "goes with %s alone: leave it out", with)
	}
}

func (k *checker) span(field string, d, low, high time.Duration) {
	if d != 0 && (d < low || d > high) {
		k.wrong(field, "is %v, want %v to %v", d, low, high)
	}
}

// name checks the name by which the agent knows something.
func (k *checker) name(field, kind, name string) {
	if name == "" || len(name) > 32 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
		k.wrong(field, "is %q, want a name of 1 to 32 of a-z, 0-9, - and _", name)
		return
	}
	if k.names[kind+name] {
		k.wrong(field, "is %q, as another one: want each name once", name)
	}
	k.names[kind+name] = true
}

// entry checks the name of a directory in /sys.
func (k *checker) entry(field, name, where string) {
	if name != filepath.Base(name) || strings.HasPrefix(name, ".") || strings.ContainsRune(name, 0) {
		k.wrong(field, "is %q, want a name in %s", name, where)
	}
}

func (k *checker) irFilter(f string, c IRFilter) {
	if c.In == "" && c.Out == "" || c.Line != "" {
		pulsed := c.In + c.Out
		if !k.oneOf(f, [2]string{"in with out", pulsed}, [2]string{"line", c.Line}) {
			return
		}
		k.only(f+".pulse", c.Pulse != 0, "in and out", false)
		k.line(f+".line", c.Line)
		return
	}
	k.line(f+".in", c.In)
	k.line(f+".out", c.Out)
	k.span(f+".pulse", c.Pulse, time.Millisecond, maxPulse)
}

func (k *checker) light(f string, c Light) {
	if c.Kind != string(hal.Infrared) && c.Kind != string(hal.White) {
		k.wrong(f+".kind", "is %q, want %q or %q", c.Kind, hal.Infrared, hal.White)
	} else {
		k.name(f+".kind", "light ", c.Kind)
	}
	k.only(f+".period", c.Period != 0, "pwm", c.PWM != "")
	k.only(f+".active_low", c.ActiveLow, "line and pwm", c.Line != "" || c.PWM != "")
	k.span(f+".period", c.Period, time.Microsecond, time.Second)
	if !k.oneOf(f, [2]string{"line", c.Line}, [2]string{"led", c.LED}, [2]string{"pwm", c.PWM}) {
		return
	}
	switch {
	case c.Line != "":
		k.line(f+".line", c.Line)
	case c.LED != "":
		k.entry(f+".led", c.LED, "/sys/class/leds")
		k.use(f+".led", "LED "+c.LED)
	default:
		chip, channel, err := parsePWM(c.PWM)
		if err != nil {
			k.problems = append(k.problems, at(f+".pwm", err))
			return
		}
		k.use(f+".pwm", fmt.Sprintf("channel %s:%d", chip, channel))
	}
}

func (k *checker) lightSensor(f string, c LightSensor) {
	if !k.oneOf(f, [2]string{"line", c.Line}, [2]string{"iio", c.IIO}, [2]string{"file", c.File}) {
		return
	}
	scaled := c.Dark != 0 || c.Bright != 0
	k.only(f+".active_low", c.ActiveLow, "line", c.Line != "")
	if c.Line != "" {
		k.only(f+".dark", scaled, "iio and file", false)
		k.line(f+".line", c.Line)
		return
	}
	if v := c.Bright - c.Dark; v == 0 || v-v != 0 {
		k.wrong(f+".bright", "is %v, and so is dark: want the numbers that are read in bright light and in the dark", c.Bright)
	}
	if c.File != "" && !filepath.IsAbs(c.File) {
		k.wrong(f+".file", "is %q, want a path that begins with /", c.File)
	}
	if c.IIO != "" {
		device, channel, named := strings.Cut(c.IIO, "/")
		if !named {
			device, channel = "", c.IIO
		}
		k.entry(f+".iio", channel, "/sys/bus/iio/devices/…")
		if named {
			k.entry(f+".iio", device, "/sys/bus/iio/devices/*/name")
		}
	}
}

func (k *checker) button(f string, c Button) {
	k.name(f+".button", "button ", c.Button)
	k.only(f+".device", c.Device != "", "key", c.Key != "")
	k.only(f+".active_low", c.ActiveLow, "line", c.Line != "")
	k.only(f+".debounce", c.Debounce != 0, "line", c.Line != "")
	k.span(f+".debounce", c.Debounce, time.Millisecond, time.Second)
	if !k.oneOf(f, [2]string{"key", c.Key}, [2]string{"line", c.Line}) {
		return
	}
	if c.Line != "" {
		k.line(f+".line", c.Line)
		return
	}
	code, err := evdev.Key(c.Key)
	if err != nil {
		k.problems = append(k.problems, at(f+".key", err))
		return
	}
	k.use(f+".key", fmt.Sprintf("key %d of device %q", code, c.Device))
}

func (k *checker) led(f string, c LED) {
	k.name(f+".led", "led ", c.LED)
	k.only(f+".active_low", c.ActiveLow, "line", c.Line != "")
	if !k.oneOf(f, [2]string{"class", c.Class}, [2]string{"line", c.Line}) {
		return
	}
	if c.Line != "" {
		k.line(f+".line", c.Line)
		return
	}
	k.entry(f+".class", c.Class, "/sys/class/leds")
	k.use(f+".class", "LED "+c.Class)
}

func (k *checker) sensor(f string, c Sensor) {
	if c.Sensor != "" {
		k.name(f+".sensor", "sensor ", c.Sensor)
	}
	if !k.oneOf(f, [2]string{"thermal", c.Thermal}, [2]string{"hwmon", c.Hwmon}) {
		return
	}
	if c.Sensor != "" && (c.Thermal == all || c.Hwmon == all) {
		k.wrong(f+".sensor", `goes with one sensor, not with "*": leave it out`)
	}
	if c.Hwmon != "" && c.Hwmon != all && !strings.Contains(c.Hwmon, ":") {
		k.wrong(f+".hwmon", `is %q, want chip:input or chip:label, or "*"`, c.Hwmon)
	}
}
