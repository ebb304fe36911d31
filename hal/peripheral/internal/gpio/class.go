package gpio

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/hal/peripheral/internal/sysfs"
)

// lineClass is an exported line of /sys/class/gpio.
type lineClass struct {
	dir  string
	fd   int // of its value
	irq  bool
	last bool         // level that edges told
	undo func() error // takes the export back, if it was ours
}

func (s System) class() string { return filepath.Join("/", s.Root, "sys/class/gpio") }

// openSysfs exports a line, unless a script of the board did already.
func (s System) openSysfs(line Spec, w wish) (handle, error) {
	dir, undo, err := s.exported(line)
	if err != nil {
		return nil, err
	}
	l := &lineClass{dir: dir, fd: -1, undo: undo}
	if err := l.prepare(w); err != nil {
		return nil, errors.Join(err, l.close())
	}
	return l, nil
}

// exported returns the directory of a line.
func (s System) exported(line Spec) (dir string, undo func() error, err error) {
	undo = func() error { return nil }
	if line.Name != "" {
		dir = filepath.Join(s.class(), filepath.Base(line.Name))
		if !sysfs.Exists(filepath.Join(dir, "value")) {
			return "", nil, fmt.Errorf("%w: this kernel tells no names of lines, want the number in /sys/class/gpio", hal.ErrNotFound)
		}
		return dir, undo, nil
	}
	number, err := s.number(line)
	if err != nil {
		return "", nil, err
	}
	text := strconv.Itoa(number)
	dir = filepath.Join(s.class(), "gpio"+text)
	if sysfs.Exists(dir) {
		return dir, undo, nil
	}
	if !sysfs.Exists(filepath.Join(s.class(), "export")) {
		return "", nil, fmt.Errorf("%w: this kernel has no /sys/class/gpio, want chip and line: \"gpiochip0:17\"", hal.ErrNotFound)
	}
	switch err := sysfs.Write(filepath.Join(s.class(), "export"), text); {
	case errors.Is(err, hal.ErrBusy):
		return "", nil, fmt.Errorf("%w by a driver or another program, which /sys/kernel/debug/gpio names: end that, or name another line", hal.ErrBusy)
	case errors.Is(err, unix.EINVAL), err == nil && !sysfs.Exists(dir):
		return "", nil, fmt.Errorf("%w: no chip has line %d; chips by their first line: %s", hal.ErrNotFound, number, sysfs.Names(sysfs.List(s.class(), "gpiochip*")))
	case err != nil:
		return "", nil, err
	}
	return dir, func() error { return sysfs.Write(filepath.Join(s.class(), "unexport"), text) }, nil
}

// number is the line's in sysfs, where a chip is called by its first line or
// by its label.
func (s System) number(line Spec) (int, error) {
	if line.Chip == "" {
		return line.Number, nil
	}
	list := sysfs.List(s.class(), "gpiochip*")
	for _, dir := range list {
		label, _ := sysfs.Read(filepath.Join(dir, "label"))
		if filepath.Base(dir) != line.Chip && label != line.Chip {
			continue
		}
		base, err := sysfs.ReadNumber(filepath.Join(dir, "base"))
		if err != nil {
			return 0, err
		}
		lines, err := sysfs.ReadNumber(filepath.Join(dir, "ngpio"))
		if err == nil && line.Offset >= int(lines) {
			err = fmt.Errorf("%w: %s has lines 0 to %g", hal.ErrNotFound, line.Chip, lines-1)
		}
		return int(base) + line.Offset, err
	}
	return 0, fmt.Errorf("%w: there is no chip %q, want one of %s", hal.ErrNotFound, line.Chip, sysfs.Names(list))
}

// prepare sets polarity, direction and edges, and opens the value.
func (l *lineClass) prepare(w wish) error {
	low := "0"
	if w.activeLow {
		low = "1"
	}
	if err := sysfs.Write(filepath.Join(l.dir, "active_low"), low); err != nil {
		return err
	}
	// The direction of some lines is fixed: then there is no such file.
	if path := filepath.Join(l.dir, "direction"); sysfs.Exists(path) {
		if err := sysfs.Write(path, direction(w)); err != nil {
			return err
		}
	}
	if path := filepath.Join(l.dir, "edge"); w.edges && sysfs.Exists(path) {
		l.irq = sysfs.Write(path, "both") == nil
	}
	mode := unix.O_RDONLY
	if w.output {
		mode = unix.O_RDWR
	}
	fd, err := unix.Open(filepath.Join(l.dir, "value"), mode|unix.O_CLOEXEC, 0)
	if err != nil {
		return sysfs.Explain(err, filepath.Join(l.dir, "value"))
	}
	l.fd = fd
	if w.output {
		return l.set(w.initial)
	}
	l.last, err = l.get() // takes the edge of before
	return err
}

// direction is "low" or "high" by voltage, so that an output never shows a
// wrong level.
func direction(w wish) string {
	switch {
	case !w.output:
		return "in"
	case w.initial != w.activeLow:
		return "high"
	}
	return "low"
}

func (l *lineClass) get() (bool, error) {
	var b [1]byte
	n, err := unix.Pread(l.fd, b[:], 0)
	if err == nil && n != 1 {
		err = unix.EIO
	}
	return b[0] == '1', err
}

func (l *lineClass) set(active bool) error {
	b := []byte{'0'}
	if active {
		b[0] = '1'
	}
	_, err := unix.Pwrite(l.fd, b, 0)
	return err
}

func (l *lineClass) poll() (int, int16) {
	if !l.irq {
		return -1, 0
	}
	return l.fd, unix.POLLPRI | unix.POLLERR
}

// edges compares the level with the last one: sysfs keeps no history.
func (l *lineClass) edges() ([]Edge, error) {
	active, err := l.get()
	if err != nil || active == l.last {
		return nil, err
	}
	l.last = active
	return []Edge{{active, time.Now()}}, nil
}

func (l *lineClass) debounces() bool { return false }

func (l *lineClass) close() error {
	var err error
	if l.fd >= 0 {
		err = unix.Close(l.fd)
	}
	return errors.Join(err, l.undo())
}
