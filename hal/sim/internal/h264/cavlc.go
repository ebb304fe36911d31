package h264

import "math/bits"

// block is one set of quantised coefficients in scan order. Only positions in
// mask are valid, and none of them is zero.
type block struct {
	level [16]int32
	mask  uint16
}

// chromaDC as "nC" of a residual block selects the tables of chroma DC.
const chromaDC = -1

// residual writes coefficients base to base+size-1 of b (7.3.5.3.2, 9.2). nC
// is the number of coefficients that the neighbours let expect.
//
//go:norace
func (w *bitWriter) residual(b *block, base, size, nC int) {
	mask := b.mask >> base
	total := bits.OnesCount16(mask)
	if total == 0 {
		w.token(0, 0, nC)
		return
	}
	w.levels(b, base, mask, total, nC)
	zeros := bits.Len16(mask) - total
	if total < size {
		if nC == chromaDC {
			w.u(uint(dcZerosLen[total-1][zeros]), uint32(dcZerosBits[total-1][zeros]))
		} else {
			w.u(uint(zerosLen[total-1][zeros]), uint32(zerosBits[total-1][zeros]))
		}
	}
	w.runs(mask, zeros)
}

// token writes coeff_token (9.2.1).
//
//go:norace
func (w *bitWriter) token(total, ones, nC int) {
	i := total*4 + ones
	switch {
	case nC == chromaDC:
		w.u(uint(dcTokenLen[i]), uint32(dcTokenBits[i]))
	case nC < 2:
		w.u(uint(tokenLen[0][i]), uint32(tokenBits[0][i]))
	case nC < 4:
		w.u(uint(tokenLen[1][i]), uint32(tokenBits[1][i]))
	case nC < 8:
		w.u(uint(tokenLen[2][i]), uint32(tokenBits[2][i]))
	case total == 0:
		w.u(6, 3)
	default:
		w.u(6, uint32(i-4))
	}
}

// levels writes coeff_token and the levels from the highest frequency down (9.2.2).
//
//go:norace
func (w *bitWriter) levels(b *block, base int, mask uint16, total, nC int) {
	var val [16]int32
	for k, m := 0, mask; m != 0; k++ {
		p := bits.Len16(m) - 1
		m &^= 1 << p
		val[k&15] = b.level[(p+base)&15]
	}
	ones := 0
	signs := uint32(0)
	for ones < 3 && ones < total && val[ones]*val[ones] == 1 {
		signs = signs<<1 | uint32(val[ones])>>31
		ones++
	}
	w.token(total, ones, nC)
	w.u(uint(ones), signs)
	suffix := uint(0)
	if total > 10 && ones < 3 {
		suffix = 1
	}
	for k := ones; k < total; k++ {
		a := max(val[k], -val[k])
		code := uint32(2*a-2) + uint32(val[k])>>31
		if k == ones && ones < 3 {
			code -= 2 // it cannot be one
		}
		w.level(code, suffix)
		if suffix == 0 {
			suffix = 1
		}
		if suffix < 6 && a > 3<<(suffix-1) {
			suffix++
		}
	}
}

// level writes level_prefix and level_suffix.
//
//go:norace
func (w *bitWriter) level(code uint32, suffix uint) {
	switch {
	case suffix == 0 && code < 14:
		w.u(uint(code)+1, 1)
	case suffix == 0 && code < 30:
		w.u(19, 1<<4|(code-14))
	case suffix == 0:
		w.u(28, 1<<12|min(code-30, 4095))
	case code < 15<<suffix:
		w.u(uint(code>>suffix)+1+suffix, 1<<suffix|code&(1<<suffix-1))
	default:
		w.u(28, 1<<12|min(code-15<<suffix, 4095))
	}
}

// runs writes run_before of all but the lowest coefficient (9.2.3).
//
//go:norace
func (w *bitWriter) runs(mask uint16, zeros int) {
	high := bits.Len16(mask) - 1
	mask &^= 1 << high
	for mask != 0 && zeros > 0 {
		p := bits.Len16(mask) - 1
		mask &^= 1 << p
		run := high - p - 1
		t := min(zeros, 7) - 1
		w.u(uint(runLen[t][run]), uint32(runBits[t][run]))
		zeros -= run
		high = p
	}
}
