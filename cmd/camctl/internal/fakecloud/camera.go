// Package fakecloud is a camera and a cloud in memory, for tests of what lies
// between them and the owner. Clips and manifests are genuine: sealed to an age
// recipient and signed by the camera's key. The cloud can be made to fail, to
// hold back, and to alter. Nothing but tests may import it.
package fakecloud

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/identity"
	"iid2secure.nl/camagent/cloud/seal"

	"iid2secure.nl/camagent/cmd/camctl/internal/verify"
)

// Camera signs and seals. Not for several goroutines.
type Camera struct {
	ID     *identity.Identity
	Epoch  uint64
	BindID string
	Secret cloud.Secret // the owner's age identity
	to     seal.Recipients
	heads  map[string]head
	count  int
}

type head struct {
	sequence uint64
	hash     string
}

// NewCamera makes a camera that is bound to an owner with this age identity.
func NewCamera(secret cloud.Secret) (*Camera, error) {
	id, err := identity.NewSelfMade()
	if err != nil {
		return nil, err
	}
	recipient, err := seal.RecipientOf(secret)
	if err != nil {
		return nil, err
	}
	to, err := seal.ParseRecipients([]string{recipient})
	if err != nil {
		return nil, err
	}
	return &Camera{ID: id, Epoch: 1, BindID: fmt.Sprintf("%032x", 7), Secret: secret, to: to, heads: map[string]head{}}, nil
}

// Pinned is what the owner keeps of the camera.
func (c *Camera) Pinned() verify.Camera {
	key, _ := c.ID.Signing.Public().(ed25519.PublicKey)
	return verify.Camera{Serial: c.ID.Serial, Epoch: c.Epoch, BindID: c.BindID, Signing: key}
}

// Clip is a clip as the camera uploads it.
type Clip struct {
	Name     string
	Plain    []byte
	Sealed   []byte
	Token    string
	Manifest cloud.Manifest
}

// Clip makes the next clip of a stream; edit, if not nil, changes what is signed.
func (c *Camera) Clip(start time.Time, stream string, edit func(*cloud.Manifest, *cloud.ClipDetails)) (Clip, error) {
	c.count++
	k := Clip{Name: fmt.Sprintf("%s-%08d", cloud.ClipTime(start), c.count)}
	k.Plain = fmt.Appendf(nil, "clip %d of %s, long enough to be told from others", c.count, stream)
	var err error
	if k.Sealed, err = seal.Bytes(k.Plain, c.to); err != nil {
		return k, err
	}
	sum := sha256.Sum256(k.Sealed)
	before := c.heads[stream]
	details := cloud.ClipDetails{Boot: "b", Started: start.UTC().Format(time.RFC3339Nano), DurationMS: 10_000, Frames: 250, Trigger: "continuous"}
	k.Manifest = cloud.Manifest{
		Statement: cloud.Statement{V: 1, Serial: c.ID.Serial, Epoch: c.Epoch, BindID: c.BindID},
		Stream:    stream, Sequence: before.sequence + 1, Name: k.Name, Size: int64(len(k.Sealed)),
		SHA256: hex.EncodeToString(sum[:]), Prev: before.hash,
	}
	if edit != nil {
		edit(&k.Manifest, &details)
	}
	if k.Manifest.Details, err = c.details(details); err != nil {
		return k, err
	}
	k.Token, err = seal.Sign(cloud.TypManifest, c.ID.Signing, k.Manifest)
	c.heads[stream] = head{k.Manifest.Sequence, seal.Hash(k.Token)}
	return k, err
}

// Gap is a signed gap as the camera uploads it.
type Gap struct {
	Name  string
	Token string
	Gap   cloud.Gap
}

// Gap makes the next statement of a stream: that these numbers are given up.
func (c *Camera) Gap(start time.Time, stream string, reason cloud.GapReason, missing []cloud.Span, edit func(*cloud.Gap, *cloud.GapDetails)) (Gap, error) {
	c.count++
	before := c.heads[stream]
	g := Gap{Name: fmt.Sprintf("%s-%08d", cloud.ClipTime(start), c.count)}
	details := cloud.GapDetails{Boot: "b", From: start.UTC().Format(time.RFC3339Nano), To: start.Add(time.Minute).UTC().Format(time.RFC3339Nano)}
	g.Gap = cloud.Gap{Statement: cloud.Statement{V: 1, Serial: c.ID.Serial, Epoch: c.Epoch, BindID: c.BindID},
		Stream: stream, Sequence: before.sequence + 1, Name: g.Name, Prev: before.hash, Reason: reason, Missing: missing}
	if edit != nil {
		edit(&g.Gap, &details)
	}
	var err error
	if g.Gap.Details, err = c.details(details); err != nil {
		return g, err
	}
	g.Token, err = seal.Sign(cloud.TypGap, c.ID.Signing, g.Gap)
	c.heads[stream] = head{g.Gap.Sequence, seal.Hash(g.Token)}
	return g, err
}

// Head is what the camera's status tells of a stream.
func (c *Camera) Head(stream string) (sequence uint64, hash string) {
	return c.heads[stream].sequence, c.heads[stream].hash
}

func (c *Camera) details(d any) ([]byte, error) {
	b, err := json.Marshal(d)
	if err != nil {
		return nil, err
	}
	return seal.Bytes(b, c.to)
}

// Seal seals bytes to the owner.
func (c *Camera) Seal(plain []byte) ([]byte, error) { return seal.Bytes(plain, c.to) }
