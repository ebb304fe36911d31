package v4l2

import (
	"context"
	"fmt"
	"image"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/hal/internal/kernel"
)

const (
	// stillIdle is how long a camera goes on after the last still picture: motion
	// asks for several a second, and starting takes longer than that.
	stillIdle = 5 * time.Second
	// settle is how many pictures are left out at the start: the exposure and the
	// white balance of a camera take a while.
	settle      = 3
	stillWithin = 5 * time.Second
	stillWidth  = 1280 // at most
)

// still is a node for single pictures. It runs from the first picture until
// stillIdle after the last.
type still struct {
	find   finder
	format fourCC
	size   size // zero: as the node is set
	closed atomic.Bool
	wake   *kernel.Waiter
	idle   *time.Timer

	// turn is held by who uses what is below.
	turn chan struct{}
	node node
	d    *device // nil while it doesn't run
	q    *queue
	pix  pixFormat
}

// probeStill asks a still node what it can do.
func (b *Board) probeStill(name string, used map[string]string) error {
	s := &still{find: b.find, turn: make(chan struct{}, 1), node: node{name: name, want: []fourCC{fmtMJPG, fmtJPEG, fmtYUYV}}}
	d, err := b.find.open(&s.node)
	if err != nil {
		return err
	}
	defer d.close()
	if other := used[nodeName(d.path)]; other != "" {
		return fmt.Errorf("%s: %w: is that of stream %q, want another node of the camera", d.path, hal.ErrArgument, other)
	}
	for _, f := range s.node.want {
		if d.offers(f) {
			s.format = f
			break
		}
	}
	for _, z := range d.sizes(s.format) {
		if z.w <= stillWidth && z.w*z.h > s.size.w*s.size.h {
			s.size = z
		}
	}
	if s.wake, err = kernel.NewWaiter(); err != nil {
		return err
	}
	s.idle = time.AfterFunc(stillIdle, s.rest)
	s.idle.Stop()
	b.still = s
	return nil
}

// parts tells what can be made of the format.
func (s *still) parts() []any {
	if s.format == fmtYUYV {
		return []any{raws{s}}
	}
	return []any{jpegs{s}}
}

// raws is a still node that gives raw pictures.
type raws struct{ s *still }

// Grab implements [hal.Grabber].
func (r raws) Grab(ctx context.Context) (*image.YCbCr, error) {
	b, pix, err := r.s.take(ctx)
	if err != nil {
		return nil, err
	}
	return fromYUYV(b, pix)
}

// jpegs is a still node that gives JPEG pictures.
type jpegs struct{ s *still }

// Snapshot implements [hal.Snapshotter].
func (j jpegs) Snapshot(ctx context.Context) ([]byte, error) {
	b, _, err := j.s.take(ctx)
	if err != nil {
		return nil, err
	}
	return completeJPEG(b)
}

// Grab implements [hal.Grabber].
func (j jpegs) Grab(ctx context.Context) (*image.YCbCr, error) {
	b, err := j.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	return fromJPEG(b)
}

// take returns a copy of the next picture.
func (s *still) take(ctx context.Context) ([]byte, pixFormat, error) {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return nil, pixFormat{}, ctx.Err()
	}
	defer context.AfterFunc(ctx, s.wake.Wake)()
	b, err := s.next(ctx)
	if err != nil {
		s.shut()
		return nil, s.pix, s.errorf(err)
	}
	s.idle.Reset(stillIdle)
	return b, s.pix, nil
}

func (s *still) errorf(err error) error { return fmt.Errorf("v4l2 board, still pictures: %w", err) }

func (s *still) next(ctx context.Context) ([]byte, error) {
	skip, err := s.start()
	if err != nil {
		return nil, err
	}
	if err := s.drain(); err != nil {
		return nil, err
	}
	deadline := time.Now().Add(stillWithin)
	for {
		f, ok, err := s.q.take()
		switch {
		case err != nil:
			return nil, err
		case s.closed.Load():
			return nil, hal.ErrClosed
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case !ok && time.Now().After(deadline):
			return nil, fmt.Errorf("%w: %s (%s) gave no picture for %v", hal.ErrStalled, s.d.path, s.d.card, stillWithin)
		case !ok:
			if _, err := s.wake.Wait(s.d.fd, unix.POLLIN, time.Until(deadline)); err != nil {
				return nil, err
			}
			continue
		}
		b := append([]byte(nil), f.data...)
		if err := s.q.release(f.index); err != nil {
			return nil, s.d.fail("giving a buffer back", err)
		}
		if skip--; skip < 0 && f.flags&flagError == 0 && len(b) > 0 {
			return b, nil
		}
	}
}

// start makes the node run, and tells how many pictures to leave out.
func (s *still) start() (skip int, err error) {
	if s.closed.Load() {
		return 0, hal.ErrClosed
	}
	if s.d != nil {
		return 0, nil
	}
	if s.d, err = s.find.open(&s.node); err != nil {
		s.d = nil
		return 0, err
	}
	if s.pix, err = s.d.setFormat(calls.sFmt, s.format, s.size.w, s.size.h); err != nil {
		return 0, err
	}
	s.q, err = startQueue(s.d)
	return settle, err
}

// drain gives pictures back that were taken before anybody asked.
func (s *still) drain() error {
	for range buffers {
		f, ok, err := s.q.take()
		if err != nil || !ok {
			return err
		}
		if err := s.q.release(f.index); err != nil {
			return s.d.fail("giving a buffer back", err)
		}
	}
	return nil
}

// shut stops the node; the next picture starts it again.
func (s *still) shut() {
	if s.q != nil {
		s.q.stop()
	}
	if s.d != nil {
		_ = s.d.close()
	}
	s.q, s.d = nil, nil
}

// rest stops the node as nobody wants a picture, unless somebody does now.
func (s *still) rest() {
	select {
	case s.turn <- struct{}{}:
		s.shut()
		<-s.turn
	default:
	}
}

func (s *still) close() error {
	s.closed.Store(true)
	s.idle.Stop()
	s.wake.Wake()
	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	s.shut()
	return s.wake.Close()
}
