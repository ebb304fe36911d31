package alsa

import (
	"unsafe"

	"iid2secure.nl/camagent/hal/internal/kernel"
)

// Layouts and numbers of sound/asound.h.

// frames counts samples of all channels (snd_pcm_uframes_t, a C unsigned long).
type frames uintptr

// interval bounds a number (snd_interval).
type interval struct{ Min, Max, Flags uint32 }

const isInteger = 4 // of an interval's flags

type hwParams struct {
	Flags              uint32
	Masks              [3][8]uint32
	_                  [5][8]uint32
	Intervals          [12]interval
	_                  [9]interval
	Rmask, Cmask, Info uint32
	Msbits, Num, Den   uint32
	Fifo               frames
	_                  [64]byte
}

// transfer is snd_xferi.
type transfer struct {
	Result int
	Buffer *int16
	Frames frames
}

// Which mask, and which interval (the kernel counts these from 8).
const (
	maskAccess = 0
	maskFormat = 1

	paramChannels   = 10 - 8
	paramRate       = 11 - 8
	paramPeriodSize = 13 - 8
	paramBufferSize = 17 - 8

	accessInterleaved = 1 << 3
	formatS16LE       = 1 << 2
)

// calls are the ioctls.
var calls = struct {
	refine, hwParams, swParams, delay      uintptr
	prepare, start, drop, resume, put, get uintptr
}{
	refine:   kernel.Number(kernel.Both, 'A', 0x10, unsafe.Sizeof(hwParams{})),
	hwParams: kernel.Number(kernel.Both, 'A', 0x11, unsafe.Sizeof(hwParams{})),
	swParams: kernel.Number(kernel.Both, 'A', 0x13, unsafe.Sizeof(swParams{})),
	delay:    kernel.Number(kernel.Read, 'A', 0x21, unsafe.Sizeof(int(0))),
	prepare:  kernel.Number(kernel.None, 'A', 0x40, 0),
	start:    kernel.Number(kernel.None, 'A', 0x42, 0),
	drop:     kernel.Number(kernel.None, 'A', 0x43, 0),
	resume:   kernel.Number(kernel.None, 'A', 0x47, 0),
	put:      kernel.Number(kernel.Write, 'A', 0x50, unsafe.Sizeof(transfer{})),
	get:      kernel.Number(kernel.Read, 'A', 0x51, unsafe.Sizeof(transfer{})),
}
