// Package hal is the contract between camagent and the hardware of a camera.
//
// A board (hal/sim, hal/pipe, hal/v4l2, hal/onboard, or yours) implements
// [Board], and beside it those of the small optional interfaces of
// capability.go that its hardware can honour. Parts (hal/peripheral, hal/alsa)
// implement such interfaces alone and combine with any board. [NewCamera] joins
// a board and its parts to a [Camera]: what the agent drives. A board owns its
// devices and child processes. It knows nothing of networks, owners or files of
// the product, and this package imports the standard library alone.
//
// What a board promises (package haltest has a case for each sentence):
//
//   - The first frame of a stream, and the first after a loss, is a key frame
//     with its parameter sets in front; what they say equals Config.
//   - Sequence and time rise from frame to frame; all streams, sound included,
//     stamp by one clock, the monotonic reading of [time.Time], with the time of
//     capture: at most 5 seconds from now.
//   - Frames are immutable once handed over; a board never reuses their bytes.
//   - What a stream can't do is adjusted, not refused: Config tells what is true.
//   - Next returns when its context ends, and when Close is called from another
//     goroutine meanwhile, or was just before; a closed stream can be opened again,
//     any number of times.
//   - A device that fails ends Next with ErrGone or ErrGarbage; opening again
//     later works once the device is back. A board doesn't retry by itself.
//   - Close leaves no goroutine, process or file descriptor behind.
//
// What a board may rely on, as Camera sees to it:
//
//   - Next is called by one goroutine at a time, and not begun after Close (one that
//     was on its way may still come); a stream is open once at a time, and opened
//     again only after Close returned; stream names exist; Close is called once.
//   - Wishes and arguments lie within the ranges that the board itself stated;
//     zero fields of a wish mean "as the board likes".
//   - Nothing is begun after the board's Close.
//   - All other methods may be called from any goroutine, at the same time.
package hal

import (
	"context"
	"errors"
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
	// ErrGarbage: what the device gives is not what it should be, or breaks the rules above.
	ErrGarbage = errors.New("unusable data")
	// ErrStalled: the device is there, but gave nothing for too long.
	ErrStalled = errors.New("device stalled")
	// ErrBusy: in use, by another program or by this one.
	ErrBusy = errors.New("in use")
	// ErrUnable: neither the board nor a part of it can do this.
	ErrUnable = errors.New("this camera can't do")
	// ErrArgument: the value is outside what the board said it takes.
	ErrArgument = errors.New("wrong value")
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
	// Zero ranges are what can't be chosen.
	FPS     Range `json:"fps"`
	GOP     Range `json:"gop"`
	Bitrate Range `json:"bitrate"`
	// Reopens: closing and opening it again brings a key frame at once, and takes
	// a new wish. Camera then offers key frames and tuning by restart.
	Reopens bool `json:"reopens,omitempty"`
}

// Board is one camera's hardware.
type Board interface {
	Info() Info
	// Streams lists the streams in order of size, the largest ("main") first. The
	// list is the same at every call.
	Streams() []StreamInfo
	// OpenVideo starts a stream. ErrNotFound, ErrBusy and permission errors say
	// which device, and what to do.
	OpenVideo(ctx context.Context, stream string, want VideoConfig) (VideoStream, error)
	// Close stops everything the board started.
	Close() error
}

// VideoStream is one running encoded stream.
type VideoStream interface {
	// Next blocks for the next access unit. Errors: ctx's (the stream lives on, no
	// frame is lost), ErrClosed when Close came meanwhile, ErrGone or ErrGarbage
	// when the device failed: the stream is then dead, to be closed and opened again.
	Next(ctx context.Context) (AccessUnit, error)
	// Config tells what the device really does.
	Config() VideoConfig
	Close() error
}
