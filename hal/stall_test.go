package hal

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// R4: a device that gives nothing is given up after 10 seconds at its start,
// later after 5, however the reads are cut.
func TestR4_AStreamThatGivesNothingIsGivenUp(t *testing.T) {
	t.Parallel()
	for name, cut := range map[string]time.Duration{"one read": time.Hour, "reads of a second": time.Second} {
		for from, within := range map[int]time.Duration{0: 10 * time.Second, 10: 5 * time.Second} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				bubble(t, func(t *testing.T, b *fakeBoard, c *Camera) {
					b.change = func(n int, _ *AccessUnit) error {
						if n >= from {
							return errNothing
						}
						return nil
					}
					v := c.mustOpen(t, "main", VideoConfig{})
					v.mustRead(t, from)
					begin := time.Now()
					err := context.DeadlineExceeded
					for errors.Is(err, context.DeadlineExceeded) {
						ctx, cancel := context.WithTimeout(t.Context(), cut)
						_, err = v.Next(ctx)
						cancel()
					}
					if !errors.Is(err, ErrStalled) || time.Since(begin) != within {
						t.Errorf("after %v: %v", time.Since(begin), err)
					}
					if _, again := v.Next(t.Context()); !errors.Is(again, ErrStalled) {
						t.Errorf("afterwards: %v", again)
					}
					if s := c.Stats("main"); s.Failures != 1 {
						t.Errorf("%+v", s)
					}
				})
			})
		}
	}
}

func TestR4_ASlowReaderIsNoStall(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, b *fakeBoard, c *Camera) {
		v := c.mustOpen(t, "main", VideoConfig{})
		v.mustRead(t, 5)
		<-time.After(time.Minute) // does something else
		v.mustRead(t, 5)
	})
}

// R4: the end of a reader's context does not end a stream that is being opened
// anew, an error of the device does.
func TestR4_AContextThatEndsWhileReopening(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, b *fakeBoard, c *Camera) {
		v := c.mustOpen(t, "main", VideoConfig{})
		v.mustRead(t, 5)
		b.opening = func(ctx context.Context, _ string) error { <-ctx.Done(); return ctx.Err() }
		if err := c.RequestKeyframe("main"); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := v.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		b.opening = nil
		if au := v.mustRead(t, 1); au.Seq != 5 {
			t.Errorf("frame %d", au.Seq)
		}
		b.opening = func(context.Context, string) error { return ErrNotFound }
		if err := c.RequestKeyframe("main"); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if _, err := v.Next(t.Context()); !errors.Is(err, ErrNotFound) {
				t.Error(err)
			}
		}
	})
}

// R4: a device whose Close hangs holds up nobody else, and is never opened twice.
func TestR4_ADeviceThatHangsHoldsUpNobodyElse(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, b *fakeBoard, c *Camera) {
		done := make(chan struct{})
		b.closing = func(stream string) {
			if stream == "main" {
				hangs(done)
			}
		}
		v := c.mustOpen(t, "main", VideoConfig{})
		sub := c.mustOpen(t, "sub", VideoConfig{})
		closed := make(chan error)
		go func() { closed <- v.Close() }()
		synctest.Wait()
		sub.mustRead(t, 5)
		if err := <-closed; !errors.Is(err, ErrStalled) {
			t.Error(err)
		}
		begin := time.Now()
		if _, err := c.OpenVideo(t.Context(), "main", VideoConfig{}); !errors.Is(err, ErrBusy) || time.Since(begin) > time.Minute {
			t.Errorf("after %v: %v", time.Since(begin), err)
		}
		sub.mustRead(t, 5)
		close(done)
		synctest.Wait()
		c.mustOpen(t, "main", VideoConfig{}).mustRead(t, 5)
	})
}

func TestR4_CameraCloseDoesNotWaitForADeviceThatHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		done := make(chan struct{})
		defer close(done)
		b := newFake(t)
		c := NewCamera(b, hangingPart{done})
		begin := time.Now()
		if err := c.Close(); !errors.Is(err, ErrStalled) || time.Since(begin) > 10*time.Second {
			t.Errorf("after %v: %v", time.Since(begin), err)
		}
		if !b.closed {
			t.Error("the board was not closed")
		}
	})
}

type hangingPart struct{ done chan struct{} }

func (p hangingPart) Close() error { <-p.done; return nil }
