package v4l2

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/hal/internal/kernel"
)

// system is what the board asks of the kernel; tests put a camera behind it.
type system interface {
	open(path string) (int, error)
	close(fd int) error
	ioctl(fd int, number uintptr, arg unsafe.Pointer) error
	mmap(fd int, offset int64, length int) ([]byte, error)
	munmap(b []byte) error
}

// linux is the real one.
type linux struct{}

func (linux) open(path string) (int, error) {
	return unix.Open(path, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
}
func (linux) close(fd int) error { return unix.Close(fd) }
func (linux) ioctl(fd int, number uintptr, arg unsafe.Pointer) error {
	return kernel.Ioctl(fd, number, arg)
}
func (linux) mmap(fd int, offset int64, length int) ([]byte, error) {
	return unix.Mmap(fd, offset, length, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
}
func (linux) munmap(b []byte) error { return unix.Munmap(b) }

// device is an open node.
type device struct {
	sys          system
	fd           int
	path         string
	driver, card string
	caps         uint32
}

// openDevice opens a node of V4L2, of whatever kind.
func openDevice(sys system, path string) (*device, error) {
	fd, err := sys.open(path)
	if err != nil {
		return nil, openError(path, err)
	}
	d := &device{sys: sys, fd: fd, path: path}
	var c capability
	if err := d.ioctl(calls.querycap, unsafe.Pointer(&c)); err != nil {
		_ = d.close()
		if kernel.Gone(err) {
			return nil, fmt.Errorf("%s: %w", path, hal.ErrGone)
		}
		return nil, fmt.Errorf("device %s: %w: is %s, want a video device such as /dev/video0", path, hal.ErrArgument, kernel.FileKind(path))
	}
	d.driver, d.card, d.caps = kernel.Text(c.Driver[:]), kernel.Text(c.Card[:]), c.Caps
	if c.Caps&capDeviceCaps != 0 {
		d.caps = c.DevCaps
	}
	return d, nil
}

func (d *device) close() error { return d.sys.close(d.fd) }

func (d *device) ioctl(number uintptr, arg unsafe.Pointer) error {
	return d.sys.ioctl(d.fd, number, arg)
}

// fail says what the driver refused, in hal's words.
func (d *device) fail(doing string, err error) error {
	switch {
	case errors.Is(err, unix.EBUSY):
		return kernel.Busy(d.path)
	case kernel.Gone(err):
		return fmt.Errorf("%w: %s (%s): %s: %w", hal.ErrGone, d.path, d.card, doing, err)
	case errors.Is(err, unix.ENOSPC):
		return fmt.Errorf("%s: %s: %w: not enough USB bandwidth: plug the camera into another bus, or wish a smaller picture", d.path, doing, err)
	}
	return fmt.Errorf("%s (%s): %s: %w", d.path, d.card, doing, err)
}

func openError(path string, err error) error {
	if errors.Is(err, unix.EISDIR) {
		return fmt.Errorf("device %s: %w: is a folder, want a video device such as /dev/video0", path, hal.ErrArgument)
	}
	return kernel.OpenError(path, err, ": want a video device (\"ls -l /dev/v4l/by-id/\" lists the cameras)")
}

// kind says in words what a node is for, as far as it is no camera.
func (d *device) kind() string {
	for _, k := range []struct {
		caps uint32
		name string
	}{
		{capM2M | capM2MMplane, "an encoder or decoder of raw pictures (memory to memory)"},
		{capVideoOutput | capVideoOutputMplane, "a video output"},
		{capVideoCaptureMplane, "a camera's raw output of several planes"},
		{capMetaCapture, "a camera's metadata node"},
		{capTouch, "a touch device"},
		{capVBICapture, "a VBI device"},
		{capRadio | capTuner, "a radio"},
	} {
		if d.caps&k.caps != 0 {
			return k.name
		}
	}
	return "a node without video"
}

// camera refuses a node that gives no pictures by streaming.
func (d *device) camera() error {
	if d.caps&capVideoCapture == 0 {
		return fmt.Errorf("device %s: %w: is %s (%s), want the node that gives pictures", d.path, hal.ErrArgument, d.kind(), d.card)
	}
	if d.caps&capStreaming == 0 {
		return fmt.Errorf("device %s: %w: %s can only be read, not streamed from", d.path, hal.ErrArgument, d.card)
	}
	return nil
}
