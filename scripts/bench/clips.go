package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"iid2secure.nl/camagent/agent/command"
	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/scripts/powercut/audit"
)

// How often and how long what concerns clips is measured.
const (
	alarms      = 4
	alarmLasts  = 10 * time.Second
	recordTime  = 20 * time.Second
	recordTurns = 2
)

// clips is what recording costs, how fast alarms are safe, and how fast a
// backlog goes.
func (b *bench) clips(ctx context.Context) (figures []figure, err error) {
	for _, part := range []func(context.Context) ([]figure, error){b.sealing, b.recordingCost, b.recordingAllocations, b.drain, b.alarms} {
		list, err := part(ctx)
		figures = append(figures, list...)
		if err != nil {
			return figures, err
		}
	}
	return figures, nil
}

// record has the film recorded, or not, and leaves the camera stopped.
func (b *bench) record(ctx context.Context, mode string) error {
	camera, err := filmCamera(b.film)
	if err != nil {
		return err
	}
	b.stack.Configure(camera)
	return b.set(ctx, "recording="+mode, func(st command.Status) bool {
		return st.Recording.Active == (mode != command.RecordOff) && (mode != command.RecordOff || st.Upload.Pending == 0)
	})
}

// recordingCost is what camagent takes more of a processor when it records the
// film; nobody watches. With the cloud, what is recorded is uploaded as well.
func (b *bench) recordingCost(ctx context.Context) (figures []figure, err error) {
	for _, c := range []struct {
		name  string
		cloud bool
		limit float64
	}{{"recording, sealing and keeping 2 Mbit/s", false, 1.5}, {"the same, and its upload", true, 0}} {
		var on, off []float64
		for range recordTurns {
			for mode, list := range map[string]*[]float64{command.RecordOff: &off, command.RecordContinuous: &on} {
				share, err := b.share(ctx, mode, c.cloud)
				if err != nil {
					return figures, err
				}
				*list = append(*list, share)
			}
		}
		more := median(on) - median(off)
		if c.limit > 0 {
			figures = append(figures, atMost(c.name, more, "% of a core", c.limit))
		} else {
			figures = append(figures, told(c.name, more, "% of a core"))
		}
		figures = append(figures, told("camagent that does not record, "+map[bool]string{false: "without", true: "with"}[c.cloud]+" a cloud", median(off), "% of a core"))
	}
	return figures, nil
}

// share is what camagent takes of a processor.
func (b *bench) share(ctx context.Context, mode string, connected bool) (percent float64, err error) {
	if err := b.record(ctx, mode); err != nil {
		return 0, err
	}
	if !connected {
		camera, err := filmCamera(b.film)
		if err != nil {
			return 0, err
		}
		camera["cloud"] = map[string]any{}
		b.stack.Configure(camera)
	}
	if err := b.stack.StartCamera(); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, b.stack.Camera.Stop()) }()
	if err := sleep(ctx, 2*settle); err != nil {
		return 0, err
	}
	before, err := cpuTime(b.stack.Camera.PID())
	if err != nil {
		return 0, err
	}
	began := time.Now()
	if err := sleep(ctx, recordTime); err != nil {
		return 0, err
	}
	after, err := cpuTime(b.stack.Camera.PID())
	return 100 * float64(after-before) / float64(time.Since(began)), err
}

// alarms has somebody walk by, again and again, and looks how long each frame of
// that took from its capture until the storage had confirmed clip and manifest.
func (b *bench) alarms(ctx context.Context) (figures []figure, err error) {
	b.stack.Configure(nil)
	if err := b.set(ctx, "recording=events", func(st command.Status) bool { return st.Recording.Mode == "events" }); err != nil {
		return nil, err
	}
	if err := b.stack.StartCamera(); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.stack.Camera.Stop()) }()
	if _, err := b.stack.WaitLive(ctx); err != nil {
		return nil, err
	}
	if _, err := b.stack.Simulate(ctx, "traffic", "off"); err != nil {
		return nil, err
	}
	began := time.Now()
	seen := map[string]time.Time{}
	for range alarms {
		if out, err := b.stack.Simulate(ctx, "walk", "left", "for="+alarmLasts.String()); err != nil {
			return nil, fmt.Errorf("sim walk: %w: %s", err, out)
		}
		if err := b.confirmed(ctx, 2*alarmLasts, seen); err != nil {
			return nil, err
		}
	}
	return b.alarmFigures(began, seen)
}

// confirmed notes when clips are first among those that the storage has.
func (b *bench) confirmed(ctx context.Context, span time.Duration, seen map[string]time.Time) error {
	for end := time.Now().Add(span); time.Now().Before(end); {
		err := filepath.WalkDir(b.stack.Path("camera", "card", "uploaded"), func(path string, d fs.DirEntry, err error) error {
			name, ok := strings.CutSuffix(filepath.Base(path), cloud.ExtClip)
			if _, known := seen[name]; err == nil && ok && !known {
				seen[name] = time.Now()
			}
			return nil
		})
		if err != nil {
			return err
		}
		if err := sleep(ctx, 5*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) alarmFigures(began time.Time, seen map[string]time.Time) ([]figure, error) {
	keys, err := audit.ReadKeys(b.stack.Path("owner"))
	if err != nil {
		return nil, err
	}
	r, err := keys.Read(b.stack.Path("camera", "card"))
	if err != nil {
		return nil, err
	}
	var latency []float64
	events := map[string]bool{}
	for _, c := range r.Clips {
		at, ok := seen[c.Name]
		if !ok || c.Details.Event == "" {
			continue
		}
		events[c.Details.Event] = true
		for i := range c.Details.Frames {
			captured := c.Began.Add(time.Duration(i) * c.Ended.Sub(c.Began) / time.Duration(c.Details.Frames))
			if captured.After(began) { // what was before the first alarm is pre-roll
				latency = append(latency, at.Sub(captured).Seconds())
			}
		}
	}
	if len(events) == 0 {
		return nil, fmt.Errorf("no alarm was recorded in %v: %d clips", time.Since(began), len(r.Clips))
	}
	return []figure{
		told("alarms recorded", float64(len(events)), ""),
		told("alarm frame, capture to confirmation in storage, p50", quantile(latency, 0.5), "s"),
		atMost("alarm frame, capture to confirmation in storage, p99", quantile(latency, 0.99), "s", 6),
	}, nil
}
