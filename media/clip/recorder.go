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
	// askEvery is how often a key frame is asked for while one is needed.
	askEvery = 2 * time.Second
	// maxUnwanted is how long a clip waits for the key frame that ends it, when
	// nothing is wanted any more.
	maxUnwanted = 5 * time.Second
	// maxSilence is how long a clip stays open without a picture: the device has
	// failed, and when it is back, it begins with a key frame.
	maxSilence = 6 * time.Second
)

// Run records what Follow says until ctx ends, or the ring is closed; then it
// takes what the ring still holds, closes the open clip, and returns ctx's error
// or [media.ErrRingClosed]. Nothing that the store does ends it. It may be called
// again afterwards: no picture is recorded twice.
func (r *Recorder) Run(ctx context.Context) error {
	defer r.abandon()
	for {
		m, err := r.orders.wait(ctx)
		if err == nil {
			err = r.record(ctx, m)
		}
		if err != nil {
			r.giveUp()
			r.missed.tell(r.store)
			return err
		}
	}
}

// abandon leaves nothing open, also after a panic: what could not be kept of the
// clip is tried again when Run is.
func (r *Recorder) abandon() {
	if c := r.open; c != nil {
		r.open = nil
		r.leave(c, errFailed)
	}
	r.open, r.closing, r.held, r.rd = nil, false, nil, nil
}

// record records from m on until nothing is wanted any more.
func (r *Recorder) record(ctx context.Context, m mark) error {
	r.skipForgotten()
	r.rd = r.stream.Ring.NewReaderSince(m.from, r.next)
	defer r.rd.Close()
	quiet := newSilence(ctx)
	defer quiet.stop()
	r.over, r.lagged, r.fresh = false, false, &m
	ending, end := false, uint64(0) // the position at which to end, once ctx has ended
	for !ending || r.rd.Position() < end {
		if !ending && ctx.Err() != nil {
			ending, end = true, r.rd.Position()+r.rd.Behind()
			continue
		}
		s, err := quiet.next(r.rd, r.open != nil)
		var lag *media.LagError
		switch {
		case err == nil:
			r.take(ctx, s)
		case errors.As(err, &lag):
			r.lag(ctx, lag)
		case errors.Is(err, errSilence):
			r.endAll(ctx, false)
		default:
			r.endAll(ctx, false)
			return err
		}
		if r.over && r.open == nil {
			for _, m := range r.orders.until(r.seen.time) {
				r.passedOver(m)
			}
			r.orders.forget(r.seen.time)
			return nil
		}
	}
	r.endAll(ctx, false)
	return ctx.Err()
}

var errLag = errors.New("the card was too slow: the pictures had left memory")

// lag: the ring has overtaken us, which only a slow store can cause.
func (r *Recorder) lag(ctx context.Context, lag *media.LagError) {
	r.log.Warn("recorder lagged: the store is too slow", zap.Uint64("samples_lost", lag.Missed))
	r.endAll(ctx, true)
	r.lagged = true
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
	default:
		r.see(&s)
		r.takeVideo(ctx, s)
	}
}

// see keeps account of what is read.
func (r *Recorder) see(s *media.Sample) {
	if r.lagged && r.orders.at(r.seen.time).Trigger != "" {
		r.missed.add(r.seen.seq+1, s.Seq-1, r.seen.time.Add(r.seen.long), s.Time, errLag)
	}
	if r.fresh != nil {
		if s.Seq > r.missed.run.LastFrame+1 {
			r.giveUp()
		}
		r.late(r.fresh.first, s)
		r.orders.reach(s.Time)
	}
	r.lagged, r.fresh = false, nil
	long := s.Time.Sub(r.seen.time)
	if long <= 0 || long > time.Second {
		long = defaultFrameTime
	}
	r.seen = picture{s.Seq, s.Time, long}
}

// giveUp: what was missed until now is not tried again.
func (r *Recorder) giveUp() {
	if r.missed.open {
		r.next = max(r.next, r.missed.run.LastFrame+1)
	}
	r.missed.end()
}

// passedOver: what was read when it was not wanted may have been wanted afterwards
// (pre-roll), and left the ring while the store failed.
func (r *Recorder) passedOver(m mark) {
	if m.first == nil || m.first.seq < r.next || r.missed.open && m.first.seq <= r.missed.run.LastFrame {
		return
	}
	if m.first.seq < min(r.stream.Ring.Gone(), r.seen.seq) {
		r.giveUp()
		r.late(m.first, &media.Sample{Seq: r.seen.seq, Time: r.seen.time})
	}
}

// late: the picture s is the first one read since something is wanted. The ring
// may have lost those from first on, that it held then.
func (r *Recorder) late(first *picture, s *media.Sample) {
	if first == nil {
		return
	}
	seq, from := first.seq, first.time
	if r.next > seq {
		seq, from = r.next, r.seen.time.Add(r.seen.long)
	}
	if gone := min(r.stream.Ring.Gone(), s.Seq); gone > seq {
		r.missed.add(seq, gone-1, from, s.Time, errLag)
	}
}

func (r *Recorder) takeVideo(ctx context.Context, s media.Sample) {
	want := r.orders.at(s.Time)
	if r.open == nil {
		r.begin(ctx, s, want)
		return
	}
	// A key frame closes the clip, and what is wanted from then on is the next
	// one's; unless it was wanted before.
	if want.Order != r.open.want && (!s.Key || !want.from.After(r.open.last.Time)) {
		r.heed(want.Order, &s)
	}
	if s.Key && r.mustRoll(&s, want.Order) {
		r.roll(ctx, s)
		return
	}
	r.takePicture(s)
}

// heed: what is wanted has changed in the middle of a clip, which ends with the
// next key frame.
func (r *Recorder) heed(want Order, s *media.Sample) {
	c := r.open
	c.want, c.changed = want, true
	c.order = c.order.stronger(want)
	c.unwanted = time.Time{}
	if want.Trigger == "" {
		c.unwanted = s.Time
	}
	c.asked = time.Time{}
}

// wantKey asks for a key frame if the clip should end, again after a while.
func (r *Recorder) wantKey(s *media.Sample) {
	c := r.open
	if s.Key || r.cfg.WantKeyframe == nil || !c.asked.IsZero() && s.Time.Sub(c.asked) < askEvery {
		return
	}
	if c.changed || c.nearlyFull(s) || c.order.Urgent && s.Time.Sub(c.zero) >= r.cfg.Urgent {
		c.asked = s.Time
		r.cfg.WantKeyframe()
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
		r.miss(&s, errGOP)
		return
	}
	if !c.unwanted.IsZero() && s.Time.Sub(c.unwanted) > maxUnwanted {
		r.finish(c.endBefore(&s), true)
		return
	}
	r.wantKey(&s)
	if r.check(c.picture(&s)) && len(c.synced) > 0 {
		r.missed.tell(r.store)
	}
}

var (
	errFailed = errors.New("the recorder failed")
	errGOP    = errors.New("the distance of key frames is too large for a clip")
	errKey    = errors.New("a key frame came without its parameter sets")
)

// miss: the picture s is wanted, and in no clip.
func (r *Recorder) miss(s *media.Sample, err error) {
	if r.trouble.last != nil {
		err = r.trouble.last
	}
	r.missed.add(s.Seq, s.Seq, s.Time, s.Time.Add(r.seen.long), err)
}

// begin opens a clip at a key frame, if one is wanted.
func (r *Recorder) begin(ctx context.Context, s media.Sample, want mark) {
	if r.retry && ctx.Err() == nil && r.trouble.over(time.Now()) {
		r.retry = false
		if r.rd.Rewind(r.next) {
			return
		}
	}
	if s.Key {
		r.early = s.Time.Before(r.orders.floor())
	}
	switch {
	case r.early:
	case want.Trigger == "":
		r.over = !r.retry || ctx.Err() != nil
	case !s.Key || r.retry || !r.trouble.over(time.Now()):
		r.miss(&s, errGOP)
	case s.Params == 0:
		r.miss(&s, errKey)
	default:
		r.openClip(ctx, s, want)
	}
}

func (r *Recorder) openClip(ctx context.Context, s media.Sample, want mark) {
	r.orders.forget(s.Time)
	r.next = s.Seq
	c, err := newClip(&s, r.stream.Audio(), &r.cfg, &r.buf, r.log)
	if err != nil {
		r.next++ // there is no use in trying it again
		r.failed(err)
		r.miss(&s, err)
		return
	}
	c.want, c.order = want.Order, want.Order
	if c.sink, err = r.create(ctx, &s, want.Order); err != nil {
		r.failed(err)
		r.miss(&s, err)
		return
	}
	r.open = c
	r.missed.found(&s)
	if r.check(c.writeHeader()) {
		r.takePicture(s)
	} else {
		r.miss(&s, r.trouble.last)
	}
}

func (r *Recorder) create(ctx context.Context, s *media.Sample, want Order) (Sink, error) {
	// What the ring holds is recorded even when ctx has ended.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), createWithin)
	defer cancel()
	return r.store.Create(ctx, Start{Stream: r.stream.Name, Time: s.Time, FirstFrame: s.Seq, Order: want})
}

// mustRoll tells whether the key frame s is to begin a new clip, or none.
func (r *Recorder) mustRoll(s *media.Sample, want Order) bool {
	c := r.open
	if c.changed || want != c.want || stale(c.sink) {
		return true
	}
	limit := r.cfg.Length
	if c.order.Urgent {
		limit = r.cfg.Urgent
	}
	length := s.Time.Sub(c.zero)
	return length+c.frameTime()/2 >= limit || // the clock of pictures jitters
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
	c.order = c.order.stronger(r.orders.at(c.last.Time).Order)
	if !r.check(c.complete(end)) {
		return
	}
	r.open = nil
	if len(c.synced) > 0 {
		r.missed.tell(r.store)
	}
	if err := c.sink.Close(c.info(cut)); err != nil {
		r.lost(c, err)
		return
	}
	r.next = c.last.Seq + 1
	r.trouble.cleared()
}

// check gives the open clip up if err says that the store failed.
func (r *Recorder) check(err error) bool {
	if err == nil {
		return true
	}
	c := r.open
	r.open = nil
	r.lost(c, err)
	return false
}

// lost: the store has failed. What it has not kept of the clip is tried again
// later, as far as the ring still holds it.
func (r *Recorder) lost(c *clip, err error) {
	r.failed(err)
	r.leave(c, err)
}

func (r *Recorder) leave(c *clip, err error) {
	r.next = max(r.next, c.sink.Fail(c.last.Seq))
	if first := max(r.next, c.first); c.frames > 0 {
		r.missed.add(first, c.last.Seq, c.before(first), c.last.Time.Add(c.frameTime()), err)
	}
}

func (r *Recorder) failed(err error) {
	r.retry = true
	r.trouble.failed(err, time.Now())
}
