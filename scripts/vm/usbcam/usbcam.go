// Package usbcam is a virtual USB camera for tests: UVC 1.1, with H.264 or
// Motion JPEG, an H.264 extension unit and some picture controls. It speaks the
// USB/IP protocol (Documentation/usb/usbip_protocol.rst in the kernel's source)
// to the kernel's own virtual host controller, module vhci-hcd, so that the
// kernel's own uvcvideo driver makes a real /dev/videoN of it. Tests plug it in
// inside a virtual machine: it takes root, and a kernel that may be spoilt.
//
// The bytes that the camera sends are those of its [Source], unchanged.
package usbcam

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Kind is what the camera encodes to.
type Kind int

// The kinds.
const (
	H264  Kind = iota // frame based, GUID H264
	MJPEG             // a picture a frame
)

// Config describes a camera.
type Config struct {
	Source Source
	Kind   Kind
	Serial string // tells two cameras apart; "0001" if empty
	Port   int    // of the virtual controller, 0 to 7, one a camera
	// Sent, if set, is told each frame just before it goes out. It must not keep
	// or change the bytes, nor call the camera.
	Sent func(frame []byte)
}

// Camera is one virtual camera, plugged in or not. Methods may be called from
// any goroutine.
type Camera struct {
	config Config

	mu      sync.Mutex
	session *session // nil while it is unplugged
}

// within is how long plugging in and unplugging may take the kernel.
const within = 10 * time.Second

const controller = "/sys/devices/platform/vhci_hcd.0/"

// Plug makes a camera and plugs it in; it returns once the kernel has made a
// device of it. Close it.
func Plug(config Config) (*Camera, error) {
	if config.Serial == "" {
		config.Serial = "0001"
	}
	c := &Camera{config: config}
	if err := c.Replug(); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// Replug plugs the camera in again, as it was when it was new; it returns once
// the kernel has made a device of it, which may have another name than before.
func (c *Camera) Replug() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.session != nil {
		return errors.New("usbcam: it is plugged in")
	}
	near, far, err := socketPair()
	if err != nil {
		return err
	}
	defer far.Close()
	s := newSession(c.config, near)
	const highSpeed = 3
	id := 0x10001 + c.config.Port
	line := fmt.Sprintf("%d %d %d %d", c.config.Port, far.Fd(), id, highSpeed)
	err = eventually(func() error { return control("attach", line) }) // busy until an older device is gone
	if err != nil {
		return errors.Join(err, s.close())
	}
	c.session = s
	return eventually(func() error { _, err := c.Device(); return err })
}

// Unplug pulls the camera out, as by hand: streams fail, and the device
// disappears. It returns once the kernel has taken notice.
func (c *Camera) Unplug() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.session == nil {
		return errors.New("usbcam: it is not plugged in")
	}
	err := control("detach", fmt.Sprint(c.config.Port))
	if err := errors.Join(err, c.session.close()); err != nil {
		return err
	}
	c.session = nil
	return eventually(func() error {
		if path, err := c.Device(); err == nil {
			return fmt.Errorf("usbcam: %s is still there", path)
		}
		return nil
	})
}

// Close unplugs the camera if it is plugged in.
func (c *Camera) Close() error {
	c.mu.Lock()
	plugged := c.session != nil
	c.mu.Unlock()
	if !plugged {
		return nil
	}
	return c.Unplug()
}

// Stats counts what the host asked of a camera since it was plugged in.
type Stats struct {
	Starts  int // of the stream
	Frames  int // that went out
	Keys    int // forced key frames
	Bitrate int // last set, bits per second; 0 if never
}

// Stats tells the present counts; zero while the camera is unplugged.
func (c *Camera) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.session == nil {
		return Stats{}
	}
	return c.session.snapshot()
}

// Control returns the value that a picture control has in the camera itself
// ("brightness", "contrast", "saturation", "sharpness", "antiflicker": 0 off, 1
// for 50 Hz, 2 for 60 Hz).
func (c *Camera) Control(name string) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.session == nil {
		return 0, errors.New("usbcam: it is not plugged in")
	}
	return c.session.value(name)
}

func control(file, line string) error {
	err := os.WriteFile(controller+file, []byte(line), 0)
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%w (kernel module vhci-hcd)", err)
	}
	return err
}

// eventually repeats do until it succeeds, for as long as the kernel may take;
// a file that is missing does not come.
func eventually(do func() error) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	end := time.After(within)
	for {
		err := do()
		if err == nil || errors.Is(err, os.ErrNotExist) {
			return err
		}
		select {
		case <-tick.C:
		case <-end:
			return err
		}
	}
}

// socketPair returns our end and the kernel's.
func socketPair() (near, far *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("usbcam: socket pair: %w", err)
	}
	if err := unix.SetNonblock(fds[0], true); err != nil { // so that Close ends a read
		return nil, nil, err
	}
	return os.NewFile(uintptr(fds[0]), "usbip"), os.NewFile(uintptr(fds[1]), "usbip"), nil
}
