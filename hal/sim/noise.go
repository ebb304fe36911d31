package sim

import (
	"math"
	"time"
)

// sounding is one scripted sound, or the siren, that is heard in a frame.
type sounding struct {
	kind        kind
	from, until time.Duration
	hertz       float64
	loud        float64 // of full scale, 0 to 1
}

// wail stands for the siren, which is no action.
const wail = kinds

// heardKinds are the actions that can be heard.
var heardKinds = [...]kind{tone, loud, glass, silence}

// sounds appends what is heard in the frame that begins at since.
func (b *Board) sounds(list []sounding, since time.Duration) []sounding {
	b.mu.Lock()
	defer b.mu.Unlock()
	end := since + soundFrame
	for _, k := range heardKinds {
		for i := range b.script[k] {
			e := &b.script[k][i]
			if began, ok := e.began(end - 1); ok && began+e.lasts > since {
				s := sounding{k, began, began + e.lasts, float64(e.value), float64(e.level) / 100}
				if k == glass {
					s.loud = 0.9
				}
				list = append(list, s)
			}
		}
	}
	if b.siren {
		list = append(list, sounding{kind: wail, from: 0, until: end, loud: 0.9})
	}
	return list
}

// mix is one sample of what is heard at t; silence takes all but the siren.
func mix(list []sounding, usual int, t time.Duration) int {
	v := float64(usual)
	for i := range list {
		s := &list[i]
		switch {
		case t < s.from || t >= s.until:
		case s.kind == silence:
			v = 0
		default:
			v += 32000 * s.loud * s.wave(t)
		}
	}
	return int(min(max(v, -32767), 32767))
}

// wave is the sound at t, from -1 to 1.
func (s *sounding) wave(t time.Duration) float64 {
	x := (t - s.from).Seconds()
	turn := func(hertz float64) float64 { return math.Sin(2 * math.Pi * hertz * x) }
	hiss := float64(lattice(int(t/(time.Second/soundRate)), int(s.kind), 77))*2 - 1
	switch s.kind {
	case tone:
		return turn(s.hertz)
	case loud:
		return 0.7*hiss + 0.3*turn(180)
	case glass:
		crack := hiss * math.Exp(-x/0.03)
		ring := (turn(2350) + turn(2890) + turn(3610)) / 3 * math.Exp(-x/0.15)
		return 0.6*crack + 0.4*ring
	}
	// Two tones in turn, as an alarm has.
	if t/(250*time.Millisecond)%2 == 0 {
		return turn(1400)
	}
	return turn(1900)
}
