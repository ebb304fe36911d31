package haltest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"iid2secure.nl/camagent/hal"
)

// backWithin is how long a device may take to be usable again.
const backWithin = 10 * time.Second

func unplugCases() []Case {
	return []Case{
		{"unplug", "A device that fails ends Next with ErrGone or ErrGarbage; opening again later works once the device is back.",
			"a wait for frames that never come, or handles of a device that is gone", 60 * time.Second, unplug},
	}
}

func unplug(ctx context.Context, s *subject) error {
	if s.Unplug == nil || s.Replug == nil {
		return lacks("nobody here can unplug it")
	}
	o, err := s.board(ctx)
	if err != nil {
		return err
	}
	info := o.board.Streams()[0]
	r, _, err := stream(ctx, o, info, hal.VideoConfig{})
	if err != nil {
		return err
	}
	ended, err := endedBy(ctx, r, backWithin, s.Unplug)
	if err == nil && !errors.Is(ended, hal.ErrGone) && !errors.Is(ended, hal.ErrGarbage) {
		err = fmt.Errorf("Next returned %v, want ErrGone", ended)
	}
	closed := start(func() error { _ = r.Close(); return nil }).wait(closeWithin)
	if err := errors.Join(err, closed, s.Replug()); err != nil {
		return err
	}
	return returns(ctx, s, info)
}

// returns opens the stream again, and the board if need be, until a frame comes.
func returns(ctx context.Context, s *subject, info hal.StreamInfo) error {
	for end := time.Now().Add(backWithin); ; {
		o, err := s.board(ctx)
		if err == nil {
			var r *reader
			var au hal.AccessUnit
			if r, au, err = stream(ctx, o, info, hal.VideoConfig{}); err == nil {
				if !au.Key {
					err = errors.New("the first frame after it is no key frame")
				}
				return errors.Join(err, r.Close())
			}
		}
		if time.Now().After(end) {
			return fmt.Errorf("%v after the device is back: %w", backWithin, err)
		}
		if err := pause(ctx, 250*time.Millisecond); err != nil {
			return err
		}
	}
}
