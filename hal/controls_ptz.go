package hal

import (
	"fmt"
	"math"
	"time"
)

// checkPosition compares p with what the axes can reach.
func checkPosition(p PTZ, at Position, lowZoom float64) error {
	pan, tilt, zoom := p.Axes()
	for _, a := range []struct {
		name   string
		is, lo float64
		has    bool
	}{{"pan", at.Pan, -1, pan}, {"tilt", at.Tilt, -1, tilt}, {"zoom", at.Zoom, lowZoom, zoom}} {
		if !a.has && a.is != 0 {
			return wrong("ptz "+a.name, a.is, "0: this camera has no %s", a.name)
		}
		if math.IsNaN(a.is) || a.is < a.lo || a.is > 1 {
			return wrong("ptz "+a.name, a.is, "%g to 1", a.lo)
		}
	}
	return nil
}

// Axes tells which axes the camera moves; none without PTZ.
func (c *Camera) Axes() (pan, tilt, zoom bool) {
	p, err := find[PTZ](c, CapPTZ)
	if err != nil {
		return false, false, false
	}
	return p.Axes()
}

// Position is where the camera looks now.
func (c *Camera) Position() (Position, error) {
	p, err := find[PTZ](c, CapPTZ)
	if err != nil {
		return Position{}, err
	}
	return p.Position()
}

// MoveTo starts a move.
func (c *Camera) MoveTo(at Position) error {
	p, err := find[PTZ](c, CapPTZ)
	if err != nil {
		return err
	}
	if err := checkPosition(p, at, 0); err != nil {
		return err
	}
	return p.MoveTo(at)
}

// MaxDrive is the longest time for which one Drive turns the camera.
const MaxDrive = 10 * time.Second

// Drive turns the camera at a speed for a time.
func (c *Camera) Drive(speed Position, d time.Duration) error {
	p, err := find[PTZ](c, CapPTZ)
	if err != nil {
		return err
	}
	if err := checkPosition(p, speed, -1); err != nil {
		return err
	}
	if d < 0 || d > MaxDrive {
		return wrong("ptz time", d, "0s to %v", MaxDrive)
	}
	return p.Drive(speed, d)
}

// Presets lists the names of kept positions.
func (c *Camera) Presets() ([]string, error) {
	p, err := find[PTZ](c, CapPTZ)
	if err != nil {
		return nil, err
	}
	return p.Presets()
}

// SavePreset keeps the present position.
func (c *Camera) SavePreset(name string) error { return c.preset(name, PTZ.SavePreset) }

// GoToPreset starts a move to a kept position.
func (c *Camera) GoToPreset(name string) error { return c.preset(name, PTZ.GoToPreset) }

// DeletePreset forgets a kept position.
func (c *Camera) DeletePreset(name string) error { return c.preset(name, PTZ.DeletePreset) }

func (c *Camera) preset(name string, do func(PTZ, string) error) error {
	p, err := find[PTZ](c, CapPTZ)
	if err != nil {
		return err
	}
	if len(name) == 0 || len(name) > 32 || !printable(name) {
		return wrong("preset", fmt.Sprintf("%q", name), "1 to 32 printable ASCII characters")
	}
	return do(p, name)
}
