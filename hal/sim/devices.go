package sim

import (
	"bytes"
	"context"
	"embed"
	"fmt"
	"image"
	"image/draw"
	"image/png"
	"io/fs"
	"math"
	"os"
	"time"

	"iid2secure.nl/camagent/hal"
)

var ledNames = []string{"status", "link"}

// LEDs implements [hal.LEDs].
func (b *Board) LEDs() []string { return append([]string(nil), ledNames...) }

// SetLED implements [hal.LEDs].
func (b *Board) SetLED(name string, p hal.Pattern) error {
	return b.at(func(time.Duration) error {
		b.leds[name] = p
		return nil
	})
}

// SetSiren implements [hal.Siren]; the microphone hears it.
func (b *Board) SetSiren(on bool) error {
	return b.at(func(time.Duration) error {
		b.siren = on
		return nil
	})
}

// Siren implements [hal.Siren].
func (b *Board) Siren() (on bool, err error) {
	err = b.at(func(time.Duration) error {
		on = b.siren
		return nil
	})
	return on, err
}

// displaySide is the width and height of the display in pixels.
const displaySide = 320

// Show implements [hal.Display]: 320 by 320 pixels in black and white. What is
// larger is refused.
func (b *Board) Show(picture image.Image) error {
	var shown *image.Gray
	if picture != nil {
		r := picture.Bounds()
		if r.Empty() || r.Dx() > displaySide || r.Dy() > displaySide {
			return fmt.Errorf("sim board: display: %w: a picture of %d by %d, want at most %d by %d",
				hal.ErrArgument, r.Dx(), r.Dy(), displaySide, displaySide)
		}
		shown = enlarged(picture)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.saveDisplay(shown); err != nil {
		return failed("display", err)
	}
	b.shown = shown
	return nil
}

// enlarged puts a picture, as large as it gets by whole pixels, in the middle of
// a white display.
func enlarged(picture image.Image) *image.Gray {
	r := picture.Bounds()
	scale := displaySide / max(r.Dx(), r.Dy())
	g := image.NewGray(image.Rect(0, 0, displaySide, displaySide))
	draw.Draw(g, g.Rect, image.White, image.Point{}, draw.Src)
	left, top := (displaySide-r.Dx()*scale)/2, (displaySide-r.Dy()*scale)/2
	for y := range r.Dy() * scale {
		for x := range r.Dx() * scale {
			g.Set(left+x, top+y, picture.At(r.Min.X+x/scale, r.Min.Y+y/scale))
		}
	}
	return g
}

// saveDisplay keeps the file of the display as the display is.
func (b *Board) saveDisplay(shown *image.Gray) error {
	if b.displayFile == "" {
		return nil
	}
	if shown == nil {
		if err := os.Remove(b.displayFile); err != nil && !os.IsNotExist(err) {
			return err
		}
		return nil
	}
	var out bytes.Buffer
	if err := png.Encode(&out, shown); err != nil {
		return err
	}
	temp := b.displayFile + ".tmp"
	if err := os.WriteFile(temp, out.Bytes(), 0o600); err != nil {
		return err
	}
	return os.Rename(temp, b.displayFile)
}

// Shown is what the display shows, or nil; nobody may change it.
func (b *Board) Shown() image.Image {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.shown == nil {
		return nil
	}
	return b.shown
}

// Usual readings.
const (
	usualHeat   = 45
	usualSupply = 5000
)

// Readings implements [hal.Sensors].
func (b *Board) Readings(ctx context.Context) (list []hal.Reading, err error) {
	if err := ctx.Err(); err != nil {
		return nil, failed("sensors", err)
	}
	err = b.at(func(now time.Duration) error {
		wave := math.Sin(2 * math.Pi * now.Minutes() / 10)
		list = []hal.Reading{
			{Name: "soc", Value: float64(b.script.level(heat, now, usualHeat)) + math.Round(10*wave)/10, Unit: "°C"},
			{Name: "supply", Value: float64(b.script.level(supply, now, usualSupply)) / 1000, Unit: "V"},
		}
		return nil
	})
	return list, err
}

// Identity implements [hal.IdentityStore].
func (b *Board) Identity() (fs.FS, error) {
	if b.identity == nil {
		return embed.FS{}, nil
	}
	return b.identity, nil
}
