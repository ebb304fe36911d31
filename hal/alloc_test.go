package hal

import (
	"context"
	"testing"
	"time"
)

// The path of a frame costs no allocation of its own.
func TestM13_NextAllocatesNothing(t *testing.T) {
	b := &idleBoard{}
	c := NewCamera(b)
	defer c.Close()
	v := c.mustOpen(t, "main", VideoConfig{})
	ctx := t.Context()
	if n := testing.AllocsPerRun(1000, func() {
		if _, err := v.Next(ctx); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations a frame", n)
	}
}

func BenchmarkNext(b *testing.B) {
	c := NewCamera(&idleBoard{})
	defer c.Close()
	v, err := c.OpenVideo(b.Context(), "main", VideoConfig{})
	if err != nil {
		b.Fatal(err)
	}
	ctx := b.Context()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.Next(ctx); err != nil {
			b.Fatal(err)
		}
	}
}

// idleBoard gives a frame at once, always the same but for its number.
type idleBoard struct{ au AccessUnit }

func (*idleBoard) Info() Info            { return Info{} }
func (*idleBoard) Streams() []StreamInfo { return []StreamInfo{{Name: "main"}} }
func (*idleBoard) Close() error          { return nil }
func (b *idleBoard) OpenVideo(context.Context, string, VideoConfig) (VideoStream, error) {
	b.au = AccessUnit{Data: picture, Params: 12, Key: true}
	return idleStream{b}, nil
}

type idleStream struct{ b *idleBoard }

func (idleStream) Config() VideoConfig { return VideoConfig{} }
func (idleStream) Close() error        { return nil }
func (s idleStream) Next(context.Context) (AccessUnit, error) {
	au := s.b.au
	s.b.au.Seq++
	s.b.au.Key = false
	au.Time = time.Now()
	return au, nil
}
