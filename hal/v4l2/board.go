package v4l2

import (
	"context"
	"errors"

	"iid2secure.nl/camagent/hal"
)

// Source says which device gives one stream, and what is wished of it.
type Source struct {
	// Stream is "main" or "sub".
	Stream string
	// Device is a node (/dev/video0), a link to one (/dev/v4l/by-id/…), or
	// "usb:VVVV:PPPP", the vendor's and product's number of a USB camera as lsusb
	// writes them: its node that gives H.264 is looked for.
	Device string
	// The wish; zero fields are as the camera likes. What it can't do is adjusted.
	Width, Height, FPS, GOP int
	Bitrate                 int // bits per second
}

// Config makes a Board.
type Config struct {
	Sources []Source
	// Still is a node (named as Source.Device) that gives MJPG or YUYV, for
	// snapshots and motion; it can't be that of a source. Empty: none.
	Still string
}

// Board is one camera, or several nodes that make one. Its methods may be called
// from any goroutine.
type Board struct{}

var (
	_ hal.Board = (*Board)(nil)
	_ hal.Parts = (*Board)(nil)
)

// New opens the devices, asks what they can do, and closes them again. A device
// that is missing is [hal.ErrNotFound], one that can't give H.264
// [hal.ErrUnable], one in use [hal.ErrBusy]; lack of permission is
// [io/fs.ErrPermission].
func New(c Config) (*Board, error) { return nil, errors.ErrUnsupported }

// Info implements [hal.Board].
func (b *Board) Info() hal.Info { return hal.Info{} }

// Streams implements [hal.Board].
func (b *Board) Streams() []hal.StreamInfo { return nil }

// Parts implements [hal.Parts]: what the camera can do beyond video.
func (b *Board) Parts() []any { return nil }

// OpenVideo implements [hal.Board].
func (b *Board) OpenVideo(ctx context.Context, name string, want hal.VideoConfig) (hal.VideoStream, error) {
	return nil, errors.ErrUnsupported
}

// Close implements [hal.Board].
func (b *Board) Close() error { return nil }
