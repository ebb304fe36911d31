package v4l2

import "time"

const (
	// minStep keeps capture times strictly rising.
	minStep = 100 * time.Microsecond
	// maxAge is how old a driver's time stamp is believed to be.
	maxAge = 4 * time.Second
	// maxAhead is how far drivers that reckon by the camera's clock run ahead.
	maxAhead = 100 * time.Millisecond
)

// clock makes capture times of the driver's stamps.
type clock struct{ last time.Time }

// at returns when f was captured: by the driver's stamp if it is one of the
// monotonic clock, which tells mono now, and makes sense; else now.
func (c *clock) at(f frame, now time.Time, mono time.Duration) time.Time {
	t := now
	if age := mono - f.stamp; f.flags&flagTimestampMask == flagTimestampMono && age < maxAge && age > -maxAhead {
		t = now.Add(-max(age, 0))
	}
	if !c.last.IsZero() && t.Sub(c.last) < minStep {
		t = c.last.Add(minStep)
	}
	c.last = t
	return t
}
