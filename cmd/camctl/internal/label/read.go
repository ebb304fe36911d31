package label

import (
	"errors"
	"fmt"
	"image"
	"image/color"
	_ "image/jpeg" // the formats of cameras and screenshots
	_ "image/png"
	"io"

	"github.com/makiuchi-d/gozxing"
	"github.com/makiuchi-d/gozxing/qrcode"

	"iid2secure.nl/camagent/cloud"
)

// Limits of a picture. A photograph of a telephone has 12 to 50 megapixels.
const (
	maxFile   = 64 << 20
	maxPixels = 64_000_000
	// smallSide is what a large picture is first tried at: noise and the moiré of
	// a screen vanish, a label that fills a good part of the picture does not.
	smallSide = 1024
)

// ErrNoQR is a picture in which no QR code was found.
var ErrNoQR = errors.New("no QR code can be read in it: is it sharp, whole, and not too small?")

// Read finds the text of the QR code in a PNG or JPEG picture. Any bytes are
// allowed; no error repeats what the code says.
func Read(r io.ReadSeeker) (cloud.Secret, error) {
	cfg, _, err := image.DecodeConfig(io.LimitReader(r, maxFile))
	if err != nil {
		return cloud.Secret{}, errors.New("not a PNG or JPEG picture")
	}
	if cfg.Width <= 0 || cfg.Height <= 0 || cfg.Width > maxPixels/cfg.Height {
		return cloud.Secret{}, fmt.Errorf("%d×%d pixels, at most %d million", cfg.Width, cfg.Height, maxPixels/1_000_000)
	}
	if _, err := r.Seek(0, io.SeekStart); err != nil {
		return cloud.Secret{}, err
	}
	img, _, err := image.Decode(io.LimitReader(r, maxFile))
	if err != nil {
		return cloud.Secret{}, errors.New("the picture is damaged")
	}
	return find(img)
}

func find(img image.Image) (cloud.Secret, error) {
	tries := []image.Image{img}
	if side := max(img.Bounds().Dx(), img.Bounds().Dy()); side > smallSide {
		tries = []image.Image{shrunk{img, (side + smallSide - 1) / smallSide}, img}
	}
	for _, img := range tries {
		source := gozxing.NewLuminanceSourceFromImage(img)
		for _, b := range []gozxing.Binarizer{
			gozxing.NewHybridBinarizer(source), gozxing.NewGlobalHistgramBinarizer(source),
			gozxing.NewHybridBinarizer(gozxing.NewInvertedLuminanceSource(source)),
		} {
			if text, err := decode(b); err == nil {
				return text, nil
			}
		}
	}
	return cloud.Secret{}, ErrNoQR
}

// decode survives a decoder that was not written for hostile pictures.
func decode(b gozxing.Binarizer) (text cloud.Secret, err error) {
	defer func() {
		if recover() != nil {
			err = ErrNoQR
		}
	}()
	bitmap, err := gozxing.NewBinaryBitmap(b)
	if err != nil {
		return text, err
	}
	result, err := qrcode.NewQRCodeReader().Decode(bitmap, map[gozxing.DecodeHintType]interface{}{
		gozxing.DecodeHintType_TRY_HARDER: true,
	})
	if err != nil {
		return text, err
	}
	return cloud.NewSecret(result.GetText()), nil
}

// shrunk shows every by-th pixel of an image.
type shrunk struct {
	image.Image
	by int
}

func (s shrunk) Bounds() image.Rectangle {
	b := s.Image.Bounds()
	return image.Rect(0, 0, b.Dx()/s.by, b.Dy()/s.by)
}

func (s shrunk) At(x, y int) color.Color {
	b := s.Image.Bounds()
	return s.Image.At(b.Min.X+x*s.by, b.Min.Y+y*s.by)
}
