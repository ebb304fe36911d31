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

const defaultPeriod = time.Millisecond

// pwmLamp is a channel of /sys/class/pwm (Documentation/driver-api/pwm.rst of
// the kernel).
type pwmLamp struct {
	dir      string
	period   time.Duration
	unexport func() error
}

// parsePWM reads "pwmchip0:1".
func parsePWM(text string) (chip string, channel int, err error) {
	chip, rest, _ := strings.Cut(text, ":")
	channel, err = strconv.Atoi(rest)
	number, isChip := strings.CutPrefix(chip, "pwmchip")
	if _, bad := strconv.ParseUint(number, 10, 16); bad != nil || !isChip || err != nil || channel < 0 {
		return "", 0, fmt.Errorf("is %q, want a chip of /sys/class/pwm and its channel: \"pwmchip0:1\"", text)
	}
	return chip, channel, nil
}

// openPWM exports a channel, unless it is, and switches it off.
func openPWM(root, text string, period time.Duration, activeLow bool) (*pwmLamp, error) {
	chip, channel, err := parsePWM(text)
	if err != nil {
		return nil, err
	}
	class := filepath.Join("/", root, "sys/class/pwm")
	at, number := filepath.Join(class, chip), strconv.Itoa(channel)
	if !sysfs.Exists(at) {
		return nil, fmt.Errorf("%w: no %s, want one of %s", hal.ErrNotFound, chip, sysfs.Names(sysfs.List(class, "pwmchip*")))
	}
	p := &pwmLamp{filepath.Join(at, "pwm"+number), period, func() error { return nil }}
	if !sysfs.Exists(p.dir) {
		if err := sysfs.Write(filepath.Join(at, "export"), number); err != nil {
			return nil, err
		}
		p.unexport = func() error { return sysfs.Write(filepath.Join(at, "unexport"), number) }
	}
	if err := p.prepare(activeLow); err != nil {
		return nil, errors.Join(err, p.unexport())
	}
	return p, nil
}

// prepare sets the period. A duty cycle that is longer than a new period is
// refused, so it is taken back first; on a fresh channel even that may be.
func (p *pwmLamp) prepare(activeLow bool) error {
	_ = sysfs.Write(filepath.Join(p.dir, "duty_cycle"), "0")
	_ = sysfs.Write(filepath.Join(p.dir, "enable"), "0") // polarity changes only then
	if err := p.write("period", p.period); err != nil {
		return err
	}
	polarity := "normal"
	if activeLow {
		polarity = "inversed"
	}
	path := filepath.Join(p.dir, "polarity")
	if is, err := sysfs.Read(path); is != polarity && (activeLow || err == nil) {
		if err := sysfs.Write(path, polarity); err != nil {
			return err
		}
	}
	_, err := p.dim(0)
	return err
}

// dim stays enabled at 0: a channel that is not may rest at either level.
func (p *pwmLamp) dim(percent int) (int, error) {
	if err := p.write("duty_cycle", p.period*time.Duration(percent)/100); err != nil {
		return 0, err
	}
	return percent, gone(sysfs.Write(filepath.Join(p.dir, "enable"), "1"))
}

func (p *pwmLamp) write(file string, d time.Duration) error {
	return gone(sysfs.Write(filepath.Join(p.dir, file), strconv.FormatInt(d.Nanoseconds(), 10)))
}

// Close gives the channel back.
func (p *pwmLamp) Close() error { return p.unexport() }
