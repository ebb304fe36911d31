package talk

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bluenviron/mediacommon/v2/pkg/codecs/g711"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"iid2secure.nl/camagent/hal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// piece is one frame as the speaker played it.
type piece struct {
	at  time.Time
	pcm []int16 // the first channel
}

// loudspeaker keeps the pace as hal.Playback says, and notes what it plays.
type loudspeaker struct {
	formats []hal.AudioFormat

	mu      sync.Mutex
	open    bool
	opens   int
	fail    error // of opening
	broken  error // of playing
	hang    bool  // Write blocks until its context ends
	format  hal.AudioFormat
	end     time.Time
	pieces  []piece
	most    time.Duration // that it held
	slowing time.Duration // that a second of its clock lasts longer
	stall   time.Duration // that every 40th frame takes longer to be handed over
}

func (l *loudspeaker) SpeakerFormats() []hal.AudioFormat { return l.formats }

func (l *loudspeaker) OpenSpeaker(ctx context.Context, f hal.AudioFormat) (hal.Playback, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.opens++
	if l.fail != nil {
		return nil, l.fail
	}
	if l.open {
		return nil, errors.New("opened twice")
	}
	l.open, l.format, l.end = true, f, time.Time{}
	return l, ctx.Err()
}

func (l *loudspeaker) Write(ctx context.Context, f hal.AudioFrame) error {
	l.mu.Lock()
	broken, hang := l.broken, l.hang
	now := time.Now()
	if l.end.Before(now) {
		l.end = now
	}
	length := time.Duration(f.Samples) * (time.Second + l.slowing) / time.Duration(l.format.Rate)
	wait := l.end.Add(length).Sub(now) - hal.SpeakerAhead
	l.mu.Unlock()
	if broken != nil {
		return broken
	}
	if hang {
		<-ctx.Done()
	}
	select {
	case <-time.After(wait):
	case <-ctx.Done():
		return ctx.Err()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pieces = append(l.pieces, piece{l.end, decoded(l.format, f.Data)})
	l.end = l.end.Add(length)
	l.most = max(l.most, time.Until(l.end))
	if len(l.pieces)%40 == 0 {
		time.Sleep(l.stall)
	}
	return nil
}

// Close forgets what has not been played.
func (l *loudspeaker) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	l.open = false
	for i, p := range l.pieces {
		if left := now.Sub(p.at); left < time.Duration(len(p.pcm))*time.Second/time.Duration(l.format.Rate) {
			n := max(0, int(left*time.Duration(l.format.Rate)/time.Second))
			l.pieces = append(l.pieces[:i], piece{p.at, p.pcm[:n]})
			break
		}
	}
	return nil
}

func (l *loudspeaker) isOpen() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.open
}

func decoded(f hal.AudioFormat, b []byte) (pcm []int16) {
	switch f.Codec {
	case hal.PCMU:
		var m g711.Mulaw
		m.Unmarshal(b)
		b = m
	case hal.PCMA:
		var a g711.Alaw
		a.Unmarshal(b)
		b = a
	}
	for i := 0; i < len(b); i += 2 * f.Channels {
		pcm = append(pcm, int16(binary.BigEndian.Uint16(b[i:])))
	}
	return pcm
}

// tape is what was played as one line, with silence where the speaker had nothing.
type tape struct {
	from time.Time
	rate int
	pcm  []int16
	gaps []time.Duration // in which the speaker had nothing
}

func (l *loudspeaker) tape() tape {
	l.mu.Lock()
	defer l.mu.Unlock()
	return record(l.format.Rate, l.pieces)
}

func record(rate int, pieces []piece) tape {
	t := tape{rate: rate}
	for i, p := range pieces {
		if i == 0 {
			t.from = p.at
		}
		gap := p.at.Sub(t.when(len(t.pcm)))
		if n := int(gap.Round(time.Millisecond) * time.Duration(rate) / time.Second); n > 0 {
			t.gaps = append(t.gaps, gap)
			t.pcm = append(t.pcm, make([]int16, n)...)
		}
		t.pcm = append(t.pcm, p.pcm...)
	}
	return t
}

func (t tape) when(i int) time.Time {
	return t.from.Add(time.Duration(i) * time.Second / time.Duration(t.rate))
}

// loudness of a part in dB below full scale.
func loudness(pcm []int16) float64 {
	var sum float64
	for _, s := range pcm {
		sum += float64(s) * float64(s)
	}
	return 10 * math.Log10((sum+1e-9)/float64(len(pcm))/(32768*32768))
}

// purity tells how much of a part is a tone of f Hz: 1 is all of it.
func purity(pcm []int16, f float64, rate int) float64 {
	var a, b, all float64
	for i, s := range pcm {
		sin, cos := math.Sincos(2 * math.Pi * f * float64(i) / float64(rate))
		a += float64(s) * sin
		b += float64(s) * cos
		all += float64(s) * float64(s)
	}
	return 2 * (a*a + b*b) / (float64(len(pcm))*all + 1e-9)
}

// sounding cuts off the silence around.
func (t tape) sounding() []int16 {
	loud := func(s int16) bool { return s > 500 || s < -500 }
	from := slices.IndexFunc(t.pcm, loud)
	if from < 0 {
		return nil
	}
	to := len(t.pcm)
	for !loud(t.pcm[to-1]) {
		to--
	}
	return t.pcm[from:to]
}

const (
	hertz = 400.
	level = 12000. // amplitude: 11.7 dB below full scale
)

// period is one period of the tone.
const period = int(rate / hertz)

var periods = map[hal.Codec][]byte{hal.PCMU: onePeriod(hal.PCMU), hal.PCMA: onePeriod(hal.PCMA)}

func onePeriod(codec hal.Codec) (b []byte) {
	pcm := make([]byte, 0, 2*period)
	for i := range period {
		v := int16(level * math.Sin(2*math.Pi*hertz*float64(i)/rate))
		pcm = binary.BigEndian.AppendUint16(pcm, uint16(v))
	}
	if codec == hal.PCMA {
		b, _ = g711.Alaw(pcm).Marshal()
	} else {
		b, _ = g711.Mulaw(pcm).Marshal()
	}
	return b
}

// tone is n samples of G.711 from sample number at on.
func tone(codec hal.Codec, at, n int) []byte {
	return bytes.Repeat(periods[codec], n/period+2)[at%period:][:n:n]
}

// sent is a packet on its way.
type sent struct {
	at time.Duration
	Packet
}

// speech is a tone in packets of n samples, each sent when its last sample is there.
func speech(codec hal.Codec, lasts time.Duration, n int) (list []sent) {
	for at := 0; lasting(int64(at)) < lasts; at += n {
		list = append(list, sent{lasting(int64(at + n)), Packet{codec, uint16(65000 + at/n), uint32(at) - 5000, tone(codec, at, n)}})
	}
	return list
}

// say sends packets at their times, from now on.
func say(t *testing.T, k *Talker, list []sent) {
	t.Helper()
	slices.SortStableFunc(list, func(a, b sent) int { return cmp.Compare(a.at, b.at) })
	began := time.Now()
	for i, s := range list {
		time.Sleep(s.at - time.Since(began))
		if err := k.Packet(s.Packet); err != nil {
			t.Errorf("packet %d at %v: %v", i, s.at, err)
			return
		}
	}
}

// bench is a desk that runs, in simulated time.
type bench struct {
	*Desk
	*loudspeaker
	log *observer.ObservedLogs
}

func wide() []hal.AudioFormat { return []hal.AudioFormat{{Codec: hal.L16, Rate: 16000, Channels: 1}} }

func bubble(t *testing.T, f func(t *testing.T, b *bench), formats ...hal.AudioFormat) {
	t.Helper()
	if formats == nil {
		formats = wide()
	}
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zapcore.DebugLevel)
		l := &loudspeaker{formats: formats}
		b := &bench{New(l, Config{Log: zap.New(core)}), l, logs}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- b.Run(ctx) }()
		synctest.Wait()
		defer func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
			if b.isOpen() {
				t.Error("the speaker is left open")
			}
		}()
		f(t, b)
	})
}
