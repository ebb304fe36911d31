package sim

import (
	"bytes"
	"testing"
	"time"

	"iid2secure.nl/camagent/hal/sim/internal/h264"
)

// macroblockBytes appends all samples of one macroblock.
func macroblockBytes(dst []byte, p *h264.Picture, i int) []byte {
	x, y, stride := i%p.MBW, i/p.MBW, p.Stride()
	for r := range 16 {
		dst = append(dst, p.Y[(y*16+r)*stride+x*16:][:16]...)
	}
	for r := range 8 {
		dst = append(dst, p.Cb[(y*8+r)*stride/2+x*8:][:8]...)
		dst = append(dst, p.Cr[(y*8+r)*stride/2+x*8:][:8]...)
	}
	return dst
}

// The painter touches only what changes; nothing may stay behind, and nothing
// may change unmarked (the encoder would never show it).
func TestM13_PaintingPiecemealIsPaintingAnew(t *testing.T) {
	t.Parallel()
	back := newBackdrop(640, 360, newNoise())
	b := New(Config{})
	for _, grain := range []int{0, 60} {
		p := newPainter(back, "TITLE", 1)
		before := h264.NewPicture(640, 360)
		for n := range int64(200) {
			m := b.moment(tick(n*6, 25))
			before.Copy(p.pic)
			pic, mask, grained := p.paint(&m, uint32(n), grain)
			if grained > grain {
				t.Fatalf("frame %d: grain on %d macroblocks, want at most %d", n, grained, grain)
			}
			for i, c := range mask {
				if c == h264.Same && n > 0 && !bytes.Equal(macroblockBytes(nil, pic, i), macroblockBytes(nil, before, i)) {
					t.Fatalf("frame %d: macroblock %d changed, unmarked", n, i)
				}
			}
			if grain > 0 || n%20 != 0 {
				continue
			}
			fresh, _, _ := newPainter(back, "TITLE", 2).paint(&m, uint32(n), 0)
			for i := range mask {
				if !bytes.Equal(macroblockBytes(nil, pic, i), macroblockBytes(nil, fresh, i)) {
					t.Fatalf("frame %d: macroblock %d is not as if painted anew", n, i)
				}
			}
		}
	}
}

// Grain changes luma alone, as the encoder takes for granted.
func TestM13_GrainLeavesColourAlone(t *testing.T) {
	t.Parallel()
	back := newBackdrop(320, 180, newNoise())
	p := newPainter(back, "", 1)
	m := moment{wall: time.Unix(0, 0).UTC()}
	p.paint(&m, 1, 0)
	before := h264.NewPicture(320, 180)
	before.Copy(p.pic)
	pic, mask, n := p.paint(&m, 1, 1000)
	if n < len(mask)/2 || bytes.Equal(pic.Y, before.Y) {
		t.Fatalf("grain on %d of %d macroblocks", n, len(mask))
	}
	if !bytes.Equal(pic.Cb, before.Cb) || !bytes.Equal(pic.Cr, before.Cr) {
		t.Fatal("grain changed chroma")
	}
}
