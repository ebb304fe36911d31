package hal

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"iter"
	"time"
)

// NAL unit types that matter here (ITU-T H.264, table 7-1).
const (
	NALSlice = 1
	NALIDR   = 5
	NALSEI   = 6
	NALSPS   = 7
	NALPPS   = 8
	NALAUD   = 9
)

// AccessUnit is one coded picture, immutable once made. Data holds its NAL
// units in AVC format (ISO/IEC 14496-15: each behind its length, 4 bytes, big
// endian), so that a muxer takes it as it is and a packetiser walks it; in
// front of a key frame stand SPS and PPS. Access unit delimiters, filler and
// trailing zeros are dropped.
type AccessUnit struct {
	Data   []byte
	Params int       // so many bytes of Data, at its front, are parameter sets
	Key    bool      // an IDR picture
	Time   time.Time // capture, on the board's one monotonic clock
	Seq    uint64    // rises by one a captured frame, lost ones included
	Lost   uint64    // frames known to be lost just before this one
}

// NALs yields the NAL units, without their lengths. The slices alias Data.
func (a *AccessUnit) NALs() iter.Seq[[]byte] { return SplitAVC(a.Data) }

// ParameterSets returns the SPS and PPS in front of a key frame (the last of
// each kind), or nils. The slices alias Data.
func (a *AccessUnit) ParameterSets() (sps, pps []byte) {
	for n := range SplitAVC(a.Data[:a.Params]) {
		switch n[0] & 31 {
		case NALSPS:
			sps = n
		case NALPPS:
			pps = n
		}
	}
	return sps, pps
}

// SplitAVC yields the NAL units of data in AVC format; it stops at the first
// length that does not fit.
func SplitAVC(data []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for len(data) > 4 {
			n := int(binary.BigEndian.Uint32(data))
			if n <= 0 || n > len(data)-4 {
				return
			}
			if !yield(data[4 : 4+n : 4+n]) {
				return
			}
			data = data[4+n:]
		}
	}
}

// SplitAnnexB yields the NAL units of an Annex B byte stream (3 or 4 byte start
// codes), without start codes and trailing zeros. The slices alias b.
func SplitAnnexB(b []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		start := -1
		for i := 0; ; {
			k := bytes.Index(b[i:], startCode)
			end := len(b)
			if k >= 0 {
				end = i + k
			}
			if start >= 0 {
				if n := bytes.TrimRight(b[start:end], "\x00"); len(n) > 0 && !yield(n) {
					return
				}
			}
			if k < 0 {
				return
			}
			i = end + 3
			start = i
		}
	}
}

var startCode = []byte{0, 0, 1}

// ParseAnnexB copies one access unit out of a device's buffer, once: the
// result owns its bytes. params, if not empty, holds parameter sets in AVC
// format that are put in front of a key frame that came without its own.
// ErrGarbage if there is no picture in b.
func ParseAnnexB(b, params []byte) (AccessUnit, error) {
	var size, paramSize int
	var picture, key bool
	for n := range SplitAnnexB(b) {
		switch n[0] & 31 {
		case NALAUD, 10, 11, 12:
			continue
		case NALSPS, NALPPS:
			paramSize += 4 + len(n)
		case NALIDR:
			picture, key = true, true
		case NALSlice, 2, 3, 4:
			picture = true
		}
		size += 4 + len(n)
	}
	if !picture {
		return AccessUnit{}, fmt.Errorf("%w: no picture in an access unit of %d bytes", ErrGarbage, len(b))
	}
	au := AccessUnit{Key: key}
	if key && paramSize == 0 {
		au.Data = append(make([]byte, 0, len(params)+size), params...)
	} else {
		au.Data = make([]byte, 0, size)
		for n := range SplitAnnexB(b) {
			if t := n[0] & 31; t == NALSPS || t == NALPPS {
				au.Data = AppendAVC(au.Data, n)
			}
		}
	}
	au.Params = len(au.Data)
	for n := range SplitAnnexB(b) {
		switch n[0] & 31 {
		case NALAUD, 10, 11, 12, NALSPS, NALPPS:
		default:
			au.Data = AppendAVC(au.Data, n)
		}
	}
	return au, nil
}

// AppendAVC appends one NAL unit in AVC format to dst.
func AppendAVC(dst, nal []byte) []byte {
	return append(binary.BigEndian.AppendUint32(dst, uint32(len(nal))), nal...)
}
