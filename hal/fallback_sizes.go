package hal

import (
	"context"
	"math"
	"slices"
	"sync"
	"time"
)

// frameSizes finds motion by the sizes of the P frames of the smallest stream
// that is open: what moves costs bits. It costs nothing but a sum a frame, and
// tells nothing of where. An encoder that fills up to a constant rate hides
// motion from it.
type frameSizes struct {
	events *motionEvents
	used   bool // nobody else finds motion

	mu          sync.Mutex
	sensitivity int
	stream      int // the stream that is looked at: the last open one, the smallest
	skip        int // P frames to be left out, as they are not like the others
	bytes, n    int
	since       time.Time
	usual       [sizesUsual]float64 // logarithms of mean sizes, the last half minute
	at, filled  int
}

const (
	sizesUsual = 150 // looks, of 30 seconds
	sizesLeast = 15  // looks before anything is told, of 3 seconds
	sizesSkip  = 1   // P frames after a key frame: they repair it
)

func newFrameSizes(closed <-chan struct{}) *frameSizes {
	return &frameSizes{events: newMotionEvents(closed), sensitivity: 50, stream: -1}
}

// MotionZones is MotionDetector's: sizes have no place.
func (f *frameSizes) MotionZones() bool { return false }

// SetMotion is MotionDetector's.
func (f *frameSizes) SetMotion(m MotionConfig) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sensitivity = m.Sensitivity
	return nil
}

// NextMotion is MotionDetector's.
func (f *frameSizes) NextMotion(ctx context.Context) (MotionEvent, error) { return f.events.next(ctx) }

// reset forgets what is usual: a stream was opened, closed or tuned, or the
// picture changed in a way that is no motion.
func (f *frameSizes) reset() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.forget(-1)
}

func (f *frameSizes) forget(stream int) {
	f.stream, f.skip, f.bytes, f.n, f.at, f.filled, f.since = stream, 0, 0, 0, 0, 0, time.Time{}
	f.events.calm(time.Now())
}

// see takes one frame of a stream.
func (f *frameSizes) see(stream int, au *AccessUnit) {
	if !f.used {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case stream < f.stream:
		return
	case stream > f.stream:
		f.forget(stream)
	}
	switch {
	case au.Key:
		f.skip = sizesSkip
	case f.skip > 0:
		f.skip--
	default:
		f.bytes += len(au.Data)
		f.n++
	}
	if f.since.IsZero() {
		f.since = au.Time
	}
	if f.n > 0 && au.Time.Sub(f.since) >= motionLooks {
		f.look(au.Time)
	}
}

// look compares the mean of the last frames with what is usual.
func (f *frameSizes) look(at time.Time) {
	mean := math.Log2(float64(f.bytes) / float64(f.n))
	f.bytes, f.n, f.since = 0, 0, at
	if f.filled >= sizesLeast {
		middle, spread := usual(f.usual[:f.filled])
		f.events.look(at, mean-middle > f.limit(spread))
	}
	f.usual[f.at] = mean
	f.at = (f.at + 1) % sizesUsual
	f.filled = min(f.filled+1, sizesUsual)
}

// limit is how far above the usual, in octaves, frames are of motion: at the
// middle sensitivity 1.4 times as large, and 5 times the usual spread.
func (f *frameSizes) limit(spread float64) float64 {
	dull := float64(100 - f.sensitivity)
	return max(0.1+0.008*dull, (2+0.06*dull)*spread)
}

// usual is the median, and the spread around it (the median deviation, scaled
// to a standard deviation): neither is moved by what is rare.
func usual(v []float64) (middle, spread float64) {
	var space [sizesUsual]float64
	s := space[:copy(space[:], v)]
	slices.Sort(s)
	middle = s[len(s)/2]
	for i := range s {
		s[i] = math.Abs(s[i] - middle)
	}
	slices.Sort(s)
	return middle, 1.4826 * s[len(s)/2]
}
