package haltest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"iid2secure.nl/camagent/hal"
)

// closeWithin is how long closing a board or a stream may take.
const closeWithin = 5 * time.Second

// subject is the state of one run.
type subject struct {
	Subject
	id     string    // of this run alone
	before leftovers // what was there before the first board
	// listen hears how late the machine is, from its call to stop's.
	listen  func() (stop func() time.Duration)
	repeats int // of all cases so far
	// filmHeld is how late it was while the film was taken that the present case has
	// looked at, as a time.Duration.
	filmHeld atomic.Int64

	mu   sync.Mutex // a case that hangs goes on beside the next one
	now  *opened    // nil: no board is open
	film *film
	// Of the board that was opened last.
	info    hal.Info
	streams []hal.StreamInfo
}

// opened is a board with its parts, all open.
type opened struct {
	board hal.Board
	parts []any // in the order in which they are asked: parts, then the board
}

// board returns the board that is open, or opens it.
func (s *subject) board(ctx context.Context) (*opened, error) {
	s.mu.Lock()
	now := s.now
	s.mu.Unlock()
	if now != nil {
		return now, nil
	}
	board, parts, err := s.Open(ctx)
	if err != nil {
		return nil, fmt.Errorf("opening the board: %w", err)
	}
	now = &opened{board: board, parts: append(append([]any(nil), parts...), board)}
	info, streams := board.Info(), board.Streams()
	s.mu.Lock()
	s.now, s.info, s.streams = now, info, streams
	s.mu.Unlock()
	return now, nil
}

// opened tells whether a board was ever opened.
func (s *subject) opened() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.info != hal.Info{} || s.streams != nil
}

// close closes the board that is open, if there is one.
func (s *subject) close() error {
	s.mu.Lock()
	now := s.now
	s.now = nil
	s.mu.Unlock()
	if now == nil {
		return nil
	}
	return start(now.close).wait(closeWithin)
}

// fresh returns a board that nothing was done with yet.
func (s *subject) fresh(ctx context.Context) (*opened, error) {
	if err := s.close(); err != nil {
		return nil, fmt.Errorf("closing the board: %w", err)
	}
	return s.board(ctx)
}

// close closes the parts and the board, in the order of hal.Camera.
func (o *opened) close() error {
	var errs []error
	for _, p := range o.parts {
		if closer, ok := p.(io.Closer); ok {
			errs = append(errs, closer.Close())
		}
	}
	return errors.Join(errs...)
}

// lacking is why a case is not applicable.
type lacking string

func (l lacking) Error() string { return string(l) }

func lacks(format string, args ...any) error { return lacking(fmt.Sprintf(format, args...)) }

// need finds a capability, or tells that the case is not applicable.
func need[T any](ctx context.Context, s *subject, name string) (T, error) {
	var none T
	o, err := s.board(ctx)
	if err != nil {
		return none, err
	}
	t, ok := hal.As[T](o.parts...)
	if !ok {
		return none, lacks("it has no %s", name)
	}
	return t, nil
}
