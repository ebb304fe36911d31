package haltest_test

import (
	"context"
	"errors"
	"time"

	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/hal/sim"
)

// microphone is the simulator's, with changed sound.
type microphone struct {
	hal.Microphone
	wrap func(*sound)
}

type sound struct {
	hal.AudioStream
	n      int
	change func(*hal.AudioFrame) error
	format func() hal.AudioFormat
	ended  func(error) error
}

func (m microphone) OpenMicrophone(ctx context.Context) (hal.AudioStream, error) {
	a, err := m.Microphone.OpenMicrophone(ctx)
	if err != nil {
		return nil, err
	}
	s := &sound{AudioStream: a, format: a.Format, ended: func(err error) error { return err }}
	s.change = func(*hal.AudioFrame) error { return nil }
	m.wrap(s)
	return s, nil
}

func (s *sound) Format() hal.AudioFormat { return s.format() }

func (s *sound) Next(ctx context.Context) (hal.AudioFrame, error) {
	f, err := s.AudioStream.Next(ctx)
	if err != nil {
		return f, s.ended(err)
	}
	s.n++
	err = s.change(&f)
	return f, err
}

func hears(wrap func(*sound)) func(*sim.Board, *afterwards) (hal.Board, []any) {
	return func(b *sim.Board, _ *afterwards) (hal.Board, []any) { return b, []any{microphone{b, wrap}} }
}

// speaker is the simulator's, with changed playback.
type speaker struct {
	hal.Speaker
	formats func([]hal.AudioFormat) []hal.AudioFormat
	write   func(p hal.Playback, n int, ctx context.Context, f hal.AudioFrame) error
	close   func(hal.Playback) error
}

type playback struct {
	hal.Playback
	s speaker
	n int
}

func (s speaker) SpeakerFormats() []hal.AudioFormat {
	list := s.Speaker.SpeakerFormats()
	if s.formats != nil {
		list = s.formats(list)
	}
	return list
}

func (s speaker) OpenSpeaker(ctx context.Context, f hal.AudioFormat) (hal.Playback, error) {
	p, err := s.Speaker.OpenSpeaker(ctx, f)
	return &playback{Playback: p, s: s}, err
}

func (p *playback) Write(ctx context.Context, f hal.AudioFrame) error {
	p.n++
	if p.s.write != nil {
		return p.s.write(p.Playback, p.n, ctx, f)
	}
	return p.Playback.Write(ctx, f)
}

func (p *playback) Close() error {
	if p.s.close != nil {
		return p.s.close(p.Playback)
	}
	return p.Playback.Close()
}

func speaks(s speaker) func(*sim.Board, *afterwards) (hal.Board, []any) {
	return func(b *sim.Board, _ *afterwards) (hal.Board, []any) { s := s; s.Speaker = b; return b, []any{s} }
}

func soundMutants() []mutant {
	return []mutant{
		{finds: "sound-runs", how: "the microphone ends after 300 frames", make: hears(func(s *sound) {
			s.change = func(*hal.AudioFrame) error {
				if s.n > 300 {
					return hal.ErrGone
				}
				return nil
			}
		})},
		{finds: "sound-form", how: "a byte too many", make: hears(func(s *sound) {
			s.change = func(f *hal.AudioFrame) error {
				f.Data = append(f.Data[:len(f.Data):len(f.Data)], 0)
				return nil
			}
		})},
		{finds: "sound-time", how: "a frame has the time of the last one", make: hears(func(s *sound) {
			var last time.Time
			s.change = func(f *hal.AudioFrame) error {
				if s.n == 100 {
					f.Time = last
				}
				last = f.Time
				return nil
			}
		})},
		{finds: "sound-rate", how: "Format tells twice the rate", make: hears(func(s *sound) {
			inner := s.format
			s.format = func() hal.AudioFormat { f := inner(); f.Rate *= 2; return f }
		})},
		{finds: "sound-immutable", how: "one buffer for all frames", make: hears(func(s *sound) {
			buffer := make([]byte, 1<<12)
			s.change = func(f *hal.AudioFrame) error { f.Data = buffer[:copy(buffer, f.Data)]; return nil }
		})},
		{finds: "sound-cancel", how: "Close is told as a device that is gone", make: hears(func(s *sound) {
			s.ended = func(err error) error {
				if errors.Is(err, hal.ErrClosed) {
					return hal.ErrGone
				}
				return err
			}
		})},
		{finds: "speaker-formats", how: "no formats are listed", make: speaks(speaker{
			formats: func([]hal.AudioFormat) []hal.AudioFormat { return nil },
		})},
		{finds: "speaker-pace", how: "every second frame is thrown away", make: speaks(speaker{
			write: func(p hal.Playback, n int, ctx context.Context, f hal.AudioFrame) error {
				if n%2 == 0 {
					return nil
				}
				return p.Write(ctx, f)
			},
		})},
		{finds: "speaker-close", how: "Close plays what is queued", make: speaks(speaker{
			close: func(p hal.Playback) error {
				<-time.After(hal.SpeakerAhead)
				return p.Close()
			},
		})},
		{finds: "speaker-cancel", how: "Write does not look at its context", make: speaks(speaker{
			write: func(p hal.Playback, _ int, _ context.Context, f hal.AudioFrame) error {
				return p.Write(context.Background(), f)
			},
		})},
	}
}
