package talk

import "time"

// delay observes how unevenly packets arrive, and decides how long sound waits
// before it is played. The transit of a packet is its time of arrival less its
// timestamp: only differences of transits mean anything. A sender's clock that
// is off shows as a slow drift of the shortest transit, which is followed.
type delay struct {
	target   time.Duration // what sound should wait, behind the fastest packet
	epoch    time.Time
	origin   int64 // position at epoch
	now, old span  // of this window and of the one before
	since    time.Time
}

type span struct{ least, most time.Duration }

// restart begins to measure anew, since the timestamps may have leapt, but does
// not forget how uneven it was.
func (d *delay) restart(now time.Time, at int64) {
	d.old, d.now = span{0, d.spread()}, span{}
	d.epoch, d.origin, d.since = now, at, now
}

// note measures a packet whose first sample is at a position.
func (d *delay) note(now time.Time, at int64) {
	t := d.transit(now, at)
	if now.Sub(d.since) >= window {
		d.old, d.now, d.since = d.now, span{t, t}, now
	}
	d.now.least, d.now.most = min(d.now.least, t), max(d.now.most, t)
	d.target = min(max(d.spread()+frameTime, minDelay), maxDelay)
}

// spread is how much longer the slowest packet took than the fastest.
func (d *delay) spread() time.Duration { return max(d.now.most, d.old.most) - d.base() }

func (d *delay) transit(now time.Time, at int64) time.Duration {
	return now.Sub(d.epoch) - lasting(at-d.origin)
}

// base is the shortest transit.
func (d *delay) base() time.Duration { return min(d.now.least, d.old.least) }

// of tells how long sound at a position has waited if it is played now.
func (d *delay) of(now time.Time, at int64) time.Duration { return d.transit(now, at) - d.base() }
