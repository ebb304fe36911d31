package v4l2

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"iid2secure.nl/camagent/hal"
)

// Source says which device gives one stream, and what is wished of it.
type Source struct {
	// Stream is "main" or "sub".
	Stream string
	// Device is a node (/dev/video0), a link to one (/dev/v4l/by-id/…), or
	// "usb:VVVV:PPPP", the vendor's and product's number of a USB camera as lsusb
	// writes them: its node that gives H.264 is looked for. "usb:VVVV:PPPP:SERIAL"
	// tells two of the same make apart.
	Device string
	// The wish; zero fields are as the camera likes. What it can't do is adjusted.
	// The GOP of a camera that can't be told it, as those on USB, is kept by asking
	// for key frames, if it can do that.
	Width, Height, FPS, GOP int
	Bitrate                 int // bits per second
}

// Config makes a Board.
type Config struct {
	Sources []Source
	// Still is a node (named as Source.Device) that gives MJPG or YUYV, for
	// snapshots and motion; it can't be that of a source. Empty: none.
	Still string
}

// Board is one camera, or several nodes that make one. Its methods may be called
// from any goroutine.
type Board struct {
	find    finder
	sources []*source // main first
	model   string
	picture *picture // nil: no controls
	still   *still   // nil: none
	parts   []any

	opening sync.Mutex // one opens, or closes the board
	mu      sync.Mutex
	open    map[string]*stream
	closed  bool
}

// source is one stream's device, and what it said that it can do.
type source struct {
	Source
	info    hal.StreamInfo
	encoder encoder

	mu   sync.Mutex
	node node
}

var (
	_ hal.Board = (*Board)(nil)
	_ hal.Parts = (*Board)(nil)
)

// New opens the devices, asks what they can do, and closes them again. A device
// that is missing is [hal.ErrNotFound], one that gives no H.264 or is of another
// kind [hal.ErrArgument], one in use [hal.ErrBusy]; lack of permission is
// [io/fs.ErrPermission].
func New(c Config) (*Board, error) {
	return newBoard(c, finder{linux{}, "/sys/class/video4linux", "/dev"})
}

func newBoard(c Config, f finder) (*Board, error) {
	if err := check(c); err != nil {
		return nil, err
	}
	b := &Board{find: f, open: map[string]*stream{}}
	for _, s := range c.Sources {
		b.sources = append(b.sources, &source{Source: s, node: node{name: s.Device, want: []fourCC{fmtH264}}})
	}
	slices.SortFunc(b.sources, func(x, y *source) int { return order(x.Stream) - order(y.Stream) })
	var errs []error
	used := map[string]string{} // streams by the names of their nodes
	for _, s := range b.sources {
		name, err := b.probe(s)
		if other := used[name]; err == nil && other != "" {
			err = fmt.Errorf("device %s: %w: is that of stream %q already, want a device for each", s.Device, hal.ErrArgument, other)
		}
		if err != nil {
			errs = append(errs, s.errorf(err))
			continue
		}
		used[name] = s.Stream
	}
	if c.Still != "" {
		if err := b.probeStill(c.Still, used); err != nil {
			errs = append(errs, fmt.Errorf("v4l2 board, still pictures: %w", err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	b.parts = b.able()
	return b, nil
}

func order(name string) int { return slices.Index([]string{"main", "sub"}, name) }

func check(c Config) error {
	var errs []error
	seen := map[string]bool{}
	for _, s := range c.Sources {
		switch {
		case order(s.Stream) < 0:
			errs = append(errs, fmt.Errorf(`v4l2 board: stream %q: %w: want "main" or "sub"`, s.Stream, hal.ErrArgument))
		case seen[s.Stream]:
			errs = append(errs, fmt.Errorf("v4l2 board: stream %q: %w: has two sources, want one", s.Stream, hal.ErrArgument))
		case s.Device == "":
			errs = append(errs, fmt.Errorf("v4l2 board: stream %q: %w: no device, want one such as /dev/video0", s.Stream, hal.ErrArgument))
		case min(s.Width, s.Height, s.FPS, s.GOP, s.Bitrate) < 0:
			errs = append(errs, fmt.Errorf("v4l2 board: stream %q: %w: a negative number, want 0 (as the camera likes) or more", s.Stream, hal.ErrArgument))
		}
		seen[s.Stream] = true
	}
	if !seen["main"] {
		errs = append(errs, fmt.Errorf(`v4l2 board: %w: no source for stream "main"`, hal.ErrArgument))
	}
	return errors.Join(errs...)
}

func (s *source) errorf(err error) error {
	return fmt.Errorf("v4l2 board, stream %q: %w", s.Stream, err)
}

// wish is what the configuration wants.
func (s *source) wish() hal.VideoConfig {
	return hal.VideoConfig{Width: s.Width, Height: s.Height, FPS: s.FPS, GOP: s.GOP, Bitrate: s.Bitrate}
}

// probe asks a source's device what it can do, without changing it, and returns
// the name of its node.
func (b *Board) probe(s *source) (string, error) {
	d, err := b.openNode(s)
	if err != nil {
		return "", err
	}
	defer d.close()
	pix, err := d.setFormat(calls.tryFmt, fmtH264, s.Width, s.Height)
	if err != nil {
		return "", err
	}
	at := size{int(pix.Width), int(pix.Height)}
	u := b.find.uvc(d.path)
	s.encoder = probeEncoder(d, &u, at)
	s.info = hal.StreamInfo{Name: s.Stream, GOP: s.encoder.gops, Bitrate: s.encoder.bitrate, Reopens: true}
	fps, settable := d.getRate()
	if settable {
		s.info.FPS = d.rates(fmtH264, at)
	}
	truth := hal.VideoConfig{Width: at.w, Height: at.h, FPS: fps}.With(s.encoder.config(d))
	s.info.Default = adjust(truth, s.info, s.wish())
	if s == b.sources[0] {
		b.model = d.card
		b.picture = newPicture(b, d)
	}
	return nodeName(d.path), nil
}

// adjust is what a wish will come to, as far as that is known beforehand.
func adjust(truth hal.VideoConfig, can hal.StreamInfo, wish hal.VideoConfig) hal.VideoConfig {
	for _, f := range []struct {
		to   *int
		r    hal.Range
		want int
	}{{&truth.FPS, can.FPS, wish.FPS}, {&truth.GOP, can.GOP, wish.GOP}, {&truth.Bitrate, can.Bitrate, wish.Bitrate}} {
		if f.want > 0 && f.r != (hal.Range{}) {
			*f.to = within(f.want, f.r)
		}
	}
	return truth
}

// openNode opens a source's device, wherever it is now.
func (b *Board) openNode(s *source) (*device, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return b.find.open(&s.node)
}

// able lists what all streams' devices can do, each as a part.
func (b *Board) able() []any {
	var parts []any
	all := func(can func(*encoder) bool) bool {
		return !slices.ContainsFunc(b.sources, func(s *source) bool { return !can(&s.encoder) })
	}
	if all((*encoder).canKey) {
		parts = append(parts, keys{b})
	}
	if all((*encoder).canTune) {
		parts = append(parts, tuner{b})
	}
	if b.picture != nil {
		parts = append(parts, b.picture)
	}
	if b.still != nil {
		parts = append(parts, b.still.parts()...)
	}
	return parts
}

// Info implements [hal.Board]; the model is the main stream's device as its
// driver names it.
func (b *Board) Info() hal.Info { return hal.Info{Board: "v4l2", Model: b.model} }

// Streams implements [hal.Board].
func (b *Board) Streams() []hal.StreamInfo {
	list := make([]hal.StreamInfo, len(b.sources))
	for i, s := range b.sources {
		list[i] = s.info
	}
	return list
}

// Parts implements [hal.Parts]: what the devices can do beyond video.
func (b *Board) Parts() []any { return b.parts }

// OpenVideo implements [hal.Board]. A camera that is away is [hal.ErrGone].
func (b *Board) OpenVideo(ctx context.Context, name string, want hal.VideoConfig) (hal.VideoStream, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	i := slices.IndexFunc(b.sources, func(s *source) bool { return s.Stream == name })
	if i < 0 {
		return nil, fmt.Errorf("v4l2 board: %w: %q", hal.ErrNoStream, name)
	}
	b.opening.Lock()
	defer b.opening.Unlock()
	src := b.sources[i]
	if err := b.free(name); err != nil {
		return nil, src.errorf(err)
	}
	d, err := b.openNode(src)
	if err != nil {
		return nil, src.errorf(err)
	}
	s, err := startStream(b, src, d, src.wish().With(want))
	if err != nil {
		return nil, src.errorf(err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.open[name] = s
	return s, nil
}

// free tells why a stream can't be opened.
func (b *Board) free(name string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.closed:
		return hal.ErrClosed
	case b.open[name] != nil:
		return hal.ErrBusy
	}
	return nil
}

func (b *Board) running(name string) (*stream, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s := b.open[name]; s != nil {
		return s, nil
	}
	return nil, fmt.Errorf("v4l2 board, stream %q: %w", name, hal.ErrClosed)
}

func (b *Board) forget(s *stream) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.open[s.src.Stream] == s {
		delete(b.open, s.src.Stream)
	}
}

// withMain calls f with the main stream's device: the one that is streaming, as
// some drivers keep controls by open file, else one opened for it.
func (b *Board) withMain(f func(*device) error) error {
	src := b.sources[0]
	if s, err := b.running(src.Stream); err == nil {
		s.control.Lock()
		defer s.control.Unlock()
		if s.device != nil {
			return f(s.device)
		}
	}
	d, err := b.openNode(src)
	if err != nil {
		return src.errorf(err)
	}
	defer d.close()
	return f(d)
}

// Close implements [hal.Board].
func (b *Board) Close() error {
	b.opening.Lock()
	defer b.opening.Unlock()
	b.mu.Lock()
	b.closed = true
	var open []*stream
	for _, s := range b.open {
		open = append(open, s)
	}
	b.mu.Unlock()
	var errs []error
	for _, s := range open {
		errs = append(errs, s.Close())
	}
	if b.still != nil {
		errs = append(errs, b.still.close())
	}
	return errors.Join(errs...)
}

// keys is the board's [hal.KeyframeRequester].
type keys struct{ b *Board }

// RequestKeyframe implements [hal.KeyframeRequester].
func (k keys) RequestKeyframe(name string) error {
	s, err := k.b.running(name)
	if err != nil {
		return err
	}
	return s.requestKey()
}

// tuner is the board's [hal.EncoderTuner].
type tuner struct{ b *Board }

// Tune implements [hal.EncoderTuner]. Another picture rate interrupts the stream
// for as long as the camera takes to begin again.
func (t tuner) Tune(name string, patch hal.VideoConfig) (hal.VideoConfig, error) {
	s, err := t.b.running(name)
	if err != nil {
		return hal.VideoConfig{}, err
	}
	return s.tune(patch)
}
