package pipe

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"iid2secure.nl/camagent/hal"
)

// abilities makes a part of each thing that the hello names.
func (b *Framed) abilities() (list []any) {
	h := &b.hello
	for _, a := range []struct {
		has  bool
		part any
	}{
		{h.Keyframe, keyframes{b}},
		{h.Tune, tuner{b}},
		{len(h.Image) > 0, &image{b: b, list: slices.Clone(h.Image)}},
		{h.IRFilter, irFilter{b}},
		{len(h.Lights) > 0, lights{b}},
		{h.LightSensor, lightSensor{b}},
		{h.Snapshot, snapshots{b}},
		{h.Motion != nil, motion{b}},
		{h.Microphone != nil, microphone{b}},
		{len(h.Speaker) > 0, speaker{b}},
		{h.PTZ != nil, ptz{b}},
		{len(h.Buttons) > 0, buttons{b}},
		{len(h.LEDs) > 0, leds{b}},
		{h.Siren, &siren{b: b}},
		{h.Sensors, sensors{b}},
	} {
		if a.has {
			list = append(list, a.part)
		}
	}
	return list
}

type keyframes struct{ b *Framed }

// RequestKeyframe implements [hal.KeyframeRequester].
func (k keyframes) RequestKeyframe(stream string) error {
	s, err := k.b.running()
	if err != nil {
		return err
	}
	_, err = s.ask(context.Background(), "keyframe "+stream, nil)
	return err
}

type tuner struct{ b *Framed }

// Tune implements [hal.EncoderTuner].
func (t tuner) Tune(stream string, patch hal.VideoConfig) (hal.VideoConfig, error) {
	s, err := t.b.running()
	if err != nil {
		return hal.VideoConfig{}, err
	}
	var c hal.VideoConfig
	_, err = s.ask(context.Background(), "tune "+stream+" "+wishText(patch), func(answer []byte) (err error) {
		if c, err = parseConfig(answer); err != nil {
			return err
		}
		for _, l := range s.lanes {
			if l != nil && l.name == stream {
				l.gather.setKnown(c)
			}
		}
		return nil
	})
	return c, err
}

// inForce is the number that a setting's answer holds; an empty answer is as asked.
func inForce(answer []byte, asked int) (int, error) {
	text := strings.TrimSpace(string(answer))
	if text == "" {
		return asked, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0, fmt.Errorf("sidecar board: the answer %q, want a number", oneLine(answer))
	}
	return n, nil
}

type image struct {
	b *Framed

	mu   sync.Mutex
	list []hal.Control
}

// ImageControls implements [hal.ImageTuner].
func (i *image) ImageControls() []hal.Control {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Clone(i.list)
}

// SetImageControl implements [hal.ImageTuner].
func (i *image) SetImageControl(id string, value int) (int, error) {
	answer, err := i.b.set(2, "image %s %d", id, value)
	if err != nil {
		return 0, err
	}
	n, err := inForce(answer, value)
	if err != nil {
		return 0, err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	for k := range i.list {
		if i.list[k].ID == id {
			i.list[k].Value = n
		}
	}
	return n, nil
}

func digit(on bool) int {
	if on {
		return 1
	}
	return 0
}

type irFilter struct{ b *Framed }

// SetIRFilter implements [hal.IRFilter].
func (f irFilter) SetIRFilter(inPath bool) error {
	_, err := f.b.set(1, "irfilter %d", digit(inPath))
	return err
}

type lights struct{ b *Framed }

// Lights implements [hal.Lights].
func (l lights) Lights() []hal.LightKind { return slices.Clone(l.b.hello.Lights) }

// SetLight implements [hal.Lights].
func (l lights) SetLight(kind hal.LightKind, percent int) (int, error) {
	answer, err := l.b.set(2, "light %s %d", kind, percent)
	if err != nil {
		return 0, err
	}
	return inForce(answer, percent)
}

type lightSensor struct{ b *Framed }

// Light implements [hal.LightSensor].
func (l lightSensor) Light(ctx context.Context) (int, error) {
	answer, err := l.b.do(ctx, "lightsensor")
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(answer)))
	if err != nil || n < 0 || n > 1000 {
		return 0, fmt.Errorf("sidecar board: light sensor: the answer %q, want 0 to 1000", oneLine(answer))
	}
	return n, nil
}

type snapshots struct{ b *Framed }

// Snapshot implements [hal.Snapshotter].
func (s snapshots) Snapshot(ctx context.Context) ([]byte, error) {
	picture, err := s.b.do(ctx, "snapshot")
	if err == nil && !bytes.HasPrefix(picture, []byte{0xff, 0xd8}) {
		return nil, fmt.Errorf("sidecar board: snapshot: an answer of %d bytes that is no JPEG", len(picture))
	}
	return picture, err
}

type motion struct{ b *Framed }

// MotionZones implements [hal.MotionDetector].
func (m motion) MotionZones() bool { return m.b.hello.Motion.Zones }

// SetMotion implements [hal.MotionDetector].
func (m motion) SetMotion(c hal.MotionConfig) error {
	var zones strings.Builder
	for _, z := range c.Zones {
		fmt.Fprintf(&zones, " %d,%d,%d,%d", z.X, z.Y, z.Width, z.Height)
	}
	_, err := m.b.set(1, "motion %d%s", c.Sensitivity, zones.String())
	return err
}

// NextMotion implements [hal.MotionDetector].
func (m motion) NextMotion(ctx context.Context) (hal.MotionEvent, error) {
	s, err := m.b.up(ctx)
	if err != nil {
		return hal.MotionEvent{}, err
	}
	return s.motion.next(ctx, "motion")
}

type buttons struct{ b *Framed }

// Buttons implements [hal.Buttons].
func (b buttons) Buttons() []string { return slices.Clone(b.b.hello.Buttons) }

// NextButton implements [hal.Buttons].
func (b buttons) NextButton(ctx context.Context) (hal.ButtonEvent, error) {
	s, err := b.b.up(ctx)
	if err != nil {
		return hal.ButtonEvent{}, err
	}
	return s.buttons.next(ctx, "buttons")
}

type leds struct{ b *Framed }

// LEDs implements [hal.LEDs].
func (l leds) LEDs() []string { return slices.Clone(l.b.hello.LEDs) }

// SetLED implements [hal.LEDs].
func (l leds) SetLED(name string, p hal.Pattern) error {
	_, err := l.b.set(2, "led %s %d %d", name, millis(p.On), millis(p.Off))
	return err
}

// millis rounds up: what is more than nothing stays so.
func millis(d time.Duration) int64 { return int64((d + time.Millisecond - 1) / time.Millisecond) }

type siren struct {
	b *Framed

	mu sync.Mutex
	on bool
}

// SetSiren implements [hal.Siren].
func (s *siren) SetSiren(on bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.b.set(1, "siren %d", digit(on)); err != nil {
		return err
	}
	s.on = on
	return nil
}

// Siren implements [hal.Siren].
func (s *siren) Siren() (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.on, nil
}

type sensors struct{ b *Framed }

// Readings implements [hal.Sensors].
func (s sensors) Readings(ctx context.Context) (list []hal.Reading, err error) {
	answer, err := s.b.do(ctx, "sensors")
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(answer)) {
		f := strings.Fields(line)
		if len(f) != 3 || !word.MatchString(f[0]) {
			return nil, fmt.Errorf("sidecar board: sensors: the line %q, want name, value and unit", oneLine([]byte(line)))
		}
		v, err := finite(f[1])
		if err != nil {
			return nil, err
		}
		list = append(list, hal.Reading{Name: f[0], Value: v, Unit: oneLine([]byte(f[2]))})
	}
	return list, nil
}

func finite(text string) (float64, error) {
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
		return 0, fmt.Errorf("sidecar board: %q, want a number", oneLine([]byte(text)))
	}
	return v, nil
}
