package sim

import (
	"context"
	"math"
	"math/bits"
	"math/rand/v2"
	"time"

	"iid2secure.nl/camagent/hal"
)

// Beeps: one starts at every whole multiple of BeepEvery since the board's
// start, to the sample, and the lamp in the picture is lit exactly as long.
const (
	BeepEvery  = 2 * time.Second
	BeepLength = 80 * time.Millisecond
	BeepHz     = 1000
)

// BeepAt says whether a beep sounds, and the lamp is lit, at t.
func (b *Board) BeepAt(t time.Time) bool { return beeping(t.Sub(b.start)) }

func beeping(since time.Duration) bool { return since >= 0 && since%BeepEvery < BeepLength }

const (
	soundRate    = 8000
	soundFrame   = 20 * time.Millisecond
	soundSamples = soundRate / 50
	soundLoop    = int(BeepEvery / soundFrame) // frames until sound repeats
)

// microphone plays a loop of BeepEvery; frames are parts of it, never written again.
type microphone struct {
	board  *Board
	ticker *ticker
	loop   []byte
	next   int64 // frames since the board's start
	link   link
	noises []sounding
}

func newMicrophone(b *Board) *microphone {
	m := &microphone{board: b, ticker: newTicker("microphone", b.start), loop: soundtrack(b.seed)}
	m.next = int64(m.ticker.now() / soundFrame)
	m.link = newLink(b, m.ticker.now())
	m.link.sound = true
	return m
}

// Format implements [hal.AudioStream].
func (m *microphone) Format() hal.AudioFormat {
	return hal.AudioFormat{Codec: hal.PCMU, Rate: soundRate, Channels: 1}
}

// Next implements [hal.AudioStream]. A frame comes when its last sample has sounded.
func (m *microphone) Next(ctx context.Context) (hal.AudioFrame, error) {
	for {
		s := m.link.look(m.ticker.now(), 0)
		if s.err != nil {
			return hal.AudioFrame{}, failed("microphone", s.err)
		}
		at := time.Duration(m.next+1) * soundFrame
		if err := m.ticker.wait(ctx, min(at, s.border), s.changed); err != nil {
			return hal.AudioFrame{}, err
		}
		if m.ticker.now() >= at && s.border > at {
			break
		}
	}
	if now := int64(m.ticker.now() / soundFrame); now-m.next > int64(maxLate/soundFrame)+1 {
		m.next = now - 1
	}
	f := hal.AudioFrame{
		Data:    m.frame(time.Duration(m.next) * soundFrame),
		Samples: soundSamples,
		Time:    m.board.start.Add(time.Duration(m.next)*soundFrame + m.link.skew),
	}
	m.next++
	return f, nil
}

// frame is the sound from a time on: of the loop, unless there is more to hear.
func (m *microphone) frame(since time.Duration) []byte {
	at := int(since/soundFrame%time.Duration(soundLoop)) * soundSamples
	usual := m.loop[at : at+soundSamples : at+soundSamples]
	if m.noises = m.board.sounds(m.noises[:0], since); len(m.noises) == 0 {
		return usual
	}
	out := make([]byte, soundSamples)
	for i := range out {
		t := since + time.Duration(i)*time.Second/soundRate
		out[i] = muLaw(mix(m.noises, linear(usual[i]), t))
	}
	return out
}

// Close implements [hal.AudioStream].
func (m *microphone) Close() error {
	m.ticker.close()
	m.board.mu.Lock()
	defer m.board.mu.Unlock()
	if m.board.mic == m {
		m.board.mic = nil
	}
	return nil
}

// soundtrack is one period of sound: the beep, then a faint hum with noise.
func soundtrack(seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 0x50))
	out := make([]byte, soundLoop*soundSamples)
	beep := int(BeepLength * soundRate / time.Second)
	for i := range out {
		t := float64(i) / soundRate
		v := 60*math.Sin(2*math.Pi*100*t) + float64(r.IntN(81)-40)
		if i < beep {
			v += 12000 * math.Sin(2*math.Pi*BeepHz*t)
		}
		out[i] = muLaw(int(v))
	}
	return out
}

// muLaw encodes one sample of 16 bits (ITU-T G.711).
//
//go:norace
func muLaw(v int) byte {
	const bias, most = 0x84, 32635
	sign := byte(0)
	if v < 0 {
		sign, v = 0x80, -v
	}
	v = min(v, most) + bias
	exponent := bits.Len(uint(v)) - 8
	return ^(sign | byte(exponent)<<4 | byte(v>>(exponent+3))&15)
}

// linear decodes a sample.
//
//go:norace
func linear(c byte) int {
	c = ^c
	v := (int(c&15)<<3+0x84)<<(c>>4&7) - 0x84
	if c&0x80 != 0 {
		return -v
	}
	return v
}
