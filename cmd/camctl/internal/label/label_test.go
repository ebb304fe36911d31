package label_test

import (
	"bytes"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/identity"

	"iid2secure.nl/camagent/cmd/camctl/internal/label"
)

func newLabel(t testing.TB) (id *identity.Identity, picture []byte) {
	t.Helper()
	id, err := identity.NewSelfMade()
	require.NoError(t, err)
	picture, err = label.PNG(id)
	require.NoError(t, err)
	return id, picture
}

func read(t *testing.T, picture []byte) string {
	t.Helper()
	text, err := label.Read(bytes.NewReader(picture))
	require.NoError(t, err)
	return text.Reveal()
}

// zbar is a reader that shares nothing with ours.
func zbar(t *testing.T, picture []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "label.png")
	require.NoError(t, os.WriteFile(path, picture, 0o600))
	out, err := exec.Command("zbarimg", "-q", "--raw", path).Output()
	require.NoError(t, err, "zbarimg (Debian package zbar-tools)")
	return strings.TrimSpace(string(out))
}

func TestM7_LabelIsReadByTwoReaders(t *testing.T) {
	t.Parallel()
	id, picture := newLabel(t)
	want := identity.QRText(id).Reveal()
	require.Equal(t, want, read(t, picture))
	require.Equal(t, want, zbar(t, picture))
	qr, err := identity.ParseQR(read(t, picture))
	require.NoError(t, err)
	require.Equal(t, id.Serial.Plain(), qr.Serial.Plain())
	require.Equal(t, id.Code.Reveal(), qr.Code.Reveal())
}

// A photograph: turned, on a dark table, noisy, JPEG, larger than life.
func TestM7_LabelInAPhotograph(t *testing.T) {
	t.Parallel()
	id, picture := newLabel(t)
	src, err := png.Decode(bytes.NewReader(picture))
	require.NoError(t, err)
	for name, draw := range map[string]func(image.Image, int, int) color.Color{
		"as it is": func(m image.Image, x, y int) color.Color { return at(m, x, y) },
		"turned":   func(m image.Image, x, y int) color.Color { return at(m, (x*98-y*17)/100-60, (x*17+y*98)/100-120) },
		"upside":   func(m image.Image, x, y int) color.Color { return at(m, m.Bounds().Dx()-x, m.Bounds().Dy()-y) },
		"inverted": func(m image.Image, x, y int) color.Color { return color.Gray{Y: 255 - at(m, x, y).Y} },
		"large":    func(m image.Image, x, y int) color.Color { return at(m, x/3, y/3) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			side := 520
			if name == "large" {
				side = 1500
			}
			photo := image.NewGray(image.Rect(0, 0, side, side))
			for y := range side {
				for x := range side {
					photo.Set(x, y, draw(src, x-50, y-50))
				}
			}
			var b bytes.Buffer
			require.NoError(t, jpeg.Encode(&b, photo, &jpeg.Options{Quality: 70}))
			require.Equal(t, identity.QRText(id).Reveal(), read(t, b.Bytes()))
		})
	}
}

// at is a grey pixel; the table around the label is dark grey.
func at(m image.Image, x, y int) color.Gray {
	if !(image.Point{X: x, Y: y}).In(m.Bounds()) {
		return color.Gray{Y: 70}
	}
	g, _ := color.GrayModel.Convert(m.At(x, y)).(color.Gray)
	return color.Gray{Y: g.Y/4*3 + 30}
}

func TestSVG_HoldsTheSameModules(t *testing.T) {
	t.Parallel()
	id, _ := newLabel(t)
	svg, err := label.SVG(id)
	require.NoError(t, err)
	require.Contains(t, string(svg), id.Serial.Plain())
	code := id.Code.Reveal()
	require.Contains(t, string(svg), code[:4]+"-"+code[4:8]+"-"+code[8:12]+"-"+code[12:])
	require.Equal(t, identity.QRText(id).Reveal(), zbar(t, raster(t, string(svg))))
}

// raster draws the one path of our SVG, 6 pixels a unit.
func raster(t *testing.T, svg string) []byte {
	t.Helper()
	_, rest, ok := strings.Cut(svg, `<path d="`)
	require.True(t, ok)
	path, _, _ := strings.Cut(rest, `"`)
	img := image.NewGray(image.Rect(0, 0, 500, 500))
	for i := range img.Pix {
		img.Pix[i] = 255
	}
	for _, m := range strings.Split(path, "M")[1:] {
		var x, y int
		require.NoError(t, scan(m, &x, &y))
		for i := range 36 {
			img.SetGray(x*6+i%6, y*6+i/6, color.Gray{})
		}
	}
	var b bytes.Buffer
	require.NoError(t, png.Encode(&b, img))
	return b.Bytes()
}

func TestRead_WhatIsNoLabel(t *testing.T) {
	t.Parallel()
	_, picture := newLabel(t)
	var blank bytes.Buffer
	require.NoError(t, png.Encode(&blank, image.NewGray(image.Rect(0, 0, 200, 200))))
	for name, tt := range map[string]struct {
		bytes []byte
		want  string
	}{
		"empty": {nil, "not a PNG or JPEG"},
		"text":  {[]byte("hello"), "not a PNG or JPEG"},
		"cut":   {picture[:len(picture)/2], "damaged"},
		"blank": {blank.Bytes(), "no QR code"},
		"bomb":  {bomb(t), "at most 64 million"},
	} {
		_, err := label.Read(bytes.NewReader(tt.bytes))
		require.ErrorContains(t, err, tt.want, name)
	}
}

// bomb is a small PNG that claims to be 60,000 pixels square.
func bomb(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, png.Encode(&b, image.NewGray(image.Rect(0, 0, 4, 4))))
	return patchSize(b.Bytes(), 60_000)
}

// small is a label at 2 pixels a module, so that a fuzzer gets on.
func small(tb testing.TB) image.Image {
	tb.Helper()
	_, picture := newLabel(tb)
	src, err := png.Decode(bytes.NewReader(picture))
	require.NoError(tb, err)
	img := image.NewGray(image.Rect(0, 0, src.Bounds().Dx()/4, src.Bounds().Dx()/4))
	for y := range img.Rect.Max.Y {
		for x := range img.Rect.Max.X {
			img.Set(x, y, src.At(x*4, y*4))
		}
	}
	return img
}

func FuzzS5_Picture(f *testing.F) {
	var p, j bytes.Buffer
	require.NoError(f, png.Encode(&p, small(f)))
	require.NoError(f, jpeg.Encode(&j, small(f), nil))
	f.Add(p.Bytes())
	f.Add(j.Bytes())
	f.Add([]byte("\x89PNG\r\n\x1a\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if cfg, _, err := image.DecodeConfig(bytes.NewReader(b)); err == nil && cfg.Width*cfg.Height > 1<<15 {
			return // allowed, but too slow for a fuzzer
		}
		text, err := label.Read(bytes.NewReader(b))
		if err == nil {
			_, _ = identity.ParseQR(text.Reveal())
		} else if text != (cloud.Secret{}) {
			t.Error("text and an error")
		}
	})
}
