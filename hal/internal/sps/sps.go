// Package sps reads what boards want to know of a sequence parameter set.
package sps

import (
	"math"

	"github.com/bluenviron/mediacommon/v2/pkg/codecs/h264"
)

// What an SPS is believed.
const (
	maxSide = 16384 // pixels
	maxFPS  = 240
)

// Read returns the size of the pictures and their rate, rounded; 0 is what the
// SPS does not tell, or what makes no sense.
func Read(nal []byte) (width, height, fps int) {
	var p h264.SPS
	if p.Unmarshal(nal) != nil {
		return 0, 0, 0
	}
	if w, h := p.Width(), p.Height(); w > 0 && w <= maxSide && h > 0 && h <= maxSide {
		width, height = w, h
	}
	if r := math.Round(p.FPS()); r >= 1 && r <= maxFPS {
		fps = int(r)
	}
	return width, height, fps
}
