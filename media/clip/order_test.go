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
