// Package identity is what makes a camera this camera: its serial, its
// verification code, its three keys and the certificate by which the factory
// vouches for them; and the factory itself, which makes all of that.
//
// The serial is a name and proves nothing. The code proves that one holds the
// label; it is never sent, never logged, and useless once the camera is bound.
// The certificate (client authentication only) names the other two keys in URI
// SANs, so that one check of the chain authenticates all of them.
//
// The package talks to nobody. Identities are immutable once made or loaded and
// may be read from any goroutine.
package identity

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/durable"
)

// The files of an identity in its folder, all 0600. The chain is written last
// and looked for first: without it there is no identity.
const (
	fileChain   = "device.pem"
	fileTLSKey  = "device.key"
	fileNoise   = "noise.key"
	fileSigning = "signing.key"
	fileCode    = "code"
)

// KeyPair is an X25519 key pair for Noise, 32 bytes each. It prints as
// [redacted] and refuses to be marshalled: whoever stores one names its parts.
type KeyPair struct{ Private, Public []byte }

// NewKeyPair makes a random key pair.
func NewKeyPair() KeyPair {
	k, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		// crypto/rand ends the process before it fails; an X25519 scalar needs nothing else.
		return KeyPair{}
	}
	return KeyPair{Private: k.Bytes(), Public: k.PublicKey().Bytes()}
}

// KeyPairFrom completes a pair from its private key of 32 bytes.
func KeyPairFrom(private []byte) (KeyPair, error) {
	k, err := ecdh.X25519().NewPrivateKey(private)
	if err != nil {
		return KeyPair{}, fmt.Errorf("noise key: %d bytes, want 32", len(private))
	}
	return KeyPair{Private: k.Bytes(), Public: k.PublicKey().Bytes()}, nil
}

// Format keeps the private key out of every print. S8.
func (KeyPair) Format(f fmt.State, _ rune) { fmt.Fprint(f, "[redacted]") }

// MarshalJSON always fails, rather than to leak the key or to lose it.
func (KeyPair) MarshalJSON() ([]byte, error) {
	return nil, errors.New("a key pair is not marshalled: store Private on purpose")
}

// CheckPublic tells whether b can be somebody's Noise public key: 32 bytes, and
// not one of the points with which every exchange gives zero (RFC 7748, 6.1).
func CheckPublic(b []byte) error {
	p, err := ecdh.X25519().NewPublicKey(b)
	if err != nil {
		return fmt.Errorf("noise public key: %d bytes, want 32", len(b))
	}
	k, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return fmt.Errorf("noise public key: %w", err)
	}
	if _, err := k.ECDH(p); err != nil {
		return errors.New("noise public key: a low-order point, with which nothing can be kept secret")
	}
	return nil
}

// Identity is all that a camera knows about itself.
type Identity struct {
	Serial  cloud.Serial
	Code    cloud.Secret       // verification code, 16 symbols
	TLS     tls.Certificate    // P-256, for client authentication; Leaf is set
	Noise   KeyPair            // static key of pairing and sessions
	Signing ed25519.PrivateKey // signs statements
	Chain   string             // PEM: leaf, then factory CA
}

// Format shows the masked serial and nothing else. S8, P8.
func (id *Identity) Format(f fmt.State, _ rune) {
	if id == nil {
		fmt.Fprint(f, "no identity")
		return
	}
	fmt.Fprintf(f, "identity of %s", id.Serial)
}

// MarshalText does the same for encoders.
func (id *Identity) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%v", id), nil }

// NewSelfMade makes an identity with a factory of its own, for simulated
// cameras and for makers without a vendor. The factory's key is thrown away.
func NewSelfMade() (*Identity, error) {
	f, err := NewFactory("self-made")
	if err != nil {
		return nil, err
	}
	return f.Provision()
}

// Save writes the identity into dir (made if missing), durable, files 0600. It
// refuses to replace an identity that is there: a camera gets one in its life.
func (id *Identity) Save(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("identity: %w", err)
	}
	if _, err := os.Lstat(filepath.Join(dir, fileChain)); err == nil {
		return fmt.Errorf("identity: %s holds one already: %w", dir, fs.ErrExist)
	}
	noise, err := ecdh.X25519().NewPrivateKey(id.Noise.Private)
	if err != nil {
		return fmt.Errorf("identity: noise key: %w", err)
	}
	for _, k := range []struct {
		file string
		key  any
	}{{fileTLSKey, id.TLS.PrivateKey}, {fileNoise, noise}, {fileSigning, id.Signing}} {
		if err := writeKey(filepath.Join(dir, k.file), k.key); err != nil {
			return fmt.Errorf("identity: %w", err)
		}
	}
	if err := durable.WriteFile(filepath.Join(dir, fileCode), []byte(id.Code.Reveal()+"\n")); err != nil {
		return fmt.Errorf("identity: %w", err)
	}
	if err := durable.WriteFile(filepath.Join(dir, fileChain), []byte(id.Chain)); err != nil {
		return fmt.Errorf("identity: %w", err)
	}
	return nil
}

// Load reads an identity from a folder; errors as those of LoadFS.
func Load(dir string) (*Identity, error) { return LoadFS(os.DirFS(dir), dir) }

// LoadFS reads an identity from where a board keeps it; where names the place in
// errors. The error is fs.ErrNotExist if there is none, and otherwise names the
// file that is missing, damaged, or of another camera.
func LoadFS(fsys fs.FS, where string) (*Identity, error) {
	chain, err := fs.ReadFile(fsys, fileChain)
	if err != nil {
		return nil, fmt.Errorf("identity: %s: %w", where, err)
	}
	dev, certs, err := verifyChain(string(chain), nil)
	if err != nil {
		return nil, fmt.Errorf("identity: %s: %w", filepath.Join(where, fileChain), err)
	}
	id := &Identity{Serial: dev.Serial, Chain: string(chain)}
	for _, c := range certs {
		id.TLS.Certificate = append(id.TLS.Certificate, c.Raw)
	}
	id.TLS.Leaf = certs[0]
	for _, part := range []struct {
		file string
		load func(content []byte) error
	}{
		{fileTLSKey, id.loadTLS},
		{fileNoise, func(b []byte) error { return id.loadNoise(b, dev) }},
		{fileSigning, func(b []byte) error { return id.loadSigning(b, dev) }},
		{fileCode, id.loadCode},
	} {
		content, err := fs.ReadFile(fsys, part.file)
		if err == nil {
			err = part.load(content)
		}
		if err != nil {
			return nil, fmt.Errorf("identity: %s: %w", filepath.Join(where, part.file), partError(err))
		}
	}
	return id, nil
}

// partError hides fs.ErrNotExist: a folder with a chain and a missing key holds
// a broken identity, and nobody may make a new one over it.
func partError(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return errors.New("is missing")
	}
	return err
}

var errOther = errors.New("does not belong to the certificate in " + fileChain)

func (id *Identity) loadTLS(content []byte) error {
	k, err := readKey[*ecdsa.PrivateKey](content)
	if err != nil {
		return err
	}
	if !k.PublicKey.Equal(id.TLS.Leaf.PublicKey) {
		return errOther
	}
	id.TLS.PrivateKey = k
	return nil
}

func (id *Identity) loadNoise(content []byte, dev Device) error {
	k, err := readKey[*ecdh.PrivateKey](content)
	if err != nil {
		return err
	}
	if k.Curve() != ecdh.X25519() || !bytes.Equal(k.PublicKey().Bytes(), dev.NoisePublic) {
		return errOther
	}
	id.Noise = KeyPair{Private: k.Bytes(), Public: k.PublicKey().Bytes()}
	return nil
}

func (id *Identity) loadSigning(content []byte, dev Device) error {
	k, err := readKey[ed25519.PrivateKey](content)
	if err != nil {
		return err
	}
	if !dev.Signing.Equal(k.Public()) {
		return errOther
	}
	id.Signing = k
	return nil
}

func (id *Identity) loadCode(content []byte) (err error) {
	id.Code, err = cloud.ParseCode(string(bytes.TrimSpace(content)))
	return err
}
