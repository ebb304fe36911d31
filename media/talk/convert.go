package talk

import (
	"encoding/binary"
	"time"

	"github.com/bluenviron/mediacommon/v2/pkg/codecs/g711"

	"iid2secure.nl/camagent/hal"
)

const pcma = hal.PCMA

// What each byte of G.711 means.
var (
	mulaw = table(func(b []byte) []byte { var m g711.Mulaw; m.Unmarshal(b); return m })
	alaw  = table(func(b []byte) []byte { var a g711.Alaw; a.Unmarshal(b); return a })
)

func table(decode func([]byte) []byte) (t [256]int16) {
	for i := range t {
		t[i] = int16(binary.BigEndian.Uint16(decode([]byte{byte(i)})))
	}
	return t
}

// best is the first format that a desk can make.
func best(formats []hal.AudioFormat) (hal.AudioFormat, bool) {
	for _, f := range formats {
		g := f.Codec == hal.PCMU || f.Codec == hal.PCMA || f.Codec == hal.L16
		if g && f.Rate >= rate && f.Rate <= 192000 && f.Channels >= 1 && f.Channels <= 8 {
			return f, true
		}
	}
	return hal.AudioFormat{}, false
}

// converter makes frames for the speaker. Between samples it follows the cubic
// through the four around (Catmull-Rom): where rates are equal and nothing is
// stretched, samples pass unchanged.
type converter struct {
	format hal.AudioFormat
	count  int     // samples of a frame, per channel
	in     []int16 // the last 3 samples of the frame before, and this one
}

func newConverter(f hal.AudioFormat) *converter {
	return &converter{format: f, count: f.Rate / int(1e9/frameTime), in: make([]int16, 3, 256)}
}

// frame makes one frame of any number of samples that come.
func (c *converter) frame(s []int16) hal.AudioFrame {
	c.in = append(c.in, s...)
	pcm := make([]byte, 0, 2*c.count*c.format.Channels)
	for i := range c.count {
		at := i * len(s)
		v := uint16(between(c.in[at/c.count:], at%c.count, c.count))
		for range c.format.Channels {
			pcm = binary.BigEndian.AppendUint16(pcm, v)
		}
	}
	c.in = append(c.in[:0], c.in[len(s):]...)
	return hal.AudioFrame{Data: c.encode(pcm), Samples: c.count}
}

// between interpolates at part/whole from x[1] to x[2].
func between(x []int16, part, whole int) int16 {
	if part == 0 {
		return x[1]
	}
	t := float32(part) / float32(whole)
	a, b, c, d := float32(x[0]), float32(x[1]), float32(x[2]), float32(x[3])
	v := b + t/2*(c-a+t*(2*a-5*b+4*c-d+t*(3*(b-c)+d-a)))
	return int16(min(max(v, -32768), 32767))
}

func (c *converter) encode(pcm []byte) []byte {
	var b []byte
	switch c.format.Codec {
	case hal.PCMU:
		b, _ = g711.Mulaw(pcm).Marshal() // fails on half a sample only
	case hal.PCMA:
		b, _ = g711.Alaw(pcm).Marshal()
	default:
		return pcm
	}
	return b
}

// lasts is the length of a frame.
func (c *converter) lasts() time.Duration {
	return time.Duration(c.count) * time.Second / time.Duration(c.format.Rate)
}
