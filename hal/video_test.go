package hal

import (
	"context"
	"errors"
	"math"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestM13_OpenReadClose(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, b *fakeBoard, c *Camera) {
		if _, err := c.OpenVideo(t.Context(), "third", VideoConfig{}); !errors.Is(err, ErrNoStream) {
			t.Error(err)
		}
		v := c.mustOpen(t, "main", VideoConfig{})
		if _, err := c.OpenVideo(t.Context(), "main", VideoConfig{}); !errors.Is(err, ErrBusy) {
			t.Error(err)
		}
		sub := c.mustOpen(t, "sub", VideoConfig{})
		sub.mustRead(t, 3)
		v.mustRead(t, 60)
		want := StreamStats{Frames: 60, Keys: 2, Bytes: 60 * uint64(len(picture)), Opens: 1}
		if is := c.Stats("main"); is != want {
			t.Errorf("%+v", is)
		}
		if err := errors.Join(v.Close(), v.Close()); err != nil {
			t.Error(err)
		}
		if _, err := v.Next(t.Context()); !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
		c.mustOpen(t, "main", VideoConfig{})
		if err := errors.Join(c.Close(), c.Close()); err != nil {
			t.Error(err)
		}
		if got, want := b.said(), "[info open main open sub close main open main close main close sub close]"; got != want {
			t.Errorf("%s, want %s", got, want)
		}
		if _, err := sub.Next(t.Context()); !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
		if _, err := c.OpenVideo(t.Context(), "main", VideoConfig{}); !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
		if c.Info().Board != "fake" { // nothing asks the board any more
			t.Error(c.Info())
		}
	})
}

func TestM13_WishesAreClamped(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newFake(t)
		b.streams[1].GOP = Range{}
		c := NewCamera(b)
		defer c.Close()
		for _, w := range []struct{ is, want VideoConfig }{
			{VideoConfig{}, VideoConfig{}},
			{VideoConfig{-1, -1, -1, -1, -1}, VideoConfig{}},
			{VideoConfig{333, 77, 1, 7, 1}, VideoConfig{333, 77, 5, 0, 100_000}},
			{VideoConfig{0, 0, 99, 7, math.MaxInt}, VideoConfig{0, 0, 25, 0, 1_000_000}},
		} {
			c.mustOpen(t, "sub", w.is).Close()
			if got := b.wants[len(b.wants)-1]; got != w.want {
				t.Errorf("%+v became %+v, want %+v", w.is, got, w.want)
			}
		}
	})
}

func TestM13_OneReader(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, _ *fakeBoard, c *Camera) {
		v := c.mustOpen(t, "main", VideoConfig{})
		first := make(chan error)
		go func() { _, err := v.Next(t.Context()); first <- err }()
		synctest.Wait()
		if _, err := v.Next(t.Context()); !errors.Is(err, ErrBusy) {
			t.Error(err)
		}
		if err := <-first; err != nil {
			t.Error(err)
		}
	})
}

func TestM13_CloseEndsTheReadInFlight(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*Video, *Camera) error{
		"stream": func(v *Video, _ *Camera) error { return v.Close() },
		"camera": func(_ *Video, c *Camera) error { return c.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T, _ *fakeBoard, c *Camera) {
				v := c.mustOpen(t, "main", VideoConfig{})
				ended := make(chan error)
				go func() { _, err := v.Next(t.Context()); ended <- err }()
				synctest.Wait()
				if err := end(v, c); err != nil {
					t.Error(err)
				}
				if err := <-ended; !errors.Is(err, ErrClosed) || !strings.Contains(err.Error(), "stream main") {
					t.Error(err)
				}
			})
		})
	}
}

func TestM13_TheEndOfAContextLosesNothing(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, _ *fakeBoard, c *Camera) {
		v := c.mustOpen(t, "main", VideoConfig{})
		last := v.mustRead(t, 3)
		short, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		if _, err := v.Next(short); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if au := v.mustRead(t, 1); au.Seq != last.Seq+1 {
			t.Errorf("frame %d after frame %d", au.Seq, last.Seq)
		}
	})
}

// Each rule of what no consumer could use.
func TestM13_BrokenFramesAreGarbage(t *testing.T) {
	t.Parallel()
	for says, change := range map[string]func(n int, au *AccessUnit){
		"an empty frame":                           func(n int, au *AccessUnit) { au.Data = nil },
		"no key frame at the start":                func(n int, au *AccessUnit) { au.Key = false },
		"after a loss":                             func(n int, au *AccessUnit) { au.Lost = uint64(n / 3); au.Seq += au.Lost },
		"without parameter sets":                   func(n int, au *AccessUnit) { au.Params = 0 },
		"a key frame without":                      func(n int, au *AccessUnit) { au.Params = len(au.Data) },
		"frame 2 came again":                       func(n int, au *AccessUnit) { au.Seq = min(au.Seq, 2) },
		"time went back by 0s":                     func(n int, au *AccessUnit) { au.Time = au.Time.Add(-time.Duration(n/3) * 40 * time.Millisecond) },
		"time went back by 960ms":                  func(n int, au *AccessUnit) { au.Time = au.Time.Add(-time.Duration(n/3) * time.Second) },
		"its time is 6s ago":                       func(n int, au *AccessUnit) { au.Time = au.Time.Add(-6 * time.Second) },
		"its time is -1h0m0s ago":                  func(n int, au *AccessUnit) { au.Time = au.Time.Add(time.Hour) },
		"its time is 2562047h47m16.854775807s ago": func(n int, au *AccessUnit) { au.Time = time.Time{} },
	} {
		t.Run(says, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T, b *fakeBoard, c *Camera) {
				b.change = func(n int, au *AccessUnit) error { change(n, au); return nil }
				v := c.mustOpen(t, "main", VideoConfig{})
				var err error
				for range 5 {
					if _, err = v.Next(t.Context()); err != nil {
						break
					}
				}
				if !errors.Is(err, ErrGarbage) || !strings.Contains(err.Error(), says) || !strings.HasPrefix(err.Error(), "stream main: ") {
					t.Errorf("%v, want %q", err, says)
				}
				if err2 := func() error { _, err := v.Next(t.Context()); return err }(); err2 != err {
					t.Errorf("afterwards: %v", err2)
				}
				v.Close()
				b.change = nil
				c.mustOpen(t, "main", VideoConfig{}).mustRead(t, 3)
			})
		})
	}
}

// M5: by restart, frames stay in order and the wish is kept.
func TestM5_KeyFrameAndTuningByRestart(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, b *fakeBoard, c *Camera) {
		v := c.mustOpen(t, "main", VideoConfig{FPS: 20})
		first := v.mustRead(t, 7)
		if err := c.RequestKeyframe("main"); err != nil {
			t.Fatal(err)
		}
		au := v.mustRead(t, 1)
		if !au.Key || au.Seq != first.Seq+1 || !au.Time.After(first.Time) {
			t.Errorf("key %v, frame %d after %d", au.Key, au.Seq, first.Seq)
		}
		v.mustRead(t, 3)
		got, err := c.Tune("main", VideoConfig{Bitrate: 9_000_000})
		if want := (VideoConfig{640, 360, 20, 50, 1_000_000}); err != nil || got != want || v.Config() != want {
			t.Errorf("%+v, %+v, %v", got, v.Config(), err)
		}
		if au := v.mustRead(t, 2); au.Seq != first.Seq+6 {
			t.Errorf("frame %d", au.Seq)
		}
		if want := (VideoConfig{FPS: 20, Bitrate: 1_000_000}); b.wants[2] != want {
			t.Errorf("%+v", b.wants)
		}
		if s := c.Stats("main"); s.Opens != 3 || s.Failures != 0 {
			t.Errorf("%+v", s)
		}
		v.Close()
		for _, err := range []error{c.RequestKeyframe("main"), func() error { _, err := c.Tune("main", VideoConfig{}); return err }()} {
			if !errors.Is(err, ErrClosed) {
				t.Errorf("on a closed stream: %v", err)
			}
		}
	})
}

// M5: with a read in flight it goes on with the new GOP.
func TestM5_RestartWhileReading(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, b *fakeBoard, c *Camera) {
		v := c.mustOpen(t, "main", VideoConfig{})
		v.mustRead(t, 5)
		var wg sync.WaitGroup
		wg.Go(func() {
			if au := v.mustRead(t, 1); !au.Key || au.Seq != 5 {
				t.Errorf("frame %d, key %v", au.Seq, au.Key)
			}
		})
		synctest.Wait()
		if err := c.RequestKeyframe("main"); err != nil {
			t.Error(err)
		}
		wg.Wait()
	})
}

// Whether the device heeds its context or not: nothing stays open.
func TestM13_CloseWhileOpening(t *testing.T) {
	t.Parallel()
	for name, opening := range map[string]func(context.Context, string) error{
		"it heeds its context": func(ctx context.Context, _ string) error { <-ctx.Done(); return ctx.Err() },
		"it does not":          func(context.Context, string) error { <-time.After(time.Second); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T, b *fakeBoard, c *Camera) {
				b.opening = opening
				ended := make(chan error)
				go func() { _, err := c.OpenVideo(t.Context(), "main", VideoConfig{}); ended <- err }()
				synctest.Wait()
				if err := c.Close(); err != nil {
					t.Error(err)
				}
				if err := <-ended; !errors.Is(err, ErrClosed) {
					t.Error(err)
				}
				if b.open["main"] != nil {
					t.Error("the device stayed open")
				}
			})
		})
	}
}
