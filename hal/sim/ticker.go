package sim

import (
	"context"
	"fmt"
	"sync"
	"time"

	"iid2secure.nl/camagent/hal"
)

// ticker waits for instants of the board's clock, until it is closed.
type ticker struct {
	what  string // for errors
	start time.Time
	timer *time.Timer
	done  chan struct{}
	once  sync.Once
}

func newTicker(what string, start time.Time) *ticker {
	t := &ticker{what: what, start: start, timer: time.NewTimer(time.Hour), done: make(chan struct{})}
	t.timer.Stop()
	return t
}

// now is the time since the board's start.
func (t *ticker) now() time.Duration { return time.Since(t.start) }

// wait returns nil at the instant at, at once if that has passed, or when wake
// is closed.
func (t *ticker) wait(ctx context.Context, at time.Duration, wake <-chan struct{}) error {
	if err := t.err(ctx); err != nil {
		return err
	}
	d := at - t.now()
	if d <= 0 {
		return nil
	}
	t.timer.Reset(d)
	defer t.timer.Stop()
	select {
	case <-t.timer.C:
		return nil
	case <-wake:
		return nil
	case <-ctx.Done():
	case <-t.done:
	}
	return t.err(ctx)
}

func (t *ticker) err(ctx context.Context) error {
	select {
	case <-t.done:
		return fmt.Errorf("sim board: %s: %w", t.what, hal.ErrClosed)
	default:
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("sim board: %s: %w", t.what, err)
	}
	return nil
}

func (t *ticker) close() { t.once.Do(func() { close(t.done) }) }

// tick is the time of frame n on the grid of a rate.
func tick(n int64, rate int) time.Duration {
	return time.Duration(n * int64(time.Second) / int64(rate))
}

// tickAfter is the number of the first tick after d.
func tickAfter(d time.Duration, rate int) int64 {
	n := int64(d) * int64(rate) / int64(time.Second)
	for tick(n, rate) <= d {
		n++
	}
	return n
}
