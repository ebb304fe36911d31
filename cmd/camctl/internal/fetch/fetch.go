// Package fetch brings a camera's objects from the cloud to the owner: it
// lists, downloads, verifies and decrypts. The cloud is trusted for delivery
// only: nothing leaves this package as a clip that package verify has not
// passed, and nothing but ciphertext is written before. What lasts are files of
// its caller's: a download that was broken off (see ExtPart), and what manifests
// said (see Known).
package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/api"
	"iid2secure.nl/camagent/cloud/seal"

	"iid2secure.nl/camagent/cmd/camctl/internal/verify"
)

// Limits of what is taken from the storage into memory, in bytes. R6.
const (
	maxPages   = 20_000
	maxPicture = 32 << 20
)

// Source is the cloud, the bare bucket, or the camera's card; *api.Client is one.
// Fetch reads from d.Offset on.
type Source interface {
	Objects(ctx context.Context, serial cloud.Serial, q api.ObjectQuery) (api.ObjectList, error)
	Get(ctx context.Context, serial cloud.Serial, name string) (api.Download, error)
	Fetch(ctx context.Context, d api.Download) (io.ReadCloser, error)
}

// Getter gets the objects of one camera for one owner. Safe for concurrent use.
type Getter struct {
	Source Source
	Camera verify.Camera
	Secret cloud.Secret // the owner's age identity
	// Stall ends a download, or a question to the cloud, that makes no progress
	// for so long; there is no limit to the whole.
	Stall time.Duration
	// Retries is how often a broken download goes on without any progress in
	// between, before it is given up; what has come is kept.
	Retries int
	// Progress, if set, is told of the bytes of a clip as they come.
	Progress func(done, total int64)
}

// Listed is a clip as the cloud's list shows it: a claim, nothing is verified.
type Listed struct {
	Name     string `json:"name"`
	Time     string `json:"time"` // its start by its name, RFC 3339
	Size     int64  `json:"size"` // of the sealed file
	Modified int64  `json:"modified"`
	Complete bool   `json:"complete"` // clip and manifest are both there
}

// List reads all pages of q and joins clips with their manifests, sorted by
// name. Objects that are no clips are left out.
func (g *Getter) List(ctx context.Context, q api.ObjectQuery) ([]Listed, error) {
	var j joiner
	for range maxPages {
		page, err := g.page(ctx, q)
		if err != nil {
			return nil, err
		}
		for _, o := range page.Objects {
			if q.Past(o.Name) {
				return j.out, nil
			}
			if o.Name > q.Begin() { // a cloud may know no times
				j.add(o)
			}
		}
		if page.Next == "" {
			return j.out, nil
		}
		if page.Next <= q.After {
			return nil, errors.New("list objects: the cloud repeats itself")
		}
		q.After = page.Next
	}
	return nil, errors.New("list objects: the cloud's list has no end")
}

func (g *Getter) page(ctx context.Context, q api.ObjectQuery) (api.ObjectList, error) {
	ctx, cancel := context.WithTimeout(ctx, g.Stall)
	defer cancel()
	return g.Source.Objects(ctx, g.Camera.Serial, q)
}

// joiner makes one entry of a clip's two objects, which are neighbours in the
// order of names: .jws sorts before .mp4.age.
type joiner struct {
	out      []Listed
	manifest string
}

func (j *joiner) add(o api.Object) {
	if name, ok := strings.CutSuffix(o.Name, cloud.ExtManifest); ok {
		j.manifest = name
		return
	}
	name, ok := strings.CutSuffix(o.Name, cloud.ExtClip)
	start, err := cloud.ParseClipName(name)
	if !ok || err != nil || o.Size < 0 {
		return
	}
	j.out = append(j.out, Listed{Name: name, Time: start.Format("2006-01-02T15:04:05.000Z07:00"), Size: o.Size, Modified: o.Modified,
		Complete: j.manifest == name})
}

// Manifest fetches and verifies a clip's manifest. Errors of kind *verify.Error
// are final, and of this clip alone; so are those that Gone tells.
func (g *Getter) Manifest(ctx context.Context, name string) (verify.Clip, error) {
	token, err := g.statement(ctx, "manifest of", name, cloud.ExtManifest)
	if err != nil {
		return verify.Clip{}, err
	}
	return g.Camera.Manifest(name, token)
}

// Gone tells whether an object that was listed is not there: a failure of this one
// alone, whatever the others do.
func Gone(err error) bool {
	refusal, ok := errors.AsType[*api.Error](err)
	return ok && (refusal.Status == http.StatusNotFound || refusal.Status == http.StatusGone)
}

// Sealed downloads a clip's sealed file into w and checks it against its manifest.
func (g *Getter) Sealed(ctx context.Context, c verify.Clip, w io.Writer) error {
	body, err := g.open(ctx, c.Name+cloud.ExtClip, 0)
	if err != nil {
		return fmt.Errorf("clip %s: %w", c.Name, err)
	}
	defer body.Close()
	err = c.Sealed(&counter{w: w, total: c.Size, tell: g.Progress}, body)
	if _, final := errors.AsType[*verify.Error](err); err != nil && !final {
		return fmt.Errorf("clip %s: download: %w", c.Name, err)
	}
	return err
}

// Clip downloads, verifies and decrypts a clip into dst, a file that the caller
// commits. scratch+ExtPart, which keep may name, too, holds the sealed file meanwhile, and what has come of
// it if the download is broken off. keep, if not empty, is where the sealed file
// stays; else it is removed. Until everything is checked only ciphertext has
// been written.
func (g *Getter) Clip(ctx context.Context, c verify.Clip, dst io.Writer, scratch, keep string) (cloud.ClipDetails, error) {
	details, err := c.Details(g.Secret)
	if err != nil {
		return details, err
	}
	return details, g.Open(ctx, Said{c, details}, dst, scratch, keep)
}

// Open is Clip for one whose details are known.
func (g *Getter) Open(ctx context.Context, s Said, dst io.Writer, scratch, keep string) error {
	p, err := g.download(ctx, s.Clip, scratch+ExtPart)
	if err != nil {
		return err
	}
	defer p.close()
	if _, err := p.Seek(0, io.SeekStart); err != nil {
		return err
	}
	err = s.Decrypt(dst, p, g.Secret, s.What)
	if _, bad := errors.AsType[*verify.Error](err); err != nil && !bad {
		return err // dst's: what has come is kept
	}
	if err != nil || keep == "" {
		return errors.Join(err, p.remove())
	}
	return p.keep(keep)
}

// Ahead downloads and verifies a clip, which a later Clip with the same scratch
// then finds there.
func (g *Getter) Ahead(ctx context.Context, c verify.Clip, scratch string) error {
	p, err := g.download(ctx, c, scratch+ExtPart)
	if err != nil {
		return err
	}
	p.close()
	return nil
}

// Picture fetches a sealed picture whose size and SHA-256 the camera told in
// its session, and opens it.
func (g *Getter) Picture(ctx context.Context, name string, size int64, sha string) ([]byte, error) {
	if size <= 0 || size > maxPicture {
		return nil, fmt.Errorf("snapshot: %d bytes, want 1 to %d", size, maxPicture)
	}
	body, err := g.open(ctx, name, 0)
	if err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	defer body.Close()
	return g.OpenPicture(body, size, sha)
}

// OpenPicture checks and opens a sealed picture.
func (g *Getter) OpenPicture(sealed io.Reader, size int64, sha string) ([]byte, error) {
	var b limited
	if err := verify.Copy(&b, sealed, min(size, maxPicture), sha); err != nil {
		return nil, fmt.Errorf("snapshot is refused: %w", err)
	}
	jpeg, err := seal.OpenBytes(b, g.Secret)
	if err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	return jpeg, nil
}

// limited is memory that Copy bounds.
type limited []byte

func (l *limited) Write(b []byte) (int, error) {
	*l = append(*l, b...)
	return len(b), nil
}

// statement reads what is signed. One that is too large is none of the camera's: a
// *verify.Error.
func (g *Getter) statement(ctx context.Context, what, name, ext string) (string, error) {
	body, err := g.open(ctx, name+ext, 0)
	if err != nil {
		return "", fmt.Errorf("%s %s: %w", what, name, err)
	}
	defer body.Close()
	b, err := io.ReadAll(io.LimitReader(body, seal.MaxStatement+1))
	if err != nil {
		return "", fmt.Errorf("%s %s: %w", what, name, err)
	}
	if len(b) > seal.MaxStatement {
		return "", &verify.Error{Name: name, Err: fmt.Errorf("its statement is larger than %d bytes", seal.MaxStatement)}
	}
	return string(b), nil
}

// counter tells how far a download is, and whether it was the writer who failed.
type counter struct {
	w           io.Writer
	done, total int64
	tell        func(done, total int64) // may be nil
	err         error
}

func (c *counter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.done += int64(n)
	c.err = err
	if c.tell != nil {
		c.tell(c.done, c.total)
	}
	return n, err
}
