package clip

import (
	"encoding/binary"
	"fmt"
	"math"
)

// fragment appends moof and mdat of the tracks (ISO/IEC 14496-12, 8.8.4 to 8.8.8
// and 8.1.1), which hold at least one sample together; empty ones are left out.
// It writes what mediacommon's fmp4 writes, but into memory that is used again:
// the fragments are all that recording costs.
func fragment(b []byte, seq uint32, tracks ...*track) ([]byte, error) {
	moof, size := len(b), 8+16
	payload := 0
	for _, t := range tracks {
		if n := len(t.samples); n > 0 {
			size += 8 + 16 + 20 + t.trunSize()
			payload += t.payload()
		}
	}
	if size+payload > math.MaxInt32 {
		return b, fmt.Errorf("a fragment of %d bytes", payload)
	}
	b = box(b, size, "moof")
	b = full(b, 16, "mfhd", 0, 0)
	b = binary.BigEndian.AppendUint32(b, seq)
	at := size + 8 // of the first payload, from the begin of moof
	for _, t := range tracks {
		if len(t.samples) > 0 {
			b = t.traf(b, at)
			at += t.payload()
		}
	}
	if len(b)-moof != size {
		return b, fmt.Errorf("a moof of %d bytes, %d were reckoned", len(b)-moof, size)
	}
	b = box(b, 8+payload, "mdat")
	for _, t := range tracks {
		for i := range t.samples {
			b = append(b, t.samples[i].payload...)
		}
	}
	return b, nil
}

func box(b []byte, size int, name string) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(size)), name...)
}

func full(b []byte, size int, name string, version byte, flags uint32) []byte {
	return binary.BigEndian.AppendUint32(box(b, size, name), uint32(version)<<24|flags)
}

const (
	defaultBaseIsMoof = 0x20000 // tf_flags, 8.8.7
	hasDataOffset     = 0x1     // tr_flags, 8.8.8
	hasDuration       = 0x100
	hasSize           = 0x200
	hasFlags          = 0x400
	isNonSync         = 0x10000 // sample_flags, 8.8.3.1
)

// traf describes the track; at is where its payload begins.
func (t *track) traf(b []byte, at int) []byte {
	b = box(b, 8+16+20+t.trunSize(), "traf")
	b = full(b, 16, "tfhd", 0, defaultBaseIsMoof)
	b = binary.BigEndian.AppendUint32(b, t.id)
	b = full(b, 20, "tfdt", 1, 0)
	b = binary.BigEndian.AppendUint64(b, t.base)
	flags := uint32(hasDataOffset | hasDuration | hasSize)
	if t.marked() {
		flags |= hasFlags
	}
	b = full(b, t.trunSize(), "trun", 1, flags)
	b = binary.BigEndian.AppendUint32(b, uint32(len(t.samples)))
	b = binary.BigEndian.AppendUint32(b, uint32(at))
	for i := range t.samples {
		s := &t.samples[i]
		b = binary.BigEndian.AppendUint32(b, s.duration)
		b = binary.BigEndian.AppendUint32(b, uint32(len(s.payload)))
		if flags&hasFlags != 0 {
			mark := uint32(isNonSync)
			if s.sync {
				mark = 0
			}
			b = binary.BigEndian.AppendUint32(b, mark)
		}
	}
	return b
}

func (t *track) trunSize() int {
	each := 8
	if t.marked() {
		each = 12
	}
	return 20 + each*len(t.samples)
}

// marked tells whether there is a sample that can't be begun with.
func (t *track) marked() bool { return t.nonSync > 0 }

func (t *track) payload() int { return t.bytes - sampleHead*len(t.samples) }
