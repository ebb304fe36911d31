package sim

import (
	"fmt"
	"time"

	"iid2secure.nl/camagent/hal"
)

// link is what an open stream knows of the faults that hit its device. The
// reader of the stream owns it.
type link struct {
	board *Board
	sound bool
	seen  time.Duration // faults up to here are known
	skew  time.Duration // steps of the device's clock
	wrong bool          // opened while sizes are wrong
	dead  error
}

// newLink notes how the device is now; the caller holds the board's lock.
func newLink(b *Board, now time.Duration) link {
	return link{board: b, seen: now, wrong: b.script.active(wrongSize, now)}
}

// sight is what a look at the faults shows.
type sight struct {
	err      error
	stalled  bool
	earliest time.Duration // of the next frame, by a slow sensor
	border   time.Duration // look again then
	changed  <-chan struct{}
}

// faults are what a stream looks at.
var faults = [...]kind{stall, unplug, garbage, slow, clockStep, wrongSize}

// look tells how the device does now; handed is when it last gave a frame.
func (l *link) look(now, handed time.Duration) sight {
	b := l.board
	b.mu.Lock()
	defer b.mu.Unlock()
	s := sight{err: l.broken(now), border: b.script.border(now, faults[:]...), changed: b.changed}
	if step, ok := b.script.began(clockStep, l.seen, now); ok {
		l.skew += step.span
	}
	l.seen = now
	if l.sound {
		return s
	}
	s.stalled = b.script.active(stall, now)
	if e, ok := b.script.newest(slow, now); ok && handed > 0 {
		s.earliest = handed + time.Second/time.Duration(e.value)
	}
	return s
}

// broken tells what ended the stream, once and for all.
func (l *link) broken(now time.Duration) error {
	t := &l.board.script
	hit := func(k kind) bool {
		_, began := t.began(k, l.seen, now)
		return began || t.active(k, now)
	}
	switch {
	case l.dead != nil:
	case hit(unplug):
		l.dead = fmt.Errorf("%w: unplugged", hal.ErrGone)
	case l.sound:
	case hit(garbage):
		l.dead = fmt.Errorf("%w: what the device gives makes no sense", hal.ErrGarbage)
	case l.wrong != hit(wrongSize):
		l.dead = fmt.Errorf("%w: the device began anew", hal.ErrGone)
	}
	return l.dead
}

// plugged tells whether the camera module is there; the caller holds the lock.
func (b *Board) plugged() error {
	if b.script.active(unplug, time.Since(b.start)) {
		return fmt.Errorf("%w: unplugged", hal.ErrGone)
	}
	return nil
}

// otherSize is what a device gives that says w by h.
func otherSize(w, h int) (int, int) {
	if w < 640 || h < 360 {
		return 640, 360
	}
	return w / 2 &^ 1, h / 2 &^ 1
}
