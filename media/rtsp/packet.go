package rtsp

import "encoding/binary"

const (
	frameHeader = 4  // RFC 2326, 10.12: '$', channel, length
	rtpHeader   = 12 // RFC 3550, 5.1: no extension, no contributing sources
)

// gather collects packets of one viewer in the form of RFC 2326, 10.12 and
// hands them to send in pieces of whole packets, at most a buffer's worth. An
// error sticks until it is reset.
type gather struct {
	buf  []byte // len: what waits; cap: the largest piece
	most int    // the buffer grows up to this
	send func([]byte) error
	err  error
	sent uint64
}

// packet adds a packet of n bytes on a channel and returns it to be filled. n
// is at most 65,535 and fits the buffer.
func (g *gather) packet(channel uint8, n int) []byte {
	if need := len(g.buf) + frameHeader + n; need > cap(g.buf) {
		if need <= g.most {
			g.buf = append(make([]byte, 0, min(2*need, g.most)), g.buf...)
		} else {
			g.flush()
		}
	}
	at := len(g.buf) + frameHeader
	g.buf = append(g.buf, '$', channel, byte(n>>8), byte(n))[:at+n]
	return g.buf[at : at+n : at+n]
}

// flush sends what waits. After an error everything is thrown away.
func (g *gather) flush() {
	if len(g.buf) > 0 && g.err == nil {
		if g.err = g.send(g.buf); g.err == nil {
			g.sent += uint64(len(g.buf))
		}
	}
	g.buf = g.buf[:0]
}

// track is one medium on its way to one viewer: its numbering and its counts.
type track struct {
	on      bool  // the viewer has set it up
	channel uint8 // of RTP; RTCP has the next one
	payload uint8
	ssrc    uint32
	seq     uint16
	base    uint32 // timestamp at the timeline's zero
	rate    int64  // of timestamps

	started    bool
	last       uint32 // newest timestamp
	sound      soundClock
	packets    uint32 // sent, for reports (RFC 3550, 6.4.1)
	octets     uint32
	reportedIn int // round of the last report
}

// packet adds an RTP packet with n bytes of payload and returns the payload.
func (t *track) packet(g *gather, ts uint32, marker bool, n int) []byte {
	b := g.packet(t.channel, rtpHeader+n)
	b[0], b[1] = 2<<6, t.payload
	if marker {
		b[1] |= 0x80
	}
	binary.BigEndian.PutUint16(b[2:], t.seq)
	binary.BigEndian.PutUint32(b[4:], ts)
	binary.BigEndian.PutUint32(b[8:], t.ssrc)
	t.count(1, n)
	return b[rtpHeader:]
}

// count has packets follow, octets of payload in all.
func (t *track) count(packets, octets int) {
	t.seq += uint16(packets)
	t.packets += uint32(packets)
	t.octets += uint32(octets)
}

// begins sets the marker of the first packet of a frame of sound.
func begins(b []byte, marker bool) {
	if len(b) == 0 {
		return
	}
	if b[frameHeader+1] &^= 0x80; marker {
		b[frameHeader+1] |= 0x80
	}
}

// relabel makes packets of one sample, packed for another track, this track's
// next ones, with timestamps put forward by later.
func (t *track) relabel(b []byte, later uint32) {
	for seq := t.seq; len(b) > 0; seq++ {
		n := frameHeader + int(binary.BigEndian.Uint16(b[2:]))
		b[1] = t.channel
		h := b[frameHeader : frameHeader+rtpHeader]
		h[1] = h[1]&0x80 | t.payload
		binary.BigEndian.PutUint16(h[2:], seq)
		binary.BigEndian.PutUint32(h[4:], binary.BigEndian.Uint32(h[4:])+later)
		binary.BigEndian.PutUint32(h[8:], t.ssrc)
		b = b[n:]
	}
}
