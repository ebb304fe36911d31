package h264

// Picture is an 8 bit 4:2:0 picture whose planes are padded to whole
// macroblocks: Y has the stride 16*MBW, Cb and Cr have 8*MBW.
type Picture struct {
	W, H      int // visible size in pixels, even
	MBW, MBH  int // size in macroblocks of 16x16 pixels
	Y, Cb, Cr []byte
}

// NewPicture makes a picture of w by h pixels.
func NewPicture(w, h int) *Picture {
	mw, mh := (w+15)/16, (h+15)/16
	n := mw * mh
	buf := make([]byte, n*384)
	return &Picture{
		W: w, H: h, MBW: mw, MBH: mh,
		Y: buf[: n*256 : n*256], Cb: buf[n*256 : n*320 : n*320], Cr: buf[n*320:],
	}
}

// Stride is the length of a row of Y; those of Cb and Cr are half of it.
func (p *Picture) Stride() int { return p.MBW * 16 }

// Copy makes p hold what q holds; both must have the same size.
func (p *Picture) Copy(q *Picture) {
	copy(p.Y, q.Y)
	copy(p.Cb, q.Cb)
	copy(p.Cr, q.Cr)
}

// Mask says for every macroblock, in raster order, how it differs from the
// picture encoded before.
type Mask []Change

// Change is what happened to one macroblock.
type Change uint8

// The kinds of change. Grain is counted apart, so that [Rate] can say how much
// of it fits.
const (
	Same    Change = iota // exactly as before
	Grain                 // fresh noise in luma over what was there
	Changed               // anything else
)
