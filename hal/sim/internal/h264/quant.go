package h264

// maxLevel keeps every level within what CAVLC can say in this profile.
const maxLevel = 2000

// quantiser holds what quantisation at one parameter needs, in raster order.
type quantiser struct {
	qp     int
	factor [16]int32
	scale  [16]int32 // dequantisation, shifted by qp/6
	dead   [16]int32 // the largest magnitude that becomes zero
	round  int32
	shift  uint
}

// set prepares q for one parameter. Rounding is a third of a step for intra
// and a sixth for inter residuals, as in the reference encoder.
//
//go:norace
func (q *quantiser) set(qp int, intra bool) {
	q.qp, q.shift = qp, uint(15+qp/6)
	q.round = 1 << q.shift / 6
	if intra {
		q.round = 1 << q.shift / 3
	}
	for p := range 16 {
		f := quantFactor[qp%6][posClass[p]]
		q.factor[p] = f
		q.scale[p] = dequantFactor[qp%6][posClass[p]] << (qp / 6)
		q.dead[p] = (1<<q.shift - q.round - 1) / f
	}
}

// block quantises the block of x at a lane, from raster position first on
// (0, or 1 to leave DC out).
//
//go:norace
func (q *quantiser) block(x *lanes, shift uint, first int, b *block) {
	b.mask = 0
	for p := first; p < 16; p++ {
		v := x.at(p, shift)
		if d := q.dead[p]; uint32(v+d) <= uint32(2*d) {
			continue
		}
		i := scanOf[p] & 15
		l := min((max(v, -v)*q.factor[p]+q.round)>>q.shift, maxLevel)
		if v < 0 {
			l = -l
		}
		b.level[i] = l
		b.mask |= 1 << i
	}
}

// dc quantises Hadamard transformed DC coefficients, given in scan order.
//
//go:norace
func (q *quantiser) dc(v []int32, b *block) {
	b.mask = 0
	for i, c := range v {
		l := int32((int64(max(c, -c))*int64(q.factor[0]) + 2*int64(q.round)) >> (q.shift + 1))
		if l == 0 {
			continue
		}
		if l = min(l, maxLevel); c < 0 {
			l = -l
		}
		b.level[i] = l
		b.mask |= 1 << i
	}
}

// restore adds the block to dst; DC comes from dc if first is 1.
//
//go:norace
func (q *quantiser) restore(b *block, first int, dc int32, dst []byte, stride int) {
	mask := b.mask
	if first == 0 && mask&1 != 0 {
		dc = b.level[0] * q.scale[0]
	}
	if mask>>1 == 0 {
		inverseDC(dc, dst, stride)
		return
	}
	var c [16]int32
	for i := 1; i < 16; i++ {
		if mask>>i&1 != 0 {
			p := zigzag[i] & 15
			c[p] = b.level[i] * q.scale[p]
		}
	}
	c[0] = dc
	inverse(&c, dst, stride)
}

// expand returns the levels of a DC block in scan order, zeros included.
//
//go:norace
func (b *block) expand(n int) (v [16]int32) {
	for i := range n {
		if b.mask>>i&1 != 0 {
			v[i] = b.level[i]
		}
	}
	return v
}
