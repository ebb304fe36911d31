package pipe

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// The framed protocol: docs/sidecar.md is its contract.
const (
	protocol   = 1       // its version
	headerSize = 16      // bytes before each message's body
	maxMessage = 4 << 20 // the longest body (R6)
	maxHello   = 64 << 10
	maxCommand = 4 << 10 // the longest command, event, and reply but a picture
)

// The types of messages.
const (
	// From the sidecar.
	msgHello = 1
	msgVideo = 2
	msgSound = 3
	msgReply = 4
	msgEvent = 5
	// To the sidecar.
	msgCommand = 65
	msgTalk    = 66
)

// What a reply says in its detail.
const (
	replyOK       = 0
	replyFailed   = 1
	replyNotFound = 2
	replyBusy     = 3
	replyUnknown  = 4
)

// message is one message; its body is valid until the next one is read.
type message struct {
	kind   uint8
	detail uint8  // video: the stream's index; reply: its status
	number uint16 // command, reply: which; video: frames lost before; sound: samples
	stamp  uint64 // CLOCK_MONOTONIC in nanoseconds; 0: unknown
	body   []byte
}

// errProtocol marks what breaks the protocol: the sidecar is ended.
var errProtocol = errors.New("it broke the protocol")

func broken(format string, args ...any) error {
	return fmt.Errorf("%w: %w", errProtocol, fmt.Errorf(format, args...))
}

// append appends the message as it is sent.
func (m *message) append(dst []byte) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(m.body)))
	dst = append(dst, m.kind, m.detail)
	dst = binary.LittleEndian.AppendUint16(dst, m.number)
	dst = binary.LittleEndian.AppendUint64(dst, m.stamp)
	return append(dst, m.body...)
}

// reader reads messages, all into one buffer.
type reader struct {
	from   io.Reader
	header [headerSize]byte
	buf    []byte
}

// next reads one message. [io.EOF] is the end between two of them.
func (r *reader) next() (message, error) {
	if n, err := io.ReadFull(r.from, r.header[:]); err != nil {
		return message{}, cutShort(err, "header", n, headerSize)
	}
	h := r.header[:]
	m := message{kind: h[4], detail: h[5], number: binary.LittleEndian.Uint16(h[6:]), stamp: binary.LittleEndian.Uint64(h[8:])}
	size := int64(binary.LittleEndian.Uint32(h))
	if size > maxMessage {
		return message{}, broken("it announces a message of %d bytes, want at most %d; where a header was to begin it wrote %q: text belongs to standard error", size, maxMessage, h)
	}
	if err := r.body(int(size)); err != nil {
		return message{}, err
	}
	m.body = r.buf
	return m, nil
}

func (r *reader) body(size int) error {
	if cap(r.buf) < size {
		r.buf = make([]byte, 0, max(size, 64<<10))
	}
	r.buf = r.buf[:size]
	if n, err := io.ReadFull(r.from, r.buf); err != nil {
		return cutShort(err, "body", n, size)
	}
	return nil
}

// cutShort tells where in a message the end came.
func cutShort(err error, part string, n, of int) error {
	if errors.Is(err, io.ErrUnexpectedEOF) || part == "body" && errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: %d of the %d bytes of a message's %s", io.ErrUnexpectedEOF, n, of, part)
	}
	return err
}
