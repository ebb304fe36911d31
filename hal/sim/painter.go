package sim

import (
	"image"
	"slices"

	"iid2secure.nl/camagent/hal/sim/internal/h264"
)

// stand is where something stands in the picture, in which pose.
type stand struct {
	at   image.Rectangle
	pose *pose
}

// painter keeps one picture of the scene up to date, touching only what
// changes, and knows which macroblocks that is. One goroutine owns it.
type painter struct {
	back  *backdrop
	view  view
	lens  lens
	title string

	pic    *h264.Picture
	mask   h264.Mask
	busy   []bool  // macroblocks that are no place for grain now
	fixed  []bool  // those that never are: overlays
	stands []stand // where things are
	spare  []stand // where they were
	grain  *grain
	clock  clock
	strip  uint64 // cells shown
	lamp   bool
	begun  bool
}

func newPainter(back *backdrop, title string, seed uint64) *painter {
	s := back.still
	n := s.MBW * s.MBH
	return &painter{
		back: back, title: title, pic: h264.NewPicture(s.W, s.H), mask: make(h264.Mask, n),
		busy: make([]bool, n), fixed: make([]bool, n),
		stands: make([]stand, 0, maxActors), spare: make([]stand, 0, maxActors),
		grain: newGrain(n, seed),
	}
}

// paint brings the picture to a moment, with a frame number in the strip and
// grain on so many more macroblocks. What it returns is valid until the next
// call; grained is on how many macroblocks there was a place for grain.
func (p *painter) paint(m *moment, number uint32, grain int) (pic *h264.Picture, mask h264.Mask, grained int) {
	clear(p.mask)
	if !p.begun || m.view != p.view {
		p.look(&m.view)
	}
	p.place(m)
	p.setLamp(beeping(m.since))
	p.clock.show(p, m.wall)
	p.setStrip(stripBits(number))
	p.begun = true
	if m.noise > 0 {
		p.grain.apply(p, len(p.mask)*m.noise/100, h264.Changed)
	}
	return p.pic, p.mask, p.grain.apply(p, grain, h264.Grain)
}

// look begins anew with another view.
func (p *painter) look(v *view) {
	p.view = *v
	p.lens.aim(*v, p.back)
	p.begun = false
	p.stands = p.stands[:0]
	for i := range p.mask {
		p.mask[i] = h264.Changed
		p.restore(i)
	}
	clear(p.fixed)
	w, h := p.pic.W, p.pic.H
	strip := stripCell(0, w, h).Union(stripCell(stripCells-1, w, h))
	strip.Max.Y = p.pic.MBH * 16
	p.fix(strip)
	p.fix(LampRect(w, h))
	p.label()
	copy(p.busy, p.fixed)
}

// fix keeps what moves, and grain, out of a rectangle.
func (p *painter) fix(r image.Rectangle) { p.each(r, func(i int) { p.fixed[i] = true }) }

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
	for r := range 16 {
		p.lens.row(p.pic.Y[(y*16+r)*stride+x*16:][:16], p.back.still, x*16, y*16+r)
	}
	for r := range 8 {
		o := (y*8+r)*stride/2 + x*8
		p.lens.colours(p.pic.Cb[o:][:8], p.pic.Cr[o:][:8], p.back.still, x*8, y*8+r)
	}
}

// place draws all that moves anew, in its order, on a clean background, if one
// of them moved.
func (p *painter) place(m *moment) {
	p.stands, p.spare = p.spare[:0], p.stands
	for _, a := range m.actors[:m.count] {
		s := stand{pose: &p.back.sprites[a.set][a.pose]}
		s.at = p.lens.place(a.x, a.y, s.pose.w, s.pose.h)
		p.stands = append(p.stands, s)
	}
	if slices.Equal(p.stands, p.spare) {
		return
	}
	for i := range max(len(p.stands), len(p.spare)) {
		p.moved(i)
	}
	for _, s := range p.spare {
		p.each(s.at, func(i int) { p.clean(i, false) })
	}
	for _, s := range p.stands {
		p.each(s.at, func(i int) { p.clean(i, true) })
	}
	for _, s := range p.stands {
		p.draw(s)
	}
}

// moved marks what changes where the i-th thing was and is.
func (p *painter) moved(i int) {
	var was, is stand
	if i < len(p.spare) {
		was = p.spare[i]
	}
	if i < len(p.stands) {
		is = p.stands[i]
	}
	if was != is {
		p.changed(was.at)
		p.changed(is.at)
	}
}

// draw draws one thing, and not over what is fixed.
func (p *painter) draw(s stand) {
	free := true
	p.each(s.at, func(i int) { free = free && !p.fixed[i] })
	if free {
		p.drawIn(s, image.Rect(0, 0, p.pic.MBW*16, p.pic.MBH*16))
		return
	}
	p.each(s.at, func(i int) {
		if !p.fixed[i] {
			at := image.Pt(i%p.pic.MBW*16, i/p.pic.MBW*16)
			p.drawIn(s, image.Rectangle{Min: at, Max: at.Add(image.Pt(16, 16))})
		}
	})
}

func (p *painter) drawIn(s stand, clip image.Rectangle) {
	if p.lens.plain {
		s.pose.draw(p.pic, s.at, clip)
		return
	}
	s.pose.drawThrough(&p.lens, p.pic, s.at, clip)
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
