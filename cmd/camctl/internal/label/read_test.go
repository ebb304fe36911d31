package label

import (
	"image"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestShrunk_ShowsEveryNthPixel(t *testing.T) {
	t.Parallel()
	img := image.NewGray(image.Rect(10, 20, 40, 80))
	for i := range img.Pix {
		img.Pix[i] = byte(i)
	}
	s := shrunk{img, 3}
	require.Equal(t, image.Rect(0, 0, 10, 20), s.Bounds())
	require.Equal(t, img.At(10, 20), s.At(0, 0))
	require.Equal(t, img.At(10+3*9, 20+3*19), s.At(9, 19))
}
