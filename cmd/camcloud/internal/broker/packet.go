package broker

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"iid2secure.nl/camagent/cloud"
)

// The MQTT 3.1.1 packets that the guard looks into (OASIS MQTT 3.1.1, 2.2.1).
const (
	typeConnect    = 1
	typePublish    = 3
	typeSubscribe  = 8
	typeDisconnect = 14
)

// Return codes of CONNACK (3.2.2.3).
const (
	codeProtocol   = 1
	codeIdentifier = 2
	codeDenied     = 5
)

// Flags of CONNECT (3.1.2.3).
const (
	flagClean      = 1 << 1
	flagWill       = 1 << 2
	flagWillRetain = 1 << 5
	flagPassword   = 1 << 6
	flagUser       = 1 << 7
)

// maxPacket is the largest packet taken: a full message, its topic and headers. S4.
const maxPacket = cloud.MaxMessage + 1024

var errMalformed = errors.New("malformed packet")

// packet is one MQTT control packet. Its bytes are valid until the next one is read.
type packet struct {
	raw  []byte // all of it
	body []byte // after the fixed header
}

func (p packet) kind() byte { return p.raw[0] >> 4 }

// packets reads packets from a connection, none larger than maxPacket: a length
// is believed only after it was compared.
type packets struct {
	r   *bufio.Reader
	buf []byte
}

func newPackets(r io.Reader) *packets { return &packets{r: bufio.NewReaderSize(r, 4096)} }

func (p *packets) next() (packet, error) {
	if cap(p.buf) > 8<<10 {
		p.buf = nil // one large message must not cost its size for good
	}
	head, err := p.r.ReadByte()
	if err != nil {
		return packet{}, err
	}
	p.buf = append(p.buf[:0], head)
	size, err := p.length()
	if err != nil {
		return packet{}, err
	}
	if size > maxPacket {
		return packet{}, fmt.Errorf("packet of %d bytes, at most %d are taken", size, maxPacket)
	}
	start := len(p.buf)
	p.buf = append(p.buf, make([]byte, size)...)
	if _, err := io.ReadFull(p.r, p.buf[start:]); err != nil {
		return packet{}, err
	}
	return packet{raw: p.buf, body: p.buf[start:]}, nil
}

// length reads the remaining length (2.2.3) and keeps its bytes.
func (p *packets) length() (n int, err error) {
	for shift := 0; shift < 28; shift += 7 {
		b, err := p.r.ReadByte()
		if err != nil {
			return 0, err
		}
		p.buf = append(p.buf, b)
		n |= int(b&0x7f) << shift
		if b&0x80 == 0 {
			return n, nil
		}
	}
	return 0, errMalformed
}

// connect is what a CONNECT packet says. User name and password are dropped: a
// certificate is what counts here.
type connect struct {
	level     byte
	flags     byte
	keepAlive uint16 // seconds
	id        string
	topic     string // of the will
	message   []byte // of the will
}

func (c connect) will() bool    { return c.flags&flagWill != 0 }
func (c connect) willQoS() byte { return c.flags >> 3 & 3 }

// parseConnect reads the body of a CONNECT packet (3.1).
func parseConnect(body []byte) (c connect, err error) {
	f := fields{b: body}
	if name := f.text(); name != "MQTT" {
		return c, fmt.Errorf("protocol %.10q, want MQTT", name)
	}
	c.level, c.flags, c.keepAlive = f.byte(), f.byte(), f.uint16()
	c.id = f.text()
	if c.will() {
		c.topic, c.message = f.text(), f.bytes()
	}
	if c.flags&flagUser != 0 {
		f.text()
	}
	if c.flags&flagPassword != 0 {
		f.bytes()
	}
	if f.bad || len(f.b) > 0 || c.flags&1 != 0 || c.willQoS() == 3 {
		return c, errMalformed
	}
	return c, nil
}

// marshal writes a CONNECT packet that logs in as user. Sessions are always
// clean: what was meant for a client that was away is of no use to it, and would
// be kept without bound.
func (c connect) marshal(user, password string) []byte {
	flags := c.flags&^(flagUser|flagPassword) | flagUser | flagPassword | flagClean
	b := appendText(nil, "MQTT")
	b = append(b, c.level, flags)
	b = binary.BigEndian.AppendUint16(b, c.keepAlive)
	b = appendText(b, c.id)
	if c.will() {
		b = appendText(b, c.topic)
		b = appendText(b, string(c.message))
	}
	b = appendText(b, user)
	b = appendText(b, password)
	return append(appendLength([]byte{typeConnect << 4}, len(b)), b...)
}

// publish is what the guard wants to know of a PUBLISH packet (3.3).
type publish struct {
	topic   string
	qos     byte
	retain  bool
	payload int // bytes
}

func parsePublish(p packet) (publish, error) {
	f := fields{b: p.body}
	out := publish{topic: f.text(), qos: p.raw[0] >> 1 & 3, retain: p.raw[0]&1 != 0}
	if out.qos > 0 {
		f.uint16()
	}
	out.payload = len(f.b)
	if f.bad || out.topic == "" {
		return out, errMalformed
	}
	return out, nil
}

// fields takes a packet's body apart; after the first fault it stays bad.
type fields struct {
	b   []byte
	bad bool
}

func (f *fields) take(n int) []byte {
	if f.bad || len(f.b) < n {
		f.bad = true
		return make([]byte, min(n, 2))
	}
	out := f.b[:n]
	f.b = f.b[n:]
	return out
}

func (f *fields) byte() byte     { return f.take(1)[0] }
func (f *fields) uint16() uint16 { return binary.BigEndian.Uint16(f.take(2)) }

// bytes reads a length-prefixed field.
func (f *fields) bytes() []byte {
	n := int(f.uint16())
	if f.bad || len(f.b) < n {
		f.bad = true
		return nil
	}
	return f.take(n)
}

func (f *fields) text() string {
	b := f.bytes()
	if !utf8.Valid(b) {
		f.bad = true
	}
	return string(b)
}

func appendText(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
}

func appendLength(b []byte, n int) []byte {
	for n > 0x7f {
		b = append(b, byte(n)|0x80)
		n >>= 7
	}
	return append(b, byte(n))
}
