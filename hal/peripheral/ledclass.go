package peripheral

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/hal/peripheral/internal/sysfs"
)

// ledClass is a directory of /sys/class/leds
// (Documentation/ABI/testing/sysfs-class-led of the kernel).
type ledClass struct {
	dir string
	max int // brightness, 1 or more
}

// openLED finds a LED, takes it from its trigger and switches it off.
func openLED(root, name string) (ledClass, error) {
	class := filepath.Join("/", root, "sys/class/leds")
	l := ledClass{dir: filepath.Join(class, name)}
	if !sysfs.Exists(l.dir) {
		return l, fmt.Errorf("%w: no LED %q, want one of %s", hal.ErrNotFound, name, sysfs.Names(sysfs.List(class, "*")))
	}
	most, err := sysfs.ReadNumber(filepath.Join(l.dir, "max_brightness"))
	if err != nil {
		return l, err
	}
	l.max = max(1, int(most))
	return l, l.brightness(0)
}

// brightness shines steadily, from 0 to max.
func (l ledClass) brightness(level int) error {
	if err := l.trigger("none"); err != nil {
		return err
	}
	return l.write("brightness", strconv.Itoa(level))
}

// blink lets the kernel switch the LED; an error if it has no such trigger.
func (l ledClass) blink(on, off time.Duration) error {
	// Full first: the trigger keeps the brightness that it finds.
	if err := l.brightness(l.max); err != nil {
		return err
	}
	if err := l.trigger("timer"); err != nil {
		return err
	}
	return errors.Join(l.write("delay_on", milliseconds(on)), l.write("delay_off", milliseconds(off)))
}

func milliseconds(d time.Duration) string {
	return strconv.FormatInt(max(1, d.Milliseconds()), 10)
}

// trigger sets what drives the LED, unless it does already: a change darkens
// it for a moment. A kernel without triggers has no such file.
func (l ledClass) trigger(name string) error {
	list, err := sysfs.Read(filepath.Join(l.dir, "trigger"))
	if err == nil && strings.Contains(list, "["+name+"]") || errors.Is(err, hal.ErrNotFound) && name == "none" {
		return nil
	}
	return l.write("trigger", name)
}

func (l ledClass) write(file, value string) error {
	return gone(sysfs.Write(filepath.Join(l.dir, file), value))
}

// gone is for a device that was there when it was opened.
func gone(err error) error {
	if errors.Is(err, hal.ErrNotFound) {
		return fmt.Errorf("%w: %w", hal.ErrGone, err)
	}
	return err
}
