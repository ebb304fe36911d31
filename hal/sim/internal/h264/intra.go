package h264

import "math/bits"

// Intra 16x16 prediction modes (table 8-4).
const (
	vertical = iota
	horizontal
	average
)

// intraMacroblock codes Intra_16x16, in an IDR or (key false) in a P slice.
//
//go:norace
func (e *Encoder) intraMacroblock(src *Picture, key bool) {
	m, p := &e.mb, e.rec
	mode := e.predictLuma(src)
	stride := p.Stride()
	for y := range 4 {
		o := m.luma + y*4*stride
		m.x4[y].luma(src.Y[o:], p.Y[o:], stride)
	}
	var dc [16]int32
	var ac uint16
	for i := range m.block {
		x, shift := &m.x4[blockY[i]], laneShift[blockX[i]]
		e.intra.block(x, shift, 1, &m.block[i])
		ac |= m.block[i].mask
		dc[blockY[i]*4+blockX[i]] = x.at(0, shift)
	}
	e.quantiseDC(&dc)
	e.predictChroma(p.Cb)
	e.predictChroma(p.Cr)
	pattern := e.chroma(src, &e.intraC)
	e.writeIntraType(mode, ac != 0, pattern, key)
	e.writeIntra(ac != 0)
	e.writeChroma(pattern, &e.intraC)
}

// writeIntraType: mb_type (tables 7-11, 7-13) and the fields up to the residual.
//
//go:norace
func (e *Encoder) writeIntraType(mode int, ac bool, pattern int, key bool) {
	t := 1 + mode + 4*pattern
	if ac {
		t += 12
	}
	if !key {
		t += 5
	}
	e.w.ue(uint32(t))
	e.w.ue(0) // chroma prediction: DC
	e.w.se(0) // mb_qp_delta
}

//go:norace
func (e *Encoder) quantiseDC(dc *[16]int32) {
	hadamard(dc)
	var v [16]int32
	for i := range v {
		c := dc[zigzag[i]]
		if c < 0 {
			v[i] = -((1 - c) >> 1)
		} else {
			v[i] = (c + 1) >> 1
		}
	}
	e.intra.dc(v[:], &e.mb.dc)
}

// writeIntra writes the luma residual and adds it to the prediction.
//
//go:norace
func (e *Encoder) writeIntra(ac bool) {
	m, p := &e.mb, e.rec
	stride, stride4 := p.Stride(), p.MBW*4
	e.w.residual(&m.dc, 0, 16, expected(e.nzY, m.luma4, stride4, m.x > 0, m.y > 0))
	dc := e.restoreDC()
	for i := range m.block {
		b, bx, by := &m.block[i], blockX[i], blockY[i]
		if ac {
			at := m.luma4 + by*stride4 + bx
			e.w.residual(b, 1, 15, expected(e.nzY, at, stride4, m.x > 0 || bx > 0, m.y > 0 || by > 0))
			e.nzY[at] = uint8(bits.OnesCount16(b.mask))
		}
		e.intra.restore(b, 1, dc[by*4+bx], p.Y[m.luma+by*4*stride+bx*4:], stride)
	}
}

// restoreDC: 8.5.10.
//
//go:norace
func (e *Encoder) restoreDC() (dc [16]int32) {
	if e.mb.dc.mask == 0 {
		return dc
	}
	for i, v := range e.mb.dc.expand(16) {
		dc[zigzag[i]] = v
	}
	hadamard(&dc)
	for i := range dc {
		dc[i] = (dc[i]*e.intra.scale[0] + 2) >> 2
	}
	return dc
}

// predictLuma picks the mode with the smallest difference on every other row,
// and puts its prediction into the reconstruction (8.3.3).
//
//go:norace
func (e *Encoder) predictLuma(src *Picture) int {
	m, p := &e.mb, e.rec
	stride := p.Stride()
	var left, top [16]int32
	dc := e.edges(&left, &top)
	var sad [3]int32
	for y := 0; y < 16; y += 2 {
		l := left[y]
		for x, s := range src.Y[m.luma+y*stride:][:16] {
			v, h, d := int32(s)-top[x&15], int32(s)-l, int32(s)-dc
			sad[vertical] += max(v, -v)
			sad[horizontal] += max(h, -h)
			sad[average] += max(d, -d)
		}
	}
	mode := average
	if m.y > 0 && sad[vertical] < sad[mode] {
		mode = vertical
	}
	if m.x > 0 && sad[horizontal] < sad[mode] {
		mode = horizontal
	}
	e.fillLuma(mode, dc, &left)
	return mode
}

// edges reads the pixels left of and above the macroblock, and returns their
// mean (8.3.3.3).
//
//go:norace
func (e *Encoder) edges(left, top *[16]int32) int32 {
	m, p := &e.mb, e.rec
	stride := p.Stride()
	var sumL, sumT int32
	if m.x > 0 {
		for i := range left {
			left[i] = int32(p.Y[m.luma+i*stride-1])
			sumL += left[i]
		}
	}
	if m.y > 0 {
		for i, v := range p.Y[m.luma-stride:][:16] {
			top[i] = int32(v)
			sumT += int32(v)
		}
	}
	switch {
	case m.x > 0 && m.y > 0:
		return (sumL + sumT + 16) >> 5
	case m.x > 0 || m.y > 0:
		return (sumL + sumT + 8) >> 4
	}
	return 128
}

//go:norace
func (e *Encoder) fillLuma(mode int, dc int32, left *[16]int32) {
	m, p := &e.mb, e.rec
	stride := p.Stride()
	for y := range 16 {
		row := p.Y[m.luma+y*stride:][:16]
		if mode == vertical {
			copy(row, p.Y[m.luma-stride:][:16])
			continue
		}
		v := byte(dc)
		if mode == horizontal {
			v = byte(left[y])
		}
		for x := range row {
			row[x] = v
		}
	}
}

// predictChroma puts the DC prediction of one plane into it (8.3.4.1-3).
//
//go:norace
func (e *Encoder) predictChroma(plane []byte) {
	m, stride := &e.mb, e.rec.MBW*8
	var left, top [2]int32 // sums of the four pixels beside each half
	for i := range 8 {
		if m.x > 0 {
			left[i>>2] += int32(plane[m.chroma+i*stride-1])
		}
		if m.y > 0 {
			top[i>>2] += int32(plane[m.chroma-stride+i])
		}
	}
	for b := range 4 {
		v := byte(chromaMean(b, left[b>>1], top[b&1], m.x > 0, m.y > 0))
		o := m.chroma + b>>1*4*stride + b&1*4
		for y := range 4 {
			row := plane[o+y*stride:][:4]
			row[0], row[1], row[2], row[3] = v, v, v, v
		}
	}
}

//go:norace
func chromaMean(b int, left, top int32, hasLeft, hasTop bool) int32 {
	diagonal := b == 0 || b == 3
	switch {
	case diagonal && hasLeft && hasTop:
		return (left + top + 4) >> 3
	case hasTop && (b == 1 || diagonal || !hasLeft):
		return (top + 2) >> 2
	case hasLeft:
		return (left + 2) >> 2
	}
	return 128
}
