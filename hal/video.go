package hal

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// How long a stream may give nothing: devices take a while to begin.
const (
	firstFrameWithin = 10 * time.Second
	nextFrameWithin  = 5 * time.Second
	// maxSkew is how far a capture time may be from now.
	maxSkew = 5 * time.Second
)

// Video is one open stream of a Camera. Next is called by one goroutine at a
// time; everything else by any.
type Video struct {
	camera *Camera
	slot   *slot
	life   context.Context // ends with Close: an opening that is under way is cut short
	kill   context.CancelFunc

	reading atomic.Bool

	mu     sync.Mutex
	device VideoStream // nil: to be opened by the reader
	opened int         // how often
	want   VideoConfig
	known  VideoConfig // what the device said last
	failed error       // for good

	// The reader's own.
	read   int // the opening that the fields below are about
	stall  *time.Timer
	silent time.Duration // waited for the next frame so far, by reads that were cut short
	first  uint64        // added to the device's sequence
	next   uint64
	last   time.Time // of the last frame; zero before the first
	fresh  bool      // nothing came since the device was opened
}

func newVideo(c *Camera, s *slot, want VideoConfig) *Video {
	v := &Video{camera: c, slot: s, want: want}
	v.life, v.kill = context.WithCancel(context.Background())
	v.stall = time.AfterFunc(time.Hour, v.stalled)
	v.stall.Stop()
	return v
}

// error says which stream, and what.
func (v *Video) error(what error) error { return fmt.Errorf("stream %s: %w", v.slot.info.Name, what) }

// open opens the device. ctx's error leaves the stream as it was.
func (v *Video) open(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(v.life, stop)()
	if err := v.slot.lock(ctx); err != nil {
		return v.because(err)
	}
	v.mu.Lock()
	want, failed := v.want, v.failed
	v.mu.Unlock()
	if failed != nil {
		v.slot.unlock()
		return failed
	}
	device, err := v.camera.board.OpenVideo(ctx, v.slot.info.Name, want)
	if err != nil {
		v.slot.unlock()
		return v.because(err)
	}
	v.slot.opens.Add(1)
	is := device.Config()
	v.mu.Lock()
	if failed = v.failed; failed == nil {
		v.device, v.known = device, is
		v.opened++
	}
	v.mu.Unlock()
	if failed != nil { // closed meanwhile
		return errors.Join(failed, v.slot.closeLocked(device))
	}
	v.slot.unlock()
	return nil
}

// because is why nothing was opened: our own reason, if there is one, stands.
func (v *Video) because(err error) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.failed != nil {
		return v.failed
	}
	return err
}

// end takes the device out, for good if there is a reason, and closes it.
func (v *Video) end(why error) error {
	v.mu.Lock()
	device := v.device
	v.device = nil
	if v.failed == nil {
		v.failed = why
		if why != nil && !errors.Is(why, ErrClosed) {
			v.slot.failures.Add(1)
		}
	}
	v.mu.Unlock()
	if device == nil {
		return nil
	}
	return v.slot.close(device)
}

func (v *Video) stalled() { _ = v.end(v.error(ErrStalled)) }

// Next blocks for the next frame; errors as [VideoStream.Next], and ErrStalled
// when the device gave nothing for 5 seconds (10 at its start). After an error
// that is not ctx's every call returns it.
func (v *Video) Next(ctx context.Context) (AccessUnit, error) {
	if !v.reading.CompareAndSwap(false, true) {
		return AccessUnit{}, fmt.Errorf("stream %s: a second reader: %w", v.slot.info.Name, ErrBusy)
	}
	defer v.reading.Store(false)
	for {
		device, opened, err := v.current(ctx)
		if err != nil {
			return AccessUnit{}, err
		}
		au, err := v.readFrom(ctx, device)
		if err == nil {
			v.slot.count(&au)
			v.camera.sizes.see(v.slot.index, &au)
			return au, nil
		}
		if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
			return AccessUnit{}, err
		}
		if err := v.fail(opened, err); err != nil {
			return AccessUnit{}, err
		}
	}
}

// current returns the device to read, which opening it is, and opens it anew if
// it was closed for that.
func (v *Video) current(ctx context.Context) (VideoStream, int, error) {
	for {
		v.mu.Lock()
		device, opened, failed := v.device, v.opened, v.failed
		v.mu.Unlock()
		if failed != nil {
			return nil, 0, failed
		}
		if device != nil {
			if opened != v.read {
				v.read, v.fresh, v.first, v.silent = opened, true, v.next, 0
			}
			return device, opened, nil
		}
		if err := v.open(ctx); err != nil {
			if ctx.Err() == nil {
				_ = v.end(err)
			}
			return nil, 0, v.because(err)
		}
	}
}

func (v *Video) readFrom(ctx context.Context, device VideoStream) (AccessUnit, error) {
	within := nextFrameWithin
	if v.fresh {
		within = firstFrameWithin
	}
	begin := time.Now()
	v.stall.Reset(within - v.silent)
	au, err := device.Next(ctx)
	v.stall.Stop()
	if err != nil {
		v.silent += time.Since(begin)
		return au, err
	}
	v.silent = 0
	return au, v.check(&au)
}

// fail ends the stream by an error of the device. If it was us who closed the
// device our reason stands; nil: to be opened anew.
func (v *Video) fail(opened int, err error) error {
	v.mu.Lock()
	ours, failed := v.device == nil || v.opened != opened, v.failed
	v.mu.Unlock()
	if ours {
		return failed
	}
	_ = v.end(err)
	return v.because(err)
}

// check numbers the frame and refuses what no consumer could use.
func (v *Video) check(au *AccessUnit) error {
	au.Seq += v.first
	broken, age := "", time.Since(au.Time)
	switch {
	case len(au.Data) == 0:
		broken = "an empty frame"
	case (v.fresh || au.Lost > 0) && !au.Key:
		broken = "no key frame at the start or after a loss"
	case au.Key && (au.Params <= 0 || au.Params >= len(au.Data)):
		broken = "a key frame without parameter sets"
	case au.Seq < v.next:
		broken = fmt.Sprintf("frame %d came again", au.Seq-v.first)
	case !v.last.IsZero() && !au.Time.After(v.last):
		broken = fmt.Sprintf("time went back by %v", v.last.Sub(au.Time))
	case age < -maxSkew, v.fresh && age > maxSkew: // later ones may have waited for a slow reader
		broken = fmt.Sprintf("its time is %v ago", age.Round(time.Millisecond))
	}
	if broken != "" {
		return fmt.Errorf("stream %s: %w: %s", v.slot.info.Name, ErrGarbage, broken)
	}
	v.fresh, v.next, v.last = false, au.Seq+1, au.Time
	return nil
}

// reopen closes the device; the reader opens it anew, with what is wanted now.
func (v *Video) reopen() error {
	v.mu.Lock()
	failed := v.failed
	v.mu.Unlock()
	if failed != nil {
		return failed
	}
	return v.end(nil)
}

// Config tells what the device really does; while it is being opened anew, what
// it did, with what is wanted now.
func (v *Video) Config() VideoConfig {
	v.mu.Lock()
	device, known := v.device, v.known.With(v.want)
	v.mu.Unlock()
	if device == nil {
		return known
	}
	is := device.Config() // not locked: the device may have a lock of its own
	v.mu.Lock()
	v.known = is
	v.mu.Unlock()
	return is
}

// Close stops the stream; a Next in flight returns ErrClosed. A second call
// does nothing. A device that can't be closed within 5 seconds keeps the
// stream busy, for as long as it hangs.
func (v *Video) Close() error {
	err := v.end(v.error(ErrClosed))
	v.kill()
	v.stall.Stop()
	if err == nil {
		err = v.slot.idle() // another may be opening or closing it
	}
	if v.slot.release(v) {
		v.camera.sizes.reset()
	}
	return err
}
