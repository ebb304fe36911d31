package main

import (
	"encoding/binary"
	"time"

	"golang.org/x/sys/unix"
)

// maxPayload of an RTP packet.
const maxPayload = 1440

const ssrc = 0x12345678

// packetiser numbers the packets of the one stream that all viewers get.
type packetiser struct {
	seq uint16
	buf []byte
}

// pack makes the interleaved packets (RFC 2326, 10.12; RFC 6184) of a frame, in
// memory that all viewers share.
func (p *packetiser) pack(f frame, timestamp uint32) []byte {
	size := 0
	for _, n := range f.nals {
		size += len(n) + (len(n)/(maxPayload-2)+1)*18
	}
	p.buf = make([]byte, 0, size)
	for i, n := range f.nals {
		last := i == len(f.nals)-1
		if len(n) <= maxPayload {
			p.packet(timestamp, last, nil, n)
			continue
		}
		p.pieces(timestamp, last, n)
	}
	return p.buf
}

// pieces makes FU-A packets of a NAL unit that is too long for one.
func (p *packetiser) pieces(timestamp uint32, last bool, nal []byte) {
	kind, rest := nal[0]&31|0x80, nal[1:]
	for len(rest) > 0 {
		n := min(len(rest), maxPayload-2)
		if n == len(rest) {
			kind |= 0x40
		}
		p.packet(timestamp, last && n == len(rest), []byte{nal[0]&0xe0 | 28, kind}, rest[:n])
		kind &= 31
		rest = rest[n:]
	}
}

func (p *packetiser) packet(timestamp uint32, marker bool, head, payload []byte) {
	n := 12 + len(head) + len(payload)
	kind := byte(96)
	if marker {
		kind |= 0x80
	}
	p.buf = append(p.buf, '$', 0, byte(n>>8), byte(n), 0x80, kind, byte(p.seq>>8), byte(p.seq))
	p.buf = binary.BigEndian.AppendUint32(p.buf, timestamp)
	p.buf = binary.BigEndian.AppendUint32(p.buf, ssrc)
	p.buf = append(append(p.buf, head...), payload...)
	p.seq++
}

// ticks of RTP's clock of 90 kHz.
func ticks(ns uint64) uint32 { return uint32(ns * 9 / 100_000) }

// report is an interleaved sender report (RFC 3550, 6.4.1) that tells the
// wall-clock time of RTP time 0.
func report(began uint64) []byte {
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) // cannot fail for this clock
	t := time.Now().Add(-time.Duration(uint64(now.Nano()) - began))
	const from1900to1970 = 2208988800
	b := []byte{'$', 1, 0, 28, 0x80, 200, 0, 6}
	b = binary.BigEndian.AppendUint32(b, ssrc)
	b = binary.BigEndian.AppendUint32(b, uint32(t.Unix()+from1900to1970))
	b = binary.BigEndian.AppendUint32(b, uint32(uint64(t.Nanosecond())<<32/1e9))
	return append(b, make([]byte, 12)...)
}
