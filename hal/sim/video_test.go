package sim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"iid2secure.nl/camagent/hal"
)

// Whatever is asked of the encoder, ffmpeg decodes every frame without a word,
// to the bits of the encoder's own reconstruction, and the strip is readable.
func TestM1_DecodesBitForBitAndCarriesItsNumber(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		stream string
		frames int
		want   hal.VideoConfig
	}{
		{"main", 60, hal.VideoConfig{}},
		{"main", 30, hal.VideoConfig{Bitrate: 64_000, GOP: 10}},
		{"main", 30, hal.VideoConfig{Bitrate: 8_000_000, FPS: 30}},
		{"sub", 120, hal.VideoConfig{}},
		{"sub", 120, hal.VideoConfig{Bitrate: 64_000}},
		{"sub", 60, hal.VideoConfig{Bitrate: 8_000_000, FPS: 10, GOP: 1}},
		{"sub", 310, hal.VideoConfig{GOP: 300, FPS: 5}},
	} {
		t.Run(fmt.Sprint(c.stream, c.want), func(t *testing.T) {
			t.Parallel()
			var shots []shot
			var cfg hal.VideoConfig
			bubble(t, Config{Title: "Test & more", Seed: 5}, func(t *testing.T, b *Board) {
				v := open(t, b, c.stream, c.want)
				shots, cfg = take(t, v, c.frames, nil), v.Config()
			})
			checkDecoded(t, shots, cfg)
		})
	}
}

func checkDecoded(t *testing.T, shots []shot, cfg hal.VideoConfig) {
	t.Helper()
	decode(t, shots, cfg.Width, cfg.Height, func(i int, pic []byte) {
		sum := newSum()
		w, h := cfg.Width, cfg.Height
		for y := range h {
			sum.add(pic[y*w:][:w])
		}
		for y := range h {
			sum.add(pic[w*h+y*w/2:][:w/2])
		}
		if sum.v != shots[i].recon {
			t.Fatalf("picture %d differs from the reconstruction", i)
		}
		if n, ok := ReadStrip(pic, w, w, h); !ok || n != uint32(shots[i].Seq) {
			t.Fatalf("picture %d: the strip reads %d, %v, want %d", i, n, ok, shots[i].Seq)
		}
	})
}

func TestM5_TuningAndKeyFramesKeepTheStreamDecodable(t *testing.T) {
	t.Parallel()
	patches := []hal.VideoConfig{{Bitrate: 100_000}, {FPS: 10}, {GOP: 7}, {Bitrate: 4_000_000, FPS: 30}, {GOP: 1}, {GOP: 50, FPS: 1}, {FPS: 25, Bitrate: 500_000}}
	var shots []shot
	var cfg hal.VideoConfig
	bubble(t, Config{}, func(t *testing.T, b *Board) {
		v := open(t, b, "sub", hal.VideoConfig{})
		shots = take(t, v, 150, func(i int) {
			if i%20 == 7 {
				if _, err := b.Tune("sub", patches[i/20%len(patches)]); err != nil {
					t.Fatal(err)
				}
			}
			if i%31 == 5 {
				if err := b.RequestKeyframe("sub"); err != nil {
					t.Fatal(err)
				}
			}
		})
		cfg = v.Config()
	})
	checkDecoded(t, shots, cfg)
	for i := 1; i < len(shots); i++ {
		if shots[i].Seq != shots[i-1].Seq+1 || !shots[i].Time.After(shots[i-1].Time) || shots[i].Lost != 0 {
			t.Fatalf("frame %d does not follow on the one before", i)
		}
	}
}

// Issue 2: bitrate control, from the first frame on: over 10 s for the
// defaults, over 5 s for the rest.
func TestIssue2_BitrateWithin15Percent(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		stream string
		want   hal.VideoConfig
	}{
		{"main", hal.VideoConfig{}}, {"sub", hal.VideoConfig{}},
		{"main", hal.VideoConfig{Bitrate: 500_000}}, {"main", hal.VideoConfig{Bitrate: 8_000_000}},
		{"sub", hal.VideoConfig{Bitrate: 64_000}}, {"sub", hal.VideoConfig{Bitrate: 8_000_000}},
		{"sub", hal.VideoConfig{GOP: 1}}, {"sub", hal.VideoConfig{GOP: 300}}, {"sub", hal.VideoConfig{FPS: 10, GOP: 20}},
		{"main", hal.VideoConfig{Bitrate: 1}}, {"sub", hal.VideoConfig{Bitrate: 1}}, {"main", hal.VideoConfig{Bitrate: 1, FPS: 30, GOP: 30}},
		{"sub", hal.VideoConfig{Bitrate: 1, GOP: 2}}, {"main", hal.VideoConfig{Bitrate: 1, GOP: 1}}, {"main", hal.VideoConfig{Bitrate: 1, FPS: 10, GOP: 100}},
	} {
		t.Run(fmt.Sprint(c.stream, c.want), func(t *testing.T) {
			t.Parallel()
			bubble(t, Config{}, func(t *testing.T, b *Board) {
				v := open(t, b, c.stream, c.want)
				cfg := v.Config()
				seconds := 5
				if c.want == (hal.VideoConfig{}) {
					seconds = 10
				}
				rate := bitsOf(take(t, v, seconds*cfg.FPS, nil)) / seconds
				if d := rate - cfg.Bitrate; d > cfg.Bitrate*15/100 || -d > cfg.Bitrate*15/100 {
					t.Fatalf("%d bit/s, want %d", rate, cfg.Bitrate)
				}
			})
		})
	}
}

func TestM5_BitrateFollowsTuningAtOnce(t *testing.T) {
	t.Parallel()
	bubble(t, Config{}, func(t *testing.T, b *Board) {
		v := open(t, b, "sub", hal.VideoConfig{})
		for _, want := range []int{1_500_000, 200_000, 800_000} {
			got, err := b.Tune("sub", hal.VideoConfig{Bitrate: want})
			if err != nil || got.Bitrate != want || got.FPS != 25 || got.GOP != 50 || v.Config() != got {
				t.Fatalf("%+v, %v", got, err)
			}
			if rate := bitsOf(take(t, v, 125, nil)) / 5; rate < want*85/100 || rate > want*115/100 {
				t.Fatalf("%d bit/s, want %d", rate, want)
			}
		}
	})
}

func keys(shots []shot) (at []int) {
	for i, s := range shots {
		if s.Key {
			at = append(at, i)
		}
	}
	return at
}

func TestM1_KeyFramesComeFirstEveryGOPAndWithParameterSets(t *testing.T) {
	t.Parallel()
	bubble(t, Config{}, func(t *testing.T, b *Board) {
		v := open(t, b, "sub", hal.VideoConfig{GOP: 20})
		shots := take(t, v, 61, nil)
		if got := keys(shots); !slices.Equal(got, []int{0, 20, 40, 60}) {
			t.Fatalf("key frames at %v", got)
		}
		for i, s := range shots {
			sps, pps := s.ParameterSets()
			if s.Key != (sps != nil && pps != nil && s.Params > 0) {
				t.Fatalf("frame %d: key %v, %d bytes of parameter sets", i, s.Key, s.Params)
			}
		}
		if _, err := b.Tune("sub", hal.VideoConfig{GOP: 5}); err != nil {
			t.Fatal(err)
		}
		if got := keys(take(t, v, 14, nil)); !slices.Equal(got, []int{4, 9}) {
			t.Fatalf("after tuning, key frames at %v", got)
		}
	})
}

// hal: within 5 frames; requests in between are one.
func TestM5_KeyFrameOnRequest(t *testing.T) {
	t.Parallel()
	bubble(t, Config{}, func(t *testing.T, b *Board) {
		v := open(t, b, "sub", hal.VideoConfig{GOP: 300})
		take(t, v, 10, nil)
		for range 3 {
			if err := b.RequestKeyframe("sub"); err != nil {
				t.Fatal(err)
			}
		}
		if got := keys(take(t, v, 100, nil)); len(got) != 1 || got[0] >= 5 {
			t.Fatalf("key frames at %v", got)
		}
	})
}

// What can't be is adjusted, and told: a bitrate too small for so many frames.
func TestM5_TheBitrateIsWhatTheFramesNeed(t *testing.T) {
	t.Parallel()
	bubble(t, Config{}, func(t *testing.T, b *Board) {
		v := open(t, b, "main", hal.VideoConfig{})
		least := b.Streams()[0].Bitrate.Min
		low, err := b.Tune("main", hal.VideoConfig{Bitrate: least})
		if want := (hal.VideoConfig{Width: 1280, Height: 720, FPS: 25, GOP: 50, Bitrate: least}); err != nil || low != want {
			t.Errorf("%+v, %v", low, err)
		}
		if keys, _ := b.Tune("main", hal.VideoConfig{GOP: 1}); keys.Bitrate <= least || v.Config() != keys {
			t.Errorf("key frames alone: %+v", keys)
		}
	})
}

func TestM1_FramesComeOnTheGridOfOneClock(t *testing.T) {
	t.Parallel()
	bubble(t, Config{}, func(t *testing.T, b *Board) {
		time.Sleep(123456789 * time.Nanosecond) // simulated: the streams open off the grid
		var wg sync.WaitGroup
		read := func(v hal.VideoStream) {
			for i := range 100 {
				au, err := v.Next(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				since := au.Time.Sub(b.Start())
				if want := 160*time.Millisecond + time.Duration(i)*40*time.Millisecond; since != want || time.Since(au.Time) != 0 || au.Seq != uint64(i) {
					t.Errorf("frame %d: captured at %v, want %v; handed over %v later; number %d", i, since, want, time.Since(au.Time), au.Seq)
					return
				}
			}
		}
		for _, name := range []string{"main", "sub"} {
			v := open(t, b, name, hal.VideoConfig{})
			wg.Go(func() { read(v) })
		}
		wg.Wait()
	})
}

func TestM1_TheGridDoesNotDrift(t *testing.T) {
	t.Parallel()
	for rate := 1; rate <= 30; rate++ {
		const day = 24 * 3600
		if got := tick(day*int64(rate), rate); got != day*time.Second {
			t.Errorf("%d fps: a day of frames takes %v", rate, got)
		}
		for n := int64(-3); n < 100; n++ {
			at := tick(n, rate)
			if got := tickAfter(at, rate); n >= 0 && (got != n+1 || tickAfter(at-1, rate) != n) {
				t.Fatalf("%d fps: after tick %d comes %d", rate, n, got)
			}
		}
	}
}

func TestM1_ALateReaderGetsAFewFramesAtOnceAndTheLostAreCounted(t *testing.T) {
	t.Parallel()
	bubble(t, Config{}, func(t *testing.T, b *Board) {
		v := open(t, b, "sub", hal.VideoConfig{})
		last := take(t, v, 3, nil)[2]
		time.Sleep(4 * 40 * time.Millisecond)
		began := time.Now()
		shots := take(t, v, 4, nil)
		if time.Since(began) != 0 || shots[3].Seq != last.Seq+4 || shots[0].Lost != 0 || !shots[3].Time.Equal(began) {
			t.Fatalf("%v later: %d to %d", time.Since(began), shots[0].Seq, shots[3].Seq)
		}
		time.Sleep(100 * 40 * time.Millisecond)
		next := take(t, v, 1, nil)[0]
		if !next.Key || next.Lost != 100 || next.Seq != shots[3].Seq+101 {
			t.Fatalf("key %v, lost %d, number %d after %d", next.Key, next.Lost, next.Seq, shots[3].Seq)
		}
		if got := next.Time.Sub(shots[3].Time); got != 101*40*time.Millisecond {
			t.Fatalf("%v later", got)
		}
		if after := take(t, v, 1, nil)[0]; after.Lost != 0 || after.Key || after.Seq != next.Seq+1 {
			t.Fatalf("key %v, lost %d", after.Key, after.Lost)
		}
	})
}

func TestM1_FramesAreNeverTouchedAgain(t *testing.T) {
	t.Parallel()
	bubble(t, Config{}, func(t *testing.T, b *Board) {
		v := open(t, b, "sub", hal.VideoConfig{})
		var copies [][]byte
		var shots []shot
		for range 120 {
			s := take(t, v, 1, nil)[0]
			shots, copies = append(shots, s), append(copies, bytes.Clone(s.Data))
		}
		for i, s := range shots {
			if !bytes.Equal(s.Data, copies[i]) {
				t.Fatalf("frame %d changed after it was handed over", i)
			}
		}
	})
}

func TestM13_EqualSeedAndTimeGiveEqualBytes(t *testing.T) {
	t.Parallel()
	film := func(seed uint64) (sums []uint64) {
		bubble(t, Config{Seed: seed}, func(t *testing.T, b *Board) {
			for _, s := range take(t, open(t, b, "sub", hal.VideoConfig{}), 60, nil) {
				sum := newSum()
				sum.add(s.Data)
				sums = append(sums, sum.v)
			}
		})
		return sums
	}
	first := film(1)
	if !slices.Equal(first, film(1)) {
		t.Fatal("the same seed gave other bytes")
	}
	if slices.Equal(first, film(2)) {
		t.Fatal("another seed gave the same bytes")
	}
}

func TestM1_CloseUnblocksNext(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*Board, *video) error{
		"stream": func(_ *Board, v *video) error { return v.Close() },
		"board":  func(b *Board, _ *video) error { return b.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, Config{}, func(t *testing.T, b *Board) {
				v := open(t, b, "sub", hal.VideoConfig{FPS: 1})
				take(t, v, 1, nil)
				done := make(chan error)
				go func() {
					_, err := v.Next(context.Background())
					done <- err
				}()
				synctest.Wait()
				for range 2 {
					if err := end(b, v); err != nil {
						t.Fatal(err)
					}
				}
				if err := <-done; !errors.Is(err, hal.ErrClosed) {
					t.Fatalf("Next: %v", err)
				}
				if _, err := v.Next(t.Context()); !errors.Is(err, hal.ErrClosed) {
					t.Fatalf("Next after Close: %v", err)
				}
			})
		})
	}
}

func TestM1_AnEndedContextLosesNoFrame(t *testing.T) {
	t.Parallel()
	bubble(t, Config{}, func(t *testing.T, b *Board) {
		v := open(t, b, "sub", hal.VideoConfig{})
		last := take(t, v, 2, nil)[1]
		for _, wait := range []time.Duration{0, 10 * time.Millisecond, 30 * time.Millisecond} {
			ctx, cancel := context.WithTimeout(t.Context(), wait-1)
			_, err := v.Next(ctx)
			cancel()
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("after %v: %v", wait, err)
			}
		}
		if s := take(t, v, 1, nil)[0]; s.Seq != last.Seq+1 || s.Lost != 0 {
			t.Fatalf("number %d after %d, %d lost", s.Seq, last.Seq, s.Lost)
		}
	})
}
