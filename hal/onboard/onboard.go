// Package onboard takes video and sound by RTSP from the streamer that is
// already on the camera (majestic, prudynt, divinus, any other), at 127.0.0.1:
// it brings a vendor's camera in without the vendor's SDK. docs/onboard.md says
// how each streamer is configured.
//
// A board's settings are the streamer's: nothing here tunes its encoder. Video
// is H.264; what else a stream holds is refused by its name. Sound is taken as
// the streamer gives it, by a session of its own.
//
// All of gortsplib's client stands behind session.go, with the guards that it
// needs; nothing of it shows in the exported names. Passwords, and what may be
// one in a URL, are never part of an error.
package onboard

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"iid2secure.nl/camagent/hal"
)

// Source is one stream of the streamer.
type Source struct {
	Stream string // "main" or "sub"
	// URL is rtsp://host[:port]/path, without user and password.
	URL string
	// User and Password, if the streamer asks for them.
	User     string
	Password string
}

// Config makes a Board.
type Config struct {
	Sources []Source
	// Sound is the stream whose sound is the microphone; empty: there is none.
	Sound string
	// Snapshot is the URL of one JPEG, http://host[:port]/path, without user and
	// password; empty: there is none.
	Snapshot string
	// SnapshotUser and SnapshotPassword; without a user those of "main" are taken.
	SnapshotUser     string
	SnapshotPassword string
	// Timeout is how long the streamer may take to begin a stream or to give a
	// snapshot, and how long it may then send nothing before it counts as gone;
	// 0 means 4 s.
	Timeout time.Duration
}

const (
	defaultTimeout = 4 * time.Second
	maxTimeout     = time.Minute
)

// Board is the streamer's streams. Its methods may be called from any goroutine.
type Board struct {
	timeout time.Duration
	sources []source // main first
	parts   []any

	ctx    context.Context // ends with the board
	cancel context.CancelFunc
	busy   sync.WaitGroup // streams being opened

	mu     sync.Mutex
	open   map[string]io.Closer // by stream, or soundPlace; nil while being opened
	last   map[string]time.Time // of those that were closed
	closed bool
}

var (
	_ hal.Board = (*Board)(nil)
	_ hal.Parts = (*Board)(nil)
)

// New checks the configuration, all of it, and starts nothing: the streamer
// need not run yet.
func New(c Config) (*Board, error) {
	b := &Board{timeout: c.Timeout, open: map[string]io.Closer{}, last: map[string]time.Time{}}
	if b.timeout == 0 {
		b.timeout = defaultTimeout
	}
	if err := errors.Join(b.takeSources(c.Sources), b.takeSound(c.Sound), b.takeSnapshot(&c), checkTimeout(c.Timeout)); err != nil {
		return nil, err
	}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	return b, nil
}

func checkTimeout(d time.Duration) error {
	if d < 0 || d > maxTimeout {
		return fmt.Errorf("onboard board: timeout is %v, want 0s (%v) to %v", d, defaultTimeout, maxTimeout)
	}
	return nil
}

// order is the place of a stream in the list; negative if there is no such stream.
func order(name string) int { return slices.Index([]string{"main", "sub"}, name) }

func (b *Board) takeSources(list []Source) error {
	var errs []error
	seen := map[string]bool{}
	for _, s := range list {
		if seen[s.Stream] {
			errs = append(errs, fmt.Errorf("onboard board: two sources for stream %q, want one", s.Stream))
			continue
		}
		seen[s.Stream] = true
		src, err := newSource(s)
		if err != nil {
			errs = append(errs, fmt.Errorf("onboard board, stream %q: %w", s.Stream, err))
		}
		b.sources = append(b.sources, src)
	}
	if !seen["main"] {
		errs = append(errs, errors.New(`onboard board: no source for stream "main"`))
	}
	slices.SortFunc(b.sources, func(x, y source) int { return order(x.stream) - order(y.stream) })
	return errors.Join(errs...)
}

func (b *Board) takeSound(stream string) error {
	if stream == "" {
		return nil
	}
	s, err := b.source(stream)
	if err != nil {
		return fmt.Errorf("onboard board: sound is of stream %q, want one of the sources", stream)
	}
	b.parts = append(b.parts, &ear{b, s})
	return nil
}

func (b *Board) takeSnapshot(c *Config) error {
	if c.Snapshot == "" {
		return nil
	}
	user, password := c.SnapshotUser, c.SnapshotPassword
	if i := slices.IndexFunc(c.Sources, func(s Source) bool { return s.Stream == "main" }); user == "" && i >= 0 {
		user, password = c.Sources[i].User, c.Sources[i].Password
	}
	s, err := newStill(c.Snapshot, user, password, b.timeout)
	if err != nil {
		return fmt.Errorf("onboard board, snapshot: %w", err)
	}
	b.parts = append(b.parts, s)
	return nil
}

func (b *Board) source(stream string) (source, error) {
	i := slices.IndexFunc(b.sources, func(s source) bool { return s.stream == stream })
	if i < 0 {
		return source{}, fmt.Errorf("onboard board: %w: %q", hal.ErrNoStream, stream)
	}
	return b.sources[i], nil
}

// Info implements [hal.Board].
func (b *Board) Info() hal.Info { return hal.Info{Board: "onboard", Model: "streamer by RTSP"} }

// Parts implements [hal.Parts]: a microphone and a snapshotter, as configured.
func (b *Board) Parts() []any { return slices.Clone(b.parts) }

// Streams implements [hal.Board]. The streamer's settings can't be changed from
// here, so the ranges are empty; it begins with a key frame for every client.
func (b *Board) Streams() []hal.StreamInfo {
	list := make([]hal.StreamInfo, len(b.sources))
	for i, s := range b.sources {
		list[i] = hal.StreamInfo{Name: s.stream, Reopens: true}
	}
	return list
}

// OpenVideo implements [hal.Board]: it connects and starts the stream, within
// the time-out. The wish is not looked at. It does not wait for a picture:
// Config is known at once if the streamer describes its stream, else with the
// first one.
func (b *Board) OpenVideo(ctx context.Context, name string, _ hal.VideoConfig) (hal.VideoStream, error) {
	src, err := b.source(name)
	if err != nil {
		return nil, err
	}
	return place(ctx, b, name, func(ctx context.Context) (*video, error) { return openVideo(ctx, src, b.timeout, b.after(name)) })
}

// place opens a stream while nobody else does, and notes it until it is closed.
func place[S interface {
	io.Closer
	atClose(func(last time.Time))
}](ctx context.Context, b *Board, name string, open func(context.Context) (S, error)) (S, error) {
	var none S
	if err := b.reserve(name); err != nil {
		return none, err
	}
	defer b.busy.Done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(b.ctx, cancel)()
	s, err := open(ctx)
	if err == nil {
		s.atClose(func(last time.Time) { b.forget(name, last) })
		err = b.note(name, s)
	}
	if err != nil {
		b.forget(name, time.Time{})
		if b.ctx.Err() != nil {
			err = hal.ErrClosed
		}
		return none, fmt.Errorf("onboard board, %s: %w", name, err)
	}
	return s, nil
}

func (b *Board) reserve(name string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return fmt.Errorf("onboard board: %w", hal.ErrClosed)
	}
	if _, open := b.open[name]; open {
		return fmt.Errorf("onboard board, %s: %w", name, hal.ErrBusy)
	}
	b.open[name] = nil
	b.busy.Add(1)
	return nil
}

// note keeps an open stream for Close; it closes it if the board was closed meanwhile.
func (b *Board) note(name string, s io.Closer) error {
	b.mu.Lock()
	closed := b.closed
	if !closed {
		b.open[name] = s
	}
	b.mu.Unlock()
	if closed {
		return errors.Join(hal.ErrClosed, s.Close())
	}
	return nil
}

// after is what the times of a stream must be later than.
func (b *Board) after(name string) time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.last[name]
}

// forget lets a stream be opened again; last is its last time, if it had any.
func (b *Board) forget(name string, last time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.open, name)
	if !last.IsZero() {
		b.last[name] = last
	}
}

// Close implements [hal.Board].
func (b *Board) Close() error {
	b.mu.Lock()
	b.closed = true
	var open []io.Closer
	for _, s := range b.open {
		if s != nil {
			open = append(open, s)
		}
	}
	b.mu.Unlock()
	b.cancel()
	b.busy.Wait()
	var errs []error
	for _, s := range open {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}
