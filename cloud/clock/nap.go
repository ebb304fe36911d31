package clock

import "time"

// nap is one suspend of the device. The monotonic clock, by which frames are
// timed, stands still meanwhile.
type nap struct {
	after  time.Time // the last look before it
	length time.Duration
}

// minNap is what differences of two readings of the kernel's clocks are not;
// maxNaps is how many are remembered.
const (
	minNap  = 20 * time.Millisecond
	maxNaps = 16
)

// look notices whether the device has slept since the last look.
func (c *Clock) look(now time.Time) {
	if d := c.kernel.Asleep() - c.slept; d >= minNap {
		c.slept += d
		c.naps = append(c.naps, nap{c.last, d})
		if len(c.naps) > maxNaps {
			c.uptime += c.naps[0].length
			c.naps = c.naps[1:]
		}
		c.low.wall = c.low.wall.Add(d)
		if !c.known.wall.IsZero() {
			c.known.wall = c.known.wall.Add(d)
		}
	}
	c.last = now
}

// since is the time that passed from one moment to a later one, suspends
// included. A moment after the last look before a suspend counts as one after it:
// looks are frequent.
func (c *Clock) since(from, to time.Time) time.Duration {
	d := to.Sub(from)
	for _, n := range c.naps {
		if !from.After(n.after) && to.After(n.after) {
			d += n.length
		}
	}
	return d
}
