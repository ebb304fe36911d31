package pipe

import (
	"bytes"
	"time"

	"iid2secure.nl/camagent/hal"
)

// maxUnit bounds one access unit, and so the splitter's memory (R6). The
// largest that level 5.1 allows is bigger, but no camera comes near it.
const maxUnit = 4 << 20

// minRead is the least room that is offered to a read.
const minRead = 16 << 10

// splitter cuts an Annex B byte stream into access units (H.264, 7.4.1.2.3):
// one ends where, after a slice, a delimiter, parameter set, SEI or a slice
// with first_mb_in_slice 0 begins. It reads into its own buffer and hands out
// slices of it, so that the one copy is the caller's.
//
// Use: read into space(), tell added(), take next() until it has none.
type splitter struct {
	buf    []byte
	begin  int       // where the present unit starts in buf
	scan   int       // no start code that was not looked at begins before this
	vcl    bool      // the present unit has a slice
	bad    bool      // the present unit has something that is no NAL unit of H.264
	prefix int       // start of a prefix NAL unit (type 14) after a slice, or -1
	at     time.Time // arrival of the present unit's first byte
	now    time.Time // arrival of the newest bytes
}

// unit is one access unit in Annex B; its bytes are valid until space is called.
type unit struct {
	data []byte
	at   time.Time
	bad  bool // broken, too large, or not H.264
}

func newSplitter() *splitter { return &splitter{buf: make([]byte, 0, 4*minRead), prefix: -1} }

// space returns where the next bytes are to be read to; never empty.
func (s *splitter) space() []byte {
	if cap(s.buf)-len(s.buf) < minRead && s.begin > 0 {
		n := copy(s.buf, s.buf[s.begin:])
		s.buf = s.buf[:n]
		s.scan -= s.begin
		if s.prefix >= 0 {
			s.prefix -= s.begin
		}
		s.begin = 0
	}
	if cap(s.buf)-len(s.buf) < minRead {
		s.buf = append(make([]byte, 0, min(2*cap(s.buf), maxUnit+4*minRead)), s.buf...)
	}
	return s.buf[len(s.buf):cap(s.buf)]
}

// added tells that n bytes were read into space at the time now.
func (s *splitter) added(n int, now time.Time) {
	if s.begin == len(s.buf) {
		s.at = now
	}
	s.now = now
	s.buf = s.buf[:len(s.buf)+n]
}

// next returns the next whole unit, if there is one.
func (s *splitter) next() (unit, bool) {
	for {
		i := bytes.Index(s.buf[s.scan:], startCode)
		if i < 0 {
			s.scan = max(s.scan, len(s.buf)-2)
			s.limit()
			return unit{}, false
		}
		pos := s.scan + i
		if pos+5 > len(s.buf) { // the NAL unit's first two bytes are needed to know what it is
			s.scan = pos
			return unit{}, false
		}
		s.scan = pos + 3
		if u, ok := s.look(pos); ok {
			return u, true
		}
	}
}

var startCode = []byte{0, 0, 1}

// look takes note of the NAL unit whose start code is at pos; if a new access
// unit begins with it, or with the prefix before it, the old one is returned.
func (s *splitter) look(pos int) (u unit, ok bool) {
	begin := pos
	if begin > s.begin && s.buf[begin-1] == 0 {
		begin--
	}
	switch k := classify(s.buf[pos+3], s.buf[pos+4]); {
	case k == foreign:
		s.bad = true
	case k == firstSlice && s.vcl:
		if s.prefix >= 0 {
			begin = s.prefix
		}
		u, ok = s.cut(begin), true
		s.vcl = true
	case k == slice || k == firstSlice:
		s.vcl, s.prefix = true, -1
	case k == opener && s.vcl:
		u, ok = s.cut(begin), true
	case k == prefix && s.vcl && s.prefix < 0:
		s.prefix = begin // stands before every slice of a scalable stream: the slice decides
	}
	return u, ok
}

// What a NAL unit means for the borders of access units.
type kind uint8

const (
	other      kind = iota
	slice           // goes on with a picture
	firstSlice      // begins a picture
	opener          // begins an access unit, if there was a slice
	prefix          // belongs to the slice that follows
	foreign         // no NAL unit of H.264
)

// classify tells a NAL unit's kind from its header and its first byte of payload.
func classify(header, payload byte) kind {
	switch typ := header & 31; {
	case header&0x80 != 0: // forbidden_zero_bit: MPEG-TS, MPEG-PS, anything
		return foreign
	case typ == hal.NALSlice, typ == 2, typ == hal.NALIDR:
		if payload&0x80 != 0 { // first_mb_in_slice is ue(v): a leading 1 bit is zero
			return firstSlice
		}
		return slice
	case typ == 14:
		return prefix
	case typ >= hal.NALSEI && typ <= hal.NALAUD, typ >= 15 && typ <= 18:
		return opener
	}
	return other
}

// cut takes the present unit out, up to end.
func (s *splitter) cut(end int) unit {
	u := unit{data: s.buf[s.begin:end:end], at: s.at, bad: s.bad}
	s.begin, s.at = end, s.now
	s.vcl, s.bad, s.prefix = false, false, -1
	return u
}

// limit throws away what has grown too large for one unit; what follows of it
// comes out as one bad unit.
func (s *splitter) limit() {
	if len(s.buf)-s.begin > maxUnit {
		s.begin = s.scan
		s.vcl, s.bad, s.prefix = true, true, -1
	}
}

// pending tells whether flush would return a picture.
func (s *splitter) pending() bool { return s.vcl }

// hopeful tells whether a picture is being read.
func (s *splitter) hopeful() bool { return s.vcl && !s.bad }

// flush ends the present unit: no more of it will come.
func (s *splitter) flush() (unit, bool) {
	ok := s.vcl
	u := s.cut(len(s.buf))
	s.scan = len(s.buf)
	return u, ok
}
