package clip

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// R3, R7: a failure costs no more than the rest of a GOP, though memory does not
// hold the begin of the clip any more; and no picture is in two clips.
func TestR3_R7_FailedClipKeepsWhatWasSynced(t *testing.T) {
	t.Parallel()
	list := real(t)
	for name, breaks := range map[string]func(s *memStore){
		"write": func(s *memStore) { s.write = func(int) error { s.write = nil; return errFull } },
		"sync":  func(s *memStore) { s.sync = func() error { s.sync = nil; return errFull } },
		"close": func(s *memStore) { s.close = func() error { s.close = nil; return errFull } },
	} {
		t.Run(name, func(t *testing.T) {
			store := &memStore{keeps: true}
			c := newCamera(list)
			c.ring = 150_000 // some 5 s
			following(t, c, store, Config{Length: 20 * time.Second}, func(c *camera, r *Recorder) {
				r.Follow(continuous, time.Time{})
				c.play(460)
				synctest.Wait()
				breaks(store)
				c.play(640)
			})
			first := store.clips[0].info
			if first.Frames < 430 || first.FirstFrame != 0 || !first.Cut {
				t.Errorf("kept: %+v", first)
			}
			covered(t, store, 1100, min(1, len(store.missed)))
			for _, m := range store.missed {
				if m.LastFrame-m.FirstFrame >= 25 || m.To.Sub(m.From) > 25*frame || m.To.Sub(m.From) < 0 {
					t.Errorf("missed %d to %d, %v", m.FirstFrame, m.LastFrame, m.To.Sub(m.From))
				}
			}
		})
	}
}

// P7: what the store does not want to see again is not recorded again, though
// memory holds it.
func TestP7_NothingOfAClipThatIsNotWantedComesAgain(t *testing.T) {
	t.Parallel()
	store := &memStore{past: true}
	store.close = func() error { store.close = nil; return errors.New("of another owner") }
	c := newCamera(real(t))
	following(t, c, store, Config{}, func(c *camera, r *Recorder) {
		r.Follow(continuous, time.Time{})
		c.play(600)
	})
	if len(store.clips) == 0 || store.clips[0].info.FirstFrame != 250 {
		t.Errorf("clips %q", told(store))
	}
}

// M3: what is forgotten is in no clip, not even for the sake of its GOP.
func TestM3_ForgottenPicturesAreNotRecorded(t *testing.T) {
	t.Parallel()
	list := real(t)
	for name, test := range map[string]struct {
		played int
		back   time.Duration // of Follow
		want   string
	}{
		"in the middle of a GOP":   {60, 0, "[75-159 continuous ]"},
		"with pre-roll":            {60, 10 * time.Second, "[75-159 continuous ]"},
		"just before a key frame":  {75, 0, "[75-174 continuous ]"},
		"nothing has come as yet":  {0, 0, "[0-99 continuous ]"},
		"just after a key frame":   {76, 10 * time.Second, "[100-175 continuous ]"},
		"a picture after a series": {99, 0, "[100-198 continuous ]"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := &memStore{}
			asked := 0
			following(t, newCamera(list), store, Config{WantKeyframe: func() { asked++ }}, func(c *camera, r *Recorder) {
				c.play(test.played)
				r.Forget(time.Now())
				since := time.Time{}
				if test.back > 0 {
					since = time.Now().Add(-test.back)
				}
				r.Follow(continuous, since)
				synctest.Wait()
				c.play(100)
			})
			if got := told(store); len(got) != 1 || "["+got[0]+"]" != test.want || len(store.missed) > 0 {
				t.Errorf("clips %q, want %s; missed %+v", got, test.want, store.missed)
			}
			if want := min(test.played, 1); asked != want {
				t.Errorf("asked for a key frame %d times, want %d", asked, want)
			}
		})
	}
}
