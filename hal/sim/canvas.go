package sim

import (
	"math"
	"slices"
)

// sceneWidth is the width of the scene in its own units, whatever the size of
// the picture.
const sceneWidth = 1280

// color is linear in the values of a screen, 0 to 255.
type color struct{ r, g, b float32 }

//go:norace
func (c color) mix(d color, t float32) color {
	return color{c.r + (d.r-c.r)*t, c.g + (d.g-c.g)*t, c.b + (d.b-c.b)*t}
}

// ink says how an area is filled: a vertical gradient from top to bottom, with
// texture of amplitude rough, sampled every (1/sx, 1/sy) scene units; where the
// texture rises from lo to hi, the colour turns into patch.
type ink struct {
	top, bottom color
	alpha       float32 // 0 means 1
	rough       float32
	sx, sy      float64
	patch       color
	lo, hi      float32
}

func flat(r, g, b float32) ink { return ink{top: color{r, g, b}, bottom: color{r, g, b}} }

func (i ink) textured(amplitude float32, sx, sy float64) ink {
	i.rough, i.sx, i.sy = amplitude, sx, sy
	return i
}

func (i ink) clear(alpha float32) ink {
	i.alpha = alpha
	return i
}

func fade(top, bottom color) ink { return ink{top: top, bottom: bottom} }

type pixel struct {
	color
	a float32
}

// canvas is a band of a picture being drawn; a pixel's colour does not have its
// opacity multiplied in. Coordinates of its methods are scene units.
type canvas struct {
	k      float64 // pixels per scene unit
	w      int
	top    int // first row of the band
	pix    []pixel
	cover  []float32 // of the row being filled; zero between rows
	points []float64
	cross  []float64
	noise  *noise
	mirror float64 // if not 0, x becomes mirror-x
}

func newCanvas(w, h int, k float64, n *noise) *canvas {
	return &canvas{k: k, w: w, pix: make([]pixel, w*h), cover: make([]float32, w+1), noise: n}
}

// outside says whether nothing between two heights lies in the band.
func (c *canvas) outside(low, high float64) bool {
	return high*c.k <= float64(c.top) || low*c.k >= float64(c.top+len(c.pix)/c.w)
}

// poly fills a polygon, given as x, y, x, y…, by the even-odd rule, with soft edges.
//
//go:norace
func (c *canvas) poly(in ink, at ...float64) {
	low, high := at[1], at[1]
	for i := 3; i < len(at); i += 2 {
		low, high = min(low, at[i]), max(high, at[i])
	}
	if c.outside(low, high) {
		return
	}
	low, high = low*c.k, high*c.k
	c.points = c.points[:0]
	for i := 0; i < len(at); i += 2 {
		x := at[i]
		if c.mirror != 0 {
			x = c.mirror - x
		}
		c.points = append(c.points, x*c.k, at[i+1]*c.k)
	}
	first := max(int(low), c.top)
	last := min(int(math.Ceil(high)), c.top+len(c.pix)/c.w)
	for y := first; y < last; y++ {
		if from, to := c.scan(y); from < to {
			t := (float64(y) + 0.5 - low) / max(high-low, 1)
			c.blend(in, y, from, to, float32(min(max(t, 0), 1)))
			clear(c.cover[from:min(to+1, len(c.cover))])
		}
	}
}

// scan computes the coverage of a row in four parts, and where it is not zero.
//
//go:norace
func (c *canvas) scan(y int) (from, to int) {
	const parts = 4
	from, to = c.w, 0
	pts := c.points
	for s := range parts {
		sy := float64(y) + (float64(s)+0.5)/parts
		c.cross = c.cross[:0]
		x0, y0 := pts[len(pts)-2], pts[len(pts)-1]
		for i := 0; i < len(pts); i += 2 {
			x1, y1 := pts[i], pts[i+1]
			if (y0 <= sy) != (y1 <= sy) {
				c.cross = append(c.cross, x0+(x1-x0)*(sy-y0)/(y1-y0))
			}
			x0, y0 = x1, y1
		}
		slices.Sort(c.cross)
		for i := 0; i+1 < len(c.cross); i += 2 {
			a, b := c.span(c.cross[i], c.cross[i+1], 1.0/parts)
			from, to = min(from, a), max(to, b)
		}
	}
	return from, to
}

// span adds the coverage of a row from x0 to x1.
//
//go:norace
func (c *canvas) span(x0, x1 float64, weight float32) (from, to int) {
	x0, x1 = max(x0, 0), min(x1, float64(c.w))
	if x0 >= x1 {
		return c.w, 0
	}
	a, b := int(x0), int(x1)
	if a == b {
		c.cover[a] += float32(x1-x0) * weight
		return a, min(a+1, c.w)
	}
	c.cover[a] += float32(float64(a+1)-x0) * weight
	for x := a + 1; x < b; x++ {
		c.cover[x] += weight
	}
	c.cover[b] += float32(x1-float64(b)) * weight
	return a, min(b+1, c.w)
}

//go:norace
func (c *canvas) blend(in ink, y, from, to int, t float32) {
	base := in.top.mix(in.bottom, t)
	alpha := in.alpha
	if alpha == 0 {
		alpha = 1
	}
	row := c.pix[(y-c.top)*c.w:][:c.w]
	v := float64(y) / c.k * in.sy
	for x := from; x < to; x++ {
		a := min(c.cover[x], 1) * alpha
		if a == 0 {
			continue
		}
		q := base
		if in.sx != 0 {
			n := c.noise.at(float64(x)/c.k*in.sx, v)
			d := (n - 0.5) * 2 * in.rough
			q = color{q.r + d, q.g + d, q.b + d}
			if in.hi > 0 {
				s := min(max((n-in.lo)/(in.hi-in.lo), 0), 1)
				q = q.mix(in.patch, s*s*(3-2*s))
			}
		}
		p := &row[x]
		if a == 1 {
			*p = pixel{q, 1}
			continue
		}
		p.a += (1 - p.a) * a
		p.color = p.mix(q, a/p.a)
	}
}

func (c *canvas) rect(in ink, x, y, w, h float64) {
	c.poly(in, x, y, x+w, y, x+w, y+h, x, y+h)
}

func (c *canvas) ellipse(in ink, x, y, rx, ry float64) {
	if c.outside(y-ry, y+ry) {
		return
	}
	const n = 24
	var pts [2 * n]float64
	for i := range n {
		s, co := math.Sincos(2 * math.Pi * float64(i) / n)
		pts[2*i], pts[2*i+1] = x+rx*co, y+ry*s
	}
	c.poly(in, pts[:]...)
}

// luma and chroma convert to limited range BT.601.
//
//go:norace
func (c color) luma() float32 { return 16 + 0.2568*c.r + 0.5041*c.g + 0.0979*c.b }

//go:norace
func (c color) chroma() (cb, cr float32) {
	return 128 - 0.1482*c.r - 0.2910*c.g + 0.4392*c.b, 128 + 0.4392*c.r - 0.3678*c.g - 0.0714*c.b
}

// noise is smooth fractal noise from 0 to 1 that repeats every 256 units.
type noise [256 * 256]float32

//go:norace
func newNoise() *noise {
	n := new(noise)
	weight, total := float32(1), float32(0)
	for cell := 64; cell >= 1; cell /= 2 {
		n.octave(cell, weight)
		total += weight
		weight *= 0.62
	}
	for i := range n {
		n[i] = min(max((n[i]/total-0.5)*1.7+0.5, 0), 1)
	}
	return n
}

//go:norace
func (n *noise) octave(cell int, weight float32) {
	mask := 256/cell - 1
	for y := range 256 {
		fy := smooth(float32(y%cell) / float32(cell))
		j := y / cell
		for x := range 256 {
			fx := smooth(float32(x%cell) / float32(cell))
			i := x / cell
			a := lattice(i, j, cell) + (lattice((i+1)&mask, j, cell)-lattice(i, j, cell))*fx
			b := lattice(i, (j+1)&mask, cell) + (lattice((i+1)&mask, (j+1)&mask, cell)-lattice(i, (j+1)&mask, cell))*fx
			n[y*256+x] += (a + (b-a)*fy) * weight
		}
	}
}

//go:norace
func smooth(t float32) float32 { return t * t * (3 - 2*t) }

// lattice is a hash of a point, from 0 to 1.
//
//go:norace
func lattice(x, y, z int) float32 {
	h := uint32(x)*0x9e3779b1 ^ uint32(y)*0x85ebca77 ^ uint32(z)*0xc2b2ae3d
	h = (h ^ h>>15) * 0x2c1b3c6d
	h = (h ^ h>>12) * 0x297a2d39
	return float32((h^h>>15)>>8) / (1 << 24)
}

// at reads the noise, interpolated, so that it can be stretched.
//
//go:norace
func (n *noise) at(x, y float64) float32 {
	i, j := int(x), int(y)
	fx, fy := float32(x-float64(i)), float32(y-float64(j))
	i0, i1, j0, j1 := i&255, (i+1)&255, j&255<<8, (j+1)&255<<8
	a := n[j0|i0] + (n[j0|i1]-n[j0|i0])*fx
	b := n[j1|i0] + (n[j1|i1]-n[j1|i0])*fx
	return a + (b-a)*fy
}
