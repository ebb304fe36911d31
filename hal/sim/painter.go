package sim

import (
	"image"
	"time"

	"iid2secure.nl/camagent/hal/sim/internal/h264"
)

// moment is an instant of the scene.
type moment struct {
	since time.Duration // since the board's start
	wall  time.Time     // UTC
}

func (b *Board) moment(since time.Duration) moment {
	return moment{since, b.start.Add(since).UTC()}
}

// painter keeps one picture of the scene up to date, touching only what
// changes, and knows which macroblocks that is. One goroutine owns it.
type painter struct {
	back   *backdrop
	pic    *h264.Picture
	mask   h264.Mask
	busy   []bool            // macroblocks that are no place for grain now
	fixed  []bool            // those that never are: overlays
	stands []image.Rectangle // where the sprites are
	spare  []image.Rectangle // where they were
	poses  []int
	grain  *grain
	text   overlay
	strip  uint64 // cells shown
	lamp   bool
	begun  bool
}

func newPainter(back *backdrop, title string, seed uint64) *painter {
	s := back.still
	n := s.MBW * s.MBH
	p := &painter{
		back: back, pic: h264.NewPicture(s.W, s.H), mask: make(h264.Mask, n),
		busy: make([]bool, n), fixed: make([]bool, n),
		stands: make([]image.Rectangle, len(back.sprites)), spare: make([]image.Rectangle, len(back.sprites)), poses: make([]int, len(back.sprites)),
		grain: newGrain(n, seed),
	}
	p.pic.Copy(s)
	p.text.init(p.pic, title)
	w, h := s.W, s.H
	strip := stripCell(0, w, h).Union(stripCell(stripCells-1, w, h))
	strip.Max.Y = s.MBH * 16
	for _, r := range []image.Rectangle{overlayRect(w, h), LampRect(w, h), strip} {
		p.each(r, func(i int) { p.fixed[i] = true })
	}
	copy(p.busy, p.fixed)
	return p
}

// paint brings the picture to a moment, with a frame number in the strip and
// grain on so many more macroblocks. What it returns is valid until the next
// call; grained is on how many macroblocks there was a place for grain.
func (p *painter) paint(m moment, number uint32, grain int) (pic *h264.Picture, mask h264.Mask, grained int) {
	clear(p.mask)
	p.moveSprites(m.since)
	p.setLamp(beeping(m.since))
	p.text.show(p, m.wall)
	p.setStrip(stripBits(number))
	p.begun = true
	return p.pic, p.mask, p.grain.apply(p, grain)
}

// each calls f for the macroblocks that r touches, within the picture.
//
//go:norace
func (p *painter) each(r image.Rectangle, f func(i int)) {
	r = r.Intersect(image.Rect(0, 0, p.pic.MBW*16, p.pic.MBH*16))
	if r.Empty() {
		return
	}
	for y := r.Min.Y / 16; y <= (r.Max.Y-1)/16; y++ {
		for x := r.Min.X / 16; x <= (r.Max.X-1)/16; x++ {
			f(y*p.pic.MBW + x)
		}
	}
}

func (p *painter) changed(r image.Rectangle) {
	p.each(r, func(i int) { p.mask[i] = h264.Changed })
}

// restore puts the still picture back into a macroblock.
//
//go:norace
func (p *painter) restore(i int) {
	stride := p.pic.Stride()
	x, y := i%p.pic.MBW, i/p.pic.MBW
	o := y*16*stride + x*16
	for range 16 {
		copy(p.pic.Y[o:][:16], p.back.still.Y[o:])
		o += stride
	}
	o = y*4*stride + x*8
	for range 8 {
		copy(p.pic.Cb[o:][:8], p.back.still.Cb[o:])
		copy(p.pic.Cr[o:][:8], p.back.still.Cr[o:])
		o += stride / 2
	}
}

// moveSprites draws all sprites anew, in their order, on a clean background, if
// one of them moved.
func (p *painter) moveSprites(since time.Duration) {
	moved := false
	p.stands, p.spare = p.spare, p.stands
	for i := range p.back.sprites {
		s := &p.back.sprites[i]
		x, y, k := s.at(since)
		at := image.Pt(int(x*p.back.k)&^1, int(y*p.back.k)&^1)
		p.stands[i] = image.Rectangle{Min: at, Max: at.Add(image.Pt(s.poses[k].w, s.poses[k].h))}
		if p.stands[i] != p.spare[i] || k != p.poses[i] {
			moved = true
			p.changed(p.spare[i])
			p.changed(p.stands[i])
		}
		p.poses[i] = k
	}
	if !moved {
		return
	}
	for _, r := range p.spare {
		p.each(r, func(i int) { p.clean(i, false) })
	}
	for _, r := range p.stands {
		p.each(r, func(i int) { p.clean(i, true) })
	}
	bounds := image.Rect(0, 0, p.pic.MBW*16, stripCell(0, p.pic.W, p.pic.H).Min.Y)
	for i := range p.back.sprites {
		p.back.sprites[i].poses[p.poses[i]].draw(p.pic, p.stands[i].Min, bounds)
	}
}

// clean removes sprites and grain from a macroblock, and says whether a sprite
// is to cover it.
func (p *painter) clean(i int, busy bool) {
	if p.fixed[i] {
		return
	}
	p.restore(i)
	p.busy[i] = busy
}

func (p *painter) setLamp(lit bool) {
	if p.begun && lit == p.lamp {
		return
	}
	p.lamp = lit
	luma := byte(40)
	if lit {
		luma = white
	}
	r := LampRect(p.pic.W, p.pic.H)
	fill(p.pic, r, luma)
	p.changed(r)
}

// setStrip draws the cells that differ from those shown.
func (p *painter) setStrip(bits uint64) {
	for i := range stripCells {
		bit := uint64(1) << (stripCells - 1 - i)
		if p.begun && (bits^p.strip)&bit == 0 {
			continue
		}
		luma := byte(black)
		if bits&bit != 0 {
			luma = white
		}
		r := stripCell(i, p.pic.W, p.pic.H)
		r.Min.X, r.Max.X, r.Max.Y = r.Min.X&^1, r.Max.X&^1, p.pic.MBH*16
		if i == stripCells-1 {
			r.Max.X = p.pic.MBW * 16
		}
		fill(p.pic, r, luma)
		p.changed(r)
	}
	p.strip = bits
}
