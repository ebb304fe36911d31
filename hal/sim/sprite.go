package sim

import (
	"image"
	"math"

	"iid2secure.nl/camagent/hal/sim/internal/h264"
)

// The sets of poses.
const (
	walkers = iota // 8 steps to the right, 8 to the left
	blueCar        // drives to the left
	redCar         // to the right
	sets
)

// pose is a small picture with an opacity for every luma and chroma sample.
// Its size is even.
type pose struct {
	w, h            int
	luma, lumaA     []byte
	cb, cr, chromaA []byte
}

// newSprites draws what moves.
func newSprites(k float64, n *noise) (s [sets][]pose) {
	for _, back := range []bool{false, true} {
		for i := range 8 {
			phase := float64(i) / 8 * 2 * math.Pi
			s[walkers] = append(s[walkers], newPose(walkerW, walkerH, k, n, back, func(c *canvas) { drawWalker(c, phase) }))
		}
	}
	red := fade(color{196, 48, 40}, color{138, 26, 26})
	blue := fade(color{86, 122, 168}, color{46, 74, 116})
	s[blueCar] = []pose{newPose(carW, carH, k, n, true, func(c *canvas) { drawCar(c, blue) })}
	s[redCar] = []pose{newPose(carW, carH, k, n, false, func(c *canvas) { drawCar(c, red) })}
	return s
}

// Sizes of what moves, in scene units.
const (
	walkerW, walkerH = 60, 132
	carW, carH       = 240, 92
)

// newPose draws a thing of w by h scene units.
//
//go:norace
func newPose(w, h, k float64, n *noise, mirror bool, draw func(*canvas)) pose {
	p := pose{w: int(math.Ceil(w*k/2)) * 2, h: int(math.Ceil(h*k/2)) * 2}
	c := newCanvas(p.w, p.h, k, n)
	if mirror {
		c.mirror = w
	}
	draw(c)
	p.luma, p.lumaA = make([]byte, p.w*p.h), make([]byte, p.w*p.h)
	for i, q := range c.pix {
		p.luma[i], p.lumaA[i] = byte(q.luma()+0.5), byte(q.a*255+0.5)
	}
	half := p.w / 2 * (p.h / 2)
	p.cb, p.cr, p.chromaA = make([]byte, half), make([]byte, half), make([]byte, half)
	for i := range half {
		o := i/(p.w/2)*2*p.w + i%(p.w/2)*2
		four := [4]pixel{c.pix[o], c.pix[o+1], c.pix[o+p.w], c.pix[o+p.w+1]}
		var sum pixel
		for _, q := range four {
			sum.color = color{sum.r + q.r*q.a, sum.g + q.g*q.a, sum.b + q.b*q.a}
			sum.a += q.a
		}
		d := max(sum.a, 0.01)
		cb, cr := color{sum.r / d, sum.g / d, sum.b / d}.chroma()
		p.cb[i], p.cr[i], p.chromaA[i] = byte(cb+0.5), byte(cr+0.5), byte(sum.a*63.75+0.5)
	}
	return p
}

// draw puts the pose on dst where it stands, inside clip; both have even corners.
//
//go:norace
func (p *pose) draw(dst *h264.Picture, stands, clip image.Rectangle) {
	r := stands.Intersect(clip)
	if r.Empty() {
		return
	}
	o := r.Min.Sub(stands.Min)
	stride := dst.Stride()
	for y := range r.Dy() {
		s := (o.Y+y)*p.w + o.X
		over(dst.Y[(r.Min.Y+y)*stride+r.Min.X:][:r.Dx()], p.luma[s:], p.lumaA[s:])
	}
	for y := range r.Dy() / 2 {
		s := (o.Y/2+y)*(p.w/2) + o.X/2
		d := (r.Min.Y/2+y)*stride/2 + r.Min.X/2
		over(dst.Cb[d:][:r.Dx()/2], p.cb[s:], p.chromaA[s:])
		over(dst.Cr[d:][:r.Dx()/2], p.cr[s:], p.chromaA[s:])
	}
}

// drawThrough is draw through a lens that is not plain.
//
//go:norace
func (p *pose) drawThrough(l *lens, dst *h264.Picture, stands, clip image.Rectangle) {
	r := stands.Intersect(clip)
	if r.Empty() {
		return
	}
	half := func(v int) int { return v / 2 }
	o := r.Min.Sub(stands.Min)
	stride, w, h := dst.Stride(), stands.Dx(), stands.Dy()
	for y := range r.Dy() {
		row := source(o.Y+y, h, p.h, l.flip) * p.w
		for x := range r.Dx() {
			s := row + source(o.X+x, w, p.w, l.mirror)
			blend(&dst.Y[(r.Min.Y+y)*stride+r.Min.X+x], l.luma[p.luma[s]], p.lumaA[s])
		}
	}
	for y := range half(r.Dy()) {
		row := source(half(o.Y)+y, half(h), half(p.h), l.flip) * half(p.w)
		for x := range half(r.Dx()) {
			s := row + source(half(o.X)+x, half(w), half(p.w), l.mirror)
			d := (half(r.Min.Y)+y)*half(stride) + half(r.Min.X) + x
			blend(&dst.Cb[d], l.cb[p.cb[s]], p.chromaA[s])
			blend(&dst.Cr[d], l.cr[p.cr[s]], p.chromaA[s])
		}
	}
}

// source is which of the n samples of a pose is seen at i of size.
//
//go:norace
func source(i, size, n int, turned bool) int {
	if turned {
		i = size - 1 - i
	}
	return i * n / size
}

//go:norace
func blend(dst *byte, v, alpha byte) {
	d := int32(*dst)
	*dst = byte(d + (int32(v)-d)*int32(alpha)/255)
}

//go:norace
func over(dst, src, alpha []byte) {
	src, alpha = src[:len(dst)], alpha[:len(dst)]
	for i, a := range alpha {
		switch a {
		case 0:
		case 255:
			dst[i] = src[i]
		default:
			d := int32(dst[i])
			dst[i] = byte(d + (int32(src[i])-d)*int32(a)/255)
		}
	}
}

// drawCar draws one that drives to the right.
func drawCar(c *canvas, paint ink) {
	c.ellipse(flat(16, 16, 20).clear(0.5), 120, 82, 116, 9)
	c.poly(paint, 8, 70, 6, 48, 14, 40, 52, 36, 78, 13, 146, 11, 182, 36, 222, 43, 233, 54, 233, 70)
	glass := fade(color{52, 66, 82}, color{120, 142, 160})
	c.poly(glass, 62, 36, 83, 18, 112, 16, 112, 37)
	c.poly(glass, 118, 37, 118, 16, 143, 16, 171, 38)
	c.poly(flat(228, 238, 244).clear(0.3), 126, 36, 136, 17, 142, 17, 136, 36)
	c.rect(flat(255, 255, 255).clear(0.25), 14, 42, 206, 2.5)
	c.rect(flat(20, 20, 22).clear(0.5), 115, 40, 1.6, 26)
	c.rect(flat(30, 30, 34), 10, 66, 221, 6)
	c.ellipse(flat(252, 246, 214), 227, 51, 5, 4.5)
	c.rect(flat(226, 40, 34), 6, 48, 6, 8)
	for _, x := range []float64{54, 186} {
		c.ellipse(flat(22, 22, 26), x, 70, 19, 19)
		c.ellipse(flat(176, 178, 182), x, 70, 10.5, 10.5)
		c.ellipse(flat(60, 62, 66), x, 70, 4, 4)
	}
}

// drawWalker draws a person who walks to the right.
func drawWalker(c *canvas, phase float64) {
	swing := math.Sin(phase)
	c.ellipse(flat(20, 20, 22).clear(0.4), 30, 127, 24, 4)
	leg := func(in ink, a float64) {
		knee, foot := 30+9*a, 30+17*a
		lift := 4 * max(0, -a)
		c.poly(in, 24, 72, 36, 72, knee+5, 98, foot+5, 122-lift, foot-4, 122-lift, knee-5, 98)
		c.poly(flat(40, 34, 32), foot-5, 121-lift, foot+11, 123-lift, foot+11, 127-lift, foot-5, 127-lift)
	}
	arm := func(in ink, a float64) {
		c.poly(in, 25, 36, 35, 36, 33+11*a, 58, 31+18*a, 76, 24+18*a, 75, 25+9*a, 58)
		c.ellipse(flat(214, 168, 138), 28+18*a, 78, 3.5, 4)
	}
	arm(flat(172, 124, 30), -swing)
	leg(flat(40, 48, 70), -swing)
	leg(flat(52, 62, 88), swing)
	c.poly(fade(color{236, 182, 56}, color{206, 146, 36}), 22, 34, 27, 30, 35, 30, 40, 36, 41, 76, 20, 76)
	arm(flat(218, 160, 44), swing)
	c.ellipse(flat(218, 172, 142), 31, 19, 9, 11)
	c.poly(flat(70, 46, 34), 21, 21, 21, 11, 28, 6, 37, 8, 40, 13, 29, 14, 26, 22)
}
