package fetch

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sync/errgroup"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/durable"

	"iid2secure.nl/camagent/cmd/camctl/internal/verify"
)

// Said is what a clip's manifest says, verified and opened.
type Said struct {
	verify.Clip
	What cloud.ClipDetails `json:"what"`
}

// Known is a file of what manifests said, so that none is fetched twice. One that
// is lost or damaged costs time alone. It belongs beside the owner's keys, and is
// believed as they are. Safe for concurrent use.
type Known struct {
	path string

	mu    sync.Mutex
	said  map[string]Said
	fresh []Said
}

// maxKnown bounds the file, in bytes; a larger one is begun anew.
const maxKnown = 256 << 20

// OpenKnown reads the file of one camera; there need be none.
func OpenKnown(path string, camera verify.Camera) *Known {
	k := &Known{path: path, said: map[string]Said{}}
	f, err := os.Open(path)
	if err != nil {
		return k
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || info.Size() > maxKnown {
		os.Remove(path)
		return k
	}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var s Said
		if json.Unmarshal(lines.Bytes(), &s) == nil && verify.Name(s.Name) && s.Serial == camera.Serial && s.BindID == camera.BindID {
			k.said[s.Name] = s
		}
	}
	return k
}

// Get returns what is known of a clip.
func (k *Known) Get(name string) (Said, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s, ok := k.said[name]
	return s, ok
}

// All returns all that is known, in no order.
func (k *Known) All() []Said {
	k.mu.Lock()
	defer k.mu.Unlock()
	out := make([]Said, 0, len(k.said))
	for _, s := range k.said {
		out = append(out, s)
	}
	return out
}

func (k *Known) add(s Said) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.said[s.Name] = s
	k.fresh = append(k.fresh, s)
}

// Save appends what is new; lines that another program appends meanwhile stay.
func (k *Known) Save() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.fresh) == 0 {
		return nil
	}
	var b []byte
	for _, s := range k.fresh {
		s.Manifest.Details = nil // What is the same, opened
		line, err := json.Marshal(s)
		if err != nil {
			return err
		}
		b = append(append(b, line...), '\n')
	}
	if err := k.append(b); err != nil {
		return fmt.Errorf("what is known of clips: %w", err)
	}
	k.fresh = nil
	return nil
}

func (k *Known) append(b []byte) error {
	_, before := os.Stat(k.path)
	if err := os.MkdirAll(filepath.Dir(k.path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(k.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Close()); err == nil && errors.Is(before, fs.ErrNotExist) {
		err = durable.SyncDir(filepath.Dir(k.path))
	}
	return err
}

// describers is how many manifests are fetched at a time.
const describers = 8

// Describe tells what the manifests of clips say: from k, which is saved, or
// fetched, verified and opened. What is no manifest of this camera, or is not there,
// is told to refused, and left out; any other failure ends it, and what came before
// is known.
// tell, if not nil, is told how far it is; both from one goroutine at a time.
func (g *Getter) Describe(ctx context.Context, names []string, k *Known, refused func(error), tell func(done, total int64)) ([]Said, error) {
	out := make([]Said, len(names))
	group, inner := errgroup.WithContext(ctx)
	group.SetLimit(describers)
	var mu sync.Mutex
	done := 0
	for i, name := range names {
		if inner.Err() != nil {
			break
		}
		group.Go(func() error {
			s, ok := k.Get(name)
			var err error
			if !ok {
				s, err = g.describe(inner, name)
			}
			mu.Lock()
			defer mu.Unlock()
			if done++; tell != nil {
				tell(int64(done), int64(len(names)))
			}
			if _, bad := errors.AsType[*verify.Error](err); bad || Gone(err) {
				refused(err)
				return nil
			}
			if err == nil && !ok {
				k.add(s)
			}
			out[i] = s
			return err
		})
	}
	err := errors.Join(group.Wait(), ctx.Err())
	if saved := k.Save(); err == nil {
		err = saved
	}
	kept := out[:0]
	for _, s := range out {
		if s.Name != "" {
			kept = append(kept, s)
		}
	}
	return kept, err
}

func (g *Getter) describe(ctx context.Context, name string) (Said, error) {
	c, err := g.Manifest(ctx, name)
	if err != nil {
		return Said{}, err
	}
	d, err := c.Details(g.Secret)
	if err != nil {
		return Said{}, err
	}
	return Said{c, d}, nil
}
