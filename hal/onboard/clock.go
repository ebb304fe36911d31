package onboard

import "time"

const (
	// apart is how far a streamer's clock and ours may drift apart.
	apart = time.Second
	// burst is how much a streamer may send ahead before it counts as one.
	burst = 200 * time.Millisecond
	// minStep keeps times strictly rising.
	minStep = 100 * time.Microsecond
	// slack is how late all may be without being corrected: so most jitter is none.
	slack = 5 * time.Millisecond
	// floorTime is over which the least delay is looked for.
	floorTime = 5 * time.Second
)

// clock maps the RTP time stamps of one track onto our monotonic clock. The
// stamps give the spacing, so that times are as steady as the streamer's; the
// moments of arrival give the offset: of them the earliest count, as a delay
// can only be added. Tracks whose clocks run at one speed therefore stay
// together, each as late as its least delay.
type clock struct {
	rate  int       // of the stamps, per second
	after time.Time // what times must be later than: those of an earlier session

	stamp uint32
	last  time.Time // what stamp was mapped to; zero before the first

	lateSince time.Time     // since when arrivals were more than apart late
	floor     time.Duration // the least delay of the last period
	least     time.Duration // of this one, which began
	began     time.Time
}

// step is the time from the last stamp to this one, negative for one of the past.
func (c *clock) step(stamp uint32) time.Duration {
	return time.Duration(int64(int32(stamp-c.stamp)) * int64(time.Second) / int64(c.rate))
}

// at returns the time of a stamp that arrived at a moment; it is later than the
// one returned before.
func (c *clock) at(stamp uint32, arrived time.Time) time.Time {
	if c.last.IsZero() {
		return c.anchor(stamp, arrived)
	}
	step := c.step(stamp)
	t := c.last.Add(step)
	late := arrived.Sub(t)
	if step <= 0 || late < -apart || c.tooLate(late, arrived) {
		return c.anchor(stamp, arrived)
	}
	return c.set(stamp, t.Add(c.correction(step, late, arrived)))
}

// tooLate tells whether arrivals have been too late for too long for a burst.
func (c *clock) tooLate(late time.Duration, arrived time.Time) bool {
	if late <= apart {
		c.lateSince = time.Time{}
		return false
	}
	if c.lateSince.IsZero() {
		c.lateSince = arrived
	}
	return late > 4*apart || arrived.Sub(c.lateSince) > apart
}

// correction brings the mapping nearer to the arrivals: soon if it is ahead of
// them, as nothing arrives before it was captured, slowly if all of a period
// were late. The rest of a burst is put right at once.
func (c *clock) correction(step, late time.Duration, arrived time.Time) time.Duration {
	c.least = min(c.least, late)
	if arrived.Sub(c.began) > floorTime {
		c.floor, c.least, c.began = max(c.least-slack, 0), late, arrived
	}
	if late < 0 {
		c.floor = 0
		if late < -burst {
			return late
		}
		return max(late, -step/8)
	}
	slew := min(c.floor, step/1000)
	c.floor -= slew
	return slew
}

func (c *clock) anchor(stamp uint32, arrived time.Time) time.Time {
	c.lateSince, c.floor, c.least, c.began = time.Time{}, 0, 0, arrived
	return c.set(stamp, arrived)
}

func (c *clock) set(stamp uint32, t time.Time) time.Time {
	if !c.after.IsZero() && t.Sub(c.after) < minStep {
		t = c.after.Add(minStep)
	}
	c.stamp, c.last, c.after = stamp, t, t
	return t
}
