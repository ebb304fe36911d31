package identity

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"strings"

	"iid2secure.nl/camagent/cloud"
)

const (
	qrMagic        = "IID2"
	fingerprintLen = 16
	maxQR          = 256
)

// QR is what the label says: enough to pair with the camera.
type QR struct {
	Serial      cloud.Serial
	Code        cloud.Secret
	Fingerprint []byte // of the Noise public key, 16 bytes; nil if typed by hand
}

// Fingerprint is the first 16 bytes of SHA-256 of a Noise public key.
func Fingerprint(noisePublic []byte) []byte {
	sum := sha256.Sum256(noisePublic)
	return sum[:fingerprintLen]
}

// Matches tells whether noisePublic is the key that the label names; true if
// the label was typed by hand and names none.
func (q QR) Matches(noisePublic []byte) bool {
	return q.Fingerprint == nil ||
		subtle.ConstantTimeCompare(q.Fingerprint, Fingerprint(noisePublic)) == 1
}

// QRText is what the camera's QR says: IID2:<SERIAL>:<CODE>:<FPR>, all of it in
// the alphanumeric set of QR codes (ISO/IEC 18004, 7.3.4). It goes to terminals
// and displays, never into a log or onto the network.
func QRText(id *Identity) cloud.Secret {
	return cloud.NewSecret(strings.Join([]string{
		qrMagic, id.Serial.Plain(), id.Code.Reveal(), b32.EncodeToString(Fingerprint(id.Noise.Public)),
	}, ":"))
}

// ParseQR reads the text of a QR; lower case and spaces are tolerated. No error
// repeats any of the text. S5, S8.
func ParseQR(text string) (QR, error) {
	if len(text) > maxQR {
		return QR{}, fmt.Errorf("QR text: %d bytes, at most %d", len(text), maxQR)
	}
	text = strings.ToUpper(strings.Join(strings.Fields(text), ""))
	p := strings.Split(text, ":")
	if p[0] != qrMagic {
		return QR{}, errors.New("QR text: not a camera's: it does not begin with IID2:")
	}
	if len(p) != 4 {
		return QR{}, fmt.Errorf("QR text: %d parts, want 4: IID2:<serial>:<code>:<fingerprint>", len(p))
	}
	q, err := ManualQR(p[1], p[2])
	if err != nil {
		return QR{}, fmt.Errorf("QR text: %w", err)
	}
	q.Fingerprint, err = b32.DecodeString(p[3])
	if err != nil || len(q.Fingerprint) != fingerprintLen || b32.EncodeToString(q.Fingerprint) != p[3] {
		return QR{}, errors.New("QR text: the fingerprint is not 16 bytes in base32")
	}
	return q, nil
}

// ManualQR reads serial and code as typed by hand from the label: dashes,
// spaces, lower case, and O for 0 are tolerated. Without a fingerprint the code
// alone authenticates the camera.
func ManualQR(serial, code string) (QR, error) {
	s, err := cloud.ParseSerial(strings.Join(strings.Fields(serial), ""))
	if err != nil {
		return QR{}, err
	}
	c, err := cloud.ParseCode(strings.Join(strings.Fields(code), ""))
	if err != nil {
		return QR{}, err
	}
	return QR{Serial: s, Code: c}, nil
}
