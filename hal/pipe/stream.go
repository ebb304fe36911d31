package pipe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"go.uber.org/zap"

	"iid2secure.nl/camagent/hal"
)

// How much a source may write that is no picture, before it counts as garbage.
const (
	garbageBytes   = 1 << 20
	garbageTime    = 5 * time.Second
	brokenBytes    = 2 * maxUnit      // once there was a picture
	keyFrameWithin = 60 * time.Second // pictures alone don't help, if none is a key frame
)

// stream is one open source. It reads in Next, without a goroutine of its own:
// a consumer that does not call Next holds the writer up, and nothing else.
type stream struct {
	board *Board
	src   Source
	log   *zap.Logger
	in    *input
	split *splitter

	closed   chan struct{}
	closing  sync.Once
	closeErr error

	mu      sync.Mutex
	watched context.Context // its end interrupts reads, until
	unwatch func() bool     // is called

	// The reader's own.
	err     error // the stream is dead
	gather  gatherer
	pace    pacer
	opened  time.Time
	heard   time.Time // when bytes came last
	useless int       // bytes since the last picture
	since   time.Time // when the first of them came
}

func (b *Board) start(src Source, want hal.VideoConfig) (*stream, error) {
	config := src.wished(want)
	log := b.log.With(zap.String("stream", src.Stream))
	in, err := openInput(&src, config, log)
	if err != nil {
		return nil, err
	}
	s := &stream{
		board: b, src: src, log: log, in: in, split: newSplitter(),
		closed: make(chan struct{}), opened: time.Now(),
		gather: gatherer{known: config, replay: in.replay},
	}
	return s, nil
}

// Config implements [hal.VideoStream]: the size by the newest SPS, the rest as
// configured or wished, else as the stream says (rate) and as counted (GOP).
func (s *stream) Config() hal.VideoConfig { return s.gather.Config() }

// Next implements [hal.VideoStream].
func (s *stream) Next(ctx context.Context) (hal.AccessUnit, error) {
	if s.pace.held != nil && s.err == nil {
		return s.paced(ctx, *s.pace.held)
	}
	for s.err == nil {
		u, ok := s.split.next()
		if !ok {
			u, ok = s.fill(ctx)
		}
		if err := s.interrupted(ctx); err != nil {
			return hal.AccessUnit{}, err
		}
		if !ok {
			continue
		}
		if !u.bad {
			s.useless = 0
		}
		au, ok := s.gather.add(u)
		switch {
		case !ok:
			s.checkKey()
		case s.in.replay:
			return s.paced(ctx, au)
		default:
			return au, nil
		}
	}
	return hal.AccessUnit{}, s.err
}

// interrupted tells why Next must return, if it must, without the stream being dead.
func (s *stream) interrupted(ctx context.Context) error {
	select {
	case <-s.closed:
		s.err = fmt.Errorf("pipe board, stream %q: %w", s.src.Stream, hal.ErrClosed)
		return s.err
	default:
		return ctx.Err()
	}
}

// die ends the stream; the first reason stays.
func (s *stream) die(err error) {
	if s.err == nil {
		s.err = fmt.Errorf("pipe board, stream %q: %w", s.src.Stream, err)
	}
}

// fill reads once. It returns a unit that is complete because of what the read
// told, not because the next one began: at the end, or after a pause.
func (s *stream) fill(ctx context.Context) (unit, bool) {
	s.watch(ctx)
	n, err := s.in.read(ctx, s.split.space(), s.deadline())
	now := time.Now()
	if n > 0 {
		s.took(n, now)
	}
	switch {
	case err == nil, ctx.Err() != nil:
	case errors.Is(err, io.EOF):
		return s.atEnd()
	case errors.Is(err, os.ErrDeadlineExceeded):
		return s.atPause(now)
	case errors.Is(err, os.ErrClosed):
		s.die(hal.ErrClosed)
	default:
		s.die(fmt.Errorf("%w: reading %s: %w", hal.ErrGone, s.in.name, err))
	}
	return unit{}, false
}

// watch makes the end of ctx interrupt reads. It is set up once a context, not
// once a picture.
func (s *stream) watch(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ctx == s.watched || s.in.replay {
		return
	}
	if s.unwatch != nil {
		s.unwatch()
	}
	s.watched, s.unwatch = ctx, context.AfterFunc(ctx, s.in.interrupt)
	select {
	case <-s.closed: // Close has been here already
		s.unwatch()
	default:
	}
}

func (s *stream) stopWatching() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unwatch != nil {
		s.unwatch()
	}
}

// deadline of the next read; zero: none.
func (s *stream) deadline() time.Time {
	switch {
	case s.src.EarlyCut > 0 && s.split.pending():
		return time.Now().Add(s.src.EarlyCut)
	case s.in.lonely():
		return s.opened.Add(s.board.fifoWait)
	}
	return time.Time{}
}

func (s *stream) took(n int, now time.Time) {
	s.split.added(n, now)
	s.heard = now
	if s.useless == 0 {
		s.since = now
	}
	s.useless += n
	if s.split.hopeful() {
		return
	}
	most, old := garbageBytes, now.Sub(s.since) > garbageTime
	if s.gather.started {
		most, old = brokenBytes, false
	}
	if s.useless > most || old {
		s.die(fmt.Errorf("%w: %s wrote %d bytes without a picture", hal.ErrGarbage, s.in.name, s.useless))
	}
}

// checkKey gives up on a source that writes pictures but no key frame.
func (s *stream) checkKey() {
	if w := s.gather.waiting(s.split.now); w > keyFrameWithin {
		s.die(fmt.Errorf("%w: %s wrote pictures for %v, but no key frame with its parameter sets",
			hal.ErrGarbage, s.in.name, w.Round(time.Second)))
	}
}

// atPause: nothing came until the deadline.
func (s *stream) atPause(now time.Time) (unit, bool) {
	if s.src.EarlyCut > 0 && s.split.pending() && now.Sub(s.heard) >= s.src.EarlyCut {
		return s.split.flush()
	}
	if s.in.lonely() && now.Sub(s.opened) >= s.board.fifoWait {
		s.in.release() // the next read tells whether somebody else has it open
	}
	return unit{}, false
}

// atEnd: the source has ended, or the file is to be played once more. A program
// that failed may have stopped in the middle of a picture: it is left out.
func (s *stream) atEnd() (unit, bool) {
	u, ok := s.split.flush()
	if !s.in.replay {
		clean, err := s.in.ended()
		s.die(err)
		return u, ok && clean
	}
	switch err := s.in.rewind(); {
	case err != nil:
		s.die(fmt.Errorf("%w: %s: %w", hal.ErrGone, s.in.name, err))
	case !s.gather.nextPass(ok):
		s.die(fmt.Errorf("%w: %s holds no key frame with its parameter sets", hal.ErrGarbage, s.in.name))
	}
	return u, ok
}

// Close implements [hal.VideoStream]; it returns when the program is gone.
func (s *stream) Close() error {
	s.closing.Do(func() {
		close(s.closed)
		s.stopWatching()
		s.closeErr = s.in.close()
		s.board.forget(s)
	})
	return s.closeErr
}
