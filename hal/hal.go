// Package hal is the contract between camagent and the hardware of a camera.
//
// A board (hal/sim, hal/pipe, …) implements [Board], and beside it those of the
// small optional interfaces that its hardware can honour; the agent finds them
// by type assertion and [Capabilities] lists them for the owner. A board owns
// its devices and child processes. It knows nothing of networks, owners or
// files of the product, and this package imports the standard library alone.
//
// Rules that hold for every board:
//
//   - One reader a stream: [VideoStream.Next] and [AudioStream.Next] are called
//     from one goroutine at a time; every other method from any goroutine.
//   - The first frame of a stream, and the first after a loss, is a key frame
//     with its parameter sets in front.
//   - Frames are immutable once handed over; a board never reuses their bytes.
//   - All streams of a board, sound included, stamp their frames by one
//     monotonic clock (the monotonic reading of [time.Time]).
//   - Unsupported wishes are adjusted, not refused: Config tells what is true.
//   - Close unblocks a Next in flight, may be called twice, and leaves no
//     goroutine or process behind.
package hal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"
)

// Errors by which a board says what kind of failure it met. Decide with
// [errors.Is]; wrap them with what was being done.
var (
	// ErrGone: the device disappeared (unplugged, child ended); opening again may help.
	ErrGone = errors.New("device gone")
	// ErrNotFound: there is no such device, file or program.
	ErrNotFound = errors.New("device not found")
	// ErrNoStream: the board has no stream of this name.
	ErrNoStream = errors.New("no such stream")
	// ErrClosed: the board or the stream was closed by us.
	ErrClosed = errors.New("closed")
	// ErrGarbage: what the device wrote is not H.264.
	ErrGarbage = errors.New("not an H.264 stream")
)

// Info names the board for status and logs.
type Info struct {
	Board string `json:"board"` // "sim", "pipe", …
	Model string `json:"model"` // free text
}

// VideoConfig is what a stream should do, or does. Zero fields of a wish mean
// "as the board likes"; fields of a truth are zero only when it is unknown.
type VideoConfig struct {
	Width   int `json:"width"`
	Height  int `json:"height"`
	FPS     int `json:"fps"`
	GOP     int `json:"gop"`     // frames from one key frame to the next
	Bitrate int `json:"bitrate"` // bits per second
}

// Range bounds one number; both ends are allowed values.
type Range struct {
	Min int `json:"min"`
	Max int `json:"max"`
}

// StreamInfo describes a stream that the board can open.
type StreamInfo struct {
	Name    string      `json:"name"` // "main", "sub"
	Default VideoConfig `json:"default"`
	FPS     Range       `json:"fps"`
	GOP     Range       `json:"gop"`
	Bitrate Range       `json:"bitrate"`
}

// Board is one camera's hardware. Methods may be called from any goroutine.
type Board interface {
	Info() Info
	// Streams lists the streams in order of size, the largest ("main") first.
	Streams() []StreamInfo
	// OpenVideo starts a stream. It returns ErrNoStream for an unknown name; one
	// reader at a time: a second open of a running stream is an error.
	OpenVideo(ctx context.Context, stream string, want VideoConfig) (VideoStream, error)
	// Close stops everything the board started.
	Close() error
}

// VideoStream is one running encoded stream.
type VideoStream interface {
	// Next blocks for the next access unit. Errors: ctx's, ErrClosed after Close,
	// ErrGone or ErrGarbage when the device failed (the stream is then dead and
	// is to be closed and opened again).
	Next(ctx context.Context) (AccessUnit, error)
	// Config tells what the device really does.
	Config() VideoConfig
	Close() error
}

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

// KeyframeRequester makes a running stream begin a new GOP within 5 frames.
type KeyframeRequester interface {
	RequestKeyframe(stream string) error
}

// EncoderTuner changes a running stream; zero fields of the patch stay as they
// are. It returns what the device does afterwards. Whether viewers see a
// restart is the board's matter; frames stay in order either way.
type EncoderTuner interface {
	Tune(stream string, patch VideoConfig) (VideoConfig, error)
}

// Snapshotter takes a still picture.
type Snapshotter interface {
	// Snapshot returns one JPEG of the present scene.
	Snapshot(ctx context.Context) ([]byte, error)
}

// Microphone opens the board's microphone.
type Microphone interface {
	OpenMicrophone(ctx context.Context) (AudioStream, error)
}

// Capabilities lists by name what b can do beyond video; the order is fixed.
func Capabilities(b Board) []string {
	list := []string{}
	add := func(name string, ok bool) {
		if ok {
			list = append(list, name)
		}
	}
	_, ok := b.(KeyframeRequester)
	add("keyframe", ok)
	_, ok = b.(EncoderTuner)
	add("tune", ok)
	_, ok = b.(Snapshotter)
	add("snapshot", ok)
	_, ok = b.(Microphone)
	add("microphone", ok)
	return list
}

// FindStream returns the description of one stream of b, or ErrNoStream.
func FindStream(b Board, name string) (StreamInfo, error) {
	for _, s := range b.Streams() {
		if s.Name == name {
			return s, nil
		}
	}
	return StreamInfo{}, fmt.Errorf("%s board: %w: %q", b.Info().Board, ErrNoStream, name)
}
