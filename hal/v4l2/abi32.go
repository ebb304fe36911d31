//go:build arm || mipsle || 386

package v4l2

// Layouts where a C long has 32 bits, with the timeval of 32 bits: every kernel
// since 2.6 takes it (newer ones call it v4l2_buffer_time32).

type timeval struct{ Sec, Usec int32 }

type buffer struct {
	Index, Type, BytesUsed, Flags, Field uint32
	Timestamp                            timeval
	Timecode                             [16]byte
	Sequence, Memory                     uint32
	Offset                               uint32
	Length, Reserved                     uint32
	RequestFD                            int32
}

type format struct {
	Type uint32
	Pix  pixFormat
	_    [200 - 48]byte
}
