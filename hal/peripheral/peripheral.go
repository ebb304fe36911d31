// Package peripheral is the part of a camera that is neither picture nor
// sound: GPIO lines, LEDs, input devices and what hangs on them (infrared
// filter, lamps, light sensor, buttons, indicators, siren, temperatures). It
// combines with any board by configuration.
//
// It owns the lines and devices that its Config names, from New to Close, and
// touches no other. At New every output is inactive, but for a filter that a
// level holds, which is in the path; at Close lamps, LEDs and siren are
// switched off, and a pulsed filter stays where it is. It starts no goroutine
// but for an LED that the kernel can't blink by itself.
package peripheral

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"

	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/hal/peripheral/internal/evdev"
	"iid2secure.nl/camagent/hal/peripheral/internal/gpio"
)

// Set is the opened peripherals. Its parts may be used from any goroutine.
type Set struct {
	parts []any
	once  sync.Once
	err   error
}

var _ hal.Parts = (*Set)(nil)

// New checks c and opens what it names. All problems are told at once, a line
// each: the path of the field in the configuration, what is wrong, and what
// would be right. They are [hal.ErrNotFound], [hal.ErrBusy],
// [io/fs.ErrPermission], or of the configuration itself.
func New(c Config) (*Set, error) { return open(c, gpio.Auto) }

// open uses one interface of the kernel for all lines.
func open(c Config, api gpio.API) (*Set, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	o := &opener{root: c.Root, lines: gpio.System{Root: c.Root, API: api}}
	o.irFilter(c.IRFilter)
	o.lights(c.Lights)
	o.lightSensor(c.LightSensor)
	o.buttons(c.Buttons)
	o.leds(c.LEDs)
	o.siren(c.Siren)
	o.sensors(c.Sensors)
	s := &Set{parts: o.parts}
	if err := errors.Join(o.problems...); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Parts implements [hal.Parts]: one part for each capability that is configured.
func (s *Set) Parts() []any { return slices.Clone(s.parts) }

// Close switches off what is on, ends calls in flight ([hal.ErrClosed]) and
// gives the lines and devices back. A second call does nothing.
func (s *Set) Close() error {
	s.once.Do(func() {
		var errs []error
		for _, p := range s.parts {
			if c, ok := p.(interface{ Close() error }); ok {
				errs = append(errs, c.Close())
			}
		}
		s.err = errors.Join(errs...)
	})
	return s.err
}

// opener opens as much as it can, and gathers the problems.
type opener struct {
	root     string
	lines    gpio.System
	parts    []any
	problems []error
}

// failed notes a problem with a field.
func (o *opener) failed(field string, err error) bool {
	if err != nil {
		o.problems = append(o.problems, at(field, err))
	}
	return err != nil
}

// output requests a line; nil if that failed.
func (o *opener) output(field, text string, activeLow, initial bool) *gpio.Line {
	spec, err := gpio.Parse(text)
	if o.failed(field, err) {
		return nil
	}
	l, err := o.lines.Output(spec, activeLow, initial)
	if o.failed(field, err) {
		return nil
	}
	return l
}

func (o *opener) irFilter(c *IRFilter) {
	switch {
	case c == nil:
	case c.Line != "":
		if l := o.output("ir_filter.line", c.Line, c.ActiveLow, true); l != nil {
			o.parts = append(o.parts, levelFilter{l})
		}
	default:
		in := o.output("ir_filter.in", c.In, c.ActiveLow, false)
		out := o.output("ir_filter.out", c.Out, c.ActiveLow, false)
		if in != nil && out != nil {
			o.parts = append(o.parts, newPulsedFilter(in, out, cmp.Or(c.Pulse, defaultPulse)))
			return
		}
		for _, l := range []*gpio.Line{in, out} {
			if l != nil {
				o.failed("ir_filter", l.Close())
			}
		}
	}
}

func (o *opener) lights(list []Light) {
	if len(list) == 0 {
		return
	}
	part := newLights()
	o.parts = append(o.parts, part)
	for i, c := range list {
		field := fmt.Sprintf("lights[%d]", i)
		switch {
		case c.Line != "":
			if l := o.output(field+".line", c.Line, c.ActiveLow, false); l != nil {
				part.add(hal.LightKind(c.Kind), switchedLamp{l})
			}
		case c.LED != "":
			if l, err := openLED(o.root, c.LED); !o.failed(field+".led", err) {
				part.add(hal.LightKind(c.Kind), classLamp{l})
			}
		default:
			l, err := openPWM(o.root, c.PWM, cmp.Or(c.Period, defaultPeriod), c.ActiveLow)
			if !o.failed(field+".pwm", err) {
				part.add(hal.LightKind(c.Kind), l)
			}
		}
	}
}

func (o *opener) lightSensor(c *LightSensor) {
	switch {
	case c == nil:
	case c.Line != "":
		spec, err := gpio.Parse(c.Line)
		if o.failed("light_sensor.line", err) {
			return
		}
		if l, err := o.lines.Input(spec, c.ActiveLow); !o.failed("light_sensor.line", err) {
			o.parts = append(o.parts, lineSensor{l})
		}
	case c.IIO != "":
		if path, err := findIIO(o.root, c.IIO); !o.failed("light_sensor.iio", err) {
			o.parts = append(o.parts, &scaleSensor{path, 1, c.Dark, c.Bright})
		}
	default:
		path := filepath.Join("/", o.root, c.File)
		if !o.failed("light_sensor.file", checkFile(path)) {
			o.parts = append(o.parts, &scaleSensor{path, fileReads, c.Dark, c.Bright})
		}
	}
}

// buttons opens each input device once, whatever the number of its keys.
func (o *opener) buttons(list []Button) {
	var names []string
	var sources []source
	devices := map[string]*keySource{}
	for i, c := range list {
		field := fmt.Sprintf("buttons[%d]", i)
		names = append(names, c.Button)
		var s source
		var err error
		if c.Line != "" {
			field += ".line"
			s, err = o.lineButton(c)
		} else {
			field += ".key"
			s, err = o.keyButton(c, devices)
		}
		if !o.failed(field, err) && s != nil {
			sources = append(sources, s)
		}
	}
	o.addButtons(names, sources)
}

func (o *opener) lineButton(c Button) (source, error) {
	spec, err := gpio.Parse(c.Line)
	if err != nil {
		return nil, err
	}
	s := &lineSource{name: c.Button, system: o.lines, spec: spec, activeLow: c.ActiveLow, still: cmp.Or(c.Debounce, defaultDebounce)}
	return s, s.open()
}

// keyButton returns no source if the device is among devices already.
func (o *opener) keyButton(c Button, devices map[string]*keySource) (source, error) {
	key, err := evdev.Key(c.Key)
	if err != nil {
		return nil, err
	}
	path, err := evdev.Find(o.root, c.Device, key)
	if err != nil {
		return nil, err
	}
	if s := devices[path]; s != nil {
		return nil, s.add(key, c.Button)
	}
	s := &keySource{root: o.root, device: c.Device, names: map[uint16]string{}}
	if err := errors.Join(s.add(key, c.Button), s.open()); err != nil {
		return nil, err
	}
	devices[path] = s
	return s, nil
}

func (o *opener) addButtons(names []string, sources []source) {
	if len(names) == 0 {
		return
	}
	part, err := newButtons(names, sources)
	if err != nil {
		for _, s := range sources {
			err = errors.Join(err, s.close())
		}
		o.failed("buttons", err)
		return
	}
	o.parts = append(o.parts, part)
}

func (o *opener) leds(list []LED) {
	if len(list) == 0 {
		return
	}
	part := newLEDs()
	o.parts = append(o.parts, part)
	for i, c := range list {
		field := fmt.Sprintf("leds[%d]", i)
		if c.Line != "" {
			if l := o.output(field+".line", c.Line, c.ActiveLow, false); l != nil {
				part.add(c.LED, lineLED{l})
			}
		} else if l, err := openLED(o.root, c.Class); !o.failed(field+".class", err) {
			part.add(c.LED, classLED{l})
		}
	}
}

func (o *opener) siren(c *Siren) {
	if c == nil {
		return
	}
	if l := o.output("siren.line", c.Line, c.ActiveLow, false); l != nil {
		o.parts = append(o.parts, siren{l})
	}
}

func (o *opener) sensors(list []Sensor) {
	if len(list) == 0 {
		return
	}
	part := &sensors{}
	o.parts = append(o.parts, part)
	for i, c := range list {
		field := fmt.Sprintf("sensors[%d].thermal", i)
		if c.Hwmon != "" {
			field = fmt.Sprintf("sensors[%d].hwmon", i)
		}
		if g, err := findGauges(o.root, c); !o.failed(field, err) {
			part.gauges = append(part.gauges, g...)
		}
	}
}
