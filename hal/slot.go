package hal

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// slot is the place of one stream.
type slot struct {
	index int
	info  StreamInfo
	counters
	device chan struct{} // holds one while a device is being opened or closed

	mu   sync.Mutex
	open *Video
}

// clampConfig brings a wish into the ranges of the stream.
func (s *slot) clampConfig(want VideoConfig) VideoConfig {
	want.FPS = clamp(want.FPS, s.info.FPS)
	want.GOP = clamp(want.GOP, s.info.GOP)
	want.Bitrate = clamp(want.Bitrate, s.info.Bitrate)
	want.Width, want.Height = max(want.Width, 0), max(want.Height, 0)
	return want
}

// clamp leaves 0, no wish, as it is, and makes no wish of what can't be chosen.
func clamp(v int, r Range) int {
	if v <= 0 || r == (Range{}) {
		return 0
	}
	return min(max(v, r.Min), r.Max)
}

// closeWithin is how long a device may take to close.
const closeWithin = 5 * time.Second

// lock waits until no device of the stream is being opened or closed: a board
// has a stream open once at a time. It does not wait for one that hangs.
func (s *slot) lock(ctx context.Context) error {
	late := time.NewTimer(closeWithin)
	defer late.Stop()
	select {
	case s.device <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("stream %s: %w", s.info.Name, ctx.Err())
	case <-late.C:
		return fmt.Errorf("stream %s: %w: its device hangs", s.info.Name, ErrBusy)
	}
}

func (s *slot) unlock() { <-s.device }

// idle waits until no device is being opened or closed.
func (s *slot) idle() error {
	if err := s.lock(context.Background()); err != nil {
		return err
	}
	s.unlock()
	return nil
}

// close closes a device, as soon as none is being opened or closed.
func (s *slot) close(device VideoStream) error {
	if err := s.lock(context.Background()); err != nil {
		return err
	}
	return s.closeLocked(device)
}

// closeLocked closes a device and unlocks the slot; it does not wait for a
// device that hangs, which keeps the slot locked.
func (s *slot) closeLocked(device VideoStream) error {
	return bounded("stream "+s.info.Name, func() error {
		defer s.unlock()
		return device.Close()
	})
}

// bounded calls close and waits for it, but not for ever.
func bounded(what string, close func() error) error {
	done := make(chan error, 1)
	go func() { done <- close() }()
	late := time.NewTimer(closeWithin)
	defer late.Stop()
	select {
	case err := <-done:
		return err
	case <-late.C:
		return fmt.Errorf("closing %s: %w: it hangs", what, ErrStalled)
	}
}

// take gives the slot to v, if nobody has it.
func (s *slot) take(v *Video) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open != nil {
		return false
	}
	s.open = v
	return true
}

// release frees the slot if it is v's.
func (s *slot) release(v *Video) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open != v {
		return false
	}
	s.open = nil
	return true
}

func (s *slot) video() *Video {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open
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
	Lost     uint64 `json:"lost"`     // frames that the device lost
	Opens    uint64 `json:"opens"`    // how often the device was opened
	Failures uint64 `json:"failures"` // how often an open stream ended by itself
}

// Stats counts what one stream did; zero for a name that there is not.
func (c *Camera) Stats(stream string) StreamStats {
	s, err := c.slot(stream)
	if err != nil {
		return StreamStats{}
	}
	return StreamStats{s.frames.Load(), s.keys.Load(), s.bytes.Load(), s.lost.Load(), s.opens.Load(), s.failures.Load()}
}
