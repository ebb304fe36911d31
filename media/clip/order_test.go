package clip

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"iid2secure.nl/camagent/media"
)

func motion(id string) Order { return Order{Trigger: "motion", Event: id, Urgent: true} }

// told is what a clip is about, for tables.
func told(store *memStore) (list []string) {
	for _, c := range store.clips {
		list = append(list, fmt.Sprintf("%d-%d %s %s", c.info.FirstFrame, c.info.LastFrame, c.info.Trigger, c.info.Event))
	}
	return list
}

// step is one line of a scene: pictures played, then what is wanted.
type step struct {
	play  int
	want  Order
	since time.Duration // ago
}

func TestM3_OrdersCutClips(t *testing.T) {
	t.Parallel()
	list := real(t) // a key frame every 25 pictures
	none := Order{}
	for name, test := range map[string]struct {
		steps []step
		want  []string
	}{
		"nothing wanted":                      {[]step{{play: 100}, {play: 100}}, nil},
		"pre-roll, and to the end of the GOP": {[]step{{100, motion("a"), time.Second}, {60, none, 0}, {play: 100}}, []string{"75-174 motion a"}},
		"more pre-roll than there is":         {[]step{{60, motion("a"), time.Minute}, {10, none, 0}, {play: 100}}, []string{"0-74 motion a"}},
		"pre-roll ends where the last clip ended": {
			[]step{{30, motion("a"), 0}, {10, none, 0}, {30, motion("b"), 2 * time.Second}, {20, none, 0}, {play: 60}},
			[]string{"25-49 motion a", "50-99 motion b"}},
		"pre-roll while the last clip is open still": {
			[]step{{30, motion("a"), 0}, {3, none, 0}, {3, motion("b"), 2 * time.Second}, {30, none, 0}, {play: 60}},
			[]string{"25-49 motion a", "50-74 motion b"}},
		"an alarm's clips are 4 s": {[]step{{1, motion("a"), 0}, {250, none, 0}, {play: 60}},
			[]string{"0-99 motion a", "100-199 motion a", "200-274 motion a"}},
		"an alarm cuts what goes on, and has the clip it began in": {
			[]step{{play: 0, want: continuous}, {110, motion("a"), 0}, {30, continuous, 0}, {play: 90}},
			[]string{"0-124 motion a", "125-149 motion a", "150-229 continuous "}},
		"an alarm that is over before the key frame": {
			[]step{{play: 0, want: continuous}, {105, motion("a"), 0}, {10, continuous, 0}, {play: 60}},
			[]string{"0-124 motion a", "125-174 continuous "}},
		"an alarm that is told late belongs to the clip with its picture": {
			[]step{{play: 0, want: continuous}, {100, Order{Trigger: "command"}, 0}, {51, motion("a"), time.Second}, {play: 40}},
			[]string{"0-99 continuous ", "100-174 motion a", "175-190 motion a"}},
		"off and on": {
			[]step{{play: 0, want: continuous}, {30, none, 0}, {5, continuous, 0}, {30, none, 0}, {90, continuous, 0}, {play: 10}},
			[]string{"0-49 continuous ", "50-74 continuous ", "150-164 continuous "}},
		"said twice":         {[]step{{play: 0, want: continuous}, {30, continuous, 0}, {play: 60}}, []string{"0-89 continuous "}},
		"two orders at once": {[]step{{play: 30, want: motion("a")}, {play: 0, want: none}, {play: 60}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := &memStore{}
			following(t, newCamera(list), store, Config{}, func(c *camera, r *Recorder) {
				for i, s := range test.steps {
					c.play(s.play)
					since := time.Time{}
					if s.since > 0 {
						since = time.Now().Add(-s.since)
					}
					if i < len(test.steps)-1 {
						r.Follow(s.want, since)
					}
				}
			})
			if got := told(store); fmt.Sprint(got) != fmt.Sprint(test.want) {
				t.Errorf("clips\n%q, want\n%q", got, test.want)
			}
			if len(store.missed) > 0 {
				t.Errorf("missed %+v", store.missed)
			}
		})
	}
}

// following runs a recorder that wants nothing at first.
func following(t *testing.T, c *camera, store *memStore, cfg Config, scene func(c *camera, r *Recorder)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c.Ring = media.NewRing(c.ring)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		r := New(c.Stream, store, cfg)
		go func() { done <- r.Run(ctx) }()
		synctest.Wait()
		scene(c, r)
		synctest.Wait()
		cancel()
		<-done
	})
}

// What a fragment's Sync tells is what the file holds then: it is all that is
// known of a clip which a power cut ends.
func TestR3_SyncTellsWhatIsInTheFile(t *testing.T) {
	t.Parallel()
	list := real(t)
	store := &memStore{}
	syncs := 0
	store.synced = func(c *memClip, i Info) {
		syncs++
		got := open(t, c.data)
		if i.Frames != len(got.video) || i.LastFrame != i.FirstFrame+uint64(i.Frames)-1 || i.FirstFrame != c.start.FirstFrame ||
			i.Duration != time.Duration(got.videoDuration)*time.Second/videoClock || i.Event != "" && !i.Urgent {
			t.Errorf("told %+v, holds %d pictures, %d ticks", i, len(got.video), got.videoDuration)
		}
	}
	following(t, newCamera(list), store, Config{}, func(c *camera, r *Recorder) {
		r.Follow(continuous, time.Time{})
		c.play(60)
		r.Follow(motion("a"), time.Time{})
		c.play(60)
	})
	if syncs < 4 {
		t.Errorf("%d syncs", syncs)
	}
	if i := store.clips[0].last; i.Event != "a" {
		t.Errorf("the last fragment of the clip with the alarm's picture is told as %+v", i)
	}
}

// While nothing is wanted the recorder is no reader of the ring, also after a clip.
func TestR6_NothingWantedNothingRead(t *testing.T) {
	t.Parallel()
	list := real(t)
	store := &memStore{create: func(context.Context) error { return nil }}
	following(t, newCamera(list), store, Config{}, func(c *camera, r *Recorder) {
		readers := func(want int) {
			t.Helper()
			synctest.Wait()
			if n := c.Ring.Stats().Readers; n != want {
				t.Errorf("%d readers, want %d", n, want)
			}
		}
		c.play(60)
		readers(0)
		r.Follow(continuous, time.Time{})
		c.play(60)
		readers(1)
		r.Follow(Order{}, time.Time{})
		c.play(60)
		readers(0)
	})
}

// An ended recorder that is run again records nothing twice, also if a store
// that panicked ended it.
func TestR2_R5_RunAgain(t *testing.T) {
	t.Parallel()
	list := real(t)
	store := &memStore{}
	synctest.Test(t, func(t *testing.T) {
		c := newCamera(list)
		c.Ring = media.NewRing(c.ring)
		r := New(c.Stream, store, Config{})
		r.Follow(continuous, time.Time{})
		var ended []any
		for i := range 4 {
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan any)
			go func() {
				defer func() { done <- recover() }()
				r.Run(ctx)
			}()
			if i == 2 {
				store.sync = func() error { panic("of a store") }
			}
			if i < 2 {
				c.play(60)
				cancel()
				ended = append(ended, <-done)
			} else if i == 2 {
				go func() { c.play(60) }()
				ended = append(ended, <-done)
				store.sync = nil
				time.Sleep(time.Minute)
				synctest.Wait()
			} else {
				c.play(60)
				cancel()
				ended = append(ended, <-done)
			}
			cancel()
		}
		if ended[2] == nil || ended[0] != nil {
			t.Errorf("ended by %v", ended)
		}
	})
	if got := fmt.Sprint(told(store)); got != "[0-59 continuous  75-119 continuous  125-179 continuous  200-239 continuous ]" {
		t.Errorf("clips %s, missed %+v", got, store.missed)
	}
}

// A store that hangs costs what the ring could not hold, and that is told to the
// picture.
func TestR1_R7_WhatASlowStoreCostsIsTold(t *testing.T) {
	t.Parallel()
	list := real(t)
	store := &memStore{}
	c := newCamera(list)
	c.ring = 150_000
	following(t, c, store, Config{}, func(c *camera, r *Recorder) {
		r.Follow(continuous, time.Time{})
		c.play(100)
		synctest.Wait()
		store.sync = func() error { time.Sleep(20 * time.Second); store.sync = nil; return nil }
		c.play(1500)
	})
	covered(t, store, 1600, 1)
}

// An event begins while the store hangs over the end of the last clip.
func TestR1_R7_PreRollThatWasLostMeanwhileIsTold(t *testing.T) {
	t.Parallel()
	list := real(t)
	store := &memStore{}
	c := newCamera(list)
	c.ring = 150_000
	following(t, c, store, Config{}, func(c *camera, r *Recorder) {
		r.Follow(motion("a"), time.Time{})
		c.play(40)
		synctest.Wait()
		store.close = func() error { store.close = nil; time.Sleep(20 * time.Second); return nil }
		r.Follow(Order{}, time.Time{})
		c.play(20)
		r.Follow(motion("b"), time.Now().Add(-100*time.Millisecond))
		c.play(1540)
	})
	covered(t, store, 1600, 1)
}

// covered checks that clips and what was missed make all pictures up to end.
func covered(t *testing.T, store *memStore, end uint64, misses int) {
	t.Helper()
	next := uint64(0)
	told := store.missed
	for _, clip := range store.clips {
		if len(told) > 0 && told[0].FirstFrame == next {
			next, told = told[0].LastFrame+1, told[1:]
		}
		if clip.info.FirstFrame != next {
			t.Errorf("a clip begins with %d, want %d", clip.info.FirstFrame, next)
		}
		next = clip.info.LastFrame + 1
	}
	if next != end || len(store.missed) != misses || len(told) != 0 {
		t.Errorf("up to %d, missed %+v", next, store.missed)
	}
}

// A board that makes no key frames can't hold up the end of a recording for ever,
// and is asked for one.
func TestM3_EndsWithoutAKeyFrame(t *testing.T) {
	t.Parallel()
	list := real(t)
	endless := append(list[:25:25], list[1:25]...)
	for len(endless) < 500 {
		endless = append(endless, list[1:25]...)
	}
	store := &memStore{}
	asked := 0
	following(t, newCamera(endless), store, Config{WantKeyframe: func() { asked++ }}, func(c *camera, r *Recorder) {
		r.Follow(continuous, time.Time{})
		c.play(50)
		r.Follow(Order{}, time.Time{})
		c.play(300)
	})
	if len(store.clips) != 1 || !store.clips[0].info.Cut || store.clips[0].info.Frames < 170 || store.clips[0].info.Frames > 180 || asked < 2 || asked > 4 {
		t.Errorf("%v, asked %d times", told(store), asked)
	}
}

// The key frame that cuts a clip at an alarm is asked for at once.
func TestM3_AlarmAsksForAKeyFrameAtOnce(t *testing.T) {
	t.Parallel()
	list := real(t)
	var asked []time.Time
	var began time.Time
	following(t, newCamera(list), &memStore{}, Config{WantKeyframe: func() { asked = append(asked, time.Now()) }}, func(c *camera, r *Recorder) {
		r.Follow(continuous, time.Time{})
		c.play(30)
		began = time.Now()
		r.Follow(motion("a"), time.Time{})
		c.play(10)
	})
	if len(asked) != 1 || asked[0].Sub(began) > frame {
		t.Errorf("asked at %v, the alarm was at %v", asked, began)
	}
}
