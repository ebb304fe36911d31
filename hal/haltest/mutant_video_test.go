package haltest_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/hal/sim"
)

// board is a simulator whose streams are wrapped.
type board struct {
	*sim.Board
	wrap func(s *stream)
	open func(ctx context.Context, stream string, want *hal.VideoConfig) error // before it is opened

	mu     *sync.Mutex
	opened map[string]int
}

// wrappedBoard counts openings over all boards of a run.
func wrappedBoard(b *sim.Board, a *afterwards) board {
	return board{Board: b, mu: &a.mu, opened: a.opened}
}

// stream is a wrapped stream; nil functions do what the simulator does.
type stream struct {
	hal.VideoStream
	name   string
	opened int // how often, this time included
	n      int // frames so far

	change func(au *hal.AccessUnit) error
	next   func(ctx context.Context) (hal.AccessUnit, error)
	config func() hal.VideoConfig
	close  func() error
}

func (b *board) OpenVideo(ctx context.Context, name string, want hal.VideoConfig) (hal.VideoStream, error) {
	b.mu.Lock()
	b.opened[name]++
	opened := b.opened[name]
	b.mu.Unlock()
	if b.open != nil {
		if err := b.open(ctx, name, &want); err != nil {
			return nil, err
		}
	}
	v, err := b.Board.OpenVideo(ctx, name, want)
	if err != nil {
		return nil, err
	}
	s := &stream{VideoStream: v, name: name, opened: opened}
	s.next, s.config, s.close = v.Next, v.Config, v.Close
	if b.wrap != nil {
		b.wrap(s)
	}
	return s, nil
}

func (s *stream) Next(ctx context.Context) (hal.AccessUnit, error) {
	au, err := s.next(ctx)
	if err == nil {
		s.n++
		if s.change != nil {
			err = s.change(&au)
		}
	}
	return au, err
}

func (s *stream) Config() hal.VideoConfig { return s.config() }
func (s *stream) Close() error            { return s.close() }

// wrapped makes a mutant of what is done to each stream.
func wrapped(wrap func(*stream)) func(*sim.Board, *afterwards) (hal.Board, []any) {
	return func(b *sim.Board, a *afterwards) (hal.Board, []any) {
		w := wrappedBoard(b, a)
		w.wrap = wrap
		return &w, nil
	}
}

// frames makes a mutant that changes frames of the film: of the first opening.
func frames(change func(s *stream, au *hal.AccessUnit)) func(*sim.Board, *afterwards) (hal.Board, []any) {
	return wrapped(func(s *stream) {
		if s.opened == 1 {
			s.change = func(au *hal.AccessUnit) error { change(s, au); return nil }
		}
	})
}

// lies makes a mutant whose Config is wrong at the first opening.
func lies(lie func(*hal.VideoConfig)) func(*sim.Board, *afterwards) (hal.Board, []any) {
	return wrapped(func(s *stream) {
		if inner := s.config; s.opened == 1 {
			s.config = func() hal.VideoConfig { c := inner(); lie(&c); return c }
		}
	})
}

// shuffled lists its streams in another order at every second call.
type shuffled struct {
	*sim.Board
	calls int
}

func (b *shuffled) Streams() []hal.StreamInfo {
	list := b.Board.Streams()
	if b.calls++; b.calls == 2 {
		slices.Reverse(list)
	}
	return list
}

func videoMutants() []mutant {
	var last time.Time
	return []mutant{
		{finds: "streams", how: "the list changes", make: func(b *sim.Board, _ *afterwards) (hal.Board, []any) { return &shuffled{Board: b}, nil }},
		{finds: "runs", how: "a stream ends after 150 frames", make: wrapped(func(s *stream) {
			s.change = func(*hal.AccessUnit) error {
				if s.n > 150 {
					return hal.ErrGone
				}
				return nil
			}
		})},
		{finds: "first-frame", how: "the first frame is lost", make: wrapped(func(s *stream) {
			inner := s.next
			s.next = func(ctx context.Context) (hal.AccessUnit, error) {
				if s.n == 0 && s.opened == 1 {
					if _, err := inner(ctx); err != nil {
						return hal.AccessUnit{}, err
					}
				}
				return inner(ctx)
			}
		})},
		{finds: "frame-form", how: "a delimiter at the end of a frame", make: frames(func(s *stream, au *hal.AccessUnit) {
			if s.n == 20 {
				au.Data = hal.AppendAVC(slices.Clone(au.Data), []byte{9, 0xf0})
			}
		})},
		{finds: "sequence", how: "a number is left out", make: frames(func(s *stream, au *hal.AccessUnit) {
			if s.n > 120 {
				au.Seq++
			}
		})},
		{finds: "after-loss", how: "a loss in the middle of a GOP", make: frames(func(s *stream, au *hal.AccessUnit) {
			if s.n == 120 {
				au.Lost = 3
			}
			if s.n >= 120 {
				au.Seq += 3
			}
		})},
		{finds: "time-rises", how: "a frame has the time of the last one", make: frames(func(s *stream, au *hal.AccessUnit) {
			if s.n == 120 && s.name == "main" {
				au.Time = last
			}
			if s.name == "main" {
				last = au.Time
			}
		})},
		{finds: "time-near-now", also: []string{"one-clock"}, how: "time is 8 s behind", make: frames(func(_ *stream, au *hal.AccessUnit) {
			au.Time = au.Time.Add(-8 * time.Second)
		})},
		{finds: "immutable", how: "one buffer for all frames", make: wrapped(func(s *stream) {
			buffer := make([]byte, 1<<20)
			s.change = func(au *hal.AccessUnit) error { au.Data = buffer[:copy(buffer, au.Data)]; return nil }
		})},
		{finds: "sps", how: "Config tells another width", make: lies(func(c *hal.VideoConfig) { c.Width += 16 })},
		{finds: "fps", also: []string{"sps"}, how: "Config tells another rate", make: lies(func(c *hal.VideoConfig) { c.FPS = 30 })},
		{finds: "gop", how: "Config tells another GOP", make: lies(func(c *hal.VideoConfig) { c.GOP = 60 })},
		{finds: "bitrate", how: "Config tells another bitrate", make: lies(func(c *hal.VideoConfig) { c.Bitrate += c.Bitrate / 4 })},
		{finds: "one-clock", how: "one stream has a clock of its own", make: frames(func(s *stream, au *hal.AccessUnit) {
			if s.name == "sub" {
				au.Time = au.Time.Add(-time.Second)
			}
		})},
	}
}

// opening makes a mutant of what is done before a stream is opened.
func opening(open func(ctx context.Context, stream string, want *hal.VideoConfig) error) func(*sim.Board, *afterwards) (hal.Board, []any) {
	return func(b *sim.Board, a *afterwards) (hal.Board, []any) {
		w := wrappedBoard(b, a)
		w.open = open
		return &w, nil
	}
}

// tuner is a board that tunes otherwise.
type tuner struct {
	board
	tune func(b *tuner, stream string, patch hal.VideoConfig) (hal.VideoConfig, error)

	lock sync.Mutex
	lie  map[string]hal.VideoConfig
	gone map[string]uint64 // frames before the last change
	seq  map[string]uint64
}

// tunes makes a mutant of a Tune. What it notes in lie is told by Config; what
// it notes in gone is taken from sequence.
func tunes(tune func(b *tuner, stream string, patch hal.VideoConfig) (hal.VideoConfig, error)) func(*sim.Board, *afterwards) (hal.Board, []any) {
	return func(b *sim.Board, a *afterwards) (hal.Board, []any) {
		t := &tuner{board: wrappedBoard(b, a), tune: tune, lie: map[string]hal.VideoConfig{}, gone: map[string]uint64{}, seq: map[string]uint64{}}
		t.wrap = func(s *stream) {
			inner := s.config
			t.lock.Lock()
			delete(t.lie, s.name)
			delete(t.gone, s.name)
			t.lock.Unlock()
			s.config = func() hal.VideoConfig {
				t.lock.Lock()
				defer t.lock.Unlock()
				return inner().With(t.lie[s.name])
			}
			s.change = func(au *hal.AccessUnit) error {
				t.lock.Lock()
				defer t.lock.Unlock()
				t.seq[s.name] = au.Seq
				au.Seq -= t.gone[s.name]
				return nil
			}
		}
		return t, nil
	}
}

func (b *tuner) Tune(stream string, patch hal.VideoConfig) (hal.VideoConfig, error) {
	return b.tune(b, stream, patch)
}

// pretends keeps what it does not do, and tells it.
func pretends(which func(*hal.VideoConfig) *int) func(*sim.Board, *afterwards) (hal.Board, []any) {
	return tunes(func(b *tuner, stream string, patch hal.VideoConfig) (hal.VideoConfig, error) {
		b.lock.Lock()
		lie := b.lie[stream]
		if v := which(&patch); *v != 0 {
			*which(&lie) = *v
			*v = 0
		}
		b.lie[stream] = lie
		b.lock.Unlock()
		is, err := b.Board.Tune(stream, patch)
		return is.With(lie), err
	})
}

func steerMutants() []mutant {
	return []mutant{
		{finds: "adjust-not-refuse", how: "an odd size is refused", make: opening(func(_ context.Context, _ string, want *hal.VideoConfig) error {
			if want.Width%2 == 1 {
				return fmt.Errorf("%w: width %d", hal.ErrArgument, want.Width)
			}
			return nil
		})},
		{finds: "least", how: "one frame a second becomes two", make: opening(func(_ context.Context, _ string, want *hal.VideoConfig) error {
			if want.FPS == 1 {
				want.FPS = 2
			}
			return nil
		})},
		{finds: "most", how: "the highest rate is not reached", make: opening(func(_ context.Context, _ string, want *hal.VideoConfig) error {
			if want.FPS == 30 {
				want.FPS = 29
			}
			return nil
		})},
		{finds: "keyframe", how: "a request is forgotten", make: func(b *sim.Board, _ *afterwards) (hal.Board, []any) {
			return b, []any{&lazyKeys{b: b, asked: map[string]int{}}}
		}},
		{finds: "tune-config", how: "the patch is returned", make: tunes(func(b *tuner, stream string, patch hal.VideoConfig) (hal.VideoConfig, error) {
			_, err := b.Board.Tune(stream, patch)
			return patch, err
		})},
		{finds: "tune-fps", how: "FPS is kept and not set", make: pretends(func(c *hal.VideoConfig) *int { return &c.FPS })},
		{finds: "tune-gop", how: "GOP is kept and not set", make: pretends(func(c *hal.VideoConfig) *int { return &c.GOP })},
		{finds: "tune-bitrate", how: "Bitrate is kept and not set", make: pretends(func(c *hal.VideoConfig) *int { return &c.Bitrate })},
		{finds: "tune-order", how: "numbers begin anew", make: tunes(func(b *tuner, stream string, patch hal.VideoConfig) (hal.VideoConfig, error) {
			b.lock.Lock()
			b.gone[stream] = b.seq[stream]
			b.lock.Unlock()
			return b.Board.Tune(stream, patch)
		})},
	}
}

// lazyKeys forgets every second request.
type lazyKeys struct {
	b     *sim.Board
	mu    sync.Mutex
	asked map[string]int
}

func (k *lazyKeys) RequestKeyframe(stream string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.asked[stream]++; k.asked[stream]%2 == 0 {
		return nil
	}
	return k.b.RequestKeyframe(stream)
}

// closed makes a mutant that returns another error than ErrClosed, if which
// says so of who closed it.
func closed(which func(byStream, inFlight bool) bool) func(*sim.Board, *afterwards) (hal.Board, []any) {
	return wrapped(func(s *stream) {
		var mu sync.Mutex
		var closed, reading, inFlight bool
		next, stop := s.next, s.close
		s.next = func(ctx context.Context) (hal.AccessUnit, error) {
			mu.Lock()
			reading = true
			mu.Unlock()
			au, err := next(ctx)
			mu.Lock()
			defer mu.Unlock()
			reading = false
			if errors.Is(err, hal.ErrClosed) && which(closed, inFlight) {
				err = hal.ErrGone
			}
			return au, err
		}
		s.close = func() error {
			mu.Lock()
			closed, inFlight = true, reading
			mu.Unlock()
			return stop()
		}
	})
}

func lifeMutants() []mutant {
	return []mutant{
		{finds: "cancel", how: "a read that is cut short loses a frame", make: wrapped(func(s *stream) {
			inner, cut := s.next, false
			s.next = func(ctx context.Context) (hal.AccessUnit, error) {
				if cut {
					cut = false
					if _, err := inner(ctx); err != nil {
						return hal.AccessUnit{}, err
					}
				}
				au, err := inner(ctx)
				cut = err != nil
				return au, err
			}
		})},
		{finds: "close-while-reading", how: "Close in flight is told as a device that is gone", make: closed(func(byStream, inFlight bool) bool { return byStream && inFlight })},
		{finds: "next-after-close", how: "Next after Close tells a device that is gone", make: closed(func(byStream, inFlight bool) bool { return byStream && !inFlight })},
		{finds: "close-board", how: "the board's Close is told as a device that is gone", make: closed(func(byStream, _ bool) bool { return !byStream })},
		{finds: "start-stop", how: "each opening takes one of 15 buffers", make: func(b *sim.Board, a *afterwards) (hal.Board, []any) {
			c := wrappedBoard(b, a)
			c.opened = map[string]int{} // the driver lets go when the board is closed
			c.open = func(_ context.Context, name string, _ *hal.VideoConfig) error {
				c.mu.Lock()
				defer c.mu.Unlock()
				if c.opened[name] > 15 {
					return fmt.Errorf("%w: no buffer left", hal.ErrBusy)
				}
				return nil
			}
			return &c, nil
		}},
		{finds: "close-unread", how: "Close waits for the first read", make: func(b *sim.Board, after *afterwards) (hal.Board, []any) {
			return wrapped(func(s *stream) {
				stop := s.close
				s.close = func() error {
					if s.n == 0 {
						<-after.done
					}
					return stop()
				}
			})(b, after)
		}},
		{finds: "while-reading", how: "Next holds a lock while it waits", make: wrapped(func(s *stream) {
			lock := make(chan struct{}, 1)
			next, config := s.next, s.config
			s.next = func(ctx context.Context) (hal.AccessUnit, error) {
				lock <- struct{}{}
				defer func() { <-lock }()
				return next(ctx)
			}
			s.config = func() hal.VideoConfig {
				lock <- struct{}{}
				defer func() { <-lock }()
				return config()
			}
		})},
		{finds: "unplug", how: "a device that is gone is told as closed", unplug: true, make: wrapped(func(s *stream) {
			inner := s.next
			s.next = func(ctx context.Context) (hal.AccessUnit, error) {
				au, err := inner(ctx)
				if errors.Is(err, hal.ErrGone) {
					err = hal.ErrClosed
				}
				return au, err
			}
		})},
	}
}
