package sim

import (
	"context"
	"math"
	"time"

	"iid2secure.nl/camagent/hal"
)

// Motion is known from the scene: what moves there, as large as it is seen.
const (
	motionRate = 10              // looks a second
	motionHold = time.Second     // what ended is told when nothing moved for so long
	leastLight = 2.0 / darkSteps // below which nothing is seen
)

// motion is what the detector is set to, and how far it has looked. The board's
// lock guards the first two.
type motion struct {
	least float64 // part of the picture that counts
	zones []hal.Zone

	// The reader's:
	ticker *ticker
	looked int64 // looks since the board's start
	active bool
	last   time.Duration // when something moved
}

// leastSize is the part of the picture that a thing must fill: at 50 a person,
// at 20 only a car.
func leastSize(sensitivity int) float64 { return 0.04 * math.Pow(10, -float64(sensitivity)/50) }

// MotionZones implements [hal.MotionDetector].
func (b *Board) MotionZones() bool { return true }

// SetMotion implements [hal.MotionDetector].
func (b *Board) SetMotion(c hal.MotionConfig) error {
	return b.at(func(time.Duration) error {
		b.motion.least = leastSize(c.Sensitivity)
		b.motion.zones = append([]hal.Zone(nil), c.Zones...)
		return nil
	})
}

// NextMotion implements [hal.MotionDetector].
func (b *Board) NextMotion(ctx context.Context) (hal.MotionEvent, error) {
	m := &b.motion
	m.looked = max(m.looked, tickAfter(m.ticker.now()-forget, motionRate))
	for {
		at := tick(m.looked, motionRate)
		if err := m.ticker.wait(ctx, at, nil); err != nil {
			return hal.MotionEvent{}, err
		}
		m.looked++
		if e, ok := m.notice(b.moves(at), at); ok {
			return hal.MotionEvent{Time: b.start.Add(at), Active: e}, nil
		}
	}
}

// notice takes one look, and tells what began or ended with it.
func (m *motion) notice(moves bool, at time.Duration) (active, changed bool) {
	was := m.active
	switch {
	case moves:
		m.active, m.last = true, at
	case at-m.last >= motionHold:
		m.active = false
	}
	return m.active, m.active != was
}

// moves tells whether something that counts moves at a time.
func (b *Board) moves(at time.Duration) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.movesLocked(at)
}

func (b *Board) movesLocked(at time.Duration) bool {
	m := b.momentLocked(at)
	if b.seen(b.eyeAt(at), at) < leastLight || b.script.active(unplug, at) || b.script.active(stall, at) {
		return false
	}
	zones := b.motion.zones
	if len(zones) == 0 {
		zones = []hal.Zone{{Width: 1000, Height: 1000}}
	}
	for _, a := range m.actors[:m.count] {
		for _, z := range zones {
			if m.view.covers(a, z) >= b.motion.least {
				return true
			}
		}
	}
	return false
}

// covers is what part of the picture a fills inside z.
func (v *view) covers(a actor, z hal.Zone) float64 {
	w, h := float64(walkerW), float64(walkerH)
	if a.set != walkers {
		w, h = carW, carH
	}
	zoom := 1 + (maxZoom-1)*v.at.Zoom
	const high = sceneWidth * 9 / 16
	x := ((a.x/sceneWidth-0.5)-v.at.Pan/2)*zoom + 0.5
	y := ((a.y/high-0.5)+v.at.Tilt/2)*zoom + 0.5
	w, h = w/sceneWidth*zoom, h/high*zoom
	if v.mirror {
		x = 1 - x - w
	}
	if v.flip {
		y = 1 - y - h
	}
	left, right := float64(z.X)/1000, float64(z.X+z.Width)/1000
	top, bottom := float64(z.Y)/1000, float64(z.Y+z.Height)/1000
	return max(0, min(x+w, right)-max(x, left)) * max(0, min(y+h, bottom)-max(y, top))
}
