package config

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Peripherals lists what is wired to the processor beside sensor and sound; it
// goes with any board. What is left out the camera can't do. A line is a GPIO
// line: gpiochip0:17, its name in the device tree, or its number in sysfs.
type Peripherals struct {
	IRFilter    IRFilter    `mapstructure:"ir_filter"`
	Lights      []Light     `mapstructure:"lights"`
	LightSensor LightSensor `mapstructure:"light_sensor"`
	Buttons     []Button    `mapstructure:"buttons"`
	LEDs        []LED       `mapstructure:"leds"`
	Siren       Siren       `mapstructure:"siren"`
	Sensors     []Sensor    `mapstructure:"sensors"`
}

// IRFilter is the infrared filter: In and Out are pulsed, or Line holds it.
type IRFilter struct {
	In        string        `mapstructure:"in"`
	Out       string        `mapstructure:"out"`
	Pulse     time.Duration `mapstructure:"pulse"`
	Line      string        `mapstructure:"line"`
	ActiveLow bool          `mapstructure:"active_low"`
}

// Light is one lamp, behind exactly one of Line, LED and PWM.
type Light struct {
	Kind      string        `mapstructure:"kind"`
	Line      string        `mapstructure:"line"`
	ActiveLow bool          `mapstructure:"active_low"`
	LED       string        `mapstructure:"led"`
	PWM       string        `mapstructure:"pwm"`
	Period    time.Duration `mapstructure:"period"`
}

// LightSensor is behind exactly one of Line, IIO and File.
type LightSensor struct {
	Line      string  `mapstructure:"line"`
	ActiveLow bool    `mapstructure:"active_low"`
	IIO       string  `mapstructure:"iio"`
	File      string  `mapstructure:"file"`
	Dark      float64 `mapstructure:"dark"`
	Bright    float64 `mapstructure:"bright"`
}

// Button is behind exactly one of Key and Line.
type Button struct {
	Button    string        `mapstructure:"button"`
	Key       string        `mapstructure:"key"`
	Device    string        `mapstructure:"device"`
	Line      string        `mapstructure:"line"`
	ActiveLow bool          `mapstructure:"active_low"`
	Debounce  time.Duration `mapstructure:"debounce"`
}

// LED is behind exactly one of Class and Line.
type LED struct {
	LED       string `mapstructure:"led"`
	Class     string `mapstructure:"class"`
	Line      string `mapstructure:"line"`
	ActiveLow bool   `mapstructure:"active_low"`
}

// Siren sounds while its line is active.
type Siren struct {
	Line      string `mapstructure:"line"`
	ActiveLow bool   `mapstructure:"active_low"`
}

// Sensor is behind exactly one of Thermal and Hwmon.
type Sensor struct {
	Sensor  string `mapstructure:"sensor"`
	Thermal string `mapstructure:"thermal"`
	Hwmon   string `mapstructure:"hwmon"`
}

// part is how one thing is wired: by exactly one of some keys.
type part struct{ key, value string }

// one wants exactly one of the ways in which section can be wired.
func (c *Checks) one(section string, ways ...part) {
	var keys, given []string
	for _, w := range ways {
		keys = append(keys, w.key)
		if w.value != "" {
			given = append(given, w.key)
		}
	}
	have := "none"
	if len(given) > 0 {
		have = strings.Join(given, " and ")
	}
	c.Want(len(given) == 1, section, have, "exactly one of "+strings.Join(keys, ", "))
}

// once wants a name that none before has.
func (c *Checks) once(key, have string, before []string) {
	c.Want(have != "" && !slices.Contains(before, have), key, have, "a name, each once")
}

func (p *Peripherals) check(k *Checks) {
	p.IRFilter.check(k)
	p.checkLight(k)
	p.checkPeople(k)
	for i, s := range p.Sensors {
		k.one(fmt.Sprintf("peripherals.sensors[%d]", i), part{"thermal", s.Thermal}, part{"hwmon", s.Hwmon})
	}
}

func (f *IRFilter) check(k *Checks) {
	if *f == (IRFilter{}) {
		return
	}
	const key = "peripherals.ir_filter"
	k.Want((f.In == "") == (f.Out == ""), key+".out", f.Out, "both in and out, or neither")
	k.Want((f.In == "") != (f.Line == ""), key, *f, "either in and out, or line")
	k.Duration(key+".pulse", f.Pulse, 0, 2*time.Second)
}

func (p *Peripherals) checkLight(k *Checks) {
	var kinds []string
	for i, l := range p.Lights {
		key := fmt.Sprintf("peripherals.lights[%d]", i)
		k.OneOf(key+".kind", l.Kind, "infrared", "white")
		k.once(key+".kind", l.Kind, kinds)
		kinds = append(kinds, l.Kind)
		k.one(key, part{"line", l.Line}, part{"led", l.LED}, part{"pwm", l.PWM})
		k.Duration(key+".period", l.Period, 0, time.Second)
	}
	if s := p.LightSensor; s != (LightSensor{}) {
		k.one("peripherals.light_sensor", part{"line", s.Line}, part{"iio", s.IIO}, part{"file", s.File})
		k.Want(s.Line != "" || s.Dark != s.Bright, "peripherals.light_sensor.bright", s.Bright, "another number than dark")
	}
}

// checkPeople looks at what people press, see and hear.
func (p *Peripherals) checkPeople(k *Checks) {
	var buttons, leds []string
	for i, b := range p.Buttons {
		key := fmt.Sprintf("peripherals.buttons[%d]", i)
		k.once(key+".button", b.Button, buttons)
		buttons = append(buttons, b.Button)
		k.one(key, part{"key", b.Key}, part{"line", b.Line})
		k.Duration(key+".debounce", b.Debounce, 0, time.Second)
	}
	for i, l := range p.LEDs {
		key := fmt.Sprintf("peripherals.leds[%d]", i)
		k.once(key+".led", l.LED, leds)
		leds = append(leds, l.LED)
		k.one(key, part{"class", l.Class}, part{"line", l.Line})
	}
	k.Want(p.Siren.Line != "" || !p.Siren.ActiveLow, "peripherals.siren.line", p.Siren.Line, "a line, as active_low is set")
}
