package rtsp

import (
	"encoding/binary"
	"time"

	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/media"
)

// soundDrift is how far the count of samples and the capture times may part
// before sound is put back on the common clock.
const soundDrift = 30 * time.Millisecond

// soundClock counts samples, so that sound is even, and follows capture times,
// so that it stays with the picture.
type soundClock struct {
	running bool
	next    int64 // timestamp ticks since the timeline's zero
}

// stamp returns the tick of the first sample of a frame, captured at tick
// captured since the timeline's zero, that lasts ticks; anchored: the count was
// put back to the capture time, as it is at the start.
func (c *soundClock) stamp(captured, ticks, rate int64) (at int64, anchored bool) {
	at = captured
	limit := rate * int64(soundDrift/time.Millisecond) / 1000
	if d := at - c.next; c.running && d <= limit && d >= -limit {
		at = c.next
	} else {
		anchored = true
	}
	c.running, c.next = true, at+ticks
	return at, anchored
}

// audio packs one frame of sound of format f.
func (t *track) audio(g *gather, f *hal.AudioFormat, s *media.Sample, ts uint32, marker bool) {
	switch f.Codec {
	case hal.PCMU, hal.PCMA:
		t.samples(g, s.Data, ts, marker, max(f.Channels, 1))
	case hal.L16:
		t.samples(g, s.Data, ts, marker, 2*max(f.Channels, 1))
	case hal.AAC:
		t.aac(g, s.Data, ts)
	case hal.Opus: // RFC 7587, 4.2: one packet, one payload
		if len(s.Data) > 0 && len(s.Data) < chunk/2 {
			copy(t.packet(g, ts, marker, len(s.Data)), s.Data)
		}
	}
}

// samples packs uncompressed sound, size bytes an instant (RFC 3551, 4.3).
func (t *track) samples(g *gather, data []byte, ts uint32, marker bool, size int) {
	data = data[:len(data)/size*size]
	for len(data) > 0 {
		n := min(len(data), maxPayload/size*size)
		copy(t.packet(g, ts, marker, n), data)
		data, ts, marker = data[n:], ts+uint32(n/size), false
	}
}

// aac packs one frame in AAC-hbr mode (RFC 3640, 3.3.6): a header of 13 bits of
// size and 3 of index; a frame that is too large in fragments, each of which
// tells the whole size. The marker stands on the last.
func (t *track) aac(g *gather, frame []byte, ts uint32) {
	const header = 4
	if len(frame) >= 1<<13 {
		return // cannot be told; an AAC-LC frame has at most 768 bytes a channel
	}
	size := uint16(len(frame)) << 3
	for len(frame) > 0 {
		n := min(len(frame), maxPayload-header)
		p := t.packet(g, ts, n == len(frame), header+n)
		binary.BigEndian.PutUint16(p, 16) // bits of headers
		binary.BigEndian.PutUint16(p[2:], size)
		copy(p[header:], frame[:n])
		frame = frame[n:]
	}
}

// soundTicks tells how many timestamp ticks a frame lasts. Opus counts at 48 kHz
// whatever its rate (RFC 7587, 4.1).
func soundTicks(f *hal.AudioFormat, samples int) int64 {
	if f.Codec == hal.Opus && f.Rate > 0 {
		return int64(samples) * 48000 / int64(f.Rate)
	}
	return int64(samples)
}
