package haltest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"iid2secure.nl/camagent/hal"
)

// soon is how long a call may take to return once it is told to.
const soon = 2 * time.Second

func lifeCases() []Case {
	return []Case{
		{"cancel", "Next returns when its context ends: with its error; the stream lives on, no frame is lost.",
			"a blocking ioctl or read without a deadline, or a frame taken from a queue and then thrown away", 30 * time.Second, each(cancel)},
		{"close-while-reading", "Next returns ErrClosed when Close is called from another goroutine meanwhile.",
			"Close waits for the reader, which waits for the device", 30 * time.Second, each(closeWhileReading)},
		{"next-after-close", "A Next that was on its way when Close was called, and comes after it, returns ErrClosed.",
			"the closed device is used: a crash, or what another opened meanwhile", 30 * time.Second, each(nextAfterClose)},
		{"start-stop", "A closed stream can be opened again, any number of times; each time it begins with a key frame, and its times go on.",
			"buffers that are not given back, so that the second or third start fails, or an old frame that is left in a queue", 60 * time.Second, each(startStop)},
		{"close-unread", "A stream that nobody reads can be closed.",
			"a writer that waits for its reader for ever", 30 * time.Second, each(closeUnread)},
		{"close-board", "The board's Close stops everything it started, a Next in flight included.",
			"Close waits for the stream's reader, or forgets one of the streams", 30 * time.Second, closeBoard},
		{"while-reading", "All other methods may be called from any goroutine, at the same time.",
			"a lock that Next holds while it waits", 30 * time.Second, each(whileReading)},
	}
}

// cancel cuts reads short: half of them before a frame can be there.
func cancel(ctx context.Context, o *opened, info hal.StreamInfo) error {
	r, last, err := stream(ctx, o, info, hal.VideoConfig{})
	if err != nil {
		return err
	}
	defer r.Close()
	interval := 40 * time.Millisecond
	if fps := r.Config().FPS; fps > 0 {
		interval = time.Second / time.Duration(fps)
	}
	cut, lost := 0, 0
	for i := range 12 {
		within := interval * time.Duration(i%4+1) / 8
		short, stop := context.WithTimeout(ctx, within)
		begin := time.Now()
		au, err := r.Next(short)
		stop()
		switch took := time.Since(begin); {
		case err == nil:
			last = au
			continue
		case took > within+soon:
			return fmt.Errorf("Next returned %v after its context ended", took-within)
		case !errors.Is(err, context.DeadlineExceeded):
			return fmt.Errorf("Next returned %w, want the context's error", err)
		}
		cut++
		if au, err = next(ctx, r, nextWithin); err != nil {
			return fmt.Errorf("after a Next that was cut short: %w", err)
		}
		if au.Lost > 0 || au.Seq != last.Seq+1 {
			lost++
		}
		last = au
	}
	switch {
	case cut == 0:
		return lacks("its frames came too fast to cut a Next short")
	case lost > cut/3:
		return fmt.Errorf("after %d of %d cuts the next frame was lost", lost, cut)
	}
	return nil
}

// endedBy runs f while a Next is in flight and tells by what that ended.
func endedBy(ctx context.Context, r *reader, within time.Duration, f func() error) (ended error, err error) {
	read := start(func() error {
		for {
			if _, err := r.Next(ctx); err != nil {
				return err
			}
		}
	})
	// A frame may just have come, then the next read is in flight.
	if err := read.running(20 * time.Millisecond); err != nil {
		return nil, fmt.Errorf("Next: %w", err)
	}
	if err := start(f).wait(closeWithin); err != nil {
		return nil, err
	}
	ended = read.wait(within)
	if errors.Is(ended, errHangs) {
		return nil, fmt.Errorf("Next: %w", ended)
	}
	return ended, nil
}

func closeWhileReading(ctx context.Context, o *opened, info hal.StreamInfo) error {
	r, _, err := stream(ctx, o, info, hal.VideoConfig{})
	if err != nil {
		return err
	}
	ended, err := endedBy(ctx, r, soon, r.Close)
	if err == nil && !errors.Is(ended, hal.ErrClosed) {
		err = fmt.Errorf("Next returned %v, want ErrClosed", ended)
	}
	return err
}

func nextAfterClose(ctx context.Context, o *opened, info hal.StreamInfo) error {
	r, _, err := stream(ctx, o, info, hal.VideoConfig{})
	if err != nil {
		return err
	}
	if err := start(r.Close).wait(closeWithin); err != nil {
		return err
	}
	var ended error
	err = start(func() error { _, ended = r.Next(ctx); return nil }).wait(soon)
	if err == nil && !errors.Is(ended, hal.ErrClosed) {
		err = fmt.Errorf("Next returned %v, want ErrClosed", ended)
	}
	return err
}

// startStopLasts bounds the time for boards that take long to start; 3 starts
// there are at least.
const startStopLasts = 4 * time.Second

func startStop(ctx context.Context, o *opened, info hal.StreamInfo) error {
	var last time.Time
	begin := time.Now()
	for i, frames := range []int{1, 2, 3, 5, 8, 1, 2, 3} {
		if i >= 3 && time.Since(begin) > startStopLasts {
			return nil
		}
		r, au, err := stream(ctx, o, info, hal.VideoConfig{})
		if err != nil {
			return fmt.Errorf("start %d: %w", i+1, err)
		}
		first := au
		for n := 1; n < frames && err == nil; n++ {
			au, err = next(ctx, r, nextWithin)
		}
		err = errors.Join(err, start(r.Close).wait(closeWithin))
		switch {
		case err != nil:
			return fmt.Errorf("start and stop %d, of %d frames: %w", i+1, frames, err)
		case !first.Key:
			return fmt.Errorf("start %d did not begin with a key frame", i+1)
		case !last.IsZero() && !first.Time.After(last):
			return fmt.Errorf("start %d began with a frame of before the last stop", i+1)
		}
		last = au.Time
	}
	return nil
}

func closeUnread(ctx context.Context, o *opened, info hal.StreamInfo) error {
	v, err := o.board.OpenVideo(ctx, info.Name, hal.VideoConfig{})
	if err != nil {
		return err
	}
	err = pause(ctx, 300*time.Millisecond)
	return errors.Join(err, start(v.Close).wait(closeWithin))
}

func closeBoard(ctx context.Context, s *subject) error {
	o, err := s.fresh(ctx)
	if err != nil {
		return err
	}
	info := o.board.Streams()[0]
	r, _, err := stream(ctx, o, info, hal.VideoConfig{})
	if err != nil {
		return err
	}
	ended, err := endedBy(ctx, r, soon, s.close)
	if err == nil && !errors.Is(ended, hal.ErrClosed) {
		err = fmt.Errorf("Next returned %v, want ErrClosed", ended)
	}
	return err
}

func whileReading(ctx context.Context, o *opened, info hal.StreamInfo) error {
	r, _, err := stream(ctx, o, info, hal.VideoConfig{})
	if err != nil {
		return err
	}
	defer r.Close()
	var readErr error
	reading, stop := context.WithCancel(ctx)
	read := start(func() error {
		for readErr == nil {
			_, readErr = r.Next(reading)
		}
		return nil
	})
	if err := read.running(20 * time.Millisecond); err != nil {
		stop()
		return err
	}
	asked := start(func() error {
		for range 20 {
			r.Config()
			o.board.Info()
			o.board.Streams()
		}
		return nil
	}).wait(soon / 4)
	stop()
	err = read.wait(soon)
	switch {
	case asked != nil:
		return fmt.Errorf("Config, Info and Streams while a Next waits: %w", asked)
	case err != nil:
		return err
	case !errors.Is(readErr, context.Canceled):
		return readErr
	}
	return nil
}
