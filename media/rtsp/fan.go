package rtsp

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/media"
)

// largestShared is how large a frame may be on the wire that the fan sends; one
// that is larger is packed for each viewer by itself, in pieces.
const largestShared = 512 << 10

// errNotShared tells that a frame is larger than that.
var errNotShared = errors.New("frame is too large to be shared")

// fan serves all viewers of a stream that are in step: those whose connections
// take each frame at once, as it comes. One goroutine packs it for all of them,
// renumbers the packets for each, and never waits for any. A viewer whose
// connection takes less falls out of step: a goroutine of its own goes on where
// the fan was, and brings it back when it has caught up.
type fan struct {
	srv     *Server
	stream  *media.Stream
	largest int // bytes of a frame that it packs for all

	mu      sync.Mutex
	viewers []*viewer          // in step
	reader  *media.Reader      // by which the goroutine that runs knows that it may; nil: none runs
	stop    context.CancelFunc // ends its waiting

	packed gather // the sample, and behind it one viewer's report
	size   int    // bytes of the sample
	totals track  // what it adds to the counts of a track
	later  uint32 // timestamp that the packets have now
}

// join puts a viewer in step if r, which it has read to its end, is as far as the
// fan. The caller does not touch the viewer any more if it was.
func (f *fan) join(v *viewer, r *media.Reader) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case v.ctx.Err() != nil:
		return false
	case f.reader == nil:
		f.begin(r.Fork())
	case !r.CaughtUp(f.reader):
		return false
	}
	v.inStep, v.from = true, r.Position()
	f.viewers = append(f.viewers, v)
	return true
}

// remove takes a viewer out of step for good; false: it was not in step.
func (f *fan) remove(v *viewer) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !v.inStep {
		return false
	}
	v.inStep = false
	f.viewers = slices.DeleteFunc(f.viewers, func(o *viewer) bool { return o == v })
	f.endIfIdle()
	return true
}

func (f *fan) begin(r *media.Reader) {
	ctx, cancel := context.WithCancel(context.Background())
	f.reader, f.stop = r, cancel
	f.srv.work.Go(func() { f.run(ctx, r) })
}

func (f *fan) endIfIdle() {
	if len(f.viewers) == 0 && f.reader != nil {
		f.stop()
		f.reader, f.packed.buf = nil, nil
	}
}

func (f *fan) run(ctx context.Context, r *media.Reader) {
	defer r.Close()
	for ctx.Err() == nil && (f.next(r) || r.Wait(ctx) == nil) {
	}
}

// next serves one sample; false: there is none.
func (f *fan) next(r *media.Reader) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.reader != r {
		return false // this goroutine's time is over
	}
	defer f.endIfIdle()
	s, ok, err := r.TryNext()
	switch {
	case lagged(err):
		f.skipped(r)
		return true
	case err != nil:
		f.endAll(err)
		return false
	case !ok:
		return false
	}
	now := time.Now()
	if f.srv.tooOld(f.stream.Ring, &s, now) {
		r.Resume()
		f.skipped(r)
		return true
	}
	f.give(&s, r.Position(), now)
	return true
}

// skipped counts for all who miss what the fan has left out.
func (f *fan) skipped(r *media.Reader) {
	to := r.Position()
	for _, v := range f.viewers {
		if v.from < to {
			v.skipped()
		}
	}
}

func (f *fan) endAll(err error) {
	for _, v := range f.viewers {
		f.end(v, err)
	}
	f.viewers = nil
}

// give sends a sample to all who have not got it; after is its position plus one.
func (f *fan) give(s *media.Sample, after uint64, now time.Time) {
	var sound *hal.AudioFormat
	if s.Kind == media.Audio {
		sound = f.stream.Audio()
	}
	f.packed.buf, f.packed.err = f.packed.buf[:0], nil
	keep := f.viewers[:0]
	for _, v := range f.viewers {
		if v.from >= after || f.giveOne(v, s, sound, now) {
			keep = append(keep, v)
		}
	}
	clear(f.viewers[len(keep):])
	f.viewers = keep
}

// giveOne tells whether the viewer stays in step.
func (f *fan) giveOne(v *viewer, s *media.Sample, sound *hal.AudioFormat, now time.Time) bool {
	t := v.track(s, sound)
	if t == nil {
		return true
	}
	if len(f.packed.buf) == 0 {
		f.pack(s)
	}
	held, err := v.direct.hold(false)
	if err != nil {
		return f.end(v, err)
	}
	if !held || f.packed.err != nil {
		if held {
			v.direct.release()
		}
		return f.leave(v, frame{Sample: *s})
	}
	l := v.label(t, s, now)
	b, after := f.relabel(v, *t, s, l)
	n, err := v.direct.sendNow(b)
	switch {
	case err != nil:
		v.direct.release()
		return f.end(v, err)
	case n < len(b):
		return f.leave(v, frame{Sample: *s, label: l, labelled: true, out: n, held: true})
	}
	v.direct.release()
	v.sent(t, after, s.Kind, uint64(n))
	return true
}

// pack makes the sample's packets, for nobody yet.
func (f *fan) pack(s *media.Sample) {
	f.totals, f.later = track{}, 0
	f.packed.most, f.packed.send = f.largest, tooLarge
	f.totals.pack(&f.packed, s, label{})
	f.packed.most += 1 << 10 // a report
	f.size = len(f.packed.buf)
}

func tooLarge([]byte) error { return errNotShared }

// relabel makes the packets v's, and adds a report when it is time; it returns
// what to send and the track as it is after that.
func (f *fan) relabel(v *viewer, t track, s *media.Sample, l label) ([]byte, track) {
	f.packed.buf = f.packed.buf[:f.size]
	var begin *bool
	if s.Kind == media.Audio && s.Format.Codec != hal.AAC {
		begin = &l.begin
	}
	t.relabel(f.packed.buf, l.ts-f.later, begin)
	f.later = l.ts
	t.count(int(f.totals.packets), int(f.totals.octets))
	v.conclude(&t, &f.packed, s, l)
	return f.packed.buf, t
}

// leave gives the viewer a goroutine of its own, which begins with what is not
// out of this frame and goes on where the fan is.
func (f *fan) leave(v *viewer, rest frame) bool {
	v.inStep, v.rest = false, rest
	go v.serve(f.reader.Fork())
	return false
}

func (f *fan) end(v *viewer, err error) bool {
	v.inStep = false
	go v.finish(err)
	return false
}
