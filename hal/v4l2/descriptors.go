package v4l2

import (
	"bytes"
	"encoding/binary"

	"iid2secure.nl/camagent/hal"
)

// What the USB descriptors of a camera tell beyond the driver: its H.264
// extension unit and the bitrates of its frames (USB Video Class 1.1, 3.7.2.6
// and the frame based payload's 3.1).

// xuGUID is that of the extension unit of "USB Video Class: H.264", as it lies
// in the descriptor.
var xuGUID = []byte{0x41, 0x76, 0x9e, 0xa2, 0x04, 0xde, 0xe3, 0x47, 0x8b, 0x2b, 0xf4, 0x34, 0x1a, 0xff, 0x00, 0x3b}

const (
	descInterface   = 0x04
	descClass       = 0x24
	classVideo      = 0x0e
	subclassControl = 1
	subclassStream  = 2
	controlXU       = 0x06
	streamFrameSize = 0x11 // frame based
)

// uvc is what is known of a USB camera.
type uvc struct {
	unit     byte // of the extension unit; 0: there is none
	controls []byte
	frames   []uvcFrame
}

type uvcFrame struct {
	size
	bitrate hal.Range
}

// has tells whether the extension unit has a selector.
func (u *uvc) has(selector int) bool {
	bit := selector - 1
	return u.unit != 0 && bit/8 < len(u.controls) && u.controls[bit/8]>>(bit%8)&1 != 0
}

// bitrate tells the range that the descriptor of a frame size states; zero if none.
func (u *uvc) bitrate(s size) hal.Range {
	for _, f := range u.frames {
		if f.size == s {
			return f.bitrate
		}
	}
	return hal.Range{}
}

// parseDescriptors reads the file "descriptors" of a USB device in sysfs. It
// never fails: what makes no sense is left out, and the first that doesn't fit
// ends it.
func parseDescriptors(b []byte) uvc {
	var u uvc
	var class, subclass byte
	for len(b) >= 2 {
		n := int(b[0])
		if n < 2 || n > len(b) {
			break
		}
		d := b[:n]
		b = b[n:]
		switch {
		case d[1] == descInterface && n >= 9:
			class, subclass = d[5], d[6]
		case d[1] != descClass || n < 3 || class != classVideo:
		case subclass == subclassControl && d[2] == controlXU:
			u.addUnit(d)
		case subclass == subclassStream && d[2] == streamFrameSize:
			u.addFrame(d)
		}
	}
	return u
}

// addUnit takes an extension unit, if it is that of H.264.
func (u *uvc) addUnit(d []byte) {
	const pinsAt = 21
	if u.unit != 0 || len(d) <= pinsAt || !bytes.Equal(d[4:20], xuGUID) {
		return
	}
	at := pinsAt + 1 + int(d[pinsAt]) // of the number of bytes of controls
	if at >= len(d) || at+1+int(d[at]) > len(d) {
		return
	}
	u.unit, u.controls = d[3], bytes.Clone(d[at+1:at+1+int(d[at])])
}

func (u *uvc) addFrame(d []byte) {
	if len(d) < 17 {
		return
	}
	le := binary.LittleEndian
	u.frames = append(u.frames, uvcFrame{
		size{int(le.Uint16(d[5:])), int(le.Uint16(d[7:]))},
		bitrates(le.Uint32(d[9:]), le.Uint32(d[13:])),
	})
}

// The bitrates that are believed of a descriptor, and taken if it states none.
const (
	leastBitrate = 64_000
	mostBitrate  = 20_000_000
)

func bitrates(low, high uint32) hal.Range {
	r := hal.Range{
		Min: min(max(int(min(low, mostBitrate)), leastBitrate), mostBitrate),
		Max: min(max(int(min(high, mostBitrate)), leastBitrate), mostBitrate),
	}
	if r.Min >= r.Max {
		return hal.Range{Min: leastBitrate, Max: mostBitrate}
	}
	return r
}
