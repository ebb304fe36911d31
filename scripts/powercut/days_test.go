//go:build powercut

package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"iid2secure.nl/camagent/agent"
	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/durable"
	"iid2secure.nl/camagent/config"
	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/scripts/powercut/audit"
	"iid2secure.nl/camagent/scripts/stack"
)

// The three days: an hour a day is recorded anyway, and somebody walks by now and then.
const (
	daysOff     = 3
	backlogCard = 16 // MB; the days want three times as much
	walksEvery  = 3 * time.Hour
	walksLast   = 30 * time.Second
	dayPicture  = 4000 // bytes
)

// TestR2_R7_R8_ThreeDaysOfBacklogOnACardTooSmall has a camera record for three days
// without a cloud, in simulated time; the card gives up what it may, and says so.
func TestR2_R7_R8_ThreeDaysOfBacklogOnACardTooSmall(t *testing.T) {
	t.Parallel()
	s, err := stack.New(t.Context(), stack.Options{Bin: *bin, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Ctl(t.Context(), "set", "recording=continuous", "schedule=mon-sun@06:00-07:00", "schedule.outside=events"); err != nil {
		t.Fatal(err)
	}
	if err := s.Camera.Stop(); err != nil {
		t.Fatal(err)
	}
	cfg, begin := offline(t, s), time.Date(2031, 3, 1, 0, 0, 0, 0, time.UTC) // no clock may be earlier than its program
	picture := onePicture(t)
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(begin))
		a, err := agent.New(cfg, hal.NewCamera(&dayBoard{begin: time.Now(), picture: picture}), zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), daysOff*24*time.Hour)
		defer cancel()
		if err := a.Run(ctx, nil); err != nil {
			t.Error(err)
		}
	})
	keys, err := audit.ReadKeys(s.Path("owner"))
	if err != nil {
		t.Fatal(err)
	}
	// What the camera may have filmed between its binding and its new settings has numbers, too.
	r, err := keys.Read(cfg.Card.Dir, s.Path("camera", "card"), s.Path("cloud"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range append(r.Faults, r.Chain()...) {
		t.Error(f)
	}
	r.Clips = slices.DeleteFunc(r.Clips, func(c audit.Clip) bool { return c.Began.Before(begin) })
	checkGivenUp(t, r, begin)
	if size := used(t, cfg.Card.Dir); size > backlogCard<<20 || size < backlogCard<<20*8/10 {
		t.Errorf("%d bytes are on a card of %d MB", size, backlogCard)
	}
}

// offline is the camera's configuration without anything that goes out, and a
// card in memory: days of it are synced to it.
func offline(t *testing.T, s *stack.Stack) config.Config {
	t.Helper()
	card, err := os.MkdirTemp("/dev/shm", "camagent-days-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(card) })
	file := filepath.Join(t.TempDir(), "camagent.yaml")
	if err := durable.WriteJSON(file, map[string]any{
		"state_dir": s.Path("camera", "state"),
		"rtsp":      map[string]any{"address": "", "tls_address": ""},
		"local":     map[string]any{"address": ""},
		"record":    map[string]any{"clip_length": "1m"},
		"card":      map[string]any{"dir": card, "limit_mb": backlogCard},
	}); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(file, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// checkGivenUp looks whether what is missing is what may be: routine clips, the
// oldest ones, each named by a signed gap.
func checkGivenUp(t *testing.T, r audit.Report, begin time.Time) {
	t.Helper()
	var newest uint64 // of those given up
	given := map[uint64]bool{}
	for _, g := range r.Gaps {
		if g.Reason != cloud.GapRetention {
			t.Errorf("gap %d says %s from %s to %s", g.Sequence, g.Reason, g.Details.From, g.Details.To)
		}
		for _, m := range g.Missing {
			for n := m.From; n <= m.To; n++ {
				given[n], newest = true, max(newest, n)
			}
		}
	}
	events := map[string][]audit.Clip{}
	routine := 0
	for _, c := range r.Clips {
		if given[c.Sequence] {
			t.Errorf("clip %d is here, a gap says that it is not", c.Sequence)
		}
		if c.Details.Event != "" {
			events[c.Details.Event] = append(events[c.Details.Event], c)
			continue
		}
		routine++
		if c.Sequence < newest {
			t.Errorf("clip %d is here, %d was given up before it", c.Sequence, newest)
		}
	}
	for at := walksEvery / 2; at < daysOff*24*time.Hour; at += walksEvery {
		checkWalk(t, events, begin.Add(at))
	}
	// An hour a day, a minute a clip: what is not here any more was given up.
	if all := len(given) + routine; all < daysOff*60 || len(given) < 30 || routine < 10 {
		t.Errorf("%d clips given up, %d routine ones kept: not all was recorded, or the card is not too small, or much too small", len(given), routine)
	}
	t.Logf("%d clips given up, %d signed gaps in all; %d routine clips and %d alarms kept", len(given), len(r.Gaps), routine, len(events))
}

// checkWalk looks whether an alarm is here whole: from its pre-roll to its
// post-roll, frame by frame.
func checkWalk(t *testing.T, events map[string][]audit.Clip, at time.Time) {
	t.Helper()
	for id, clips := range events { // in the order of their numbers
		first, last := clips[0], clips[len(clips)-1]
		if first.Began.After(at) || last.Ended.Before(at) {
			continue
		}
		const picture = time.Second
		record := config.Default().Record
		if first.Began.After(at.Add(picture-record.PreRoll)) || last.Ended.Before(at.Add(walksLast+record.PostRoll-picture)) {
			t.Errorf("alarm %s, of %s, is here from %s to %s only", id, at, first.Began, last.Ended)
		}
		for i, c := range clips[1:] {
			if before := clips[i]; c.Details.FirstFrame != before.Details.LastFrame+1 {
				t.Errorf("alarm %s, of %s: clip %d ends with frame %d, %d begins with %d", id, at, before.Sequence, before.Details.LastFrame, c.Sequence, c.Details.FirstFrame)
			}
		}
		return
	}
	t.Errorf("of the alarm of %s nothing is here", at)
}

// used is what the card's limit counts: all but the index.
func used(t *testing.T, dir string) (size int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() && d.Name() == "index" {
			return filepath.SkipDir
		}
		if err == nil && !d.IsDir() {
			info, err := d.Info()
			if err != nil {
				return err
			}
			size += info.Size()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return size
}

// onePicture is a key frame with its parameter sets, filled up to usual size.
func onePicture(t *testing.T) hal.AccessUnit {
	t.Helper()
	b, err := os.ReadFile("../../testdata/high-320x180.h264")
	if err != nil {
		t.Fatal(err)
	}
	delimiter := []byte{0, 0, 0, 1, hal.NALAUD}
	first := bytes.Split(b, delimiter)[1]
	filler := append([]byte{0, 0, 0, 1, 6, 5}, bytes.Repeat([]byte{0x55}, dayPicture)...) // SEI
	au, err := hal.ParseAnnexB(slices.Concat(delimiter, first, filler), nil)
	if err != nil {
		t.Fatal(err)
	}
	return au
}

// dayBoard gives a picture a second, and motion now and then.
type dayBoard struct {
	begin   time.Time
	picture hal.AccessUnit
}

func (b *dayBoard) Info() hal.Info { return hal.Info{Board: "test", Model: "days"} }

func (b *dayBoard) Streams() []hal.StreamInfo {
	return []hal.StreamInfo{{Name: "main", Default: b.config()}}
}

func (b *dayBoard) config() hal.VideoConfig {
	return hal.VideoConfig{Width: 320, Height: 180, FPS: 1, GOP: 1, Bitrate: 64_000}
}

func (b *dayBoard) OpenVideo(context.Context, string, hal.VideoConfig) (hal.VideoStream, error) {
	return &dayStream{b}, nil
}

func (b *dayBoard) Close() error { return nil }

func (b *dayBoard) MotionZones() bool { return false }

func (b *dayBoard) SetMotion(hal.MotionConfig) error { return nil }

// NextMotion is at half past every third hour.
func (b *dayBoard) NextMotion(ctx context.Context) (hal.MotionEvent, error) {
	since := time.Since(b.begin)
	at := since.Truncate(walksEvery) + walksEvery/2
	end := at + walksLast
	switch {
	case since < at:
		return hal.MotionEvent{Time: b.begin.Add(at), Active: true}, b.wait(ctx, at)
	case since < end:
		return hal.MotionEvent{Time: b.begin.Add(end)}, b.wait(ctx, end)
	}
	at += walksEvery
	return hal.MotionEvent{Time: b.begin.Add(at), Active: true}, b.wait(ctx, at)
}

// wait waits until so long after the begin.
func (b *dayBoard) wait(ctx context.Context, until time.Duration) error {
	timer := time.NewTimer(time.Until(b.begin.Add(until)))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

type dayStream struct{ b *dayBoard }

func (s *dayStream) Config() hal.VideoConfig { return s.b.config() }

func (s *dayStream) Close() error { return nil }

func (s *dayStream) Next(ctx context.Context) (hal.AccessUnit, error) {
	n := time.Since(s.b.begin)/time.Second + 1
	if err := s.b.wait(ctx, n*time.Second); err != nil {
		return hal.AccessUnit{}, err
	}
	au := s.b.picture
	au.Time, au.Seq = s.b.begin.Add(n*time.Second), uint64(n)
	return au, nil
}
