package media

import (
	"bytes"
	"context"
	"sync"
	"time"

	"github.com/bluenviron/mediacommon/v2/pkg/codecs/h264"

	"iid2secure.nl/camagent/hal"
)

// Stream is one encoded video stream with its sound: what viewers open by name.
// It outlives restarts of the board.
type Stream struct {
	Name string // "main", "sub"
	Ring *Ring

	mu       sync.Mutex
	sps, pps []byte
	width    int // of the pictures, by the parameter sets; 0: not to be told
	height   int
	audio    *hal.AudioFormat
	config   hal.VideoConfig
	ready    chan struct{} // closed once parameter sets are known
}

// NewStream makes a stream whose ring holds at most ringBytes.
func NewStream(name string, ringBytes int) *Stream {
	return &Stream{Name: name, Ring: NewRing(ringBytes), ready: make(chan struct{})}
}

// Parameters returns SPS and PPS of the newest key frame (without start codes
// or lengths; read-only); it waits for the first one.
func (s *Stream) Parameters(ctx context.Context) (sps, pps []byte, err error) {
	select {
	case <-s.ready:
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sps, s.pps, nil
}

// PictureSize is what the newest parameter sets say; zeros before the first
// ones, or if they can't be read.
func (s *Stream) PictureSize() (width, height int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.width, s.height
}

// Config tells what the board really does on this stream.
func (s *Stream) Config() hal.VideoConfig {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.config
}

// SetConfig records what the board really does.
func (s *Stream) SetConfig(c hal.VideoConfig) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.config = c
}

// Audio returns the format of the sound in the stream, or nil while the
// microphone is closed.
func (s *Stream) Audio() *hal.AudioFormat {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.audio
}

// SetAudio says which sound is pushed from now on; nil: none.
func (s *Stream) SetAudio(f *hal.AudioFormat) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.audio = f
}

// PushVideo hands over one access unit.
func (s *Stream) PushVideo(au hal.AccessUnit) {
	if au.Key && au.Params > 0 {
		s.remember(&au)
	}
	s.Ring.Push(Sample{Kind: Video, Key: au.Key, Data: au.Data, Params: au.Params, Time: au.Time, Seq: au.Seq})
}

func (s *Stream) remember(au *hal.AccessUnit) {
	sps, pps := au.ParameterSets()
	s.mu.Lock()
	defer s.mu.Unlock()
	if sps == nil || pps == nil || bytes.Equal(sps, s.sps) && bytes.Equal(pps, s.pps) {
		return
	}
	first := s.sps == nil
	s.sps, s.pps = bytes.Clone(sps), bytes.Clone(pps)
	s.width, s.height = 0, 0
	var parsed h264.SPS
	if parsed.Unmarshal(s.sps) == nil {
		s.width, s.height = parsed.Width(), parsed.Height()
	}
	if first {
		close(s.ready)
	}
}

// PushAudio hands over one frame of sound.
func (s *Stream) PushAudio(f hal.AudioFrame) {
	s.Ring.Push(Sample{Kind: Audio, Data: f.Data, Samples: f.Samples, Format: s.Audio(), Time: f.Time})
}

// Ticks converts a duration to ticks of a clock, to the nearest one; it does
// not overflow for any duration and rate up to 192,000.
func Ticks(d time.Duration, rate int64) int64 {
	sec, rest := int64(d/time.Second), int64(d%time.Second)
	half := int64(time.Second / 2)
	if rest < 0 {
		half = -half
	}
	return sec*rate + (rest*rate+half)/int64(time.Second)
}
