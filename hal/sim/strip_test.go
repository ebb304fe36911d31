package sim

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"iid2secure.nl/camagent/hal/sim/internal/h264"
)

// stripPicture is a picture with nothing but a strip.
func stripPicture(w, h int, bits uint64) *h264.Picture {
	p := &painter{pic: h264.NewPicture(w, h)}
	p.mask = make(h264.Mask, p.pic.MBW*p.pic.MBH)
	p.setStrip(bits)
	return p.pic
}

func TestM13_StripReadsBackInEverySize(t *testing.T) {
	t.Parallel()
	for _, size := range [][2]int{{320, 180}, {640, 360}, {854, 480}, {1280, 720}, {1920, 1080}} {
		for _, n := range []uint32{0, 1, 2, 255, 256, 0x7fffffff, 0x80000000, 0xaaaaaaaa, 0x55555555, 0xffffffff} {
			p := stripPicture(size[0], size[1], stripBits(n))
			if got, ok := ReadStrip(p.Y, p.Stride(), size[0], size[1]); !ok || got != n {
				t.Errorf("%v: %d reads as %d, %v", size, n, got, ok)
			}
		}
	}
}

func TestM13_NeighbouringNumbersDifferInOneDataCellAndInTheCheck(t *testing.T) {
	t.Parallel()
	for n := range uint32(5000) {
		d := stripBits(n) ^ stripBits(n+1)
		if data := d >> 8; data == 0 || data&(data-1) != 0 || d&255 == 0 {
			t.Fatalf("%d: %010x", n, d)
		}
	}
}

// A picture that mixes two frames, or hides a cell, must not pass as a number.
func TestM13_DamagedStripIsNotANumber(t *testing.T) {
	t.Parallel()
	const w, h = 640, 360
	good := stripBits(123456)
	for i := range stripCells {
		p := stripPicture(w, h, good^1<<i)
		if n, ok := ReadStrip(p.Y, p.Stride(), w, h); ok {
			t.Errorf("cell %d wrong: reads %d", i, n)
		}
		p = stripPicture(w, h, good)
		fill(p, stripCell(i, w, h), 126)
		if n, ok := ReadStrip(p.Y, p.Stride(), w, h); ok {
			t.Errorf("cell %d grey: reads %d", i, n)
		}
		p = stripPicture(w, h, good)
		r := inner(stripCell(i, w, h))
		p.Y[r.Min.Y*p.Stride()+r.Min.X] ^= 0xff
		if n, ok := ReadStrip(p.Y, p.Stride(), w, h); ok {
			t.Errorf("cell %d spotted: reads %d", i, n)
		}
	}
	for cut := 1; cut < stripData; cut++ {
		low := uint64(1)<<(8+cut) - 1
		mixed := stripBits(1000)&^low | stripBits(1001)&low
		if mixed == stripBits(1000) || mixed == stripBits(1001) {
			continue
		}
		p := stripPicture(w, h, mixed)
		if n, ok := ReadStrip(p.Y, p.Stride(), w, h); ok {
			t.Errorf("mixed at %d: reads %d", cut, n)
		}
	}
}

func TestM13_NoStripIsNotANumber(t *testing.T) {
	t.Parallel()
	y := make([]byte, 640*360)
	for _, v := range []byte{0, 16, 126, 235, 255} {
		for i := range y {
			y[i] = v
		}
		if n, ok := ReadStrip(y, 640, 640, 360); ok {
			t.Errorf("all %d: reads %d", v, n)
		}
	}
	r := rand.New(rand.NewPCG(1, 1))
	for range 50 {
		for i := range y {
			y[i] = byte(r.Uint32())
		}
		if n, ok := ReadStrip(y, 640, 640, 360); ok {
			t.Errorf("noise: reads %d", n)
		}
	}
	for _, c := range [][4]int{{0, 0, 0, 0}, {100, 640, 640, 360}, {len(y), 639, 640, 360}, {len(y), 640, 640, 361}, {len(y), -640, 640, -360}, {len(y), math.MaxInt, 640, math.MaxInt}} {
		if _, ok := ReadStrip(y[:c[0]], c[1], c[2], c[3]); ok {
			t.Errorf("%v: read", c)
		}
		if _, ok := ReadLamp(y[:c[0]], c[1], c[2], c[3]); ok {
			t.Errorf("%v: lamp read", c)
		}
	}
}

// The strip survives the coarsest quantisation that there is.
func TestM13_StripSurvivesTheWorstQuality(t *testing.T) {
	t.Parallel()
	for _, size := range [][2]int{{640, 360}, {1280, 720}} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			t.Parallel()
			w, h := size[0], size[1]
			p := newPainter(newBackdrop(w, h, newNoise()), "", 1)
			e := h264.NewEncoder(w, h, 25)
			for n := range uint32(120) {
				number := n*0x01000193 + n // jumps, so that many cells change at once
				pic, mask, _ := p.paint(&moment{since: tick(int64(n), 25)}, number, 0)
				e.Encode(pic, mask, n%50 == 0, h264.MaxQP)
				got, ok := ReadStrip(e.Recon().Y, e.Recon().Stride(), w, h)
				if !ok || got != number {
					t.Fatalf("frame %d: reads %d, %v, want %d", n, got, ok, number)
				}
			}
		})
	}
}

func FuzzReadStrip(f *testing.F) {
	p := stripPicture(320, 180, stripBits(7))
	f.Add(p.Y, p.Stride(), 320, 180)
	f.Add([]byte{}, 0, 0, 0)
	f.Add(make([]byte, 1<<14), 160, 160, 48)
	f.Fuzz(func(t *testing.T, y []byte, stride, w, h int) {
		if n, ok := ReadStrip(y, stride, w, h); ok {
			q := stripPicture(w, h, stripBits(n))
			if m, ok := ReadStrip(q.Y, q.Stride(), w, h); !ok || m != n {
				t.Fatalf("%d reads back as %d", n, m)
			}
		}
		ReadLamp(y, stride, w, h)
	})
}
