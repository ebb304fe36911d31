package h264

// Range of the quantisation parameter that the encoder takes.
const (
	MinQP = 12
	MaxQP = 51
)

// Unit is one coded picture in AVC format (each NAL unit behind its length,
// 4 bytes big endian), with SPS and PPS in front if Key.
type Unit struct {
	Data   []byte // newly allocated, the caller's
	Params int    // so many bytes of Data are parameter sets
	Key    bool   // an IDR picture
	QP     int
	// What it took: bits of the whole unit, and of macroblocks marked Grain.
	Bits, GrainBits int
	// Macroblocks by how they were coded.
	Skipped, Inter, Intra int
}

// Encoder is one H.264 stream. One goroutine owns it.
type Encoder struct {
	rec      *Picture // reconstruction and reference
	params   []byte
	w        bitWriter
	frameNum int
	idrID    int
	run      int // macroblocks skipped since the last coded one

	intra, inter, intraC, interC quantiser
	nzY, nzB, nzR                []uint8 // coefficients per 4x4 block
	mb                           macroblock
}

// macroblock is the scratch of the one being coded.
type macroblock struct {
	x, y           int // in macroblocks
	luma, chroma   int // offsets of its first pixel
	luma4, chroma4 int // offsets of its first block in nzY, nzB
	x4             [4]lanes
	block          [16]block
	dc             block
	dcB, dcR       block
	acB, acR       [4]block
}

// NewEncoder makes an encoder for pictures of w by h pixels at nominally fps
// frames a second. Sizes are even.
func NewEncoder(w, h, fps int) *Encoder {
	e := &Encoder{rec: NewPicture(w, h)}
	e.params = parameterSets(e.rec, fps)
	n := e.rec.MBW * e.rec.MBH
	nz := make([]uint8, n*24)
	e.nzY, e.nzB, e.nzR = nz[:n*16], nz[n*16:n*20], nz[n*20:]
	return e
}

// Recon is what a decoder shows after the last unit; it changes with the next.
func (e *Encoder) Recon() *Picture { return e.rec }

// Encode codes src, as an IDR picture if key (the first must be). Of other
// pictures only macroblocks that mask marks are looked at.
func (e *Encoder) Encode(src *Picture, mask Mask, key bool, qp int) Unit {
	qp = min(max(qp, MinQP), MaxQP)
	e.prepare(qp)
	if key {
		e.frameNum = 0
		e.idrID++
	}
	e.w.reset()
	e.sliceHeader(key, qp)
	u := Unit{Key: key, QP: qp}
	for y := range src.MBH {
		for x := range src.MBW {
			change := Changed
			if !key {
				change = mask[y*src.MBW+x]
			}
			e.macroblock(src, x, y, change, key, &u)
		}
	}
	if e.run > 0 {
		e.w.ue(uint32(e.run))
		e.run = 0
	}
	e.w.trailing()
	e.frameNum++
	e.finish(&u)
	return u
}

func (e *Encoder) prepare(qp int) {
	clear(e.nzY)
	clear(e.nzB)
	clear(e.nzR)
	if e.intra.qp == qp {
		return
	}
	qpC := qp
	if qp >= 30 {
		qpC = chromaQP[qp-30]
	}
	e.intra.set(qp, true)
	e.inter.set(qp, false)
	e.intraC.set(qpC, true)
	e.interC.set(qpC, false)
}

//go:norace
func (e *Encoder) macroblock(src *Picture, x, y int, change Change, key bool, u *Unit) {
	if change == Same {
		e.run++
		u.Skipped++
		return
	}
	e.locate(x, y)
	before := e.w.len()
	switch {
	case key:
		e.intraMacroblock(src, true)
		u.Intra++
	case change == Changed && e.preferIntra(src):
		e.endRun()
		e.intraMacroblock(src, false)
		u.Intra++
	case e.interMacroblock(src, change):
		u.Inter++
	default:
		e.run++
		u.Skipped++
	}
	if change == Grain {
		u.GrainBits += e.w.len() - before
	}
}

//go:norace
func (e *Encoder) locate(x, y int) {
	m, p := &e.mb, e.rec
	m.x, m.y = x, y
	m.luma, m.chroma = y*256*p.MBW+x*16, y*64*p.MBW+x*8
	m.luma4, m.chroma4 = y*16*p.MBW+x*4, y*4*p.MBW+x*2
}

//go:norace
func (e *Encoder) endRun() {
	e.w.ue(uint32(e.run))
	e.run = 0
}

// finish turns the RBSP into the unit's bytes: one allocation of the right size.
func (e *Encoder) finish(u *Unit) {
	header := byte(0x61) // nal_ref_idc 3, type 1
	size := 5 + len(e.w.buf) + escapes(e.w.buf)
	if u.Key {
		header = 0x65
		u.Params = len(e.params)
		size += u.Params
	}
	u.Data = append(make([]byte, 0, size), e.params[:u.Params]...)
	u.Data = appendNAL(u.Data, header, e.w.buf)
	u.Bits = len(u.Data) * 8
}

// expected is nC of a block: how many coefficients its neighbours have (9.2.1).
//
//go:norace
func expected(nz []uint8, i, stride int, left, top bool) int {
	switch {
	case left && top:
		return (int(nz[i-1]) + int(nz[i-stride]) + 1) >> 1
	case left:
		return int(nz[i-1])
	case top:
		return int(nz[i-stride])
	}
	return 0
}
