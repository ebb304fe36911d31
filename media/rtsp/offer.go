package rtsp

import (
	"bytes"
	"fmt"

	"github.com/bluenviron/gortsplib/v4"
	"github.com/bluenviron/gortsplib/v4/pkg/description"
	"github.com/bluenviron/gortsplib/v4/pkg/format"
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/mpeg4audio"

	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/media"
)

// Payload types: static ones of RFC 3551 where they exist, else these.
const (
	videoType = 96
	soundType = 97
)

// offer is what a stream was described as: it stays as it is for the sessions
// that were set up from it, while a later change of the stream makes a new one.
type offer struct {
	stream   *media.Stream
	sps, pps []byte
	sound    *hal.AudioFormat // nil: none
	desc     *description.Session

	// Guarded by Server.mu: gortsplib's view of it, there while sessions share it.
	users  int
	signal *gortsplib.ServerStream
}

// newOffer describes a stream (RFC 6184, 8.2 and RFC 3551, 3640, 7587).
func newOffer(s *media.Stream, sps, pps []byte, sound *hal.AudioFormat) (*offer, error) {
	o := &offer{stream: s, sps: sps, pps: pps, sound: sound}
	o.desc = &description.Session{Title: s.Name, Medias: []*description.Media{{
		Type:    description.MediaTypeVideo,
		Control: "trackID=0",
		Formats: []format.Format{&format.H264{PayloadTyp: videoType, SPS: sps, PPS: pps, PacketizationMode: 1}},
	}}}
	if sound == nil {
		return o, nil
	}
	f, err := soundFormat(sound)
	if err != nil {
		return nil, err
	}
	o.desc.Medias = append(o.desc.Medias, &description.Media{
		Type: description.MediaTypeAudio, Control: "trackID=1", Formats: []format.Format{f},
	})
	return o, nil
}

func (o *offer) matches(sps, pps []byte, sound *hal.AudioFormat) bool {
	return bytes.Equal(o.sps, sps) && bytes.Equal(o.pps, pps) && o.sound.Same(sound)
}

func soundFormat(f *hal.AudioFormat) (format.Format, error) {
	channels := max(f.Channels, 1)
	switch f.Codec {
	case hal.PCMU, hal.PCMA:
		g := &format.G711{PayloadTyp: soundType, MULaw: f.Codec == hal.PCMU, SampleRate: f.Rate, ChannelCount: channels}
		if f.Rate == 8000 && channels == 1 {
			g.PayloadTyp = map[hal.Codec]uint8{hal.PCMU: 0, hal.PCMA: 8}[f.Codec]
		}
		return g, nil
	case hal.L16:
		return &format.LPCM{PayloadTyp: soundType, BitDepth: 16, SampleRate: f.Rate, ChannelCount: channels}, nil
	case hal.Opus:
		return &format.Opus{PayloadTyp: soundType, ChannelCount: channels}, nil
	case hal.AAC:
		var c mpeg4audio.AudioSpecificConfig
		if err := c.Unmarshal(f.Config); err != nil {
			return nil, fmt.Errorf("AudioSpecificConfig %x of AAC sound: %w", f.Config, err)
		}
		return &format.MPEG4Audio{PayloadTyp: soundType, ProfileLevelID: 1, Config: &c,
			SizeLength: 13, IndexLength: 3, IndexDeltaLength: 3}, nil
	}
	return nil, fmt.Errorf("sound of codec %q is none of pcmu, pcma, l16, aac, opus", f.Codec)
}

// tracks gives each medium of the offer its numbering for one new viewer, its
// own SSRC included: what gortsplib announces in its answers to SETUP is replaced.
func (o *offer) tracks() []track {
	list := make([]track, len(o.desc.Medias))
	for i, m := range o.desc.Medias {
		f := m.Formats[0]
		list[i] = track{
			payload: f.PayloadType(),
			rate:    int64(f.ClockRate()),
			ssrc:    random32(),
			seq:     uint16(random32() >> 17), // the upper half would confuse SRTP (RFC 3711, 3.3.1)
			base:    random32(),
		}
	}
	return list
}
