//go:build vm

package alsa

import (
	"context"
	"encoding/binary"
	"errors"
	"math"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/bluenviron/mediacommon/v2/pkg/codecs/g711"

	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/hal/haltest"
	"iid2secure.nl/camagent/hal/sim"
)

// These tests run in a virtual machine with the module snd-aloop: what is
// played to the card's device 0 is heard by its device 1.

var loop = Config{Microphone: "hw:Loopback,1", Speaker: "hw:Loopback,0"}

func sound(t *testing.T, c Config) *Sound {
	t.Helper()
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestVM_Haltest(t *testing.T) {
	small := sim.Config{Streams: []hal.StreamInfo{{Name: "main", Default: hal.VideoConfig{Width: 320, Height: 180, FPS: 10, GOP: 20, Bitrate: 100_000}}}}
	cases := []string{"streams", "sound-cancel", "speaker-formats", "speaker-pace", "speaker-close", "speaker-cancel", "no-goroutine-left", "no-file-left"}
	if runtime.GOARCH != "arm" { // those that watch for ten seconds take one machine
		cases = append(cases, "one-clock", "sound-runs", "sound-form", "sound-time", "sound-rate", "sound-immutable")
	}
	report := haltest.Check(t, haltest.Subject{
		Name: "alsa",
		Open: func(context.Context) (hal.Board, []any, error) {
			s, err := New(loop)
			if err != nil {
				return nil, nil, err
			}
			return sim.New(small), []any{s}, nil
		},
		Only: cases,
	})
	if n := report.Count(haltest.Passed); n != len(cases) {
		t.Errorf("%d cases passed, want %d", n, len(cases))
	}
}

// tone is one second of 1 kHz as a format has it, in frames of 20 ms.
func tone(f hal.AudioFormat) []hal.AudioFrame {
	var list []hal.AudioFrame
	n := f.Rate / 50
	for k := range 50 {
		var pcm []byte
		for i := range n {
			v := 12000 * math.Sin(2*math.Pi*1000*float64(k*n+i)/float64(f.Rate))
			pcm = binary.BigEndian.AppendUint16(pcm, uint16(int16(v)))
		}
		switch f.Codec {
		case hal.PCMU:
			pcm, _ = g711.Mulaw(pcm).Marshal()
		case hal.PCMA:
			pcm, _ = g711.Alaw(pcm).Marshal()
		}
		list = append(list, hal.AudioFrame{Data: pcm, Samples: n})
	}
	return list
}

// share tells which part of a sound's energy has 1 kHz (Goertzel's algorithm).
func share(samples []int16, rate int) float64 {
	k := 2 * math.Cos(2*math.Pi*1000/float64(rate))
	var s1, s2, energy float64
	for _, v := range samples {
		s1, s2 = float64(v)+k*s1-s2, s1
		energy += float64(v) * float64(v)
	}
	if energy == 0 {
		return 0
	}
	return (s1*s1 + s2*s2 - k*s1*s2) * 2 / float64(len(samples)) / energy
}

// bestShare is that of the best quarter of a second: the tone begins and ends
// meanwhile.
func bestShare(samples []int16, rate int) (best float64) {
	for at := 0; at+rate/4 <= len(samples); at += rate / 20 {
		best = max(best, share(samples[at:at+rate/4], rate))
	}
	return best
}

func TestM1_VM_WhatIsPlayedIsHeard(t *testing.T) {
	for _, f := range (speaker{}).SpeakerFormats() {
		s := sound(t, loop)
		heard, played := playAndHear(t, s, f)
		best := bestShare(heard.samples, heard.rate)
		t.Logf("%+v: played in %v, heard at %d Hz, the tone holds %.1f %%", f, played.Round(time.Millisecond), heard.rate, 100*best)
		if best < 0.95 {
			t.Errorf("%+v: the tone holds %.1f %% of the energy, want 95", f, 100*best)
		}
		if least := time.Second - hal.SpeakerAhead - 50*time.Millisecond; played < least || played > 2*time.Second {
			t.Errorf("%+v: a second was taken in %v, want %v at least", f, played, least)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

type recording struct {
	rate    int
	samples []int16
}

// playAndHear plays a second and records meanwhile.
func playAndHear(t *testing.T, s *Sound, f hal.AudioFormat) (recording, time.Duration) {
	t.Helper()
	sp, _ := hal.As[hal.Speaker](s)
	p, err := sp.OpenSpeaker(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	mp, _ := hal.As[hal.Microphone](s)
	m, err := mp.OpenMicrophone(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	type result struct {
		took time.Duration
		err  error
	}
	done := make(chan result, 1)
	go func() {
		begin := time.Now()
		for _, frame := range tone(f) {
			if err := p.Write(t.Context(), frame); err != nil {
				done <- result{err: err}
				return
			}
		}
		done <- result{took: time.Since(begin)}
	}()
	r := recording{rate: m.Format().Rate}
	for len(r.samples) < r.rate*12/10 {
		frame, err := m.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(frame.Data); i += 2 {
			r.samples = append(r.samples, int16(binary.BigEndian.Uint16(frame.Data[i:])))
		}
	}
	played := <-done
	if err := errors.Join(played.err, p.Close(), m.Close()); err != nil {
		t.Fatal(err)
	}
	return r, played.took
}

// The other end of the loop holds the card to a rate and two channels, as a
// device does that can do no others.
func TestVM_OtherRatesAreConverted(t *testing.T) {
	for _, rate := range []int{48000, 44100} {
		s := sound(t, loop)
		far, err := openPCM(linux{}, node(t, "hw:Loopback,0", playback), playback)
		if err != nil {
			t.Fatal(err)
		}
		if err := far.setUp(rate, 2, rate); err != nil {
			t.Fatal(err)
		}
		samples := spread(nil, samplesOf(t, rate), 2)
		for len(samples) > 0 { // as much as it holds
			n, err := far.move(samples)
			if err != nil || n == 0 {
				break
			}
			samples = samples[2*n:]
		}
		part, _ := hal.As[hal.Microphone](s)
		m, err := part.OpenMicrophone(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if f := m.Format(); f.Rate != 16000 || m.(*listener).pcm.rate != rate || m.(*listener).pcm.channels != 2 {
			t.Errorf("format %+v of a device at %d Hz with %d channels", f, m.(*listener).pcm.rate, m.(*listener).pcm.channels)
		}
		var heard []int16
		for len(heard) < 16000/2 {
			f, err := m.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for i := 0; i < len(f.Data); i += 2 {
				heard = append(heard, int16(binary.BigEndian.Uint16(f.Data[i:])))
			}
		}
		if best := bestShare(heard, 16000); best < 0.95 {
			t.Errorf("%d Hz: the tone holds %.1f %% of the energy", rate, 100*best)
		}
		if err := errors.Join(m.Close(), far.close(), s.Close()); err != nil {
			t.Error(err)
		}
	}
}

func node(t *testing.T, name string, dir direction) string {
	t.Helper()
	path, err := finder{linux{}, "/proc/asound", "/dev/snd"}.path(name, dir)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// samplesOf is the tone at any rate.
func samplesOf(t *testing.T, rate int) []int16 {
	t.Helper()
	var all []int16
	for _, f := range tone(hal.AudioFormat{Codec: hal.L16, Rate: rate}) {
		s, err := decode(hal.L16, f.Data)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, s...)
	}
	return all
}

// A reader that was away loses sound, which is counted and no error.
func TestVM_OverrunIsRecovered(t *testing.T) {
	s := sound(t, Config{Microphone: "hw:Loopback,1"})
	part, _ := hal.As[hal.Microphone](s)
	m, err := part.OpenMicrophone(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	last, err := m.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	<-time.After(2 * captureHolds)
	for range 50 {
		f, err := m.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if !f.Time.After(last.Time) {
			t.Errorf("time went back by %v", last.Time.Sub(f.Time))
		}
		last = f
	}
	if off := time.Since(last.Time); off > 200*time.Millisecond {
		t.Errorf("the newest frame is of %v ago", off)
	}
	if n := m.(*listener).xruns.Load(); n == 0 {
		t.Error("no loss was counted")
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
}

// A writer that makes a pause goes on as if it were new.
func TestVM_UnderrunIsSilence(t *testing.T) {
	s := sound(t, Config{Speaker: "hw:Loopback,0"})
	part, _ := hal.As[hal.Speaker](s)
	f := hal.AudioFormat{Codec: hal.PCMU, Rate: 8000, Channels: 1}
	p, err := part.OpenSpeaker(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		for _, frame := range tone(f)[:20] {
			if err := p.Write(t.Context(), frame); err != nil {
				t.Fatal(err)
			}
		}
		<-time.After(2 * hal.SpeakerAhead)
	}
	if err := p.Write(t.Context(), tone(f)[0]); err != nil {
		t.Error(err)
	}
	if n := p.(*talker).xruns.Load(); n != 2 {
		t.Errorf("%d pauses were seen, want 2", n)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

func TestVM_BusyDevice(t *testing.T) {
	s := sound(t, Config{Microphone: "hw:Loopback,1"})
	part, _ := hal.As[hal.Microphone](s)
	var open []hal.AudioStream
	defer func() {
		for _, m := range open {
			if err := m.Close(); err != nil {
				t.Error(err)
			}
		}
	}()
	for range 9 { // the card has 8 of each
		m, err := part.OpenMicrophone(t.Context())
		if err != nil {
			if !errors.Is(err, hal.ErrBusy) {
				t.Errorf("%v, want %v", err, hal.ErrBusy)
			}
			t.Log(err)
			return
		}
		open = append(open, m)
	}
	t.Errorf("%d microphones of one", len(open))
}

func TestVM_OtherDevices(t *testing.T) {
	nodes, err := filepath.Glob("/dev/snd/pcmC*D0p")
	if err != nil || len(nodes) == 0 {
		t.Fatal(nodes, err)
	}
	for _, k := range []struct {
		name string
		want error
	}{
		{"hw:Nobody,0", hal.ErrNotFound}, {"hw:Loopback,7", hal.ErrNotFound}, {"hw:77", hal.ErrNotFound}, {"/dev/snd/pcmC77D0c", hal.ErrNotFound},
		{"hw:", hal.ErrArgument}, {"hw:0,x", hal.ErrArgument}, {"/dev/null", hal.ErrArgument}, {nodes[0], hal.ErrArgument},
	} {
		s, err := New(Config{Microphone: k.name})
		if !errors.Is(err, k.want) || s != nil {
			t.Errorf("%s: %v, want %v", k.name, err, k.want)
		}
		t.Log(err)
	}
}
