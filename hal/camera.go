package hal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
)

// Parts is for a board, or a part, that knows only once it is open what it can
// do: each of the parts implements optional interfaces.
type Parts interface{ Parts() []any }

// As finds the first of parts, those of parts included, that implements T.
func As[T any](parts ...any) (T, bool) {
	for _, p := range parts {
		if t, ok := p.(T); ok {
			return t, true
		}
		if more, ok := p.(Parts); ok {
			if t, ok := As[T](more.Parts()...); ok {
				return t, true
			}
		}
	}
	var none T
	return none, false
}

// Camera is a board, its parts, and the fall-backs for what they lack, behind
// the checks that hold for all: state, arguments, one reader, and counts stand
// here once, so that drivers stay small. Methods may be called from any
// goroutine but as they say otherwise. What is lacking is refused by
// [ErrUnable] with its name, wrong values by [ErrArgument], everything after
// Close by [ErrClosed].
type Camera struct {
	board   Board
	info    Info
	closers []io.Closer
	parts   []any // in the order in which they are asked
	can     []Capability
	slots   []*slot
	work    []func(context.Context) error // of fall-backs, for Run

	// What finds motion if no part does; sizes is always there, pictures may not be.
	sizes    *frameSizes
	pictures *motionByPicture

	mic, speaker, motion, button one

	closing sync.Once
	closed  chan struct{}
	err     error // of Close
}

// NewCamera joins board and parts. A capability is taken from the first part
// that has it, else from the board, else a fall-back stands in. The Camera owns
// them: Close closes the board and those of parts that are an io.Closer.
func NewCamera(board Board, parts ...any) *Camera {
	c := &Camera{board: board, info: board.Info(), parts: append(slices.Clone(parts), board), closed: make(chan struct{})}
	c.sizes = newFrameSizes(c.closed)
	for _, p := range parts {
		if closer, ok := p.(io.Closer); ok {
			c.closers = append(c.closers, closer)
		}
	}
	c.closers = append(c.closers, board)
	for i, info := range board.Streams() {
		c.slots = append(c.slots, &slot{index: i, info: info, device: make(chan struct{}, 1)})
	}
	c.can = c.fallBack()
	return c
}

// Info names the board.
func (c *Camera) Info() Info { return c.info }

// Streams lists the board's streams, the largest first.
func (c *Camera) Streams() []StreamInfo {
	list := make([]StreamInfo, len(c.slots))
	for i, s := range c.slots {
		list[i] = s.info
	}
	return list
}

// Capabilities lists what the camera can do beyond video, in a fixed order.
func (c *Camera) Capabilities() []Capability { return slices.Clone(c.can) }

// Capability tells whether, and how, the camera can do one thing.
func (c *Camera) Capability(name string) (Capability, bool) {
	i := slices.IndexFunc(c.can, func(k Capability) bool { return k.Name == name })
	if i < 0 {
		return Capability{}, false
	}
	return c.can[i], true
}

// Close stops everything that the board and its parts started. Streams that
// are open end with ErrClosed. Nothing waits longer than 5 seconds for a device
// that hangs. Whoever calls it again waits for the first.
func (c *Camera) Close() error {
	c.closing.Do(func() {
		close(c.closed)
		c.err = c.end()
	})
	return c.err
}

// end closes what is open, users first, the board last.
func (c *Camera) end() error {
	var errs []error
	for _, s := range c.slots {
		if v := s.video(); v != nil {
			errs = append(errs, v.Close())
		}
	}
	errs = append(errs, bounded("microphone", c.mic.end), bounded("speaker", c.speaker.end))
	for _, p := range c.closers {
		errs = append(errs, bounded(fmt.Sprintf("%s board: %T", c.info.Board, p), p.Close))
	}
	return errors.Join(errs...)
}

// disturbed tells those that look for motion that it was us who changed the picture.
func (c *Camera) disturbed() {
	c.sizes.reset()
	if c.pictures != nil {
		c.pictures.disturbed()
	}
}

func (c *Camera) alive() error {
	select {
	case <-c.closed:
		return fmt.Errorf("%s board: %w", c.info.Board, ErrClosed)
	default:
		return nil
	}
}

// Run does what fall-backs have to do all the time: looking for motion in
// pictures, and for the evening. It blocks until ctx ends or the camera is
// closed, or returns what failed; it may then be called again. Without it such
// a fall-back tells nothing.
func (c *Camera) Run(ctx context.Context) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var group sync.WaitGroup
	for _, work := range c.work {
		group.Go(func() { stop(work(ctx)) })
	}
	select {
	case <-ctx.Done():
	case <-c.closed:
		stop(c.alive())
	}
	group.Wait()
	return context.Cause(ctx)
}

// find returns the implementation of a capability, or why there is none.
func find[T any](c *Camera, capability string) (T, error) {
	var none T
	if err := c.alive(); err != nil {
		return none, err
	}
	t, ok := As[T](c.parts...)
	if !ok {
		return none, unable(capability)
	}
	return t, nil
}

// FindStream returns the description of one stream of b, or ErrNoStream.
func FindStream(b Board, name string) (StreamInfo, error) {
	for _, s := range b.Streams() {
		if s.Name == name {
			return s, nil
		}
	}
	return StreamInfo{}, fmt.Errorf("%s board: %w: %q", b.Info().Board, ErrNoStream, name)
}

func (c *Camera) slot(stream string) (*slot, error) {
	for _, s := range c.slots {
		if s.info.Name == stream {
			return s, nil
		}
	}
	return nil, fmt.Errorf("%s board: %w: %q", c.info.Board, ErrNoStream, stream)
}

// one guards what only one may have at a time.
type one struct {
	mu    sync.Mutex
	taken bool
	what  io.Closer
}

func (o *one) take(name string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.taken {
		return fmt.Errorf("%s: %w", name, ErrBusy)
	}
	o.taken = true
	return nil
}

// hold notes what is to be closed at the end; free lets the next one in.
func (o *one) hold(c io.Closer) { o.mu.Lock(); o.what = c; o.mu.Unlock() }
func (o *one) free()            { o.mu.Lock(); o.taken, o.what = false, nil; o.mu.Unlock() }

func (o *one) end() error {
	o.mu.Lock()
	what := o.what
	o.mu.Unlock()
	if what == nil {
		return nil
	}
	return what.Close()
}

// OpenVideo opens a stream; what it can't do is adjusted. ErrBusy if it is open.
func (c *Camera) OpenVideo(ctx context.Context, stream string, want VideoConfig) (*Video, error) {
	s, err := c.slot(stream)
	if err != nil {
		return nil, err
	}
	v := newVideo(c, s, s.clampConfig(want))
	if !s.take(v) {
		return nil, fmt.Errorf("stream %s: %w", stream, ErrBusy)
	}
	// Only now, that Close finds it.
	err = c.alive()
	if err == nil {
		err = v.open(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, v.Close())
	}
	c.sizes.reset()
	return v, nil
}
