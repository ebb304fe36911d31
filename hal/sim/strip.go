package sim

import (
	"image"

	"iid2secure.nl/camagent/hal/sim/internal/h264"
)

// The strip is a row of 40 black or white cells along the bottom: the frame
// number as 32 bits of Gray code (so that one cell differs between
// neighbouring numbers), most significant first, and 8 bits of CRC over it.
const (
	stripData  = 32
	stripCells = stripData + 8

	black, white = 16, 235
	// Read back, a cell's pixels must all lie beyond these.
	surelyBlack, surelyWhite = 96, 160
)

// ReadStrip reads the frame number from the luma plane of a decoded picture of
// w by h pixels (its original size). False means that there is no strip, that
// it is damaged, or that it mixes two frames: a number is then not returned.
func ReadStrip(y []byte, stride, w, h int) (uint32, bool) {
	if !plausible(y, stride, w, h) {
		return 0, false
	}
	var bits uint64
	for i := range stripCells {
		set, ok := readCell(y, stride, inner(stripCell(i, w, h)))
		if !ok {
			return 0, false
		}
		bits <<= 1
		if set {
			bits |= 1
		}
	}
	gray := uint32(bits >> 8)
	if stripCRC(gray) != byte(bits) {
		return 0, false
	}
	for s := 1; s < stripData; s <<= 1 {
		gray ^= gray >> s
	}
	return gray, true
}

// stripBits are the cells for a number, the first in bit 39.
func stripBits(number uint32) uint64 {
	gray := number ^ number>>1
	return uint64(gray)<<8 | uint64(stripCRC(gray))
}

// stripCRC is CRC-8 (polynomial 0x07) with a start that makes all black and
// all white invalid.
func stripCRC(gray uint32) byte {
	crc := byte(0x5a)
	for shift := 24; shift >= 0; shift -= 8 {
		crc ^= byte(gray >> shift)
		for range 8 {
			carry := crc >> 7
			crc = crc<<1 ^ carry*0x07
		}
	}
	return crc
}

// stripCell is the place of cell i; its top lies on a macroblock border.
func stripCell(i, w, h int) image.Rectangle {
	return image.Rect(i*w/stripCells, (h-8)/16*16, (i+1)*w/stripCells, h)
}

// inner leaves out the edges, where neighbours bleed in.
func inner(r image.Rectangle) image.Rectangle {
	return image.Rect(r.Min.X+r.Dx()/4, r.Min.Y+r.Dy()/4, r.Max.X-r.Dx()/4, r.Max.Y-r.Dy()/4)
}

// readCell tells whether the mean of a cell is white; false unless it is
// clearly one or the other, and its pixels agree.
//
//go:norace
func readCell(y []byte, stride int, r image.Rectangle) (set, ok bool) {
	low, high := byte(255), byte(0)
	for row := r.Min.Y; row < r.Max.Y; row++ {
		for _, v := range y[row*stride+r.Min.X : row*stride+r.Max.X] {
			low, high = min(low, v), max(high, v)
		}
	}
	return low > surelyWhite, low > surelyWhite || high < surelyBlack
}

// LampRect is the place of the lamp in a picture of w by h pixels.
func LampRect(w, h int) image.Rectangle {
	side := max(16, h/360*16)
	x := (w-2*side)/16*16 - side/2/16*16
	return image.Rect(x, side, x+side, 2*side)
}

// ReadLamp tells from the luma plane of a decoded picture whether the lamp is
// lit; ok is false if it is neither clearly lit nor clearly dark.
func ReadLamp(y []byte, stride, w, h int) (lit, ok bool) {
	if !plausible(y, stride, w, h) {
		return false, false
	}
	return readCell(y, stride, inner(LampRect(w, h)))
}

// plausible says whether a plane is all there and large enough to read from.
func plausible(y []byte, stride, w, h int) bool {
	const most = 1 << 14
	return w >= stripCells*4 && h >= 48 && stride >= w && w <= most && h <= most && stride <= most &&
		len(y) >= (h-1)*stride+w
}

// fill sets a rectangle of even corners to one grey.
//
//go:norace
func fill(p *h264.Picture, r image.Rectangle, luma byte) {
	stride := p.Stride()
	for y := r.Min.Y; y < r.Max.Y; y++ {
		row := p.Y[y*stride+r.Min.X : y*stride+r.Max.X]
		for x := range row {
			row[x] = luma
		}
	}
	for y := r.Min.Y / 2; y < r.Max.Y/2; y++ {
		a, b := y*stride/2+r.Min.X/2, y*stride/2+r.Max.X/2
		for x := a; x < b; x++ {
			p.Cb[x], p.Cr[x] = 128, 128
		}
	}
}
