package hal

import (
	"bytes"
	"context"
	"errors"
	"image"
	"image/jpeg"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// yard is a raw picture of a bright yard with noise, and a person in it.
type yard struct {
	mu     sync.Mutex
	light  int
	person image.Rectangle
	err    error
	grabs  int
	noise  *rand.Rand
}

func newYard() *yard { return &yard{light: 100, noise: rand.New(rand.NewPCG(1, 2))} }

func (y *yard) set(f func()) { y.mu.Lock(); defer y.mu.Unlock(); f() }

func (y *yard) Grab(context.Context) (*image.YCbCr, error) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.grabs++
	p := image.NewYCbCr(image.Rect(0, 0, 320, 180), image.YCbCrSubsampleRatio420)
	for i := range p.Y {
		v := y.light/2 + i%320/8 + y.noise.IntN(9) - 4
		if (image.Point{X: i % 320, Y: i / 320}).In(y.person) {
			v += 70
		}
		p.Y[i] = byte(min(max(v, 0), 255))
	}
	return p, y.err
}

// walk moves the person from left to right for a time.
func (y *yard) walk(d time.Duration) {
	for x := 0; d > 0; d -= 100 * time.Millisecond {
		x += 5
		y.set(func() { y.person = image.Rect(x%280, 60, x%280+30, 150) })
		<-time.After(100 * time.Millisecond)
	}
	y.set(func() { y.person = image.Rectangle{} })
}

// running runs the camera's fall-backs during f.
func running(t *testing.T, c *Camera, f func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- c.Run(ctx) }()
	f()
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("Run returned %v", err)
	}
}

// motions notes the camera's motion until its context ends.
func motions(ctx context.Context, c *Camera) (list []MotionEvent) {
	for {
		e, err := c.NextMotion(ctx)
		if err != nil {
			return list
		}
		list = append(list, e)
	}
}

// during collects the motion while f runs.
func during(t *testing.T, c *Camera, f func()) (list []MotionEvent) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { list = motions(ctx, c); close(done) }()
	f()
	cancel()
	<-done
	return list
}

func TestM5_SnapshotOfARawPicture(t *testing.T) {
	t.Parallel()
	y := newYard()
	bubble(t, func(t *testing.T, _ *fakeBoard, c *Camera) {
		if k, ok := c.Capability(CapSnapshot); !ok || k.By != "picture" {
			t.Fatalf("%+v", k)
		}
		b, err := c.Snapshot(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		p, err := jpeg.Decode(bytes.NewReader(b))
		if err != nil || p.Bounds() != image.Rect(0, 0, 320, 180) {
			t.Errorf("%v, %v", p, err)
		}
		y.err = ErrGone
		if _, err := c.Snapshot(t.Context()); !errors.Is(err, ErrGone) {
			t.Error(err)
		}
	}, y)
}

// M5: one begin and one end for a person who walks through.
func TestM5_MotionOfRawPictures(t *testing.T) {
	t.Parallel()
	y := newYard()
	bubble(t, func(t *testing.T, _ *fakeBoard, c *Camera) {
		if k, ok := c.Capability(CapMotion); !ok || k.By != "picture" {
			t.Fatalf("%+v", k)
		}
		running(t, c, func() {
			var began, ended time.Time
			list := during(t, c, func() {
				<-time.After(10 * time.Second) // noise alone
				began = time.Now()
				y.walk(5 * time.Second)
				ended = time.Now()
				<-time.After(10 * time.Second)
			})
			if len(list) != 2 || !list[0].Active || list[1].Active {
				t.Fatalf("%+v", list)
			}
			if late := list[0].Time.Sub(began); late < 0 || late > time.Second {
				t.Errorf("it began %v late", late)
			}
			// What the person covered is scene again after a while.
			if late := list[1].Time.Sub(ended); late < motionCalm || late > 2*motionCalm+time.Second {
				t.Errorf("it ended %v late", late)
			}
		})
	}, y)
}

func TestM5_MotionKnowsZonesAndSensitivity(t *testing.T) {
	t.Parallel()
	for name, w := range map[string]struct {
		config MotionConfig
		moves  bool
	}{
		"where the person walks": {MotionConfig{50, []Zone{{0, 300, 1000, 600}}}, true},
		"elsewhere":              {MotionConfig{100, []Zone{{0, 0, 1000, 200}}}, false},
		"in one of two":          {MotionConfig{50, []Zone{{0, 0, 10, 10}, {400, 500, 100, 100}}}, true},
		"a small one":            {MotionConfig{50, []Zone{{500, 600, 1, 1}}}, true},
		"a lorry":                {MotionConfig{Sensitivity: 1}, false},
		"a moth":                 {MotionConfig{Sensitivity: 100}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			y := newYard()
			bubble(t, func(t *testing.T, _ *fakeBoard, c *Camera) {
				if err := c.SetMotion(w.config); err != nil {
					t.Fatal(err)
				}
				running(t, c, func() {
					list := during(t, c, func() {
						<-time.After(3 * time.Second)
						y.walk(6 * time.Second)
					})
					if (len(list) > 0) != w.moves {
						t.Errorf("%+v", list)
					}
				})
			}, y)
		})
	}
}

// A lamp, the evening, and what we change ourselves are no motion.
func TestM5_LightIsNoMotion(t *testing.T) {
	t.Parallel()
	y := newYard()
	bubble(t, func(t *testing.T, _ *fakeBoard, c *Camera) {
		if err := c.SetMotion(MotionConfig{Sensitivity: 80}); err != nil {
			t.Fatal(err)
		}
		running(t, c, func() {
			list := during(t, c, func() {
				<-time.After(3 * time.Second)
				y.set(func() { y.light = 200 })
				<-time.After(3 * time.Second)
				for range 40 {
					y.set(func() { y.light-- })
					<-time.After(100 * time.Millisecond)
				}
				c.disturbed()
				y.walk(time.Second) // as if a filter passed
				<-time.After(3 * time.Second)
			})
			if len(list) > 0 {
				t.Errorf("%+v", list)
			}
		})
	}, y)
}

// Pictures are taken only while somebody waits; one that fails ends Run.
func TestM5_NobodyWaitsNobodyLooks(t *testing.T) {
	t.Parallel()
	y := newYard()
	bubble(t, func(t *testing.T, _ *fakeBoard, c *Camera) {
		running(t, c, func() { <-time.After(10 * time.Second) })
		if y.grabs > 0 {
			t.Errorf("%d pictures", y.grabs)
		}
		running(t, c, func() { during(t, c, func() { <-time.After(10 * time.Second) }) })
		if y.grabs < 45 || y.grabs > 51 {
			t.Errorf("%d pictures", y.grabs)
		}
		y.err = ErrGone
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		go motions(ctx, c)
		if err := c.Run(t.Context()); !errors.Is(err, ErrGone) {
			t.Error(err)
		}
	}, y)
}

func TestM5_CloseEndsTheWaitForMotionAndRun(t *testing.T) {
	t.Parallel()
	for name, parts := range map[string][]any{"pictures": {newYard()}, "frame sizes": nil} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T, _ *fakeBoard, c *Camera) {
				ended := make(chan error, 2)
				go func() { _, err := c.NextMotion(t.Context()); ended <- err }()
				go func() { ended <- c.Run(t.Context()) }()
				synctest.Wait()
				c.Close()
				for range 2 {
					if err := <-ended; !errors.Is(err, ErrClosed) {
						t.Error(err)
					}
				}
			}, parts...)
		})
	}
}

// A reader that is far behind misses whole motions.
func TestM5_BeginAndEndTakeTurns(t *testing.T) {
	t.Parallel()
	m := newMotionEvents(nil)
	now := time.Now()
	for i := range 1000 {
		m.look(now.Add(time.Duration(i)*motionLooks), i/15%2 == 0)
	}
	if n := len(m.list); n < motionKept-1 {
		t.Fatalf("%d events", n)
	}
	for i := range len(m.list) {
		e, err := m.next(t.Context())
		if err != nil || e.Active != (i%2 == 0) {
			t.Fatalf("%d: %+v, %v", i, e, err)
		}
	}
}

// crowd makes P frames as large as says.
func crowd(b *fakeBoard, says func(n int) float64) {
	r := rand.New(rand.NewPCG(3, 4))
	b.change = func(n int, au *AccessUnit) error {
		if !au.Key {
			au.Params = 0
			au.Data = sized(10 + int(says(n)*(0.9+0.2*r.Float64())))
		}
		return nil
	}
}

func TestM5_MotionOfFrameSizes(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, b *fakeBoard, c *Camera) {
		if k, ok := c.Capability(CapMotion); !ok || k.By != "frame sizes" {
			t.Fatalf("%+v", k)
		}
		if err := c.SetMotion(MotionConfig{50, []Zone{{0, 0, 1, 1}}}); !errors.Is(err, ErrArgument) || !strings.Contains(err.Error(), "can't look at zones") {
			t.Error(err)
		}
		crowd(b, func(n int) float64 {
			if n >= 500 && n < 625 {
				return 2500
			}
			return 1000
		})
		var begin time.Time
		list := during(t, c, func() {
			v := c.mustOpen(t, "main", VideoConfig{})
			v.mustRead(t, 500)
			begin = time.Now()
			v.mustRead(t, 500)
			v.Close()
		})
		if len(list) != 2 || !list[0].Active || list[1].Active {
			t.Fatalf("%+v", list)
		}
		if late := list[0].Time.Sub(begin); late > time.Second {
			t.Errorf("it began %v late", late)
		}
		if late := list[1].Time.Sub(begin) - 5*time.Second; late < motionCalm-time.Second || late > motionCalm+time.Second {
			t.Errorf("it ended %v late", late)
		}
	})
}

func TestM5_FrameSizesAreQuietWithoutMotion(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]func(t *testing.T, b *fakeBoard, c *Camera){
		"noise": func(t *testing.T, b *fakeBoard, c *Camera) {
			c.mustOpen(t, "main", VideoConfig{}).mustRead(t, 2000)
		},
		"tuned": func(t *testing.T, b *fakeBoard, c *Camera) {
			v := c.mustOpen(t, "main", VideoConfig{})
			v.mustRead(t, 500)
			crowd(b, func(int) float64 { return 4000 })
			if _, err := c.Tune("main", VideoConfig{Bitrate: 1_000_000}); err != nil {
				t.Error(err)
			}
			v.mustRead(t, 500)
		},
		"another stream": func(t *testing.T, b *fakeBoard, c *Camera) {
			v := c.mustOpen(t, "main", VideoConfig{})
			v.mustRead(t, 500)
			crowd(b, func(int) float64 { return 300 })
			sub := c.mustOpen(t, "sub", VideoConfig{})
			sub.mustRead(t, 500)
			sub.Close()
			crowd(b, func(int) float64 { return 1000 })
			v.mustRead(t, 500)
		},
		"we ourselves": func(t *testing.T, b *fakeBoard, c *Camera) {
			v := c.mustOpen(t, "main", VideoConfig{})
			v.mustRead(t, 500)
			crowd(b, func(int) float64 { return 4000 })
			c.disturbed()
			v.mustRead(t, 500)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T, b *fakeBoard, c *Camera) {
				crowd(b, func(int) float64 { return 1000 })
				if list := during(t, c, func() { f(t, b, c) }); len(list) > 0 {
					t.Errorf("%+v", list)
				}
			})
		})
	}
}

// The smallest open stream is looked at, the others are not.
func TestM5_FrameSizesOfTheSmallestStream(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, b *fakeBoard, c *Camera) {
		main, sub := c.mustOpen(t, "main", VideoConfig{}), c.mustOpen(t, "sub", VideoConfig{})
		crowd(b, func(int) float64 { return 1000 })
		list := during(t, c, func() {
			main.mustRead(t, 1)
			sub.mustRead(t, 200)
			crowd(b, func(int) float64 { return 9000 })
			main.mustRead(t, 200)
			if len(c.sizes.events.list) > 0 {
				t.Error("it looks at the large stream")
			}
			sub.mustRead(t, 20)
		})
		if len(list) != 1 || !list[0].Active {
			t.Errorf("%+v", list)
		}
	})
}

// evening is a filter, a lamp, a sensor and a colour that note what is done.
type evening struct {
	mu    sync.Mutex
	did   []string
	level int
	err   error
}

func (e *evening) do(what string, on bool) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.did = append(e.did, what+map[bool]string{true: " on", false: " off"}[on])
	return e.err
}

func (e *evening) done() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	did := e.did
	e.did = nil
	return did
}

func (e *evening) set(level int) { e.mu.Lock(); e.level = level; e.mu.Unlock() }

type aFilter struct{ *evening }

func (f aFilter) SetIRFilter(in bool) error { return f.do("filter", in) }

type aLamp struct{ *evening }

func (l aLamp) Lights() []LightKind { return []LightKind{White, Infrared} }
func (l aLamp) SetLight(k LightKind, v int) (int, error) {
	return v, l.do(string(k), v > 0)
}

type aColour struct{ *evening }

func (c aColour) ImageControls() []Control {
	return []Control{{ID: "grayscale", Range: Range{0, 1}}}
}
func (c aColour) SetImageControl(id string, v int) (int, error) { return v, c.do(id, v > 0) }

type aSensor struct{ *evening }

func (s aSensor) Light(context.Context) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.level, s.err
}

func TestM5_DayAndNightByFilterAndLight(t *testing.T) {
	t.Parallel()
	e := &evening{level: 500}
	bubble(t, func(t *testing.T, _ *fakeBoard, c *Camera) {
		if k, ok := c.Capability(CapDayNight); !ok || k.By != "filter and light" {
			t.Fatalf("%+v", k)
		}
		for _, w := range []struct {
			mode  DayNightMode
			night bool
			did   []string
		}{
			{Night, true, []string{"filter off", "grayscale on", "infrared on"}},
			{Auto, true, nil},
			{Day, false, []string{"infrared off", "filter on", "grayscale off"}},
			{Auto, false, nil},
		} {
			if err := c.SetDayNight(w.mode); err != nil {
				t.Fatal(err)
			}
			is, err := c.DayNight()
			if did := e.done(); err != nil || is != (DayNightState{w.mode, w.night}) || !slices.Equal(did, w.did) {
				t.Errorf("%s: %+v, %v, %v", w.mode, is, did, err)
			}
		}
		e.err = ErrGone
		if err := c.SetDayNight(Night); !errors.Is(err, ErrGone) {
			t.Error(err)
		}
		if is, _ := c.DayNight(); is != (DayNightState{Auto, false}) {
			t.Errorf("%+v after a failure", is)
		}
		if err := c.Run(t.Context()); !errors.Is(err, ErrGone) {
			t.Errorf("Run with a sensor that fails: %v", err)
		}
	}, aFilter{e}, aLamp{e}, aColour{e}, aSensor{e})
}

// M5: with hysteresis, and only after the hold time.
func TestM5_AutoFollowsTheLight(t *testing.T) {
	t.Parallel()
	e := &evening{level: 500}
	bubble(t, func(t *testing.T, _ *fakeBoard, c *Camera) {
		if err := c.SetDayNight(Auto); err != nil {
			t.Fatal(err)
		}
		running(t, c, func() {
			for i, w := range []struct {
				level int
				lasts time.Duration
				night bool
			}{
				{500, time.Minute, false},
				{darkBelow - 1, lightHolds - 2*lightLooks, false}, // a shadow
				{darkBelow, time.Minute, false},
				{darkBelow - 1, lightHolds + 3*lightLooks, true},
				{brightAbove, time.Minute, true}, // our own lamp
				{brightAbove + 1, lightHolds - 2*lightLooks, true},
				{brightAbove, 2 * time.Second, true},
				{brightAbove + 1, lightHolds + 3*lightLooks, false},
			} {
				e.set(w.level)
				<-time.After(w.lasts)
				if is, _ := c.DayNight(); is != (DayNightState{Auto, w.night}) {
					t.Errorf("%d: %+v", i, is)
				}
			}
			if did, want := e.done(), []string{"filter off", "filter on"}; !slices.Equal(did, want) {
				t.Errorf("%v, want %v", did, want)
			}
			// Nothing by itself but in auto.
			if err := c.SetDayNight(Day); err != nil {
				t.Error(err)
			}
			e.set(0)
			<-time.After(time.Minute)
			if is, _ := c.DayNight(); is.Night {
				t.Errorf("%+v", is)
			}
		})
	}, aFilter{e}, aSensor{e})
}

func TestM5_AutoNeedsALightSensor(t *testing.T) {
	t.Parallel()
	e := &evening{}
	bubble(t, func(t *testing.T, _ *fakeBoard, c *Camera) {
		err := c.SetDayNight(Auto)
		if want := "this camera can't do daynight by itself: it has no light sensor; want day or night"; !errors.Is(err, ErrUnable) || err.Error() != want {
			t.Error(err)
		}
		if err := errors.Join(c.SetDayNight(Night), c.SetDayNight(Day)); err != nil {
			t.Error(err)
		}
		running(t, c, func() { <-time.After(time.Second) }) // nothing to do
	}, aFilter{e})
}
