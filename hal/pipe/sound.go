package pipe

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"iid2secure.nl/camagent/hal"
)

// soundFrames is how many frames of sound wait for a reader; the oldest are
// dropped.
const soundFrames = 100

// maxSound bounds one frame of sound: 100 ms of anything.
const maxSound = 96 << 10

type microphone struct{ b *Framed }

// OpenMicrophone implements [hal.Microphone].
func (m microphone) OpenMicrophone(ctx context.Context) (hal.AudioStream, error) {
	s, err := m.b.up(ctx)
	if err != nil {
		return nil, fmt.Errorf("sidecar board, microphone: %w", err)
	}
	r := &recording{from: s, format: m.b.hello.Microphone.format(), feed: newFeed[hal.AudioFrame]()}
	_, err = s.ask(ctx, "microphone 1", func([]byte) error { s.mic = r; return nil })
	if err != nil {
		r.leave()
		if ctx.Err() != nil {
			s.tell("microphone 0")
		}
		return nil, fmt.Errorf("sidecar board, microphone: %w", err)
	}
	return r, nil
}

// recording is an open microphone.
type recording struct {
	from   *session
	format hal.AudioFormat
	feed   *feed[hal.AudioFrame]
	last   time.Time
	once   sync.Once
}

// Format implements [hal.AudioStream].
func (r *recording) Format() hal.AudioFormat { return r.format }

// Next implements [hal.AudioStream].
func (r *recording) Next(ctx context.Context) (hal.AudioFrame, error) {
	return r.feed.next(ctx, "microphone")
}

// Close implements [hal.AudioStream].
func (r *recording) Close() error {
	r.once.Do(func() {
		r.feed.close()
		r.leave()
		_, _ = r.from.ask(context.Background(), "microphone 0", nil) // as lane.Close
	})
	return nil
}

func (r *recording) leave() {
	r.from.mu.Lock()
	defer r.from.mu.Unlock()
	if r.from.mic == r {
		r.from.mic = nil
	}
}

// sound queues a frame of the microphone.
func (s *session) sound(m message, now time.Time) error {
	f := s.hello.Microphone
	if f == nil {
		return broken("sound, but no microphone in its hello")
	}
	samples := f.samples(m)
	if samples <= 0 || len(m.body) > maxSound {
		return broken("sound of %d bytes with number %d, want the samples of each channel in number, and at most %d bytes", len(m.body), m.number, maxSound)
	}
	s.mu.Lock()
	r := s.mic
	s.mu.Unlock()
	if r == nil {
		return nil
	}
	at, err := s.clock.time(m.stamp, now)
	if err != nil {
		r.leave()
		r.feed.end(fmt.Errorf("%w: %s: %w", hal.ErrGarbage, s.name, err))
		return nil
	}
	if m.stamp == 0 { // what arrives now began to be heard a frame ago
		at = at.Add(-time.Duration(samples) * time.Second / time.Duration(f.Rate))
	}
	if !at.After(r.last) {
		at = r.last.Add(minStep)
	}
	r.last = at
	r.feed.put(hal.AudioFrame{Data: bytes.Clone(m.body), Samples: samples, Time: at}, soundFrames)
	return nil
}

// samples is how many a frame has, per channel: what it says, which for plain
// samples is what its size says.
func (f *soundFormat) samples(m message) int {
	size := 0
	switch f.Codec {
	case hal.PCMU, hal.PCMA:
		size = 1
	case hal.L16:
		size = 2
	default:
		return int(m.number)
	}
	size *= f.Channels
	if n := len(m.body) / size; n*size == len(m.body) && (m.number == 0 || int(m.number) == n) {
		return n
	}
	return 0
}

type speaker struct{ b *Framed }

// SpeakerFormats implements [hal.Speaker].
func (p speaker) SpeakerFormats() []hal.AudioFormat {
	list := make([]hal.AudioFormat, len(p.b.hello.Speaker))
	for i, f := range p.b.hello.Speaker {
		list[i] = f.format()
	}
	return list
}

// OpenSpeaker implements [hal.Speaker].
func (p speaker) OpenSpeaker(ctx context.Context, f hal.AudioFormat) (hal.Playback, error) {
	i := slices.IndexFunc(p.SpeakerFormats(), func(k hal.AudioFormat) bool { return k.Same(&f) })
	s, err := p.b.up(ctx)
	if err != nil {
		return nil, fmt.Errorf("sidecar board, speaker: %w", err)
	}
	t := &playback{to: s, rate: f.Rate, closed: make(chan struct{}), ended: make(chan struct{})}
	_, err = s.ask(ctx, fmt.Sprintf("speaker %d", i), func([]byte) error { s.talk = t; return nil })
	if err != nil {
		t.leave()
		if ctx.Err() != nil {
			s.tell("speaker -1")
		}
		return nil, fmt.Errorf("sidecar board, speaker: %w", err)
	}
	return t, nil
}

// playback is an open speaker. Pace is kept here, by our clock, so that a
// sidecar never has to let us wait.
type playback struct {
	to   *session
	rate int
	due  time.Time // when what was sent is played to its end

	closed, ended      chan struct{}
	shutting, stopping sync.Once
	why                error // once ended
}

// Write implements [hal.Playback].
func (p *playback) Write(ctx context.Context, f hal.AudioFrame) error {
	takes := time.Duration(f.Samples) * time.Second / time.Duration(p.rate)
	now := time.Now()
	if p.due.Before(now) {
		p.due = now
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	t := time.NewTimer(p.due.Add(takes).Sub(now) - hal.SpeakerAhead)
	defer t.Stop()
	select {
	case <-p.closed:
		return fmt.Errorf("speaker: %w", hal.ErrClosed)
	case <-p.ended:
		return fmt.Errorf("speaker: %w", p.why)
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
	}
	p.due = p.due.Add(takes)
	return p.to.send(message{kind: msgTalk, number: uint16(f.Samples), body: f.Data})
}

func (p *playback) fail(why error) { p.stopping.Do(func() { p.why = why; close(p.ended) }) }

// Close implements [hal.Playback].
func (p *playback) Close() error {
	p.shutting.Do(func() {
		close(p.closed)
		p.leave()
		_, _ = p.to.ask(context.Background(), "speaker -1", nil) // as lane.Close
	})
	return nil
}

func (p *playback) leave() {
	p.to.mu.Lock()
	defer p.to.mu.Unlock()
	if p.to.talk == p {
		p.to.talk = nil
	}
}
