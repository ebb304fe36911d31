// Package evdev reads keys from the kernel's input devices (/dev/input/eventN).
// It takes no device for itself: others hear the same keys.
package evdev

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"iid2secure.nl/camagent/hal/internal/kernel"
	"iid2secure.nl/camagent/hal/peripheral/internal/sysfs"
)

// Types and codes of include/uapi/linux/input-event-codes.h.
const (
	typeSync   = 0
	typeKey    = 1
	syncReport = 0
	syncDrop   = 3
)

// eventSize is that of struct input_event: two longs of this program's size
// (seconds and microseconds; on 32 bit they stay 32 bits, with a 64-bit time_t
// of the C library too), type and code, value.
const eventSize = 2*longSize + 8

const longSize = bits.UintSize / 8

// The requests EVIOCSCLOCKID and EVIOCGKEY.
var (
	setClock = kernel.Number(kernel.Write, 'E', 0xa0, 4)
	getKeys  = kernel.Number(kernel.Read, 'E', 0x18, keyBytes)
)

// keyBytes hold the state of all keys, a bit each.
const keyBytes = (maxKey + 1) / 8

// event is a struct input_event.
type event struct {
	time  time.Duration // of the device's clock
	typ   uint16
	code  uint16
	value int32
}

// Press is a key that went down or up.
type Press struct {
	Key  uint16
	Down bool
	Time time.Time // monotonic
}

// Device is an open input device, for one goroutine.
type Device struct {
	path    string
	fd      int
	clock   int32 // of its time stamps
	keys    []uint16
	down    map[uint16]bool
	dropped bool // until the next report events are missing
}

// Open opens the device at path for the keys of interest. A key that is held
// then counts only once it was released.
func Open(path string, keys []uint16) (*Device, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, sysfs.Explain(err, path)
	}
	d := &Device{path: path, fd: fd, keys: slices.Clone(keys), down: map[uint16]bool{}, clock: unix.CLOCK_MONOTONIC}
	clock := d.clock
	if kernel.Ioctl(fd, setClock, unsafe.Pointer(&clock)) != nil {
		d.clock = unix.CLOCK_REALTIME // as it is on kernels before 3.4
	}
	return d, nil
}

// FD is what to wait for with poll(2), to be read from.
func (d *Device) FD() int { return d.fd }

// Want adds a key of interest.
func (d *Device) Want(key uint16) { d.keys = append(d.keys, key) }

// Close closes the device.
func (d *Device) Close() error { return unix.Close(d.fd) }

// Read returns what was pressed and released, without waiting. hal.ErrGone:
// the device was unplugged.
func (d *Device) Read() ([]Press, error) {
	var b [64 * eventSize]byte
	n, err := unix.Read(d.fd, b[:])
	switch {
	case err == unix.EAGAIN || err == unix.EINTR:
		return nil, nil
	case err == nil && n == 0:
		err = unix.ENODEV
		fallthrough
	case err != nil:
		return nil, sysfs.Explain(err, d.path)
	case n%eventSize != 0:
		return nil, fmt.Errorf("%s gives %d bytes, want events of %d", d.path, n, eventSize)
	}
	return d.take(decode(b[:n]), d.held), nil
}

// decode takes struct input_events apart; an incomplete one at the end is
// left out.
func decode(b []byte) (list []event) {
	for ; len(b) >= eventSize; b = b[eventSize:] {
		rest := b[2*longSize:]
		list = append(list, event{
			time:  time.Duration(long(b))*time.Second + time.Duration(long(b[longSize:]))*time.Microsecond,
			typ:   binary.NativeEndian.Uint16(rest),
			code:  binary.NativeEndian.Uint16(rest[2:]),
			value: int32(binary.NativeEndian.Uint32(rest[4:])),
		})
	}
	return list
}

func long(b []byte) int64 {
	if longSize == 4 {
		return int64(binary.NativeEndian.Uint32(b))
	}
	return int64(binary.NativeEndian.Uint64(b))
}

// take makes presses of events. After a loss it asks for what is held now.
func (d *Device) take(events []event, held func() (map[uint16]bool, error)) (list []Press) {
	for _, e := range events {
		switch {
		case e.typ == typeSync && e.code == syncDrop:
			d.dropped = true
		case e.typ == typeSync && e.code == syncReport && d.dropped:
			d.dropped = false
			now, err := held()
			for _, k := range d.keys {
				if err == nil {
					list = d.change(list, k, now[k], time.Now())
				}
			}
		case e.typ == typeKey && e.value < 2 && !d.dropped: // 2 is the key's repetition
			list = d.change(list, e.code, e.value == 1, kernel.When(e.time, d.clock))
		}
	}
	return list
}

func (d *Device) change(list []Press, key uint16, down bool, at time.Time) []Press {
	if d.down[key] == down || !slices.Contains(d.keys, key) {
		return list
	}
	d.down[key] = down
	return append(list, Press{key, down, at})
}

// held asks the kernel which keys are held.
func (d *Device) held() (map[uint16]bool, error) {
	var b [keyBytes]byte
	if err := kernel.Ioctl(d.fd, getKeys, unsafe.Pointer(&b)); err != nil {
		return nil, err
	}
	now := map[uint16]bool{}
	for _, k := range d.keys {
		now[k] = b[k/8]>>(k%8)&1 == 1
	}
	return now, nil
}
