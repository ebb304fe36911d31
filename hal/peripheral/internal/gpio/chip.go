package gpio

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/unix"

	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/hal/internal/kernel"
	"iid2secure.nl/camagent/hal/peripheral/internal/sysfs"
)

func ioctl[T any](fd int, request uintptr, arg *T) error {
	return kernel.Ioctl(fd, request, unsafe.Pointer(arg))
}

// chip is an open /dev/gpiochipN.
type chip struct {
	path  string
	label string
	lines int
	fd    int
}

func (s System) chips() []string {
	return sysfs.List(filepath.Join("/", s.Root, "dev"), "gpiochip[0-9]*")
}

func openChip(path string) (*chip, error) {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, sysfs.Explain(err, path)
	}
	c := &chip{path: path, fd: fd}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFCHR {
		c.close()
		return nil, fmt.Errorf("%s is not a GPIO chip", path)
	}
	var info unix.GPIOChipInfo
	if err := ioctl(fd, unix.GPIO_GET_CHIPINFO_IOCTL, &info); err != nil {
		c.close()
		return nil, sysfs.Explain(err, path)
	}
	c.label, c.lines = kernel.Text(info.Label[:]), int(info.Lines)
	return c, nil
}

func (c *chip) close() { _ = unix.Close(c.fd) }

// find opens the chip of a line.
func (s System) find(line Spec) (*chip, int, error) {
	if line.Chip != "" {
		c, err := s.findChip(line.Chip)
		if err == nil && line.Offset >= c.lines {
			c.close()
			err = fmt.Errorf("%w: %s has lines 0 to %d", hal.ErrNotFound, filepath.Base(c.path), c.lines-1)
		}
		return c, line.Offset, err
	}
	return s.findName(line.Name)
}

// findName looks through all chips: a name that two lines have is refused.
func (s System) findName(name string) (*chip, int, error) {
	type place struct {
		path   string
		offset int
	}
	var found []place
	for _, path := range s.chips() {
		c, err := openChip(path)
		if err != nil {
			return nil, 0, err
		}
		for offset := range c.lines {
			if i, err := c.info(offset); err == nil && i.name == name {
				found = append(found, place{path, offset})
			}
		}
		c.close()
	}
	switch len(found) {
	case 0:
		return nil, 0, fmt.Errorf("%w: no line of %s has this name", hal.ErrNotFound, sysfs.Names(s.chips()))
	case 1:
		c, err := openChip(found[0].path)
		return c, found[0].offset, err
	}
	a, b := found[0], found[1]
	return nil, 0, fmt.Errorf("lines %s:%d and %s:%d both have this name, want chip and line",
		filepath.Base(a.path), a.offset, filepath.Base(b.path), b.offset)
}

// findChip opens a chip by its name in /dev, or else by its label.
func (s System) findChip(name string) (*chip, error) {
	list := s.chips()
	for _, path := range list {
		if filepath.Base(path) == name {
			return openChip(path)
		}
	}
	for _, path := range list {
		c, err := openChip(path)
		if err != nil {
			if errors.Is(err, os.ErrPermission) {
				return nil, err
			}
			continue
		}
		if c.label == name {
			return c, nil
		}
		c.close()
	}
	return nil, fmt.Errorf("%w: there is no chip %q, want one of %s", hal.ErrNotFound, name, sysfs.Names(list))
}

// info is what the kernel tells of a line.
type info struct {
	name, consumer string
	v2             bool // told by the second interface
}

func (c *chip) info(offset int) (info, error) {
	two := unix.GPIOV2LineInfo{Offset: uint32(offset)}
	if ioctl(c.fd, unix.GPIO_V2_GET_LINEINFO_IOCTL, &two) == nil {
		return info{kernel.Text(two.Name[:]), kernel.Text(two.Consumer[:]), true}, nil
	}
	one := lineInfoV1{offset: uint32(offset)}
	err := ioctl(c.fd, getLineInfoV1, &one)
	return info{kernel.Text(one.name[:]), kernel.Text(one.consumer[:]), false}, err
}

// request takes a line by the newest interface that the kernel has, or by api.
func (c *chip) request(offset int, w wish, api API) (handle, API, error) {
	i, err := c.info(offset)
	if err != nil {
		return nil, api, sysfs.Explain(err, c.path)
	}
	if api == Auto {
		api = V1
		if i.v2 {
			api = V2
		}
	}
	var h handle
	switch {
	case api == V2:
		h, err = requestV2(c.fd, offset, w)
	case w.edges:
		h, err = requestEdgesV1(c.fd, offset, w)
	default:
		h, err = requestV1(c.fd, offset, w)
	}
	if errors.Is(err, unix.EBUSY) {
		if i.consumer == "" {
			i.consumer = "the kernel"
		}
		err = fmt.Errorf("%w by %q: end that, or name another line", hal.ErrBusy, i.consumer)
	} else if err != nil {
		err = sysfs.Explain(err, c.path)
	}
	return h, api, err
}

// setFor sets up a line's file descriptor: reading edges must not wait.
func setFor(fd int, edges bool) error {
	unix.CloseOnExec(fd)
	if !edges {
		return nil
	}
	return unix.SetNonblock(fd, true)
}
