package sim

import (
	"bytes"
	"context"
	"errors"
	"image"
	"image/jpeg"
	"sync"
	"testing"

	"iid2secure.nl/camagent/hal"
)

func TestM1_OpeningAndOpeningAgain(t *testing.T) {
	t.Parallel()
	bubble(t, Config{}, func(t *testing.T, b *Board) {
		v := open(t, b, "main", hal.VideoConfig{Bitrate: 1_000_000, FPS: 10, GOP: 20, Width: 3, Height: 4})
		if want := (hal.VideoConfig{Width: 1280, Height: 720, FPS: 10, GOP: 20, Bitrate: 1_000_000}); v.Config() != want {
			t.Errorf("%+v", v.Config())
		}
		v.Close()
		second := open(t, b, "main", hal.VideoConfig{})
		if au, err := second.Next(t.Context()); err != nil || !au.Key || au.Seq != 0 {
			t.Errorf("opened again: %v, key %v, number %d", err, au.Key, au.Seq)
		}
		if err := b.RequestKeyframe("main"); err != nil {
			t.Error(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := b.OpenVideo(ctx, "sub", hal.VideoConfig{}); !errors.Is(err, context.Canceled) {
			t.Errorf("ended context: %v", err)
		}
	})
}

func TestM1_StreamsAndCapabilities(t *testing.T) {
	t.Parallel()
	b := New(Config{})
	s := b.Streams()
	if len(s) != 2 || s[0].Name != "main" || s[1].Name != "sub" {
		t.Fatalf("%+v", s)
	}
	if want := (hal.VideoConfig{Width: 1280, Height: 720, FPS: 25, GOP: 50, Bitrate: 2_000_000}); s[0].Default != want {
		t.Errorf("main: %+v", s[0].Default)
	}
	if want := (hal.VideoConfig{Width: 640, Height: 360, FPS: 25, GOP: 50, Bitrate: 500_000}); s[1].Default != want {
		t.Errorf("sub: %+v", s[1].Default)
	}
	s[0].Name = "changed"
	if b.Streams()[0].Name != "main" {
		t.Error("the caller's changes reach the board")
	}
}

func TestM1_ImpossibleStreamsAreAdjusted(t *testing.T) {
	t.Parallel()
	bubble(t, Config{Streams: []hal.StreamInfo{
		{Name: "odd", Default: hal.VideoConfig{Width: 333, Height: 201, FPS: 99}, GOP: hal.Range{Min: 400, Max: 500}},
		{Name: "none"},
	}}, func(t *testing.T, b *Board) {
		v := open(t, b, "odd", hal.VideoConfig{})
		if want := (hal.VideoConfig{Width: 332, Height: 200, FPS: 30, GOP: 60, Bitrate: 2_000_000}); v.Config() != want {
			t.Errorf("%+v", v.Config())
		}
		take(t, v, 40, nil)
		take(t, open(t, b, "none", hal.VideoConfig{}), 2, nil)
	})
}

// M5: a still picture of the present scene.
func TestM5_Snapshot(t *testing.T) {
	t.Parallel()
	var jpg []byte
	var number uint64
	bubble(t, Config{Title: "Front"}, func(t *testing.T, b *Board) {
		v := open(t, b, "main", hal.VideoConfig{})
		shots := take(t, v, 77, nil)
		number = shots[76].Seq
		var err error
		if jpg, err = b.Snapshot(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := b.Snapshot(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("ended context: %v", err)
		}
	})
	img, err := jpeg.Decode(bytes.NewReader(jpg))
	if err != nil {
		t.Fatal(err)
	}
	if img.Bounds() != image.Rect(0, 0, 1280, 720) {
		t.Fatalf("%v", img.Bounds())
	}
	y := img.(*image.YCbCr)
	if n, ok := ReadStrip(y.Y, y.YStride, 1280, 720); !ok || n != uint32(number) {
		t.Errorf("the strip reads %d, %v, want %d", n, ok, number)
	}
	if r, g, b, _ := img.At(640, 20).RGBA(); b <= g || g <= r {
		t.Errorf("the sky is %d %d %d", r>>8, g>>8, b>>8)
	}
}

func TestM1_AskingWhileReadingIsSafe(t *testing.T) {
	t.Parallel()
	bubble(t, Config{}, func(t *testing.T, b *Board) {
		v := open(t, b, "sub", hal.VideoConfig{})
		var wg sync.WaitGroup
		stop := make(chan struct{})
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				if i < 200 {
					_, err := b.Tune("sub", hal.VideoConfig{Bitrate: 100_000 + i*1000, FPS: 20 + i%10})
					if err := errors.Join(err, b.RequestKeyframe("sub")); err != nil {
						t.Error(err)
					}
					v.Config()
					b.Streams()
				} else {
					<-stop
					return
				}
			}
		})
		wg.Go(func() {
			if _, err := b.Snapshot(t.Context()); err != nil {
				t.Error(err)
			}
		})
		take(t, v, 100, nil)
		close(stop)
		wg.Wait()
	})
}
