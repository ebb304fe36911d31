package sim

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"time"

	"iid2secure.nl/camagent/hal"
)

// What the built-in streams can do (issue 2).
var (
	rangeFPS     = hal.Range{Min: 1, Max: 30}
	rangeGOP     = hal.Range{Min: 1, Max: 300}
	rangeBitrate = hal.Range{Min: 64_000, Max: 8_000_000}
)

// Config says what the board shows. The zero Config is a usable one.
type Config struct {
	// Streams, largest first; nil means [DefaultStreams]. What a board cannot
	// do is adjusted: sizes to even ones from 320x180 to 1920x1088, ranges to
	// 1–30 fps, 1–300 frames a GOP and 64 kbit/s–8 Mbit/s.
	Streams []hal.StreamInfo
	// Title is written into the picture: capitals, digits and some signs.
	Title string
	// Seed varies grain and background noise.
	Seed uint64
	// Scenario, if not nil, says what happens when.
	Scenario *Scenario
	// Card is the folder that stands for the memory card; the scenario can pull
	// it: it is then called Card.pulled.
	Card string
	// Identity is what the factory wrote; nil is a camera that was never there.
	Identity fs.FS
	// DisplayFile, if set, is a PNG of what the display shows; there is no such
	// file while it shows nothing.
	DisplayFile string
}

// DefaultStreams are "main", 1280x720 at 2 Mbit/s, and "sub", 640x360 at
// 500 kbit/s, both with 25 frames a second and a key frame every 2 s.
func DefaultStreams() []hal.StreamInfo {
	stream := func(name string, w, h, bitrate int) hal.StreamInfo {
		return hal.StreamInfo{
			Name:    name,
			Default: hal.VideoConfig{Width: w, Height: h, FPS: 25, GOP: 50, Bitrate: bitrate},
			FPS:     rangeFPS, GOP: rangeGOP, Bitrate: rangeBitrate,
		}
	}
	return []hal.StreamInfo{stream("main", 1280, 720, 2_000_000), stream("sub", 640, 360, 500_000)}
}

// Board is the simulated camera. Its methods may be called from any goroutine.
type Board struct {
	title   string
	seed    uint64
	start   time.Time
	streams []hal.StreamInfo

	mu        sync.Mutex
	closed    bool
	open      map[string]*video
	mic       *microphone
	noise     *noise // for backdrops
	backdrops map[[2]int]*backdrop
}

var (
	_ hal.Board             = (*Board)(nil)
	_ hal.KeyframeRequester = (*Board)(nil)
	_ hal.EncoderTuner      = (*Board)(nil)
	_ hal.Snapshotter       = (*Board)(nil)
	_ hal.Microphone        = (*Board)(nil)
)

// New makes a board and fixes the zero of its clock; it starts nothing.
func New(cfg Config) *Board {
	b := &Board{
		title: cfg.Title, seed: cfg.Seed, start: time.Now(),
		streams: slices.Clone(cfg.Streams),
		open:    map[string]*video{}, backdrops: map[[2]int]*backdrop{},
	}
	if len(cfg.Streams) == 0 {
		b.streams = DefaultStreams()
	}
	for i := range b.streams {
		sane(&b.streams[i])
	}
	return b
}

// sane adjusts what the board cannot do.
func sane(s *hal.StreamInfo) {
	s.FPS, s.GOP, s.Bitrate = within(s.FPS, rangeFPS), within(s.GOP, rangeGOP), within(s.Bitrate, rangeBitrate)
	d := &s.Default
	d.Width = clamp(cmp.Or(d.Width, 640), hal.Range{Min: 320, Max: 1920}) &^ 1
	d.Height = clamp(cmp.Or(d.Height, 360), hal.Range{Min: 180, Max: 1088}) &^ 1
	d.FPS = clamp(cmp.Or(d.FPS, 25), s.FPS)
	d.GOP = clamp(cmp.Or(d.GOP, 2*d.FPS), s.GOP)
	d.Bitrate = clamp(cmp.Or(d.Bitrate, 2_000_000), s.Bitrate)
}

// within narrows a range to what is possible; an empty one becomes all of that.
func within(r, possible hal.Range) hal.Range {
	r = hal.Range{Min: max(r.Min, possible.Min), Max: min(r.Max, possible.Max)}
	if r.Min > r.Max {
		return possible
	}
	return r
}

func clamp(v int, r hal.Range) int { return min(max(v, r.Min), r.Max) }

// Info implements [hal.Board].
func (b *Board) Info() hal.Info { return hal.Info{Board: "sim", Model: "simulated camera"} }

// Streams implements [hal.Board].
func (b *Board) Streams() []hal.StreamInfo { return slices.Clone(b.streams) }

// Start is the zero of the board's clock: the grid of frames, sound and beeps.
func (b *Board) Start() time.Time { return b.start }

// OpenVideo implements [hal.Board]. Width and height of the wish are ignored.
func (b *Board) OpenVideo(ctx context.Context, stream string, want hal.VideoConfig) (hal.VideoStream, error) {
	info, err := hal.FindStream(b, stream)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("sim board: opening %s: %w", stream, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil, fmt.Errorf("sim board: opening %s: %w", stream, hal.ErrClosed)
	}
	if b.open[stream] != nil {
		return nil, fmt.Errorf("sim board: stream %s is open already: close it first", stream)
	}
	v := newVideo(b, info, merge(info, info.Default, want))
	b.open[stream] = v
	return v, nil
}

// merge puts the non-zero fields of patch over c, adjusted to what info allows.
func merge(info hal.StreamInfo, c, patch hal.VideoConfig) hal.VideoConfig {
	c.FPS = clamp(cmp.Or(patch.FPS, c.FPS), info.FPS)
	c.GOP = clamp(cmp.Or(patch.GOP, c.GOP), info.GOP)
	c.Bitrate = clamp(cmp.Or(patch.Bitrate, c.Bitrate), info.Bitrate)
	return c
}

// RequestKeyframe implements [hal.KeyframeRequester]; hal.ErrClosed if the
// stream is not open. Several requests before the next frame are one.
func (b *Board) RequestKeyframe(stream string) error {
	v, err := b.running(stream)
	if err != nil {
		return fmt.Errorf("key frame: %w", err)
	}
	v.requestKey()
	return nil
}

// Tune implements [hal.EncoderTuner]; hal.ErrClosed if the stream is not open.
// It takes effect within two frames and keeps the parameter sets.
func (b *Board) Tune(stream string, patch hal.VideoConfig) (hal.VideoConfig, error) {
	v, err := b.running(stream)
	if err != nil {
		return hal.VideoConfig{}, fmt.Errorf("tuning: %w", err)
	}
	return v.tune(patch), nil
}

func (b *Board) running(stream string) (*video, error) {
	if _, err := hal.FindStream(b, stream); err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if v := b.open[stream]; v != nil {
		return v, nil
	}
	return nil, fmt.Errorf("sim board: stream %s is not running: %w", stream, hal.ErrClosed)
}

// OpenMicrophone implements [hal.Microphone]: G.711 µ-law, 8 kHz, 20 ms a frame.
func (b *Board) OpenMicrophone(ctx context.Context) (hal.AudioStream, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("sim board: opening the microphone: %w", err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil, fmt.Errorf("sim board: opening the microphone: %w", hal.ErrClosed)
	}
	if b.mic != nil {
		return nil, fmt.Errorf("sim board: the microphone is open already: close it first")
	}
	b.mic = newMicrophone(b)
	return b.mic, nil
}

// Close implements [hal.Board].
func (b *Board) Close() error {
	b.mu.Lock()
	b.closed = true
	mic, open := b.mic, b.open
	b.mic, b.open = nil, map[string]*video{}
	b.mu.Unlock()
	if mic != nil {
		mic.ticker.close()
	}
	for _, v := range open {
		v.ticker.close()
	}
	return nil
}

// backdrop returns the still part of the scene in one size, painted once.
func (b *Board) backdrop(w, h int) *backdrop {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.backdropLocked(w, h)
}

func (b *Board) backdropLocked(w, h int) *backdrop {
	k := [2]int{w, h}
	if b.backdrops[k] == nil {
		if b.noise == nil {
			b.noise = newNoise()
		}
		b.backdrops[k] = newBackdrop(w, h, b.noise)
	}
	return b.backdrops[k]
}
