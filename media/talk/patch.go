package talk

import "time"

// How lost sound is made up, in the manner of ITU-T G.711 Appendix I: the last
// period of the voice is repeated and fades away.
const (
	fadeTime  = 60 * time.Millisecond
	loudFor   = rate / 100 // samples before the fade begins
	fadeEnd   = rate * 6 / 100
	seam      = rate / 250 // samples in which found and made sound are blended
	minPeriod = 40         // samples: 200 Hz; higher voices repeat several periods
	maxPeriod = 160
	template  = 80
	stretch   = 3 // samples that a frame may have more or less
)

// patch makes up samples where there are none.
type patch struct {
	past    [maxPeriod + template]int16 // what was given out, a ring
	at      int                         // where the oldest of it is
	made    int                         // samples made in this gap; 0: none
	cycle   [maxPeriod]int16            // the period that is repeated
	period  int
	blended int // samples of the seam so far; 0: there is none
}

// sound passes a sample on, blended with made ones behind a gap.
func (p *patch) sound(s int16) int16 {
	if p.made > 0 {
		p.blended++
		m := int(p.peek())
		s = int16((int(s)*p.blended + m*(seam-p.blended)) / seam)
		if p.blended == seam {
			p.made, p.blended = 0, 0
		}
	}
	return p.keep(s)
}

// make gives a sample where there is none.
func (p *patch) make() int16 {
	p.blended = 0
	if p.made == 0 {
		p.study()
	}
	return p.keep(p.peek())
}

// tear prepares a seam where sound was left out.
func (p *patch) tear() {
	if p.made == 0 {
		p.study()
		p.made = 1
	}
	p.blended = 0
}

// peek makes the next sample.
func (p *patch) peek() int16 {
	s := int(p.cycle[p.made%p.period])
	if p.made >= loudFor {
		s = s * max(fadeEnd-p.made, 0) / (fadeEnd - loudFor)
	}
	if p.made < fadeEnd {
		p.made++
	} else { // silent; the period goes on without end
		p.made = fadeEnd
	}
	return int16(s)
}

func (p *patch) keep(s int16) int16 {
	p.past[p.at] = s
	p.at = (p.at + 1) % len(p.past)
	return s
}

// study finds the period of what was heard last: the shift by which it is most
// like itself.
func (p *patch) study() {
	var h [len(p.past)]float32
	for i := range h {
		h[i] = float32(p.past[(p.at+i)%len(p.past)])
	}
	p.period = maxPeriod
	best := float32(0)
	for shift := minPeriod; shift <= maxPeriod; shift++ {
		var like, power float32
		for i := len(h) - template; i < len(h); i++ {
			like += h[i] * h[i-shift]
			power += h[i-shift] * h[i-shift]
		}
		if like > 0 && like*like > best*power {
			best, p.period = like*like/power, shift
		}
	}
	for i := range p.period {
		p.cycle[i] = p.past[(p.at+len(p.past)-p.period+i)%len(p.past)]
	}
}
