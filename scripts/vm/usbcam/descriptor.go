package usbcam

import (
	"encoding/binary"
	"slices"
)

// What the descriptors promise and the requests keep. Numbers are those of the
// UVC 1.1 specification, its tables in appendix A.
const (
	controlInterface, streamInterface = 0, 1
	endpoint                          = 1
	unitInput, unitPicture, unitH264  = 1, 2, 3
	unitOutput                        = 4

	clock   = 48_000_000 // Hz
	payload = 16384      // bytes of one bulk transfer
	maxSize = 512 << 10  // bytes of one frame
)

// h264Unit is the GUID {A29E7641-DE04-47E3-8B2B-F4341AFF003B} of the extension
// unit for H.264 (USB-IF, "USB Device Class Specification for Video Devices:
// H.264 Payload"), in the order of the bytes on the wire.
var h264Unit = [16]byte{0x41, 0x76, 0x9e, 0xa2, 0x04, 0xde, 0xe3, 0x47, 0x8b, 0x2b, 0xf4, 0x34, 0x1a, 0xff, 0x00, 0x3b}

var formatH264 = [16]byte{'H', '2', '6', '4', 0, 0, 0x10, 0, 0x80, 0, 0, 0xaa, 0, 0x38, 0x9b, 0x71}

var le = binary.LittleEndian

func u16(v int) []byte { return le.AppendUint16(nil, uint16(v)) }
func u32(v int) []byte { return le.AppendUint32(nil, uint32(v)) }

// descriptor puts a body behind its length.
func descriptor(parts ...[]byte) []byte {
	body := slices.Concat(parts...)
	return append([]byte{byte(len(body) + 1)}, body...)
}

const (
	typeDevice, typeConfiguration, typeString = 1, 2, 3
	classSpecific                             = 0x24
)

// vendor is that of pid.codes; its first products are for tests.
const vendor = 0x1209

func (c Config) product() int { return 1 + c.Port }

func deviceDescriptor(product int) []byte {
	return descriptor(
		[]byte{typeDevice}, u16(0x0200), []byte{0xEF, 2, 1, 64}, // class "miscellaneous": it has an association
		u16(vendor), u16(product), u16(0x0100), []byte{1, 2, 3, 1})
}

func stringDescriptor(i int, serial string) []byte {
	if i == 0 {
		return descriptor([]byte{typeString}, u16(0x0409)) // US English
	}
	var chars []byte
	if all := []string{1: "Test", 2: "Virtual H264 Camera", 3: serial}; i < len(all) {
		for _, r := range all[i] {
			chars = append(chars, u16(int(r))...)
		}
	}
	return descriptor([]byte{typeString}, chars)
}

func configurationDescriptor(kind Kind, sizes []Size) []byte {
	body := slices.Concat(
		descriptor([]byte{0x0B, controlInterface, 2, 0x0E, 3, 0, 2}), // both interfaces are one function
		descriptor([]byte{4, controlInterface, 0, 0, 0x0E, 1, 0, 2}), controls(kind),
		descriptor([]byte{4, streamInterface, 0, 1, 0x0E, 2, 0, 0}), formats(kind, sizes),
		descriptor([]byte{5, 0x80 | endpoint, 2}, u16(512), []byte{0}), // bulk
	)
	return slices.Concat([]byte{9, typeConfiguration}, u16(9+len(body)), []byte{2, 1, 0, 0x80, 250}, body)
}

// controls describes the chain sensor, picture, H.264, USB.
func controls(kind Kind) []byte {
	last := byte(unitPicture)
	var h264 []byte
	if kind == H264 {
		last = unitH264
		h264 = descriptor([]byte{classSpecific, 6, unitH264}, h264Unit[:], []byte{2, 1, unitPicture, 2}, selectorBits(), []byte{0})
	}
	units := slices.Concat(
		descriptor([]byte{classSpecific, 2, unitInput}, u16(0x0201), []byte{0, 0}, u16(0), u16(0), u16(0), []byte{3, 0, 0, 0}),
		descriptor([]byte{classSpecific, 5, unitPicture, unitInput}, u16(0), []byte{2}, pictureBits(), []byte{0, 0}),
		h264,
		descriptor([]byte{classSpecific, 3, unitOutput}, u16(0x0101), []byte{0, last, 0}),
	)
	const own = 13
	head := slices.Concat([]byte{own, classSpecific, 1}, u16(0x0110), u16(own+len(units)), u32(clock), []byte{1, streamInterface})
	return append(head, units...)
}

// selectorBits tells which selectors the H.264 unit has: bit n is selector n+1.
func selectorBits() []byte { return u16(1<<(selectPicture-1) | 1<<(selectBitrate-1)) }

func pictureBits() []byte {
	bits := 0
	for _, c := range pictureControls {
		bits |= 1 << c.bit
	}
	return u16(bits)
}

func formats(kind Kind, sizes []Size) []byte {
	frames := []byte{}
	for i, s := range sizes {
		frames = append(frames, frame(kind, i+1, s)...)
	}
	format := descriptor([]byte{classSpecific, 0x10, 1, byte(len(sizes))}, formatH264[:], []byte{16, 1, 0, 0, 0, 0, 1})
	if kind == MJPEG {
		format = descriptor([]byte{classSpecific, 0x06, 1, byte(len(sizes)), 0, 1, 0, 0, 0, 0})
	}
	const own = 14
	head := slices.Concat([]byte{own, classSpecific, 1, 1}, u16(own+len(format)+len(frames)), []byte{0x80 | endpoint, 0, unitOutput, 0, 0, 0, 1, 0})
	return slices.Concat(head, format, frames)
}

// intervals are the frame rates, in units of 100 ns: 30, 25, 15 and 10 a second.
var intervals = []int{333333, 400000, 666666, 1000000}

const defaultInterval = 400000

func frame(kind Kind, index int, s Size) []byte {
	var list []byte
	for _, v := range intervals {
		list = append(list, u32(v)...)
	}
	common := slices.Concat([]byte{byte(index), 0}, u16(s.Width), u16(s.Height), u32(100_000), u32(2_000_000))
	count := []byte{byte(len(intervals))}
	if kind == MJPEG {
		return descriptor([]byte{classSpecific, 0x07}, common, u32(maxSize), u32(defaultInterval), count, list)
	}
	return descriptor([]byte{classSpecific, 0x11}, common, u32(defaultInterval), count, u32(0), list)
}
