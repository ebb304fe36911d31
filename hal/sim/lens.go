package sim

import (
	"image"
	"math"

	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/hal/sim/internal/h264"
)

// view is all that makes the picture differ from the plain scene, but for what
// moves; if it changes, all is painted anew. The zero view is the plain one.
type view struct {
	at           hal.Position
	mirror, flip bool
	tone         shade
	texts        [4]string // in the corners, as cornerNames has them
}

// shade is how the sensor's values become the picture's. Zero is unchanged.
type shade struct {
	dark                             uint8 // 0 to darkSteps
	brightness, contrast, saturation int8  // -50 to 50
	grey, tint                       bool  // tint: infrared light reaches a sensor in colour
}

// darkSteps is how many steps of brightness a picture has: each costs a
// picture painted and coded anew.
const darkSteps = 32

// lens shows the backdrop as a view says, without a copy of it.
type lens struct {
	plain        bool
	cols, rows   []int32 // where in the backdrop a pixel comes from
	luma, cb, cr [256]byte

	k, w, h      float64 // pixels per scene unit, and the picture's size
	x, y, zoom   float64 // the middle of what it sees, in pixels of the backdrop
	mirror, flip bool
}

// maxZoom is how much larger things are at zoom 1.
const maxZoom = 4

// aim points the lens for a picture of the backdrop's size.
func (l *lens) aim(v view, b *backdrop) {
	l.plain = v.at == hal.Position{} && !v.mirror && !v.flip && v.tone == shade{}
	l.k, l.w, l.h = b.k, float64(b.still.W), float64(b.still.H)
	l.zoom = 1 + (maxZoom-1)*v.at.Zoom
	l.x, l.y = l.w/2*(1+v.at.Pan), l.h/2*(1-v.at.Tilt)
	l.mirror, l.flip = v.mirror, v.flip
	if l.plain {
		return
	}
	l.cols = along(l.cols, b.still.MBW*16, b.still.W, l.x, l.zoom, v.mirror)
	l.rows = along(l.rows, b.still.MBH*16, b.still.H, l.y, l.zoom, v.flip)
	l.develop(v.tone)
}

// along maps the n pixels of a row or column of size to the backdrop, which goes
// on beyond its borders as in a mirror.
//
//go:norace
func along(to []int32, n, size int, middle, zoom float64, turned bool) []int32 {
	if len(to) != n {
		to = make([]int32, n)
	}
	for i := range to {
		j := i
		if turned {
			j = size - 1 - i
		}
		s := int(math.Floor(middle + (float64(j)+0.5-float64(size)/2)/zoom))
		if s %= 2 * size; s < 0 {
			s += 2 * size
		}
		if s >= size {
			s = 2*size - 1 - s
		}
		to[i] = int32(s)
	}
	return to
}

// develop fills the tables of tone.
func (l *lens) develop(s shade) {
	light := 1 - float64(s.dark)/darkSteps
	contrast := 1 + float64(s.contrast)/50
	colour := (1 + float64(s.saturation)/50) * min(1, 2*light) * min(1, contrast)
	if s.grey {
		colour = 0
	}
	blue, red := 0.0, 0.0
	if s.tint && !s.grey {
		blue, red = 6*light, 18*light
	}
	for i := range 256 {
		v := (float64(i)-16)*light + 16
		v = (v-110)*contrast + 110 + 1.4*float64(s.brightness)
		l.luma[i] = byte(min(max(v+0.5, stillMin), stillMax))
		c := (float64(i) - 128) * colour
		l.cb[i] = byte(min(max(128.5+c+blue, 16), 240))
		l.cr[i] = byte(min(max(128.5+c+red, 16), 240))
	}
}

// row copies luma of the scene, from x on in row y of the picture.
//
//go:norace
func (l *lens) row(dst []byte, p *h264.Picture, x, y int) {
	if l.plain {
		copy(dst, p.Y[y*p.Stride()+x:])
		return
	}
	src, cols := p.Y[int(l.rows[y])*p.Stride():], l.cols[x:]
	for i := range dst {
		dst[i] = l.luma[src[cols[i]]]
	}
}

// colours copies a row of chroma; x and y count samples of chroma.
//
//go:norace
func (l *lens) colours(toCb, toCr []byte, p *h264.Picture, x, y int) {
	stride := p.Stride() / 2
	if l.plain {
		copy(toCb, p.Cb[y*stride+x:])
		copy(toCr, p.Cr[y*stride+x:])
		return
	}
	o := int(l.rows[2*y]) / 2 * stride
	for i := range toCb {
		s := o + int(l.cols[2*(x+i)])/2
		toCb[i], toCr[i] = l.cb[p.Cb[s]], l.cr[p.Cr[s]]
	}
}

// place is where in the picture a thing of w by h pixels of the backdrop stands
// that has its corner at x, y in scene units; all of it is even.
func (l *lens) place(x, y float64, w, h int) image.Rectangle {
	if l.plain {
		at := image.Pt(int(x*l.k)&^1, int(y*l.k)&^1)
		return image.Rectangle{Min: at, Max: at.Add(image.Pt(w, h))}
	}
	w, h = int(float64(w)*l.zoom)&^1, int(float64(h)*l.zoom)&^1
	px, py := (x*l.k-l.x)*l.zoom+l.w/2, (y*l.k-l.y)*l.zoom+l.h/2
	if l.mirror {
		px = l.w - px - float64(w)
	}
	if l.flip {
		py = l.h - py - float64(h)
	}
	at := image.Pt(int(math.Floor(px/2))*2, int(math.Floor(py/2))*2)
	return image.Rectangle{Min: at, Max: at.Add(image.Pt(w, h))}
}
