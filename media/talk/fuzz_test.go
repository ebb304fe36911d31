package talk

import (
	"encoding/binary"
	"testing"
	"time"

	"iid2secure.nl/camagent/hal"
)

// FuzzPackets has a sequence of packets put in and frames taken out: of each 8
// bytes two are the time since the one before, two the sequence number, two
// what is added to the timestamp, one is the kind of packet and one its size.
func FuzzPackets(f *testing.F) {
	var even, wild []byte
	for n := range 40 {
		even = append(even, 3, 232, 0, byte(n), 0, 160, 0, 160)
		wild = append(wild, byte(n), 200, byte(n), 0, 255-byte(n), 7, byte(n), byte(200+n))
	}
	f.Add(even)
	f.Add(wild)
	f.Add(append(wild, even...))
	f.Fuzz(func(t *testing.T, b []byte) {
		now := time.Unix(1e9, 0)
		var count Stats
		j := newJitter(&count)
		c := newConverter(hal.AudioFormat{Codec: hal.L16, Rate: 16000, Channels: 1})
		in := make([]int16, 0, 200)
		due, ts := now, uint32(1<<32-1000)
		for b = b[:min(len(b), 8*300)]; len(b) >= 8; b = b[8:] {
			now = now.Add(time.Duration(binary.BigEndian.Uint16(b)) * 20 * time.Microsecond)
			ts += uint32(int32(int16(binary.BigEndian.Uint16(b[4:]))))
			if b[6] > 250 {
				ts *= 77777
			}
			for ; due.Before(now) && j.state != idle; due = due.Add(frameTime) {
				take(t, j, c, due, in)
			}
			if j.state == idle {
				due = now
			}
			p := Packet{hal.PCMU, binary.BigEndian.Uint16(b[2:]), ts, make([]byte, 1+int(b[7])*6)}
			j.put(&p, now)
			if held := j.end - j.next; held > samples(maxHeld) || held < 0 && j.state == waiting {
				t.Fatalf("%d samples are held", held)
			}
			if d := j.delay.target; d < minDelay || d > maxDelay {
				t.Fatalf("sound shall wait %v", d)
			}
		}
	})
}

// take does what a sitting does every 20 ms.
func take(t *testing.T, j *jitter, c *converter, now time.Time, in []int16) {
	if j.state == playing && j.over(false) {
		j.state = idle
	}
	if j.state == waiting && !now.Before(j.begin) {
		j.state = playing
	}
	if j.state != playing {
		return
	}
	before := j.next
	s := j.frame(now, in)
	if n := len(s); n < 160-stretch || n > 160+stretch || j.next < before || j.next > before+int64(n) {
		t.Fatalf("a frame of %d samples, from %d to %d", n, before, j.next)
	}
	if f := c.frame(s); len(f.Data) != 640 || f.Samples != 320 {
		t.Fatalf("a frame of %d bytes for %d samples", len(f.Data), f.Samples)
	}
}
