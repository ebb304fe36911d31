package clip

import (
	"time"

	"iid2secure.nl/camagent/media"
)

const (
	// reserve is kept free in a clip for sound that arrives after its last
	// picture, and for the last fragment's head.
	reserve = 64 << 10
	// defaultFrameTime is used for the only picture of a clip.
	defaultFrameTime = 40 * time.Millisecond
)

// frameTime is how long a picture lasts, as far as is known.
func (c *clip) frameTime() time.Duration {
	if c.lastDur == 0 {
		return defaultFrameTime
	}
	return min(time.Duration(c.lastDur)*time.Second/videoClock, time.Second)
}

// endBefore says until when the newest picture lasts if s comes next: zero,
// that is as long as the one before it, if s comes after a gap.
func (c *clip) endBefore(s *media.Sample) time.Time {
	if c.gap(s) {
		return time.Time{}
	}
	return s.Time
}

func (c *clip) gap(s *media.Sample) bool { return s.Time.Sub(c.last.Time) > maxGap }

// fits tells whether the clip stays within its limits with the picture s.
func (c *clip) fits(s *media.Sample) bool {
	return c.frames == 0 ||
		s.Time.Add(c.frameTime()).Sub(c.zero) <= c.cfg.MaxLength && c.size()+len(s.Data)+reserve <= c.cfg.MaxBytes
}

// fitsGOP tells whether another GOP like the last one, and somewhat more, fits;
// s is the key frame that would begin it.
func (c *clip) fitsGOP(s *media.Sample) bool {
	span, bytes := s.Time.Sub(c.gopStart), c.size()-c.gopSize
	return s.Time.Sub(c.zero)+span+span/8 <= c.cfg.MaxLength && c.size()+bytes+bytes/2+reserve <= c.cfg.MaxBytes
}

// nearlyFull tells that the GOP which s belongs to should end soon.
func (c *clip) nearlyFull(s *media.Sample) bool {
	return s.Time.Sub(c.zero) > c.cfg.MaxLength/4*3 || c.size()+reserve > c.cfg.MaxBytes/4*3
}

// hears tells whether there is sound that goes on.
func (c *clip) hears() bool {
	return c.sounds != nil && c.last.Time.Sub(c.sounds.heard) < time.Second
}
