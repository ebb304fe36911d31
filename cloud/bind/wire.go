package bind

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"unicode"
	"unicode/utf8"

	"github.com/flynn/noise"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/channel"
	"iid2secure.nl/camagent/cloud/identity"
)

// The types of messages, and sizes in bytes.
const (
	typePair1     = 0x01
	typePair2     = 0x02
	typePair3     = 0x03
	typePairInner = 0x04
	typePairNo    = 0x0e

	idLen     = 8
	headLen   = 1 + idLen
	frameLen  = headLen + 8
	pair1Len  = 48 // e, and the tag of an empty payload
	pair2Len  = 96
	pair3Len  = 64
	maxInner  = 16 << 10
	innerMin  = 17
	pairLabel = "iid2/pair/1"
)

// Codes of the answer "no".
const (
	noBound  = 1
	noWindow = 2
	noBusy   = 3
	noCode   = 4
	noSuch   = 5 // this handshake is not (or no longer) known: begin again
)

type pairID [idLen]byte

type message struct {
	kind    byte
	id      pairID
	counter uint64
	head    []byte
	body    []byte
}

// parse checks the form alone. S4, S5.
func parse(msg []byte) (m message, ok bool) {
	if len(msg) < headLen || len(msg) > cloud.MaxMessage {
		return m, false
	}
	m = message{kind: msg[0], id: pairID(msg[1:headLen]), body: msg[headLen:]}
	switch m.kind {
	case typePair1:
		return m, len(m.body) == pair1Len
	case typePair2:
		return m, len(m.body) == pair2Len
	case typePair3:
		return m, len(m.body) == pair3Len
	case typePairNo:
		return m, len(m.body) == 1
	case typePairInner:
		if len(msg) < frameLen+innerMin || len(msg) > frameLen+maxInner {
			return m, false
		}
		m.counter, m.head, m.body = binary.BigEndian.Uint64(msg[headLen:]), msg[:frameLen], msg[frameLen:]
		return m, true
	}
	return m, false
}

func head(kind byte, id pairID) []byte { return append([]byte{kind}, id[:]...) }

// newHandshake begins XXpsk3. The key is derived here and always of 32 bytes:
// the library, as a reader, would take an empty one.
func newHandshake(initiator bool, static identity.KeyPair, serial cloud.Serial, code cloud.Secret, client string) (*noise.HandshakeState, error) {
	code, err := cloud.ParseCode(code.Reveal())
	if err != nil {
		return nil, err
	}
	psk, err := hkdf.Key(sha256.New, []byte(code.Reveal()), []byte(serial.Plain()), "iid2 pairing", 32)
	if err != nil || len(psk) != 32 {
		return nil, errors.New("pairing: key derivation failed")
	}
	return noise.NewHandshakeState(noise.Config{
		CipherSuite: channel.Suite(), Pattern: noise.HandshakeXX, Initiator: initiator,
		StaticKeypair: noise.DHKey{Private: static.Private, Public: static.Public},
		PresharedKey:  psk, PresharedKeyPlacement: 3,
		Prologue: channel.Prologue(pairLabel, serial.Plain(), client),
	})
}

// inner is what pairing says after its handshake: three messages at fixed
// counters, repeated byte for byte if they get lost.
type inner struct {
	V         int            `json:"v"`                   // 1
	Epoch     uint64         `json:"epoch,omitempty"`     // ready
	BindID    string         `json:"bind_id,omitempty"`   // ready
	Chain     string         `json:"chain,omitempty"`     // ready
	Name      string         `json:"name,omitempty"`      // own
	Noise     string         `json:"noise,omitempty"`     // own: base64
	Recipient string         `json:"recipient,omitempty"` // own
	Claim     string         `json:"claim,omitempty"`     // own
	Receipt   string         `json:"receipt,omitempty"`   // receipt
	Error     *cloud.Refusal `json:"error,omitempty"`     // instead of the receipt
}

func sealInner(c *noise.CipherState, id pairID, v inner) ([]byte, error) {
	v.V = 1
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("pairing: %w", err)
	}
	h := binary.BigEndian.AppendUint64(head(typePairInner, id), c.Nonce())
	out, err := c.Encrypt(bytes.Clone(h), h, b)
	if err == nil && len(out) > frameLen+maxInner {
		err = fmt.Errorf("message of %d bytes", len(out))
	}
	if err != nil {
		return nil, fmt.Errorf("pairing: %w", err)
	}
	return out, nil
}

var errForeign = errors.New("does not decrypt")

// openInner opens the one message that is expected at this counter.
func openInner(c noise.Cipher, m message, counter uint64) (v inner, err error) {
	if m.counter != counter {
		return v, errForeign
	}
	b, err := c.Decrypt(nil, counter, m.head, m.body)
	if err != nil {
		return v, errForeign
	}
	if err := cloud.DecodeStrict(b, &v); err != nil {
		return v, fmt.Errorf("pairing message: %w", err)
	}
	if v.V != 1 {
		return v, errors.New("pairing message: not of version 1")
	}
	return v, nil
}

func encodeKey(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

func hash(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// tokenHash is empty without a cloud.
func tokenHash(token string) string {
	if token == "" {
		return ""
	}
	return hash([]byte(token))
}

func checkName(name string) error {
	if name == "" || len(name) > 64 || !utf8.ValidString(name) {
		return fmt.Errorf("name of %d bytes: want 1 to 64 of UTF-8", len(name))
	}
	for _, r := range name {
		if !unicode.IsPrint(r) {
			return errors.New("name: holds what can't be printed")
		}
	}
	return nil
}
