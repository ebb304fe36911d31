package h264

import "encoding/binary"

// lanes holds 4x4 coefficients of four blocks: at each raster position four
// numbers of 16 bits, each with 0x8000 added. The core transform is linear and
// its results fit (255*36), so the four are transformed by one addition.
type lanes [16]uint64

const (
	laneBias  = 0x8000_8000_8000_8000
	laneBytes = 0x0000_00ff_0000_00ff
)

// laneShift is where the blocks lie: the four from left to right of 16 pixels,
// or left and right of Cb, left and right of Cr.
var laneShift = [4]uint{0, 32, 16, 48}

//go:norace
func (x *lanes) at(p int, shift uint) int32 {
	return int32(uint16(x[p]>>shift)) - 0x8000
}

//go:norace
func spread(lo, hi uint64, sh uint) uint64 {
	return lo>>sh&laneBytes | hi>>sh&laneBytes<<16
}

//go:norace
func load(b []byte) uint64 { return binary.LittleEndian.Uint64(b) }

// luma transforms src-pred of 16x4 pixels.
//
//go:norace
func (x *lanes) luma(src, pred []byte, stride int) {
	for y := range 4 {
		s, p := src[y*stride:][:16], pred[y*stride:][:16]
		x.row(y*4, load(s), load(s[8:]), load(p), load(p[8:]))
	}
	x.columns()
}

// chroma transforms src-pred of 8x4 pixels of both planes.
//
//go:norace
func (x *lanes) chroma(srcB, srcR, predB, predR []byte, stride int) {
	for y := range 4 {
		o := y * stride
		x.row(y*4, load(srcB[o:]), load(srcR[o:]), load(predB[o:]), load(predR[o:]))
	}
	x.columns()
}

//go:norace
func (x *lanes) row(i int, s0, s1, p0, p1 uint64) {
	r0 := spread(s0, s1, 0) - spread(p0, p1, 0)
	r1 := spread(s0, s1, 8) - spread(p0, p1, 8)
	r2 := spread(s0, s1, 16) - spread(p0, p1, 16)
	r3 := spread(s0, s1, 24) - spread(p0, p1, 24)
	a, b, c, d := r0+r3, r1+r2, r0-r3, r1-r2
	x[i&12], x[i&12+1], x[i&12+2], x[i&12+3] = a+b, 2*c+d, a-b, c-2*d
}

//go:norace
func (x *lanes) columns() {
	for i := range 4 {
		a, b, c, d := x[i]+x[i+12], x[i+4]+x[i+8], x[i]-x[i+12], x[i+4]-x[i+8]
		x[i], x[i+4], x[i+8], x[i+12] = a+b+laneBias, 2*c+d+laneBias, a-b+laneBias, c-2*d+laneBias
	}
}

// inverse adds the inverse transform of b (8.5.12) to dst.
//
//go:norace
func inverse(b *[16]int32, dst []byte, stride int) {
	for i := 0; i < 16; i += 4 {
		a, c := b[i]+b[i+2], b[i]-b[i+2]
		d, f := b[i+1]>>1-b[i+3], b[i+1]+b[i+3]>>1
		b[i], b[i+1], b[i+2], b[i+3] = a+f, c+d, c-d, a-f
	}
	r0, r1, r2, r3 := dst[:4], dst[stride:][:4], dst[2*stride:][:4], dst[3*stride:][:4]
	for i := range 4 {
		a, c := b[i]+b[i+8]+32, b[i]-b[i+8]+32
		d, f := b[i+4]>>1-b[i+12], b[i+4]+b[i+12]>>1
		r0[i] = clip(int32(r0[i]) + (a+f)>>6)
		r1[i] = clip(int32(r1[i]) + (c+d)>>6)
		r2[i] = clip(int32(r2[i]) + (c-d)>>6)
		r3[i] = clip(int32(r3[i]) + (a-f)>>6)
	}
}

// inverseDC is inverse for a block of which only DC is left.
//
//go:norace
func inverseDC(dc int32, dst []byte, stride int) {
	v := (dc + 32) >> 6
	if v == 0 {
		return
	}
	for y := range 4 {
		r := dst[y*stride:][:4]
		r[0], r[1], r[2], r[3] = clip(int32(r[0])+v), clip(int32(r[1])+v), clip(int32(r[2])+v), clip(int32(r[3])+v)
	}
}

//go:norace
func clip(v int32) byte {
	if uint32(v) > 255 {
		return byte(^(v >> 31))
	}
	return byte(v)
}

// hadamard transforms 4x4 DC coefficients, in both directions alike.
//
//go:norace
func hadamard(b *[16]int32) {
	for i := 0; i < 16; i += 4 {
		a, c, d, f := b[i]+b[i+3], b[i+1]+b[i+2], b[i]-b[i+3], b[i+1]-b[i+2]
		b[i], b[i+1], b[i+2], b[i+3] = a+c, d+f, a-c, d-f
	}
	for i := range 4 {
		a, c, d, f := b[i]+b[i+12], b[i+4]+b[i+8], b[i]-b[i+12], b[i+4]-b[i+8]
		b[i], b[i+4], b[i+8], b[i+12] = a+c, d+f, a-c, d-f
	}
}

// hadamard2 is that of the 2x2 chroma DC coefficients.
//
//go:norace
func hadamard2(c [4]int32) [4]int32 {
	a, b, d, e := c[0]+c[1], c[0]-c[1], c[2]+c[3], c[2]-c[3]
	return [4]int32{a + d, b + e, a - d, b - e}
}
