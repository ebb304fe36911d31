package agent

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"iid2secure.nl/camagent/agent/command"
	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/retry"
	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/media"
)

// camera is the actor that owns the board: settings, snapshots and key-frame
// requests go through its single goroutine (run), so that no two commands meet
// on the hardware. The pumps read the streams that it configures.
type camera struct {
	board    *hal.Camera
	streams  []*media.Stream
	log      *zap.Logger
	health   *health
	settings *settingsFile
	work     chan func()
	keys     chan string // streams of which viewers want a key frame

	bound, microphone *gate
	applied           func()          // called by apply
	frames            []atomic.Uint64 // next frame number, by stream
	running           []atomic.Bool
	micOpen           atomic.Bool
	lastKey           []time.Time // run's goroutine only
}

func newCamera(board *hal.Camera, streams []*media.Stream, settings *settingsFile, h *health, log *zap.Logger) *camera {
	return &camera{
		board: board, streams: streams, settings: settings, health: h, log: log,
		work: make(chan func()), keys: make(chan string, 4),
		bound: newGate(), microphone: newGate(), applied: func() {},
		frames: make([]atomic.Uint64, len(streams)), running: make([]atomic.Bool, len(streams)),
		lastKey: make([]time.Time, len(streams)),
	}
}

// run carries out what do hands in, one at a time.
func (c *camera) run(ctx context.Context) error {
	for {
		select {
		case f := <-c.work:
			f()
		case stream := <-c.keys:
			if i, err := c.index(stream); err == nil && c.cheapKeys() {
				c.health.report("keyframe", c.key(i))
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// do runs fn on the actor's goroutine and waits for it.
func (c *camera) do(ctx context.Context, fn func() error) error {
	done := make(chan error, 1)
	select {
	case c.work <- func() { done <- fn() }:
	case <-ctx.Done():
		return ctx.Err()
	}
	return <-done
}

func (c *camera) index(stream string) (int, error) {
	for i, s := range c.streams {
		if s.Name == stream {
			return i, nil
		}
	}
	return 0, cloud.Refuse(cloud.CodeArgument, "stream: there is no %q on this camera", stream)
}

// apply sets the gates from the settings, and has the recording look at them; it is called whenever the binding or
// the settings change.
func (c *camera) apply(bound bool) {
	s := c.settings.get()
	c.microphone.set(bound && s.Microphone)
	c.bound.set(bound)
	c.applied()
}

// change applies a patch: the board first, then the file, and returns what is
// observed. A patch with one wrong value changes nothing.
func (c *camera) change(ctx context.Context, p command.SettingsPatch) (command.Settings, error) {
	err := c.do(ctx, func() error {
		next, err := p.Apply(c.settings.get(), c.board.Streams())
		if err != nil {
			return cloud.Refuse(cloud.CodeArgument, "%v", err)
		}
		if err := c.tune(p, &next); err != nil {
			return err
		}
		if p.Microphone != nil && *p.Microphone {
			if _, ok := c.board.Capability(hal.CapMicrophone); !ok {
				return cloud.Refuse(cloud.CodeUnable, "this camera can't do %s", hal.CapMicrophone)
			}
		}
		if err := c.settings.put(next); err != nil {
			return fmt.Errorf("settings could not be kept: %w", err)
		}
		open, _ := c.bound.state()
		c.apply(open)
		return nil
	})
	return c.observed(), err
}

// tune carries the stream part of p to the board and notes what it really does.
func (c *camera) tune(p command.SettingsPatch, next *command.Settings) error {
	if len(p.Streams) == 0 {
		return nil
	}
	for name := range p.Streams {
		s := next.Streams[name]
		got, err := c.board.Tune(name, hal.VideoConfig{Bitrate: s.Bitrate, FPS: s.FPS, GOP: s.GOP})
		if errors.Is(err, hal.ErrClosed) {
			continue // not running: it will be opened with what is kept
		}
		if err != nil {
			return err
		}
		i, err := c.index(name)
		if err != nil {
			return err
		}
		got = c.serves(i, got)
		next.Streams[name] = command.StreamSettings{Bitrate: got.Bitrate, FPS: got.FPS, GOP: got.GOP}
	}
	return nil
}

// observed is what is in force: the encoder as the board reports it, the
// microphone as wished (it follows within a second; status tells it open).
func (c *camera) observed() command.Settings {
	s := c.settings.get()
	for i, st := range c.streams {
		if cfg := st.Config(); c.running[i].Load() {
			s.Streams[st.Name] = command.StreamSettings{Bitrate: cfg.Bitrate, FPS: cfg.FPS, GOP: cfg.GOP}
		}
	}
	return s
}

// wantKey asks for a key frame for a viewer or the recorder, and never blocks:
// with several waiting already, one is on its way.
func (c *camera) wantKey(stream string) {
	select {
	case c.keys <- stream:
	default:
	}
}

// requestKey asks for a key frame for a member.
func (c *camera) requestKey(ctx context.Context, stream string) error {
	i, err := c.index(stream)
	if err != nil {
		return err
	}
	return c.do(ctx, func() error { return c.key(i) })
}

// key makes the board begin a GOP, at most once a second a stream; on the
// actor's goroutine. A stream that is not open does without: its next key frame
// comes by itself.
func (c *camera) key(i int) error {
	if time.Since(c.lastKey[i]) < time.Second {
		return nil
	}
	c.lastKey[i] = time.Now()
	if err := c.board.RequestKeyframe(c.streams[i].Name); !errors.Is(err, hal.ErrClosed) {
		return err
	}
	return nil
}

// cheapKeys tells whether a key frame may be had without a member's asking: one
// by restart interrupts everybody.
func (c *camera) cheapKeys() bool {
	k, ok := c.board.Capability(hal.CapKeyframe)
	return ok && k.By == ""
}

// snapshot takes a JPEG.
func (c *camera) snapshot(ctx context.Context) (jpeg []byte, err error) {
	err = c.do(ctx, func() error {
		jpeg, err = c.board.Snapshot(ctx)
		return err
	})
	return jpeg, err
}

// Waits between attempts to open a failed device.
const (
	minReopen = 200 * time.Millisecond
	maxReopen = 10 * time.Second
)

// pump keeps one stream running while the camera is bound: it opens it, moves
// its frames into the ring, and opens it again with back-off when it fails. R4.
func (c *camera) pump(ctx context.Context, i int) error {
	return c.bound.serve(ctx, func(ctx context.Context) error {
		return c.reopen(ctx, "stream."+c.streams[i].Name, func(ctx context.Context, up func()) error {
			return c.pumpOnce(ctx, i, up)
		})
	})
}

// reopen runs fn until ctx ends, with a growing wait after each failure; fn
// calls up when the device works, which ends the condition and the back-off.
func (c *camera) reopen(ctx context.Context, code string, fn func(ctx context.Context, up func()) error) error {
	b := retry.Backoff{Min: minReopen, Max: maxReopen}
	for {
		err := fn(ctx, func() { b.Reset(); c.health.clear(code) })
		if ctx.Err() == nil {
			c.health.report(code, err)
			retry.Sleep(ctx, b.Next(), nil)
		}
		if ctx.Err() != nil {
			c.health.clear(code)
			return ctx.Err()
		}
	}
}

// goodFrames tells a device that works from one that dies at once.
const goodFrames = 25

func (c *camera) pumpOnce(ctx context.Context, i int, up func()) error {
	st := c.streams[i]
	s := c.settings.get().Streams[st.Name]
	vs, err := c.board.OpenVideo(ctx, st.Name, hal.VideoConfig{Bitrate: s.Bitrate, FPS: s.FPS, GOP: s.GOP})
	if err != nil {
		return err
	}
	defer vs.Close()
	c.serves(i, vs.Config())
	defer c.health.clear("stream." + st.Name + ".config")
	defer c.health.clear("stream." + st.Name + ".lost")
	c.running[i].Store(true)
	defer c.running[i].Store(false)
	first := c.frames[i].Load()
	var losses losses
	for n := 0; ; n++ {
		au, err := vs.Next(ctx)
		if err != nil {
			return err
		}
		au.Seq += first
		c.frames[i].Store(au.Seq + 1)
		st.PushVideo(au)
		losses.note(&au)
		if au.Key { // some devices know only now what they do
			c.serves(i, vs.Config())
			c.health.report("stream."+st.Name+".lost", losses.recent(time.Now()))
		}
		if n == goodFrames {
			up()
		}
	}
}

// losses are the frames that a device lost lately.
type losses struct {
	frames uint64
	last   time.Time
}

// lossesTold is how long after the last loss it is told.
const lossesTold = 10 * time.Second

func (l *losses) note(au *hal.AccessUnit) {
	if au.Lost > 0 {
		l.frames, l.last = l.frames+au.Lost, au.Time
	}
}

// recent is an error while frames were lost a moment ago.
func (l *losses) recent(now time.Time) error {
	if l.frames == 0 || now.Sub(l.last) > lossesTold {
		l.frames = 0
		return nil
	}
	return fmt.Errorf("the device has lost %d frames, the last %v ago: it is too slow, or is not read in time", l.frames, now.Sub(l.last).Round(time.Second))
}

// serves notes and returns what stream i really gives: what the board says, but
// for the size, where the pictures themselves are believed. A board that says
// another one is a condition.
func (c *camera) serves(i int, says hal.VideoConfig) hal.VideoConfig {
	st := c.streams[i]
	is := says
	if w, h := st.PictureSize(); w > 0 && h > 0 && c.running[i].Load() {
		is.Width, is.Height = w, h
	}
	var wrong error
	if says.Width != 0 && (is.Width != says.Width || is.Height != says.Height) {
		wrong = fmt.Errorf("the board says %d×%d, but its pictures are %d×%d, and are served so", says.Width, says.Height, is.Width, is.Height)
	}
	c.health.report("stream."+st.Name+".config", wrong)
	st.SetConfig(is)
	return is
}

// fallBacks works for what the camera does in place of its hardware, while
// somebody owns it.
func (c *camera) fallBacks(ctx context.Context) error {
	return c.bound.serve(ctx, func(ctx context.Context) error {
		return c.reopen(ctx, "fallback", func(ctx context.Context, _ func()) error {
			works := time.AfterFunc(fallBackWorks, func() { c.health.clear("fallback") })
			defer works.Stop()
			return c.board.Run(ctx)
		})
	})
}

// fallBackWorks is how long a fall-back must have run to count as working.
const fallBackWorks = 5 * time.Second

// listen keeps the microphone open while the owner has it on, and its sound in
// every stream. P2: off within a second, and off means closed.
func (c *camera) listen(ctx context.Context) error {
	if _, ok := c.board.Capability(hal.CapMicrophone); !ok {
		<-ctx.Done()
		return ctx.Err()
	}
	return c.microphone.serve(ctx, func(ctx context.Context) error {
		return c.reopen(ctx, "microphone", func(ctx context.Context, up func()) error {
			return c.listenOnce(ctx, up)
		})
	})
}

func (c *camera) listenOnce(ctx context.Context, up func()) error {
	as, err := c.board.OpenMicrophone(ctx)
	if err != nil {
		return err
	}
	defer as.Close()
	format := as.Format()
	c.setAudio(&format)
	defer c.setAudio(nil)
	for {
		f, err := as.Next(ctx)
		if err != nil {
			return err
		}
		up()
		for _, s := range c.streams {
			s.PushAudio(f)
		}
	}
}

func (c *camera) setAudio(f *hal.AudioFormat) {
	c.micOpen.Store(f != nil)
	for _, s := range c.streams {
		s.SetAudio(f)
	}
}

// forget wipes what is in memory of the previous owner's pictures.
func (c *camera) forget() {
	for _, s := range c.streams {
		s.Ring.Clear()
	}
}

var errNoBoardStreams = errors.New("the board has no stream")
