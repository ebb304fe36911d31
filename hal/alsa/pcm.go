package alsa

import (
	"errors"
	"fmt"
	"math/bits"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/hal/internal/kernel"
)

// system is what is asked of the kernel; tests put a card behind it.
type system interface {
	open(path string) (int, error)
	close(fd int) error
	ioctl(fd int, number uintptr, arg unsafe.Pointer) error
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

// pcm is an open device; once set up it takes or gives 16 bit samples of
// channels side by side.
type pcm struct {
	sys            system
	fd             int
	path           string
	dir            direction
	rate, channels int
	period, buffer int // frames
}

func openPCM(sys system, path string, dir direction) (*pcm, error) {
	fd, err := sys.open(path)
	if err != nil {
		return nil, kernel.OpenError(path, err, " (\"ls /dev/snd\" lists the sound devices)")
	}
	return &pcm{sys: sys, fd: fd, path: path, dir: dir}, nil
}

func (p *pcm) ioctl(number uintptr, arg unsafe.Pointer) error {
	return p.sys.ioctl(p.fd, number, arg)
}

func (p *pcm) close() error { return p.sys.close(p.fd) }

func (p *pcm) fail(doing string, err error) error {
	if kernel.Gone(err) {
		return fmt.Errorf("%w: %s: %s: %w", hal.ErrGone, p.path, doing, err)
	}
	return fmt.Errorf("%s: %s: %w", p.path, doing, err)
}

// anything is the set of all parameters of 16 bit samples.
func anything() hwParams {
	var h hwParams
	for i := range h.Masks {
		for j := range h.Masks[i] {
			h.Masks[i][j] = ^uint32(0)
		}
	}
	for i := range h.Intervals {
		h.Intervals[i] = interval{Max: ^uint32(0)}
	}
	h.Masks[maskAccess] = [8]uint32{accessInterleaved}
	h.Masks[maskFormat] = [8]uint32{formatS16LE}
	h.Rmask = ^uint32(0)
	return h
}

func (h *hwParams) bound(param, low, high int) {
	h.Intervals[param] = interval{uint32(low), uint32(high), isInteger}
}

// refine asks which of the parameters the device can do, without setting them;
// an error that is not ErrGone means none.
func (p *pcm) refine(h hwParams) (hwParams, error) {
	h.Rmask = ^uint32(0)
	if err := p.ioctl(calls.refine, unsafe.Pointer(&h)); err != nil {
		return h, p.fail("asking for its formats", err)
	}
	return h, nil
}

// negotiate finds the least channels, and the first of rates, that the device
// can do.
func (p *pcm) negotiate(rates []int) (rate, channels int, err error) {
	for _, channels := range []int{1, 2, 4, 6, 8} {
		for _, rate := range rates {
			h := anything()
			h.bound(paramChannels, channels, channels)
			h.bound(paramRate, rate, rate)
			if _, err = p.refine(h); err == nil || errors.Is(err, hal.ErrGone) {
				return rate, channels, err
			}
		}
	}
	return 0, 0, fmt.Errorf("device %s: %w: offers %s, want S16_LE at one of %v Hz", p.path, hal.ErrArgument, p.offers(), rates)
}

// setUp makes the device ready for rate and channels, with a period of about a
// frame and no more than most frames in its buffer, as far as it can do that.
func (p *pcm) setUp(rate, channels, most int) error {
	var err error
	for _, exact := range []bool{true, false} {
		h := anything()
		h.bound(paramChannels, channels, channels)
		h.bound(paramRate, rate, rate)
		if exact {
			h.bound(paramPeriodSize, rate/100, rate/framesPerSecond)
			h.bound(paramBufferSize, 4*rate/framesPerSecond, most)
		}
		if err = p.ioctl(calls.hwParams, unsafe.Pointer(&h)); err == nil {
			p.rate, p.channels = int(h.Intervals[paramRate].Min), int(h.Intervals[paramChannels].Min)
			p.period, p.buffer = int(h.Intervals[paramPeriodSize].Min), int(h.Intervals[paramBufferSize].Min)
			return p.setUpSoftware()
		}
	}
	return p.fail("setting its format", err)
}

// setUpSoftware says when to wake us up, and that the device stops when it runs
// empty or full. It starts when we tell it, or a speaker when more than the
// cushion is there.
func (p *pcm) setUpSoftware() error {
	s := swParams{
		PeriodStep: 1, AvailMin: frames(p.period), XferAlign: 1,
		StartThreshold: frames(p.cushion() + 1), StopThreshold: frames(p.buffer), Boundary: boundary(p.buffer),
	}
	if p.dir == capture {
		s.StartThreshold = s.Boundary
	}
	if err := p.ioctl(calls.swParams, unsafe.Pointer(&s)); err != nil {
		return p.fail("setting its thresholds", err)
	}
	return p.prepare()
}

// boundary is where the kernel's pointers wrap: the buffer's size times the
// highest power of two that a C long holds (with a bit to spare).
func boundary(buffer int) frames {
	room := bits.UintSize - 2 - bits.Len(uint(buffer))
	return frames(buffer) << max(room, 0)
}

// prepare makes the device ready to start, also after it stopped by itself.
func (p *pcm) prepare() error {
	if err := p.ioctl(calls.prepare, nil); err != nil {
		return p.fail("preparing it", err)
	}
	return nil
}

// cushion is how much silence a speaker plays in front, so that a writer may be
// late by that much.
func (p *pcm) cushion() int { return min(2*p.rate/framesPerSecond, p.buffer/2) }

// queued is how many frames are in the device: captured and not read yet, or
// written and not played yet.
func (p *pcm) queued() (int, error) {
	var n int
	err := p.ioctl(calls.delay, unsafe.Pointer(&n))
	return max(n, 0), err
}

// move reads into, or writes from, b and returns how many frames it was; none
// if the device has no data, or no room, now.
func (p *pcm) move(b []int16) (int, error) {
	call := calls.put
	if p.dir == capture {
		call = calls.get
	}
	x := transfer{Buffer: unsafe.SliceData(b), Frames: frames(len(b) / p.channels)}
	err := p.ioctl(call, unsafe.Pointer(&x))
	switch {
	case err == nil:
		return x.Result, nil
	case errors.Is(err, unix.EAGAIN):
		return 0, nil
	}
	return 0, err
}

// stopped tells whether an error means that the device ran full or empty, or
// was suspended, and only wants to be prepared again.
func stopped(err error) bool { return errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ESTRPIPE) }

// offers says for people what a device can do.
func (p *pcm) offers() string {
	h := anything()
	for i := range h.Masks[maskFormat] {
		h.Masks[maskFormat][i] = ^uint32(0)
	}
	h, err := p.refine(h)
	if err != nil {
		return "nothing that can be listed"
	}
	var formats []string
	for _, f := range []struct {
		bit  int
		name string
	}{{0, "S8"}, {1, "U8"}, {2, "S16_LE"}, {3, "S16_BE"}, {6, "S24_LE"}, {10, "S32_LE"}, {14, "FLOAT_LE"}, {32, "S24_3LE"}} {
		if h.Masks[maskFormat][f.bit/32]>>(f.bit%32)&1 != 0 {
			formats = append(formats, f.name)
		}
	}
	rate, channels := h.Intervals[paramRate], h.Intervals[paramChannels]
	return fmt.Sprintf("%s at %d to %d Hz, %d to %d channels", strings.Join(formats, ", "), rate.Min, rate.Max, channels.Min, channels.Max)
}
