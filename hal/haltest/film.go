package haltest

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"time"

	"github.com/bluenviron/mediacommon/v2/pkg/codecs/h264"

	"iid2secure.nl/camagent/hal"
)

const (
	// filmLasts is how long all streams are read at once, for all cases that look
	// at what came.
	filmLasts = 10 * time.Second
	// firstWithin and nextWithin are what hal.Camera allows a stream.
	firstWithin = 10 * time.Second
	nextWithin  = 5 * time.Second
	// watched is how many of the last frames are looked at again, for changes.
	watched = 64
)

// film is what ten seconds of all streams and the microphone at once gave.
type film struct {
	takes []*take
	sound *recording // nil: no microphone
	// held is how late the machine was meanwhile: of that a case hears nothing that
	// looks at the film later.
	held time.Duration
}

// take is what one stream gave.
type take struct {
	info   hal.StreamInfo
	config hal.VideoConfig // once the first frame was there
	sps    *h264.SPS       // of the first frame; nil if there was none
	shots  []shot
	form   error // the first frame that is not as AccessUnit says
	change error // a frame whose bytes changed after it was handed over
	err    error // by which the stream ended before its time
}

// shot is one frame without its bytes.
type shot struct {
	seq, lost uint64
	key       bool
	size      int
	time, got time.Time
}

// recording is what the microphone gave.
type recording struct {
	format hal.AudioFormat
	pieces []piece
	change error
	err    error
}

type piece struct {
	size, samples int
	time, got     time.Time
}

// filmed returns the film, which is taken once.
func (s *subject) filmed(ctx context.Context) (*film, error) {
	s.mu.Lock()
	f := s.film
	s.mu.Unlock()
	if f != nil {
		s.filmHeld.Store(int64(f.held))
		return f, nil
	}
	o, err := s.board(ctx)
	if err != nil {
		return nil, err
	}
	stop := s.listen()
	f, err = shoot(ctx, o)
	held := stop()
	if err != nil {
		return nil, err
	}
	f.held = held
	s.mu.Lock()
	s.film = f
	s.mu.Unlock()
	return f, nil
}

// shoot takes the film.
func shoot(ctx context.Context, o *opened) (*film, error) {
	f := &film{}
	var calls []*call
	end := time.Now().Add(firstWithin + filmLasts)
	for _, info := range o.board.Streams() {
		t := &take{info: info}
		f.takes = append(f.takes, t)
		calls = append(calls, start(func() error { t.err = protect(func() error { return t.shoot(ctx, o.board) }); return nil }))
	}
	if m, ok := hal.As[hal.Microphone](o.parts...); ok {
		r := &recording{}
		f.sound = r
		calls = append(calls, start(func() error { r.err = protect(func() error { return r.record(ctx, m) }); return nil }))
	}
	for _, c := range calls {
		if err := c.wait(time.Until(end) + closeWithin); err != nil {
			return nil, fmt.Errorf("reading all streams at once: %w", err)
		}
	}
	return f, ctx.Err()
}

// next reads one frame, with a time limit.
func next(ctx context.Context, v hal.VideoStream, within time.Duration) (hal.AccessUnit, error) {
	limited, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	au, err := v.Next(limited)
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		return au, fmt.Errorf("no frame within %v: %w", within, err)
	}
	return au, err
}

func (t *take) shoot(ctx context.Context, b hal.Board) (err error) {
	v, err := b.OpenVideo(ctx, t.info.Name, hal.VideoConfig{})
	if err != nil {
		return fmt.Errorf("opening: %w", err)
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	w := newWatch()
	defer func() { t.change = w.end() }()
	within := firstWithin
	for begin := time.Now(); time.Since(begin) < filmLasts; within = nextWithin {
		au, err := next(ctx, v, within)
		if err != nil {
			return err
		}
		if len(t.shots) == 0 {
			begin = time.Now() // devices take a while to begin
			t.config = v.Config()
			t.sps = spsOf(&au)
		}
		t.shots = append(t.shots, shot{au.Seq, au.Lost, au.Key, len(au.Data), au.Time, time.Now()})
		if err := form(&au); err != nil && t.form == nil {
			t.form = fmt.Errorf("frame %d: %w", au.Seq, err)
		}
		w.add(au.Seq, au.Data)
	}
	return nil
}

func (r *recording) record(ctx context.Context, m hal.Microphone) (err error) {
	a, err := m.OpenMicrophone(ctx)
	if err != nil {
		return fmt.Errorf("opening: %w", err)
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	r.format = a.Format()
	w := newWatch()
	defer func() { r.change = w.end() }()
	for begin := time.Now(); time.Since(begin) < filmLasts; {
		limited, cancel := context.WithTimeout(ctx, nextWithin)
		f, err := a.Next(limited)
		cancel()
		if err != nil {
			return err
		}
		if len(r.pieces) == 0 {
			begin = time.Now()
		}
		r.pieces = append(r.pieces, piece{len(f.Data), f.Samples, f.Time, time.Now()})
		w.add(uint64(len(r.pieces)), f.Data)
	}
	return nil
}

// spsOf reads the sequence parameter set of a key frame; nil without a good one.
func spsOf(au *hal.AccessUnit) *h264.SPS {
	if au.Params > len(au.Data) {
		return nil
	}
	raw, _ := au.ParameterSets()
	var sps h264.SPS
	if raw == nil || sps.Unmarshal(raw) != nil {
		return nil
	}
	return &sps
}

// watch looks whether bytes change after they were handed over.
type watch struct {
	seed  maphash.Seed
	ring  []watchedFrame
	at    int
	found error
}

type watchedFrame struct {
	number uint64
	data   []byte
	sum    uint64
}

func newWatch() *watch { return &watch{seed: maphash.MakeSeed()} }

func (w *watch) add(number uint64, data []byte) {
	f := watchedFrame{number, data, maphash.Bytes(w.seed, data)}
	if len(w.ring) < watched {
		w.ring = append(w.ring, f)
		return
	}
	w.look(w.ring[w.at])
	w.ring[w.at] = f
	w.at = (w.at + 1) % watched
}

func (w *watch) look(f watchedFrame) {
	if w.found == nil && maphash.Bytes(w.seed, f.data) != f.sum {
		w.found = fmt.Errorf("frame %d changed after it was handed over", f.number)
	}
}

func (w *watch) end() error {
	for _, f := range w.ring {
		w.look(f)
	}
	return w.found
}
