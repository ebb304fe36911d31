package fetch

import (
	"context"
	"fmt"
	"io"
	"time"
)

// open starts the download of an object from an offset on; it ends when no byte comes for g.Stall.
func (g *Getter) open(ctx context.Context, name string, offset int64) (io.ReadCloser, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	s := &stalling{cancel: cancel, ctx: ctx, after: g.Stall}
	s.timer = time.AfterFunc(g.Stall, func() {
		cancel(fmt.Errorf("no progress for %v: %w", g.Stall, context.DeadlineExceeded))
	})
	d, err := g.Source.Get(ctx, g.Camera.Serial, name)
	if err == nil {
		s.timer.Reset(g.Stall)
		d.Offset = offset
		s.body, err = g.Source.Fetch(ctx, d)
	}
	if err != nil {
		err = s.why(err)
		s.Close()
		return nil, err
	}
	return s, nil
}

// stalling is a body that gives up on lack of progress, not on total time.
type stalling struct {
	body   io.ReadCloser
	ctx    context.Context //nolint:containedctx // the download's own, ended by the timer
	cancel context.CancelCauseFunc
	timer  *time.Timer
	after  time.Duration
}

func (s *stalling) Read(b []byte) (int, error) {
	n, err := s.body.Read(b)
	if n > 0 {
		s.timer.Reset(s.after)
	}
	if err != nil && err != io.EOF {
		err = s.why(err)
	}
	return n, err
}

// why tells the cause of an end that was ours, instead of "context canceled".
func (s *stalling) why(err error) error {
	if cause := context.Cause(s.ctx); cause != nil {
		return cause
	}
	return err
}

func (s *stalling) Close() error {
	s.timer.Stop()
	s.cancel(nil)
	if s.body == nil {
		return nil
	}
	return s.body.Close()
}
