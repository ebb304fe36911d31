package pipe

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"iid2secure.nl/camagent/hal"
)

// feed is a queue from the goroutine that reads a sidecar, which never waits, to
// one consumer. Who puts bounds it.
type feed[T any] struct {
	mu    sync.Mutex
	items []T

	ready  chan struct{} // something was put
	closed chan struct{} // by the consumer
	ended  chan struct{} // by the sidecar

	shut, stop sync.Once
	why        error // once ended
}

func newFeed[T any]() *feed[T] {
	return &feed[T]{ready: make(chan struct{}, 1), closed: make(chan struct{}), ended: make(chan struct{})}
}

// put queues v; of more than most the oldest are forgotten.
func (f *feed[T]) put(v T, most int) {
	f.mu.Lock()
	f.items = append(f.items, v)
	if n := len(f.items) - most; n > 0 {
		f.items = append(f.items[:0], f.items[n:]...)
	}
	f.mu.Unlock()
	select {
	case f.ready <- struct{}{}:
	default:
	}
}

// flush takes all items away if full says so of them.
func (f *feed[T]) flush(full func([]T) bool) []T {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.items) == 0 || !full(f.items) {
		return nil
	}
	list := f.items
	f.items = nil
	return list
}

func (f *feed[T]) take() (v T, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.items) == 0 {
		return v, false
	}
	v = f.items[0]
	f.items = slices.Delete(f.items, 0, 1) // in place: a frame a time must cost no memory
	return v, true
}

// end tells the consumer, after what is queued, why no more comes.
func (f *feed[T]) end(why error) { f.stop.Do(func() { f.why = why; close(f.ended) }) }

// close ends a next in flight, and all later ones.
func (f *feed[T]) close() { f.shut.Do(func() { close(f.closed) }) }

func (f *feed[T]) next(ctx context.Context, what string) (T, error) {
	var none T
	for over := false; ; {
		select {
		case <-f.closed:
			return none, fmt.Errorf("%s: %w", what, hal.ErrClosed)
		case <-ctx.Done():
			return none, ctx.Err()
		default:
		}
		if v, ok := f.take(); ok {
			return v, nil
		}
		if over {
			return none, fmt.Errorf("%s: %w", what, f.why)
		}
		select {
		case <-f.ready:
		case <-f.closed:
		case <-ctx.Done():
		case <-f.ended:
			over = true // but what was put before
		}
	}
}
