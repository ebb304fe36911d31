package v4l2

import (
	"time"
	"unsafe"

	"iid2secure.nl/camagent/hal/internal/kernel"
)

// Layouts and numbers of linux/videodev2.h and linux/uvcvideo.h.

type capability struct {
	Driver        [16]byte
	Card, Bus     [32]byte
	Version       uint32
	Caps, DevCaps uint32
	_             [3]uint32
}

type fmtDesc struct {
	Index, Type, Flags uint32
	Description        [32]byte
	PixelFormat, Mbus  uint32
	_                  [3]uint32
}

type pixFormat struct {
	Width, Height, PixelFormat, Field   uint32
	BytesPerLine, SizeImage, Colorspace uint32
	Priv, Flags, Encoding, Quantization uint32
	Transfer                            uint32
}

type fract struct{ Num, Den uint32 }

type streamParm struct {
	Type, Capability, Mode uint32
	PerFrame               fract
	_                      [46]uint32
}

type frameSize struct {
	Index, PixelFormat, Type uint32
	// Of a discrete one Width and Height; of others minimum, maximum, step of both.
	W, H, WStep, HMin, HMax, HStep uint32
	_                              [2]uint32
}

type frameInterval struct {
	Index, PixelFormat, Width, Height, Type uint32
	Min, Max, Step                          fract // of a discrete one Min alone
	_                                       [2]uint32
}

type requestBuffers struct{ Count, Type, Memory, Capabilities, Flags uint32 }

type control struct {
	ID    uint32
	Value int32
}

type queryControl struct {
	ID, Type                uint32
	Name                    [32]byte
	Min, Max, Step, Default int32
	Flags                   uint32
	_                       [2]uint32
}

type queryMenu struct {
	ID, Index uint32
	Name      [32]byte
	_         uint32
}

type xuQuery struct {
	Unit, Selector, Query byte
	Size                  uint16
	Data                  *byte
}

const (
	bufCapture = 1
	memoryMmap = 1
	discrete   = 1          // of frame sizes and intervals
	privMagic  = 0xfeedcafe // the fields behind Priv are valid

	capVideoCapture       = 1 << 0
	capVideoOutput        = 1 << 1
	capVBICapture         = 1 << 4
	capTuner              = 1 << 16
	capVideoCaptureMplane = 1 << 12
	capVideoOutputMplane  = 1 << 13
	capM2MMplane          = 1 << 14
	capM2M                = 1 << 15
	capRadio              = 1 << 18
	capMetaCapture        = 1 << 23
	capStreaming          = 1 << 26
	capTouch              = 1 << 28
	capDeviceCaps         = 1 << 31

	flagError         = 0x40
	flagTimestampMask = 0xe000
	flagTimestampMono = 0x2000
	capTimePerFrame   = 0x1000
	ctrlDisabled      = 0x1
	ctrlReadOnly      = 0x4
	ctrlTypeButton    = 4
	quantizationFull  = 1
	colorspaceJPEG    = 7
	fieldNone         = 1
	uvcSetCur         = 0x01
	uvcGetCur         = 0x81
	uvcGetLen         = 0x85
	uvcGetInfo        = 0x86
)

// calls are the ioctls; a variable only as sizes of structures are not constant
// for the compiler of every processor.
var calls = struct {
	querycap, enumFmt, gFmt, sFmt, tryFmt               uintptr
	reqbufs, querybuf, qbuf, dqbuf, streamOn, streamOff uintptr
	gParm, sParm, gCtrl, sCtrl, queryCtrl, queryMenu    uintptr
	enumSizes, enumIntervals, xu                        uintptr
}{
	querycap:      kernel.Number(kernel.Read, 'V', 0, unsafe.Sizeof(capability{})),
	enumFmt:       kernel.Number(kernel.Both, 'V', 2, unsafe.Sizeof(fmtDesc{})),
	gFmt:          kernel.Number(kernel.Both, 'V', 4, unsafe.Sizeof(format{})),
	sFmt:          kernel.Number(kernel.Both, 'V', 5, unsafe.Sizeof(format{})),
	reqbufs:       kernel.Number(kernel.Both, 'V', 8, unsafe.Sizeof(requestBuffers{})),
	querybuf:      kernel.Number(kernel.Both, 'V', 9, unsafe.Sizeof(buffer{})),
	qbuf:          kernel.Number(kernel.Both, 'V', 15, unsafe.Sizeof(buffer{})),
	dqbuf:         kernel.Number(kernel.Both, 'V', 17, unsafe.Sizeof(buffer{})),
	streamOn:      kernel.Number(kernel.Write, 'V', 18, 4),
	streamOff:     kernel.Number(kernel.Write, 'V', 19, 4),
	gParm:         kernel.Number(kernel.Both, 'V', 21, unsafe.Sizeof(streamParm{})),
	sParm:         kernel.Number(kernel.Both, 'V', 22, unsafe.Sizeof(streamParm{})),
	gCtrl:         kernel.Number(kernel.Both, 'V', 27, unsafe.Sizeof(control{})),
	sCtrl:         kernel.Number(kernel.Both, 'V', 28, unsafe.Sizeof(control{})),
	queryCtrl:     kernel.Number(kernel.Both, 'V', 36, unsafe.Sizeof(queryControl{})),
	queryMenu:     kernel.Number(kernel.Both, 'V', 37, unsafe.Sizeof(queryMenu{})),
	tryFmt:        kernel.Number(kernel.Both, 'V', 64, unsafe.Sizeof(format{})),
	enumSizes:     kernel.Number(kernel.Both, 'V', 74, unsafe.Sizeof(frameSize{})),
	enumIntervals: kernel.Number(kernel.Both, 'V', 75, unsafe.Sizeof(frameInterval{})),
	xu:            kernel.Number(kernel.Both, 'u', 0x21, unsafe.Sizeof(xuQuery{})),
}

// fourCC is a pixel format as the kernel writes it.
type fourCC uint32

const (
	fmtH264 fourCC = 'H' | '2'<<8 | '6'<<16 | '4'<<24
	fmtMJPG fourCC = 'M' | 'J'<<8 | 'P'<<16 | 'G'<<24
	fmtJPEG fourCC = 'J' | 'P'<<8 | 'E'<<16 | 'G'<<24
	fmtYUYV fourCC = 'Y' | 'U'<<8 | 'Y'<<16 | 'V'<<24
)

// String replaces what is no printable character by "?".
func (f fourCC) String() string {
	b := []byte{byte(f), byte(f >> 8), byte(f >> 16), byte(f>>24) & 0x7f}
	for i, c := range b {
		if c < ' ' || c > '~' {
			b[i] = '?'
		}
	}
	return string(b)
}

func (t timeval) duration() time.Duration {
	return time.Duration(t.Sec)*time.Second + time.Duration(t.Usec)*time.Microsecond
}
