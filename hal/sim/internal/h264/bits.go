package h264

import (
	"bytes"
	"encoding/binary"
	"math/bits"
)

// bitWriter collects an RBSP, most significant bit first. At most 31 bits wait
// in acc; what lies above them there is stale.
type bitWriter struct {
	buf []byte
	acc uint64
	n   uint
}

func (w *bitWriter) reset() { w.buf, w.acc, w.n = w.buf[:0], 0, 0 }

// u writes the n low bits of v; n is at most 32 and v has no higher bits.
//
//go:norace
func (w *bitWriter) u(n uint, v uint32) {
	w.acc = w.acc<<n | uint64(v)
	w.n += n
	if w.n >= 32 {
		w.n -= 32
		w.buf = binary.BigEndian.AppendUint32(w.buf, uint32(w.acc>>w.n))
	}
}

//go:norace
func (w *bitWriter) flag(on bool) {
	if on {
		w.u(1, 1)
	} else {
		w.u(1, 0)
	}
}

// ue writes an Exp-Golomb code (9.1); v is below 65535.
//
//go:norace
func (w *bitWriter) ue(v uint32) {
	w.u(uint(2*bits.Len32(v+1)-1), v+1)
}

// se writes a signed Exp-Golomb code (9.1.1).
//
//go:norace
func (w *bitWriter) se(v int) {
	if v > 0 {
		w.ue(uint32(2*v - 1))
	} else {
		w.ue(uint32(-2 * v))
	}
}

// trailing ends the RBSP (7.3.2.11) and empties the accumulator.
func (w *bitWriter) trailing() {
	w.u(1, 1)
	w.u((8-w.n%8)%8, 0)
	for w.n > 0 {
		w.n -= 8
		w.buf = append(w.buf, byte(w.acc>>w.n))
	}
}

func (w *bitWriter) len() int { return len(w.buf)*8 + int(w.n) }

// escapes counts the emulation prevention bytes that b needs (7.4.1).
//
//go:norace
func escapes(b []byte) (n int) {
	for {
		i := bytes.Index(b, zeroPair)
		if i < 0 || i+2 >= len(b) {
			return n
		}
		b = b[i+2:]
		if b[0] <= 3 {
			n++
		} else {
			b = b[1:]
		}
	}
}

var zeroPair = []byte{0, 0}

// appendNAL appends a NAL unit in AVC format: length, header, escaped RBSP.
func appendNAL(dst []byte, header byte, rbsp []byte) []byte {
	at := len(dst)
	dst = append(dst, 0, 0, 0, 0, header)
	for {
		i := bytes.Index(rbsp, zeroPair)
		if i < 0 || i+2 >= len(rbsp) {
			break
		}
		dst = append(dst, rbsp[:i+2]...)
		rbsp = rbsp[i+2:]
		if rbsp[0] <= 3 {
			dst = append(dst, 3)
		} else {
			dst = append(dst, rbsp[0])
			rbsp = rbsp[1:]
		}
	}
	dst = append(dst, rbsp...)
	binary.BigEndian.PutUint32(dst[at:], uint32(len(dst)-at-4))
	return dst
}
