package rtsp

import (
	"context"
	"slices"
	"sync"
	"time"

	"iid2secure.nl/camagent/media"
)

// fan serves all viewers of a stream that are in step: those whose connections
// take each frame at once, as it comes. One goroutine packs it for all of them,
// renumbers the packets for each, and never waits for any. A viewer whose
// connection takes less falls out of step: a goroutine of its own goes on where
// the fan was, and brings it back when it has caught up.
type fan struct {
	srv     *Server
	stream  *media.Stream
	largest int       // bytes of a frame that it packs for all
	zero    time.Time // of its viewers' timelines

	mu      sync.Mutex
	viewers []*viewer          // in step
	reader  *media.Reader      // by which the goroutine that runs knows that it may; nil: none runs
	stop    context.CancelFunc // ends its waiting

	shared shared
	writer *writer // there while it runs
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
	f.reader, f.stop, f.writer = r, cancel, newWriter()
	f.srv.work.Go(func() { f.run(ctx, r) })
}

func (f *fan) endIfIdle() {
	if len(f.viewers) == 0 && f.reader != nil {
		f.stop()
		f.reader, f.writer, f.shared.out.buf = nil, nil, nil
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

func (f *fan) end(v *viewer, err error) {
	v.inStep = false
	go v.finish(err)
}

// leave gives the viewer a goroutine of its own, which begins with what is not
// out of this frame and goes on where the fan is.
func (f *fan) leave(v *viewer, rest frame) {
	v.inStep, v.rest = false, rest
	go v.serve(f.reader.Fork())
}
