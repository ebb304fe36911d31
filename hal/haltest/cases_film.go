package haltest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"
)

// onFilm is a case that looks at each stream of the film.
func onFilm(look func(*take) error) func(context.Context, *subject) error {
	return func(ctx context.Context, s *subject) error {
		f, err := s.filmed(ctx)
		if err != nil {
			return err
		}
		var results []error
		for _, t := range f.takes {
			results = append(results, named(t.info, look(t)))
		}
		return together(results)
	}
}

func filmCases() []Case {
	const all = firstWithin + filmLasts + 10*time.Second
	film := func(name, promise, catches string, look func(*take) error) Case {
		return Case{name, promise, catches, all, onFilm(look)}
	}
	return []Case{
		film("runs", "All streams can be open at once; Next blocks for the next access unit.",
			"one encoder or one lock for two streams; a reader that ends by itself", (*take).runs),
		film("first-frame", "The first frame of a stream is a key frame with its parameter sets in front.",
			"reading begins in the middle of a GOP, or SPS and PPS come in a packet of their own and are dropped", (*take).first),
		film("frame-form", "Data holds NAL units behind their lengths; Key is an IDR picture; Params bytes in front are parameter sets; no delimiters, no filler.",
			"Annex B start codes, or a key flag taken from a driver that does not set it", (*take).formed),
		film("sequence", "Sequence rises by one a captured frame, lost ones included.",
			"a counter of delivered instead of captured frames, or one that wraps at 16 or 32 bits", (*take).sequence),
		film("after-loss", "The first frame after a loss is a key frame.",
			"frames dropped in the middle of a GOP, so that the picture tears until the next key frame", (*take).afterLoss),
		film("time-rises", "Time rises from frame to frame, the monotonic reading of time.Time.",
			"a device's clock that wraps, or wall time, which steps when the clock is set", (*take).timeRises),
		film("time-near-now", "Time is when the frame was captured.",
			"a device's clock taken for the system's, or queues that grow", (*take).timeNear),
		film("immutable", "Frames are immutable once handed over; a board never reuses their bytes.",
			"a frame that aliases the driver's mapped buffer", func(t *take) error { return t.change }),
		film("sps", "What the parameter sets say equals Config.",
			"the wish is reported as the truth, or a device that silently took another size", (*take).spsTrue),
		film("fps", "Config tells what is true: FPS.",
			"a sensor that slows down in the dark, or a driver that ignores the frame rate", (*take).fpsTrue),
		film("gop", "Config tells what is true: GOP, frames from one key frame to the next.",
			"a GOP meant in seconds, or an encoder that takes only its own", (*take).gopTrue),
		film("bitrate", "Config tells what is true: Bitrate, within 15 % over 10 s.",
			"kilobits taken for bits, or variable rate where constant was set", (*take).bitrateTrue),
		{"one-clock", "All streams, sound included, stamp by one clock.",
			"each device's own clock, unmapped: picture and sound drift apart", all, oneClock},
	}
}

func (t *take) runs() error {
	if t.err != nil {
		return fmt.Errorf("after %d frames: %w", len(t.shots), t.err)
	}
	return nil
}

var errNoFrames = errors.New("no frames came")

func (t *take) first() error {
	switch {
	case len(t.shots) == 0:
		return errNoFrames
	case !t.shots[0].key:
		return errors.New("the first frame is no key frame")
	case t.sps == nil:
		return errors.New("the first frame has no readable SPS and PPS in front")
	}
	return nil
}

func (t *take) formed() error {
	if len(t.shots) == 0 {
		return errNoFrames
	}
	return t.form
}

// pairs calls see for each frame and the one before it.
func (t *take) pairs(see func(before, now *shot) error) error {
	if len(t.shots) == 0 {
		return errNoFrames
	}
	for i := 1; i < len(t.shots); i++ {
		if err := see(&t.shots[i-1], &t.shots[i]); err != nil {
			return fmt.Errorf("frame %d of this run: %w", i+1, err)
		}
	}
	return nil
}

func (t *take) sequence() error {
	return t.pairs(func(before, now *shot) error {
		if want := before.seq + 1 + now.lost; now.seq != want {
			return fmt.Errorf("number %d after %d with %d lost, want %d", now.seq, before.seq, now.lost, want)
		}
		return nil
	})
}

func (t *take) afterLoss() error {
	lost := false
	err := t.pairs(func(_, now *shot) error {
		lost = lost || now.lost > 0
		if now.lost > 0 && !now.key {
			return fmt.Errorf("%d frames were lost, and this is no key frame", now.lost)
		}
		return nil
	})
	if err == nil && !lost {
		return lacks("no frame was lost")
	}
	return err
}

func (t *take) timeRises() error {
	monotonic := func(t time.Time) bool { return t != t.Round(0) }
	if len(t.shots) > 0 && monotonic(time.Now()) && !monotonic(t.shots[0].time) {
		return errors.New("the time has no monotonic reading: derive it from time.Now")
	}
	return t.pairs(func(before, now *shot) error {
		if !now.time.After(before.time) {
			return fmt.Errorf("its time is %v before the last one's", before.time.Sub(now.time))
		}
		return nil
	})
}

// maxAge is how old a frame may be, and maxEarly how far its time may lie ahead.
const (
	maxAge   = 5 * time.Second
	maxEarly = 50 * time.Millisecond
)

func (t *take) timeNear() error {
	if len(t.shots) == 0 {
		return errNoFrames
	}
	for i, f := range t.shots {
		if age := f.got.Sub(f.time); age > maxAge || age < -maxEarly {
			return fmt.Errorf("frame %d of this run is stamped %v before now", i+1, age)
		}
	}
	return nil
}

func (t *take) spsTrue() error {
	if t.sps == nil {
		return lacks("no SPS was in the first frame")
	}
	if w, h := t.sps.Width(), t.sps.Height(); w != t.config.Width || h != t.config.Height {
		return fmt.Errorf("the SPS says %dx%d, Config %dx%d", w, h, t.config.Width, t.config.Height)
	}
	if fps := t.sps.FPS(); fps > 0 && t.config.FPS > 0 && !sameFPS(fps, t.config.FPS) {
		return fmt.Errorf("the SPS says %.2f frames a second, Config %d", fps, t.config.FPS)
	}
	return nil
}

func (t *take) fpsTrue() error {
	if t.config.FPS == 0 {
		return lacks("it does not tell its frame rate")
	}
	return fpsOf(t.shots, t.config.FPS)
}

func (t *take) gopTrue() error {
	if t.config.GOP == 0 {
		return lacks("it does not tell its GOP")
	}
	if len(t.shots) <= t.config.GOP {
		return lacks("a GOP is longer than the run")
	}
	return gopOf(t.shots, t.config.GOP)
}

func (t *take) bitrateTrue() error {
	if t.config.Bitrate == 0 {
		return lacks("it does not tell its bitrate")
	}
	if len(t.shots) < 2 {
		return errNoFrames
	}
	is := bitrateOf(t.shots)
	if off := is/float64(t.config.Bitrate) - 1; math.Abs(off) > 0.15 {
		return fmt.Errorf("%.0f bits a second, Config says %d: %+.0f %%", is, t.config.Bitrate, off*100)
	}
	return nil
}

// How far streams may be from one another: delays differ, the clock may not.
const (
	maxApart = 500 * time.Millisecond
	maxDrift = 150 * time.Millisecond
)

func oneClock(ctx context.Context, s *subject) error {
	f, err := s.filmed(ctx)
	if err != nil {
		return err
	}
	var all []age
	for _, t := range f.takes {
		var ages []time.Duration
		for _, f := range t.shots {
			ages = append(ages, f.got.Sub(f.time))
		}
		if len(ages) >= 6 {
			all = append(all, agesOf("stream "+t.info.Name, ages))
		}
	}
	if r := f.sound; r != nil && len(r.pieces) >= 6 && r.format.Rate > 0 {
		var ages []time.Duration
		for _, p := range r.pieces {
			lasts := time.Duration(p.samples) * time.Second / time.Duration(r.format.Rate)
			ages = append(ages, p.got.Sub(p.time)-lasts)
		}
		all = append(all, agesOf("the microphone", ages))
	}
	if len(all) < 2 {
		return lacks("it has one stream and no microphone")
	}
	for _, a := range all[1:] {
		apart := a.begin - all[0].begin
		drift := a.late - a.begin - (all[0].late - all[0].begin)
		if apart.Abs() > maxApart || drift.Abs() > maxDrift {
			return fmt.Errorf("%s is stamped %v later than %s, and %v more at the end of %v",
				a.name, -apart.Round(time.Millisecond), all[0].name, -drift.Round(time.Millisecond), filmLasts)
		}
	}
	return nil
}
