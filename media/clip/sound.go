package clip

import (
	"fmt"
	"time"

	"github.com/bluenviron/mediacommon/v2/pkg/codecs/g711"
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/mpeg4audio"
	"github.com/bluenviron/mediacommon/v2/pkg/formats/mp4"

	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/media"
)

// maxDrift is how far the sound's own clock may be from the capture times
// before sound is placed anew.
const maxDrift = 40 * time.Millisecond

// sounds is the sound track of a clip. Frames follow one another without a gap
// while their capture times agree with that within maxDrift; a later one is put
// where it belongs, an earlier one is left out.
type sounds struct {
	codec mp4.Codec
	clock int64
	frame func(data []byte, samples int) (payload []byte, duration uint64)
	track track
	begun bool
	heard time.Time // capture of the newest frame
	pcm   []byte    // payloads of the fragment that we made
}

// newSounds returns an error for a format that cannot be put into an MP4.
func newSounds(f *hal.AudioFormat) (*sounds, error) {
	if f.Rate < 1000 || f.Rate > 192000 || f.Channels < 1 || f.Channels > 8 {
		return nil, fmt.Errorf("sound with %d channels at %d Hz, want 1 to 8 at 1000 to 192000", f.Channels, f.Rate)
	}
	s := &sounds{clock: int64(f.Rate), track: track{id: soundTrack}}
	switch f.Codec {
	case hal.PCMU, hal.PCMA:
		s.setPCM(f)
		s.frame = s.expander(f)
	case hal.L16:
		s.setPCM(f)
		width := 2 * f.Channels
		s.frame = func(data []byte, _ int) ([]byte, uint64) {
			n := len(data) / width
			return data[:n*width], uint64(n)
		}
	case hal.AAC:
		if err := s.setAAC(f); err != nil {
			return nil, err
		}
	case hal.Opus:
		s.clock = 48000 // whatever the sender's rate (RFC 7845, 4.2)
		s.codec = &mp4.CodecOpus{ChannelCount: f.Channels}
		rate := uint64(f.Rate)
		s.frame = func(data []byte, samples int) ([]byte, uint64) { return data, uint64(samples) * 48000 / rate }
	default:
		return nil, fmt.Errorf("sound codec %q cannot be put into an MP4", f.Codec)
	}
	return s, nil
}

func (s *sounds) setPCM(f *hal.AudioFormat) {
	s.codec = &mp4.CodecLPCM{BitDepth: 16, SampleRate: f.Rate, ChannelCount: f.Channels}
}

func (s *sounds) setAAC(f *hal.AudioFormat) error {
	codec := &mp4.CodecMPEG4Audio{}
	if err := codec.Config.Unmarshal(f.Config); err != nil {
		return fmt.Errorf("AudioSpecificConfig of %d bytes: %w", len(f.Config), err)
	}
	s.codec = codec
	s.frame = func(data []byte, samples int) ([]byte, uint64) {
		if samples <= 0 {
			samples = mpeg4audio.SamplesPerAccessUnit
		}
		return data, uint64(samples)
	}
	return nil
}

// expander makes 16-bit PCM of G.711, which MP4 has no name for.
func (s *sounds) expander(f *hal.AudioFormat) func([]byte, int) ([]byte, uint64) {
	table := g711Table(f.Codec)
	channels := f.Channels
	return func(data []byte, _ int) ([]byte, uint64) {
		n := len(data) / channels
		from := len(s.pcm)
		for _, b := range data[:n*channels] {
			s.pcm = append(s.pcm, table[2*int(b)], table[2*int(b)+1])
		}
		return s.pcm[from:len(s.pcm):len(s.pcm)], uint64(n)
	}
}

// g711Table holds the 16-bit value of each of the 256 codes, big endian.
func g711Table(codec hal.Codec) []byte {
	codes := make([]byte, 256)
	for i := range codes {
		codes[i] = byte(i)
	}
	if codec == hal.PCMA {
		var t g711.Alaw
		t.Unmarshal(codes)
		return t
	}
	var t g711.Mulaw
	t.Unmarshal(codes)
	return t
}

// jumps tells that a frame captured at time at does not follow the one before:
// the fragment must end before it.
func (s *sounds) jumps(at time.Duration) bool {
	return s.begun && s.off(at) > s.drift()
}

// off is how much later than its predecessor's end a frame is, on the track's clock.
func (s *sounds) off(at time.Duration) int64 { return media.Ticks(at, s.clock) - int64(s.track.next) }

func (s *sounds) drift() int64 { return media.Ticks(maxDrift, s.clock) }

// add takes a frame captured at time at. After a jump the fragment is empty.
func (s *sounds) add(f *media.Sample, at time.Duration) {
	switch {
	case !s.begun || s.jumps(at):
		s.track.next = uint64(media.Ticks(at, s.clock))
		s.track.base = s.track.next
	case s.off(at) < -s.drift():
		return
	}
	payload, duration := s.frame(f.Data, f.Samples)
	if duration == 0 {
		return
	}
	s.begun, s.heard = true, f.Time
	s.track.add(payload, duration, true)
}

func (s *sounds) reset() {
	s.track.reset()
	s.pcm = s.pcm[:0]
}
