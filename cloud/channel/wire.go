package channel

import (
	"encoding/binary"
	"errors"

	"github.com/flynn/noise"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/identity"
)

// Sizes of messages, in bytes.
const (
	idLen      = 8
	headLen    = 1 + idLen   // of all messages
	frameLen   = headLen + 8 // head of a transport message, with the counter
	noise12Len = 48          // Noise messages 1 and 2 of XK without payload
	noise3Min  = 64          // message 3 with an empty payload
	unknownLen = 32          // the whole answer "unknown session"
	maxRiding  = 32 << 10    // of a command in message 3
	tagLen     = 16          // of ChaCha20-Poly1305
	prologue   = "iid2/session/1"
)

type sessionID [idLen]byte

// Suite is the one cipher suite of pairing and sessions.
func Suite() noise.CipherSuite {
	return noise.NewCipherSuite(noise.DH25519, noise.CipherChaChaPoly, noise.HashBLAKE2s)
}

// Prologue joins parts, each after its length in 2 bytes: no two lists of parts
// give the same bytes. Parts are shorter than 64 KiB.
func Prologue(parts ...string) []byte {
	var b []byte
	for _, p := range parts {
		b = binary.BigEndian.AppendUint16(b, uint16(len(p)))
		b = append(b, p...)
	}
	return b
}

// newHandshake begins XK; device is nil on the camera's side.
func newHandshake(static identity.KeyPair, device []byte, serial cloud.Serial, epoch uint64, bindID, client string) (*noise.HandshakeState, error) {
	return noise.NewHandshakeState(noise.Config{
		CipherSuite:   Suite(),
		Pattern:       noise.HandshakeXK,
		Initiator:     device != nil,
		StaticKeypair: noise.DHKey{Private: static.Private, Public: static.Public},
		PeerStatic:    device,
		Prologue: Prologue(prologue, serial.Plain(),
			string(binary.BigEndian.AppendUint64(nil, epoch)), bindID, client),
	})
}

// message is one that came in, taken apart; nothing in it is authenticated.
type message struct {
	kind    byte
	id      sessionID
	counter uint64 // of transport messages
	head    []byte // of transport messages: their associated data
	body    []byte
}

// parse checks the form alone. S4, S5.
func parse(msg []byte) (m message, ok bool) {
	if len(msg) < headLen || len(msg) > cloud.MaxMessage {
		return m, false
	}
	m = message{kind: msg[0], id: sessionID(msg[1:headLen]), body: msg[headLen:]}
	switch m.kind {
	case typeHandshake1, typeHandshake2:
		return m, len(m.body) == noise12Len
	case typeHandshake3:
		return m, len(m.body) >= noise3Min && len(m.body) <= noise3Min+maxRiding
	case typeUnknown:
		return m, len(msg) == unknownLen
	case typeTransport:
		if len(msg) < frameLen+tagLen+1 {
			return m, false
		}
		m.head, m.body = msg[:frameLen], msg[frameLen:]
		m.counter = binary.BigEndian.Uint64(msg[headLen:])
		return m, true
	}
	return m, false
}

func head(kind byte, id sessionID) []byte {
	return append([]byte{kind}, id[:]...)
}

func unknownAnswer(id sessionID) []byte {
	return append(head(typeUnknown, id), make([]byte, unknownLen-headLen)...)
}

// sender encrypts one direction of a session. Its counter is the cipher state's
// own nonce, which nobody sets: it only rises.
type sender struct{ cs *noise.CipherState }

func (s sender) count() uint64 { return s.cs.Nonce() }

func (s sender) seal(id sessionID, plain []byte) ([]byte, error) {
	h := binary.BigEndian.AppendUint64(head(typeTransport, id), s.cs.Nonce())
	out := make([]byte, frameLen, frameLen+len(plain)+tagLen)
	copy(out, h)
	return s.cs.Encrypt(out, h, plain)
}

var (
	errReplayed = errors.New("replayed, or too old")
	errForged   = errors.New("does not decrypt")
	errWorn     = errors.New("past the session's last message")
)

// receiver decrypts the other direction. Its window moves only after decryption
// succeeded, so that forged counters can't push genuine messages out of it. S1.
type receiver struct {
	c    noise.Cipher
	next uint64 // the highest counter taken, + 1
	seen uint64 // bit i: counter next-1-i was taken
}

func (r *receiver) open(m message) ([]byte, error) {
	if m.counter >= maxMessages+messageGrace {
		return nil, errWorn
	}
	if !r.fresh(m.counter) {
		return nil, errReplayed
	}
	plain, err := r.c.Decrypt(nil, m.counter, m.head, m.body)
	if err != nil {
		return nil, errForged
	}
	r.take(m.counter)
	return plain, nil
}

func (r *receiver) fresh(n uint64) bool {
	if n >= r.next {
		return true
	}
	back := r.next - 1 - n
	return back < 64 && r.seen>>back&1 == 0
}

func (r *receiver) take(n uint64) {
	if n < r.next {
		r.seen |= 1 << (r.next - 1 - n)
		return
	}
	// A shift of 64 or more gives 0 in Go, which is what a long jump means.
	r.seen = r.seen<<(n+1-r.next) | 1
	r.next = n + 1
}
