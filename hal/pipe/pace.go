package pipe

import (
	"context"
	"time"

	"iid2secure.nl/camagent/hal"
)

// pacer lets the pictures of a file out at their rate.
type pacer struct {
	due  time.Time       // of the next picture
	held *hal.AccessUnit // waits for its time, over several calls of Next if need be
}

// maxBehind is how late a consumer may be before pictures are no longer made up for.
const maxBehind = time.Second

// paced returns au when its time has come.
func (s *stream) paced(ctx context.Context, au hal.AccessUnit) (hal.AccessUnit, error) {
	now := time.Now()
	if now.Sub(s.pace.due) > maxBehind {
		s.pace.due = now
	}
	s.pace.held = &au
	if wait := s.pace.due.Sub(now); wait > 0 {
		t := time.NewTimer(wait)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
		case <-s.closed:
		}
	}
	if err := s.interrupted(ctx); err != nil {
		return hal.AccessUnit{}, err
	}
	au.Time, s.pace.held = s.pace.due, nil
	s.pace.due = s.pace.due.Add(time.Second / time.Duration(s.fps()))
	return au, nil
}

// fps is the rate at which a file is replayed.
func (s *stream) fps() int {
	if n := s.Config().FPS; n > 0 {
		return n
	}
	return 25
}
