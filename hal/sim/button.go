package sim

import (
	"context"
	"time"

	"iid2secure.nl/camagent/hal"
)

// fingers is how far the reader of buttons has come; it is the reader's.
type fingers struct {
	ticker *ticker
	looked time.Duration
	down   []bool // by button
}

// Buttons implements [hal.Buttons].
func (b *Board) Buttons() []string { return append([]string(nil), buttons...) }

// NextButton implements [hal.Buttons]. A late reader gets what happened within
// the last minute.
func (b *Board) NextButton(ctx context.Context) (hal.ButtonEvent, error) {
	f := &b.fingers
	f.looked = max(f.looked, f.ticker.now()-forget)
	for {
		e, next, changed := b.look(f)
		if e.Button != "" {
			return e, nil
		}
		if err := f.ticker.wait(ctx, next, changed); err != nil {
			return hal.ButtonEvent{}, err
		}
	}
}

// look goes from press to press until now. Without one it tells when to look
// again, or what wakes up before that.
func (b *Board) look(f *fingers) (e hal.ButtonEvent, next time.Duration, changed <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := f.ticker.now()
	b.advance(now)
	for {
		for i := range f.down {
			if down := b.held(i, f.looked); down != f.down[i] {
				f.down[i] = down
				return hal.ButtonEvent{Button: buttons[i], Pressed: down, Time: b.start.Add(f.looked)}, 0, nil
			}
		}
		border := b.script.border(f.looked, press)
		if border > now {
			// The card is pulled by whoever comes by: see to it that somebody does.
			return e, min(border, b.script.border(now, pullCard)), b.changed
		}
		f.looked = border
	}
}

// held tells whether a button is down.
func (b *Board) held(button int, at time.Duration) bool {
	for i := range b.script[press] {
		e := &b.script[press][i]
		if _, ok := e.during(at); ok && e.value == button {
			return true
		}
	}
	return false
}
