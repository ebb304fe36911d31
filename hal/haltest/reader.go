package haltest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"iid2secure.nl/camagent/hal"
)

// reader reads one open stream.
type reader struct {
	hal.VideoStream
	info hal.StreamInfo
}

// stream opens one stream of the board and reads its first frame.
func stream(ctx context.Context, o *opened, info hal.StreamInfo, want hal.VideoConfig) (*reader, hal.AccessUnit, error) {
	v, err := o.board.OpenVideo(ctx, info.Name, want)
	if err != nil {
		return nil, hal.AccessUnit{}, fmt.Errorf("opening stream %s with %+v: %w", info.Name, want, err)
	}
	au, err := next(ctx, v, firstWithin)
	if err != nil {
		return nil, au, errors.Join(fmt.Errorf("the first frame of stream %s: %w", info.Name, err), v.Close())
	}
	return &reader{v, info}, au, nil
}

// read reads frames until enough says so, which sees each.
func (r *reader) read(ctx context.Context, enough func(*hal.AccessUnit) bool) error {
	for {
		au, err := next(ctx, r, nextWithin)
		if err != nil {
			return fmt.Errorf("stream %s: %w", r.info.Name, err)
		}
		if enough(&au) {
			return nil
		}
	}
}

// shoot reads for a time and notes what came.
func (r *reader) shoot(ctx context.Context, d time.Duration) (shots []shot, err error) {
	err = r.read(ctx, func(au *hal.AccessUnit) bool {
		shots = append(shots, shot{au.Seq, au.Lost, au.Key, len(au.Data), au.Time, time.Now()})
		return au.Time.Sub(shots[0].time) >= d
	})
	return shots, err
}

// each runs f on all streams at the same time, as they run in use.
func each(f func(context.Context, *opened, hal.StreamInfo) error) func(context.Context, *subject) error {
	return func(ctx context.Context, s *subject) error {
		o, err := s.board(ctx)
		if err != nil {
			return err
		}
		list := o.board.Streams()
		results := make([]error, len(list))
		var calls []*call
		for i, info := range list {
			calls = append(calls, start(func() error {
				results[i] = named(info, protect(func() error { return f(ctx, o, info) }))
				return nil
			}))
		}
		for _, c := range calls {
			if err := c.end(ctx); err != nil {
				return err
			}
		}
		return together(results)
	}
}

func named(info hal.StreamInfo, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("stream %s: %w", info.Name, err)
}

// together is what came of several streams: not applicable only if it is to none.
func together(results []error) error {
	var errs []error
	var none error
	for _, err := range results {
		var l lacking
		switch {
		case errors.As(err, &l):
			none = l
		default:
			errs = append(errs, err)
		}
	}
	if len(errs) == 0 {
		return none
	}
	return errors.Join(errs...)
}
