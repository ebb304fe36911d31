package h264

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"testing"
)

// annexB turns AVC format into a byte stream.
func annexB(dst, avc []byte) []byte {
	for len(avc) > 4 {
		n := binary.BigEndian.Uint32(avc)
		dst = append(append(dst, 0, 0, 0, 1), avc[4:4+n]...)
		avc = avc[4+n:]
	}
	return dst
}

// visible is the cropped picture as ffmpeg writes it.
func visible(dst []byte, p *Picture) []byte {
	for y := range p.H {
		dst = append(dst, p.Y[y*p.Stride():][:p.W]...)
	}
	for _, c := range [][]byte{p.Cb, p.Cr} {
		for y := range p.H / 2 {
			dst = append(dst, c[y*p.Stride()/2:][:p.W/2]...)
		}
	}
	return dst
}

// decode runs ffmpeg, which must have nothing to say.
func decode(t *testing.T, stream []byte) []byte {
	t.Helper()
	if _, err := exec.LookPath("ffmpeg"); err != nil {
		t.Fatal("ffmpeg is missing: install the Debian package ffmpeg")
	}
	c := exec.Command("ffmpeg", "-nostdin", "-v", "warning", "-err_detect", "explode", "-f", "h264", "-i", "-",
		"-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "yuv420p", "-")
	c.Stdin = bytes.NewReader(stream)
	var said bytes.Buffer
	c.Stderr = &said
	out, err := c.Output()
	if err != nil || said.Len() > 0 {
		t.Fatalf("ffmpeg: %v: %s", err, said.String())
	}
	return out
}

// paint changes about a third of the macroblocks: blocks of flat colour, of
// gradients and of full-range noise, so that every path of the coder is walked.
func paint(r *rand.Rand, p *Picture, mask Mask) {
	for i := range mask {
		mask[i] = Same
		if r.IntN(3) > 0 {
			continue
		}
		mask[i] = Change(1 + r.IntN(2))
		amp := []int{0, 2, 12, 255}[r.IntN(4)]
		base, gx, gy := r.IntN(256), r.IntN(17)-8, r.IntN(17)-8
		fill := func(plane []byte, size, stride int) {
			for y := range size {
				for x := range size {
					v := base + x*gx + y*gy + r.IntN(amp+1) - amp/2
					plane[(i/p.MBW*size+y)*stride+i%p.MBW*size+x] = byte(min(max(v, 0), 255))
				}
			}
		}
		fill(p.Y, 16, p.Stride())
		fill(p.Cb, 8, p.Stride()/2)
		fill(p.Cr, 8, p.Stride()/2)
	}
}

func TestM1_DecoderShowsTheReconstructionBitForBit(t *testing.T) {
	t.Parallel()
	for _, size := range [][2]int{{16, 16}, {64, 48}, {90, 70}, {320, 184}} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			t.Parallel()
			w, h := size[0], size[1]
			r := rand.New(rand.NewPCG(1, uint64(w)))
			e, p := NewEncoder(w, h, 25), NewPicture(w, h)
			mask := make(Mask, p.MBW*p.MBH)
			var stream, want []byte
			for i := range 3 * (MaxQP - MinQP + 1) {
				paint(r, p, mask)
				u := e.Encode(p, mask, i%40 == 0, MinQP+i/3)
				if u.Skipped+u.Inter+u.Intra != len(mask) || u.Key != (i%40 == 0) {
					t.Fatalf("frame %d: %+v", i, u)
				}
				stream = annexB(stream, u.Data)
				want = visible(want, e.Recon())
			}
			if got := decode(t, stream); !bytes.Equal(got, want) {
				t.Fatalf("decoded %d bytes differ from the %d of the reconstruction", len(got), len(want))
			}
		})
	}
}

func TestM1_UnmarkedMacroblocksStayAsTheyWere(t *testing.T) {
	t.Parallel()
	e, p := NewEncoder(64, 64, 25), NewPicture(64, 64)
	mask := make(Mask, 16)
	e.Encode(p, mask, true, 30)
	before := bytes.Clone(e.Recon().Y)
	for i := range p.Y {
		p.Y[i] = 200
	}
	u := e.Encode(p, mask, false, 30)
	if u.Skipped != 16 || !bytes.Equal(before, e.Recon().Y) || len(u.Data) > 16 {
		t.Fatalf("%+v", u)
	}
}

func TestM1_EmulationPrevention(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ in, out string }{
		{"", ""}, {"\x00\x00", "\x00\x00"}, {"\x00\x00\x01", "\x00\x00\x03\x01"}, {"\x00\x00\x04", "\x00\x00\x04"},
		{"\x00\x00\x00\x00\x00\x01", "\x00\x00\x03\x00\x00\x03\x00\x01"}, {"a\x00\x00\x03b", "a\x00\x00\x03\x03b"},
		{"\x00\x00\x00\x00\x07\x00\x00\x02", "\x00\x00\x03\x00\x00\x07\x00\x00\x03\x02"},
	} {
		got := appendNAL(nil, 0x41, []byte(c.in))
		if string(got[5:]) != c.out || escapes([]byte(c.in)) != len(c.out)-len(c.in) {
			t.Errorf("%q: %q, %d escapes, want %q", c.in, got[5:], escapes([]byte(c.in)), c.out)
		}
	}
}

func BenchmarkKeyFrame720(b *testing.B)    { benchmark(b, true, 100) }
func BenchmarkGrain200Of3600(b *testing.B) { benchmark(b, false, 200*100/3600) }

func benchmark(b *testing.B, key bool, percent int) {
	b.ReportAllocs()
	r := rand.New(rand.NewPCG(1, 2))
	e, p := NewEncoder(1280, 720, 25), NewPicture(1280, 720)
	q := NewPicture(1280, 720)
	mask := make(Mask, p.MBW*p.MBH)
	for i := range p.Y {
		p.Y[i] = byte(100 + r.IntN(8))
		q.Y[i] = byte(100 + r.IntN(24))
	}
	for i := range mask {
		if r.IntN(100) < percent {
			mask[i] = Grain
		}
	}
	e.Encode(p, mask, true, 26)
	var bits, n int
	for i := 0; b.Loop(); i++ {
		u := e.Encode([]*Picture{p, q}[i&1], mask, key, 26)
		bits += u.Bits
		n += u.Inter + u.Intra
	}
	b.ReportMetric(float64(bits)/float64(n), "bits/mb")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/mb")
}
