package v4l2

import (
	"bytes"
	"image"
	"image/jpeg"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// motionJPEG makes a picture as cameras write it: without Huffman tables, and
// with some bytes behind its end.
func motionJPEG(t *testing.T, w, h int, shade byte) []byte {
	t.Helper()
	img := image.NewYCbCr(image.Rect(0, 0, w, h), image.YCbCrSubsampleRatio422)
	for i := range img.Y {
		img.Y[i] = shade
	}
	for i := range img.Cb {
		img.Cb[i], img.Cr[i] = 128, 128
	}
	var b bytes.Buffer
	if err := jpeg.Encode(&b, img, nil); err != nil {
		t.Fatal(err)
	}
	from, to, ok := segment(b.Bytes(), markerDHT)
	if !ok {
		t.Fatal("the encoder writes no tables")
	}
	return append(append(bytes.Clone(b.Bytes()[:from]), b.Bytes()[to:]...), 0, 0, 0)
}
