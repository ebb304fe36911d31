package talk

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"

	"iid2secure.nl/camagent/hal"
)

// Talker is one who may speak, by one way. Its methods may be called from any
// goroutine; packets by one at a time, if their order matters.
type Talker struct {
	desk *Desk
	name string

	// Guarded by Desk.mu.
	closed  bool
	refused time.Time // when a packet last was
}

// turn is the time from taking the floor to losing it.
type turn struct {
	talker *Talker
	ctx    context.Context // ends when nothing more may be heard
	cancel context.CancelFunc

	// Guarded by Desk.mu.
	last   time.Time // packet
	sound  *jitter
	err    error // of the speaker, not yet told
	ending bool  // the talker has closed: what has come is still played
}

// Packet has a packet played, if the floor is free or is this talker's: then it
// takes or keeps it. It never blocks. Errors: ErrBusy, ErrShut, ErrClosed,
// ErrPacket; any other is of the speaker, told once for each failure, while
// the floor is kept and later packets try again.
func (t *Talker) Packet(p Packet) error {
	d, now := t.desk, time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case t.closed:
		return ErrClosed
	case d.ctx == nil || d.ctx.Err() != nil || d.shut != "":
		d.stats.Refused++
		return ErrShut
	case p.Codec != hal.PCMU && p.Codec != hal.PCMA || len(p.Payload) == 0 || len(p.Payload) > maxSize:
		d.stats.Garbage++
		return ErrPacket
	}
	u := d.holder(now)
	if u != nil && u.talker != t {
		d.refuse(t, u, now)
		return ErrBusy
	}
	if u == nil {
		u = d.begin(t)
	}
	u.last = now
	d.stats.Packets++
	if u.sound.put(&p, now) {
		d.look()
	}
	err := u.err
	u.err = nil
	return err
}

// begin gives the floor to t. The caller holds the lock.
func (d *Desk) begin(t *Talker) *turn {
	if d.turn != nil && d.turn != d.playing { // it ended before Run came to it
		d.turn.cancel()
	}
	u := &turn{talker: t, sound: newJitter(&d.stats)}
	u.ctx, u.cancel = context.WithCancel(d.ctx)
	d.turn = u
	d.stats.Turns++
	t.refused = time.Time{}
	d.cfg.Log.Info("intercom: somebody talks", zap.String("talker", t.name))
	return u
}

// refuse counts a packet, and logs the first of an attempt. The caller holds the lock.
func (d *Desk) refuse(t *Talker, u *turn, now time.Time) {
	d.stats.Refused++
	if t.refused.IsZero() || now.Sub(t.refused) >= d.cfg.Lease {
		d.cfg.Log.Info("intercom: refused, another talks", zap.String("talker", t.name), zap.String("floor", u.talker.name))
	}
	t.refused = now
}

// Close gives the floor back; what has come until now is still played, which
// takes half a second at most.
func (t *Talker) Close() { t.leave(false) }

// Cut takes the floor away and is silent at once: for one who may no longer talk.
func (t *Talker) Cut() { t.leave(true) }

func (t *Talker) leave(now bool) {
	d := t.desk
	d.mu.Lock()
	defer d.mu.Unlock()
	t.closed = true
	for _, u := range []*turn{d.turn, d.playing} {
		if u == nil || u.talker != t {
			continue
		}
		u.ending = true
		if now {
			u.cancel()
		}
	}
	d.look()
}

// String is for logs.
func (t *Talker) String() string { return fmt.Sprintf("talker %s", t.name) }
