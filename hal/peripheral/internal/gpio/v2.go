package gpio

import (
	"encoding/binary"
	"time"

	"golang.org/x/sys/unix"
)

// Flags of a line (include/uapi/linux/gpio.h, gpio_v2_line_flag).
const (
	v2ActiveLow = 1 << 1
	v2Input     = 1 << 2
	v2Output    = 1 << 3
	v2Rising    = 1 << 4
	v2Falling   = 1 << 5
)

const v2EventSize = 48

// lineV2 is a line of the character device's second interface.
type lineV2 struct {
	fd   int
	wish wish
}

func requestV2(fd, offset int, w wish) (handle, error) {
	r := unix.GPIOV2LineRequest{Num_lines: 1}
	r.Offsets[0] = uint32(offset)
	copy(r.Consumer[:], consumer)
	r.Config.Flags = v2Flags(w)
	switch {
	case w.output && w.initial:
		v2Attribute(&r, unix.GPIO_V2_LINE_ATTR_ID_OUTPUT_VALUES, 1)
	case w.edges && w.debounce > 0:
		v2Attribute(&r, unix.GPIO_V2_LINE_ATTR_ID_DEBOUNCE, v2Debounce(w.debounce))
	}
	if err := ioctl(fd, unix.GPIO_V2_GET_LINE_IOCTL, &r); err != nil {
		return nil, err
	}
	l := &lineV2{int(r.Fd), w}
	if err := setFor(l.fd, w.edges); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

func v2Flags(w wish) uint64 {
	flags := uint64(v2Input)
	if w.output {
		flags = v2Output
	}
	if w.activeLow {
		flags |= v2ActiveLow
	}
	if w.edges {
		flags |= v2Rising | v2Falling
	}
	return flags
}

// v2Debounce puts the period where the kernel's union has its 32-bit member.
func v2Debounce(d time.Duration) uint64 {
	var b [8]byte
	binary.NativeEndian.PutUint32(b[:], uint32(d.Microseconds()))
	return binary.NativeEndian.Uint64(b[:])
}

func v2Attribute(r *unix.GPIOV2LineRequest, id uint32, value uint64) {
	r.Config.Num_attrs = 1
	r.Config.Attrs[0].Attr.Id = id
	r.Config.Attrs[0].Attr.Flags = value
	r.Config.Attrs[0].Mask = 1
}

func (l *lineV2) get() (bool, error) {
	v := unix.GPIOV2LineValues{Mask: 1}
	err := ioctl(l.fd, unix.GPIO_V2_LINE_GET_VALUES_IOCTL, &v)
	return v.Bits&1 != 0, err
}

func (l *lineV2) set(active bool) error {
	v := unix.GPIOV2LineValues{Mask: 1}
	if active {
		v.Bits = 1
	}
	return ioctl(l.fd, unix.GPIO_V2_LINE_SET_VALUES_IOCTL, &v)
}

func (l *lineV2) poll() (int, int16) {
	if !l.wish.edges {
		return -1, 0
	}
	return l.fd, unix.POLLIN
}

func (l *lineV2) edges() ([]Edge, error) { return readEdges(l.fd, v2EventSize) }
func (l *lineV2) debounces() bool        { return l.wish.edges && l.wish.debounce > 0 }
func (l *lineV2) close() error           { return unix.Close(l.fd) }

// readEdges reads the events that wait at fd, of either interface: both begin
// with the time stamp (8 bytes) and the kind (4 bytes).
func readEdges(fd, size int) ([]Edge, error) {
	var b [16 * v2EventSize]byte
	n, err := unix.Read(fd, b[:16*size])
	if err == unix.EAGAIN || err == unix.EINTR {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return decode(b[:n], size), nil
}

func decode(b []byte, size int) (list []Edge) {
	for ; len(b) >= size; b = b[size:] {
		rising := binary.NativeEndian.Uint32(b[8:]) == unix.GPIO_V2_LINE_EVENT_RISING_EDGE
		list = append(list, Edge{rising, when(binary.NativeEndian.Uint64(b))})
	}
	return list
}
