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

	reading atomic.Bool

	mu      sync.Mutex
	device  VideoStream // nil while it is not open
	want    VideoConfig
	restart bool  // the reader is to open the device anew
	failed  error // for good
	stall   *time.Timer

	// The reader's own.
	first uint64 // added to the device's sequence
	next  uint64
	last  AccessUnit // without its bytes
	fresh bool       // nothing came since the device was opened
}

// start opens the device. With mu not held.
func (v *Video) start(ctx context.Context) error {
	v.mu.Lock()
	want, failed := v.want, v.failed
	v.mu.Unlock()
	if failed != nil {
		return failed
	}
	device, err := v.camera.board.OpenVideo(ctx, v.slot.info.Name, want)
	if err != nil {
		return err
	}
	v.slot.opens.Add(1)
	v.mu.Lock()
	if v.failed != nil { // closed meanwhile
		v.mu.Unlock()
		return errors.Join(v.failed, device.Close())
	}
	v.device, v.fresh, v.first = device, true, v.next
	if v.stall == nil {
		v.stall = time.AfterFunc(firstFrameWithin, v.stalled)
		v.stall.Stop()
	}
	v.mu.Unlock()
	return nil
}

// end closes the device, once, and keeps why; nil lets it be opened again.
func (v *Video) end(why error) error {
	v.mu.Lock()
	device := v.device
	v.device = nil
	if v.failed == nil {
		v.failed = why
	}
	v.mu.Unlock()
	if device == nil {
		return nil
	}
	return device.Close()
}

func (v *Video) stalled() {
	if err := v.end(fmt.Errorf("stream %s: %w", v.slot.info.Name, ErrStalled)); err != nil {
		v.slot.failures.Add(1)
	}
}

// Next blocks for the next frame; errors as [VideoStream.Next], and ErrStalled
// when the device gave nothing for 5 seconds (10 at its start). After an error
// that is not ctx's every call returns it.
func (v *Video) Next(ctx context.Context) (AccessUnit, error) {
	if !v.reading.CompareAndSwap(false, true) {
		return AccessUnit{}, fmt.Errorf("stream %s: a second reader: %w", v.slot.info.Name, ErrBusy)
	}
	defer v.reading.Store(false)
	for {
		au, err := v.read(ctx)
		if err == nil || !v.toRestart() {
			return au, err
		}
		if err := v.start(ctx); err != nil {
			_ = v.end(err)
			return AccessUnit{}, err
		}
	}
}

// toRestart tells whether the device was closed to be opened anew.
func (v *Video) toRestart() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	again := v.restart && v.failed == nil
	v.restart = false
	return again
}

func (v *Video) read(ctx context.Context) (AccessUnit, error) {
	v.mu.Lock()
	device, failed := v.device, v.failed
	v.mu.Unlock()
	if failed != nil {
		return AccessUnit{}, failed
	}
	if device == nil {
		return AccessUnit{}, ErrClosed // to be opened anew
	}
	within := nextFrameWithin
	if v.fresh {
		within = firstFrameWithin
	}
	v.stall.Reset(within)
	au, err := device.Next(ctx)
	v.stall.Stop()
	if err == nil {
		err = v.check(&au)
	}
	if err == nil {
		v.slot.count(&au)
		return au, nil
	}
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return AccessUnit{}, err
	}
	return AccessUnit{}, v.fail(device, err)
}

// fail ends the stream by an error of the device; if we closed the device, our
// reason stands.
func (v *Video) fail(device VideoStream, err error) error {
	v.mu.Lock()
	ours := v.device != device
	failed := v.failed
	v.mu.Unlock()
	if ours {
		if failed == nil {
			failed = ErrClosed // to be opened anew
		}
		return failed
	}
	v.slot.failures.Add(1)
	_ = v.end(err)
	return err
}

// check numbers the frame and refuses what no consumer could use.
func (v *Video) check(au *AccessUnit) error {
	au.Seq += v.first
	broken := ""
	switch last := v.last; {
	case len(au.Data) == 0:
		broken = "an empty frame"
	case (v.fresh || au.Lost > 0) && !au.Key:
		broken = "no key frame at the start or after a loss"
	case au.Key && au.Params == 0:
		broken = "a key frame without parameter sets"
	case au.Seq < v.next:
		broken = fmt.Sprintf("frame %d came again", au.Seq-v.first)
	case !last.Time.IsZero() && !au.Time.After(last.Time):
		broken = fmt.Sprintf("time went back by %v", last.Time.Sub(au.Time))
	case time.Since(au.Time).Abs() > maxSkew:
		broken = fmt.Sprintf("its time is %v off", time.Since(au.Time).Round(time.Millisecond))
	}
	if broken != "" {
		return fmt.Errorf("stream %s: %w: %s", v.slot.info.Name, ErrGarbage, broken)
	}
	v.fresh, v.next = false, au.Seq+1
	v.last = AccessUnit{Time: au.Time, Seq: au.Seq}
	return nil
}

// reopen makes the reader open the device anew, with what is wanted now.
func (v *Video) reopen() error {
	v.mu.Lock()
	device := v.device
	if v.failed != nil || device == nil {
		v.mu.Unlock()
		return fmt.Errorf("stream %s: %w", v.slot.info.Name, ErrClosed)
	}
	v.device, v.restart = nil, true
	v.mu.Unlock()
	return device.Close()
}

// Config tells what the device really does.
func (v *Video) Config() VideoConfig {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.device == nil {
		return v.want
	}
	return v.device.Config()
}

// Close stops the stream; a Next in flight returns ErrClosed. A second call
// does nothing.
func (v *Video) Close() error {
	err := v.end(fmt.Errorf("stream %s: %w", v.slot.info.Name, ErrClosed))
	v.slot.mu.Lock()
	if v.slot.open == v {
		v.slot.open = nil
	}
	v.slot.mu.Unlock()
	v.mu.Lock()
	if v.stall != nil {
		v.stall.Stop()
	}
	v.mu.Unlock()
	return err
}

// counters are what Camera counts of one stream.
type counters struct {
	frames, keys, bytes, lost, opens, failures atomic.Uint64
}

func (k *counters) count(au *AccessUnit) {
	k.frames.Add(1)
	k.bytes.Add(uint64(len(au.Data)))
	k.lost.Add(au.Lost)
	if au.Key {
		k.keys.Add(1)
	}
}

// StreamStats counts since the Camera was made.
type StreamStats struct {
	Frames   uint64 `json:"frames"`
	Keys     uint64 `json:"keys"`
	Bytes    uint64 `json:"bytes"`
	Lost     uint64 `json:"lost"`  // frames that the device lost
	Opens    uint64 `json:"opens"` // how often the device was opened
	Failures uint64 `json:"failures"`
}

// Stats counts what one stream did; zero for a name that there is not.
func (c *Camera) Stats(stream string) StreamStats {
	s, err := c.slot(stream)
	if err != nil {
		return StreamStats{}
	}
	return StreamStats{s.frames.Load(), s.keys.Load(), s.bytes.Load(), s.lost.Load(), s.opens.Load(), s.failures.Load()}
}
