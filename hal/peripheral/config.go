package peripheral

import "time"

// Config lists what is wired to the camera's processor. Everything may be left
// out; what is left out the camera can't do.
//
// A "line" is a GPIO line, written as
//
//	gpiochip0:17   the chip (its name in /dev, or its label) and the line's offset
//	IR_CUT_A       the line's name in the device tree
//	53             the number in /sys/class/gpio, on kernels without /dev/gpiochip0
//
// and ActiveLow says that it works when the voltage is low.
type Config struct {
	IRFilter    *IRFilter
	Lights      []Light
	LightSensor *LightSensor
	Buttons     []Button
	LEDs        []LED
	Siren       *Siren
	Sensors     []Sensor
	// Root is the directory in which sys and dev are looked for; empty: /.
	Root string
}

// IRFilter is the infrared filter before the sensor: a magnet that is pulsed
// one way or the other (In and Out), or a line whose level holds the filter
// (Line).
type IRFilter struct {
	In        string        // line that moves the filter into the path while it is driven
	Out       string        // line that moves it out
	Pulse     time.Duration // how long they are driven; 0: 100ms; at most 2s
	Line      string        // line that is active while the filter is in the path
	ActiveLow bool
}

// Light is one lamp, wired to exactly one of Line, LED and PWM.
type Light struct {
	Kind      string // "infrared" or "white", each once
	Line      string // switches it
	ActiveLow bool   // of Line; of PWM: the duty cycle is inverted
	LED       string // LED class: a name in /sys/class/leds, dimmed by its brightness
	PWM       string // "pwmchip0:1": a chip of /sys/class/pwm and its channel
	// Period is that of PWM; 0: 1ms.
	Period time.Duration
}

// LightSensor tells how bright the scene is. Exactly one of Line, IIO and File.
type LightSensor struct {
	Line      string // active in bright light
	ActiveLow bool
	// IIO is a channel of an industrial I/O device: "in_illuminance_raw" of the
	// first device that has it, or "ltr501/in_illuminance_raw" of the one with that
	// name.
	IIO string
	// File is a device or file that gives a number as text, as vendors' converters
	// do; 12 reads are averaged.
	File string
	// Dark and Bright are the numbers read from IIO or File in the dark (light 0)
	// and in bright light (light 1000). Dark may be the larger one.
	Dark   float64
	Bright float64
}

// Button is one thing to press, behind exactly one of Key and Line.
type Button struct {
	Button string // its name for the agent: "reset", "doorbell", …, each once
	// Key is a key code of the kernel's input devices: "KEY_RESTART", or a number.
	Key string
	// Device is the input device that has the key: its name ("gpio-keys") or
	// "event3"; empty: the first that has the key.
	Device    string
	Line      string
	ActiveLow bool
	// Debounce is how long Line must be still; 0: 20ms; at most 1s.
	Debounce time.Duration
}

// LED is one indicator, behind exactly one of Class and Line.
type LED struct {
	LED       string // its name for the agent: "status", …, each once
	Class     string // a name in /sys/class/leds
	Line      string
	ActiveLow bool
}

// Siren makes noise while its line is active.
type Siren struct {
	Line      string
	ActiveLow bool
}

// Sensor is a temperature or voltage that the kernel measures: exactly one of
// Thermal and Hwmon.
type Sensor struct {
	// Sensor is its name for the agent ("soc"); empty: as the kernel calls it.
	Sensor string
	// Thermal is a thermal zone by its type ("cpu-thermal") or directory
	// ("thermal_zone0"); "*": all.
	Thermal string
	// Hwmon is chip:input or chip:label of a hardware monitor ("ina219:in1",
	// "adc:VDD_5V"); "*": all temperatures and voltages.
	Hwmon string
}
