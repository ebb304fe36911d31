package agent

import (
	"bytes"
	"context"
	"errors"
	"image"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/thejerf/suture/v4"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"iid2secure.nl/camagent/agent/command"
	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/bind"
	"iid2secure.nl/camagent/cloud/identity"
	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/hal/sim"
	"iid2secure.nl/camagent/media"
)

func TestGateRunsWhileOpenAndJoins(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		var running, runs atomic.Int32
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() {
			done <- g.serve(ctx, func(ctx context.Context) error {
				running.Add(1)
				runs.Add(1)
				defer running.Add(-1)
				<-ctx.Done()
				return ctx.Err()
			})
		}()
		for i := range 3 {
			synctest.Wait()
			if running.Load() != 0 {
				t.Fatal("runs while the gate is closed")
			}
			g.set(true)
			synctest.Wait()
			if running.Load() != 1 || runs.Load() != int32(i+1) {
				t.Fatalf("running %d, runs %d", running.Load(), runs.Load())
			}
			g.set(false)
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	})
}

func TestGateTellsWhatFailedByItself(t *testing.T) {
	t.Parallel()
	g := newGate()
	g.set(true)
	boom := errors.New("boom")
	if err := g.serve(t.Context(), func(context.Context) error { return boom }); err != boom {
		t.Fatal(err)
	}
}

// brokenBoard is sim whose main stream dies after some frames, and whose
// opening fails now and then: it injects faults, not pictures.
type brokenBoard struct {
	*sim.Board
	opens, failOpens atomic.Int32
	dieAfter         int
}

func (b *brokenBoard) OpenVideo(ctx context.Context, stream string, want hal.VideoConfig) (hal.VideoStream, error) {
	if n := b.opens.Add(1); n <= b.failOpens.Load() {
		return nil, hal.ErrNotFound
	}
	vs, err := b.Board.OpenVideo(ctx, stream, want)
	return &dyingStream{VideoStream: vs, left: b.dieAfter}, err
}

type dyingStream struct {
	hal.VideoStream
	left int
}

func (s *dyingStream) Next(ctx context.Context) (hal.AccessUnit, error) {
	if s.left--; s.left < 0 {
		return hal.AccessUnit{}, hal.ErrGone
	}
	return s.VideoStream.Next(ctx)
}

func testCamera(t *testing.T, b hal.Board) *camera {
	t.Helper()
	settings, err := openSettings(t.TempDir(), "b1", defaultSettings(b.Streams()))
	if err != nil {
		t.Fatal(err)
	}
	var streams []*media.Stream
	for _, s := range b.Streams() {
		streams = append(streams, media.NewStream(s.Name, 1<<20))
	}
	return newCamera(hal.NewCamera(b), streams, settings, newHealth(zap.NewNop()), zap.NewNop())
}

func TestR4_DeadDeviceIsOpenedAgainWithBackoffAndNumbersGoOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := &brokenBoard{Board: sim.New(sim.Config{}), dieAfter: 60}
		b.failOpens.Store(4)
		c := testCamera(t, b)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- c.pump(ctx, 1) }()
		synctest.Wait()
		if b.opens.Load() != 0 {
			t.Fatal("an unbound camera opened its encoder")
		}
		c.bound.set(true)
		time.Sleep(time.Second)
		if list := c.health.conditions(); len(list) != 1 || list[0].Code != "stream.sub" {
			t.Fatalf("conditions %+v", list)
		}
		rd := c.streams[1].Ring.NewReader(0)
		defer rd.Close()
		var last uint64
		for i := range 150 { // more than two lives of the stream
			s, err := rd.Next(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if i > 0 && s.Seq <= last {
				t.Fatalf("frame %d follows %d", s.Seq, last)
			}
			last = s.Seq
		}
		if n := b.opens.Load(); n < 6 || n > 9 {
			t.Errorf("%d opens", n)
		}
		c.bound.set(false)
		synctest.Wait()
		if c.running[1].Load() {
			t.Error("the encoder runs on an unbound camera")
		}
		cancel()
		<-done
	})
}

func TestP2_MicrophoneIsOffUntilTheOwnerTurnsItOnAndOffMeansClosed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := testCamera(t, sim.New(sim.Config{}))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 2)
		go func() { done <- c.listen(ctx) }()
		go func() { done <- c.run(ctx) }()
		c.apply(true)
		time.Sleep(time.Second)
		if c.micOpen.Load() || c.streams[0].Ring.Stats().Samples != 0 {
			t.Fatal("the microphone is open by default")
		}
		on, off := true, false
		if _, err := c.change(ctx, command.SettingsPatch{Microphone: &on}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if !c.micOpen.Load() || c.streams[0].Audio() == nil || c.streams[1].Ring.Stats().Samples < 20 {
			t.Fatal("the microphone is not open")
		}
		if _, err := c.change(ctx, command.SettingsPatch{Microphone: &off}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		before := c.streams[0].Ring.Stats().Samples
		time.Sleep(time.Second)
		if c.micOpen.Load() || c.streams[0].Audio() != nil || c.streams[0].Ring.Stats().Samples != before {
			t.Error("sound a second after the microphone was turned off")
		}
		cancel()
		<-done
		<-done
	})
}

func TestM5_SettingsReachTheEncoderSurviveARestartAndEndWithTheBinding(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := sim.New(sim.Config{})
		c := testCamera(t, b)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 2)
		go func() { done <- c.pump(ctx, 0) }()
		go func() { done <- c.run(ctx) }()
		c.apply(true)
		time.Sleep(2 * time.Second)
		rate, mode := 700_000, command.RecordOff
		got, err := c.change(ctx, command.SettingsPatch{Streams: map[string]command.StreamPatch{"main": {Bitrate: &rate}}, Recording: &mode})
		if err != nil || got.Streams["main"].Bitrate != rate || got.Recording != mode {
			t.Fatalf("%+v, %v", got, err)
		}
		high := 1 << 30
		if got, err = c.change(ctx, command.SettingsPatch{Streams: map[string]command.StreamPatch{"main": {Bitrate: &high}}}); err == nil || got.Streams["main"].Bitrate != rate {
			t.Errorf("a bitrate out of range: %+v, %v", got, err)
		}
		dir := filepath.Dir(c.settings.path)
		again, err := openSettings(dir, "b1", defaultSettings(b.Streams()))
		if err != nil || again.get().Streams["main"].Bitrate != rate || again.get().Recording != mode {
			t.Errorf("after a restart: %+v, %v", again.get(), err)
		}
		other, err := openSettings(dir, "b2", defaultSettings(b.Streams()))
		if err != nil || other.get().Recording != command.RecordContinuous {
			t.Errorf("a new owner got the old one's settings: %+v, %v", other.get(), err)
		}
		cancel()
		<-done
		<-done
	})
}

func TestDamagedStateIsAClearError(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "settings.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openSettings(dir, "b", command.Settings{}); err == nil || !bytes.Contains([]byte(err.Error()), []byte("settings.json")) {
		t.Errorf("settings: %v", err)
	}
}

func TestConditionsAreLoggedWhenTheyBeginAndEnd(t *testing.T) {
	t.Parallel()
	core, logs := observer.New(zap.InfoLevel)
	h := newHealth(zap.New(core))
	for range 5 {
		h.report("card", errors.New("card full"))
	}
	h.report("card", nil)
	h.report("card", nil)
	if n := logs.Len(); n != 2 {
		t.Errorf("%d lines, want 2", n)
	}
	if len(h.conditions()) != 0 {
		t.Error("the condition stays")
	}
}

func TestR5_FiveFailuresInTenMinutesEndTheProcess(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			apart time.Duration
			ends  bool
		}{{time.Minute, true}, {3 * time.Minute, false}} {
			ctx, cancel := context.WithCancelCause(t.Context())
			f := &failureCount{log: zap.NewNop(), giveUp: cancel}
			for range maxFailures {
				f.event(suture.EventServicePanic{ServiceName: "recorder"})
				time.Sleep(c.apart)
			}
			if got := errors.Is(context.Cause(ctx), ErrFailing); got != c.ends {
				t.Errorf("failures %s apart: ends %v, want %v", c.apart, got, c.ends)
			}
			cancel(nil)
		}
	})
}

// A board without capabilities: every command that needs one is refused by name.
func TestCommandsThatTheBoardLacksAreRefusedByName(t *testing.T) {
	t.Parallel()
	c := testCamera(t, struct{ hal.Board }{sim.New(sim.Config{})})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go c.run(ctx)
	c.bound.set(true)
	_, snap := c.snapshot(ctx)
	on, fps := true, 5
	_, mic := c.change(ctx, command.SettingsPatch{Microphone: &on})
	_, tune := c.change(ctx, command.SettingsPatch{Streams: map[string]command.StreamPatch{"main": {FPS: &fps}}})
	for name, err := range map[string]error{"snapshot": snap, "keyframe": c.requestKey(ctx, "main"), "microphone": mic, "tune": tune} {
		var r *cloud.Refusal
		if !errors.Is(err, hal.ErrUnable) && !(errors.As(err, &r) && r.Code == cloud.CodeUnable) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestS2_ButtonOpensThePairingWindow(t *testing.T) {
	t.Parallel()
	id, err := identity.NewSelfMade()
	if err != nil {
		t.Fatal(err)
	}
	store, err := bind.Open(t.TempDir(), id)
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		a := &Agent{log: zap.NewNop(), pairing: bind.NewPairing(store, bind.PairingConfig{Send: func(string, []byte) {}})}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 2)
		button := make(chan os.Signal, 1)
		go func() { done <- a.pairing.Run(ctx) }()
		go func() { done <- a.pressed(ctx, button) }()
		time.Sleep(11 * time.Minute)
		if a.pairing.Open() {
			t.Error("the window is open after ten minutes")
		}
		button <- os.Interrupt
		synctest.Wait()
		if !a.pairing.Open() {
			t.Error("the button did not open the window")
		}
		cancel()
		<-done
		<-done
	})
}

// boaster is sim that says another size of its main stream than it gives.
type boaster struct{ *sim.Board }

type boast struct{ hal.VideoStream }

func (b boaster) OpenVideo(ctx context.Context, stream string, want hal.VideoConfig) (hal.VideoStream, error) {
	vs, err := b.Board.OpenVideo(ctx, stream, want)
	return boast{vs}, err
}

func (b boast) Config() hal.VideoConfig {
	return b.VideoStream.Config().With(hal.VideoConfig{Width: 1920, Height: 1080})
}

func TestM1_WhatTheBoardSaysIsComparedWithItsPictures(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := testCamera(t, boaster{sim.New(sim.Config{})})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- c.pump(ctx, 0) }()
		c.bound.set(true)
		time.Sleep(3 * time.Second)
		list := c.health.conditions()
		if len(list) != 1 || list[0].Code != "stream.main.config" ||
			!strings.Contains(list[0].Message, "1920×1080") || !strings.Contains(list[0].Message, "1280×720") {
			t.Errorf("conditions %+v", list)
		}
		if got := c.streams[0].Config(); got.Width != 1280 || got.Height != 720 || got.FPS != 25 {
			t.Errorf("%+v", got)
		}
		c.bound.set(false)
		synctest.Wait()
		if list := c.health.conditions(); len(list) != 0 {
			t.Errorf("the stream is closed, and still %+v", list)
		}
		cancel()
		<-done
	})
}

// lossy is sim whose every tenth frame tells a loss, until it is mended.
type lossy struct {
	*sim.Board
	mended atomic.Bool
}

type losing struct {
	hal.VideoStream
	board *lossy
	n     int
}

func (b *lossy) OpenVideo(ctx context.Context, stream string, want hal.VideoConfig) (hal.VideoStream, error) {
	vs, err := b.Board.OpenVideo(ctx, stream, hal.VideoConfig{GOP: 10})
	return &losing{vs, b, 0}, err
}

func (s *losing) Next(ctx context.Context) (hal.AccessUnit, error) {
	au, err := s.VideoStream.Next(ctx)
	if s.n++; au.Key && s.n > 1 && !s.board.mended.Load() {
		au.Lost = 2
	}
	return au, err
}

func TestM1_FramesThatTheDeviceLosesAreToldWhileItLosesThem(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := &lossy{Board: sim.New(sim.Config{})}
		c := testCamera(t, b)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- c.pump(ctx, 1) }()
		c.bound.set(true)
		time.Sleep(3 * time.Second)
		if list := c.health.conditions(); len(list) != 1 || list[0].Code != "stream.sub.lost" {
			t.Errorf("conditions %+v", list)
		}
		b.mended.Store(true)
		time.Sleep(lossesTold + time.Second)
		if list := c.health.conditions(); len(list) != 0 {
			t.Errorf("long ago, and still %+v", list)
		}
		cancel()
		<-done
	})
}

// raw is a camera with raw pictures that fail, for the fall-back that looks for
// motion in them.
type raw struct{ broken atomic.Bool }

func (r *raw) Grab(context.Context) (*image.YCbCr, error) {
	if r.broken.Load() {
		return nil, hal.ErrGone
	}
	return image.NewYCbCr(image.Rect(0, 0, 64, 64), image.YCbCrSubsampleRatio420), nil
}

func TestR4_FallBacksRunWhileBoundAndAreStartedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &raw{}
		c := testCamera(t, struct{ hal.Board }{sim.New(sim.Config{})})
		c.board = hal.NewCamera(struct{ hal.Board }{sim.New(sim.Config{})}, r)
		if k, ok := c.board.Capability(hal.CapMotion); !ok || k.By == "" {
			t.Fatalf("motion: %+v: there is no fall-back to test", k)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 2)
		go func() { // it looks when somebody asks
			_, err := c.board.NextMotion(ctx)
			done <- err
		}()
		r.broken.Store(true)
		go func() { done <- c.fallBacks(ctx) }()
		time.Sleep(time.Minute)
		if list := c.health.conditions(); len(list) != 0 {
			t.Errorf("an unbound camera looks: %+v", list)
		}
		c.bound.set(true)
		time.Sleep(10 * time.Second)
		if list := c.health.conditions(); len(list) != 1 || list[0].Code != "fallback" {
			t.Errorf("conditions %+v", list)
		}
		r.broken.Store(false)
		time.Sleep(maxReopen + 2*fallBackWorks)
		if list := c.health.conditions(); len(list) != 0 {
			t.Errorf("it works, and still %+v", list)
		}
		cancel()
		<-done
		<-done
	})
}
