package fakecloud

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/api"
)

// pageSize is small, so that every test of lists turns pages.
const pageSize = 3

// Cloud keeps the objects of one camera. It is a fetch.Source, and safe for
// concurrent use.
type Cloud struct {
	mu      sync.Mutex
	objects map[string][]byte
	asked   map[string]int
	fail    func(op, name string) error
	body    func(name string, r io.Reader) io.Reader
}

// New makes an empty cloud.
func New() *Cloud {
	return &Cloud{objects: map[string][]byte{}, asked: map[string]int{}}
}

// Upload puts both objects of a clip.
func (c *Cloud) Upload(k Clip) {
	c.Put(k.Name+cloud.ExtClip, k.Sealed)
	c.Put(k.Name+".jws", []byte(k.Token))
}

// UploadGap puts a signed gap.
func (c *Cloud) UploadGap(g Gap) { c.Put(g.Name+cloud.ExtGap, []byte(g.Token)) }

// Put stores one object.
func (c *Cloud) Put(name string, b []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.objects[name] = b
}

// Remove takes objects away.
func (c *Cloud) Remove(names ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, name := range names {
		delete(c.objects, name)
	}
}

// Fail sets what happens before each operation (objects, get, fetch); nil: nothing.
func (c *Cloud) Fail(fail func(op, name string) error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fail = fail
}

// Body sets what becomes of the bytes on the way; nil: nothing.
func (c *Cloud) Body(body func(name string, r io.Reader) io.Reader) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.body = body
}

// Asked is how often an object was granted, or with "" how often there was a list.
func (c *Cloud) Asked(name string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.asked[name]
}

func (c *Cloud) before(ctx context.Context, op, name string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if c.fail != nil {
		return c.fail(op, name)
	}
	return nil
}

// Objects lists in pages of three.
func (c *Cloud) Objects(ctx context.Context, _ cloud.Serial, q api.ObjectQuery) (api.ObjectList, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked[""]++
	var out api.ObjectList
	if err := c.before(ctx, "objects", q.After); err != nil {
		return out, err
	}
	for _, name := range slices.Sorted(maps.Keys(c.objects)) {
		if name <= q.After || !strings.HasPrefix(name, q.Prefix) {
			continue
		}
		if len(out.Objects) == pageSize {
			out.Next = out.Objects[pageSize-1].Name
			break
		}
		out.Objects = append(out.Objects, api.Object{Name: name, Size: int64(len(c.objects[name]))})
	}
	return out, nil
}

// Get grants what is there.
func (c *Cloud) Get(ctx context.Context, _ cloud.Serial, name string) (api.Download, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked[name]++
	if err := c.before(ctx, "get", name); err != nil {
		return api.Download{}, err
	}
	if _, ok := c.objects[name]; !ok {
		return api.Download{}, &api.Error{Status: http.StatusNotFound, Code: api.CodeNotFound, Message: "no such object"}
	}
	return api.Download{URL: name}, nil
}

// Fetch reads what was granted.
func (c *Cloud) Fetch(ctx context.Context, d api.Download) (io.ReadCloser, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	name := d.URL[strings.LastIndexByte(d.URL, '/')+1:]
	if err := c.before(ctx, "fetch", name); err != nil {
		return nil, err
	}
	var r io.Reader = bytes.NewReader(c.objects[name][min(d.Offset, int64(len(c.objects[name]))):])
	if c.body != nil {
		r = c.body(name, r)
	}
	return &body{r, ctx}, nil
}

// body ends with its context, as one of net/http does.
type body struct {
	io.Reader
	ctx context.Context //nolint:containedctx // that of the request
}

func (b *body) Read(p []byte) (int, error) {
	if b.ctx.Err() != nil {
		return 0, b.ctx.Err()
	}
	return b.Reader.Read(p)
}

func (b *body) Close() error { return nil }

// ErrAway is a cloud that can't be reached.
var ErrAway = errors.New("cloud: connection refused")
