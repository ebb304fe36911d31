package sim

import (
	"bytes"
	"errors"
	"image"
	"image/jpeg"
	"strings"
	"testing"
	"time"

	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/hal/sim/internal/h264"
)

// script is a scenario of lines, each an entry.
func script(t testing.TB, lines ...string) *Scenario {
	t.Helper()
	s, err := ParseScenario("test", []byte("script:\n- "+strings.Join(lines, "\n- ")+"\n"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// painted is what the camera sees at a time, in 640 by 360.
func painted(b *Board, since time.Duration) *h264.Picture {
	m := b.moment(since)
	pic, _, _ := newPainter(b.backdrop(640, 360), b.title, 1).paint(&m, 0, 0)
	return pic
}

// middle is the part of the picture that no overlay reaches.
var middleRect = image.Rect(64, 96, 576, 272)

// mean is the mean of luma in r, and how far it spreads; colour is how far
// chroma is from grey.
func mean(p *h264.Picture, r image.Rectangle) (luma, spread, colour float64) {
	n := float64(r.Dx() * r.Dy())
	for y := r.Min.Y; y < r.Max.Y; y++ {
		for x := r.Min.X; x < r.Max.X; x++ {
			luma += float64(p.Y[y*p.Stride()+x])
			c := y/2*p.Stride()/2 + x/2
			colour += max(float64(p.Cb[c])-128, 128-float64(p.Cb[c])) + max(float64(p.Cr[c])-128, 128-float64(p.Cr[c]))
		}
	}
	luma /= n
	for y := r.Min.Y; y < r.Max.Y; y++ {
		for x := r.Min.X; x < r.Max.X; x++ {
			d := float64(p.Y[y*p.Stride()+x]) - luma
			spread += d * d
		}
	}
	return luma, spread / n, colour / n
}

func TestM1_ImageControlsChangeThePicture(t *testing.T) {
	t.Parallel()
	bubble(t, Config{Scenario: script(t, "traffic: off")}, func(t *testing.T, b *Board) {
		plain := painted(b, 0)
		luma, spread, colour := mean(plain, middleRect)
		with := func(id string, value int) *h264.Picture {
			if got, err := b.SetImageControl(id, value); err != nil || got != value {
				t.Fatalf("%s: %d, %v", id, got, err)
			}
			p := painted(b, 0)
			for _, c := range b.ImageControls() {
				if (c.ID == id) != (c.Value != c.Default) {
					t.Errorf("%s is %d after %s was set", c.ID, c.Value, id)
				}
				if c.ID == id {
					if _, err := b.SetImageControl(id, c.Default); err != nil {
						t.Fatal(err)
					}
				}
			}
			return p
		}
		if l, _, _ := mean(with("brightness", 80), middleRect); l < luma+20 {
			t.Errorf("brighter: %.0f after %.0f", l, luma)
		}
		if l, _, _ := mean(with("brightness", 10), middleRect); l > luma-20 {
			t.Errorf("darker: %.0f after %.0f", l, luma)
		}
		if _, s, _ := mean(with("contrast", 20), middleRect); s > spread/2 {
			t.Errorf("less contrast: %.0f after %.0f", s, spread)
		}
		if _, _, c := mean(with("saturation", 90), middleRect); c < colour*1.4 {
			t.Errorf("more colour: %.1f after %.1f", c, colour)
		}
		if l, _, c := mean(with("grayscale", 1), middleRect); c > 0.1 || l < luma-1 || l > luma+1 {
			t.Errorf("grey: colour %.1f, luma %.0f after %.0f", c, l, luma)
		}
		mirrored, flipped := with("mirror", 1), with("flip", 1)
		for y := middleRect.Min.Y; y < middleRect.Max.Y; y++ {
			for x := middleRect.Min.X; x < middleRect.Max.X; x++ {
				was := plain.Y[y*640+x]
				if mirrored.Y[y*640+639-x] != clip(was) || flipped.Y[(359-y)*640+x] != clip(was) && (359-y) >= 64 && (359-y) < 336 {
					t.Fatalf("%d, %d: mirrored %d, flipped %d, was %d", x, y, mirrored.Y[y*640+639-x], flipped.Y[(359-y)*640+x], was)
				}
			}
		}
		if p := painted(b, 0); !bytes.Equal(p.Y, plain.Y) || !bytes.Equal(p.Cb, plain.Cb) {
			t.Error("with all at their defaults the picture is not what it was")
		}
	})
}

// clip is what the range that is left for grain makes of a value.
func clip(v byte) byte { return min(max(v, stillMin), stillMax) }

// Mirrored, what moves moves the other way.
func TestM1_WhatMovesIsMirroredToo(t *testing.T) {
	t.Parallel()
	bubble(t, Config{Scenario: script(t, "traffic: off", "{at: 1s, walk: left, for: 10s}")}, func(t *testing.T, b *Board) {
		for _, id := range []string{"mirror", "flip"} {
			empty, full := painted(b, 0), painted(b, 3*time.Second)
			place := differ(empty, full)
			if _, err := b.SetImageControl(id, 1); err != nil {
				t.Fatal(err)
			}
			turned := differ(painted(b, 0), painted(b, 3*time.Second))
			if _, err := b.SetImageControl(id, 0); err != nil {
				t.Fatal(err)
			}
			want := image.Rect(640-place.Max.X, place.Min.Y, 640-place.Min.X, place.Max.Y)
			if id == "flip" {
				want = image.Rect(place.Min.X, 360-place.Max.Y, place.Max.X, 360-place.Min.Y)
			}
			if d := turned.Min.Sub(want.Min); place.Empty() || d.X*d.X > 16 || d.Y*d.Y > 16 || turned.Dx() < place.Dx()-4 {
				t.Errorf("%s: seen in %v, then in %v, want %v", id, place, turned, want)
			}
		}
	})
}

// differ is where two pictures differ clearly, but for the overlays.
func differ(a, b *h264.Picture) (r image.Rectangle) {
	for y := 64; y < 336; y++ {
		for x := range 640 {
			if d := int(a.Y[y*640+x]) - int(b.Y[y*640+x]); d*d > 100 {
				r = r.Union(image.Rect(x, y, x+1, y+1))
			}
		}
	}
	return r
}

// The painter touches only what changes, through every lens: as if painted anew.
func TestM13_EveryViewIsPaintedPiecemealAsAnew(t *testing.T) {
	t.Parallel()
	views := map[string]func(b *Board) error{
		"turned": func(b *Board) error { return b.MoveTo(hal.Position{Pan: -0.7, Tilt: 0.4}) },
		"near":   func(b *Board) error { return b.MoveTo(hal.Position{Pan: 0.2, Tilt: -0.5, Zoom: 0.6}) },
		"mirrored and flipped": func(b *Board) error {
			_, err := b.SetImageControl("mirror", 1)
			_, err2 := b.SetImageControl("flip", 1)
			return errors.Join(err, err2)
		},
		"night": func(b *Board) error { return b.SetDayNight(hal.Night) },
		"labelled": func(b *Board) error {
			return b.SetOverlay([]hal.Overlay{{Corner: hal.TopLeft, Text: "ONE"}, {Corner: hal.TopRight, Text: "two"}, {Corner: hal.BottomLeft, Text: strings.Repeat("x", 64)}, {Corner: hal.BottomRight, Text: "four"}})
		},
	}
	for name, set := range views {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			busy := script(t, "{walk: left, every: 5s, for: 4s}", "{at: 1s, walk: right, every: 7s, for: 6s}", "{car: left, every: 3s, for: 2s}", "{at: 6s, noise: 10, for: 1s}")
			bubble(t, Config{Title: "VIEW", Scenario: busy}, func(t *testing.T, b *Board) {
				if err := set(b); err != nil {
					t.Fatal(err)
				}
				p := newPainter(b.backdrop(640, 360), "VIEW", 1)
				before := h264.NewPicture(640, 360)
				for n := range int64(75) {
					m := b.moment(5*time.Second + tick(n*4, 25))
					m.noise = 0
					before.Copy(p.pic)
					pic, mask, _ := p.paint(&m, uint32(n), 0)
					fresh, _, _ := newPainter(p.back, "VIEW", 2).paint(&m, uint32(n), 0)
					for i, c := range mask {
						is := macroblockBytes(nil, pic, i)
						if c == h264.Same && n > 0 && !bytes.Equal(is, macroblockBytes(nil, before, i)) {
							t.Fatalf("frame %d: macroblock %d changed, unmarked", n, i)
						}
						if !bytes.Equal(is, macroblockBytes(nil, fresh, i)) {
							t.Fatalf("frame %d: macroblock %d is not as if painted anew", n, i)
						}
					}
				}
			})
		})
	}
}

// Whatever the owner does to the picture, a decoder follows, and the strip is
// readable.
func TestM1_ChangingThePictureKeepsTheStreamDecodable(t *testing.T) {
	t.Parallel()
	var shots []shot
	var cfg hal.VideoConfig
	busy := script(t, "{at: 1s, light: 30, over: 1s}", "{at: 2s, noise: 40, for: 1s}", "{at: 3s, cover: , for: 500ms}", "{at: 4s, light: 800}", "{walk: right, for: 6s}")
	bubble(t, Config{Scenario: busy}, func(t *testing.T, b *Board) {
		v := open(t, b, "sub", hal.VideoConfig{})
		shots = take(t, v, 180, func(i int) {
			var err error
			switch i {
			case 10:
				err = b.SetOverlay([]hal.Overlay{{Corner: hal.BottomRight, Text: "~{|}%@ Hello"}})
			case 20:
				_, err = b.SetImageControl("mirror", 1)
			case 30:
				err = b.Drive(hal.Position{Pan: 1, Tilt: -0.5, Zoom: 1}, 2*time.Second)
			case 90:
				err = b.SetDayNight(hal.Night)
			case 120:
				err = errors.Join(b.MoveTo(hal.Position{}), b.SetDayNight(hal.Day), b.SetOverlay(nil))
			}
			if err != nil {
				t.Fatal(err)
			}
		})
		cfg = v.Config()
		if rate := bitsOf(shots[100:]) * 25 / 80; rate > cfg.Bitrate*3 {
			t.Errorf("%d bit/s", rate)
		}
	})
	checkDecoded(t, shots, cfg)
}

func TestM1_OverlayTextStandsInItsCorner(t *testing.T) {
	t.Parallel()
	for _, size := range [][2]int{{320, 180}, {640, 360}, {1280, 720}, {1920, 1080}} {
		w, h := size[0], size[1]
		taken := []image.Rectangle{overlayRect(w, h), LampRect(w, h), image.Rect(0, stripCell(0, w, h).Min.Y, w, h)}
		for corner := range cornerNames {
			r, d := textRect(corner, hal.MaxOverlay, w, h)
			if !r.In(image.Rect(0, 0, w, h)) || d < 1 || w >= 640 && (hal.MaxOverlay*cellW+4)*d > r.Dx() {
				t.Errorf("%d by %d, corner %d: %v, dots of %d", w, h, corner, r, d)
			}
			for _, o := range taken {
				if r.Overlaps(o) {
					t.Errorf("%d by %d, corner %d: %v covers %v", w, h, corner, r, o)
				}
			}
			taken = append(taken, r)
		}
	}
	bubble(t, Config{}, func(t *testing.T, b *Board) {
		plain := painted(b, 0)
		for i, corner := range cornerNames {
			if err := b.SetOverlay([]hal.Overlay{{Corner: corner, Text: "HELLO 123"}}); err != nil {
				t.Fatal(err)
			}
			r, _ := textRect(i, 9, 640, 360)
			p := painted(b, 0)
			lit := 0
			for y := range 336 {
				for x := range 640 {
					at := image.Pt(x, y)
					if p.Y[y*640+x] != plain.Y[y*640+x] && !at.In(r) {
						t.Fatalf("%s: changes %v, outside of %v", corner, at, r)
					}
					if at.In(r) && p.Y[y*640+x] == 226 {
						lit++
					}
				}
			}
			if lit < 9*8 {
				t.Errorf("%s: %d points are lit", corner, lit)
			}
		}
		if err := b.SetOverlay(nil); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(painted(b, 0).Y, plain.Y) {
			t.Error("the text stays")
		}
	})
}

// No view leads outside of a picture, however odd its size.
func TestM1_EveryViewFitsEverySize(t *testing.T) {
	t.Parallel()
	for _, size := range [][2]int{{320, 180}, {332, 200}, {1086, 540}, {320, 1088}, {1920, 180}} {
		bubble(t, Config{Scenario: script(t, "{walk: left, for: 4s}", "{car: right, for: 4s}")}, func(t *testing.T, b *Board) {
			var texts []hal.Overlay
			for _, c := range cornerNames {
				texts = append(texts, hal.Overlay{Corner: c, Text: strings.Repeat("W", hal.MaxOverlay)})
			}
			if err := b.SetOverlay(texts); err != nil {
				t.Fatal(err)
			}
			p := newPainter(b.backdrop(size[0], size[1]), b.title, 1)
			for i, at := range []hal.Position{{}, {Pan: 1, Tilt: 1}, {Pan: -1, Tilt: -1, Zoom: 1}, {Pan: 1, Tilt: -1, Zoom: 0.3}} {
				b.head = head{to: at}
				b.controls[mirror], b.controls[flip] = i&1, i>>1
				for n := range int64(40) {
					m := b.moment(1 + tick(n, 10))
					p.paint(&m, uint32(n), 50)
					if got, ok := ReadStrip(p.pic.Y, p.pic.Stride(), size[0], size[1]); !ok || got != uint32(n) {
						t.Fatalf("%v, %+v: the strip reads %d, %v", size, at, got, ok)
					}
				}
			}
		})
	}
}

func TestM1_EveryPrintableCharacterHasItsGlyph(t *testing.T) {
	t.Parallel()
	glyphs := map[string]byte{}
	for c := byte('!'); c <= '~'; c++ {
		p := h264.NewPicture(16, 16)
		write(p, c, 0, 0, 1)
		if other, taken := glyphs[string(p.Y)]; taken && c&^32 != other {
			t.Errorf("%q looks like %q", c, other)
		}
		if bytes.IndexByte(p.Y, 226) < 0 {
			t.Errorf("%q can't be seen", c)
		}
		glyphs[string(p.Y)] = c
	}
}

// The picture of the snapshot goes through the same lens.
func TestM5_SnapshotShowsWhatTheStreamShows(t *testing.T) {
	t.Parallel()
	bubble(t, Config{Scenario: script(t, "light: 0")}, func(t *testing.T, b *Board) {
		if err := b.SetDayNight(hal.Day); err != nil {
			t.Fatal(err)
		}
		jpg, err := b.Snapshot(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		img, err := jpeg.Decode(bytes.NewReader(jpg))
		if err != nil {
			t.Fatal(err)
		}
		if r, g, b, _ := img.At(640, 300).RGBA(); r>>8 > 40 || g>>8 > 40 || b>>8 > 40 {
			t.Errorf("a moonless night is %d %d %d", r>>8, g>>8, b>>8)
		}
	})
}
