package sim

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"iid2secure.nl/camagent/hal"
)

// head is where the camera looks: a move, done or under way. Its position is
// computed from time alone. The board's lock guards it.
type head struct {
	from, to hal.Position
	speed    hal.Position // a second
	began    time.Duration
	until    time.Duration
}

// topSpeed is how far a second the head turns at full speed; the way from end to
// end is 2.
const topSpeed = 0.5

func (h *head) at(since time.Duration) hal.Position {
	switch {
	case since <= h.began:
		return h.from
	case since >= h.until:
		return h.to
	}
	return after(h.from, h.speed, since-h.began)
}

// after is where a turn at a speed leads in d.
func after(p, speed hal.Position, d time.Duration) hal.Position {
	s := d.Seconds()
	return hal.Position{
		Pan:  min(max(p.Pan+speed.Pan*s, -1), 1),
		Tilt: min(max(p.Tilt+speed.Tilt*s, -1), 1),
		Zoom: min(max(p.Zoom+speed.Zoom*s, 0), 1),
	}
}

// turn goes on from here at a speed for a time.
func (h *head) turn(now time.Duration, speed hal.Position, d time.Duration) {
	from := h.at(now)
	*h = head{from: from, to: after(from, speed, d), speed: speed, began: now, until: now + d}
}

// moveTo goes straight to p; the longest of the ways at full speed.
func (h *head) moveTo(now time.Duration, p hal.Position) {
	from := h.at(now)
	way := hal.Position{Pan: p.Pan - from.Pan, Tilt: p.Tilt - from.Tilt, Zoom: p.Zoom - from.Zoom}
	longest := max(way.Pan, -way.Pan, way.Tilt, -way.Tilt, way.Zoom, -way.Zoom)
	if longest == 0 {
		h.turn(now, hal.Position{}, 0)
		return
	}
	f := topSpeed / longest
	h.turn(now, hal.Position{Pan: way.Pan * f, Tilt: way.Tilt * f, Zoom: way.Zoom * f}, time.Duration(float64(time.Second)/f))
	h.to = p
}

// maxPresets bounds the kept positions.
const maxPresets = 64

// Axes implements [hal.PTZ].
func (b *Board) Axes() (pan, tilt, zoom bool) { return true, true, true }

// Position implements [hal.PTZ].
func (b *Board) Position() (p hal.Position, err error) {
	err = b.at(func(now time.Duration) error {
		p = b.head.at(now)
		return nil
	})
	return p, err
}

// MoveTo implements [hal.PTZ]; from end to end takes 4 s.
func (b *Board) MoveTo(p hal.Position) error {
	return b.at(func(now time.Duration) error {
		b.head.moveTo(now, p)
		return nil
	})
}

// Drive implements [hal.PTZ].
func (b *Board) Drive(v hal.Position, d time.Duration) error {
	return b.at(func(now time.Duration) error {
		b.head.turn(now, hal.Position{Pan: v.Pan * topSpeed, Tilt: v.Tilt * topSpeed, Zoom: v.Zoom * topSpeed}, d)
		return nil
	})
}

// Presets implements [hal.PTZ].
func (b *Board) Presets() ([]string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Sorted(maps.Keys(b.presets)), nil
}

// SavePreset implements [hal.PTZ].
func (b *Board) SavePreset(name string) error {
	return b.at(func(now time.Duration) error {
		if _, there := b.presets[name]; !there && len(b.presets) >= maxPresets {
			return fmt.Errorf("sim board: preset %s: %d are kept: delete one", name, maxPresets)
		}
		b.presets[name] = b.head.at(now)
		return nil
	})
}

// GoToPreset implements [hal.PTZ].
func (b *Board) GoToPreset(name string) error {
	return b.preset(name, func(now time.Duration, p hal.Position) { b.head.moveTo(now, p) })
}

// DeletePreset implements [hal.PTZ].
func (b *Board) DeletePreset(name string) error {
	return b.preset(name, func(time.Duration, hal.Position) { delete(b.presets, name) })
}

func (b *Board) preset(name string, do func(now time.Duration, p hal.Position)) error {
	return b.at(func(now time.Duration) error {
		p, ok := b.presets[name]
		if !ok {
			return fmt.Errorf("sim board: preset %s: %w", name, hal.ErrNotFound)
		}
		do(now, p)
		return nil
	})
}
