package usbcam

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"iid2secure.nl/camagent/hal"
)

// Size is that of a picture, in pixels.
type Size struct{ Width, Height int }

// Format is what the host chose.
type Format struct {
	Size
	FPS int
}

// Source makes the frames of a camera: access units in Annex B format, or JPEG
// pictures. ForceKey and SetBitrate may come from another goroutine, and while
// nothing runs; the others come from one goroutine, Start before Next before Stop.
type Source interface {
	// Sizes lists what the camera offers; it does not change.
	Sizes() []Size
	Start(ctx context.Context, f Format) error
	// Next waits for the next frame's time. The caller does not change the bytes.
	Next(ctx context.Context) ([]byte, error)
	Stop()
	// ForceKey makes the next frame, or one soon after, a key frame.
	ForceKey() error
	// SetBitrate takes bits per second.
	SetBitrate(bps int) error
}

// List sends given frames at the rate that the host chose, round and round.
type List struct {
	Size   Size
	Frames [][]byte
	// Key tells where a forced key frame may jump to; nil: H.264's IDR pictures.
	Key func(frame []byte) bool

	mu   sync.Mutex
	next int
	tick *time.Ticker
}

// Sizes implements Source.
func (l *List) Sizes() []Size { return []Size{l.Size} }

// Start implements Source: the list starts at its front.
func (l *List) Start(_ context.Context, f Format) error {
	if len(l.Frames) == 0 {
		return errors.New("usbcam: an empty list of frames")
	}
	l.mu.Lock()
	l.next = 0
	l.mu.Unlock()
	l.tick = time.NewTicker(time.Second / time.Duration(f.FPS))
	return nil
}

// Next implements Source.
func (l *List) Next(ctx context.Context) ([]byte, error) {
	select {
	case <-l.tick.C:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	frame := l.Frames[l.next]
	l.next = (l.next + 1) % len(l.Frames)
	return frame, nil
}

// Stop implements Source.
func (l *List) Stop() { l.tick.Stop() }

// ForceKey implements Source: it goes on at the next key frame of the list.
func (l *List) ForceKey() error {
	key := l.Key
	if key == nil {
		key = isKey
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for range l.Frames {
		if key(l.Frames[l.next]) {
			return nil
		}
		l.next = (l.next + 1) % len(l.Frames)
	}
	return errors.New("usbcam: no key frame in the list")
}

func isKey(frame []byte) bool {
	au, err := hal.ParseAnnexB(frame, nil)
	return err == nil && au.Key
}

// SetBitrate implements Source: a list can't.
func (l *List) SetBitrate(int) error {
	return errors.New("usbcam: a list of frames has its own bit rate")
}

// FromBoard sends what a board gives, the simulator for instance: one size a
// stream, and key frames and bit rate as the board can.
func FromBoard(b hal.Board) Source { return &fromBoard{board: b} }

type fromBoard struct {
	board hal.Board

	mu     sync.Mutex
	name   string // of the running stream
	video  hal.VideoStream
	wanted int // bit rate for the next start
}

func (f *fromBoard) Sizes() []Size {
	var list []Size
	for _, s := range f.board.Streams() {
		list = append(list, Size{s.Default.Width, s.Default.Height})
	}
	return list
}

func (f *fromBoard) Start(ctx context.Context, want Format) error {
	for _, s := range f.board.Streams() {
		if (Size{s.Default.Width, s.Default.Height}) != want.Size {
			continue
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		v, err := f.board.OpenVideo(ctx, s.Name, hal.VideoConfig{Width: want.Width, Height: want.Height, FPS: want.FPS, Bitrate: f.wanted})
		if err != nil {
			return err
		}
		f.name, f.video = s.Name, v
		return nil
	}
	return fmt.Errorf("usbcam: no stream of %d by %d", want.Width, want.Height)
}

func (f *fromBoard) Next(ctx context.Context) ([]byte, error) {
	au, err := f.video.Next(ctx)
	if err != nil {
		return nil, err
	}
	b := make([]byte, 0, len(au.Data)+16)
	for nal := range au.NALs() {
		b = append(append(b, 0, 0, 0, 1), nal...)
	}
	return b, nil
}

func (f *fromBoard) Stop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	_ = f.video.Close()
	f.name, f.video = "", nil
}

func (f *fromBoard) ForceKey() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	k, ok := hal.As[hal.KeyframeRequester](f.board)
	if !ok {
		return hal.ErrUnable
	}
	if f.video == nil {
		return nil // the first frame is one
	}
	return k.RequestKeyframe(f.name)
}

func (f *fromBoard) SetBitrate(bps int) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.wanted = bps
	t, ok := hal.As[hal.EncoderTuner](f.board)
	switch {
	case !ok:
		return hal.ErrUnable
	case f.video == nil:
		return nil
	}
	_, err := t.Tune(f.name, hal.VideoConfig{Bitrate: bps})
	return err
}
