package sim

import (
	"math"
	"time"
)

// usualLight is a bright day.
const usualLight = 800

// maxActors bounds what moves at once; the rest waits unseen.
const maxActors = 12

// actor is one thing that moves, at one instant.
type actor struct {
	set, pose int
	x, y      float64 // scene units
}

// moment is an instant of the scene, as the camera sees it.
type moment struct {
	since  time.Duration // since the board's start
	wall   time.Time     // UTC
	view   view
	noise  int // percent
	count  int
	actors [maxActors]actor
}

func (m *moment) add(a actor) {
	if m.count < len(m.actors) {
		m.actors[m.count] = a
		m.count++
	}
}

// moment computes what the camera sees at a time since the board's start.
func (b *Board) moment(since time.Duration) moment {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.momentLocked(since)
}

func (b *Board) momentLocked(since time.Duration) moment {
	b.advance(since)
	m := moment{since: since, wall: b.start.Add(since).UTC(), noise: b.script.level(noisy, since, 0)}
	m.view = b.viewAt(since)
	b.cast(&m)
	return m
}

// cast says who is where, from the back to the front.
func (b *Board) cast(m *moment) {
	usual := b.script.level(traffic, m.since, 1) == 1
	if usual {
		m.add(stroll(m.since))
	}
	for i := range b.script[walker] {
		if e := &b.script[walker][i]; m.count < maxActors-4 {
			if since, ok := e.during(m.since); ok {
				m.add(cross(e, m.since-since, m.since))
			}
		}
	}
	if usual {
		m.add(drive(blueCar, m.since, 11*time.Second, 3*time.Second, -230, 524))
	}
	for i := range b.script[car] {
		e := &b.script[car][i]
		if since, ok := e.during(m.since); ok {
			m.add(pass(e, m.since-since))
		}
	}
	if usual {
		m.add(drive(redCar, m.since, 13*time.Second, 8*time.Second, 260, 578))
	}
}

// drive goes along the street: once a period, at a speed in units a second.
func drive(set int, since, period, offset time.Duration, speed, y float64) actor {
	t := ((since + offset) % period).Seconds()
	if speed > 0 {
		return actor{set: set, x: -250 + speed*t, y: y}
	}
	return actor{set: set, x: sceneWidth + 10 + speed*t, y: y}
}

// step is the pose of one who walks.
func step(since time.Duration) int { return int(since / (125 * time.Millisecond) % 8) }

// stroll goes along the pavement to the right, and comes back.
func stroll(since time.Duration) actor {
	const speed, way = 62.0, 1180.0
	s := math.Mod(since.Seconds()*speed+way*0.2, 2*way)
	if s < way {
		return actor{walkers, step(since), 20 + s, 398}
	}
	return actor{walkers, 8 + step(since), 20 + 2*way - s, 398}
}

// cross is a scripted walk, so long after its begin: out of the picture on one
// side, through it, and out on the other.
func cross(e *event, gone, since time.Duration) actor {
	const from, to = -64.0, sceneWidth + 4
	f := gone.Seconds() / e.lasts.Seconds()
	if e.value == 0 { // from the left
		return actor{walkers, step(since), from + (to-from)*f, 404}
	}
	return actor{walkers, 8 + step(since), to + (from-to)*f, 404}
}

// pass is a scripted car.
func pass(e *event, gone time.Duration) actor {
	const from, to = -244.0, sceneWidth + 4
	f := gone.Seconds() / e.lasts.Seconds()
	if e.value == 0 {
		return actor{set: redCar, x: from + (to-from)*f, y: 580}
	}
	return actor{set: blueCar, x: to + (from-to)*f, y: 526}
}

// viewAt is how the camera sees at a time.
func (b *Board) viewAt(since time.Duration) view {
	eye := b.eyeAt(since)
	c := &b.controls
	v := view{at: b.head.at(since), mirror: c[mirror] == 1, flip: c[flip] == 1, texts: b.texts}
	v.tone = shade{
		brightness: int8(c[brightness] - 50), contrast: int8(c[contrast] - 50), saturation: int8(c[saturation] - 50),
		grey: eye.night || c[grayscale] == 1,
	}
	seen := b.seen(eye, since)
	v.tone.dark = uint8(math.Round((1 - seen) * darkSteps))
	v.tone.tint = !eye.filter && seen > 0
	return v
}

// seen is how much of the light that it needs the sensor gets, 0 to 1.
func (b *Board) seen(eye eye, since time.Duration) float64 {
	if b.script.active(cover, since) {
		return 0
	}
	// Exposure makes good what is above a fifth of full light.
	lit := float64(b.script.level(light, since, usualLight)) / 200
	lit += 0.8 * float64(eye.white) / 100
	if !eye.filter {
		lit = 1.5*lit + 0.75*float64(eye.infrared)/100
	}
	return min(lit, 1)
}
