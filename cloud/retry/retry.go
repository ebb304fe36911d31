// Package retry is the waiting between attempts: full jitter over a doubling
// span, so that two thousand cameras don't come back in the same second (R8).
// It only computes and waits; who fails for good decides that itself.
package retry

import (
	"context"
	"math/rand/v2"
	"time"
)

// Backoff yields waits drawn evenly from [0, span), the span doubling from Min
// to Max. It doubles only once so much was waited: a run of short draws in a
// brief outage is not to end in minutes of absence. The zero value uses 1 s and
// 5 minutes. Not safe for concurrent use.
type Backoff struct {
	Min, Max time.Duration

	span, waited time.Duration
}

// Next returns the next wait.
func (b *Backoff) Next() time.Duration {
	if b.Min <= 0 {
		b.Min = time.Second
	}
	if b.Max <= 0 {
		b.Max = 5 * time.Minute
	}
	if b.span == 0 {
		b.span = min(b.Min, b.Max)
	}
	wait := rand.N(b.span)
	if b.waited += wait; b.waited >= b.span {
		b.span = min(2*b.span, b.Max)
	}
	return wait
}

// Reset goes back to Min.
func (b *Backoff) Reset() { b.span, b.waited = 0, 0 }

// Sleep waits for d, or until ctx ends or wake receives (a nil wake never
// does); it returns ctx's error if that was the reason.
func Sleep(ctx context.Context, d time.Duration, wake <-chan struct{}) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-wake:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// Change waits until changed receives or is closed, for d if that is not 0, or
// until ctx ends; it returns ctx's error if that was the reason.
func Change(ctx context.Context, changed <-chan struct{}, d time.Duration) error {
	if d > 0 {
		return Sleep(ctx, d, changed)
	}
	select {
	case <-changed:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}
