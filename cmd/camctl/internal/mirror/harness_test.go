package mirror

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/cloud/api"
	"iid2secure.nl/camagent/cloud/seal"

	"iid2secure.nl/camagent/cmd/camctl/internal/fakecloud"
	"iid2secure.nl/camagent/cmd/camctl/internal/fetch"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// bench is a camera, its cloud, and a folder.
type bench struct {
	t     *testing.T
	cam   *fakecloud.Camera
	cloud *fakecloud.Cloud
	dir   string
	now   time.Time

	mu   sync.Mutex
	came []string // names, as they arrived
	said []string
	bad  map[string]error // by object
}

// errGone is what a cloud says of an object that is not there.
var errGone = &api.Error{Status: http.StatusNotFound, Code: api.CodeNotFound, Message: "not there"}

// failing has an object not be given.
func (b *bench) failing(object string, err error) {
	if b.bad == nil {
		b.bad = map[string]error{}
	}
	b.bad[object] = err
	b.cloud.Fail(func(op, name string) error {
		if op == "get" {
			return b.bad[name]
		}
		return nil
	})
}

func newBench(t *testing.T) *bench {
	t.Helper()
	secret, _, err := seal.NewIdentity()
	require.NoError(t, err)
	cam, err := fakecloud.NewCamera(secret)
	require.NoError(t, err)
	return &bench{t: t, cam: cam, cloud: fakecloud.New(), dir: t.TempDir(), now: start}
}

// make records the next clip without uploading it.
func (b *bench) make(stream string) fakecloud.Clip {
	b.t.Helper()
	b.now = b.now.Add(10 * time.Second)
	k, err := b.cam.Clip(b.now, stream, nil)
	require.NoError(b.t, err)
	return k
}

func (b *bench) upload(stream string) fakecloud.Clip {
	k := b.make(stream)
	b.cloud.Upload(k)
	return k
}

func (b *bench) mirror() *Mirror {
	return &Mirror{Dir: b.dir,
		Getter: &fetch.Getter{Source: b.cloud, Camera: b.cam.Pinned(), Secret: b.cam.Secret, Stall: 15 * time.Second},
		OnClip: func(r Record) { b.note(&b.came, r.Name) },
		OnWarn: func(s string) { b.note(&b.said, s) }}
}

func (b *bench) note(list *[]string, s string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	*list = append(*list, s)
}

func (b *bench) warns() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.said)
}

func (b *bench) clips() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.came)
}

func (b *bench) run() Summary {
	b.t.Helper()
	sum, err := b.mirror().Run(b.t.Context(), false)
	require.NoError(b.t, err)
	return sum
}

// follow runs in the background of a synctest bubble; stop ends it.
func (b *bench) follow() (stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		_, err := b.mirror().Run(ctx, true)
		done <- err
	}()
	return func() error { cancel(); return <-done }
}

// after lets d of the bubble's time pass.
func after(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func (b *bench) has(k fakecloud.Clip) {
	b.t.Helper()
	got, err := os.ReadFile(filepath.Join(b.dir, k.Name+".mp4"))
	require.NoError(b.t, err)
	require.Equal(b.t, k.Plain, got)
}
