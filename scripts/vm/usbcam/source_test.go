package usbcam

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"

	"iid2secure.nl/camagent/hal"
)

func TestListWithoutKeyFrame(t *testing.T) {
	t.Parallel()
	l := &List{Frames: [][]byte{[]byte("\x00\x00\x01\x41\x9aP")}}
	if l.ForceKey() == nil {
		t.Error("a list without key frames forced one")
	}
	if (&List{}).Start(t.Context(), Format{FPS: 25}) == nil {
		t.Error("an empty list started")
	}
}

// board is the least that a board can be.
type board struct {
	frames []string
	tuned  hal.VideoConfig
	forced []string
	opened hal.VideoConfig
}

func (b *board) Info() hal.Info { return hal.Info{} }
func (b *board) Streams() []hal.StreamInfo {
	return []hal.StreamInfo{{Name: "main", Default: hal.VideoConfig{Width: 1280, Height: 720}}, {Name: "sub", Default: hal.VideoConfig{Width: 640, Height: 360}}}
}
func (b *board) OpenVideo(_ context.Context, stream string, want hal.VideoConfig) (hal.VideoStream, error) {
	b.opened = want
	return &video{b, stream}, nil
}
func (b *board) Close() error                   { return nil }
func (b *board) RequestKeyframe(s string) error { b.forced = append(b.forced, s); return nil }
func (b *board) Tune(s string, patch hal.VideoConfig) (hal.VideoConfig, error) {
	b.tuned = patch
	return patch, nil
}

type video struct {
	*board
	name string
}

func (v *video) Next(context.Context) (hal.AccessUnit, error) {
	if len(v.frames) == 0 {
		return hal.AccessUnit{}, hal.ErrGone
	}
	var au hal.AccessUnit
	au.Data = hal.AppendAVC(au.Data, []byte(v.name))
	au.Data = hal.AppendAVC(au.Data, []byte(v.frames[0]))
	v.frames = v.frames[1:]
	return au, nil
}
func (v *video) Config() hal.VideoConfig { return v.opened }
func (v *video) Close() error            { return nil }

func TestFromBoard(t *testing.T) {
	t.Parallel()
	b := &board{frames: []string{"frame"}}
	s := FromBoard(b)
	if want := []Size{{1280, 720}, {640, 360}}; !slices.Equal(s.Sizes(), want) {
		t.Errorf("sizes %v, want %v", s.Sizes(), want)
	}
	if err := errors.Join(s.SetBitrate(700_000), s.ForceKey()); err != nil {
		t.Fatal(err)
	}
	if err := s.Start(t.Context(), Format{Size{640, 360}, 15}); err != nil {
		t.Fatal(err)
	}
	if want := (hal.VideoConfig{Width: 640, Height: 360, FPS: 15, Bitrate: 700_000}); b.opened != want || len(b.forced) != 0 {
		t.Errorf("opened as %+v, want %+v, forced %q", b.opened, want, b.forced)
	}
	if f, err := s.Next(t.Context()); err != nil || !bytes.Equal(f, []byte("\x00\x00\x00\x01sub\x00\x00\x00\x01frame")) {
		t.Errorf("frame %q, %v", f, err)
	}
	if _, err := s.Next(t.Context()); !errors.Is(err, hal.ErrGone) {
		t.Errorf("at the board's end: %v", err)
	}
	if err := errors.Join(s.SetBitrate(300_000), s.ForceKey()); err != nil {
		t.Fatal(err)
	}
	if b.tuned != (hal.VideoConfig{Bitrate: 300_000}) || !slices.Equal(b.forced, []string{"sub"}) {
		t.Errorf("tuned %+v, forced %q", b.tuned, b.forced)
	}
	s.Stop()
	if s.Start(t.Context(), Format{Size{1920, 1080}, 15}) == nil {
		t.Error("a size that the board lacks")
	}
}
