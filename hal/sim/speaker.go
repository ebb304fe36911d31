package sim

import (
	"context"
	"fmt"
	"slices"
	"time"

	"iid2secure.nl/camagent/hal"
)

// maxHeard bounds the bytes that the board remembers of what it played: half a
// minute of µ-law.
const maxHeard = 256 << 10

// Heard is one piece of sound that the speaker played, from Time on.
type Heard struct {
	Format hal.AudioFormat
	Data   []byte
	Time   time.Time
}

// speaker is one talk. Its writer owns it, but for what the board's lock guards.
type speaker struct {
	board  *Board
	format hal.AudioFormat
	ticker *ticker
	end    time.Duration // when what is queued has been played
}

// SpeakerFormats implements [hal.Speaker].
func (b *Board) SpeakerFormats() []hal.AudioFormat {
	return []hal.AudioFormat{
		{Codec: hal.L16, Rate: 16000, Channels: 1},
		{Codec: hal.PCMU, Rate: 8000, Channels: 1},
		{Codec: hal.PCMA, Rate: 8000, Channels: 1},
	}
}

// OpenSpeaker implements [hal.Speaker]. [Board.Heard] tells what was played.
func (b *Board) OpenSpeaker(ctx context.Context, f hal.AudioFormat) (hal.Playback, error) {
	if err := ctx.Err(); err != nil {
		return nil, failed("opening the speaker", err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.speaker = &speaker{board: b, format: f, ticker: newTicker("speaker", b.start)}
	return b.speaker, nil
}

// Write implements [hal.Playback].
func (s *speaker) Write(ctx context.Context, f hal.AudioFrame) error {
	length := time.Duration(f.Samples) * time.Second / time.Duration(s.format.Rate)
	if err := s.ticker.wait(ctx, s.end+min(length-hal.SpeakerAhead, 0), nil); err != nil {
		return err
	}
	at := max(s.end, s.ticker.now())
	s.end = at + length
	s.board.mu.Lock()
	defer s.board.mu.Unlock()
	s.board.hear(Heard{s.format, slices.Clone(f.Data), s.board.start.Add(at)})
	return nil
}

// Close implements [hal.Playback].
func (s *speaker) Close() error {
	s.ticker.close()
	b := s.board
	b.mu.Lock()
	defer b.mu.Unlock()
	b.heard = slices.DeleteFunc(b.heard, func(h Heard) bool { return h.Time.After(time.Now()) })
	if n := len(b.heard); n > 0 && b.speaker == s {
		b.heard[n-1].cut(time.Now())
	}
	b.speaker = nil
	return nil
}

// cut takes away what would have been played after t.
func (h *Heard) cut(t time.Time) {
	width := 1
	if h.Format.Codec == hal.L16 {
		width = 2
	}
	played := min(t.Sub(h.Time), time.Minute) // no piece is longer
	n := int(played*time.Duration(h.Format.Rate)/time.Second) * width
	h.Data = h.Data[:min(max(n, 0), len(h.Data))]
}

// hear remembers a piece, and forgets the oldest. The caller holds the lock.
func (b *Board) hear(h Heard) {
	b.heard = append(b.heard, h)
	size := 0
	for i := len(b.heard) - 1; i >= 0; i-- {
		if size += len(b.heard[i].Data); size > maxHeard {
			b.heard = slices.Delete(b.heard, 0, i+1)
			return
		}
	}
}

// Heard returns what the speaker played, or began to, until now, oldest first;
// of very much only the newest half minute or so is kept.
func (b *Board) Heard() []Heard {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	n := len(b.heard)
	for n > 0 && b.heard[n-1].Time.After(now) {
		n--
	}
	return slices.Clone(b.heard[:n])
}

// failed says what the board could not do.
func failed(what string, err error) error { return fmt.Errorf("sim board: %s: %w", what, err) }
