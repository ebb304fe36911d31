package agent

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"iid2secure.nl/camagent/agent/command"
	"iid2secure.nl/camagent/config"
	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/hal/sim"
	"iid2secure.nl/camagent/media"
	"iid2secure.nl/camagent/media/clip"
)

// reel keeps what a recorder tells of its clips.
type reel struct {
	mu    sync.Mutex
	clips []reeled
}

type reeled struct {
	start clip.Start
	info  clip.Info
}

func (r *reel) Create(_ context.Context, s clip.Start) (clip.Sink, error) {
	return &reelSink{reel: r, start: s}, nil
}
func (r *reel) Missed(clip.Miss) {}

func (r *reel) all() []reeled {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]reeled(nil), r.clips...)
}

type reelSink struct {
	reel  *reel
	start clip.Start
}

func (s *reelSink) Write(p []byte) (int, error) { return len(p), nil }
func (s *reelSink) Sync(clip.Info) error        { return nil }
func (s *reelSink) Fail(newest uint64) uint64   { return newest + 1 }
func (s *reelSink) Close(i clip.Info) error {
	s.reel.mu.Lock()
	defer s.reel.mu.Unlock()
	s.reel.clips = append(s.reel.clips, reeled{s.start, i})
	return nil
}

// filming runs a bound camera that films the scenario in a bubble, with its
// recording, for as long as scene takes.
func filming(t *testing.T, scenario string, ring int, scene func(c *camera, r *recording, film *reel, board *sim.Board)) {
	t.Helper()
	script, err := sim.ParseScenario("scenario", []byte(scenario))
	require.NoError(t, err)
	synctest.Test(t, func(t *testing.T) {
		b := sim.New(sim.Config{Scenario: script})
		c := testCamera(t, b)
		c.streams[1].Ring = media.NewRing(ring)
		film := &reel{}
		wall := func() (time.Time, bool) { return time.Now(), true }
		r := newRecording(config.Default().Record, c.streams[1], film, c, wall, zap.NewNop())
		ctx, cancel := context.WithCancel(t.Context())
		var group sync.WaitGroup
		for _, run := range []func(context.Context) error{
			c.run, r.run, r.recorder.Run,
			func(ctx context.Context) error { return c.pump(ctx, 1) },
			func(ctx context.Context) error { return readMotion(ctx, c.board.NextMotion, r, func() {}) },
		} {
			group.Go(func() { run(ctx) })
		}
		c.apply(true)
		scene(c, r, film, b)
		cancel()
		group.Wait()
		c.board.Close()
	})
}

func setRecording(t *testing.T, c *camera, p command.SettingsPatch) {
	t.Helper()
	_, err := c.change(context.Background(), p)
	require.NoError(t, err)
}

const still = "script:\n  - traffic: off\n"

const walker = still + "  - {at: 20s, walk: left, for: 10s}\n"

func TestM3_MotionIsRecordedWithWhatIsAroundIt(t *testing.T) {
	t.Parallel()
	filming(t, walker, 4<<20, func(c *camera, r *recording, film *reel, board *sim.Board) {
		mode := command.RecordEvents
		setRecording(t, c, command.SettingsPatch{Recording: &mode})
		time.Sleep(25 * time.Second)
		st := r.status(mode, &clipStore{})
		if st.Trigger != "motion" || st.Event == "" || st.Now != mode {
			t.Errorf("while it lasts: %+v", st)
		}
		time.Sleep(65 * time.Second)
		list := film.all()
		if len(list) < 4 || len(list) > 8 {
			t.Fatalf("%d clips: %+v", len(list), list)
		}
		began := list[0].start.Time.Sub(board.Start())
		if began > 16*time.Second || began < 13*time.Second { // it is seen after half a second; GOPs are of 2 s
			t.Errorf("begins %v after the start", began)
		}
		last := list[len(list)-1]
		if end := last.start.Time.Add(last.info.Duration).Sub(board.Start()); end < 40*time.Second || end > 45*time.Second {
			t.Errorf("ends %v after the start", end)
		}
		for i, k := range list {
			if i > 0 && k.info.FirstFrame != list[i-1].info.LastFrame+1 {
				t.Errorf("clip %d begins with %d after %d", i, k.info.FirstFrame, list[i-1].info.LastFrame)
			}
			if k.info.Trigger != "motion" || k.info.Event != st.Event || !k.info.Urgent || k.info.Duration > 6*time.Second {
				t.Errorf("clip %d: %+v", i, k.info)
			}
		}
		if st := r.status(mode, &clipStore{}); st.Trigger != "" {
			t.Errorf("afterwards: %+v", st)
		}
	})
}

// A scripted event cuts what goes on continuously, and has the clip with its picture.
func TestM3_MotionCutsContinuousRecording(t *testing.T) {
	t.Parallel()
	filming(t, walker, 4<<20, func(_ *camera, _ *recording, film *reel, board *sim.Board) {
		time.Sleep(100 * time.Second)
		list := film.all()
		urgent := 0
		for i, k := range list {
			if i > 0 && k.info.FirstFrame != list[i-1].info.LastFrame+1 {
				t.Errorf("clip %d begins with %d after %d", i, k.info.FirstFrame, list[i-1].info.LastFrame)
			}
			if !k.info.Urgent {
				continue
			}
			if urgent++; urgent == 1 {
				if end := k.start.Time.Add(k.info.Duration).Sub(board.Start()); end > 23*time.Second {
					t.Errorf("the clip with the alarm's picture ends at %v", end)
				}
			}
		}
		if list[0].info.FirstFrame != 0 || urgent < 4 || list[0].info.Event == "" {
			t.Errorf("%d urgent clips: %+v", urgent, list)
		}
	})
}

func TestM3_M14_RecordingOnCommandAndBySchedule(t *testing.T) {
	t.Parallel()
	filming(t, still, 4<<20, func(c *camera, r *recording, film *reel, _ *sim.Board) {
		off := command.RecordOff
		setRecording(t, c, command.SettingsPatch{Recording: &off})
		time.Sleep(10 * time.Second)
		before := len(film.all())
		r.start(10 * time.Second)
		if st := r.status(off, &clipStore{}); !st.Command || st.Left != 10_000 || st.Trigger != "command" {
			t.Errorf("%+v", st)
		}
		time.Sleep(20 * time.Second)
		list := film.all()[before:]
		if len(list) != 1 || list[0].info.Duration < 10*time.Second || list[0].info.Duration > 14*time.Second || list[0].info.Trigger != "command" {
			t.Errorf("on command: %+v", list)
		}
		// The bubble's clock begins on a Saturday, 2000-01-01 00:00 UTC.
		on, list2 := command.RecordContinuous, windows(t, "sat@00:05-00:06")
		setRecording(t, c, command.SettingsPatch{Recording: &on, Schedule: &command.SchedulePatch{Windows: &list2}})
		time.Sleep(10 * time.Minute)
		list = film.all()[before+1:]
		first, last := list[0], list[len(list)-1]
		midnight := time.Date(2000, 1, 1, 0, 5, 0, 0, time.UTC)
		if d := first.start.Time.Sub(midnight); d < 0 || d > time.Second { // a key frame is asked for
			t.Errorf("begins %v after the window", d)
		}
		if d := last.start.Time.Add(last.info.Duration).Sub(midnight); d < time.Minute || d > time.Minute+3*time.Second {
			t.Errorf("ends %v after the window's begin", d)
		}
		if first.info.Trigger != "schedule" {
			t.Errorf("%+v", first.info)
		}
	})
}

func TestR6_PreRollThatMemoryCannotHoldIsTold(t *testing.T) {
	t.Parallel()
	filming(t, still, 100<<10, func(c *camera, _ *recording, _ *reel, _ *sim.Board) {
		has := func() bool {
			for _, p := range c.health.conditions() {
				if p.Code == "recording.pre_roll" {
					return true
				}
			}
			return false
		}
		time.Sleep(time.Minute)
		if has() {
			t.Error("told without need")
		}
		mode := command.RecordEvents
		setRecording(t, c, command.SettingsPatch{Recording: &mode})
		time.Sleep(time.Minute)
		if !has() {
			t.Errorf("not told: %+v", c.health.conditions())
		}
	})
}

// A detector that dies ends what it began.
func TestR4_MotionOfADetectorThatDies(t *testing.T) {
	t.Parallel()
	filming(t, still, 4<<20, func(c *camera, r *recording, film *reel, _ *sim.Board) {
		calls := 0
		err := readMotion(context.Background(), func(context.Context) (hal.MotionEvent, error) {
			if calls++; calls == 1 {
				return hal.MotionEvent{Time: time.Now(), Active: true}, nil
			}
			return hal.MotionEvent{}, hal.ErrGone
		}, r, func() {})
		require.ErrorIs(t, err, hal.ErrGone)
		time.Sleep(20 * time.Second)
		if st := r.status("", &clipStore{}); st.Event != "" {
			t.Errorf("it goes on: %+v", st)
		}
	})
}
