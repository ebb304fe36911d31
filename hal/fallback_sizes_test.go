package hal

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

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
			for n := range 300 {
				size := 1000.0
				if n >= 200 {
					size = 9000
				}
				crowd(b, func(int) float64 { return size })
				main.mustRead(t, 1)
				crowd(b, func(int) float64 { return 1000 })
				sub.mustRead(t, 1)
			}
			c.sizes.events.mu.Lock()
			if c.sizes.events.active || len(c.sizes.events.list) > 0 {
				t.Error("it looks at the large stream")
			}
			c.sizes.events.mu.Unlock()
			crowd(b, func(int) float64 { return 9000 })
			sub.mustRead(t, 20)
		})
		if len(list) != 1 || !list[0].Active {
			t.Errorf("%+v", list)
		}
	})
}
