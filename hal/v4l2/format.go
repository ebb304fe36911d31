package v4l2

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/hal/internal/kernel"
)

// most bounds what a driver is asked to list.
const most = 256

// formats lists what a camera gives.
func (d *device) formats() []fourCC {
	var list []fourCC
	for i := uint32(0); i < most; i++ {
		f := fmtDesc{Index: i, Type: bufCapture}
		if d.ioctl(calls.enumFmt, unsafe.Pointer(&f)) != nil {
			break
		}
		list = append(list, fourCC(f.PixelFormat))
	}
	return list
}

func (d *device) offers(f fourCC) bool { return slices.Contains(d.formats(), f) }

// names writes a list for people.
func names(list []fourCC) string {
	if len(list) == 0 {
		return "nothing"
	}
	var s []string
	for _, f := range list {
		s = append(s, f.String())
	}
	return strings.Join(s, ", ")
}

// getFormat returns what the node is set to.
func (d *device) getFormat() (pixFormat, error) {
	f := format{Type: bufCapture, Pix: pixFormat{Priv: privMagic}}
	err := d.ioctl(calls.gFmt, unsafe.Pointer(&f))
	return f.Pix, err
}

// setFormat, with call sFmt or tryFmt, asks for a format and size (0: as it is
// now) and returns what the driver made of it. Drivers don't refuse a format
// that they lack: they take another.
func (d *device) setFormat(call uintptr, want fourCC, width, height int) (pixFormat, error) {
	now, err := d.getFormat()
	if err != nil {
		return now, d.fail("asking for its format", err)
	}
	f := format{Type: bufCapture, Pix: pixFormat{Width: now.Width, Height: now.Height, PixelFormat: uint32(want), Field: fieldNone, Priv: privMagic}}
	if width > 0 && height > 0 {
		f.Pix.Width, f.Pix.Height = uint32(width), uint32(height)
	}
	switch err := d.ioctl(call, unsafe.Pointer(&f)); {
	case errors.Is(err, unix.EINVAL): // a few do refuse
		f.Pix = now
	case err != nil:
		return f.Pix, d.fail("setting "+want.String(), err)
	}
	if fourCC(f.Pix.PixelFormat) != want || f.Pix.Width == 0 || f.Pix.Height == 0 {
		return f.Pix, fmt.Errorf("device %s: %w: is %s, which gave %s when asked for %s; it offers %s", d.path, hal.ErrArgument, d.card, fourCC(f.Pix.PixelFormat), want, names(d.formats()))
	}
	return f.Pix, nil
}

// size is one of the picture's sizes.
type size struct{ w, h int }

// sizes lists those of a format: all of them if they are few, else the largest.
func (d *device) sizes(f fourCC) []size {
	var list []size
	for i := uint32(0); i < most; i++ {
		s := frameSize{Index: i, PixelFormat: uint32(f)}
		if d.ioctl(calls.enumSizes, unsafe.Pointer(&s)) != nil {
			break
		}
		if s.Type != discrete { // W, H are then the ends of the width
			return []size{{int(s.H), int(s.HMax)}}
		}
		list = append(list, size{int(s.W), int(s.H)})
	}
	return list
}

// rates tells how many pictures a second a format and size can have, rounded.
func (d *device) rates(f fourCC, s size) hal.Range {
	var r hal.Range
	for i := uint32(0); i < most; i++ {
		v := frameInterval{Index: i, PixelFormat: uint32(f), Width: uint32(s.w), Height: uint32(s.h)}
		if d.ioctl(calls.enumIntervals, unsafe.Pointer(&v)) != nil {
			break
		}
		if r = include(r, v.Min.rate()); v.Type != discrete {
			return include(r, v.Max.rate())
		}
	}
	return r
}

// include widens r by v; 0 is no value.
func include(r hal.Range, v int) hal.Range {
	switch {
	case v <= 0:
		return r
	case r == hal.Range{}:
		return hal.Range{Min: v, Max: v}
	}
	return hal.Range{Min: min(r.Min, v), Max: max(r.Max, v)}
}

// rate is pictures a second of a time for a picture, rounded; 0 if it is unknown.
func (f fract) rate() int {
	if f.Num == 0 || f.Den == 0 {
		return 0
	}
	return int((uint64(f.Den) + uint64(f.Num)/2) / uint64(f.Num))
}

// getRate returns the picture rate that is set, and whether it can be set.
func (d *device) getRate() (fps int, settable bool) {
	p := streamParm{Type: bufCapture}
	if d.ioctl(calls.gParm, unsafe.Pointer(&p)) != nil {
		return 0, false
	}
	return p.PerFrame.rate(), p.Capability&capTimePerFrame != 0
}

// setRate asks for a picture rate and returns what came of it; 0: unknown.
func (d *device) setRate(fps int) (int, error) {
	is, settable := d.getRate()
	if fps <= 0 || !settable {
		return is, nil
	}
	p := streamParm{Type: bufCapture, PerFrame: fract{1, uint32(fps)}}
	err := d.ioctl(calls.sParm, unsafe.Pointer(&p))
	if errors.Is(err, unix.EBUSY) || kernel.Gone(err) {
		return is, d.fail("setting the picture rate", err)
	} else if err != nil {
		return is, nil // what can't be is adjusted, not refused
	}
	return p.PerFrame.rate(), nil
}
