package usbcam

import (
	"fmt"
	"slices"
)

// request is one control transfer's setup packet (USB 2.0, 9.3).
type request struct {
	kind, code           byte
	value, index, length uint16
}

func parseRequest(b []byte) request {
	return request{b[0], b[1], le.Uint16(b[2:]), le.Uint16(b[4:]), le.Uint16(b[6:])}
}

func (r request) standard() bool { return r.kind&0x60 == 0 }
func (r request) in() bool       { return r.kind&0x80 != 0 }
func (r request) selector() int  { return int(r.value >> 8) }
func (r request) unit() int      { return int(r.index >> 8) }
func (r request) toInterface(i int) bool {
	return r.kind&0x7f == 0x21 && int(r.index&0xff) == i
}

// Codes of UVC 1.1, table A-8.
const (
	setCur  = 0x01
	getCur  = 0x81
	getMin  = 0x82
	getMax  = 0x83
	getRes  = 0x84
	getLen  = 0x85
	getInfo = 0x86
	getDef  = 0x87
)

// readWrite is the answer to getInfo.
const readWrite = 3

// Selectors of the H.264 extension unit.
const (
	selectPicture = 9  // UVCX_PICTURE_TYPE_CONTROL: 4 bytes, layer and type
	selectBitrate = 14 // UVCX_BITRATE_LAYERS: 10 bytes, layer, peak and average
)

// pictureControl is one control of the processing unit (UVC 1.1, 4.2.2.3).
type pictureControl struct {
	name               string
	selector, bit      int
	size               int // bytes
	low, high, initial int
}

var pictureControls = []pictureControl{
	{"brightness", 2, 0, 2, -64, 64, 0},
	{"contrast", 3, 1, 2, 0, 95, 32},
	{"saturation", 7, 3, 2, 0, 128, 64},
	{"sharpness", 8, 4, 2, 0, 6, 3},
	{"antiflicker", 5, 10, 1, 0, 2, 1},
}

// answer handles one control transfer; !ok is a stall: the camera can't do that.
func (s *session) answer(r request, out []byte) (in []byte, ok bool) {
	switch {
	case r.standard():
		return s.standard(r)
	case r.toInterface(streamInterface):
		return s.negotiate(r, out)
	case r.toInterface(controlInterface) && r.unit() == unitPicture:
		return s.picture(r, out)
	case r.toInterface(controlInterface) && r.unit() == unitH264 && s.config.Kind == H264:
		return s.h264(r, out)
	}
	return nil, false
}

func (s *session) standard(r request) ([]byte, bool) {
	const getDescriptor, clearFeature = 6, 1
	switch {
	case r.in() && r.code == getDescriptor:
		return s.describe(r)
	case r.kind == 0x02 && r.code == clearFeature: // the driver's last word to a bulk endpoint
		s.stop()
	}
	return make([]byte, r.length), true
}

func (s *session) describe(r request) ([]byte, bool) {
	switch r.value >> 8 {
	case typeDevice:
		return deviceDescriptor(s.config.product()), true
	case typeConfiguration:
		return configurationDescriptor(s.config.Kind, s.sizes), true
	case typeString:
		return stringDescriptor(int(r.value&0xff), s.config.Serial), true
	}
	return nil, false
}

// choice is what probe and commit speak of (UVC 1.1, 4.3.1.1).
type choice struct {
	frame    int // from 1
	interval int // 100 ns
}

func (c choice) encode() []byte {
	b := make([]byte, 34)
	b[2], b[3] = 1, byte(c.frame)
	le.PutUint32(b[4:], uint32(c.interval))
	le.PutUint32(b[18:], maxSize)
	le.PutUint32(b[22:], payload)
	le.PutUint32(b[26:], clock)
	b[30] = 3
	return b
}

// adjust takes a wish; what can't be is replaced, not refused.
func (s *session) adjust(b []byte) choice {
	c := choice{1, defaultInterval}
	if len(b) < 8 {
		return c
	}
	if f := int(b[3]); f >= 1 && f <= len(s.sizes) {
		c.frame = f
	}
	if i := int(le.Uint32(b[4:])); slices.Contains(intervals, i) {
		c.interval = i
	}
	return c
}

func (s *session) negotiate(r request, out []byte) ([]byte, bool) {
	const probe, commit = 1, 2
	if sel := r.selector(); sel != probe && sel != commit {
		return nil, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c := &s.probe
	if r.selector() == commit {
		c = &s.commit
	}
	switch r.code {
	case setCur:
		*c = s.adjust(out)
		return nil, true
	case getLen:
		return u16(34), true
	case getInfo:
		return []byte{readWrite}, true
	}
	return c.encode(), true
}

func (s *session) picture(r request, out []byte) ([]byte, bool) {
	i := slices.IndexFunc(pictureControls, func(c pictureControl) bool { return c.selector == r.selector() })
	if i < 0 {
		return nil, false
	}
	c := pictureControls[i]
	s.mu.Lock()
	defer s.mu.Unlock()
	number := func(v int) ([]byte, bool) { return u16(v)[:c.size], true }
	switch r.code {
	case setCur:
		return nil, s.set(i, out)
	case getCur:
		return number(s.values[i])
	case getMin:
		return number(c.low)
	case getMax:
		return number(c.high)
	case getDef:
		return number(c.initial)
	case getRes:
		return number(1)
	case getLen:
		return u16(c.size), true
	case getInfo:
		return []byte{readWrite}, true
	}
	return nil, false
}

// set takes the new value of a picture control. With mu held.
func (s *session) set(i int, out []byte) bool {
	c := pictureControls[i]
	if len(out) != c.size {
		return false
	}
	v := int(out[0])
	if c.size == 2 {
		v = int(int16(le.Uint16(out)))
	}
	if v < c.low || v > c.high {
		return false
	}
	s.values[i] = v
	return true
}

// value is for the test: what the camera itself has.
func (s *session) value(name string) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, c := range pictureControls {
		if c.name == name {
			return s.values[i], nil
		}
	}
	return 0, fmt.Errorf("usbcam: no control %q", name)
}

func (s *session) h264(r request, out []byte) ([]byte, bool) {
	size, known := map[int]int{selectPicture: 4, selectBitrate: 10}[r.selector()]
	if !known {
		return nil, false
	}
	switch r.code {
	case setCur:
		return nil, len(out) == size && s.command(r.selector(), out)
	case getLen:
		return u16(size), true
	case getInfo:
		return []byte{readWrite}, true
	}
	b := make([]byte, size)
	if r.selector() == selectBitrate {
		bps := s.snapshot().Bitrate
		le.PutUint32(b[2:], uint32(bps))
		le.PutUint32(b[6:], uint32(bps))
	}
	return b, true
}

// command carries out what the H.264 unit was told.
func (s *session) command(selector int, out []byte) bool {
	if selector == selectPicture {
		s.count(func(k *Stats) { k.Keys++ })
		return s.config.Source.ForceKey() == nil
	}
	average := int(le.Uint32(out[6:]))
	if s.config.Source.SetBitrate(average) != nil {
		return false
	}
	s.count(func(k *Stats) { k.Bitrate = average })
	return true
}
