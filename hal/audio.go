package hal

import (
	"bytes"
	"context"
	"time"
)

// Codec names a sound encoding by its usual short name.
type Codec string

// The sound encodings that a board may give.
const (
	PCMU Codec = "pcmu" // G.711 µ-law
	PCMA Codec = "pcma" // G.711 A-law
	L16  Codec = "l16"  // signed 16 bit, big endian (RFC 3551, 4.5.11)
	AAC  Codec = "aac"  // raw AAC-LC frames; Config holds the AudioSpecificConfig
	Opus Codec = "opus"
)

// AudioFormat describes the sound of a board.
type AudioFormat struct {
	Codec    Codec  `json:"codec"`
	Rate     int    `json:"rate"` // samples per second
	Channels int    `json:"channels"`
	Config   []byte `json:"-"` // AAC: AudioSpecificConfig
}

// Same tells whether sound of a and of b can stand in one track; nil is no sound.
func (a *AudioFormat) Same(b *AudioFormat) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Codec == b.Codec && a.Rate == b.Rate && a.Channels == b.Channels && bytes.Equal(a.Config, b.Config)
}

// AudioFrame is one piece of encoded sound, some 20 to 60 ms.
type AudioFrame struct {
	Data    []byte
	Samples int       // per channel
	Time    time.Time // of its first sample, on the board's one clock
}

// AudioStream is one open microphone.
type AudioStream interface {
	Format() AudioFormat
	// Next blocks for the next frame; errors as VideoStream.Next.
	Next(ctx context.Context) (AudioFrame, error)
	Close() error
}

// Microphone opens the camera's microphone; one reader at a time.
type Microphone interface {
	OpenMicrophone(ctx context.Context) (AudioStream, error)
}

// Speaker plays sound; one talker at a time.
type Speaker interface {
	// SpeakerFormats lists what it takes, the best first; never empty.
	SpeakerFormats() []AudioFormat
	// OpenSpeaker starts playing f, which is one of SpeakerFormats.
	OpenSpeaker(ctx context.Context, f AudioFormat) (Playback, error)
}

// SpeakerAhead is the most sound that a speaker holds: [Playback.Write] blocks
// for the time that a frame beyond it takes to play.
const SpeakerAhead = 200 * time.Millisecond

// Playback is one open speaker.
type Playback interface {
	// Write queues one frame, whose Time is ignored. It blocks, so that the writer
	// keeps the speaker's pace; a pause is played as silence, not as an error.
	// Errors as VideoStream.Next.
	Write(ctx context.Context, f AudioFrame) error
	// Close stops at once; what is queued is not played.
	Close() error
}
