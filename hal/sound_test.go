package hal

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// fakeSound is a microphone and a speaker that wait until they are closed.
type fakeSound struct{ opens, closes int }

func (f *fakeSound) OpenMicrophone(context.Context) (AudioStream, error) {
	f.opens++
	return &fakeLine{f: f, done: make(chan struct{})}, nil
}

func (f *fakeSound) SpeakerFormats() []AudioFormat {
	return []AudioFormat{{Codec: L16, Rate: 16000, Channels: 2}, {Codec: PCMU, Rate: 8000, Channels: 1}, {Codec: Opus, Rate: 48000, Channels: 1}}
}

func (f *fakeSound) OpenSpeaker(context.Context, AudioFormat) (Playback, error) {
	f.opens++
	return &fakeLine{f: f, done: make(chan struct{})}, nil
}

type fakeLine struct {
	f    *fakeSound
	done chan struct{}
}

func (l *fakeLine) wait(ctx context.Context) error {
	select {
	case <-l.done:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *fakeLine) Format() AudioFormat { return AudioFormat{Codec: PCMU, Rate: 8000, Channels: 1} }
func (l *fakeLine) Next(ctx context.Context) (AudioFrame, error) {
	return AudioFrame{}, l.wait(ctx)
}
func (l *fakeLine) Write(ctx context.Context, _ AudioFrame) error { return l.wait(ctx) }
func (l *fakeLine) Close() error {
	l.f.closes++
	close(l.done)
	return nil
}

func TestM13_OneListenerAndOneTalker(t *testing.T) {
	t.Parallel()
	sound := &fakeSound{}
	bubble(t, func(t *testing.T, _ *fakeBoard, c *Camera) {
		f := AudioFormat{Codec: PCMU, Rate: 8000, Channels: 1}
		frame := AudioFrame{Data: make([]byte, 160), Samples: 160}
		mic, err := c.OpenMicrophone(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		speaker, err := c.OpenSpeaker(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		_, again := c.OpenMicrophone(t.Context())
		_, talk := c.OpenSpeaker(t.Context(), f)
		if !errors.Is(again, ErrBusy) || !errors.Is(talk, ErrBusy) {
			t.Error(again, talk)
		}
		ended := make(chan error, 2)
		go func() { _, err := mic.Next(t.Context()); ended <- err }()
		go func() { ended <- speaker.Write(t.Context(), frame) }()
		synctest.Wait()
		if _, err := mic.Next(t.Context()); !errors.Is(err, ErrBusy) {
			t.Error(err)
		}
		if err := speaker.Write(t.Context(), frame); !errors.Is(err, ErrBusy) {
			t.Error(err)
		}
		for range 2 {
			if err := errors.Join(mic.Close(), speaker.Close()); err != nil {
				t.Error(err)
			}
		}
		for range 2 {
			if err := <-ended; !errors.Is(err, ErrClosed) {
				t.Error(err)
			}
		}
		if _, err := mic.Next(t.Context()); !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
		if err := speaker.Write(t.Context(), frame); !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
		for range 2 { // the places are free again, and the camera's end closes what is open
			if _, err := c.OpenMicrophone(t.Context()); err != nil {
				t.Error(err)
			}
			if _, err := c.OpenSpeaker(t.Context(), f); err != nil {
				t.Error(err)
			}
			c.mic.end()
			c.speaker.end()
		}
		if sound.opens != 6 || sound.closes != 6 {
			t.Errorf("%+v", sound)
		}
	}, sound)
}

func TestM13_SpeakerTakesWhatItSays(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, _ *fakeBoard, c *Camera) {
		for _, f := range []AudioFormat{{}, {Codec: PCMA, Rate: 8000, Channels: 1}, {Codec: PCMU, Rate: 16000, Channels: 1}, {Codec: PCMU, Rate: 8000, Channels: 2}} {
			if _, err := c.OpenSpeaker(t.Context(), f); !errors.Is(err, ErrArgument) || !strings.HasPrefix(err.Error(), "speaker format: ") {
				t.Errorf("%+v: %v", f, err)
			}
		}
		for _, w := range []struct {
			f     AudioFormat
			bytes int
			frame AudioFrame
		}{
			{AudioFormat{Codec: L16, Rate: 16000, Channels: 2}, 40, AudioFrame{make([]byte, 39), 10, time.Time{}}},
			{AudioFormat{Codec: PCMU, Rate: 8000, Channels: 1}, 10, AudioFrame{make([]byte, 11), 10, time.Time{}}},
			{AudioFormat{Codec: PCMU, Rate: 8000, Channels: 1}, 0, AudioFrame{nil, 0, time.Time{}}},
			{AudioFormat{Codec: Opus, Rate: 48000, Channels: 1}, 0, AudioFrame{make([]byte, 3), -1, time.Time{}}},
		} {
			p, err := c.OpenSpeaker(t.Context(), w.f)
			if err != nil {
				t.Fatal(err)
			}
			if err := p.Write(t.Context(), w.frame); !errors.Is(err, ErrArgument) {
				t.Errorf("%+v: %v", w, err)
			}
			p.Close()
		}
	}, &fakeSound{})
}

// failing can't be opened; the place is free again afterwards.
type failing struct{ fakeSound }

func (*failing) OpenMicrophone(context.Context) (AudioStream, error) { return nil, ErrNotFound }
func (*failing) OpenSpeaker(context.Context, AudioFormat) (Playback, error) {
	return nil, ErrNotFound
}

func TestM13_SoundThatCantBeOpened(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, _ *fakeBoard, c *Camera) {
		for range 2 {
			_, hear := c.OpenMicrophone(t.Context())
			_, say := c.OpenSpeaker(t.Context(), AudioFormat{Codec: PCMU, Rate: 8000, Channels: 1})
			if !errors.Is(hear, ErrNotFound) || !errors.Is(say, ErrNotFound) {
				t.Error(hear, say)
			}
		}
	}, &failing{})
}
