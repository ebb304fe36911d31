package v4l2

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"image"
	"image/jpeg"

	"iid2secure.nl/camagent/hal"
)

// JPEG markers.
const (
	markerDHT = 0xc4
	markerSOI = 0xd8
	markerEOI = 0xd9
	markerSOS = 0xda
)

// completeJPEG makes a JPEG file of a picture of Motion JPEG: cameras leave the
// Huffman tables out, as they are always the same, and write behind its end.
func completeJPEG(b []byte) ([]byte, error) {
	end := bytes.LastIndex(b, []byte{0xff, markerEOI})
	if len(b) < 4 || b[0] != 0xff || b[1] != markerSOI || end < 0 {
		return nil, fmt.Errorf("%w: %d bytes that are no JPEG picture", hal.ErrGarbage, len(b))
	}
	b = b[:end+2]
	if _, _, has := segment(b, markerDHT); has {
		return b, nil
	}
	at, _, ok := segment(b, markerSOS)
	if !ok {
		return nil, fmt.Errorf("%w: a JPEG picture without data", hal.ErrGarbage)
	}
	tables, err := standardTables()
	if err != nil {
		return nil, err
	}
	return bytes.Join([][]byte{b[:at], tables, b[at:]}, nil), nil
}

// segment finds a marker segment before the picture's data.
func segment(b []byte, marker byte) (from, to int, ok bool) {
	for at := 2; at+4 <= len(b) && b[at] == 0xff; {
		n := 2 + int(binary.BigEndian.Uint16(b[at+2:]))
		if b[at+1] == marker {
			return at, min(at+n, len(b)), true
		}
		if b[at+1] == markerSOS {
			break
		}
		at += n
	}
	return 0, 0, false
}

// standardTables returns the Huffman tables of ITU-T T.81, annex K.3, as a
// segment: Go's encoder writes them into every picture in colour.
func standardTables() ([]byte, error) {
	var b bytes.Buffer
	if err := jpeg.Encode(&b, image.NewYCbCr(image.Rect(0, 0, 8, 8), image.YCbCrSubsampleRatio420), nil); err != nil {
		return nil, err
	}
	from, to, ok := segment(b.Bytes(), markerDHT)
	if !ok {
		return nil, fmt.Errorf("no Huffman tables in an encoded picture")
	}
	return b.Bytes()[from:to], nil
}

// fromJPEG decodes a picture; one without colour is given some.
func fromJPEG(b []byte) (*image.YCbCr, error) {
	img, err := jpeg.Decode(bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("%w: a JPEG picture: %w", hal.ErrGarbage, err)
	}
	switch p := img.(type) {
	case *image.YCbCr:
		return p, nil
	case *image.Gray:
		return fromGray(p), nil
	}
	return nil, fmt.Errorf("%w: a JPEG picture of model %T", hal.ErrGarbage, img)
}

func fromGray(p *image.Gray) *image.YCbCr {
	out := image.NewYCbCr(image.Rect(0, 0, p.Rect.Dx(), p.Rect.Dy()), image.YCbCrSubsampleRatio420)
	for y := range p.Rect.Dy() {
		copy(out.Y[y*out.YStride:], p.Pix[y*p.Stride:][:p.Rect.Dx()])
	}
	for i := range out.Cb {
		out.Cb[i], out.Cr[i] = 128, 128
	}
	return out
}

// fromYUYV makes a picture of two pixels in four bytes (Y, Cb, Y, Cr).
func fromYUYV(b []byte, pix pixFormat) (*image.YCbCr, error) {
	w, h, line := int(pix.Width), int(pix.Height), int(pix.BytesPerLine)
	if line < 2*w {
		line = 2 * w
	}
	if w <= 0 || h <= 0 || w%2 != 0 || len(b) < line*(h-1)+2*w {
		return nil, fmt.Errorf("%w: %d bytes for a picture of %dx%d", hal.ErrGarbage, len(b), w, h)
	}
	luma, chroma := identityTable(), identityTable()
	if pix.Quantization != quantizationFull && pix.Colorspace != colorspaceJPEG {
		luma, chroma = stretch(16, 219), stretch(128, 224)
	}
	out := image.NewYCbCr(image.Rect(0, 0, w, h), image.YCbCrSubsampleRatio422)
	for y := range h {
		row := b[y*line:][:2*w]
		ys, cb, cr := out.Y[y*out.YStride:], out.Cb[y*out.CStride:], out.Cr[y*out.CStride:]
		for i := range w / 2 {
			ys[2*i], cb[i], ys[2*i+1], cr[i] = luma[row[4*i]], chroma[row[4*i+1]], luma[row[4*i+2]], chroma[row[4*i+3]]
		}
	}
	return out, nil
}

func identityTable() (t [256]byte) {
	for i := range t {
		t[i] = byte(i)
	}
	return t
}

// stretch makes full range of limited range: BT.601's 16 to 235 of luma, and 16
// to 240 around 128 of chroma.
func stretch(zero, width int) (t [256]byte) {
	add := 0
	if zero == 128 {
		add = 128
	}
	for i := range t {
		t[i] = byte(min(max((2*(i-zero)*255+width)/(2*width)+add, 0), 255))
	}
	return t
}
