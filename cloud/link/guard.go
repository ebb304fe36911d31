package link

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"iid2secure.nl/camagent/cloud"
)

// Packets that a broker may send to this client, by MQTT 3.1.1 section 2.2.1.
const (
	packetConnack  = 2
	packetPublish  = 3
	packetPuback   = 4
	packetSuback   = 9
	packetUnsuback = 11
	packetPingresp = 13
)

// maxTopic is longer than any topic of package cloud.
const maxTopic = 256

// maxPublish is the largest PUBLISH body: topic, packet id, payload.
const maxPublish = 2 + maxTopic + 2 + cloud.MaxMessage

// errMalformed says that the broker sent what no broker may send to us.
var errMalformed = errors.New("the broker breaks the MQTT protocol")

// writeTimeout bounds every write: the client library sets no limit for pings
// and acknowledgements, and would wait for ever on a dead line.
const writeTimeout = 20 * time.Second

// guard lets only well-formed packets of bounded size reach the client library,
// which allocates whatever a header announces (256 MB for 5 bytes), panics on a
// SUBACK with more codes than asked for, and keeps QoS 2 messages for ever. S4.
type guard struct {
	net.Conn
	scan scanner

	mu  sync.Mutex
	err error // the first failure, for a clear message
}

func (g *guard) Read(p []byte) (int, error) {
	n, err := g.Conn.Read(p)
	if bad := g.scan.feed(p[:n]); bad != nil {
		g.fail(bad)
		g.Conn.Close()
		return 0, bad
	}
	if err != nil {
		g.fail(err)
	}
	return n, err
}

func (g *guard) Write(p []byte) (int, error) {
	if err := g.Conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return 0, err
	}
	n, err := g.Conn.Write(p)
	if err != nil {
		g.fail(err)
	}
	return n, err
}

func (g *guard) fail(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err == nil {
		g.err = err
	}
}

func (g *guard) failure() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.err
}

// scanner follows the stream of packets, however it is cut into reads. It
// checks each packet before its last header byte is handed on.
type scanner struct {
	state     func(*scanner, byte) error // nil: at a packet's first byte
	connected bool                       // CONNACK has been seen
	first     byte                       // type and flags
	length    int                        // of the body, as far as it is known
	shift     uint
	pos       int // within the body
	topic     int // length of a PUBLISH's topic
}

func (s *scanner) feed(p []byte) error {
	for len(p) > 0 {
		if s.state == nil {
			s.first, s.length, s.shift, s.pos, s.state = p[0], 0, 0, 0, (*scanner).lengthByte
			p = p[1:]
			continue
		}
		if s.skippable() {
			n := min(len(p), s.length-s.pos)
			s.pos += n
			p = p[n:]
			s.endIfDone()
			continue
		}
		if err := s.state(s, p[0]); err != nil {
			return err
		}
		p = p[1:]
	}
	return nil
}

// skippable tells whether the rest of the body needs no look.
func (s *scanner) skippable() bool {
	return s.pos >= 2 && s.pos < s.length
}

func (s *scanner) endIfDone() {
	if s.pos == s.length {
		s.state = nil
	}
}

// lengthByte takes one byte of the remaining length (section 2.2.3: at most four).
func (s *scanner) lengthByte(b byte) error {
	s.length |= int(b&0x7f) << s.shift
	s.shift += 7
	if b&0x80 == 0 {
		s.state = (*scanner).bodyByte
		err := s.checkHeader()
		s.endIfDone()
		return err
	}
	if s.shift > 21 {
		return fmt.Errorf("%w: packet length of more than four bytes", errMalformed)
	}
	return nil
}

// checkHeader knows the packets and their sizes.
func (s *scanner) checkHeader() error {
	kind, flags := s.first>>4, s.first&0x0f
	if s.connected == (kind == packetConnack) {
		return fmt.Errorf("%w: packet type %d out of place", errMalformed, kind)
	}
	if kind == packetPublish {
		return s.checkPublish(flags)
	}
	want, ok := map[byte]int{packetConnack: 2, packetPuback: 2, packetSuback: 3, packetUnsuback: 2, packetPingresp: 0}[kind]
	if !ok || s.length != want || flags != 0 {
		return fmt.Errorf("%w: packet type %d, flags %x, %d bytes", errMalformed, kind, flags, s.length)
	}
	s.connected = true
	return nil
}

func (s *scanner) checkPublish(flags byte) error {
	if qos := flags >> 1 & 3; qos > 1 {
		return fmt.Errorf("%w: QoS %d was not asked for", errMalformed, qos)
	}
	if s.length > maxPublish {
		return fmt.Errorf("%w: the broker sends a packet of %d bytes, at most %d are taken", ErrTooLarge, s.length, maxPublish)
	}
	if s.length < 2 {
		return fmt.Errorf("%w: a message without topic", errMalformed)
	}
	return nil
}

// bodyByte looks at the first two bytes of a body: a CONNACK's code, a
// PUBLISH's topic length.
func (s *scanner) bodyByte(b byte) error {
	s.topic = s.topic<<8&0xff00 | int(b)
	s.pos++
	kind := s.first >> 4
	if s.pos == 2 && kind == packetConnack && b > 5 {
		return fmt.Errorf("%w: unknown answer %d to our connect", errMalformed, b)
	}
	if s.pos == 2 && kind == packetPublish {
		header := 2 + s.topic
		if s.first>>1&3 > 0 {
			header += 2
		}
		if s.topic == 0 || s.topic > maxTopic || header > s.length {
			return fmt.Errorf("%w: a topic of %d bytes in a message of %d", errMalformed, s.topic, s.length)
		}
	}
	s.endIfDone()
	return nil
}
