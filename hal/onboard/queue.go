package onboard

import (
	"context"
	"fmt"
	"sync"
	"time"

	"iid2secure.nl/camagent/hal"
)

// queue stands between gortsplib's reader, which must never wait, and Next. What
// happens when it is full is its owner's affair. It tells when nothing came for
// too long; so long as nobody waits, nothing watches.
type queue[T any] struct {
	quiet time.Duration // after which the streamer counts as gone
	wake  chan struct{} // holds one if something changed

	mu    sync.Mutex
	items []T
	err   error     // nothing comes any more
	shut  bool      // closed by us: what is left is not handed out
	heard time.Time // when something came last
}

func newQueue[T any](quiet time.Duration) *queue[T] {
	return &queue[T]{quiet: quiet, wake: make(chan struct{}, 1), heard: time.Now()}
}

func (q *queue[T]) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// hear tells that the streamer lives.
func (q *queue[T]) hear(at time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.heard = at
}

// update changes the items.
func (q *queue[T]) update(change func(items []T) []T) {
	q.mu.Lock()
	if !q.shut {
		q.items = change(q.items)
	}
	q.mu.Unlock()
	q.signal()
}

// fail ends the queue, once what is in it was taken; the first error stays.
func (q *queue[T]) fail(err error) {
	q.mu.Lock()
	if q.err == nil {
		q.err = err
	}
	q.mu.Unlock()
	q.signal()
}

// close ends the queue at once.
func (q *queue[T]) close() {
	q.mu.Lock()
	q.err, q.shut, q.items = hal.ErrClosed, true, nil
	q.mu.Unlock()
	q.signal()
}

// take returns the next item, the error of a queue that ended, or for how long
// there may still be nothing.
func (q *queue[T]) take(now time.Time) (item T, ok bool, wait time.Duration, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.items) > 0 {
		item = q.items[0]
		var none T
		q.items[0] = none
		q.items = q.items[1:]
		return item, true, 0, nil
	}
	if q.err == nil && now.Sub(q.heard) >= q.quiet {
		q.err = fmt.Errorf("%w: the streamer sent nothing for %v", hal.ErrGone, q.quiet)
	}
	return item, false, q.quiet - now.Sub(q.heard), q.err
}

// next waits for an item; for one reader.
func (q *queue[T]) next(ctx context.Context) (T, error) {
	for {
		var none T
		if err := ctx.Err(); err != nil {
			return none, err
		}
		item, ok, wait, err := q.take(time.Now())
		if ok || err != nil {
			return item, err
		}
		if err := q.sleep(ctx, wait); err != nil {
			return none, err
		}
	}
}

func (q *queue[T]) sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-q.wake:
	case <-t.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}
