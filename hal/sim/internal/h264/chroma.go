package h264

import "math/bits"

// chroma quantises both planes against what stands in the reconstruction as
// prediction, and returns the chroma part of coded_block_pattern.
//
//go:norace
func (e *Encoder) chroma(src *Picture, q *quantiser) int {
	m, p := &e.mb, e.rec
	stride := p.MBW * 8
	var dcB, dcR [4]int32
	var ac, dc uint16
	for half := range 2 {
		o := m.chroma + half*4*stride
		x := &m.x4[half]
		x.chroma(src.Cb[o:], src.Cr[o:], p.Cb[o:], p.Cr[o:], stride)
		for k := range 2 {
			i := half*2 + k
			q.block(x, laneShift[k], 1, &m.acB[i])
			q.block(x, laneShift[2+k], 1, &m.acR[i])
			ac |= m.acB[i].mask | m.acR[i].mask
			dcB[i], dcR[i] = x.at(0, laneShift[k]), x.at(0, laneShift[2+k])
		}
	}
	dcB, dcR = hadamard2(dcB), hadamard2(dcR)
	q.dc(dcB[:], &m.dcB)
	q.dc(dcR[:], &m.dcR)
	dc = m.dcB.mask | m.dcR.mask
	switch {
	case ac != 0:
		return 2
	case dc != 0:
		return 1
	}
	return 0
}

// writeChroma writes the residual of both planes and adds it to the reconstruction.
//
//go:norace
func (e *Encoder) writeChroma(pattern int, q *quantiser) {
	if pattern == 0 {
		return
	}
	m := &e.mb
	e.w.residual(&m.dcB, 0, 4, chromaDC)
	e.w.residual(&m.dcR, 0, 4, chromaDC)
	if pattern == 2 {
		e.writeChromaAC(&m.acB, e.nzB)
		e.writeChromaAC(&m.acR, e.nzR)
	}
	e.restoreChroma(pattern, q, &m.dcB, &m.acB, e.rec.Cb)
	e.restoreChroma(pattern, q, &m.dcR, &m.acR, e.rec.Cr)
}

//go:norace
func (e *Encoder) writeChromaAC(ac *[4]block, nz []uint8) {
	m, stride := &e.mb, e.rec.MBW*2
	for i := range ac {
		at := m.chroma4 + i>>1*stride + i&1
		nC := expected(nz, at, stride, m.x > 0 || i&1 > 0, m.y > 0 || i>>1 > 0)
		e.w.residual(&ac[i], 1, 15, nC)
		nz[at] = uint8(bits.OnesCount16(ac[i].mask))
	}
}

// restoreChroma: 8.5.11.
//
//go:norace
func (e *Encoder) restoreChroma(pattern int, q *quantiser, dc *block, ac *[4]block, rec []byte) {
	stride := e.rec.MBW * 8
	v := dc.expand(4)
	c := hadamard2([4]int32(v[:4]))
	for i := range ac {
		if pattern < 2 {
			ac[i].mask = 0
		}
		o := e.mb.chroma + i>>1*4*stride + i&1*4
		q.restore(&ac[i], 1, c[i]*q.scale[0]>>1, rec[o:], stride)
	}
}
