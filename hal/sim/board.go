package sim

import (
	"cmp"
	"context"
	"fmt"
	"image"
	"io/fs"
	"slices"
	"sync"
	"time"

	"iid2secure.nl/camagent/hal"
)

// What a stream can do; the least bitrate follows from its size.
var (
	rangeFPS = hal.Range{Min: 1, Max: 30}
	rangeGOP = hal.Range{Min: 1, Max: 300}
)

const mostBitrate = 8_000_000

// leastBitrate is what pictures of a size take at the worst quality, so many a
// second, so few of them key frames; measured, with the usual scene.
func leastBitrate(c hal.VideoConfig) int {
	n := (c.Width + 15) / 16 * ((c.Height + 15) / 16)
	key, other := 4000+15*n, 600+n
	gop := max(c.GOP, 1)
	return max(64_000, c.FPS*(key+other*(gop-1))/gop)
}

// Config says what the board shows. The zero Config is a usable one.
type Config struct {
	// Streams, largest first; nil means [DefaultStreams]. What a board cannot
	// do is adjusted: sizes to even ones from 320x180 to 1920x1088, ranges to
	// 1–30 fps, 1–300 frames a GOP, and at most 8 Mbit/s.
	Streams []hal.StreamInfo
	// Title is written into the picture, in capitals, as much of it as fits.
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
		}
	}
	list := []hal.StreamInfo{stream("main", 1280, 720, 2_000_000), stream("sub", 640, 360, 500_000)}
	for i := range list {
		sane(&list[i])
	}
	return list
}

// Board is the simulated camera: all of package hal's capabilities but a raw
// picture. Its methods may be called from any goroutine, as [hal.Camera] does.
type Board struct {
	title       string
	seed        uint64
	start       time.Time
	streams     []hal.StreamInfo
	identity    fs.FS
	displayFile string

	motion  motion  // in part its reader's
	fingers fingers // its reader's

	mu        sync.Mutex
	open      map[string]*video
	mic       *microphone
	speaker   *speaker
	noise     *noise // for backdrops
	backdrops map[[2]int]*backdrop

	script   timeline
	changed  chan struct{} // closed when the control socket adds to the script
	card     card
	dn       dayNight
	head     head
	presets  map[string]hal.Position
	controls controls
	texts    [len(cornerNames)]string
	leds     map[string]hal.Pattern
	siren    bool
	shown    *image.Gray
	heard    []Heard
	slots    []slot
}

var (
	_ hal.Board             = (*Board)(nil)
	_ hal.KeyframeRequester = (*Board)(nil)
	_ hal.EncoderTuner      = (*Board)(nil)
	_ hal.ImageTuner        = (*Board)(nil)
	_ hal.Overlayer         = (*Board)(nil)
	_ hal.DayNight          = (*Board)(nil)
	_ hal.IRFilter          = (*Board)(nil)
	_ hal.Lights            = (*Board)(nil)
	_ hal.LightSensor       = (*Board)(nil)
	_ hal.Snapshotter       = (*Board)(nil)
	_ hal.MotionDetector    = (*Board)(nil)
	_ hal.Microphone        = (*Board)(nil)
	_ hal.Speaker           = (*Board)(nil)
	_ hal.PTZ               = (*Board)(nil)
	_ hal.Buttons           = (*Board)(nil)
	_ hal.LEDs              = (*Board)(nil)
	_ hal.Siren             = (*Board)(nil)
	_ hal.Display           = (*Board)(nil)
	_ hal.Sensors           = (*Board)(nil)
	_ hal.IdentityStore     = (*Board)(nil)
	_ hal.Firmware          = (*Board)(nil)
)

// New makes a board and fixes the zero of its clock and of its scenario; it
// starts nothing.
func New(cfg Config) *Board {
	b := &Board{
		title: cfg.Title, seed: cfg.Seed, start: time.Now(),
		streams: slices.Clone(cfg.Streams), identity: cfg.Identity, displayFile: cfg.DisplayFile,
		open: map[string]*video{}, backdrops: map[[2]int]*backdrop{},
		changed: make(chan struct{}), card: newCard(cfg.Card), presets: map[string]hal.Position{},
		controls: newControls(), leds: map[string]hal.Pattern{}, slots: newSlots(),
		dn: dayNight{mode: hal.Auto, now: eye{filter: true}},
	}
	if len(cfg.Streams) == 0 {
		b.streams = DefaultStreams()
	}
	for i := range b.streams {
		sane(&b.streams[i])
	}
	if cfg.Scenario != nil {
		for _, e := range cfg.Scenario.events {
			b.script[e.kind] = append(b.script[e.kind], e)
		}
	}
	b.motion = motion{ticker: newTicker("motion", b.start), least: leastSize(50)}
	b.fingers = fingers{ticker: newTicker("buttons", b.start), down: make([]bool, len(buttons))}
	if b.script.level(light, 0, usualLight) < nightBelow {
		b.dn.sees(true, 0)
	}
	return b
}

// sane adjusts what the board cannot do.
func sane(s *hal.StreamInfo) {
	s.FPS, s.GOP = within(s.FPS, rangeFPS), within(s.GOP, rangeGOP)
	d := &s.Default
	d.Width = clamp(cmp.Or(d.Width, 640), hal.Range{Min: 320, Max: 1920}) &^ 1
	d.Height = clamp(cmp.Or(d.Height, 360), hal.Range{Min: 180, Max: 1088}) &^ 1
	d.FPS = clamp(cmp.Or(d.FPS, 25), s.FPS)
	d.GOP = clamp(cmp.Or(d.GOP, 2*d.FPS), s.GOP)
	s.Bitrate = within(s.Bitrate, hal.Range{Min: leastBitrate(*d), Max: mostBitrate})
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

// Start is the zero of the board's clock: the grid of frames, sound and beeps,
// and the times of its scenario.
func (b *Board) Start() time.Time { return b.start }

// at does something now, on a board that is up to date.
func (b *Board) at(do func(now time.Duration) error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Since(b.start)
	b.advance(now)
	return do(now)
}

// advance brings up to date what follows from the script: the board has no
// goroutine, so whoever comes by does it. The caller holds the lock.
func (b *Board) advance(since time.Duration) {
	b.watchLight(since)
	now := time.Since(b.start)
	b.card.set(b.script.active(pullCard, now), now)
}

// OpenVideo implements [hal.Board]. Width and height of the wish are ignored.
func (b *Board) OpenVideo(ctx context.Context, stream string, want hal.VideoConfig) (hal.VideoStream, error) {
	if err := ctx.Err(); err != nil {
		return nil, failed("opening "+stream, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.plugged(); err != nil {
		return nil, failed("opening "+stream, err)
	}
	i := slices.IndexFunc(b.streams, func(s hal.StreamInfo) bool { return s.Name == stream })
	v := newVideo(b, stream, merge(b.streams[i].Default, want))
	b.open[stream] = v
	return v, nil
}

// merge puts the non-zero fields of patch over c; the size stays, and the
// bitrate rises to what the rest makes necessary.
func merge(c, patch hal.VideoConfig) hal.VideoConfig {
	c.FPS = cmp.Or(patch.FPS, c.FPS)
	c.GOP = cmp.Or(patch.GOP, c.GOP)
	c.Bitrate = max(cmp.Or(patch.Bitrate, c.Bitrate), leastBitrate(c))
	return c
}

// RequestKeyframe implements [hal.KeyframeRequester]. Several requests before
// the next frame are one.
func (b *Board) RequestKeyframe(stream string) error {
	v, err := b.running(stream)
	if err != nil {
		return failed("key frame", err)
	}
	v.requestKey()
	return nil
}

// Tune implements [hal.EncoderTuner]. It takes effect within two frames and
// keeps the parameter sets.
func (b *Board) Tune(stream string, patch hal.VideoConfig) (hal.VideoConfig, error) {
	v, err := b.running(stream)
	if err != nil {
		return hal.VideoConfig{}, failed("tuning", err)
	}
	return v.tune(patch), nil
}

// running finds an open stream; it may have been closed just now.
func (b *Board) running(stream string) (*video, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if v := b.open[stream]; v != nil {
		return v, nil
	}
	return nil, fmt.Errorf("stream %s: %w", stream, hal.ErrClosed)
}

// OpenMicrophone implements [hal.Microphone]: G.711 µ-law, 8 kHz, 20 ms a frame.
func (b *Board) OpenMicrophone(ctx context.Context) (hal.AudioStream, error) {
	if err := ctx.Err(); err != nil {
		return nil, failed("opening the microphone", err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.plugged(); err != nil {
		return nil, failed("opening the microphone", err)
	}
	b.mic = newMicrophone(b)
	return b.mic, nil
}

// Close implements [hal.Board]. A card that is pulled is put back.
func (b *Board) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.motion.ticker.close()
	b.fingers.ticker.close()
	for _, v := range b.open {
		v.ticker.close()
	}
	if b.mic != nil {
		b.mic.ticker.close()
	}
	if b.speaker != nil {
		b.speaker.ticker.close()
	}
	b.script[pullCard], b.card.err = nil, nil
	b.card.set(false, 0)
	return b.card.err
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
