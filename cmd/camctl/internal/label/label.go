// Package label makes the label that the factory sticks on a camera (QR code,
// serial, verification code), and reads the QR code in a picture of one. What
// stands on a label is a secret: it goes to the file that was asked for, and
// into no error.
package label

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"strings"

	"github.com/skip2/go-qrcode"

	"iid2secure.nl/camagent/cloud/identity"
)

const (
	module = 8 // pixels of a QR module
	dot    = 3 // pixels of a glyph's dot
	line   = (glyphHeight + 5) * dot
)

// label is what is drawn: the QR's modules with their quiet zone, and two lines.
type label struct {
	modules [][]bool
	lines   [2]string
}

func newLabel(id *identity.Identity) (label, error) {
	// The label exists to show both: this is what they were made for.
	qr, err := qrcode.New(identity.QRText(id).Reveal(), qrcode.Medium)
	if err != nil {
		return label{}, fmt.Errorf("label: %w", err)
	}
	return label{qr.Bitmap(), [2]string{id.Serial.Plain(), grouped(id.Code.Reveal())}}, nil
}

// grouped writes a code as 4-4-4-4.
func grouped(code string) string {
	var parts []string
	for len(code) > 4 {
		parts, code = append(parts, code[:4]), code[4:]
	}
	return strings.Join(append(parts, code), "-")
}

func (l label) side() int { return len(l.modules) * module }

// PNG makes the label as a picture, black on white.
func PNG(id *identity.Identity) ([]byte, error) {
	l, err := newLabel(id)
	if err != nil {
		return nil, err
	}
	img := image.NewGray(image.Rect(0, 0, l.side(), l.side()+len(l.lines)*line+line/2))
	for i := range img.Pix {
		img.Pix[i] = 0xff
	}
	for y, row := range l.modules {
		for x, dark := range row {
			if dark {
				fill(img, x*module, y*module, module)
			}
		}
	}
	for i, text := range l.lines {
		write(img, l.side()+i*line, text)
	}
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		return nil, fmt.Errorf("label: %w", err)
	}
	return b.Bytes(), nil
}

// write draws a line of text, centred, its top at y.
func write(img *image.Gray, y int, text string) {
	const advance = (glyphWidth + 1) * dot
	x := (img.Bounds().Dx() - len(text)*advance) / 2
	for _, r := range text {
		for row, bits := range glyphs[r] {
			for col := range glyphWidth {
				if bits>>(glyphWidth-1-col)&1 == 1 {
					fill(img, x+col*dot, y+row*dot, dot)
				}
			}
		}
		x += advance
	}
}

func fill(img *image.Gray, x0, y0, size int) {
	for y := y0; y < y0+size; y++ {
		for x := x0; x < x0+size; x++ {
			img.SetGray(x, y, color.Gray{})
		}
	}
}

// SVG makes the label as a drawing, a unit a module.
func SVG(id *identity.Identity) ([]byte, error) {
	l, err := newLabel(id)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	n := len(l.modules)
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d">`+"\n", n, n+9)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="#fff"/>`+"\n"+`<path d="`, n, n+9)
	for y, row := range l.modules {
		for x, dark := range row {
			if dark {
				fmt.Fprintf(&b, "M%d %dh1v1h-1z", x, y)
			}
		}
	}
	fmt.Fprint(&b, `"/>`+"\n")
	for i, text := range l.lines {
		fmt.Fprintf(&b, `<text x="%g" y="%d" font-family="monospace" font-size="3.4" text-anchor="middle">%s</text>`+"\n",
			float64(n)/2, n+2+4*i, text)
	}
	fmt.Fprint(&b, "</svg>\n")
	return b.Bytes(), nil
}
