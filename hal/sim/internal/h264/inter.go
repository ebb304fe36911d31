package h264

import "math/bits"

// preferIntra says whether the macroblock differs so much from what stood
// there that predicting it from the reference costs more than a new start.
//
//go:norace
func (e *Encoder) preferIntra(src *Picture) bool {
	stride := src.Stride()
	var difference, activity, sum int32
	for y := 0; y < 16; y += 2 {
		o := e.mb.luma + y*stride
		s, r := src.Y[o:][:16], e.rec.Y[o:][:16]
		for x := range s {
			d := int32(s[x]) - int32(r[x])
			difference += max(d, -d)
			sum += int32(s[x])
		}
	}
	mean := sum / 128
	for y := 0; y < 16; y += 2 {
		for _, v := range src.Y[e.mb.luma+y*stride:][:16] {
			d := int32(v) - mean
			activity += max(d, -d)
		}
	}
	return difference > activity+256
}

// interMacroblock codes P_L0_16x16 with a zero vector. The prediction is the
// old reconstruction, which is in place already. It returns false, and writes
// nothing, if no coefficient is left: the macroblock is then to be skipped.
// Grain is in luma alone, so chroma is left as it is.
//
//go:norace
func (e *Encoder) interMacroblock(src *Picture, change Change) bool {
	m, p := &e.mb, e.rec
	stride := p.Stride()
	pattern := 0
	for y := range 4 {
		o := m.luma + y*4*stride
		m.x4[y].luma(src.Y[o:], p.Y[o:], stride)
	}
	for i := range m.block {
		e.inter.block(&m.x4[blockY[i]], laneShift[blockX[i]], 0, &m.block[i])
		if m.block[i].mask != 0 {
			pattern |= 1 << (i >> 2)
		}
	}
	if change != Grain {
		pattern |= e.chroma(src, &e.interC) << 4
	}
	if pattern == 0 {
		return false
	}
	e.endRun()
	e.w.ue(0)   // P_L0_16x16
	e.w.u(2, 3) // both parts of the vector difference are zero
	e.w.ue(uint32(interPattern[pattern]))
	e.w.se(0) // mb_qp_delta
	e.writeInter(pattern & 15)
	e.writeChroma(pattern>>4, &e.interC)
	return true
}

//go:norace
func (e *Encoder) writeInter(pattern int) {
	m, p := &e.mb, e.rec
	stride, stride4 := p.Stride(), p.MBW*4
	for i := range m.block {
		if pattern>>(i>>2)&1 == 0 {
			continue
		}
		b, bx, by := &m.block[i], blockX[i], blockY[i]
		at := m.luma4 + by*stride4 + bx
		e.w.residual(b, 0, 16, expected(e.nzY, at, stride4, m.x > 0 || bx > 0, m.y > 0 || by > 0))
		e.nzY[at] = uint8(bits.OnesCount16(b.mask))
		if b.mask != 0 {
			e.inter.restore(b, 0, 0, p.Y[m.luma+by*4*stride+bx*4:], stride)
		}
	}
}
