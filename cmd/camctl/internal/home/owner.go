package home

import (
	"context"
	"encoding/base32"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/durable"
	"iid2secure.nl/camagent/cloud/identity"
	"iid2secure.nl/camagent/cloud/seal"
)

const (
	fileOwner = "identity.json"
	fileAge   = "age.key"
)

// MemberPrefix begins a member line.
const MemberPrefix = "iid2-member:"

// Owner is who commands and opens: a Noise key for sessions, an age identity
// for what is sealed. It prints as [redacted].
type Owner struct {
	Noise     identity.KeyPair
	Age       cloud.Secret
	Recipient string // of Age, public
}

// Format keeps the keys out of every print. S8.
func (Owner) Format(f fmt.State, _ rune) { fmt.Fprint(f, "[redacted]") }

// MemberLine is what one tells another owner to be shared with: public keys
// alone, iid2-member:<Noise key in base32>:<age recipient>.
func (o Owner) MemberLine() string { return MemberPrefix + o.NoiseText() + ":" + o.Recipient }

// NoiseText is the public Noise key, 32 bytes in lower-case base32.
func (o Owner) NoiseText() string {
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(o.Noise.Public))
}

// ownerFile is identity.json. The age secret lies in age.key alone, so that
// there is one truth; recipient tells that the two belong together.
type ownerFile struct {
	V         int    `json:"v"`
	Noise     []byte `json:"noise"` // private
	Recipient string `json:"recipient"`
}

// ErrNoIdentity is a folder without an owner.
var ErrNoIdentity = errors.New("no identity yet: run camctl identity")

// AgeFile is the path of the key file for age -d -i.
func (h *Home) AgeFile() string { return h.path(fileAge) }

// Owner reads the owner; ErrNoIdentity if there is none.
func (h *Home) Owner() (Owner, error) {
	var f ownerFile
	found, err := durable.ReadJSON(h.path(fileOwner), &f)
	if err != nil {
		return Owner{}, fmt.Errorf("identity: %w", err)
	}
	if !found {
		return Owner{}, ErrNoIdentity
	}
	noise, err := identity.KeyPairFrom(f.Noise)
	if err != nil {
		return Owner{}, fmt.Errorf("identity: %s: %w", h.path(fileOwner), err)
	}
	secret, recipient, err := h.readAge()
	if err != nil {
		return Owner{}, fmt.Errorf("identity: %s: %w", h.AgeFile(), err)
	}
	if recipient != f.Recipient {
		return Owner{}, fmt.Errorf("identity: %s does not belong to %s: restore both from one backup", h.AgeFile(), fileOwner)
	}
	return Owner{Noise: noise, Age: secret, Recipient: recipient}, nil
}

// EnsureOwner reads the owner, or makes one at first use.
func (h *Home) EnsureOwner(ctx context.Context) (o Owner, created bool, err error) {
	unlock, err := h.Lock(ctx, "identity")
	if err != nil {
		return Owner{}, false, err
	}
	defer unlock()
	if o, err = h.Owner(); !errors.Is(err, ErrNoIdentity) {
		return o, false, err
	}
	if o, err = h.newOwner(); err != nil {
		return Owner{}, false, fmt.Errorf("identity: %w", err)
	}
	return o, true, nil
}

// newOwner writes identity.json last: without it there is no owner, and an
// age.key that was left by a cut is taken up again.
func (h *Home) newOwner() (Owner, error) {
	secret, recipient, err := h.readAge()
	if errors.Is(err, fs.ErrNotExist) {
		secret, recipient, err = seal.NewIdentity()
		if err == nil {
			err = durable.WriteFile(h.AgeFile(), ageKeyFile(secret, recipient))
		}
	}
	if err != nil {
		return Owner{}, fmt.Errorf("%s: %w", h.AgeFile(), err)
	}
	o := Owner{Noise: identity.NewKeyPair(), Age: secret, Recipient: recipient}
	return o, durable.WriteJSON(h.path(fileOwner), ownerFile{V: 1, Noise: o.Noise.Private, Recipient: recipient})
}

// ageKeyFile is what age-keygen would write; it must hold the secret itself.
func ageKeyFile(secret cloud.Secret, recipient string) []byte {
	return []byte("# public key: " + recipient + "\n" + secret.Reveal() + "\n")
}

// readAge finds the one identity among the comments of an age key file.
func (h *Home) readAge() (secret cloud.Secret, recipient string, err error) {
	b, err := os.ReadFile(h.AgeFile())
	if err != nil {
		return secret, "", err
	}
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if !secret.IsZero() {
			return cloud.Secret{}, "", errors.New("more than one age identity in it, want one")
		}
		secret = cloud.NewSecret(line)
	}
	recipient, err = seal.RecipientOf(secret)
	return secret, recipient, err
}
