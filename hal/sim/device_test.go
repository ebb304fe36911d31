package sim

import (
	"bytes"
	"context"
	"errors"
	"image"
	imagecolor "image/color"
	"image/png"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"testing/iotest"
	"testing/synctest"
	"time"

	"iid2secure.nl/camagent/hal"
)

// motions reads events until none comes any more.
func motions(t *testing.T, b *Board, until time.Duration) (list []string) {
	t.Helper()
	ctx, cancel := context.WithDeadline(t.Context(), b.Start().Add(until))
	defer cancel()
	for {
		e, err := b.NextMotion(ctx)
		if errors.Is(err, context.DeadlineExceeded) {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		what := " begins"
		if !e.Active {
			what = " ends"
		}
		list = append(list, e.Time.Sub(b.Start()).Round(500*time.Millisecond).String()+what)
	}
}

func TestM1_MotionIsWhatMovesInTheScene(t *testing.T) {
	t.Parallel()
	both := []string{"traffic: off", "{at: 5s, walk: left, for: 10s}", "{at: 30s, car: right, for: 5s}"}
	with := func(more ...string) []string { return append(slices.Clone(both), more...) }
	walk, car := []string{"5.5s begins", "15.5s ends"}, []string{"30s begins", "36s ends"}
	for name, c := range map[string]struct {
		script []string
		set    hal.MotionConfig
		want   []string
	}{
		"all":             {both, hal.MotionConfig{Sensitivity: 50}, append(slices.Clone(walk), car...)},
		"large things":    {both, hal.MotionConfig{Sensitivity: 20}, []string{"30.5s begins", "35.5s ends"}},
		"nothing so big":  {both, hal.MotionConfig{Sensitivity: 1}, nil},
		"the street":      {both, hal.MotionConfig{Sensitivity: 60, Zones: []hal.Zone{{X: 0, Y: 750, Width: 1000, Height: 250}}}, []string{"30s begins", "36s ends"}},
		"the pavement":    {both, hal.MotionConfig{Sensitivity: 80, Zones: []hal.Zone{{X: 400, Y: 540, Width: 200, Height: 100}}}, []string{"9s begins", "12s ends"}},
		"the sky":         {both, hal.MotionConfig{Sensitivity: 100, Zones: []hal.Zone{{X: 0, Y: 0, Width: 1000, Height: 300}}}, nil},
		"covered":         {with("{at: 20s, cover: , for: 60s}"), hal.MotionConfig{Sensitivity: 50}, walk},
		"a pause is none": {with("{at: 8s, cover: , for: 700ms}"), hal.MotionConfig{Sensitivity: 50}, append(slices.Clone(walk), car...)},
		"unplugged":       {with("{at: 1s, unplug: , for: 20s}"), hal.MotionConfig{Sensitivity: 50}, car},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, Config{Scenario: script(t, c.script...)}, func(t *testing.T, b *Board) {
				if err := b.SetMotion(c.set); err != nil {
					t.Fatal(err)
				}
				if got := motions(t, b, 50*time.Second); !slices.Equal(got, c.want) {
					t.Errorf("%q, want %q", got, c.want)
				}
			})
		})
	}
}

// What the detector says is what the picture shows, whatever the lens.
func TestM1_MotionFollowsTheLens(t *testing.T) {
	t.Parallel()
	for name, set := range map[string]func(*Board) error{
		"plain":  func(*Board) error { return nil },
		"turned": func(b *Board) error { return b.MoveTo(hal.Position{Pan: 0.5, Tilt: -0.2}) },
		"near":   func(b *Board) error { return b.MoveTo(hal.Position{Pan: -0.3, Tilt: -0.3, Zoom: 0.5}) },
		"mirrored": func(b *Board) error {
			_, err := b.SetImageControl("mirror", 1)
			_, err2 := b.SetImageControl("flip", 1)
			return errors.Join(err, err2)
		},
	} {
		bubble(t, Config{Scenario: script(t, "traffic: off", "{at: 10s, walk: left, for: 10s}")}, func(t *testing.T, b *Board) {
			if err := set(b); err != nil {
				t.Fatal(err)
			}
			empty := painted(b, 9*time.Second)
			for at := 10*time.Second + 50*time.Millisecond; at < 20*time.Second; at += 100 * time.Millisecond {
				seen := differ(empty, painted(b, at))
				m := b.moment(at)
				part := m.view.covers(m.actors[0], hal.Zone{X: 0, Y: 180, Width: 1000, Height: 750})
				zoom := 1 + (maxZoom-1)*m.view.at.Zoom
				full := walkerW * walkerH * zoom * zoom / (sceneWidth * sceneWidth * 9 / 16)
				// The outline holds some air around the walker, and the lens rounds.
				if is := float64(seen.Dx()*seen.Dy()) / (640 * 360); is > part+0.006 || part > full*0.8 && is < part/3 {
					t.Errorf("%s, %v: %v of the picture in %v, told is %v", name, at, is, seen, part)
				}
			}
		})
	}
}

func TestM1_MotionReaderThatWasAwayGoesOnWithThePresent(t *testing.T) {
	t.Parallel()
	bubble(t, Config{Scenario: script(t, "traffic: off", "{at: 5s, walk: left, for: 10s, every: 200s}")}, func(t *testing.T, b *Board) {
		time.Sleep(time.Hour) // simulated
		if got := motions(t, b, time.Hour+50*time.Second); !slices.Equal(got, []string{"1h0m5.5s begins", "1h0m15.5s ends"}) {
			t.Errorf("%q", got)
		}
	})
}

func TestM1_ButtonsArePressedByTheScript(t *testing.T) {
	t.Parallel()
	s := script(t, "{at: 2s, press: reset, for: 5s}", "{at: 3s, press: doorbell}", "{at: 6s, press: reset, for: 3s}", "{at: 20s, press: doorbell, for: 1s, every: 10s}")
	bubble(t, Config{Scenario: s}, func(t *testing.T, b *Board) {
		if got := b.Buttons(); !slices.Equal(got, []string{"reset", "doorbell"}) {
			t.Errorf("%q", got)
		}
		for _, want := range []struct {
			button  string
			pressed bool
			at      time.Duration
		}{
			{"reset", true, 2 * time.Second}, {"doorbell", true, 3 * time.Second}, {"doorbell", false, 3200 * time.Millisecond},
			{"reset", false, 9 * time.Second}, {"doorbell", true, 20 * time.Second}, {"doorbell", false, 21 * time.Second}, {"doorbell", true, 30 * time.Second},
		} {
			e, err := b.NextButton(t.Context())
			if err != nil || e.Button != want.button || e.Pressed != want.pressed || e.Time.Sub(b.Start()) != want.at || !e.Time.Equal(time.Now()) {
				t.Errorf("%+v after %v at %v, %v, want %+v", e, e.Time.Sub(b.Start()), time.Since(b.Start()), err, want)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if _, err := b.NextButton(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
	})
}

func TestM1_CloseEndsReadersOfEvents(t *testing.T) {
	t.Parallel()
	bubble(t, Config{Scenario: script(t, "traffic: off")}, func(t *testing.T, b *Board) {
		ended := make(chan error, 2)
		go func() { _, err := b.NextButton(context.Background()); ended <- err }()
		go func() { _, err := b.NextMotion(context.Background()); ended <- err }()
		synctest.Wait()
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := <-ended; !errors.Is(err, hal.ErrClosed) {
				t.Errorf("%v", err)
			}
		}
	})
}

// pcm is one frame of 20 ms that says its number.
func pcm(i int) hal.AudioFrame {
	return hal.AudioFrame{Data: bytes.Repeat([]byte{byte(i)}, 160), Samples: 160}
}

var mulaw = hal.AudioFormat{Codec: hal.PCMU, Rate: 8000, Channels: 1}

func speak(t *testing.T, b *Board) hal.Playback {
	t.Helper()
	p, err := b.OpenSpeaker(t.Context(), mulaw)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// loudness is the root of the mean square of what the microphone hears from one
// second to another, and the strongest tone of those asked for.
func loudnessOf(t *testing.T, m hal.AudioStream, b *Board, from, to time.Duration, hertz ...float64) (rms float64, share []float64) {
	t.Helper()
	var samples []float64
	for {
		f, err := m.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		since := f.Time.Sub(b.Start())
		if since >= to {
			break
		}
		if since >= from {
			for _, c := range f.Data {
				samples = append(samples, float64(linear(c)))
			}
		}
	}
	for _, v := range samples {
		rms += v * v
	}
	for _, hz := range hertz {
		var re, im float64
		for i, v := range samples {
			s, c := math.Sincos(2 * math.Pi * hz * float64(i) / soundRate)
			re, im = re+v*c, im+v*s
		}
		share = append(share, (re*re+im*im)*2/float64(len(samples))/max(rms, 1))
	}
	return math.Sqrt(rms / float64(len(samples))), share
}

func TestM1_ScriptedSoundsAreHeard(t *testing.T) {
	t.Parallel()
	s := script(t, "{at: 1s, tone: 440, level: 50, for: 500ms}", "{at: 3s, loud: , level: 100, for: 500ms}", "{at: 5s, glass: }", "{at: 7s, silence: , for: 2s}")
	bubble(t, Config{Scenario: s}, func(t *testing.T, b *Board) {
		m, err := b.OpenMicrophone(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
		quiet, _ := loudnessOf(t, m, b, ms(200), ms(900))
		if rms, share := loudnessOf(t, m, b, ms(1000), ms(1500), 440, 1000); rms < 9000 || share[0] < 0.95 || share[1] > 0.05 {
			t.Errorf("tone: %.0f, shares %.2f", rms, share)
		}
		if rms, share := loudnessOf(t, m, b, ms(3000), ms(3500), 440, 1000); rms < 8000 || share[0] > 0.2 || share[1] > 0.2 {
			t.Errorf("loud: %.0f, shares %.2f", rms, share)
		}
		crash, _ := loudnessOf(t, m, b, ms(5000), ms(5100))
		if after, _ := loudnessOf(t, m, b, ms(5200), ms(5500)); crash < 4000 || after > crash/3 {
			t.Errorf("glass: %.0f, then %.0f", crash, after)
		}
		if rms, _ := loudnessOf(t, m, b, ms(7000), ms(9000)); rms != 0 {
			t.Errorf("silence: %.0f", rms)
		}
		if err := b.SetSiren(true); err != nil {
			t.Fatal(err)
		}
		if on, err := b.Siren(); err != nil || !on {
			t.Error("the siren is off")
		}
		if rms, share := loudnessOf(t, m, b, ms(10000), ms(11000), 1400, 1900); rms < 15000 || share[0]+share[1] < 0.4 {
			t.Errorf("siren: %.0f, shares %.2f", rms, share)
		}
		if err := b.SetSiren(false); err != nil {
			t.Fatal(err)
		}
		if rms, _ := loudnessOf(t, m, b, ms(12200), ms(13000)); math.Abs(rms-quiet) > 20 {
			t.Errorf("afterwards: %.0f, before %.0f", rms, quiet)
		}
	})
}

func TestM1_DisplayShowsAndItsFileToo(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "display.png")
	b := New(Config{DisplayFile: file})
	defer b.Close()
	if b.Shown() != nil || b.Show(nil) != nil {
		t.Fatal("it shows something")
	}
	p := image.NewPaletted(image.Rect(5, 5, 55, 45), imagecolor.Palette{imagecolor.White, imagecolor.Black})
	p.SetColorIndex(5, 5, 1)
	p.SetColorIndex(54, 44, 1)
	if err := b.Show(p); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	saved, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	for what, img := range map[string]image.Image{"Shown": b.Shown(), "file": saved} {
		black := 0
		for y := range displaySide {
			for x := range displaySide {
				if r, _, _, _ := img.At(x, y).RGBA(); r == 0 {
					black++
				}
			}
		}
		if r := img.Bounds(); r.Dx() != displaySide || r.Dy() != displaySide || black != 2*6*6 {
			t.Errorf("%s: %v, %d points are black", what, r, black)
		}
	}
	if err := b.Show(image.NewGray(image.Rect(0, 0, displaySide+1, 10))); !errors.Is(err, hal.ErrArgument) {
		t.Errorf("too large: %v", err)
	}
	if err := b.Show(nil); err != nil || b.Shown() != nil {
		t.Errorf("cleared: %v", err)
	}
	if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file stays: %v", err)
	}
}

func TestM1_SensorsTellWhatTheScriptSays(t *testing.T) {
	t.Parallel()
	bubble(t, Config{Scenario: script(t, "{at: 5s, heat: 90, for: 5s}", "{at: 5s, supply: 4400}")}, func(t *testing.T, b *Board) {
		for _, want := range [][2]float64{{45, 5}, {90, 4.4}, {45, 4.4}} {
			list, err := b.Readings(t.Context())
			if err != nil || len(list) != 2 || math.Abs(list[0].Value-want[0]) > 1 || list[1].Value != want[1] || list[0].Name != "soc" || list[1].Unit != "V" {
				t.Errorf("%+v, %v, want %v", list, err, want)
			}
			time.Sleep(6 * time.Second) // simulated
		}
	})
}

func TestM1_IdentityIsWhatTheFactoryWrote(t *testing.T) {
	t.Parallel()
	none, err := New(Config{}).Identity()
	if err != nil {
		t.Fatal(err)
	}
	if list, err := fs.ReadDir(none, "."); err != nil || len(list) != 0 {
		t.Errorf("without: %v, %v", list, err)
	}
	some, err := New(Config{Identity: fstest.MapFS{"serial": {Data: []byte("X")}}}).Identity()
	if err != nil {
		t.Fatal(err)
	}
	if data, err := fs.ReadFile(some, "serial"); err != nil || string(data) != "X" {
		t.Errorf("%q, %v", data, err)
	}
}

func TestM1_FirmwareGoesToTheOtherSlot(t *testing.T) {
	t.Parallel()
	b := New(Config{})
	next := func() string {
		slots, err := b.Slots()
		if err != nil || len(slots) != 2 || !slots[0].Active || slots[1].Active || slots[0].Size != slotSize || slots[0].Next == slots[1].Next {
			t.Fatalf("%+v, %v", slots, err)
		}
		return slots[slices.IndexFunc(slots, func(s hal.Slot) bool { return s.Next })].Name
	}
	if err := b.BootNext("b"); err == nil || next() != "a" {
		t.Error("an empty slot boots next")
	}
	if err := b.WriteSlot(t.Context(), "b", strings.NewReader("image")); err != nil {
		t.Fatal(err)
	}
	if err := b.BootNext("b"); err != nil || next() != "b" || string(b.SlotImage("b")) != "image" {
		t.Errorf("%v, %q", err, b.SlotImage("b"))
	}
	if err := b.Confirm(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for name, c := range map[string]struct {
		ctx  context.Context
		from io.Reader
	}{
		"broken":   {t.Context(), iotest.TimeoutReader(iotest.OneByteReader(strings.NewReader("image")))},
		"empty":    {t.Context(), strings.NewReader("")},
		"too long": {t.Context(), io.LimitReader(zeros{}, slotSize+1)},
		"given up": {ctx, strings.NewReader("image")},
	} {
		if err := b.WriteSlot(c.ctx, "b", c.from); err == nil || next() != "a" || b.SlotImage("b") != nil {
			t.Errorf("%s: %v, %s boots next", name, err, next())
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestM1_LEDsShineAsTheyAreSet(t *testing.T) {
	t.Parallel()
	b := New(Config{})
	blink := hal.Pattern{On: time.Second, Off: 2 * time.Second}
	for _, name := range b.LEDs() {
		if err := b.SetLED(name, blink); err != nil {
			t.Fatal(err)
		}
		if got := b.State().LEDs[name]; got != blink {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
