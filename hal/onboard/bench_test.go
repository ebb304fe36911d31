package onboard

import (
	"bytes"
	"testing"
	"time"

	"github.com/pion/rtp"
)

// BenchmarkAssembler makes pictures of 20 kB, which are 4 Mbit/s at 25 a second,
// from packets of 1400 bytes.
func BenchmarkAssembler(b *testing.B) {
	const size, payload = 20_000, 1400
	w := newWire()
	w.hand = func(p picture) {
		if len(p.data) < size {
			b.Fatal("a picture is torn")
		}
	}
	nal := append([]byte{0x41, first}, bytes.Repeat([]byte{7}, size)...)
	var packets []rtp.Packet
	for at := 1; at < len(nal); at += payload {
		end := min(at+payload, len(nal))
		head := byte(1)
		if at == 1 {
			head |= 0x80
		}
		if end == len(nal) {
			head |= 0x40
		}
		packets = append(packets, rtp.Packet{
			Header:  rtp.Header{Marker: end == len(nal)},
			Payload: append([]byte{0x5c, head}, nal[at:end]...),
		})
	}
	b.SetBytes(size)
	b.ReportAllocs()
	now := time.Now()
	stamp := uint32(0)
	for b.Loop() {
		stamp += 3600
		for i := range packets {
			packets[i].SequenceNumber, packets[i].Timestamp = w.next, stamp
			w.add(&packets[i], now)
		}
	}
}
