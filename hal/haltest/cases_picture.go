package haltest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image/jpeg"
	"strings"
	"time"

	"iid2secure.nl/camagent/hal"
)

func pictureCases() []Case {
	const within = 20 * time.Second
	return []Case{
		{"snapshot", "Snapshot returns one JPEG of the present scene.",
			"a raw frame, or two pictures in one buffer", within, snapshot},
		{"grab", "Grab returns the present scene; the caller owns it.",
			"a picture that aliases the driver's buffer", within, grab},
		{"image-list", "ImageControls lists the controls with their present values.",
			"a value outside its own range, or an ID given twice", within, imageList},
		{"image-set", "SetImageControl returns the value that is now in force: each end of the range and the default.",
			"a range copied from another sensor, or a value kept and never written", within, imageSet},
		{"overlay", "SetOverlay replaces all texts, at most one a corner; none removes them.",
			"a region that is not given back, so that the second call fails", within, overlay},
		{"motion", "NextMotion: errors as VideoStream.Next; SetMotion takes all sensitivities, and zones if MotionZones.",
			"a wait that nothing can interrupt", within, motion},
	}
}

func snapshot(ctx context.Context, s *subject) error {
	p, err := need[hal.Snapshotter](ctx, s, hal.CapSnapshot)
	if err != nil {
		return err
	}
	for range 2 {
		b, err := p.Snapshot(ctx)
		if err != nil {
			return err
		}
		img, err := jpeg.DecodeConfig(bytes.NewReader(b))
		if err != nil {
			return fmt.Errorf("%d bytes that are no JPEG: %w", len(b), err)
		}
		if img.Width < 64 || img.Height < 64 || img.Width > 16384 || img.Height > 16384 {
			return fmt.Errorf("a JPEG of %dx%d, want 64x64 to 16384x16384", img.Width, img.Height)
		}
		if !bytes.HasSuffix(bytes.TrimRight(b, "\x00"), []byte{0xff, 0xd9}) {
			return errors.New("the JPEG has no end")
		}
	}
	return nil
}

func grab(ctx context.Context, s *subject) error {
	g, err := need[hal.Grabber](ctx, s, "raw pictures")
	if err != nil {
		return err
	}
	first, err := g.Grab(ctx)
	if err != nil {
		return err
	}
	if first.Rect.Empty() || len(first.Y) < first.YStride*(first.Rect.Dy()-1)+first.Rect.Dx() {
		return fmt.Errorf("a picture of %v with %d bytes of luma", first.Rect, len(first.Y))
	}
	clear(first.Y)
	second, err := g.Grab(ctx)
	if err != nil {
		return err
	}
	if &first.Y[0] == &second.Y[0] {
		return errors.New("two pictures share their memory")
	}
	for _, y := range first.Y {
		if y != 0 {
			return errors.New("a picture changed after it was handed over")
		}
	}
	return nil
}

func imageList(ctx context.Context, s *subject) error {
	t, err := need[hal.ImageTuner](ctx, s, "image controls")
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	list := t.ImageControls()
	if len(list) == 0 {
		return errors.New("the list is empty: a board without controls has no ImageTuner")
	}
	for _, c := range list {
		if c.ID == "" || seen[c.ID] {
			return fmt.Errorf("a control is called %q, want a name of its own", c.ID)
		}
		seen[c.ID] = true
		if c.Min >= c.Max || c.Default < c.Min || c.Default > c.Max || c.Value < c.Min || c.Value > c.Max {
			return fmt.Errorf("%s is %d, by default %d, of %d to %d", c.ID, c.Value, c.Default, c.Min, c.Max)
		}
	}
	return nil
}

func imageSet(ctx context.Context, s *subject) error {
	t, err := need[hal.ImageTuner](ctx, s, "image controls")
	if err != nil {
		return err
	}
	for _, c := range t.ImageControls() {
		for _, v := range []int{c.Min, c.Max, c.Default} {
			if err := setControl(t, c.ID, v); err != nil {
				return err
			}
		}
		if _, err := t.SetImageControl(c.ID, c.Value); err != nil {
			return fmt.Errorf("%s back to %d: %w", c.ID, c.Value, err)
		}
	}
	return nil
}

func setControl(t hal.ImageTuner, id string, v int) error {
	is, err := t.SetImageControl(id, v)
	if err != nil {
		return fmt.Errorf("%s set to %d: %w", id, v, err)
	}
	if is != v {
		return fmt.Errorf("%s is %d after it was set to %d, which is in its range", id, is, v)
	}
	for _, c := range t.ImageControls() {
		if c.ID == id && c.Value != v {
			return fmt.Errorf("%s is listed with %d after it was set to %d", id, c.Value, v)
		}
	}
	return nil
}

func overlay(ctx context.Context, s *subject) error {
	o, err := need[hal.Overlayer](ctx, s, hal.CapOverlay)
	if err != nil {
		return err
	}
	var ascii strings.Builder
	for c := byte(' '); c <= '~'; c++ {
		ascii.WriteByte(c)
	}
	all := ascii.String()
	texts := []hal.Overlay{
		{Corner: hal.TopLeft, Text: all[:hal.MaxOverlay]},
		{Corner: hal.TopRight, Text: all[len(all)-hal.MaxOverlay:]},
		{Corner: hal.BottomLeft, Text: "a"},
		{Corner: hal.BottomRight, Text: "12:00"},
	}
	for _, list := range [][]hal.Overlay{texts, texts[:1], nil, texts[2:], nil} {
		if err := o.SetOverlay(list); err != nil {
			return fmt.Errorf("%d texts: %w", len(list), err)
		}
	}
	return nil
}

func motion(ctx context.Context, s *subject) error {
	m, err := need[hal.MotionDetector](ctx, s, hal.CapMotion)
	if err != nil {
		return err
	}
	configs := []hal.MotionConfig{{Sensitivity: 1}, {Sensitivity: 100}}
	if m.MotionZones() {
		configs = append(configs, hal.MotionConfig{Sensitivity: 50, Zones: []hal.Zone{{X: 0, Y: 0, Width: 1, Height: 1}, {X: 500, Y: 500, Width: 500, Height: 500}}})
	}
	for _, c := range append(configs, hal.MotionConfig{Sensitivity: 50}) {
		if err := m.SetMotion(c); err != nil {
			return fmt.Errorf("%+v: %w", c, err)
		}
	}
	return waits(ctx, func(ctx context.Context) (time.Time, error) {
		e, err := m.NextMotion(ctx)
		return e.Time, err
	})
}

// waits looks at a call that waits for an event: its context interrupts it, and
// events that come meanwhile are stamped near now.
func waits(ctx context.Context, next func(context.Context) (time.Time, error)) error {
	short, stop := context.WithTimeout(ctx, 300*time.Millisecond)
	defer stop()
	for late := 0; ; {
		if short.Err() != nil {
			late++
		}
		if late > 5 {
			return errors.New("it goes on although its context ended")
		}
		var at time.Time
		err := start(func() (err error) { at, err = next(short); return err }).wait(300*time.Millisecond + soon)
		switch age := time.Since(at); {
		case errors.Is(err, errHangs):
			return fmt.Errorf("after its context ended: %w", err)
		case errors.Is(err, context.DeadlineExceeded):
			return nil
		case err != nil:
			return err
		case age > maxAge || age < -maxEarly:
			return fmt.Errorf("an event is stamped %v before now", age)
		}
	}
}
