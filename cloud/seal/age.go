// Package seal is the one home of the two formats for what lasts: age files,
// which only members can open, and signed statements (JWS), which only this
// camera can have made. It knows nothing of members, cameras or cards, keeps no
// key, and has no state: everything may be called from any goroutine.
package seal

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"filippo.io/age"

	"iid2secure.nl/camagent/cloud"
)

// Recipients is who can open what is sealed: X25519 only in this version, as
// age refuses to mix kinds. Each has passed a trial seal. The zero value has none.
type Recipients struct {
	list  []age.Recipient
	texts []string
}

// ParseRecipients reads age1… texts. Other kinds, and points of low order, to
// which every later seal would fail, are refused by number. Duplicates count once.
func ParseRecipients(texts []string) (Recipients, error) {
	var r Recipients
	for i, text := range texts {
		if err := r.add(text); err != nil {
			return Recipients{}, fmt.Errorf("age recipient %d of %d: %w", i+1, len(texts), err)
		}
	}
	return r, nil
}

func (r *Recipients) add(text string) error {
	if slices.Contains(r.texts, text) {
		return nil
	}
	// The last 1 ends the kind (BIP 173); what follows may spell anything, "tag" as well.
	if strings.HasPrefix(text, "age1") && strings.LastIndexByte(text, '1') > len("age") {
		return errors.New("of another kind than X25519 (age1…)")
	}
	x, err := age.ParseX25519Recipient(text)
	if err != nil {
		return errors.New("not an X25519 recipient (age1… of 62 symbols)")
	}
	if err := trial(x); err != nil {
		return err
	}
	r.list, r.texts = append(r.list, x), append(r.texts, text)
	return nil
}

// trial seals nothing to one recipient: a point of low order parses, and then
// fails every seal that it takes part in.
func trial(x age.Recipient) error {
	w, err := age.Encrypt(io.Discard, x)
	if err != nil {
		return errors.New("nothing can be sealed to it (a low-order point)")
	}
	return w.Close()
}

// TrialSeal tells whether one recipient can be sealed to: to be asked before a
// recipient is let into a roster, since a bad one would stop recording.
func TrialSeal(text string) error {
	_, err := ParseRecipients([]string{text})
	return err
}

// Len is how many there are.
func (r Recipients) Len() int { return len(r.list) }

// ErrNoRecipients is sealing to nobody: what is sealed so could never be opened.
var ErrNoRecipients = errors.New("seal: no recipients")

// NewWriter seals to dst what is written. age holds back up to 64 KiB; the end
// is written by Close, without which nobody accepts the file as whole. Close
// does not close dst.
func NewWriter(dst io.Writer, r Recipients) (io.WriteCloser, error) {
	if r.Len() == 0 {
		return nil, ErrNoRecipients
	}
	w, err := age.Encrypt(dst, r.list...)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	return w, nil
}

// Bytes seals plain as one age file.
func Bytes(plain []byte, r Recipients) ([]byte, error) {
	var b bytes.Buffer
	w, err := NewWriter(&b, r)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(plain); err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	return b.Bytes(), nil
}

// NewIdentity makes an X25519 identity for a member: the secret
// (AGE-SECRET-KEY-1…) stays with the member, the recipient (age1…) is told.
func NewIdentity() (secret cloud.Secret, recipient string, err error) {
	x, err := age.GenerateX25519Identity()
	if err != nil {
		return cloud.Secret{}, "", fmt.Errorf("age identity: %w", err)
	}
	return cloud.NewSecret(x.String()), x.Recipient().String(), nil
}

// RecipientOf is the recipient of an identity's secret.
func RecipientOf(secret cloud.Secret) (string, error) {
	x, err := parseIdentity(secret)
	if err != nil {
		return "", err
	}
	return x.Recipient().String(), nil
}

func parseIdentity(secret cloud.Secret) (*age.X25519Identity, error) {
	x, err := age.ParseX25519Identity(secret.Reveal())
	if err != nil {
		return nil, errors.New("age identity: not an AGE-SECRET-KEY-1…")
	}
	return x, nil
}

// ErrNotForUs is a sealed file of which this identity is no recipient.
var ErrNotForUs = errors.New("sealed to others: this identity is not among its recipients")

// Open reads the plaintext of an age file. What it returns is authentic chunk by
// chunk; a file that was cut or changed gives the whole chunks before that and then
// an error, so that nothing is complete before io.EOF.
func Open(r io.Reader, secret cloud.Secret) (io.Reader, error) {
	x, err := parseIdentity(secret)
	if err != nil {
		return nil, err
	}
	plain, err := age.Decrypt(r, x)
	var none *age.NoIdentityMatchError
	if errors.As(err, &none) {
		return nil, ErrNotForUs
	}
	if err != nil {
		return nil, fmt.Errorf("open sealed file: %w", err)
	}
	return plain, nil
}

// OpenBytes opens a sealed file that is in memory, whole or not at all.
func OpenBytes(sealed []byte, secret cloud.Secret) ([]byte, error) {
	r, err := Open(bytes.NewReader(sealed), secret)
	if err != nil {
		return nil, err
	}
	plain, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("open sealed file: %w", err)
	}
	return plain, nil
}
