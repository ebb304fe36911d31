package haltest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"iid2secure.nl/camagent/hal"
)

func steerCases() []Case {
	return []Case{
		{"adjust-not-refuse", "What a stream can't do is adjusted, not refused: Config tells what is true.",
			"a size that the driver does not know fails the start instead of giving the nearest", 30 * time.Second, each(adjusts)},
		{"least", "Wishes within the stated ranges: the lower ends are allowed values.",
			"ranges written from the data sheet and never tried", 40 * time.Second, each(atEnd("lower", func(r hal.Range) int { return r.Min }))},
		{"most", "Wishes within the stated ranges: the upper ends are allowed values.",
			"ranges written from the data sheet and never tried", 40 * time.Second, each(atEnd("upper", func(r hal.Range) int { return r.Max }))},
		{"keyframe", "RequestKeyframe makes a running stream begin a new GOP within 5 frames.",
			"a control that is accepted and does nothing, or works only once", 40 * time.Second, keyframe},
		{"tune-config", "Tune returns what the device does afterwards; zero fields of the patch stay as they are.",
			"the wish is returned, or zero fields reset the others to defaults", 30 * time.Second, tuneConfig},
		{"tune-fps", "Tune changes a running stream: FPS.", "a new frame rate that is kept for the next start", 30 * time.Second, tuneFPS},
		{"tune-gop", "Tune changes a running stream: GOP.", "a new GOP that is kept for the next start", 30 * time.Second, tuneGOP},
		{"tune-bitrate", "Tune changes a running stream: Bitrate.", "a control set on another file handle than the one that streams", 30 * time.Second, tuneBitrate},
		{"tune-order", "Tune: frames stay in order.", "an encoder that is started anew and counts from 0", 30 * time.Second, tuneOrder},
	}
}

// adjusts wishes a size that no encoder has.
func adjusts(ctx context.Context, o *opened, info hal.StreamInfo) error {
	want := hal.VideoConfig{Width: 333, Height: 77}
	r, au, err := stream(ctx, o, info, want)
	if err != nil {
		return err
	}
	defer r.Close()
	sps, is := spsOf(&au), r.Config()
	switch {
	case sps == nil:
		return lacks("no SPS was in the first frame")
	case sps.Width() != is.Width || sps.Height() != is.Height:
		return fmt.Errorf("with a wish for %dx%d Config says %dx%d, the SPS %dx%d", want.Width, want.Height, is.Width, is.Height, sps.Width(), sps.Height())
	}
	return nil
}

// atEnd wishes one end of all ranges.
func atEnd(name string, end func(hal.Range) int) func(context.Context, *opened, hal.StreamInfo) error {
	return func(ctx context.Context, o *opened, info hal.StreamInfo) error {
		if info.FPS == (hal.Range{}) && info.GOP == (hal.Range{}) && info.Bitrate == (hal.Range{}) {
			return lacks("nothing of its streams can be chosen")
		}
		want := hal.VideoConfig{FPS: end(info.FPS), GOP: end(info.GOP), Bitrate: end(info.Bitrate)}
		r, _, err := stream(ctx, o, info, want)
		if err != nil {
			return err
		}
		defer r.Close()
		is := r.Config()
		for _, f := range fields(&info, &is) {
			if f.has() && f.is != end(f.Range) {
				return fmt.Errorf("%s: Config says %d at the %s end of %d to %d", f.name, f.is, name, f.Min, f.Max)
			}
		}
		if want.FPS == 0 {
			return nil
		}
		// At the lower end 2 frames tell enough, and take long enough.
		shots, err := r.shoot(ctx, max(time.Second, time.Second/time.Duration(want.FPS)))
		if err != nil {
			return err
		}
		return fpsOf(shots, want.FPS)
	}
}

// keyWithin is how many frames an encoder may take to begin a new GOP.
const keyWithin = 5

func keyframe(ctx context.Context, s *subject) error {
	k, err := need[hal.KeyframeRequester](ctx, s, hal.CapKeyframe)
	if err != nil {
		return err
	}
	return each(func(ctx context.Context, o *opened, info hal.StreamInfo) error {
		r, _, err := stream(ctx, o, info, hal.VideoConfig{GOP: info.GOP.Max})
		if err != nil {
			return err
		}
		defer r.Close()
		if gop := r.Config().GOP; gop > 0 && gop < 3*keyWithin {
			return lacks("its GOP of %d is too short to tell", gop)
		}
		return asked(ctx, r, k)
	})(ctx, s)
}

// asked asks three times, each time just behind a key frame, when none is due.
func asked(ctx context.Context, r *reader, k hal.KeyframeRequester) error {
	for i := range 3 {
		for range 2 {
			if err := r.read(ctx, func(au *hal.AccessUnit) bool { return true }); err != nil {
				return err
			}
		}
		if err := k.RequestKeyframe(r.info.Name); err != nil {
			return err
		}
		frames, came := 0, false
		err := r.read(ctx, func(au *hal.AccessUnit) bool {
			frames++
			came = au.Key
			return came || frames >= keyWithin
		})
		if err != nil {
			return err
		}
		if !came {
			return fmt.Errorf("request %d: no key frame among the next %d frames", i+1, keyWithin)
		}
	}
	return nil
}

// tuned runs f on each stream that can be tuned as f asks for, open as it
// likes, and sets it back afterwards.
func tuned(ctx context.Context, s *subject, can func(*hal.StreamInfo) hal.Range, f func(context.Context, *reader, hal.EncoderTuner) error) error {
	t, err := need[hal.EncoderTuner](ctx, s, hal.CapTune)
	if err != nil {
		return err
	}
	return each(func(ctx context.Context, o *opened, info hal.StreamInfo) error {
		if r := can(&info); r.Min >= r.Max {
			return lacks("that can't be chosen")
		}
		r, _, err := stream(ctx, o, info, hal.VideoConfig{})
		if err != nil {
			return err
		}
		before := r.Config()
		err = f(ctx, r, t)
		_, back := t.Tune(info.Name, hal.VideoConfig{FPS: before.FPS, GOP: before.GOP, Bitrate: before.Bitrate})
		return errors.Join(err, back, r.Close())
	})(ctx, s)
}

func canFPS(s *hal.StreamInfo) hal.Range     { return s.FPS }
func canGOP(s *hal.StreamInfo) hal.Range     { return s.GOP }
func canBitrate(s *hal.StreamInfo) hal.Range { return s.Bitrate }

// canAny is the first range of a stream that leaves a choice.
func canAny(s *hal.StreamInfo) hal.Range {
	for _, r := range []hal.Range{s.Bitrate, s.GOP, s.FPS} {
		if r.Min < r.Max {
			return r
		}
	}
	return hal.Range{}
}

// other is a value within r that differs much from v: half of it, else twice.
func other(v int, r hal.Range) int {
	if half := max(v/2, r.Min); half*3 <= v*2 {
		return half
	}
	return min(2*v, r.Max)
}

func tuneConfig(ctx context.Context, s *subject) error {
	return tuned(ctx, s, canAny, func(ctx context.Context, r *reader, t hal.EncoderTuner) error {
		for _, patch := range patches(r) {
			before := r.Config()
			want := before.With(patch)
			got, err := t.Tune(r.info.Name, patch)
			switch {
			case err != nil:
				return err
			case got != r.Config():
				return fmt.Errorf("Tune returned %+v, Config says %+v", got, r.Config())
			case !towards(got, want, before):
				return fmt.Errorf("after a patch of %+v it is %+v, want %+v", patch, got, want)
			}
		}
		return nil
	})
}

// towards tells whether what was wished changed to it, or to something nearer
// that the device can do (rates go by steps), and nothing else did.
func towards(got, want, before hal.VideoConfig) bool {
	for _, f := range [][3]int{
		{got.Width, want.Width, before.Width}, {got.Height, want.Height, before.Height},
		{got.FPS, want.FPS, before.FPS}, {got.GOP, want.GOP, before.GOP}, {got.Bitrate, want.Bitrate, before.Bitrate},
	} {
		is, wish, was := f[0], f[1], f[2]
		if is != wish && max(is-wish, wish-is) >= max(was-wish, wish-was) {
			return false
		}
	}
	return true
}

// patches change one field each.
func patches(r *reader) (list []hal.VideoConfig) {
	c := r.Config()
	for i, f := range fields(&r.info, &c) {
		if f.Min >= f.Max || f.is == 0 {
			continue
		}
		v := other(f.is, f.Range)
		list = append(list, [...]hal.VideoConfig{{FPS: v}, {GOP: v}, {Bitrate: v}}[i])
	}
	return list
}

// settle is how long a change may take to be seen.
const settle = 500 * time.Millisecond

func tuneFPS(ctx context.Context, s *subject) error {
	return tuned(ctx, s, canFPS, func(ctx context.Context, r *reader, t hal.EncoderTuner) error {
		want := other(r.Config().FPS, r.info.FPS)
		is, err := t.Tune(r.info.Name, hal.VideoConfig{FPS: want})
		if err != nil {
			return err
		}
		if _, err := r.shoot(ctx, settle); err != nil {
			return err
		}
		shots, err := r.shoot(ctx, time.Second)
		if err != nil {
			return err
		}
		return fpsOf(shots, is.FPS) // tune-config has looked at what was made of the wish
	})
}

func tuneGOP(ctx context.Context, s *subject) error {
	return tuned(ctx, s, canGOP, func(ctx context.Context, r *reader, t hal.EncoderTuner) error {
		want := min(max(10, r.info.GOP.Min), r.info.GOP.Max)
		if want == r.Config().GOP {
			want = min(max(7, r.info.GOP.Min), r.info.GOP.Max)
		}
		if _, err := t.Tune(r.info.Name, hal.VideoConfig{GOP: want}); err != nil {
			return err
		}
		keys, since, whole := 0, 0, 0
		// The GOP that was under way may go on; what counts are those after it.
		err := r.read(ctx, func(au *hal.AccessUnit) bool {
			since++
			if au.Key {
				keys, whole, since = keys+1, since, 0
			}
			return keys == 3
		})
		if err == nil && whole != want {
			err = fmt.Errorf("key frames %d frames apart, want %d", whole, want)
		}
		return err
	})
}

func tuneBitrate(ctx context.Context, s *subject) error {
	return tuned(ctx, s, canBitrate, func(ctx context.Context, r *reader, t hal.EncoderTuner) error {
		before := r.Config().Bitrate
		want := other(before, r.info.Bitrate)
		if _, err := t.Tune(r.info.Name, hal.VideoConfig{Bitrate: want}); err != nil {
			return err
		}
		if _, err := r.shoot(ctx, settle); err != nil {
			return err
		}
		shots, err := r.shoot(ctx, 2*time.Second)
		if err != nil {
			return err
		}
		is := bitrateOf(shots)
		// Short of ten seconds it need not be exact: but nearer to the new one.
		if middle := float64(want+before) / 2; (is < middle) != (want < before) {
			return fmt.Errorf("%.0f bits a second after a change from %d to %d", is, before, want)
		}
		return nil
	})
}

func tuneOrder(ctx context.Context, s *subject) error {
	return tuned(ctx, s, canAny, func(ctx context.Context, r *reader, t hal.EncoderTuner) error {
		var last hal.AccessUnit
		var wrong error
		see := func(n int) func(*hal.AccessUnit) bool {
			return func(au *hal.AccessUnit) bool {
				if last.Data != nil && wrong == nil && (au.Seq <= last.Seq || !au.Time.After(last.Time)) {
					wrong = fmt.Errorf("frame %d of %v came after frame %d of %v", au.Seq, au.Time, last.Seq, last.Time)
				}
				last = *au
				n--
				return n <= 0
			}
		}
		for _, patch := range patches(r) {
			if err := r.read(ctx, see(3)); err != nil {
				return err
			}
			if _, err := t.Tune(r.info.Name, patch); err != nil {
				return err
			}
			if err := r.read(ctx, see(5)); err != nil {
				return err
			}
		}
		return wrong
	})
}
