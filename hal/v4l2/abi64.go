//go:build amd64 || arm64 || riscv64

package v4l2

// Layouts where a C long has 64 bits.

type timeval struct{ Sec, Usec int64 }

type buffer struct {
	Index, Type, BytesUsed, Flags, Field uint32
	_                                    uint32
	Timestamp                            timeval
	Timecode                             [16]byte
	Sequence, Memory                     uint32
	Offset                               uint32 // the low half of a union
	_                                    uint32
	Length, Reserved                     uint32
	RequestFD                            int32
	_                                    uint32
}

type format struct {
	Type uint32
	_    uint32
	Pix  pixFormat
	_    [200 - 48]byte
}
