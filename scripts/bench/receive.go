package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strconv"
	"sync"
	"time"

	"iid2secure.nl/camagent/hal"
)

// counts is what a viewer has received since it was last asked to count anew.
type counts struct {
	Frames  int // whole ones of the film, to the last byte
	Lost    int // that are missing between those
	Broken  int // with bytes missing or wrong; they are among the lost ones, too
	Gaps    int // RTP packets missing by their sequence numbers
	Packets int
	Late    []int32 // µs from the hand-over to the server until the last packet of each frame was read here
}

// receiver takes a viewer's bytes apart, without copying any: interleaved
// packets (RFC 2326, 10.12), RTP (RFC 3550), H.264 in it (RFC 6184). Picture by
// picture it compares with the film, every byte. One goroutine feeds it.
type receiver struct {
	film *film // nil: frames are counted and not looked at
	buf  []byte
	n    int
	clk  clock

	responses int // that came between packets
	started   bool
	seq       uint16
	reading   bool // some of a picture is there; what follows is about it
	stamp     uint32
	print     fingerprint
	key       bool

	mu     sync.Mutex // over what follows
	counts counts
	newest int // number in the film; -1: none yet
	frame  func(number int, key bool, at time.Time)
}

func newReceiver(f *film) *receiver {
	return &receiver{film: f, buf: make([]byte, 128<<10), newest: -1}
}

// space is where the next bytes go.
func (r *receiver) space() []byte { return r.buf[r.n:] }

// fed tells that n bytes have come at a time.
func (r *receiver) fed(n int, now time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.n += n
	used, err := r.take(r.buf[:r.n], now)
	r.n = copy(r.buf, r.buf[used:r.n])
	if err == nil && r.n == len(r.buf) {
		err = errors.New("a packet is longer than the buffer")
	}
	return err
}

// take returns how many bytes of b it needs no more.
func (r *receiver) take(b []byte, now time.Time) (used int, err error) {
	for used < len(b) {
		rest := b[used:]
		switch {
		case rest[0] == 'R': // the response to what we asked while pictures came
			n := responseSize(rest)
			if n == 0 {
				return used, nil
			}
			used += n
			r.responses++
			continue
		case rest[0] != '$':
			return used, errors.New("neither a packet nor a response begins where one should")
		case len(rest) < 4:
			return used, nil
		}
		n := 4 + int(binary.BigEndian.Uint16(rest[2:]))
		if len(rest) < n {
			return used, nil
		}
		if rest[1]&1 == 0 {
			r.rtp(rest[4:n], now)
		} else {
			r.clk.report(rest[4:n])
		}
		used += n
	}
	return used, nil
}

// responseSize is 0 while the response is not there as a whole.
func responseSize(b []byte) int {
	head := bytes.Index(b, []byte("\r\n\r\n"))
	if head < 0 {
		return 0
	}
	body := 0
	for _, l := range bytes.Split(b[:head], []byte("\r\n")) {
		if name, value, _ := bytes.Cut(l, []byte(":")); bytes.EqualFold(name, []byte("Content-Length")) {
			body, _ = strconv.Atoi(string(bytes.TrimSpace(value)))
		}
	}
	if n := head + 4 + body; n <= len(b) {
		return n
	}
	return 0
}

const rtpHeader = 12

func (r *receiver) rtp(p []byte, now time.Time) {
	if len(p) <= rtpHeader {
		r.counts.Broken++
		return
	}
	seq := binary.BigEndian.Uint16(p[2:])
	if r.started {
		r.counts.Gaps += int(seq - r.seq - 1)
	}
	r.started, r.seq = true, seq
	r.counts.Packets++
	stamp := binary.BigEndian.Uint32(p[4:])
	if r.reading && stamp != r.stamp { // the end of the picture before is missing
		r.counts.Broken++
		r.print, r.key = 0, false
	}
	r.reading, r.stamp = true, stamp
	r.payload(p[rtpHeader:])
	if p[1]&0x80 != 0 {
		r.picture(now)
	}
}

// payload adds to the picture's fingerprint.
func (r *receiver) payload(b []byte) {
	switch typ := b[0] & 31; {
	case typ == 24: // STAP-A: several NAL units
		for b = b[1:]; len(b) > 2; {
			n := int(binary.BigEndian.Uint16(b))
			if n == 0 || len(b) < 2+n {
				return // the fingerprint will be wrong
			}
			r.unit(b[2 : 2+n])
			b = b[2+n:]
		}
	case typ == 28 && len(b) > 2: // FU-A: a piece of one
		r.piece(b[0]&0xe0|b[1]&31, b[1]&0x80 != 0, b[2:])
	case typ < 24:
		r.unit(b)
	}
}

func (r *receiver) unit(b []byte) {
	r.print.nal(b)
	r.key = r.key || b[0]&31 == hal.NALIDR
}

func (r *receiver) piece(header byte, first bool, b []byte) {
	if !isSlice(header) {
		return
	}
	if first {
		r.print.bytes([]byte{header})
	}
	r.print.bytes(b)
	r.key = r.key || header&31 == hal.NALIDR
}

// picture ends one.
func (r *receiver) picture(now time.Time) {
	number, known := r.newest+1, true
	if r.film != nil {
		number, known = r.film.numbers[uint32(r.print)]
	}
	key := r.key
	r.reading, r.print, r.key = false, 0, false
	if !known {
		r.counts.Broken++
		return
	}
	if r.film != nil && r.newest >= 0 {
		r.counts.Lost += missing(r.newest, number, len(r.film.units))
	}
	r.newest = number
	r.counts.Frames++
	if captured, ok := r.clk.captured(r.stamp); ok {
		r.counts.Late = append(r.counts.Late, int32(now.Sub(captured)/time.Microsecond))
	}
	if r.frame != nil {
		r.frame(number, key, now)
	}
}

// missing is how many pictures of an endless film of n lie between two.
func missing(before, after, n int) int { return (after - before - 1 + n) % n }

// restart begins to count anew.
func (r *receiver) restart() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counts = counts{Late: r.counts.Late[:0]}
}

func (r *receiver) result() (c counts, newest int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c = r.counts
	c.Late = append([]int32(nil), c.Late...)
	return c, r.newest
}

// clock maps RTP time to wall-clock by the newest sender report (RFC 3550, 6.4.1).
type clock struct {
	known bool
	rtp   uint32
	wall  time.Time
}

// ntpEpoch is 1 January 1900 in Unix seconds.
const ntpEpoch = -2208988800

func (c *clock) report(b []byte) {
	const senderReport = 200
	if len(b) < 28 || b[1] != senderReport {
		return
	}
	seconds, fraction := binary.BigEndian.Uint32(b[8:]), binary.BigEndian.Uint32(b[12:])
	c.wall = time.Unix(int64(seconds)+ntpEpoch, int64(uint64(fraction)*1e9>>32))
	c.rtp, c.known = binary.BigEndian.Uint32(b[16:]), true
}

// captured is when the board handed over the picture that has a timestamp; ok
// is false before the first report.
func (c *clock) captured(timestamp uint32) (t time.Time, ok bool) {
	ticks := int64(int32(timestamp - c.rtp))
	return c.wall.Add(time.Duration(ticks) * time.Second / 90000), c.known
}
