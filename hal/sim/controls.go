package sim

import (
	"fmt"
	"slices"
	"time"

	"iid2secure.nl/camagent/hal"
)

// The image controls, by their place in controlIDs.
const (
	brightness = iota
	contrast
	saturation
	mirror
	flip
	grayscale
	controlCount
)

var controlIDs = [controlCount]string{"brightness", "contrast", "saturation", "mirror", "flip", "grayscale"}

// controls are their values.
type controls [controlCount]int

// middle is the default of those that go to both sides.
const middle = 50

func newControls() controls {
	return controls{brightness: middle, contrast: middle, saturation: middle}
}

// ImageControls implements [hal.ImageTuner].
func (b *Board) ImageControls() []hal.Control {
	b.mu.Lock()
	defer b.mu.Unlock()
	usual := newControls()
	list := make([]hal.Control, controlCount)
	for i, id := range controlIDs {
		most := 1
		if usual[i] == middle {
			most = 2 * middle
		}
		list[i] = hal.Control{ID: id, Range: hal.Range{Min: 0, Max: most}, Default: usual[i], Value: b.controls[i]}
	}
	return list
}

// SetImageControl implements [hal.ImageTuner].
func (b *Board) SetImageControl(id string, value int) (int, error) {
	i := slices.Index(controlIDs[:], id)
	if i < 0 {
		return 0, fmt.Errorf("sim board: image control %q: %w", id, hal.ErrNotFound)
	}
	return value, b.at(func(time.Duration) error {
		b.controls[i] = value
		return nil
	})
}

// SetOverlay implements [hal.Overlayer]; small letters look like capitals.
func (b *Board) SetOverlay(texts []hal.Overlay) error {
	return b.at(func(time.Duration) error {
		b.texts = [len(cornerNames)]string{}
		for _, t := range texts {
			b.texts[slices.Index(cornerNames[:], t.Corner)] = t.Text
		}
		return nil
	})
}
