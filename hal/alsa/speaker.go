package alsa

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/bluenviron/mediacommon/v2/pkg/codecs/g711"

	"iid2secure.nl/camagent/hal"
)

// speaker is the part that opens one.
type speaker struct {
	sound *Sound
	name  string
}

// SpeakerFormats implements [hal.Speaker].
func (s speaker) SpeakerFormats() []hal.AudioFormat {
	return []hal.AudioFormat{
		{Codec: hal.L16, Rate: 16000, Channels: 1}, {Codec: hal.L16, Rate: 8000, Channels: 1},
		{Codec: hal.PCMU, Rate: 8000, Channels: 1}, {Codec: hal.PCMA, Rate: 8000, Channels: 1},
	}
}

// OpenSpeaker implements [hal.Speaker].
func (s speaker) OpenSpeaker(ctx context.Context, f hal.AudioFormat) (hal.Playback, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	d, err := s.sound.openDevice(s.name, playback, f.Rate, hal.SpeakerAhead)
	if err != nil {
		return nil, err
	}
	t := &talker{device: d, format: f, convert: newConverter(f.Rate, d.pcm.rate)}
	t.most = int(time.Duration(d.pcm.rate) * hal.SpeakerAhead / time.Second)
	return t, nil
}

// talker is one open speaker.
type talker struct {
	*device
	format  hal.AudioFormat
	convert *converter
	most    int  // frames that the device may hold
	running bool // the cushion is there
}

// Write implements [hal.Playback].
func (t *talker) Write(ctx context.Context, f hal.AudioFrame) error {
	err := t.enter(ctx)
	defer t.leave()
	if err != nil {
		return err
	}
	samples, err := decode(t.format.Codec, f.Data)
	if err != nil {
		return t.errorf(err)
	}
	rest := spread(nil, t.convert.push(nil, samples), t.pcm.channels)
	for len(rest) > 0 && err == nil {
		if err = t.interrupted(ctx); err == nil {
			rest, err = t.write(rest)
		}
	}
	return err
}

// write plays some of b, or waits, and returns what is left.
func (t *talker) write(b []int16) ([]int16, error) {
	queued, err := t.pcm.queued()
	if err == nil && !t.running {
		queued, err = t.begin()
	}
	if err != nil {
		return b, t.again(err)
	}
	if over := queued + len(b)/t.pcm.channels - t.most; over > 0 && queued > 0 {
		return b, t.sleep(min(over, queued))
	}
	n, err := t.pcm.move(b)
	switch {
	case err != nil:
		return b, t.again(err)
	case n == 0:
		return b, t.sleep(1 + t.pcm.period/2)
	}
	return b[n*t.pcm.channels:], nil
}

// begin plays the cushion, which the first sound stands on.
func (t *talker) begin() (queued int, err error) {
	t.running = true
	return t.pcm.move(make([]int16, t.pcm.cushion()*t.pcm.channels))
}

// sleep waits for as long as the device takes to play so many frames.
func (t *talker) sleep(frames int) error {
	if err := t.wait(time.Duration(frames) * time.Second / time.Duration(t.pcm.rate)); err != nil {
		return t.die(err)
	}
	return nil
}

// again makes a device ready that ran empty: the writer made a pause.
func (t *talker) again(err error) error {
	t.running = false
	if err := t.recover("writing", err); err != nil {
		return t.die(err)
	}
	return nil
}

// decode makes samples of one frame.
func decode(codec hal.Codec, b []byte) ([]int16, error) {
	switch codec {
	case hal.L16:
	case hal.PCMU:
		var m g711.Mulaw
		m.Unmarshal(b)
		b = m
	case hal.PCMA:
		var a g711.Alaw
		a.Unmarshal(b)
		b = a
	default:
		return nil, fmt.Errorf("%w: %s, want l16, pcmu or pcma", hal.ErrArgument, codec)
	}
	samples := make([]int16, len(b)/2)
	for i := range samples {
		samples[i] = int16(binary.BigEndian.Uint16(b[2*i:]))
	}
	return samples, nil
}
