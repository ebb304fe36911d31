package v4l2

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/hal/internal/kernel"
)

const (
	// maxUseless is how many buffers in a row may be of no use.
	maxUseless = 300
	// askAgain is how long the answer to a wish for a key frame is waited for.
	askAgain = time.Second
)

// stream is one running device. It reads in Next, without a goroutine of its
// own: if nobody calls Next, the driver drops frames, and says so.
type stream struct {
	board *Board
	src   *source
	wake  *kernel.Waiter

	closed   atomic.Bool
	closing  sync.Once
	closeErr error

	// Who holds reader may use the queue. The others that want it wake it up, and
	// count in waiting.
	reader  sync.Mutex
	waiting atomic.Int32
	q       *queue
	gather  gatherer
	clock   clock
	asked   time.Time // when a key frame was wished for, after a loss
	keep    uint64    // frames after which a key frame is asked for; 0: never
	kept    uint64    // the frame at which that was done last
	err     error     // the stream is dead
	watched context.Context
	unwatch func() bool

	forced atomic.Bool // a key frame was asked for by others

	// device is used under control, and is nil after Close.
	control sync.Mutex
	device  *device

	mu     sync.Mutex
	config hal.VideoConfig
}

// startStream takes over an open device, which it closes, also if it fails.
func startStream(b *Board, src *source, d *device, want hal.VideoConfig) (*stream, error) {
	s := &stream{board: b, src: src, device: d}
	if err := s.configure(want); err != nil {
		_ = d.close()
		return nil, err
	}
	var err error
	if s.q, err = startQueue(d); err == nil {
		err = s.begin(want)
	}
	if err != nil {
		s.shut()
		return nil, err
	}
	return s, nil
}

// configure sets what can only be set while nothing runs.
func (s *stream) configure(want hal.VideoConfig) error {
	pix, err := s.device.setFormat(calls.sFmt, fmtH264, want.Width, want.Height)
	if err != nil {
		return err
	}
	fps, err := s.device.setRate(want.FPS)
	if err != nil {
		return err
	}
	if s.device.has(cidRepeatHeaders) {
		_, _ = s.device.set(cidRepeatHeaders, 1) // we put them in front ourselves else
	}
	s.config = hal.VideoConfig{Width: int(pix.Width), Height: int(pix.Height), FPS: fps}
	return nil
}

// begin sets what can be set while it runs: a USB camera forgets it at the start.
func (s *stream) begin(want hal.VideoConfig) (err error) {
	if s.wake, err = kernel.NewWaiter(); err != nil {
		return err
	}
	if s.src.encoder.gop == 0 && s.src.encoder.canKey() {
		s.keep = uint64(want.GOP)
	}
	_ = s.src.encoder.tune(s.device, want) // Config tells what came of it
	s.config = s.config.With(s.src.encoder.config(s.device))
	if p := s.board.picture; p != nil && s.src == s.board.sources[0] {
		p.restore(s.device)
	}
	return nil
}

// Config implements [hal.VideoStream]: as the driver said, and, once there was a
// picture, its own size. The GOP is counted if the driver doesn't tell it.
func (s *stream) Config() hal.VideoConfig {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.config
}

// Next implements [hal.VideoStream].
func (s *stream) Next(ctx context.Context) (hal.AccessUnit, error) {
	s.reader.Lock()
	defer s.reader.Unlock()
	s.watch(ctx)
	for s.err == nil {
		if err := s.interrupted(ctx); err != nil {
			return hal.AccessUnit{}, err
		}
		f, ok, err := s.q.take()
		switch {
		case err != nil:
			s.die(err)
		case !ok:
			s.die(s.wait())
		default:
			if au, ok := s.receive(f); ok {
				return au, nil
			}
		}
	}
	return hal.AccessUnit{}, s.err
}

// interrupted tells why Next must return, if it must, and lets others have the queue.
func (s *stream) interrupted(ctx context.Context) error {
	for s.waiting.Load() > 0 && !s.closed.Load() {
		s.reader.Unlock()
		runtime.Gosched()
		s.reader.Lock()
	}
	if s.closed.Load() {
		return s.src.errorf(hal.ErrClosed)
	}
	return ctx.Err()
}

// watch makes the end of ctx end a wait. It is set up once a context, not once a
// picture.
func (s *stream) watch(ctx context.Context) {
	if ctx == s.watched || s.closed.Load() {
		return
	}
	s.stopWatching()
	s.watched, s.unwatch = ctx, context.AfterFunc(ctx, s.wake.Wake)
}

func (s *stream) stopWatching() {
	if s.unwatch != nil {
		s.unwatch()
	}
}

// wait blocks until the driver has a picture, or somebody wakes us up.
func (s *stream) wait() error {
	events, err := s.wake.Wait(s.q.d.fd, unix.POLLIN, -1)
	if err == nil && events&unix.POLLERR != 0 && events&unix.POLLIN == 0 {
		return fmt.Errorf("%w: %s (%s) stopped", hal.ErrGone, s.q.d.path, s.q.d.card)
	}
	return err
}

// die ends the stream, if err is not nil; the first reason stays.
func (s *stream) die(err error) {
	if s.err == nil && err != nil {
		s.err = s.src.errorf(err)
	}
}

// receive makes an access unit of a buffer, which is the driver's again then.
func (s *stream) receive(f frame) (hal.AccessUnit, bool) {
	if s.forced.Swap(false) {
		s.gather.forced = true
	}
	au, ok := s.gather.take(f, s.clock.at(f, time.Now(), kernel.Now(unix.CLOCK_MONOTONIC)))
	if err := s.q.release(f.index); err != nil {
		s.die(s.q.d.fail("giving a buffer back", err))
	}
	switch {
	case ok:
		s.learn(&au)
		s.keepGOP()
	case s.gather.useless >= maxUseless:
		s.die(s.useless())
	case !s.gather.synced:
		s.ask()
	}
	return au, ok
}

func (s *stream) useless() error {
	lack := "no picture"
	if s.gather.params == nil {
		lack = "no parameter sets"
	} else if s.gather.delivered == 0 {
		lack = "no key frame"
	}
	return fmt.Errorf("%w: %s (%s) gave %d buffers with %s", hal.ErrGarbage, s.q.d.path, s.q.d.card, s.gather.useless, lack)
}

// learn completes Config by what a key frame tells.
func (s *stream) learn(au *hal.AccessUnit) {
	if !au.Key {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if g := &s.gather; g.width > 0 {
		s.config.Width, s.config.Height = g.width, g.height
	}
	if s.src.encoder.gop == 0 && s.gather.gop > 0 {
		s.config.GOP = s.gather.gop
	}
}

// keepGOP asks for the next key frame where a camera can't be told how often to
// make one. It comes a frame or two later than asked for.
func (s *stream) keepGOP() {
	if g := &s.gather; s.keep > 0 && g.seq+1 >= max(g.key, s.kept)+s.keep {
		s.kept = g.seq
		_ = s.src.encoder.forceKey(s.q.d) // a GOP that is longer does no harm
	}
}

// ask wishes for a key frame where pictures can't be used without.
func (s *stream) ask() {
	now := time.Now()
	if now.Sub(s.asked) < askAgain {
		return
	}
	s.asked = now
	s.gather.forced = true
	_ = s.src.encoder.forceKey(s.q.d) // the next one comes by itself, late
}

// requestKey makes the encoder begin a new GOP.
func (s *stream) requestKey() error {
	s.control.Lock()
	defer s.control.Unlock()
	if s.device == nil {
		return s.src.errorf(hal.ErrClosed)
	}
	s.forced.Store(true)
	if err := s.src.encoder.forceKey(s.device); err != nil {
		return s.src.errorf(err)
	}
	return nil
}

// tune changes the encoder, and starts the device anew if that is what another
// picture rate takes.
func (s *stream) tune(patch hal.VideoConfig) (hal.VideoConfig, error) {
	s.control.Lock()
	if s.device == nil {
		s.control.Unlock()
		return hal.VideoConfig{}, s.src.errorf(hal.ErrClosed)
	}
	err := s.src.encoder.tune(s.device, patch)
	is := s.src.encoder.config(s.device)
	s.control.Unlock()
	if err != nil {
		return hal.VideoConfig{}, s.src.errorf(err)
	}
	if now := s.Config().FPS; patch.FPS > 0 && patch.FPS != now {
		if is.FPS, err = s.restart(patch.FPS); err != nil {
			return hal.VideoConfig{}, s.src.errorf(err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.config = s.config.With(is)
	return s.config, nil
}

// restart sets the picture rate, which drivers take only while nothing runs.
func (s *stream) restart(fps int) (is int, err error) {
	s.exclusively(func() {
		if s.q == nil || s.err != nil {
			err = hal.ErrClosed
			return
		}
		if err = s.q.halt(); err != nil {
			err = s.q.d.fail("stopping the stream", err)
			return
		}
		is, err = s.q.d.setRate(fps)
		if e := s.q.run(); e != nil {
			err = s.q.d.fail("starting the stream", e)
			s.die(err)
			return
		}
		s.gather.restarted()
		_ = s.src.encoder.tune(s.q.d, s.Config())
	})
	return is, err
}

// exclusively calls f while no Next uses the queue.
func (s *stream) exclusively(f func()) {
	s.waiting.Add(1)
	s.wake.Wake()
	s.reader.Lock()
	s.waiting.Add(-1)
	defer s.reader.Unlock()
	f()
}

// Close implements [hal.VideoStream].
func (s *stream) Close() error {
	s.closing.Do(func() {
		s.closed.Store(true)
		s.exclusively(s.shut)
		s.board.forget(s)
	})
	return s.closeErr
}

// shut gives everything back.
func (s *stream) shut() {
	s.stopWatching()
	s.control.Lock()
	defer s.control.Unlock()
	if s.q != nil {
		s.q.stop()
		s.q = nil
	}
	s.closeErr = s.device.close()
	s.device = nil
	if s.wake != nil {
		_ = s.wake.Close()
	}
}
