package onboard

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"iid2secure.nl/camagent/hal"
)

// listen makes a board whose microphone is main's sound.
func listen(t testing.TB, url string, change ...func(*Config)) (*Board, hal.Microphone) {
	t.Helper()
	b := board(t, url, append(change, func(c *Config) { c.Sound = "main" })...)
	mic, ok := hal.As[hal.Microphone](b)
	if !ok {
		t.Fatal("the board has no microphone")
	}
	return b, mic
}

func TestSoundOfEveryKindIsAsTheStreamerGivesIt(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, payloader string
		encode          []string
		want            hal.AudioFormat
	}{
		{"µ-law", "rtppcmupay", []string{"-c:a", "pcm_mulaw", "-ar", "8000"}, hal.AudioFormat{Codec: hal.PCMU, Rate: 8000, Channels: 1}},
		{"A-law", "rtppcmapay", []string{"-c:a", "pcm_alaw", "-ar", "8000"}, hal.AudioFormat{Codec: hal.PCMA, Rate: 8000, Channels: 1}},
		{"L16 of two channels", "rtpL16pay", []string{"-c:a", "pcm_s16be", "-ar", "16000", "-ac", "2"}, hal.AudioFormat{Codec: hal.L16, Rate: 16000, Channels: 2}},
		{"AAC", "aacparse ! rtpmp4gpay", []string{"-c:a", "aac", "-ar", "16000"}, hal.AudioFormat{Codec: hal.AAC, Rate: 16000, Channels: 1, Config: []byte{0x14, 0x08}}},
		{"Opus", "rtpopuspay", []string{"-c:a", "libopus"}, hal.AudioFormat{Codec: hal.Opus, Rate: 48000, Channels: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := shoot(t, 4, "slices=1", c.encode...)
			want, err := run("ffmpeg", "ffmpeg", "-v", "error", "-i", f.path, "-map", "0:a", "-c", "copy", "-f", "data", "-")
			if err != nil {
				t.Fatal(err)
			}
			s := stream(t, "/main", f.heard(c.payloader))
			_, mic := listen(t, s.url("/main"))
			a, err := mic.OpenMicrophone(limit(t))
			if err != nil {
				t.Fatal(err)
			}
			got := a.Format()
			if c.want.Codec == hal.AAC && len(got.Config) >= 2 {
				got.Config = got.Config[:2] // what follows is an extension that says "none"
			}
			if !got.Same(&c.want) {
				t.Fatalf("it is %+v, want %+v", got, c.want)
			}
			hear(t, a, got.Rate, want)
		})
	}
}

// hear reads two seconds and compares them with what they should be.
func hear(t *testing.T, a hal.AudioStream, rate int, want []byte) {
	t.Helper()
	var all []byte
	var first, last hal.AudioFrame
	samples := 0
	for ctx := limit(t); samples < 2*rate; {
		f, err := a.Next(ctx)
		if err != nil {
			t.Fatalf("after %d samples: %v", samples, err)
		}
		if length := time.Duration(f.Samples) * time.Second / time.Duration(rate); length > 100*time.Millisecond || length <= 0 {
			t.Fatalf("a frame of %v", length)
		}
		if first.Data == nil {
			first = f
		} else if !f.Time.After(last.Time) {
			t.Fatalf("a frame of %v after one of %v", f.Time, last.Time)
		}
		last = f
		samples += f.Samples
		all = append(all, f.Data...)
	}
	if !bytes.HasPrefix(want, all) {
		t.Errorf("%d bytes of sound are not the film's", len(all))
	}
	heard := time.Duration(samples-last.Samples) * time.Second / time.Duration(rate)
	if off := last.Time.Sub(first.Time) - heard; off.Abs() > 500*time.Millisecond {
		t.Errorf("%v of sound are stamped as %v", heard, heard+off)
	}
	if age := time.Since(last.Time); age < 0 || age > 5*time.Second {
		t.Errorf("the last frame is %v old", age)
	}
}

// Sound and picture of one film, by two sessions, are not further apart than
// the streamer's own start of them.
func TestSoundAndPictureOnOneClock(t *testing.T) {
	t.Parallel()
	f := shoot(t, 4, "slices=1", "-c:a", "pcm_mulaw", "-ar", "8000")
	s := stream(t, "/main", f.heard("rtppcmupay"))
	b, mic := listen(t, s.url("/main"))
	v := open(t, b)
	a, err := mic.OpenMicrophone(limit(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := mic.OpenMicrophone(limit(t)); !errors.Is(err, hal.ErrBusy) {
		t.Errorf("a second microphone: %v", err)
	}
	for range 20 {
		au := read(t, v, 1)[0]
		frame, err := a.Next(limit(t))
		if err != nil {
			t.Fatal(err)
		}
		if apart := au.Time.Sub(frame.Time).Abs(); apart > 3*time.Second {
			t.Fatalf("sound and picture are %v apart", apart)
		}
	}
}

func TestSoundThatThereIsNot(t *testing.T) {
	t.Parallel()
	f := shoot(t, 4, "slices=1")
	s := stream(t, "/main", f.shown(), "/g722", "audiotestsrc ! audioconvert ! audioresample ! avenc_g722 ! rtpg722pay name=pay0")
	_, mic := listen(t, s.url("/main"))
	_, err := mic.OpenMicrophone(limit(t))
	says(t, err, hal.ErrNotFound, "no sound", "switch it on")
	_, mic = listen(t, s.url("/g722"))
	_, err = mic.OpenMicrophone(limit(t))
	says(t, err, hal.ErrUnable, "G722", "want G.711, L16, AAC-LC or Opus")
	if b := board(t, s.url("/main")); len(b.Parts()) != 0 {
		t.Error("a board without sound and snapshot has parts")
	}
}

func TestMicrophoneEndsWithItsStreamer(t *testing.T) {
	t.Parallel()
	f := shoot(t, 4, "slices=1", "-c:a", "pcm_mulaw", "-ar", "8000")
	s := stream(t, "/main", f.heard("rtppcmupay"))
	_, mic := listen(t, s.url("/main"), patience(500*time.Millisecond))
	for _, end := range []func(){s.hang, s.kill} {
		a, err := mic.OpenMicrophone(limit(t))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := a.Next(limit(t)); err != nil {
			t.Fatal(err)
		}
		end()
		for err == nil {
			_, err = a.Next(limit(t))
		}
		says(t, err, hal.ErrGone, "microphone")
		a.Close()
		if _, err := a.Next(context.Background()); !errors.Is(err, hal.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
		s.kill()
		if err := s.again(); err != nil {
			t.Fatal(err)
		}
	}
}

// A reader that sleeps loses the oldest sound, and costs no more memory.
func TestSlowListenerLosesTheOldest(t *testing.T) {
	t.Parallel()
	var list []hal.AudioFrame
	for i := range 3 * maxSounds {
		list = append(newest(list, 160), hal.AudioFrame{Data: fmt.Appendf(nil, "%160d", i)})
	}
	if len(list) != maxSounds || !bytes.HasSuffix(list[0].Data, fmt.Append(nil, 2*maxSounds)) {
		t.Errorf("%d frames wait, the first %s", len(list), list[0].Data)
	}
	list = newest([]hal.AudioFrame{{Data: make([]byte, maxSoundBytes)}}, 1)
	if len(list) != 0 {
		t.Errorf("%d frames wait beside a large one", len(list))
	}
}
