package clip

import (
	"bytes"
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"iid2secure.nl/camagent/media"
)

const (
	// createWithin bounds Store.Create, also while we are being ended.
	createWithin = 10 * time.Second
	// soundLag is how much later than a picture the sound of the same moment may
	// arrive: it is handed over when its last sample was captured.
	soundLag = 300 * time.Millisecond
	// maxGap between two pictures of a clip; after a longer one a new clip begins.
	maxGap = 2 * time.Second
	// maxSilence is how long a clip stays open without a picture: the device has
	// failed, and when it is back, it begins with a key frame.
	maxSilence = 6 * time.Second
)

// Run records until ctx ends, or the ring is closed; then it takes what the
// ring still holds, closes the open clip, and returns ctx's error or
// [media.ErrRingClosed]. Nothing that the store does ends it. Call it once.
func (r *Recorder) Run(ctx context.Context) error {
	rd := r.stream.Ring.NewReader(0)
	defer rd.Close()
	quiet := newSilence(ctx)
	defer quiet.stop()
	left := -1 // samples still to take, once ctx has ended
	for left != 0 {
		if left > 0 {
			left--
		} else if ctx.Err() != nil {
			left = int(rd.Behind())
			continue
		}
		s, err := quiet.next(rd, r.open != nil)
		var lag *media.LagError
		switch {
		case err == nil:
			r.take(ctx, s)
		case errors.As(err, &lag):
			r.lagged(ctx, lag)
		case errors.Is(err, errSilence):
			r.endAll(ctx, false)
		default:
			r.endAll(ctx, false)
			return err
		}
	}
	r.endAll(ctx, false)
	return ctx.Err()
}

// lagged: the ring has overtaken us, which only a slow store can cause.
func (r *Recorder) lagged(ctx context.Context, lag *media.LagError) {
	r.log.Warn("recorder lagged: the store is too slow", zap.Uint64("samples_lost", lag.Missed))
	r.endAll(ctx, true)
}

// endAll ends what is open, without waiting for more sound.
func (r *Recorder) endAll(ctx context.Context, cut bool) {
	for r.closing {
		r.handOver(ctx)
	}
	if r.open != nil {
		r.finish(time.Time{}, cut)
	}
}

// take deals with one sample of the ring.
func (r *Recorder) take(ctx context.Context, s media.Sample) {
	switch {
	case r.closing:
		r.takeClosing(ctx, s)
	case r.open != nil && s.Kind == media.Audio && s.Time.Sub(r.open.last.Time) > maxSilence:
		r.endAll(ctx, false)
	case s.Kind == media.Audio:
		r.takeSound(s)
	case r.open == nil:
		r.begin(ctx, s)
	case s.Key && r.mustRoll(&s):
		r.roll(ctx, s)
	default:
		r.takePicture(s)
	}
}

func (r *Recorder) takeSound(s media.Sample) {
	if r.open != nil {
		r.check(r.open.sound(&s))
	}
}

func (r *Recorder) takePicture(s media.Sample) {
	c := r.open
	if !c.fits(&s) {
		r.log.Warn("a GOP is too large for a clip: pictures up to the next key frame are not recorded",
			zap.Duration("length", s.Time.Sub(c.zero)), zap.Int("bytes", c.size()))
		r.finish(c.endBefore(&s), true)
		return
	}
	if !s.Key && !c.asked && c.nearlyFull(&s) && r.cfg.WantKeyframe != nil {
		c.asked = true
		r.cfg.WantKeyframe()
	}
	r.check(c.picture(&s))
}

// begin opens a clip at a key frame.
func (r *Recorder) begin(ctx context.Context, s media.Sample) {
	if !s.Key || s.Params == 0 || !r.trouble.over(time.Now()) {
		r.trouble.missed++
		return
	}
	c, err := newClip(&s, r.stream.Audio(), &r.cfg, &r.buf, r.log)
	if err == nil {
		c.sink, err = r.create(ctx, &s)
	}
	if err != nil {
		r.trouble.failed(err, time.Now())
		return
	}
	r.open = c
	if r.check(c.write()) {
		r.takePicture(s)
	}
}

func (r *Recorder) create(ctx context.Context, s *media.Sample) (Sink, error) {
	// What the ring holds is recorded even when ctx has ended.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), createWithin)
	defer cancel()
	return r.store.Create(ctx, Start{
		Stream: r.stream.Name, Time: s.Time, FirstFrame: s.Seq, Order: continuous,
	})
}

// mustRoll tells whether the key frame s is to begin a new clip.
func (r *Recorder) mustRoll(s *media.Sample) bool {
	c := r.open
	length := s.Time.Sub(c.zero)
	return length+c.frameTime()/2 >= r.cfg.Length || // the clock of pictures jitters
		!c.fitsGOP(s) || c.gap(s) ||
		s.Params > 0 && !bytes.Equal(s.Data[:s.Params], c.params) ||
		!r.stream.Audio().Same(c.format)
}

// roll ends the clip with the key frame s, which begins the next.
func (r *Recorder) roll(ctx context.Context, s media.Sample) {
	if r.open.gap(&s) || !r.open.hears() {
		r.finish(r.open.endBefore(&s), false)
		r.take(ctx, s)
		return
	}
	r.closing, r.end = true, s.Time
	r.held = append(r.held[:0], s)
}

// takeClosing: sound from before the end still goes to the old clip; as soon as
// no more can be expected, the new one takes over.
func (r *Recorder) takeClosing(ctx context.Context, s media.Sample) {
	if s.Kind == media.Audio && s.Time.Before(r.end) {
		if !r.check(r.open.sound(&s)) {
			r.handOver(ctx)
		}
		return
	}
	r.held = append(r.held, s)
	if s.Kind == media.Audio || s.Time.Sub(r.end) > soundLag {
		r.handOver(ctx)
	}
}

// handOver completes the closing clip and gives what was held to the next.
func (r *Recorder) handOver(ctx context.Context) {
	if r.open != nil {
		r.finish(r.end, false)
	}
	held := r.held
	r.closing, r.held = false, nil
	for i := range held {
		r.take(ctx, held[i])
		held[i] = media.Sample{}
	}
	if r.held == nil {
		r.held = held[:0]
	}
}

// finish completes the open clip; its last picture lasts until end (zero: as
// long as the one before it).
func (r *Recorder) finish(end time.Time, cut bool) {
	c := r.open
	if !r.check(c.complete(end)) {
		return
	}
	r.open = nil
	if err := c.sink.Close(c.info(cut)); err != nil {
		r.trouble.failed(err, time.Now())
		return
	}
	r.trouble.cleared()
}

// check gives the open clip up if err says that the store failed.
func (r *Recorder) check(err error) bool {
	if err == nil {
		return true
	}
	r.open.sink.Abort()
	r.open = nil
	r.trouble.failed(err, time.Now())
	return false
}
