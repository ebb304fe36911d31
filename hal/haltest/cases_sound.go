package haltest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/bluenviron/mediacommon/v2/pkg/codecs/g711"

	"iid2secure.nl/camagent/hal"
)

func soundCases() []Case {
	const within = firstWithin + filmLasts + 10*time.Second
	return []Case{
		{"sound-runs", "Next blocks for the next piece of sound, beside all streams.",
			"an overrun of the device's buffer that ends the stream", within, onSound((*recording).runs)},
		{"sound-form", "Format says what the sound is; a frame is some 20 to 60 ms long.",
			"stereo called mono, samples counted in bytes, or a frame for each interrupt", within, onSound((*recording).formed)},
		{"sound-time", "Time rises from frame to frame and is that of the first sample.",
			"the time of reading instead of that of the sound", within, onSound((*recording).timed)},
		{"sound-rate", "Rate samples come in a second.",
			"a device that took 48000 where 8000 was asked for", within, onSound((*recording).paced)},
		{"sound-immutable", "Frames are immutable once handed over; a board never reuses their bytes.",
			"one buffer for all reads", within, onSound(func(r *recording) error { return r.change })},
		{"sound-cancel", "The microphone's Next returns when its context ends, and ErrClosed when Close comes meanwhile; it can be opened again.",
			"a blocking read", 20 * time.Second, soundStops},
		{"speaker-formats", "SpeakerFormats lists what it takes, the best first; never empty.",
			"a list that is filled when the speaker is opened first", 20 * time.Second, speakerFormats},
		{"speaker-pace", "Write blocks, so that the writer keeps the speaker's pace; SpeakerAhead is the most that is held; a pause is played as silence.",
			"a queue without bound: the talker is heard seconds later; an underrun that is taken for an error", 20 * time.Second, speakerPace},
		{"speaker-close", "Close of the speaker stops at once; what is queued is not played; a Write in flight returns ErrClosed.",
			"Close drains the queue", 20 * time.Second, speakerClose},
		{"speaker-cancel", "Write returns when its context ends.",
			"a blocking write", 20 * time.Second, speakerCancel},
	}
}

func onSound(look func(*recording) error) func(context.Context, *subject) error {
	return func(ctx context.Context, s *subject) error {
		f, err := s.filmed(ctx)
		if err != nil {
			return err
		}
		if f.sound == nil {
			return lacks("it has no microphone")
		}
		if len(f.sound.pieces) == 0 {
			return errors.Join(errors.New("no sound came"), f.sound.err)
		}
		return look(f.sound)
	}
}

func (r *recording) runs() error {
	if r.err != nil {
		return fmt.Errorf("after %d frames of sound: %w", len(r.pieces), r.err)
	}
	return nil
}

// width is how many bytes a sample of one channel takes; 0: it varies.
func width(c hal.Codec) int {
	switch c {
	case hal.PCMU, hal.PCMA:
		return 1
	case hal.L16:
		return 2
	}
	return 0
}

func (r *recording) formed() error {
	f := r.format
	switch f.Codec {
	case hal.PCMU, hal.PCMA, hal.L16, hal.Opus:
	case hal.AAC:
		if len(f.Config) < 2 {
			return errors.New("AAC without its AudioSpecificConfig")
		}
	default:
		return fmt.Errorf("a codec that is none of hal's: %q", f.Codec)
	}
	if f.Rate < 8000 || f.Rate > 96000 || f.Channels < 1 || f.Channels > 2 {
		return fmt.Errorf("%d samples a second, %d channels", f.Rate, f.Channels)
	}
	for i, p := range r.pieces {
		lasts := time.Duration(p.samples) * time.Second / time.Duration(f.Rate)
		if w := width(f.Codec); w > 0 && p.size != w*p.samples*f.Channels {
			return fmt.Errorf("frame %d has %d bytes for %d samples of %s", i+1, p.size, p.samples, f.Codec)
		}
		if p.size == 0 || lasts < 10*time.Millisecond || lasts > 130*time.Millisecond {
			return fmt.Errorf("frame %d has %d bytes and lasts %v", i+1, p.size, lasts)
		}
	}
	return nil
}

func (r *recording) timed() error {
	for i, p := range r.pieces {
		if age := p.got.Sub(p.time); age > maxAge || age < -maxEarly {
			return fmt.Errorf("frame %d is stamped %v before now", i+1, age)
		}
		if i > 0 && !p.time.After(r.pieces[i-1].time) {
			return fmt.Errorf("frame %d is stamped %v before the last one", i+1, r.pieces[i-1].time.Sub(p.time))
		}
	}
	return nil
}

// paced compares samples with the stamps and with the time of reading, which may
// be late for a few frames, but not early.
func (r *recording) paced() error {
	if len(r.pieces) < 6 {
		return errors.New("no sound came")
	}
	for _, c := range []struct {
		by string
		at func(*piece) time.Time
	}{{"their times", func(p *piece) time.Time { return p.time }}, {"our clock", func(p *piece) time.Time { return p.got }}} {
		var late []time.Duration
		samples := 0
		for i := range r.pieces {
			p := &r.pieces[i]
			played := time.Duration(samples) * time.Second / time.Duration(r.format.Rate)
			late = append(late, c.at(p).Sub(c.at(&r.pieces[0]))-played)
			samples += p.samples
		}
		a := agesOf("", late)
		lasted := time.Duration(samples) * time.Second / time.Duration(r.format.Rate) * 2 / 3
		if off := float64(a.late-a.begin) / float64(lasted); math.Abs(off) > 0.02 {
			return fmt.Errorf("%.0f samples a second by %s, Format says %d", float64(r.format.Rate)/(1+off), c.by, r.format.Rate)
		}
	}
	return nil
}

func soundStops(ctx context.Context, s *subject) error {
	m, err := need[hal.Microphone](ctx, s, hal.CapMicrophone)
	if err != nil {
		return err
	}
	for i := range 3 {
		a, err := m.OpenMicrophone(ctx)
		if err != nil {
			return fmt.Errorf("opening it for the %d. time: %w", i+1, err)
		}
		cut := waits(ctx, func(ctx context.Context) (time.Time, error) {
			f, err := a.Next(ctx)
			return f.Time, err
		})
		var ended error
		read := start(func() error {
			for ended == nil {
				_, ended = a.Next(ctx)
			}
			return nil
		})
		if err := errors.Join(cut, read.running(20*time.Millisecond)); err != nil {
			return errors.Join(err, a.Close())
		}
		if err := errors.Join(start(a.Close).wait(closeWithin), read.wait(soon)); err != nil {
			return err
		}
		if !errors.Is(ended, hal.ErrClosed) {
			return fmt.Errorf("Next returned %v, want ErrClosed", ended)
		}
	}
	return nil
}

// speaker opens the speaker in its best format; the writer makes frames for it.
func (s *subject) speaker(ctx context.Context) (hal.Playback, *tone, error) {
	k, err := need[hal.Speaker](ctx, s, hal.CapSpeaker)
	if err != nil {
		return nil, nil, err
	}
	if s.Quiet {
		return nil, nil, lacks("left out: it is to be quiet")
	}
	for _, f := range k.SpeakerFormats() {
		if t := newTone(f); t != nil {
			p, err := k.OpenSpeaker(ctx, f)
			return p, t, err
		}
	}
	return nil, nil, lacks("it takes none of the formats that the suite can make: PCMU, PCMA, L16, Opus")
}

// tone makes frames of 20 ms: a faint 440 Hz, silence in Opus.
type tone struct {
	format hal.AudioFormat
	at     int
}

func newTone(f hal.AudioFormat) *tone {
	if width(f.Codec) == 0 && f.Codec != hal.Opus {
		return nil
	}
	return &tone{format: f}
}

const toneFrame = 20 * time.Millisecond

func (t *tone) frame() hal.AudioFrame {
	f := hal.AudioFrame{Samples: t.format.Rate / 50}
	if t.format.Codec == hal.Opus {
		f.Data = []byte{0xf8, 0xff, 0xfe} // 20 ms, nothing (RFC 6716, 3.1)
		return f
	}
	for range f.Samples {
		v := int16(800 * math.Sin(2*math.Pi*440*float64(t.at)/float64(t.format.Rate)))
		for range t.format.Channels {
			f.Data = append(f.Data, byte(v>>8), byte(v))
		}
		t.at++
	}
	f.Data = encode(t.format.Codec, f.Data)
	return f
}

// encode makes sound of a codec of samples of 16 bits, big endian.
func encode(c hal.Codec, samples []byte) []byte {
	switch c {
	case hal.PCMU:
		samples, _ = g711.Mulaw(samples).Marshal() // the samples are whole
	case hal.PCMA:
		samples, _ = g711.Alaw(samples).Marshal()
	}
	return samples
}

// play writes so much sound.
func play(ctx context.Context, p hal.Playback, t *tone, d time.Duration) error {
	for range d / toneFrame {
		if err := p.Write(ctx, t.frame()); err != nil {
			return err
		}
	}
	return nil
}

func speakerFormats(ctx context.Context, s *subject) error {
	k, err := need[hal.Speaker](ctx, s, hal.CapSpeaker)
	if err != nil {
		return err
	}
	list := k.SpeakerFormats()
	if len(list) == 0 {
		return errors.New("the list is empty")
	}
	for _, f := range list {
		if f.Codec == "" || f.Rate < 8000 || f.Channels < 1 {
			return fmt.Errorf("%+v is no format", f)
		}
	}
	return nil
}

func speakerPace(ctx context.Context, s *subject) error {
	p, t, err := s.speaker(ctx)
	if err != nil {
		return err
	}
	err = paced(ctx, p, t)
	return errors.Join(err, start(p.Close).wait(closeWithin))
}

func paced(ctx context.Context, p hal.Playback, t *tone) error {
	const lasts = time.Second
	for range 2 {
		begin := time.Now()
		if err := play(ctx, p, t, lasts); err != nil {
			return err
		}
		took := time.Since(begin)
		// A device takes a moment to begin, and buffers in steps.
		if least := lasts - hal.SpeakerAhead - 60*time.Millisecond; took < least || took > lasts+500*time.Millisecond {
			return fmt.Errorf("%v of sound were taken in %v, want %v to %v", lasts, took.Round(time.Millisecond), least, lasts+500*time.Millisecond)
		}
		if err := pause(ctx, hal.SpeakerAhead+200*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

func speakerClose(ctx context.Context, s *subject) error {
	p, t, err := s.speaker(ctx)
	if err != nil {
		return err
	}
	var ended error
	write := start(func() error {
		for range 10 * time.Second / toneFrame {
			if ended = p.Write(ctx, t.frame()); ended != nil {
				break
			}
		}
		return nil
	})
	if err := write.running(400 * time.Millisecond); err != nil {
		return errors.Join(err, p.Close())
	}
	begin := time.Now()
	if err := start(p.Close).wait(closeWithin); err != nil {
		return err
	}
	took := time.Since(begin)
	if err := write.wait(soon); err != nil {
		return fmt.Errorf("Write: %w", err)
	}
	switch {
	case !errors.Is(ended, hal.ErrClosed):
		return fmt.Errorf("Write returned %v, want ErrClosed", ended)
	case took > hal.SpeakerAhead-50*time.Millisecond:
		return fmt.Errorf("Close took %v: as long as what was queued", took.Round(time.Millisecond))
	}
	return nil
}

func speakerCancel(ctx context.Context, s *subject) error {
	p, t, err := s.speaker(ctx)
	if err != nil {
		return err
	}
	err = waits(ctx, func(ctx context.Context) (time.Time, error) {
		return time.Now(), p.Write(ctx, t.frame())
	})
	return errors.Join(err, start(p.Close).wait(closeWithin))
}
