package clip

import (
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"iid2secure.nl/camagent/hal"
)

func TestM3_EveryFrameOnceOverManyClips(t *testing.T) {
	t.Parallel()
	list := real(t)
	store := &memStore{}
	c := record(t, func() *camera { return newCamera(list) }, store, Config{}, func(c *camera) { c.play(25*45 + 7) })
	once(t, c, store.clips, 0, 25*45+7)
	if len(store.clips) != 5 {
		t.Fatalf("%d clips of 45 s, want 5", len(store.clips))
	}
	for i, clip := range store.clips {
		want := 250
		if i == 4 {
			want = 132
		}
		streams := probe(t, clip.data)
		if len(streams) != 1 || streams[0].Frames != strconv.Itoa(want) || clip.info.Frames != want {
			t.Errorf("clip %d: ffprobe %+v, info %+v, want %d frames", i, streams, clip.info, want)
		}
		length := time.Duration(want) * frame
		if d := clip.info.Duration; d != length || clip.info.Cut {
			t.Errorf("clip %d lasts %v, cut %v, want %v", i, d, clip.info.Cut, length)
		}
		if d := streams[0].seconds(); d != length.Seconds() {
			t.Errorf("clip %d lasts %v s for ffprobe, want %v", i, d, length)
		}
		if clip.start.Stream != "main" || clip.start.Order != continuous {
			t.Errorf("clip %d: %+v", i, clip.start)
		}
	}
	if d := store.clips[1].start.Time.Sub(store.clips[0].start.Time); d != 10*time.Second {
		t.Errorf("second clip began %v after the first", d)
	}
}

func TestR3_FragmentsAreShortAndSynced(t *testing.T) {
	t.Parallel()
	list := real(t)
	store := &memStore{}
	record(t, func() *camera { return newCamera(list) }, store, Config{FragmentBytes: 24 << 10}, func(c *camera) { c.play(200) })
	record(t, func() *camera { return newCamera(list) }, store, Config{}, func(c *camera) { c.play(200) })
	for i, limit := range []int{24 << 10, 256 << 10} {
		clip := store.clips[i]
		if clip.synced != len(clip.data) {
			t.Errorf("%d bytes synced of %d", clip.synced, len(clip.data))
		}
		from := clip.ends[0]
		for _, end := range clip.ends[1:] {
			if end-from > limit {
				t.Errorf("a fragment of %d bytes, limit %d", end-from, limit)
			}
			from = end
		}
		for _, d := range open(t, clip.data).fragments {
			if d > videoClock {
				t.Errorf("a fragment of %d ticks, want at most 1 s", d)
			}
		}
	}
	if n, m := len(store.clips[0].ends), len(store.clips[1].ends); n < 11 || m != 9 {
		t.Errorf("%d and %d writes, want more than 10 and 9", n, m)
	}
}

func TestM3_CapturedTimesNotTheNominalRate(t *testing.T) {
	t.Parallel()
	list := real(t)
	store := &memStore{}
	var times []time.Time
	record(t, func() *camera { return newCamera(list) }, store, Config{}, func(c *camera) {
		for i := range 100 {
			au := list[i]
			au.Seq, au.Time = uint64(i), time.Now()
			times = append(times, au.Time)
			c.PushVideo(au)
			time.Sleep(33*time.Millisecond + time.Duration(i%7)*1234567*time.Nanosecond)
		}
	})
	if n := probe(t, store.clips[0].data); n[0].Frames != "100" {
		t.Errorf("%+v", n)
	}
	got := open(t, store.clips[0].data)
	var at uint64
	for i, s := range got.video {
		want := times[i].Sub(times[0])
		if is := time.Duration(at) * time.Second / videoClock; (is - want).Abs() > 12*time.Microsecond {
			t.Fatalf("picture %d at %v, captured at %v", i, is, want)
		}
		at += uint64(s.Duration)
	}
}

// Two pictures with one time stamp, or a clock that goes back, still make an MP4
// whose times rise.
func TestM3_TimesThatDoNotRise(t *testing.T) {
	t.Parallel()
	list := real(t)
	store := &memStore{}
	record(t, func() *camera { return newCamera(list) }, store, Config{}, func(c *camera) {
		base := time.Now()
		for i, d := range []int{0, 40, 40, 30, 20, 120, 160} {
			au := list[i]
			au.Seq, au.Time = uint64(i), base.Add(time.Duration(d)*time.Millisecond)
			c.PushVideo(au)
		}
	})
	var at []uint64
	next := uint64(0)
	for _, s := range open(t, store.clips[0].data).video {
		at = append(at, next)
		next += uint64(s.Duration)
	}
	if at[5] != 10800 || at[6] != 14400 {
		t.Errorf("positions %v: the later pictures are not back on their times", at)
	}
}

func TestM3_NewParametersBeginANewClip(t *testing.T) {
	t.Parallel()
	small, large := encoded(t, "-g", "25"), real(t)
	store := &memStore{}
	record(t, func() *camera { return newCamera(large) }, store, Config{}, func(c *camera) {
		c.play(50)
		c.list = small
		c.play(50)
		c.list = large
		c.play(50)
	})
	if len(store.clips) != 3 {
		t.Fatalf("%d clips, want 3", len(store.clips))
	}
	for _, clip := range store.clips {
		if n := probe(t, clip.data)[0].Frames; n != "50" || clip.info.Frames != 50 {
			t.Errorf("%s frames, %+v", n, clip.info)
		}
	}
}

func TestM3_GapBeginsANewClip(t *testing.T) {
	t.Parallel()
	list := real(t)
	store := &memStore{}
	c := record(t, func() *camera { return newCamera(list) }, store, Config{}, func(c *camera) {
		c.play(50)
		time.Sleep(5 * time.Second)
		c.play(25)
	})
	once(t, c, store.clips, 0, 75)
	if len(store.clips) != 2 || store.clips[0].info.Duration != 50*frame || store.clips[0].info.Cut {
		t.Errorf("%d clips, the first %+v", len(store.clips), store.clips[0].info)
	}
}

// A device that fails may never come back: what it gave is a clip all the same.
func TestM3_R4_ClipOfADeviceThatFailsIsClosedMeanwhile(t *testing.T) {
	t.Parallel()
	list := real(t)
	for name, format := range map[string]*hal.AudioFormat{"picture": nil, "picture and sound": pcmu} {
		store := &memStore{}
		record(t, func() *camera { c := newCamera(list); c.SetAudio(format); return c }, store, Config{}, func(c *camera) {
			c.play(50)
			began := time.Now()
			for range 500 { // the microphone goes on
				if format != nil {
					c.PushAudio(hal.AudioFrame{Data: make([]byte, 160), Samples: 160, Time: time.Now()})
				}
				time.Sleep(20 * time.Millisecond)
			}
			synctest.Wait()
			store.mu.Lock()
			if len(store.clips) != 1 || store.clips[0].at.Sub(began) > maxSilence+frame {
				t.Errorf("%s: %d clips ten seconds after the last picture", name, len(store.clips))
			}
			store.mu.Unlock()
			c.play(50)
			time.Sleep(4 * time.Second) // it was only slow
			c.seq += 25
			c.play(25)
		})
		if len(store.clips) != 3 || store.clips[0].info.Frames != 50 || store.clips[0].info.Cut || store.aborts != 0 {
			t.Errorf("%s: %d clips, the first %+v, %d aborted", name, len(store.clips), store.clips[0].info, store.aborts)
		}
	}
}

// P frames before the first key frame belong to nobody.
func TestM3_BeginsAtAKeyFrame(t *testing.T) {
	t.Parallel()
	list := real(t)
	store := &memStore{}
	c := record(t, func() *camera { c := newCamera(list); c.seq = 10; return c }, store, Config{}, func(c *camera) { c.play(40) })
	once(t, c, store.clips, 25, 50)
}

func TestM3_ClosedRingClosesTheClip(t *testing.T) {
	t.Parallel()
	c, store := newCamera(real(t)), &memStore{}
	for range 30 {
		c.push()
	}
	c.Ring.Close()
	rec := New(c.Stream, store, Config{})
	rec.Follow(continuous, time.Time{})
	if err := rec.Run(t.Context()); err == nil || err.Error() != "ring closed" {
		t.Fatal(err)
	}
	once(t, c, store.clips, 25, 30)
}

func TestM3_ClipsKeepTheirHardLimits(t *testing.T) {
	t.Parallel()
	list := real(t)
	total := 0
	for _, au := range list {
		total += len(au.Data)
	}
	for name, cfg := range map[string]Config{
		"bytes":  {Length: time.Minute, MaxBytes: reserve + total*2},
		"length": {Length: time.Minute, MaxLength: 8 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := &memStore{}
			c := record(t, func() *camera { return newCamera(list) }, store, cfg, func(c *camera) { c.play(600) })
			once(t, c, store.clips, 0, 600)
			if len(store.clips) < 3 {
				t.Errorf("%d clips", len(store.clips))
			}
			for _, clip := range store.clips {
				if cfg.MaxBytes > 0 && len(clip.data) > cfg.MaxBytes || clip.info.Duration > 8*time.Second && cfg.MaxLength > 0 || clip.info.Cut {
					t.Errorf("%d bytes, %+v", len(clip.data), clip.info)
				}
			}
		})
	}
}

// A GOP that is larger than a clip may be is cut, the camera is asked for a key
// frame before, and the next clip begins with one.
func TestR6_EndlessGOP(t *testing.T) {
	t.Parallel()
	list := real(t)
	endless := append([]hal.AccessUnit{}, list[:25]...)
	for len(endless) < 300 {
		endless = append(endless, list[1:25]...)
	}
	store := &memStore{}
	asked := 0
	record(t, func() *camera { return newCamera(endless) }, store,
		Config{Length: 4 * time.Second, MaxLength: 8 * time.Second, WantKeyframe: func() { asked++ }},
		func(c *camera) { c.play(len(endless) + 50) })
	if len(store.clips) != 2 || asked != 1 {
		t.Fatalf("%d clips, asked for a key frame %d times", len(store.clips), asked)
	}
	if i := store.clips[0].info; !i.Cut || i.Duration > 8*time.Second || i.Frames != 199 && i.Frames != 200 {
		t.Errorf("%+v", i)
	}
	if i := store.clips[1].info; i.Cut || i.FirstFrame != uint64(len(endless)) || i.Frames != 50 {
		t.Errorf("%+v", i)
	}
}
