package hal

import (
	"bytes"
	"context"
	"errors"
	"image"
	"image/jpeg"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// yard is a raw picture of a bright yard with noise, and a person in it.
type yard struct {
	mu     sync.Mutex
	light  int
	turned bool // another scene
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
		x := i % 320
		if y.turned {
			x = 320 - x
		}
		v := y.light/2 + x/8 + y.noise.IntN(9) - 4
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
				y.set(func() { y.turned = true })
				<-time.After(3 * time.Second)
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
