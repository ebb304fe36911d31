package seal

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	jose "github.com/go-jose/go-jose/v4"

	"iid2secure.nl/camagent/cloud"
)

// MaxStatement bounds a statement's compact text, in bytes.
const MaxStatement = 64 << 10

// Sign makes a statement: JWS compact serialisation (RFC 7515, 7.1), EdDSA over
// Ed25519 (RFC 8037), with typ in the protected header and payload as JSON.
func Sign(typ string, key ed25519.PrivateKey, payload any) (string, error) {
	if len(key) != ed25519.PrivateKeySize || typ == "" {
		return "", errors.New("sign statement: no key or no typ")
	}
	b, err := json.Marshal(payload)
	if err != nil {
		return "", fmt.Errorf("sign statement: %w", err)
	}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.EdDSA, Key: key},
		(&jose.SignerOptions{}).WithType(jose.ContentType(typ)))
	if err != nil {
		return "", fmt.Errorf("sign statement: %w", err)
	}
	o, err := s.Sign(b)
	if err != nil {
		return "", fmt.Errorf("sign statement: %w", err)
	}
	token, err := o.CompactSerialize()
	if err == nil && len(token) > MaxStatement {
		err = fmt.Errorf("%d bytes, at most %d", len(token), MaxStatement)
	}
	if err != nil {
		return "", fmt.Errorf("sign statement: %w", err)
	}
	return token, nil
}

// Verify checks a statement of one kind by the pinned key and reads its payload.
// The protected header must be exactly {"alg":"EdDSA","typ":typ}: the library
// checks neither typ nor the absence of jwk, jku, x5c and crit, so that is done
// here. The payload may hold no unknown and no repeated field. payload is
// written to only if everything holds. S10. What the payload says (serial,
// epoch, bind id) is for the caller to compare.
func Verify(typ string, key ed25519.PublicKey, token string, payload any) error {
	if len(key) != ed25519.PublicKeySize {
		return errors.New("statement: no key to verify with")
	}
	if len(token) > MaxStatement {
		return fmt.Errorf("statement: %d bytes, at most %d", len(token), MaxStatement)
	}
	if err := checkHeader(token, typ); err != nil {
		return fmt.Errorf("statement: %w", err)
	}
	o, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.EdDSA})
	if err != nil {
		return fmt.Errorf("statement: %w", err)
	}
	b, err := o.Verify(key)
	if err != nil {
		return errors.New("statement: the signature is not by the expected key")
	}
	if err := strictJSON(b, payload); err != nil {
		return fmt.Errorf("statement of typ %s: payload: %w", typ, err)
	}
	return nil
}

// Hash names a statement: SHA-256 of its compact text, hex. A statement that
// verifies has one spelling only, so one hash.
func Hash(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

func checkHeader(token, typ string) error {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return errors.New("not a compact JWS of three parts")
	}
	var raw []byte
	for i, p := range parts {
		b, err := base64.RawURLEncoding.DecodeString(p)
		// Go's decoder skips line ends and spare bits: that would give one statement many hashes.
		if err != nil || base64.RawURLEncoding.EncodeToString(b) != p {
			return fmt.Errorf("part %d is not canonical base64url", i+1)
		}
		if i == 0 {
			raw = b
		}
	}
	if len(raw) > 256 {
		return errors.New("protected header too long")
	}
	var h map[string]string
	if err := strictJSON(raw, &h); err != nil {
		return errors.New("protected header is not alg and typ alone")
	}
	if h["alg"] != string(jose.EdDSA) {
		return errors.New("algorithm is not EdDSA")
	}
	if h["typ"] != typ {
		return fmt.Errorf("typ is not %s", typ)
	}
	if len(h) != 2 {
		return errors.New("protected header holds more than alg and typ")
	}
	return nil
}

// strictJSON decodes exactly one value with no unknown and no repeated names.
func strictJSON(b []byte, v any) error {
	if err := noRepeats(json.NewDecoder(bytes.NewReader(b)), 0); err != nil {
		return err
	}
	return cloud.DecodeStrict(b, v)
}

// noRepeats walks one value and refuses objects that name a member twice, in
// any letter case: readers differ in which one they take.
func noRepeats(d *json.Decoder, depth int) error {
	t, err := d.Token()
	if err != nil {
		return err
	}
	open, ok := t.(json.Delim)
	if !ok {
		return nil
	}
	if depth > 16 {
		return errors.New("nested too deep")
	}
	seen := map[string]bool{}
	for d.More() {
		if open == '{' {
			if t, err = d.Token(); err != nil {
				return err
			}
			name, _ := t.(string)
			if seen[strings.ToLower(name)] {
				return errors.New("a name is repeated")
			}
			seen[strings.ToLower(name)] = true
		}
		if err := noRepeats(d, depth+1); err != nil {
			return err
		}
	}
	_, err = d.Token()
	return err
}
