package rtsp

import (
	"bytes"
	"errors"
	"strconv"
	"strings"

	"github.com/bluenviron/gortsplib/v4/pkg/base"
)

// What a client may not send. Each ends the connection.
var (
	errGarbage  = errors.New("neither a request nor media")
	errTooLarge = errors.New("request too large")
	errNoTrack  = errors.New("media on a channel that was not set up")
)

// framer follows the bytes that a client sends, before gortsplib has them, which
// would make room for whatever a length says: 650 KB of header, 128 KB of body,
// 64 KB of media. It tells requests from interleaved frames, and bounds both. It
// is stricter than gortsplib, so that both always agree on where a request ends.
type framer struct {
	state framing
	left  int // bytes of a body or a frame to pass over
	head  [frameHeader]byte
	n     int // bytes of head
	spent int // bytes of requests since the last answer

	line   []byte // the beginning of a line
	colon  bool   // in the whole line
	cr     bool   // the line's last byte up to now is one
	first  bool   // the line is a request's first
	length int    // Content-Length; -1: not yet

	open [256]bool // channels that the client may send on

	ear     func([]byte) // gets the frames of one of them; nil: nobody listens
	earOn   uint8
	hearing bool   // this frame is for the ear
	heard   []byte // of it
}

type framing uint8

const (
	atBoundary framing = iota
	inFrameHeader
	inHeader
	inSkipped // a body, or a frame
)

// longestLine is how much of a line is kept: enough for a method, and for the
// length of a body.
const longestLine = 64

// requestMethods are what gortsplib begins to read a request at; it passes over
// anything else, byte by byte.
var requestMethods = [...]base.Method{base.Announce, base.Describe, base.GetParameter, base.Options, base.Pause,
	base.Play, base.Record, base.Setup, base.SetParameter, base.Teardown}

// beginsRequest tells whether a line may be a request's first, or its beginning.
func beginsRequest(line []byte) bool {
	for _, m := range requestMethods {
		if n := min(len(line), len(m)); string(line[:n]) == string(m[:n]) && (n < len(m) || n == len(line) || line[n] == ' ') {
			return true
		}
	}
	return false
}

// answered begins a new budget.
func (f *framer) answered() { f.spent = 0 }

// listen says which channels have been set up.
func (f *framer) listen(tracks []track) {
	f.open, f.ear = [256]bool{}, nil
	for i := range tracks {
		if t := &tracks[i]; t.on {
			f.open[t.channel], f.open[t.channel+1] = true, true
		}
	}
}

// hear opens a channel for frames that ear gets; it is said after listen.
func (f *framer) hear(channel uint8, ear func([]byte)) {
	f.open[channel], f.open[channel+1] = true, true
	f.ear, f.earOn = ear, channel
}

// take looks at the next bytes; after an error they must go nowhere.
func (f *framer) take(b []byte) error {
	for len(b) > 0 {
		n, err := f.step(b)
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// step looks at some of b, and returns how much.
func (f *framer) step(b []byte) (n int, err error) {
	switch f.state {
	case atBoundary:
		return f.begin(b[0])
	case inFrameHeader:
		return f.frame(b[0])
	case inHeader:
		return f.header(b)
	}
	n = min(f.left, len(b))
	if f.hearing {
		f.heard = append(f.heard, b[:n]...)
	}
	if f.left -= n; f.left == 0 {
		f.state = atBoundary
		f.deliver()
	}
	return n, nil
}

func (f *framer) begin(first byte) (int, error) {
	switch {
	case first == '$':
		f.state, f.n = inFrameHeader, 0
		return 0, nil
	case first == '\r' || first == '\n': // between requests, by some clients
		return 1, f.spend(1)
	case first >= 'A' && first <= 'Z':
		f.state, f.first, f.length = inHeader, true, -1
		return 0, nil
	}
	return 0, errGarbage
}

func (f *framer) spend(n int) error {
	if f.spent += n; f.spent > maxRequest {
		return errTooLarge
	}
	return nil
}

func (f *framer) frame(next byte) (int, error) {
	f.head[f.n] = next
	if f.n++; f.n < len(f.head) {
		return 1, nil
	}
	if f.left = int(f.head[2])<<8 | int(f.head[3]); f.left > maxRequest {
		return 0, errTooLarge
	}
	if !f.open[f.head[1]] {
		return 0, errNoTrack
	}
	f.state = inSkipped
	f.hearing = f.ear != nil && f.head[1] == f.earOn && f.left <= maxTalk
	if f.left == 0 {
		f.state, f.hearing = atBoundary, false
	}
	return 1, nil
}

// deliver gives a whole frame to the ear.
func (f *framer) deliver() {
	if f.hearing {
		f.ear(f.heard)
		f.heard, f.hearing = f.heard[:0], false
	}
}

// header goes to the end of a line, or of b.
func (f *framer) header(b []byte) (int, error) {
	end := bytes.IndexByte(b, '\n')
	part := b[:max(end, 0)]
	if end < 0 {
		part = b
	}
	if err := f.spend(len(part) + 1); err != nil {
		return 0, err
	}
	if len(part) > 0 {
		f.cr = part[len(part)-1] == '\r'
		f.colon = f.colon || bytes.IndexByte(part, ':') >= 0
		f.line = append(f.line, part[:min(len(part), longestLine-len(f.line))]...)
	}
	if f.first && !beginsRequest(f.line) {
		return 0, errGarbage
	}
	if end < 0 {
		return len(b), nil
	}
	err := f.endLine()
	f.line, f.colon, f.cr = f.line[:0], false, false
	return end + 1, err
}

func (f *framer) endLine() error {
	line := strings.TrimSuffix(string(f.line), "\r")
	switch {
	case !f.cr:
		return errGarbage
	case f.first:
		f.first = false
		if !strings.Contains(line, " ") {
			return errGarbage
		}
		return nil
	case line == "":
		return f.body()
	case !f.colon || line[0] == ':':
		return errGarbage
	}
	return f.field(line)
}

// field notes the length of a body.
func (f *framer) field(line string) error {
	key, value, _ := strings.Cut(line, ":")
	if !strings.EqualFold(key, "Content-Length") {
		return nil
	}
	n, err := strconv.ParseUint(strings.TrimLeft(value, " "), 10, 31)
	if err != nil || f.length >= 0 {
		return errGarbage
	}
	f.length = int(n)
	return f.room(f.length)
}

func (f *framer) body() error {
	f.state = atBoundary
	if f.length <= 0 {
		return nil
	}
	f.state, f.left = inSkipped, f.length
	return f.spend(f.length)
}

func (f *framer) room(n int) error {
	if n > maxRequest-f.spent {
		return errTooLarge
	}
	return nil
}
