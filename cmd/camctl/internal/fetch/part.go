package fetch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/api"
	"iid2secure.nl/camagent/cloud/durable"
	"iid2secure.nl/camagent/cloud/retry"

	"iid2secure.nl/camagent/cmd/camctl/internal/home"
	"iid2secure.nl/camagent/cmd/camctl/internal/verify"
)

// ExtPart ends the name of a sealed file that has not come whole yet. It stays
// when a download is broken off, and the next one goes on from it.
const ExtPart = ".part"

// BrokenError is a download that was broken off on the way; to try again may help.
type BrokenError struct {
	Name string // of the clip
	Kept string // the file with what has come
	Err  error
}

func (e *BrokenError) Error() string {
	return fmt.Sprintf("clip %s: download: %v (what has come is kept in %s: run it again to go on)", e.Name, e.Err, e.Kept)
}

// Unwrap returns the reason.
func (e *BrokenError) Unwrap() error { return e.Err }

// part is the file of a download, which may have begun in an earlier run.
type part struct {
	*os.File
	hash   hash.Hash
	have   int64
	unlock func()
}

// openPart opens the file, and hashes what an earlier run has left in it.
func openPart(path string, size int64) (*part, error) {
	now, cancel := context.WithCancel(context.Background())
	cancel()
	unlock, err := home.LockFile(now, path)
	if errors.Is(err, home.ErrLocked) {
		return nil, fmt.Errorf("another camctl is downloading to %s", path)
	}
	if err != nil {
		return nil, err
	}
	p := &part{hash: sha256.New(), unlock: unlock}
	if p.File, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600); err == nil {
		p.have, err = io.Copy(p.hash, p.File)
	}
	if err == nil && p.have > size {
		err = p.restart()
	}
	if err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

func (p *part) close() {
	if p.File != nil {
		p.Close()
	}
	p.unlock()
}

// remove gives up what has come.
func (p *part) remove() error {
	return os.Remove(p.Name())
}

// keep gives the whole sealed file its name.
func (p *part) keep(path string) error {
	err := p.Sync()
	if err == nil {
		err = os.Rename(p.Name(), path)
	}
	if err != nil {
		return err
	}
	return durable.SyncDir(filepath.Dir(path))
}

// restart begins anew.
func (p *part) restart() error {
	p.have = 0
	p.hash.Reset()
	_, err := p.Seek(0, io.SeekStart)
	return errors.Join(err, p.Truncate(0))
}

func (p *part) Write(b []byte) (int, error) {
	n, err := p.File.Write(b)
	p.hash.Write(b[:n])
	p.have += int64(n)
	return n, err
}

// download brings the sealed file of a clip into a part at path, and checks it
// against the manifest. What does not match, although it came in one go, is no
// clip of this camera: a *verify.Error, and nothing stays.
func (g *Getter) download(ctx context.Context, c verify.Clip, path string) (*part, error) {
	p, err := openPart(path, c.Size)
	if err != nil {
		return nil, err
	}
	resumed := p.have > 0
	err = g.persist(ctx, c, p)
	if _, bad := errors.AsType[*verify.Error](err); bad && resumed {
		// What an earlier run left may have been something else.
		if err = p.restart(); err == nil {
			err = g.persist(ctx, c, p)
		}
	}
	if _, bad := errors.AsType[*verify.Error](err); bad {
		err = errors.Join(err, p.remove())
	}
	if err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

// persist goes on after a broken connection, as long as there is some progress.
func (g *Getter) persist(ctx context.Context, c verify.Clip, p *part) error {
	wait := retry.Backoff{Min: time.Second, Max: 10 * time.Second}
	for failed := 0; ; {
		before := p.have
		err := g.more(ctx, c, p)
		if _, broken := errors.AsType[*BrokenError](err); !broken || ctx.Err() != nil {
			return err
		}
		if p.have > before {
			failed = 0
			wait.Reset()
		}
		if failed++; failed > g.Retries {
			return err
		}
		if retry.Sleep(ctx, wait.Next(), nil) != nil {
			return err
		}
	}
}

// more downloads what is missing, and checks the whole.
func (g *Getter) more(ctx context.Context, c verify.Clip, p *part) error {
	if p.have < c.Size {
		if err := g.append(ctx, c, p); err != nil {
			return err
		}
	}
	return matches(c, p.have, p.hash)
}

func matches(c verify.Clip, have int64, h hash.Hash) error {
	switch {
	case have > c.Size:
		return &verify.Error{Name: c.Name, Err: fmt.Errorf("larger than the %d bytes that the camera sealed", c.Size)}
	case have < c.Size:
		return &verify.Error{Name: c.Name, Err: fmt.Errorf("%d bytes, the camera sealed %d", have, c.Size)}
	case hex.EncodeToString(h.Sum(nil)) != c.SHA256:
		return &verify.Error{Name: c.Name, Err: errors.New("its SHA-256 is not the one that the camera signed")}
	}
	return nil
}

// append reads one byte too many at most.
func (g *Getter) append(ctx context.Context, c verify.Clip, p *part) error {
	broken := func(err error) error { return &BrokenError{Name: c.Name, Kept: p.Name(), Err: err} }
	body, err := g.open(ctx, c.Name+cloud.ExtClip, p.have)
	if err != nil && passing(err) {
		return broken(err)
	}
	if err != nil {
		return fmt.Errorf("clip %s: %w", c.Name, err)
	}
	defer body.Close()
	w := &counter{w: p, done: p.have, total: c.Size, tell: g.Progress}
	_, err = io.Copy(w, io.LimitReader(body, c.Size-p.have+1))
	if err != nil && w.err == nil {
		return broken(err)
	}
	return err
}

// passing tells whether a failure to begin may pass by itself.
func passing(err error) bool {
	if refusal, ok := errors.AsType[*api.Error](err); ok {
		return refusal.Status >= 500 || refusal.Status == http.StatusTooManyRequests
	}
	if refusal, ok := errors.AsType[*cloud.Refusal](err); ok {
		return refusal.Code == cloud.CodeBusy || refusal.Code == cloud.CodeLate
	}
	_, network := errors.AsType[net.Error](err)
	return network || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF)
}
