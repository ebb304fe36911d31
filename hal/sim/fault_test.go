package sim

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bluenviron/mediacommon/v2/pkg/codecs/h264"

	"iid2secure.nl/camagent/hal"
)

// watch reads a stream of a Camera up to a time, as a consumer does that opens
// it again after every error, and tells what it met.
func watch(t *testing.T, c *hal.Camera, b *Board, until time.Duration) (frames []hal.AccessUnit, errs []error) {
	t.Helper()
	ctx, cancel := context.WithDeadline(t.Context(), b.Start().Add(until))
	defer cancel()
	for ctx.Err() == nil {
		v, err := c.OpenVideo(ctx, "sub", hal.VideoConfig{})
		for err == nil {
			var au hal.AccessUnit
			if au, err = v.Next(ctx); err == nil {
				frames = append(frames, au)
			}
		}
		if ctx.Err() == nil {
			errs = append(errs, err)
		}
		if v != nil {
			v.Close()
		}
		time.Sleep(100 * time.Millisecond) // simulated
	}
	return frames, errs
}

// filmed runs a scripted board behind a Camera.
func filmed(t *testing.T, until time.Duration, check func(b *Board, frames []hal.AccessUnit, errs []error), lines ...string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := New(Config{Scenario: script(t, lines...)})
		c := hal.NewCamera(b)
		defer c.Close()
		frames, errs := watch(t, c, b, until)
		check(b, frames, errs)
	})
}

// gaps are the times between frames that are longer than usual.
func gaps(b *Board, frames []hal.AccessUnit) (from, to []time.Duration) {
	for i := 1; i < len(frames); i++ {
		if frames[i].Time.Sub(frames[i-1].Time) > 100*time.Millisecond {
			from = append(from, frames[i-1].Time.Sub(b.Start()))
			to = append(to, frames[i].Time.Sub(b.Start()))
		}
	}
	return from, to
}

func near(is, want, by time.Duration) bool { return (is - want).Abs() <= by }

// back checks that there is one gap, and that the stream comes back as it should.
func back(t *testing.T, b *Board, frames []hal.AccessUnit, began, ended time.Duration) {
	t.Helper()
	from, to := gaps(b, frames)
	if len(from) != 1 || !near(from[0], began, 100*time.Millisecond) || !near(to[0], ended, 250*time.Millisecond) {
		t.Errorf("gaps from %v to %v, want one from %v to %v", from, to, began, ended)
	}
	if last := frames[len(frames)-1].Time; time.Since(last) > time.Second {
		t.Errorf("the last frame is of %v", last.Sub(b.Start()))
	}
}

func TestR4_StalledSensor(t *testing.T) {
	t.Parallel()
	filmed(t, 12*time.Second, func(b *Board, frames []hal.AccessUnit, errs []error) {
		back(t, b, frames, 2*time.Second, 5*time.Second)
		if len(errs) != 0 {
			t.Errorf("%v", errs)
		}
		i := slices.IndexFunc(frames, func(a hal.AccessUnit) bool { return a.Lost > 0 })
		if i < 0 || !frames[i].Key || frames[i].Lost < 70 || frames[i].Lost > 80 || frames[i].Seq != frames[i-1].Seq+frames[i].Lost+1 {
			t.Errorf("frame %d is the first after a loss: %+v", i, frames[max(i, 0)].Lost)
		}
	}, "{at: 2s, stall: , for: 3s}")
}

// A frame that was encoded ahead when the sensor stalled was never captured.
func TestR4_NothingOldComesAfterAStall(t *testing.T) {
	t.Parallel()
	for _, begin := range []string{"2s", "2010ms", "2030ms"} {
		bubble(t, Config{Scenario: script(t, "{at: "+begin+", stall: , for: 2s}")}, func(t *testing.T, b *Board) {
			v := open(t, b, "sub", hal.VideoConfig{})
			for last := int64(-1); time.Since(b.Start()) < 5*time.Second; {
				au := take(t, v, 1, nil)[0]
				if late := time.Since(au.Time); late > 20*time.Millisecond || int64(au.Seq) != last+int64(au.Lost)+1 || au.Lost > 0 && !au.Key {
					t.Fatalf("stall at %s: frame %d after %d, %d lost, %v late", begin, au.Seq, last, au.Lost, late)
				}
				last = int64(au.Seq)
			}
		})
	}
}

func TestR4_StalledForLong(t *testing.T) {
	t.Parallel()
	filmed(t, 20*time.Second, func(b *Board, frames []hal.AccessUnit, errs []error) {
		back(t, b, frames, 2*time.Second, 10*time.Second)
		if len(errs) != 1 || !errors.Is(errs[0], hal.ErrStalled) {
			t.Errorf("%v", errs)
		}
	}, "{at: 2s, stall: , for: 8s}")
}

func TestR4_Unplugged(t *testing.T) {
	t.Parallel()
	filmed(t, 12*time.Second, func(b *Board, frames []hal.AccessUnit, errs []error) {
		back(t, b, frames, 2*time.Second, 5*time.Second)
		if len(errs) < 10 {
			t.Errorf("%v", errs)
		}
		for _, err := range errs {
			if !errors.Is(err, hal.ErrGone) {
				t.Errorf("%v", err)
			}
		}
	}, "{at: 2s, unplug: , for: 3s}")
}

// Whoever reads late learns all the same that the device was away meanwhile.
func TestR4_UnpluggedBetweenTwoReads(t *testing.T) {
	t.Parallel()
	bubble(t, Config{Scenario: script(t, "{at: 1500ms, unplug: , for: 100ms}")}, func(t *testing.T, b *Board) {
		v := open(t, b, "sub", hal.VideoConfig{FPS: 1})
		take(t, v, 1, nil)
		m, err := b.OpenMicrophone(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second) // simulated
		for range 2 {
			if _, err := v.Next(t.Context()); !errors.Is(err, hal.ErrGone) {
				t.Errorf("video: %v", err)
			}
			if _, err := m.Next(t.Context()); !errors.Is(err, hal.ErrGone) {
				t.Errorf("sound: %v", err)
			}
		}
		v.Close()
		take(t, open(t, b, "sub", hal.VideoConfig{}), 3, nil)
	})
}

func TestR4_UnplugUnblocksAtOnceAndTakesAllWithIt(t *testing.T) {
	t.Parallel()
	bubble(t, Config{}, func(t *testing.T, b *Board) {
		v := open(t, b, "sub", hal.VideoConfig{FPS: 1})
		take(t, v, 1, nil)
		ended := make(chan error)
		go func() { _, err := v.Next(context.Background()); ended <- err }()
		synctest.Wait()
		began := time.Now()
		if answer := b.answer("unplug for=2s"); answer != saidOK {
			t.Fatal(answer)
		}
		if err := <-ended; !errors.Is(err, hal.ErrGone) || !time.Now().Equal(began) {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		_, video := b.OpenVideo(t.Context(), "main", hal.VideoConfig{})
		_, sound := b.OpenMicrophone(t.Context())
		_, still := b.Snapshot(t.Context())
		for _, err := range []error{video, sound, still} {
			if !errors.Is(err, hal.ErrGone) {
				t.Errorf("%v", err)
			}
		}
		if s := b.State(); !slices.Equal(s.Faults, []string{"unplug"}) {
			t.Errorf("%v", s.Faults)
		}
		time.Sleep(2 * time.Second) // simulated
		if _, err := b.Snapshot(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestR4_Garbage(t *testing.T) {
	t.Parallel()
	filmed(t, 8*time.Second, func(b *Board, frames []hal.AccessUnit, errs []error) {
		back(t, b, frames, 2*time.Second, 3*time.Second)
		if len(errs) < 2 {
			t.Errorf("%v", errs)
		}
		for _, err := range errs {
			if !errors.Is(err, hal.ErrGarbage) {
				t.Errorf("%v", err)
			}
		}
	}, "{at: 2s, garbage: , for: 1s}")
}

func TestR4_SlowFramesComeLateAndTheLostAreCounted(t *testing.T) {
	t.Parallel()
	bubble(t, Config{Scenario: script(t, "{at: 2s, slow: 5, for: 10s}")}, func(t *testing.T, b *Board) {
		v := open(t, b, "sub", hal.VideoConfig{})
		var lost uint64
		late, count := time.Duration(0), 0
		last := int64(-1)
		for time.Since(b.Start()) < 20*time.Second {
			au, err := v.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			now := time.Since(b.Start())
			if now > 2100*time.Millisecond && now < 12*time.Second {
				late = max(late, time.Since(au.Time))
				count++
			}
			if au.Lost > 0 && !au.Key || int64(au.Seq) != last+int64(au.Lost)+1 {
				t.Fatalf("frame %d after %d: lost %d, key %v", au.Seq, last, au.Lost, au.Key)
			}
			last = int64(au.Seq)
			lost += au.Lost
			if now > 14*time.Second && (time.Since(au.Time) > time.Second/50 || au.Lost > 0) {
				t.Fatalf("at %v: %v late, %d lost", now, time.Since(au.Time), au.Lost)
			}
		}
		if count < 45 || count > 51 || late < 500*time.Millisecond || late > 2*time.Second || lost < 150 || lost > 205 {
			t.Errorf("%d frames, up to %v late, %d lost", count, late, lost)
		}
	})
}

func TestR4_ClockOfTheDeviceJumps(t *testing.T) {
	t.Parallel()
	for _, step := range []string{"-10s", "10s"} {
		filmed(t, 6*time.Second, func(b *Board, frames []hal.AccessUnit, errs []error) {
			back(t, b, frames, 2*time.Second, 2200*time.Millisecond)
			if len(errs) != 1 || !errors.Is(errs[0], hal.ErrGarbage) {
				t.Errorf("%s: %v", step, errs)
			}
		}, "{at: 2s, clock: "+step+"}")
	}
	bubble(t, Config{Scenario: script(t, "{at: 1s, clock: 3s}")}, func(t *testing.T, b *Board) {
		m, err := b.OpenMicrophone(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		v := open(t, b, "sub", hal.VideoConfig{})
		time.Sleep(1100 * time.Millisecond) // simulated
		var f hal.AudioFrame
		for range 60 {
			if f, err = m.Next(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		sound := time.Since(f.Time)
		if au := take(t, v, 60, nil)[59]; !near(time.Since(au.Time), -3*time.Second, 50*time.Millisecond) || !near(sound, -3*time.Second, 50*time.Millisecond) {
			t.Errorf("picture %v ago, sound %v ago", time.Since(au.Time), sound)
		}
	})
}

func TestR4_PicturesOfAnotherSizeThanTheDeviceSays(t *testing.T) {
	t.Parallel()
	bubble(t, Config{Scenario: script(t, "{at: 2s, wrong: , for: 4s}")}, func(t *testing.T, b *Board) {
		for i, want := range [][2]int{{1280, 720}, {640, 360}, {1280, 720}} {
			v := open(t, b, "main", hal.VideoConfig{})
			au := take(t, v, 1, nil)[0]
			nal, _ := au.ParameterSets()
			var sps h264.SPS
			if err := sps.Unmarshal(nal); err != nil {
				t.Fatal(err)
			}
			if sps.Width() != want[0] || sps.Height() != want[1] || v.Config().Width != 1280 {
				t.Errorf("%d: %d by %d, it says %d", i, sps.Width(), sps.Height(), v.Config().Width)
			}
			if i == 2 {
				break
			}
			var err error
			for err == nil {
				_, err = v.Next(t.Context())
			}
			if at := time.Since(b.Start()); !errors.Is(err, hal.ErrGone) || at != time.Duration(2+4*i)*time.Second {
				t.Errorf("%v at %v", err, at)
			}
			v.Close()
		}
	})
	for _, w := range []int{320, 640, 1920} {
		if ow, oh := otherSize(w, w*9/16); ow == w || ow < 320 || oh < 180 || ow%2+oh%2 != 0 {
			t.Errorf("%d: %d by %d", w, ow, oh)
		}
	}
}

// newFolder makes a folder with a file in it.
func newFolder(t *testing.T, path, file string) {
	t.Helper()
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(path, file), nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

// there lists the folder of the card, and what lies beside it.
func there(t *testing.T, card string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(filepath.Dir(card), "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range found {
		found[i], _ = filepath.Rel(filepath.Dir(card), found[i])
	}
	return strings.Join(found, " ")
}

func TestR7_CardIsPulledAndPutBack(t *testing.T) {
	t.Parallel()
	card := filepath.Join(t.TempDir(), "card")
	newFolder(t, card, "clip")
	bubble(t, Config{Card: card, Scenario: script(t, "{at: 2s, pullcard: , for: 3s}")}, func(t *testing.T, b *Board) {
		v := open(t, b, "sub", hal.VideoConfig{})
		for _, want := range []struct {
			files  string
			state  string
			frames int
		}{{"card/clip", "in", 25}, {"card.pulled/clip", "pulled", 50}, {"card/clip card.meanwhile1/new", "in", 60}} {
			take(t, v, want.frames, nil)
			if got, state := there(t, card), b.State().Card; got != want.files || state != want.state {
				t.Errorf("after %v: %q, %q, want %q, %q", time.Since(b.Start()), got, state, want.files, want.state)
			}
			if want.state == "pulled" { // somebody makes a new one
				newFolder(t, card, "new")
			}
		}
	})
}

func TestR7_CardThatIsPulledAtTheEndIsPutBack(t *testing.T) {
	t.Parallel()
	card := filepath.Join(t.TempDir(), "card")
	newFolder(t, card, "clip")
	b := New(Config{Card: card})
	if answer := b.answer("pullcard for=1h"); answer != saidOK || there(t, card) != "card.pulled/clip" {
		t.Fatalf("%s: %s", answer, there(t, card))
	}
	if err := b.Close(); err != nil || there(t, card) != "card/clip" {
		t.Fatalf("Close: %v, %s", err, there(t, card))
	}
	if err := os.Rename(card, card+".pulled"); err != nil { // as after a power cut
		t.Fatal(err)
	}
	New(Config{Card: card})
	if got := there(t, card); got != "card/clip" {
		t.Fatalf("New: %s", got)
	}
}

func TestR7_CardThatIsNotThereCannotBePulled(t *testing.T) {
	t.Parallel()
	if answer := New(Config{}).answer("pullcard"); !strings.HasPrefix(answer, saidError+"pullcard: this board has no card") {
		t.Errorf("%s", answer)
	}
	b := New(Config{Card: filepath.Join(t.TempDir(), "card")})
	if answer := b.answer("pullcard"); !strings.Contains(answer, "no such file") {
		t.Errorf("%s", answer)
	}
	if state := b.State().Card; !strings.Contains(state, "no such file") {
		t.Errorf("%s", state)
	}
	if err := b.Close(); errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

// M13: equal seed, equal scenario: equal bytes of picture and sound, and equal
// events, whatever the script does.
func TestM13_EqualScenarioGivesEqualBytes(t *testing.T) {
	t.Parallel()
	busy := []string{
		"{at: 500ms, light: 10, over: 2s}", "{at: 1s, walk: right}", "{at: 2s, loud: , for: 1s}", "{at: 2s, glass: }", "{at: 3s, noise: 20, for: 1s}",
		"{at: 4s, stall: , for: 300ms}", "{at: 5s, slow: 3, for: 3s}", "{at: 9s, cover: , for: 500ms}", "{at: 10s, car: left}", "{at: 14s, light: 900}",
	}
	film := func(seed uint64) (sums []uint64) {
		bubble(t, Config{Seed: seed, Scenario: script(t, busy...)}, func(t *testing.T, b *Board) {
			v := open(t, b, "sub", hal.VideoConfig{})
			m, err := b.OpenMicrophone(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for time.Since(b.Start()) < 16*time.Second {
				sum := newSum()
				sum.add(take(t, v, 1, nil)[0].Data)
				f, err := m.Next(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				sum.add(f.Data)
				sums = append(sums, sum.v)
			}
		})
		return sums
	}
	first := film(1)
	if !slices.Equal(first, film(1)) {
		t.Error("the same seed gave other bytes")
	}
	if slices.Equal(first, film(2)) {
		t.Error("another seed gave the same bytes")
	}
}
