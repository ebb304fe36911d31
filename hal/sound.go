package hal

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
)

// OpenMicrophone opens the microphone; ErrBusy if it is open.
func (c *Camera) OpenMicrophone(ctx context.Context) (AudioStream, error) {
	m, err := find[Microphone](c, CapMicrophone)
	if err != nil {
		return nil, err
	}
	if err := c.mic.take("microphone"); err != nil {
		return nil, err
	}
	device, err := m.OpenMicrophone(ctx)
	if err != nil {
		c.mic.free()
		return nil, err
	}
	a := &heard{AudioStream: device, place: &c.mic}
	c.mic.hold(a)
	if err := c.alive(); err != nil { // closed meanwhile: Close may not have seen it
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
}

// heard is an open microphone.
type heard struct {
	AudioStream
	place   *one
	reading atomic.Bool
	closed  atomic.Bool
	once    sync.Once
	err     error
}

// Next reads the device, one goroutine at a time.
func (h *heard) Next(ctx context.Context) (AudioFrame, error) {
	if !h.reading.CompareAndSwap(false, true) {
		return AudioFrame{}, fmt.Errorf("microphone: a second reader: %w", ErrBusy)
	}
	defer h.reading.Store(false)
	if h.closed.Load() {
		return AudioFrame{}, fmt.Errorf("microphone: %w", ErrClosed)
	}
	return h.AudioStream.Next(ctx)
}

// Close closes the device, once.
func (h *heard) Close() error {
	h.once.Do(func() {
		h.closed.Store(true)
		h.err = h.AudioStream.Close()
		h.place.free()
	})
	return h.err
}

// SpeakerFormats lists what the speaker takes; none without one.
func (c *Camera) SpeakerFormats() []AudioFormat {
	s, err := find[Speaker](c, CapSpeaker)
	if err != nil {
		return nil
	}
	return s.SpeakerFormats()
}

// OpenSpeaker opens the speaker for one talker; ErrBusy while another talks.
func (c *Camera) OpenSpeaker(ctx context.Context, f AudioFormat) (Playback, error) {
	s, err := find[Speaker](c, CapSpeaker)
	if err != nil {
		return nil, err
	}
	known := false
	for _, k := range s.SpeakerFormats() {
		known = known || k.Same(&f)
	}
	if !known {
		return nil, wrong("speaker format", fmt.Sprintf("%+v", f), "one of %+v", s.SpeakerFormats())
	}
	if err := c.speaker.take("speaker"); err != nil {
		return nil, err
	}
	device, err := s.OpenSpeaker(ctx, f)
	if err != nil {
		c.speaker.free()
		return nil, err
	}
	p := &spoken{Playback: device, place: &c.speaker, format: f}
	c.speaker.hold(p)
	if err := c.alive(); err != nil { // closed meanwhile: Close may not have seen it
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// spoken is an open speaker.
type spoken struct {
	Playback
	place   *one
	format  AudioFormat
	writing atomic.Bool
	closed  atomic.Bool
	once    sync.Once
	err     error
}

// Write plays one frame, one goroutine at a time.
func (s *spoken) Write(ctx context.Context, f AudioFrame) error {
	if !s.writing.CompareAndSwap(false, true) {
		return fmt.Errorf("speaker: a second talker: %w", ErrBusy)
	}
	defer s.writing.Store(false)
	if s.closed.Load() {
		return fmt.Errorf("speaker: %w", ErrClosed)
	}
	if n := s.format.bytes(f.Samples); f.Samples <= 0 || n > 0 && n != len(f.Data) {
		return wrong("speaker frame", fmt.Sprintf("%d bytes for %d samples", len(f.Data), f.Samples), "%d bytes", n)
	}
	return s.Playback.Write(ctx, f)
}

// bytes is how long a frame of so many samples is; 0: not to be told.
func (a *AudioFormat) bytes(samples int) int {
	switch a.Codec {
	case PCMU, PCMA:
		return samples * a.Channels
	case L16:
		return 2 * samples * a.Channels
	}
	return 0
}

// Close closes the device, once.
func (s *spoken) Close() error {
	s.once.Do(func() {
		s.closed.Store(true)
		s.err = s.Playback.Close()
		s.place.free()
	})
	return s.err
}
