// Package verify decides whether what a cloud handed over is what the camera
// made: manifests by the signing key that was pinned at pairing, clips by their
// manifest, and the chain of manifests, in which nothing can be missing or
// replaced unseen. It does no I/O of its own, holds no key but public ones, and
// trusts nothing that the cloud says.
package verify

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/seal"
)

// MaxClip bounds what is downloaded for one clip, whatever its manifest says.
const MaxClip = 1 << 30

var (
	streamPattern = regexp.MustCompile(`^[a-z0-9]{1,16}$`)
	hashPattern   = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

// Name tells whether text is the name of a clip: then it is also safe as the
// name of a file.
func Name(text string) bool {
	_, err := cloud.ParseClipName(text)
	return err == nil
}

// Error is something that is there and is not what the camera made. To fetch
// it again is in vain, unless somebody mends it.
type Error struct {
	Name string // of the clip
	Err  error
}

func (e *Error) Error() string { return fmt.Sprintf("clip %s is refused: %v", e.Name, e.Err) }

// Unwrap returns the reason.
func (e *Error) Unwrap() error { return e.Err }

// Camera is what was pinned at pairing.
type Camera struct {
	Serial  cloud.Serial
	Epoch   uint64
	BindID  string
	Signing ed25519.PublicKey
}

// Clip is a manifest that has been verified.
type Clip struct {
	cloud.Manifest
	Hash string // of the manifest's text: the next one's Prev
}

// Manifest verifies the manifest of the clip that was asked for by name:
// signature, kind, camera, binding, and that every field is possible. S10.
// Errors are *Error.
func (c Camera) Manifest(name, token string) (Clip, error) {
	token = strings.TrimSpace(token)
	var m cloud.Manifest
	if err := seal.Verify(cloud.TypManifest, c.Signing, token, &m); err != nil {
		return Clip{}, &Error{name, fmt.Errorf("manifest: %w", err)}
	}
	if err := c.check(name, m); err != nil {
		return Clip{}, &Error{name, fmt.Errorf("manifest: %w", err)}
	}
	return Clip{Manifest: m, Hash: seal.Hash(token)}, nil
}

func (c Camera) check(name string, m cloud.Manifest) error {
	if err := c.checkLink(name, link{m.Statement, m.Name, m.Stream, m.Sequence, m.Prev}); err != nil {
		return err
	}
	switch {
	case !hashPattern.MatchString(m.SHA256):
		return errors.New("a hash is not SHA-256 in hex")
	case m.Size <= 0 || m.Size > MaxClip:
		return fmt.Errorf("size of %d bytes, want 1 to %d", m.Size, MaxClip)
	}
	return nil
}

// link is what manifests and gaps have in common.
type link struct {
	cloud.Statement
	name, stream string
	sequence     uint64
	prev         string
}

func (c Camera) checkLink(name string, l link) error {
	switch {
	case l.V != 1:
		return fmt.Errorf("version %d, want 1: is this camctl too old?", l.V)
	case l.Serial != c.Serial:
		return fmt.Errorf("of camera %v, want %v", l.Serial, c.Serial)
	case l.Epoch != c.Epoch || l.BindID != c.BindID:
		return fmt.Errorf("of another binding (epoch %d, want %d)", l.Epoch, c.Epoch)
	case l.name != name || !Name(name):
		return errors.New("of another clip")
	case !streamPattern.MatchString(l.stream):
		return errors.New("names no stream")
	case l.sequence == 0 || (l.sequence == 1) != (l.prev == ""):
		return errors.New("sequence and previous hash don't fit together")
	case l.prev != "" && !hashPattern.MatchString(l.prev):
		return errors.New("a hash is not SHA-256 in hex")
	}
	return nil
}

// Sealed copies the sealed file from r to w and checks size and hash against
// the manifest; it reads at most one byte too many. What w got is good only if
// there is no error; errors of r and w come back as they are, the others are *Error.
func (c Clip) Sealed(w io.Writer, r io.Reader) error {
	if err := Copy(w, r, c.Size, c.SHA256); err != nil {
		var mismatch *MismatchError
		if errors.As(err, &mismatch) {
			return &Error{c.Name, mismatch}
		}
		return err
	}
	return nil
}

// MismatchError is content that is not what was announced.
type MismatchError struct {
	what  string
	short bool // its end is missing
}

func (e *MismatchError) Error() string { return e.what }

// Copy copies from r to w what must have this size and SHA-256 (hex), else
// *MismatchError.
func Copy(w io.Writer, r io.Reader, size int64, sha string) error {
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(w, h), io.LimitReader(r, size+1))
	switch {
	case err != nil:
		return err
	case n > size:
		return &MismatchError{fmt.Sprintf("larger than the %d bytes that the camera sealed", size), false}
	case n < size:
		return &MismatchError{fmt.Sprintf("%d bytes, the camera sealed %d", n, size), true}
	case hex.EncodeToString(h.Sum(nil)) != sha:
		return &MismatchError{"its SHA-256 is not the one that the camera signed", false}
	}
	return nil
}

// Details opens what only members may know of the clip.
func (c Clip) Details(secret cloud.Secret) (cloud.ClipDetails, error) {
	var d cloud.ClipDetails
	b, err := seal.OpenBytes(c.Manifest.Details, secret)
	if err == nil {
		err = json.Unmarshal(b, &d)
	}
	if err != nil {
		return cloud.ClipDetails{}, &Error{c.Name, fmt.Errorf("details: %w", err)}
	}
	return d, nil
}

// Decrypt writes the clip itself, from its sealed file, to w. A missing end is
// accepted only if the signed details say that a power cut took it.
func (c Clip) Decrypt(w io.Writer, sealed io.Reader, secret cloud.Secret, d cloud.ClipDetails) error {
	plain, err := seal.Open(sealed, secret)
	if err != nil {
		return &Error{c.Name, err}
	}
	sink := &sink{w: w}
	_, err = io.Copy(sink, plain)
	if sink.err != nil {
		return sink.err
	}
	if err == nil || d.Cut && errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return &Error{c.Name, fmt.Errorf("does not decrypt: %w", err)}
}

// sink remembers that it was the writer who failed: a full disk is no forged clip.
type sink struct {
	w   io.Writer
	err error
}

func (s *sink) Write(b []byte) (int, error) {
	n, err := s.w.Write(b)
	s.err = err
	return n, err
}
