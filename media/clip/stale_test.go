package clip

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// staleStore's clips can be made stale.
type staleStore struct {
	*memStore
	stale atomic.Bool
}

type staleSink struct {
	Sink
	store *staleStore
}

func (s *staleStore) Create(ctx context.Context, start Start) (Sink, error) {
	s.stale.Store(false)
	sink, err := s.memStore.Create(ctx, start)
	return &staleSink{sink, s}, err
}

func (s *staleSink) Stale() bool { return s.store.stale.Load() }

// P6: a clip that somebody may not see any more ends with its GOP, and the next
// takes over without a frame lost.
func TestP6_StaleClipEndsWithItsGOP(t *testing.T) {
	t.Parallel()
	list := real(t)
	synctest.Test(t, func(t *testing.T) {
		c := newCamera(list)
		store := &staleStore{memStore: &memStore{}}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		rec := New(c.Stream, store, Config{})
		rec.Follow(continuous, time.Time{})
		go func() { done <- rec.Run(ctx) }()
		synctest.Wait()
		c.play(60)
		store.stale.Store(true)
		c.play(65)
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run ended with %v", err)
		}
		if len(store.clips) != 2 || store.clips[1].info.FirstFrame != 75 {
			t.Fatalf("%d clips, want 2, the second from frame 75", len(store.clips))
		}
		once(t, c, store.clips, 0, 125)
	})
}
