package gpio

import "golang.org/x/sys/unix"

// The first interface of the character device (include/uapi/linux/gpio.h).
// All its requests read and write, so that their numbers are the same on MIPS.
const (
	getLineInfoV1   = 0xc048b402
	getLineHandleV1 = 0xc16cb403
	getLineEventV1  = 0xc030b404
	getValuesV1     = 0xc040b408
	setValuesV1     = 0xc040b409
)

// Flags of gpiohandle_request and gpioevent_request.
const (
	v1Input     = 1 << 0
	v1Output    = 1 << 1
	v1ActiveLow = 1 << 2
	v1BothEdges = 3
)

// v1EventSize is that of gpioevent_data, whose 64-bit member is aligned to 8
// bytes on ARM and MIPS too.
const v1EventSize = 16

type lineInfoV1 struct {
	offset   uint32
	_        uint32 // flags
	name     [32]byte
	consumer [32]byte
}

type handleRequestV1 struct {
	offsets  [64]uint32
	flags    uint32
	values   [64]uint8
	consumer [32]byte
	lines    uint32
	fd       int32
}

type eventRequestV1 struct {
	offset     uint32
	flags      uint32
	eventFlags uint32
	consumer   [32]byte
	fd         int32
}

type valuesV1 [64]uint8

// lineV1 is a line of the first interface.
type lineV1 struct {
	fd    int
	event bool
}

func requestV1(fd, offset int, w wish) (handle, error) {
	r := handleRequestV1{flags: v1Flags(w), lines: 1}
	r.offsets[0] = uint32(offset)
	copy(r.consumer[:], consumer)
	if w.initial {
		r.values[0] = 1
	}
	if err := ioctl(fd, getLineHandleV1, &r); err != nil {
		return nil, err
	}
	return newV1(int(r.fd), false)
}

func requestEdgesV1(fd, offset int, w wish) (handle, error) {
	r := eventRequestV1{offset: uint32(offset), flags: v1Flags(w), eventFlags: v1BothEdges}
	copy(r.consumer[:], consumer)
	if err := ioctl(fd, getLineEventV1, &r); err != nil {
		return nil, err
	}
	return newV1(int(r.fd), true)
}

func newV1(fd int, event bool) (handle, error) {
	l := &lineV1{fd, event}
	if err := setFor(fd, event); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

func v1Flags(w wish) uint32 {
	flags := uint32(v1Input)
	if w.output {
		flags = v1Output
	}
	if w.activeLow {
		flags |= v1ActiveLow
	}
	return flags
}

func (l *lineV1) get() (bool, error) {
	var v valuesV1
	err := ioctl(l.fd, getValuesV1, &v)
	return v[0] != 0, err
}

func (l *lineV1) set(active bool) error {
	var v valuesV1
	if active {
		v[0] = 1
	}
	return ioctl(l.fd, setValuesV1, &v)
}

func (l *lineV1) poll() (int, int16) {
	if !l.event {
		return -1, 0
	}
	return l.fd, unix.POLLIN
}

func (l *lineV1) edges() ([]Edge, error) { return readEdges(l.fd, v1EventSize) }
func (l *lineV1) debounces() bool        { return false }
func (l *lineV1) close() error           { return unix.Close(l.fd) }
