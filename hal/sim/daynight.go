package sim

import (
	"context"
	"time"

	"iid2secure.nl/camagent/hal"
)

// Auto mode switches when the scene has been darker, or brighter, than this at
// so many looks, one a second.
const (
	nightBelow = 60
	dayAbove   = 120
	settled    = 10
)

// eye is what day and night switch.
type eye struct {
	night           bool // the picture is grey
	filter          bool // the infrared filter is in the path
	infrared, white int  // percent
}

// dayNight keeps the eye, and decides on it in auto mode. The board's lock
// guards it.
type dayNight struct {
	mode   hal.DayNightMode
	now    eye
	before eye // until
	until  time.Duration
	looked int64 // the last second that was looked at
	count  int   // looks that were for a switch
}

// sees is the eye for day or night; a white lamp stays as it is.
func (d *dayNight) sees(night bool, since time.Duration) {
	next := eye{night: night, filter: !night, white: d.now.white}
	if night {
		next.infrared = 100
	}
	d.before, d.until, d.now = d.now, since, next
	d.count = 0
}

// eyeAt is the eye at a time, which may lie a little before the last switch.
func (b *Board) eyeAt(since time.Duration) eye {
	if since < b.dn.until {
		return b.dn.before
	}
	return b.dn.now
}

// watchLight decides between day and night for all seconds up to a time. It
// depends on nothing but the scene, however often it is called.
func (b *Board) watchLight(since time.Duration) {
	d := &b.dn
	to := int64(since / time.Second)
	for d.looked = max(d.looked, to-3600); d.looked < to; {
		d.looked++
		if d.mode != hal.Auto {
			continue
		}
		at := time.Duration(d.looked) * time.Second
		level := b.script.level(light, at, usualLight)
		if d.now.night && level > dayAbove || !d.now.night && level < nightBelow {
			d.count++
		} else {
			d.count = 0
		}
		if d.count == settled {
			d.sees(!d.now.night, at)
		}
	}
}

// SetDayNight implements [hal.DayNight]: filter, infrared light and colour.
func (b *Board) SetDayNight(mode hal.DayNightMode) error {
	return b.at(func(now time.Duration) error {
		b.dn.mode, b.dn.count = mode, 0
		if mode != hal.Auto {
			b.dn.sees(mode == hal.Night, now)
		}
		return nil
	})
}

// DayNight implements [hal.DayNight].
func (b *Board) DayNight() (state hal.DayNightState, err error) {
	err = b.at(func(time.Duration) error {
		state = hal.DayNightState{Mode: b.dn.mode, Night: b.dn.now.night}
		return nil
	})
	return state, err
}

// SetIRFilter implements [hal.IRFilter], until day and night switch it again.
func (b *Board) SetIRFilter(inPath bool) error {
	return b.at(func(time.Duration) error {
		b.dn.now.filter = inPath
		return nil
	})
}

// Lights implements [hal.Lights].
func (b *Board) Lights() []hal.LightKind { return []hal.LightKind{hal.Infrared, hal.White} }

// SetLight implements [hal.Lights]; day and night switch the infrared one again.
func (b *Board) SetLight(kind hal.LightKind, percent int) (int, error) {
	return percent, b.at(func(time.Duration) error {
		lamp := &b.dn.now.white
		if kind == hal.Infrared {
			lamp = &b.dn.now.infrared
		}
		*lamp = percent
		return nil
	})
}

// Light implements [hal.LightSensor]: of the scene alone; the camera's own lamps
// don't reach the sensor.
func (b *Board) Light(ctx context.Context) (level int, err error) {
	if err := ctx.Err(); err != nil {
		return 0, failed("light sensor", err)
	}
	err = b.at(func(now time.Duration) error {
		level = b.script.level(light, now, usualLight)
		return nil
	})
	return level, err
}
