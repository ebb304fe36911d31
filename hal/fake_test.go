package hal

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeBoard gives 25 frames a second, and fails the test if Camera breaks what
// a board may rely on.
type fakeBoard struct {
	t       *testing.T
	streams []StreamInfo

	// What a test changes; nil: as usual.
	opening func(ctx context.Context, stream string) error
	change  func(n int, au *AccessUnit) error // n counts since the opening
	closing func(stream string)

	mu     sync.Mutex
	closed bool
	open   map[string]*fakeStream // until their Close returned
	wants  []VideoConfig
	calls  []string
}

func newFake(t *testing.T) *fakeBoard {
	stream := func(name string) StreamInfo {
		return StreamInfo{Name: name, Default: VideoConfig{640, 360, 25, 50, 500_000},
			FPS: Range{5, 25}, GOP: Range{10, 100}, Bitrate: Range{100_000, 1_000_000}, Reopens: true}
	}
	return &fakeBoard{t: t, streams: []StreamInfo{stream("main"), stream("sub")}, open: map[string]*fakeStream{}}
}

// note writes a call down; nothing is to be begun after Close.
func (b *fakeBoard) note(call string, args ...any) {
	if b.closed {
		b.t.Errorf("after the board's Close: "+call, args...)
	}
	b.calls = append(b.calls, fmt.Sprintf(call, args...))
}

func (b *fakeBoard) Info() Info { b.locked(func() { b.note("info") }); return Info{"fake", "none"} }

func (b *fakeBoard) locked(f func()) { b.mu.Lock(); defer b.mu.Unlock(); f() }

func (b *fakeBoard) Streams() []StreamInfo { return b.streams }

func (b *fakeBoard) OpenVideo(ctx context.Context, stream string, want VideoConfig) (VideoStream, error) {
	s := &fakeStream{b: b, name: stream, done: make(chan struct{}), config: b.streams[0].Default.With(want)}
	b.locked(func() {
		b.note("open %s", stream)
		if b.open[stream] != nil {
			b.t.Errorf("%s is opened while it is open", stream)
		}
		b.open[stream] = s
		b.wants = append(b.wants, want)
	})
	if b.opening != nil {
		if err := b.opening(ctx, stream); err != nil {
			b.locked(func() { b.open[stream] = nil })
			return nil, err
		}
	}
	s.begin = time.Now()
	return s, nil
}

func (b *fakeBoard) Close() error {
	b.locked(func() {
		b.note("close")
		b.closed = true
	})
	return nil
}

func (b *fakeBoard) said() (s string) {
	b.locked(func() { s = fmt.Sprint(b.calls) })
	return s
}

type fakeStream struct {
	b      *fakeBoard
	name   string
	config VideoConfig
	begin  time.Time
	n      int // the reader's
	done   chan struct{}

	reading, closed bool // with b's lock
}

// picture is a frame whose bytes nobody looks at.
var picture = AppendAVC(AppendAVC(AppendAVC(nil, []byte{7, 1}), []byte{8, 1}), []byte{5, 1, 2, 3})

func (s *fakeStream) Next(ctx context.Context) (AccessUnit, error) {
	s.b.locked(func() {
		if s.reading {
			s.b.t.Errorf("%s: two Next at once", s.name)
		}
		s.reading = true
	})
	defer s.b.locked(func() { s.reading = false })
	at := s.begin.Add(time.Duration(s.n+1) * 40 * time.Millisecond)
	tick := time.NewTimer(time.Until(at))
	defer tick.Stop()
	select {
	case <-tick.C:
	case <-ctx.Done():
		return AccessUnit{}, ctx.Err()
	case <-s.done:
		return AccessUnit{}, fmt.Errorf("fake: %w", ErrClosed)
	}
	au := AccessUnit{Data: picture, Params: 12, Key: s.n%50 == 0, Time: at, Seq: uint64(s.n)}
	s.n++
	if s.b.change != nil {
		switch err := s.b.change(s.n-1, &au); {
		case errors.Is(err, errNothing):
			s.n--
			return AccessUnit{}, s.nothing(ctx)
		case err != nil:
			return AccessUnit{}, err
		}
	}
	return au, nil
}

// errNothing makes a device that gives nothing.
var errNothing = errors.New("nothing")

func (s *fakeStream) nothing(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-s.done:
		return ErrClosed
	}
}

func (s *fakeStream) Config() VideoConfig { return s.config }

func (s *fakeStream) Close() error {
	s.b.locked(func() {
		s.b.note("close %s", s.name)
		if s.closed {
			s.b.t.Errorf("%s is closed twice", s.name)
		}
		s.closed = true
	})
	close(s.done)
	if s.b.closing != nil {
		s.b.closing(s.name)
	}
	s.b.locked(func() { s.b.open[s.name] = nil })
	return nil
}

// hangs waits like a device in a call that nothing interrupts.
func hangs(done <-chan struct{}) { <-done }

// bubble runs a test with a camera of a fake board.
func bubble(t *testing.T, f func(t *testing.T, b *fakeBoard, c *Camera), parts ...any) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := newFake(t)
		c := NewCamera(b, parts...)
		defer c.Close()
		f(t, b, c)
	})
}

func (c *Camera) mustOpen(t *testing.T, stream string, want VideoConfig) *Video {
	t.Helper()
	v, err := c.OpenVideo(t.Context(), stream, want)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// mustRead reads n frames, whose numbers and times rise, and returns the last.
func (v *Video) mustRead(t *testing.T, n int) (au AccessUnit) {
	t.Helper()
	for range n {
		last := au
		var err error
		if au, err = v.Next(t.Context()); err != nil {
			t.Fatal(err)
		}
		if last.Data != nil && (au.Seq <= last.Seq || !au.Time.After(last.Time)) {
			t.Fatalf("frame %d of %v after frame %d of %v", au.Seq, au.Time, last.Seq, last.Time)
		}
	}
	return au
}

// sized is a P frame of so many bytes.
func sized(n int) []byte {
	b := make([]byte, n)
	binary.BigEndian.PutUint32(b, uint32(n-4))
	b[4] = NALSlice
	return b
}
