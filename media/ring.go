// Package media carries encoded pictures and sound from the board to their
// readers: one [Stream] a video stream, each with a [Ring] that one pump fills
// and that RTSP viewers and the recorder read, every one with a cursor of its
// own over the same bytes. It never decodes, never blocks the pump, never
// copies picture bytes, and knows nothing of files, networks or owners.
package media

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"iid2secure.nl/camagent/hal"
)

// Kind tells what a sample is.
type Kind uint8

// The two kinds of samples that share a ring.
const (
	Video Kind = iota
	Audio
)

// Sample is one access unit or one frame of sound. Data is shared by all
// readers and is read-only.
type Sample struct {
	Kind    Kind
	Key     bool             // video: IDR picture, parameter sets in front
	Data    []byte           // video: NAL units in AVC format (see hal.AccessUnit); sound: one encoded frame
	Params  int              // video: bytes of parameter sets at the front of Data
	Samples int              // sound: samples per channel
	Format  *hal.AudioFormat // sound: what Data is, as it was when it was pushed
	Time    time.Time        // capture time with its monotonic reading
	Seq     uint64           // video: frame number of its stream since the start, lost ones counted
}

// Unit gives the access unit view of a video sample.
func (s *Sample) Unit() hal.AccessUnit {
	return hal.AccessUnit{Data: s.Data, Params: s.Params, Key: s.Key, Time: s.Time, Seq: s.Seq}
}

// sampleOverhead is what a sample costs beyond its bytes, for the ring's bound.
const sampleOverhead = 112

// LagError tells a reader that it was too slow: Missed samples were evicted
// before it read them. Its next sample is a key frame.
type LagError struct{ Missed uint64 }

func (e *LagError) Error() string {
	return fmt.Sprintf("reader lagged: %d samples lost, resuming at a key frame", e.Missed)
}

// ErrRingClosed ends every reader of a closed ring.
var ErrRingClosed = errors.New("ring closed")

// Ring holds the newest samples of one stream, bounded in bytes. Full, it
// evicts whole GOPs, oldest first; a GOP larger than the bound loses its front.
// Push never blocks on readers. All methods may be called from any goroutine.
type Ring struct {
	mu         sync.Mutex
	max, bytes int
	buf        []Sample // power of two; sample n lies at n & (len-1)
	head, tail uint64   // samples tail..head-1 are held
	keys       []uint64 // positions of key frames held, rising
	readers    []*Reader
	full       bool   // something had to go for lack of room
	gone       uint64 // number after the last picture that had to
	closed     bool
}

// NewRing makes a ring of at most max bytes.
func NewRing(max int) *Ring { return &Ring{max: max, buf: make([]Sample, 64)} }

// Push adds a sample. Samples of one stream come in order of hand-over; video
// and sound may be pushed by different goroutines.
func (r *Ring) Push(s Sample) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	if r.head-r.tail == uint64(len(r.buf)) {
		r.grow()
	}
	r.buf[r.head&uint64(len(r.buf)-1)] = s
	if s.Kind == Video && s.Key {
		r.keys = append(r.keys, r.head)
	}
	r.head++
	r.bytes += len(s.Data) + sampleOverhead
	for r.bytes > r.max && r.head-r.tail > 1 {
		r.full = true
		r.evict()
	}
	for _, rd := range r.readers {
		if rd.waiting {
			rd.waiting = false
			rd.wake <- struct{}{} // capacity 1, and only ever filled when waiting was set
		}
	}
}

func (r *Ring) grow() {
	buf := make([]Sample, 2*len(r.buf))
	for n := r.tail; n < r.head; n++ {
		buf[n&uint64(len(buf)-1)] = r.buf[n&uint64(len(r.buf)-1)]
	}
	r.buf = buf
}

// evict drops the oldest GOP, or what stands before the first key frame, or,
// if only one GOP is left, its oldest sample.
func (r *Ring) evict() {
	to := r.tail + 1
	switch {
	case len(r.keys) > 1 && r.keys[0] == r.tail:
		to = r.keys[1]
	case len(r.keys) > 0 && r.keys[0] > r.tail:
		to = r.keys[0]
	}
	for ; r.tail < to; r.tail++ {
		s := &r.buf[r.tail&uint64(len(r.buf)-1)]
		r.bytes -= len(s.Data) + sampleOverhead
		if s.Kind == Video {
			r.gone = s.Seq + 1
		}
		*s = Sample{}
	}
	for len(r.keys) > 0 && r.keys[0] < r.tail {
		r.keys = append(r.keys[:0], r.keys[1:]...)
	}
}

// Clear forgets everything held (privacy, unbinding); readers go on with the
// next key frame, and are told that they lagged only if they had unread samples.
func (r *Ring) Clear() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.tail < r.head {
		r.evict()
	}
	r.full, r.gone = false, 0
	for _, rd := range r.readers {
		rd.needKey = true
	}
}

// Close ends all readers.
func (r *Ring) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	for _, rd := range r.readers {
		if rd.waiting {
			rd.waiting = false
			rd.wake <- struct{}{}
		}
	}
}

// RingStats is a view for metrics.
type RingStats struct {
	Bytes, Samples, GOPs, Readers int
}

// Stats tells how full the ring is.
func (r *Ring) Stats() RingStats {
	r.mu.Lock()
	defer r.mu.Unlock()
	return RingStats{Bytes: r.bytes, Samples: int(r.head - r.tail), GOPs: len(r.keys), Readers: len(r.readers)}
}

// NewestKey returns the capture time of the newest key frame held.
func (r *Ring) NewestKey() (t time.Time, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.keys) == 0 {
		return time.Time{}, false
	}
	return r.buf[r.keys[len(r.keys)-1]&uint64(len(r.buf)-1)].Time, true
}

// Reader is one cursor over a ring, used by one goroutine. Close it.
type Reader struct {
	ring    *Ring
	next    uint64
	needKey bool // skip everything up to a key frame
	live    bool // after a lag resume at the newest key frame, not the oldest
	waiting bool
	wake    chan struct{}
}

// NewLiveReader starts at the newest key frame held, or at the next to come;
// after a lag it resumes at the newest.
func (r *Ring) NewLiveReader() *Reader {
	r.mu.Lock()
	defer r.mu.Unlock()
	rd := r.add()
	rd.live = true
	rd.resume()
	return rd
}

// NewReader starts at the last key frame that was captured at least back ago
// (the oldest held if there is none so old, the next to come if there is none);
// after a lag it resumes at the oldest held, so that it loses as little as can be.
func (r *Ring) NewReader(back time.Duration) *Reader {
	r.mu.Lock()
	defer r.mu.Unlock()
	rd := r.add()
	rd.resume()
	limit := time.Now().Add(-back)
	for _, k := range r.keys {
		if t := r.buf[k&uint64(len(r.buf)-1)].Time; t.After(limit) {
			break
		}
		rd.next = k
	}
	return rd
}

// NewReaderSince starts at the last key frame that was captured at since or
// before, leaving out pictures numbered below least: at the oldest other one if
// there is none so old, at the next to come if there is none at all. It is a
// recorder's: after a lag it resumes at the oldest held.
func (r *Ring) NewReaderSince(since time.Time, least uint64) *Reader {
	r.mu.Lock()
	defer r.mu.Unlock()
	rd := r.add()
	rd.next, rd.needKey = r.head, true
	for _, k := range r.keys {
		s := &r.buf[k&uint64(len(r.buf)-1)]
		if s.Seq < least {
			continue
		}
		if !rd.needKey && s.Time.After(since) {
			break
		}
		rd.next, rd.needKey = k, false
	}
	return rd
}

// KeySince is the picture with which NewReaderSince would begin now.
func (r *Ring) KeySince(since time.Time, least uint64) (s Sample, ok bool) {
	rd := r.NewReaderSince(since, least)
	defer rd.Close()
	s, ok, _ = rd.TryNext()
	return s, ok
}

// Gone is the number after the last picture that had to go for lack of room; 0:
// none had to since the ring was made or cleared.
func (r *Ring) Gone() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.gone
}

// Span tells how long ago the oldest key frame held was captured, and whether
// older pictures had to go for lack of room since the ring was made or cleared.
func (r *Ring) Span(now time.Time) (held time.Duration, full bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.keys) > 0 {
		held = now.Sub(r.buf[r.keys[0]&uint64(len(r.buf)-1)].Time)
	}
	return held, r.full
}

func (r *Ring) add() *Reader {
	rd := &Reader{ring: r, wake: make(chan struct{}, 1)}
	r.readers = append(r.readers, rd)
	return rd
}

// resume puts the cursor at a key frame held, or makes it wait for one.
func (rd *Reader) resume() {
	r := rd.ring
	rd.needKey = len(r.keys) == 0
	switch {
	case rd.needKey:
		rd.next = r.head
	case rd.live:
		rd.next = r.keys[len(r.keys)-1]
	default:
		rd.next = r.keys[0]
	}
}

// Next blocks for the next sample. Errors: a *LagError (read on), ErrRingClosed,
// or ctx's. It neither copies picture bytes nor allocates, but for a LagError.
func (rd *Reader) Next(ctx context.Context) (Sample, error) {
	for {
		s, ok, err := rd.TryNext()
		if ok || err != nil {
			return s, err
		}
		if err := rd.Wait(ctx); err != nil {
			return Sample{}, err
		}
	}
}

// Wait blocks until there may be something for TryNext, or returns ctx's error.
func (rd *Reader) Wait(ctx context.Context) error {
	rd.ring.mu.Lock()
	rd.waiting = rd.next >= rd.ring.head && !rd.ring.closed
	waiting := rd.waiting
	rd.ring.mu.Unlock()
	if !waiting {
		return nil
	}
	select {
	case <-rd.wake:
		return nil
	case <-ctx.Done():
		rd.stopWaiting()
		return ctx.Err()
	}
}

func (rd *Reader) stopWaiting() {
	rd.ring.mu.Lock()
	defer rd.ring.mu.Unlock()
	if !rd.waiting {
		<-rd.wake // Push filled it between the cancel and here
	}
	rd.waiting = false
}

// TryNext is Next without waiting; ok is false when there is nothing new.
func (rd *Reader) TryNext() (s Sample, ok bool, err error) {
	r := rd.ring
	r.mu.Lock()
	defer r.mu.Unlock()
	if rd.next < r.tail {
		missed := r.tail - rd.next
		from := rd.next
		rd.resume()
		if rd.next > from {
			missed = rd.next - from
		}
		return Sample{}, false, &LagError{Missed: missed}
	}
	for rd.next < r.head {
		s = r.buf[rd.next&uint64(len(r.buf)-1)]
		rd.next++
		if rd.needKey && !(s.Kind == Video && s.Key) {
			continue
		}
		rd.needKey = false
		return s, true, nil
	}
	if r.closed {
		return Sample{}, false, ErrRingClosed
	}
	return Sample{}, false, nil
}

// Fork returns another reader that reads on from here. Close it, too.
func (rd *Reader) Fork() *Reader {
	rd.ring.mu.Lock()
	defer rd.ring.mu.Unlock()
	o := rd.ring.add()
	o.next, o.needKey, o.live = rd.next, rd.needKey, rd.live
	return o
}

// Resume gives up what this reader has not read, but the newest key frame held
// and what follows it (of NewReader: the oldest), as after a lag.
func (rd *Reader) Resume() {
	rd.ring.mu.Lock()
	defer rd.ring.mu.Unlock()
	rd.resume()
}

// Rewind goes back to the oldest key frame held whose number is least or more,
// and tells whether there is one among what was read already; if not, it does nothing.
func (rd *Reader) Rewind(least uint64) bool {
	r := rd.ring
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, k := range r.keys {
		if k >= rd.next {
			break
		}
		if r.buf[k&uint64(len(r.buf)-1)].Seq >= least {
			rd.next, rd.needKey = k, false
			return true
		}
	}
	return false
}

// Position counts the samples of the ring since its start up to the one that
// this reader reads next; a lag, which TryNext tells, puts it forward.
func (rd *Reader) Position() uint64 {
	rd.ring.mu.Lock()
	defer rd.ring.mu.Unlock()
	return rd.next
}

// CaughtUp tells whether this reader, which has nothing to read now, may leave
// what is to come to another one of the same ring: that one will give all of it.
func (rd *Reader) CaughtUp(with *Reader) bool {
	rd.ring.mu.Lock()
	defer rd.ring.mu.Unlock()
	return rd.next >= rd.ring.head && rd.needKey == with.needKey
}

// Behind tells how many samples wait for this reader.
func (rd *Reader) Behind() uint64 {
	rd.ring.mu.Lock()
	defer rd.ring.mu.Unlock()
	return rd.ring.head - min(rd.next, rd.ring.head)
}

// Close gives the reader back. It must not be used afterwards.
func (rd *Reader) Close() {
	r := rd.ring
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, x := range r.readers {
		if x == rd {
			r.readers = append(r.readers[:i], r.readers[i+1:]...)
			return
		}
	}
}
