package sim

import (
	"math"

	"iid2secure.nl/camagent/hal/sim/internal/h264"
)

// backdrop is everything about the scene that does not change, in one size.
// It is shared between streams and read-only.
type backdrop struct {
	k       float64 // pixels per scene unit
	still   *h264.Picture
	sprites [sets][]pose
}

// Luma of the still picture leaves room for grain on both sides.
const stillMin, stillMax = 16 + grainAmplitude, 235 - grainAmplitude

func newBackdrop(w, h int, n *noise) *backdrop {
	b := &backdrop{k: float64(w) / sceneWidth, still: h264.NewPicture(w, h)}
	c := newCanvas(b.still.MBW*16, 16, b.k, n)
	shade := make([]float32, c.w)
	for x := range shade {
		shade[x] = squareOff(x, w)
	}
	for c.top = 0; c.top < b.still.MBH*16; c.top += 16 {
		clear(c.pix)
		drawYard(c)
		b.store(c, shade)
	}
	b.sprites = newSprites(b.k, n)
	return b
}

// squareOff is how far from the middle of size v lies: 0 there, 1 at the ends.
//
//go:norace
func squareOff(v, size int) float32 {
	d := float32(2*v-size) / float32(size)
	return d * d
}

// store converts a finished band; the lens darkens corners.
//
//go:norace
func (b *backdrop) store(c *canvas, shade []float32) {
	const dark = 0.09
	p := b.still
	stride := p.Stride()
	for y := range 16 {
		row := p.Y[(c.top+y)*stride:][:c.w]
		dy := squareOff(c.top+y, p.H)
		for x, q := range c.pix[y*c.w:][:c.w] {
			l := (q.luma()-16)*(1-dark*(shade[x]+dy)) + 16.5
			row[x] = byte(min(max(l, stillMin), stillMax))
		}
	}
	for y := 0; y < 16; y += 2 {
		for x := 0; x < c.w; x += 2 {
			i := y*c.w + x
			cb, cr := mean4(c.pix[i], c.pix[i+1], c.pix[i+c.w], c.pix[i+c.w+1]).chroma()
			o := (c.top+y)/2*stride/2 + x/2
			p.Cb[o], p.Cr[o] = byte(cb+0.5), byte(cr+0.5)
		}
	}
}

//go:norace
func mean4(a, b, c, d pixel) color {
	return color{(a.r + b.r + c.r + d.r) / 4, (a.g + b.g + c.g + d.g) / 4, (a.b + b.b + c.b + d.b) / 4}
}

// drawYard draws a front yard as a camera over a garage across the street sees it.
func drawYard(c *canvas) {
	drawSky(c)
	drawLawn(c)
	drawFence(c)
	drawHouse(c)
	drawGarage(c)
	drawStreet(c)
	drawTree(c, 1010, 425, 1)
	drawTree(c, 1190, 392, 0.62)
	drawLantern(c)
}

func drawSky(c *canvas) {
	sky := fade(color{88, 142, 200}, color{206, 222, 234}).textured(2, 0.11, 0.42)
	sky.patch, sky.lo, sky.hi = color{240, 243, 246}, 0.5, 0.86
	c.rect(sky, 0, 0, 1280, 310)
	c.poly(fade(color{134, 156, 176}, color{160, 176, 182}), ridge(238, 22, 0.011, 1)...)
	c.poly(fade(color{104, 130, 132}, color{128, 148, 138}).textured(5, 0.5, 0.5), ridge(262, 16, 0.017, 4)...)
	c.poly(fade(color{58, 88, 58}, color{76, 106, 62}).textured(22, 1.1, 1.1), ridge(284, 11, 0.06, 7)...)
}

// ridge is the outline of hills or woods around height y, down to y 320.
func ridge(y, amplitude, frequency, phase float64) []float64 {
	pts := []float64{-10, 320}
	for x := -10.0; x <= 1290; x += 10 {
		h := math.Sin(x*frequency+phase) + 0.5*math.Sin(x*frequency*2.7+phase*3) + 0.25*math.Sin(x*frequency*6.1+phase*5)
		pts = append(pts, x, y-h*amplitude*0.6)
	}
	return append(pts, 1290, 320)
}

func drawLawn(c *canvas) {
	grass := fade(color{112, 146, 78}, color{92, 132, 58}).textured(17, 1.3, 2.3)
	grass.patch, grass.lo, grass.hi = color{132, 150, 84}, 0.55, 1.1
	c.rect(grass, 0, 304, 1280, 200)
	shadow := flat(34, 54, 34).clear(0.42)
	c.ellipse(shadow, 960, 440, 150, 24)
	c.ellipse(shadow, 1170, 402, 90, 14)
	c.poly(shadow, 60, 418, 610, 418, 560, 434, 20, 434)
}

func drawFence(c *canvas) {
	c.rect(flat(206, 202, 192), 620, 338, 660, 5)
	c.rect(flat(206, 202, 192), 620, 366, 660, 5)
	for x := 624.0; x < 1280; x += 17 {
		board := fade(color{226, 223, 214}, color{196, 192, 182})
		c.poly(board, x, 386, x, 330, x+5, 323, x+10, 330, x+10, 386)
		c.rect(flat(120, 120, 112).clear(0.5), x+10, 331, 1.5, 55)
	}
}

func drawHouse(c *canvas) {
	c.rect(fade(color{172, 92, 76}, color{150, 80, 66}).textured(14, 1.5, 3), 214, 70, 38, 70)
	c.rect(flat(112, 104, 100), 210, 66, 46, 8)
	c.rect(fade(color{222, 207, 178}, color{200, 182, 152}).textured(5, 1.7, 0.6), 104, 212, 320, 208)
	for y := 222.0; y < 412; y += 9 {
		c.rect(flat(120, 104, 84).clear(0.22), 104, y, 320, 1.4)
	}
	c.rect(flat(128, 124, 118).textured(12, 2, 2), 104, 408, 320, 12)
	c.rect(flat(40, 34, 30).clear(0.4), 104, 214, 320, 12)
	roof := fade(color{128, 74, 62}, color{104, 58, 50}).textured(12, 1.8, 1.2)
	c.poly(roof, 74, 222, 158, 106, 398, 106, 446, 222)
	for y := 114.0; y < 220; y += 8 {
		t := (y - 106) / 116
		c.poly(flat(60, 30, 26).clear(0.32), 158-84*t, y, 398+48*t, y, 398+48*t, y+1.6, 158-84*t, y+1.6)
	}
	c.rect(flat(232, 228, 218), 72, 219, 376, 7)
	drawWindow(c, 136, 256, 74, 74)
	drawWindow(c, 238, 256, 58, 74)
	drawDoor(c)
	for i := range 22 {
		x, n := 118+float64(i)*9, float64(lattice(i, 5, 99))
		c.ellipse(fade(color{84, 122, 62}, color{44, 74, 38}).textured(26, 2, 2), x, 406-8*n, 12+5*n, 15+5*n)
	}
}

func drawWindow(c *canvas, x, y, w, h float64) {
	c.rect(flat(238, 236, 230), x-5, y-5, w+10, h+10)
	glass := fade(color{58, 76, 96}, color{134, 158, 176})
	c.rect(glass, x, y, w, h)
	c.poly(flat(226, 236, 242).clear(0.28), x+w*0.15, y, x+w*0.45, y, x+w*0.12, y+h, x, y+h, x, y+h*0.45)
	c.rect(flat(226, 214, 190).clear(0.55), x, y, w*0.14, h)
	c.rect(flat(226, 214, 190).clear(0.55), x+w*0.86, y, w*0.14, h)
	c.rect(flat(238, 236, 230), x+w/2-2, y, 4, h)
	c.rect(flat(238, 236, 230), x, y+h*0.45, w, 3)
	c.rect(flat(206, 200, 190), x-8, y+h+5, w+16, 5)
}

func drawDoor(c *canvas) {
	c.rect(flat(236, 233, 226), 330, 282, 58, 138)
	c.rect(fade(color{138, 46, 42}, color{108, 34, 34}).textured(5, 3, 0.3), 336, 288, 46, 132)
	for _, y := range []float64{298, 336, 374} {
		c.rect(flat(92, 28, 28), 342, y, 15, 30)
		c.rect(flat(92, 28, 28), 361, y, 15, 30)
	}
	c.ellipse(flat(232, 204, 110), 377, 360, 2.6, 2.6)
	c.rect(flat(178, 174, 166), 322, 416, 76, 8)
	c.rect(flat(150, 146, 140), 316, 424, 88, 7)
	c.poly(flat(86, 50, 44), 316, 276, 359, 250, 402, 276)
	c.poly(flat(226, 212, 186), 330, 275, 359, 257, 388, 275)
	c.ellipse(flat(250, 232, 170), 316, 306, 4, 6)
}

func drawGarage(c *canvas) {
	c.rect(fade(color{210, 195, 166}, color{188, 171, 142}).textured(5, 1.7, 0.6), 424, 262, 180, 158)
	for y := 270.0; y < 412; y += 9 {
		c.rect(flat(120, 104, 84).clear(0.22), 424, y, 180, 1.4)
	}
	c.poly(fade(color{120, 68, 57}, color{98, 54, 47}).textured(12, 1.8, 1.2), 420, 268, 430, 202, 580, 202, 624, 268)
	for y := 210.0; y < 266; y += 8 {
		c.rect(flat(60, 30, 26).clear(0.32), 426, y, 156+(y-202)*0.62, 1.6)
	}
	c.rect(flat(232, 228, 218), 420, 265, 206, 6)
	c.rect(flat(150, 140, 126), 448, 296, 136, 124)
	c.rect(fade(color{236, 236, 232}, color{216, 216, 210}), 453, 301, 126, 119)
	for y := 330.0; y < 420; y += 30 {
		c.rect(flat(150, 150, 146), 453, y, 126, 2)
	}
	for i := range 4 {
		c.rect(fade(color{70, 88, 106}, color{120, 142, 158}), 461+float64(i)*30, 308, 21, 14)
	}
}

func drawStreet(c *canvas) {
	concrete := fade(color{186, 182, 172}, color{198, 194, 185}).textured(8, 1.6, 2.6)
	c.poly(concrete, 448, 420, 586, 420, 690, 502, 470, 502)
	c.poly(concrete, 326, 431, 392, 431, 352, 502, 262, 502)
	walk := fade(color{192, 189, 181}, color{204, 200, 192}).textured(7, 1.5, 2.5)
	c.rect(walk, 0, 500, 1280, 38)
	for x := -20.0; x < 1340; x += 74 {
		c.poly(flat(120, 118, 112).clear(0.6), x+14, 500, x+16, 500, x+2, 538, x, 538)
	}
	c.rect(fade(color{168, 165, 158}, color{118, 116, 112}), 0, 536, 1280, 10)
	road := fade(color{96, 97, 100}, color{78, 79, 83}).textured(9, 2.1, 3.1)
	c.rect(road, 0, 545, 1280, 130)
	for x := -30.0; x < 1300; x += 128 {
		c.poly(flat(214, 208, 180).clear(0.85), x+6, 600, x+76, 600, x+73, 607, x, 607)
	}
	c.poly(flat(48, 48, 52).clear(0.35), 0, 640, 1280, 646, 1280, 652, 0, 647)
	c.rect(flat(168, 166, 160), 0, 671, 1280, 7)
	c.rect(fade(color{84, 118, 54}, color{62, 94, 40}).textured(22, 1.6, 1.9), 0, 678, 1280, 60)
}

// drawTree draws one whose foot is at x, y, of about 330 units at scale 1.
func drawTree(c *canvas, x, y, s float64) {
	bark := fade(color{88, 68, 52}, color{104, 82, 62}).textured(20, 2.4, 0.5)
	c.poly(bark, x-16*s, y-150*s, x+14*s, y-150*s, x+17*s, y-20*s, x+30*s, y+2, x-32*s, y+2, x-18*s, y-20*s)
	c.poly(bark, x-6*s, y-120*s, x+60*s, y-200*s, x+68*s, y-196*s, x+10*s, y-100*s)
	seed := int(x)
	for i := range 150 {
		// From the back to the front, and from the shadow below to the light above.
		a := float64(lattice(i, 1, seed)) * 2 * math.Pi
		d := math.Sqrt(float64(lattice(i, 2, seed)))
		dx, dy := math.Cos(a)*d*128*s, math.Sin(a)*d*100*s
		r := (13 + 17*float64(lattice(i, 3, seed))) * s
		light := float32(0.5 - dy/(230*s) + 0.3*(float64(i)/150-0.5) - dx/(700*s))
		leaf := color{38, 66, 30}.mix(color{136, 168, 80}, min(max(light, 0), 1))
		dark := leaf.mix(color{30, 52, 26}, 0.45)
		c.ellipse(fade(leaf, dark).textured(24, 2.2, 2.2), x+dx, y-226*s+dy, r*1.15, r)
	}
}

func drawLantern(c *canvas) {
	post := flat(52, 56, 60)
	c.ellipse(flat(30, 30, 30).clear(0.3), 752, 500, 26, 4)
	c.poly(post, 737, 500, 740, 196, 746, 196, 749, 500)
	c.poly(post, 741, 200, 741, 192, 796, 180, 796, 186)
	c.poly(post, 786, 178, 824, 174, 828, 184, 786, 188)
	c.poly(flat(250, 244, 214), 790, 187, 825, 184, 822, 190, 793, 192)
}
