package agent

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"time"

	"go.uber.org/zap"

	"iid2secure.nl/camagent/agent/command"
	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/config"
	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/media"
	"iid2secure.nl/camagent/media/clip"
)

// recording puts the decider among clocks, settings and callers: whatever happens,
// it decides anew, and the recorder follows at once. All methods but run may be
// called from any goroutine.
type recording struct {
	stream   *media.Stream
	recorder *clip.Recorder
	camera   *camera
	health   *health
	wall     func() (now time.Time, right bool)
	log      *zap.Logger
	moved    chan struct{} // capacity 1: run has to look when to decide next

	mu       sync.Mutex
	decider  decider
	given    command.Schedule // that schedule is made of
	schedule *schedule
	next     time.Time
}

// openRecording makes the recorder and what it follows.
func (a *Agent) openRecording() error {
	i, err := a.camera.index(a.cfg.Record.Stream)
	if err != nil {
		return fmt.Errorf("configuration: record.stream: is %q, want a stream that the board has", a.cfg.Record.Stream)
	}
	wall := func() (time.Time, bool) { return a.clock.Now(), a.clock.Plausible() }
	a.recording = newRecording(a.cfg.Record, a.streams[i], a.clips, a.camera, wall, a.log.Named("record"))
	return nil
}

func newRecording(cfg config.Record, stream *media.Stream, store clip.Store, camera *camera,
	wall func() (time.Time, bool), log *zap.Logger) *recording {
	r := &recording{stream: stream, camera: camera, health: camera.health, wall: wall, log: log,
		moved:   make(chan struct{}, 1),
		decider: decider{preRoll: cfg.PreRoll, postRoll: cfg.PostRoll, newID: func() string { return cloud.Token(10) }}}
	r.recorder = clip.New(stream, store, clip.Config{Length: cfg.ClipLength, Log: log,
		WantKeyframe: func() { camera.wantKey(stream.Name) }})
	camera.applied = r.look
	return r
}

// begin and end are the event input: something of a kind, which the clips will
// have as their trigger, happens since at, and goes on no more since at.
func (r *recording) begin(kind string, at time.Time) { r.act(func(d *decider) { d.begin(kind, at) }) }
func (r *recording) end(kind string, at time.Time)   { r.act(func(d *decider) { d.end(kind, at) }) }

// start and stop record on command.
func (r *recording) start(long time.Duration) {
	r.act(func(d *decider) { d.start(time.Now(), long) })
}
func (r *recording) stop() { r.act((*decider).stop) }

// look decides anew: settings, binding or time have changed.
func (r *recording) look() { r.act(func(*decider) {}) }

func (r *recording) act(change func(*decider)) {
	settings := r.camera.settings.get()
	bound, _ := r.camera.bound.state()
	r.mu.Lock()
	defer r.mu.Unlock()
	change(&r.decider)
	now := time.Now()
	mode, scheduled := r.mode(settings)
	if !bound {
		mode = ""
	}
	was := r.decider.last
	is := r.decider.decide(now, mode, scheduled)
	r.recorder.Forget(is.forget)
	if is.changed {
		r.recorder.Follow(is.order, is.since)
		if was.Trigger != is.order.Trigger || was.Event != is.order.Event {
			r.log.Info("recording", zap.String("trigger", is.order.Trigger), zap.String("event", is.order.Event))
		}
	}
	r.next = is.next
	r.notify()
}

func (r *recording) notify() {
	select {
	case r.moved <- struct{}{}:
	default:
	}
}

// mode is the one in force: that of the settings, or outside of the schedule the
// other one. While the time is not known, the schedule's windows are open.
func (r *recording) mode(s command.Settings) (mode string, scheduled bool) {
	if r.given.Zone != s.Schedule.Zone || r.given.Outside != s.Schedule.Outside || !reflect.DeepEqual(r.given.Windows, s.Schedule.Windows) {
		var err error
		r.given = s.Schedule
		r.schedule, err = newSchedule(s.Schedule)
		r.health.report("recording.schedule", err)
	}
	if r.schedule == nil {
		return s.Recording, false
	}
	if now, right := r.wall(); right && !r.schedule.inside(now) {
		return r.schedule.outside, true
	}
	return s.Recording, true
}

// lookEvery is how often the schedule is compared with the clock, which may be
// set meanwhile, and the ring with the pre-roll.
const lookEvery = 10 * time.Second

// run decides when time has passed.
func (r *recording) run(ctx context.Context) error {
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		select {
		case <-r.moved:
		case <-t.C:
			r.look()
			r.checkPreRoll()
		case <-ctx.Done():
			return ctx.Err()
		}
		t.Reset(r.wait())
	}
}

// wait is how long nothing changes by itself. Without a schedule there may still
// be a ring to look at.
func (r *recording) wait() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	wait := lookEvery
	if now, right := r.wall(); right { // windows begin and end with a minute
		wait = min(wait, now.Truncate(time.Minute).Add(time.Minute).Sub(now))
	}
	if !r.next.IsZero() {
		wait = min(wait, time.Until(r.next))
	}
	return max(wait, 0)
}

// checkPreRoll tells the owner of a ring that can't hold what is wanted of the
// time before an event.
func (r *recording) checkPreRoll() {
	r.mu.Lock()
	mode, want := r.decider.mode, r.decider.preRoll
	r.mu.Unlock()
	held, full := r.stream.Ring.Span(time.Now())
	switch {
	case mode != command.RecordEvents, !full, held >= want+want/4:
		r.health.clear("recording.pre_roll")
	case held < want:
		r.health.set("recording.pre_roll", fmt.Sprintf("memory holds %v of stream %s, want %v before an event: make ring.%s_kb larger, or record.pre_roll shorter",
			held.Round(time.Second/10), r.stream.Name, want, r.stream.Name))
	}
}

// status tells what is recorded, and why.
func (r *recording) status(mode string, store *clipStore) command.RecordingStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	d := &r.decider
	s := command.RecordingStatus{Mode: mode, Active: store.open.Load() > 0, Clips: store.closed.Load(), Now: d.mode,
		Trigger: d.last.Trigger, Event: d.last.Event, Command: d.started}
	if d.started && !d.until.IsZero() {
		s.Left = max(time.Until(d.until).Milliseconds(), 1)
	}
	return s
}

func (a *Agent) recordingStatus() command.RecordingStatus {
	return a.recording.status(a.camera.settings.get().Recording, a.clips)
}

func (a *Agent) recordingStart(_ context.Context, _ string, f command.RecordFor) (command.RecordingStatus, error) {
	a.recording.start(time.Duration(f.For) * time.Millisecond)
	return a.recordingStatus(), nil
}

func (a *Agent) recordingStop(context.Context, string, command.None) (command.RecordingStatus, error) {
	a.recording.stop()
	return a.recordingStatus(), nil
}

// record records while the camera is bound.
func (a *Agent) record(ctx context.Context) error {
	return a.camera.bound.serve(ctx, func(ctx context.Context) error {
		defer a.health.clear("recording")
		return a.recording.recorder.Run(ctx)
	})
}

// kindMotion is the trigger of clips of motion.
const kindMotion = "motion"

// watchMotion hands what the board sees moving to the event input, also while the
// mode is off: what lasts when that ends is an event.
func (a *Agent) watchMotion(ctx context.Context) error {
	if !a.able(hal.CapMotion) {
		<-ctx.Done()
		return ctx.Err()
	}
	return a.camera.bound.serve(ctx, func(ctx context.Context) error {
		return a.camera.reopen(ctx, "motion", func(ctx context.Context, up func()) error {
			return readMotion(ctx, a.board.NextMotion, a.recording, up)
		})
	})
}

// motionWorks is how long a detector must have been quiet to count as working.
const motionWorks = 2 * time.Second

func readMotion(ctx context.Context, next func(context.Context) (hal.MotionEvent, error), r *recording, up func()) error {
	defer func() { r.end(kindMotion, time.Now()) }() // nobody else will tell
	first, cancel := context.WithTimeout(ctx, motionWorks)
	defer cancel()
	wait := first
	for {
		e, err := next(wait)
		switch {
		case err == nil && e.Active:
			r.begin(kindMotion, e.Time)
			up()
		case err == nil:
			r.end(kindMotion, e.Time)
			up()
		case wait == first && first.Err() != nil && ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded):
			up()
			wait = ctx
		default:
			return err
		}
	}
}
