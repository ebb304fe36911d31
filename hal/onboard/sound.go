package onboard

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/bluenviron/gortsplib/v4/pkg/description"
	"github.com/bluenviron/gortsplib/v4/pkg/format"
	"github.com/bluenviron/gortsplib/v4/pkg/format/rtpmpeg4audio"
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/mpeg4audio"
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/opus"
	"github.com/pion/rtp"

	"iid2secure.nl/camagent/hal"
)

const (
	soundPlace = "microphone"
	// What may wait for a slow reader; then the oldest goes.
	maxSounds     = 256
	maxSoundBytes = 1 << 20
	// Longer pieces of plain samples are cut, as a frame is some 20 to 60 ms.
	longestPiece = 60 * time.Millisecond
	cutPiece     = 40 * time.Millisecond
)

// ear is the microphone: the sound of one stream, by a session of its own.
type ear struct {
	board *Board
	src   source
}

// OpenMicrophone implements [hal.Microphone].
func (e *ear) OpenMicrophone(ctx context.Context) (hal.AudioStream, error) {
	b := e.board
	return place(ctx, b, soundPlace, func(ctx context.Context) (*sound, error) {
		return openSound(ctx, e.src, b.timeout, b.after(soundPlace))
	})
}

// sound is one open microphone.
type sound struct {
	session *session
	queue   *queue[hal.AudioFrame]
	closing sync.Once
	closed  func(last time.Time)

	format  hal.AudioFormat
	unpack  func(*rtp.Packet) [][]byte
	samples func([]byte) int // in one frame, per channel

	clock clock // gortsplib's reader's own
}

func openSound(ctx context.Context, src source, timeout time.Duration, after time.Time) (*sound, error) {
	s := &sound{queue: newQueue[hal.AudioFrame](timeout), clock: clock{after: after}}
	ctx, cancel := within(ctx, timeout)
	defer cancel()
	var err error
	s.session, err = begin(ctx, src, description.MediaTypeAudio, s.choose, s.queue.fail)
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (s *sound) atClose(f func(time.Time)) { s.closed = f }

var errSound = errors.New("want G.711, L16, AAC-LC or Opus, of one or two channels")

// choose takes a track of sound that hal knows, plain samples rather than others.
func (s *sound) choose(medias []*description.Media) (track, func(*rtp.Packet), error) {
	const audio = description.MediaTypeAudio
	t, ok := track{}, false
	if g, f, found := find[*format.G711](medias, audio); found {
		t, ok = g, s.plain(law(f.MULaw), f.SampleRate, f.ChannelCount, 1)
	} else if l, f, found := find[*format.LPCM](medias, audio); found && f.BitDepth == 16 {
		t, ok = l, s.plain(hal.L16, f.SampleRate, f.ChannelCount, 2)
	} else if a, f, found := find[*format.MPEG4Audio](medias, audio); found {
		t, ok = a, s.aac(f)
	} else if o, f, found := find[*format.Opus](medias, audio); found {
		t, ok = o, s.opus(f)
	}
	is := codecs(medias, audio)
	if is == "" {
		return t, nil, fmt.Errorf("%w: the stream has no sound: switch it on in the streamer", hal.ErrNotFound)
	}
	if !ok || s.format.Channels < 1 || s.format.Channels > 2 || s.format.Rate < 8000 || s.format.Rate > 192000 {
		return t, nil, fmt.Errorf("%w its sound: it is %s, %w", hal.ErrUnable, is, errSound)
	}
	s.clock.rate = s.format.Rate
	return t, s.heard, nil
}

func law(mu bool) hal.Codec {
	if mu {
		return hal.PCMU
	}
	return hal.PCMA
}

// plain is sound of samples of a fixed width, in bytes.
func (s *sound) plain(c hal.Codec, rate, channels, width int) bool {
	width *= channels
	s.format = hal.AudioFormat{Codec: c, Rate: rate, Channels: channels}
	s.samples = func(b []byte) int { return len(b) / width }
	longest, cut := width*per(longestPiece, rate), width*per(cutPiece, rate)
	s.unpack = func(p *rtp.Packet) (list [][]byte) {
		b := p.Payload[:len(p.Payload)/width*width]
		for len(b) > longest {
			list, b = append(list, b[:cut:cut]), b[cut:]
		}
		return append(list, b)
	}
	return true
}

func per(d time.Duration, rate int) int { return int(d * time.Duration(rate) / time.Second) }

func (s *sound) opus(f *format.Opus) bool {
	s.format = hal.AudioFormat{Codec: hal.Opus, Rate: 48000, Channels: f.ChannelCount}
	s.samples = func(b []byte) int { return int(opus.PacketDuration2(b)) }
	s.unpack = func(p *rtp.Packet) [][]byte { return [][]byte{p.Payload} }
	return true
}

func (s *sound) aac(f *format.MPEG4Audio) bool {
	config, err := f.Config.Marshal()
	if err != nil || f.Config.Type != mpeg4audio.ObjectTypeAACLC || f.Config.ExtensionType != 0 ||
		f.SizeLength > 16 || f.IndexLength > 16 || f.IndexDeltaLength > 16 {
		return false
	}
	s.format = hal.AudioFormat{Codec: hal.AAC, Rate: f.Config.SampleRate, Channels: f.Config.ChannelCount, Config: config}
	length := 1024
	if f.Config.FrameLengthFlag {
		length = 960
	}
	s.samples = func([]byte) int { return length }
	s.unpack = (&aacParts{format: f}).add
	return true
}

// aacParts bounds gortsplib's decoder, which counts the bytes of a frame in
// parts, but not the parts.
type aacParts struct {
	format  *format.MPEG4Audio
	decoder *rtpmpeg4audio.Decoder
	parts   int
}

func (a *aacParts) add(p *rtp.Packet) [][]byte {
	if a.decoder == nil || a.parts > 64 {
		a.parts = 0
		a.decoder = &rtpmpeg4audio.Decoder{
			SizeLength: a.format.SizeLength, IndexLength: a.format.IndexLength, IndexDeltaLength: a.format.IndexDeltaLength,
		}
	}
	frames, err := a.decoder.Decode(p)
	if a.parts++; err == nil {
		a.parts = 0
	}
	return frames
}

// heard takes a packet. Its sound ended when it came.
func (s *sound) heard(p *rtp.Packet) {
	now := time.Now()
	s.queue.hear(now)
	list := s.unpack(p)
	left := 0
	for _, b := range list {
		left += s.samples(b)
	}
	stamp := p.Timestamp
	for _, b := range list {
		n := s.samples(b)
		if n == 0 || len(b) == 0 {
			continue
		}
		began := now.Add(-time.Duration(left) * time.Second / time.Duration(s.format.Rate))
		f := hal.AudioFrame{Data: b, Samples: n, Time: s.clock.at(stamp, began)}
		s.queue.update(func(waiting []hal.AudioFrame) []hal.AudioFrame { return append(newest(waiting, len(b)), f) })
		stamp += uint32(n)
		left -= n
	}
}

// newest leaves as many of the newest frames as may wait beside one more.
func newest(list []hal.AudioFrame, more int) []hal.AudioFrame {
	for i := range list {
		more += len(list[i].Data)
	}
	for len(list) > 0 && (len(list) >= maxSounds || more > maxSoundBytes) {
		more -= len(list[0].Data)
		list[0] = hal.AudioFrame{}
		list = list[1:]
	}
	return list
}

// Format implements [hal.AudioStream].
func (s *sound) Format() hal.AudioFormat { return s.format }

// Next implements [hal.AudioStream].
func (s *sound) Next(ctx context.Context) (hal.AudioFrame, error) {
	f, err := s.queue.next(ctx)
	if err != nil {
		return f, fmt.Errorf("onboard board, %s: %w", soundPlace, err)
	}
	return f, nil
}

// Close implements [hal.AudioStream].
func (s *sound) Close() error {
	s.closing.Do(func() {
		s.queue.close()
		s.session.close()
		s.closed(s.clock.last)
	})
	return nil
}
