package clip

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"iid2secure.nl/camagent/media"
)

var errFull = errors.New("no space left on device")

// R7: whatever call of the store fails, and for how long: the recorder goes on,
// and once the store works again, all frames are recorded from then on.
func TestR7_FailingStore(t *testing.T) {
	t.Parallel()
	list := real(t)
	var broken bool
	fail := func() error {
		if broken {
			return errFull
		}
		return nil
	}
	for name, store := range map[string]*memStore{
		"create": {create: func(context.Context) error { return fail() }},
		"write":  {write: func(int) error { return fail() }},
		"sync":   {sync: fail},
		"close":  {close: fail},
	} {
		t.Run(name, func(t *testing.T) {
			core, logs := observer.New(zap.InfoLevel)
			broken = false
			c := record(t, func() *camera { return newCamera(list) }, store, Config{Log: zap.New(core)}, func(c *camera) {
				c.play(500)
				synctest.Wait()
				broken = true
				c.play(1500)
				synctest.Wait()
				broken = false
				c.play(1500)
			})
			if len(store.clips) < 4 {
				t.Fatalf("%d clips", len(store.clips))
			}
			before := 1 // the second one fails at its end, or was open when it began
			if name == "create" {
				before = 2
			}
			once(t, c, store.clips[:before], 0, uint64(before)*250)
			after := store.clips[before:]
			first := after[0].info.FirstFrame
			if first > 2000+800 { // 30 s of back-off and a GOP
				t.Errorf("the first clip afterwards begins with frame %d", first)
			}
			once(t, c, after, first, 3500)
			if n := logs.Len(); n > 5 || logs.FilterMessage("recording works again").Len() != 1 {
				t.Errorf("%d log lines in 2 minutes: %v", n, logs.All())
			}
		})
	}
}

// A failing store is not asked at every key frame.
func TestR7_BacksOff(t *testing.T) {
	t.Parallel()
	list := real(t)
	calls := 0
	store := &memStore{create: func(context.Context) error { calls++; return errFull }}
	record(t, func() *camera { return newCamera(list) }, store, Config{}, func(c *camera) { c.play(25 * 120) })
	if calls < 6 || calls > 9 {
		t.Errorf("%d tries in 2 minutes", calls)
	}
}

// R1: a store that hangs blocks nobody but the recorder, which afterwards cuts
// the clip and goes on at the oldest key frame held.
func TestR1_SlowStoreLags(t *testing.T) {
	t.Parallel()
	list := real(t)
	var hang atomic.Int64
	store := &memStore{sync: func() error { time.Sleep(time.Duration(hang.Load())); return nil }}
	c := record(t, func() *camera {
		c := newCamera(list)
		c.Ring = media.NewRing(150_000) // some 5 s
		return c
	}, store, Config{}, func(c *camera) {
		c.play(40)
		hang.Store(int64(12 * time.Second))
		start := time.Now()
		c.play(300)
		if d := time.Since(start); d != 300*frame {
			t.Errorf("the camera was held up: 300 frames took %v", d)
		}
		hang.Store(0)
		c.play(25 * 12)
	})
	first := store.clips[0]
	if !first.info.Cut {
		t.Errorf("the first clip is not marked as cut: %+v", first.info)
	}
	once(t, c, store.clips[:1], 0, uint64(first.info.Frames))
	second := store.clips[1].info.FirstFrame
	if second <= first.info.LastFrame+1 {
		t.Errorf("no frame was lost: %d after %d", second, first.info.LastFrame)
	}
	once(t, c, store.clips[1:], second, 640)
}

// A close that takes a while (fsync, rename) costs nothing: the ring waits.
func TestR1_SlowCloseLosesNothing(t *testing.T) {
	t.Parallel()
	list := real(t)
	store := &memStore{close: func() error { time.Sleep(3 * time.Second); return nil }}
	c := record(t, func() *camera { return newCamera(list) }, store, Config{}, func(c *camera) { c.play(1000) })
	once(t, c, store.clips, 0, 1000)
}

// Ended while it is behind, the recorder takes what the ring holds, into as many
// clips as that makes, and no more.
func TestR2_EndDrainsTheRing(t *testing.T) {
	t.Parallel()
	list := real(t)
	store := &memStore{close: func() error { time.Sleep(14 * time.Second); return nil }}
	c := record(t, func() *camera { return newCamera(list) }, store, Config{Length: 2 * time.Second}, func(c *camera) { c.play(300) })
	once(t, c, store.clips, 0, 300)
}

// Create is bounded, also when we are being ended.
func TestR7_CreateHasADeadline(t *testing.T) {
	t.Parallel()
	list := real(t)
	store := &memStore{create: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }}
	record(t, func() *camera { return newCamera(list) }, store, Config{}, func(c *camera) { c.play(100) })
	if len(store.clips) != 0 || store.aborts != 0 {
		t.Error("there are clips")
	}
}
