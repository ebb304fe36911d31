package upload

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/spool"
)

const benchSize = 8 << 20

// sinkStore takes everything and remembers headers alone, so that the store's
// own work weighs little.
func sinkStore(b *testing.B) *fakeStore {
	s := newFakeStore(b)
	seen := map[string]http.Header{}
	var mu sync.Mutex
	s.setFault(func(w http.ResponseWriter, r *http.Request, key string) bool {
		if r.Method == http.MethodPut {
			io.Copy(io.Discard, r.Body)
		}
		mu.Lock()
		defer mu.Unlock()
		if r.Method == http.MethodPut {
			seen[key] = r.Header
			return true
		}
		w.Header().Set(headerSHA256, seen[key].Get(headerSHA256))
		w.Header().Set("Content-Length", seen[key].Get("Content-Length"))
		return true
	})
	return s
}

// BenchmarkDrain is the whole path card → confirmed upload of 8 MiB clips with
// their manifests, over TLS on loopback.
func BenchmarkDrain(b *testing.B) {
	s := sinkStore(b)
	r := honest(b, s)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	b.SetBytes(benchSize)
	for b.Loop() {
		b.StopTimer()
		name := cloud.ClipName(time.Now())
		f, err := r.card.Create(name)
		require.NoError(b, err)
		_, err = f.Write(make([]byte, benchSize))
		require.NoError(b, err)
		_, err = f.Commit(spool.Routine, []byte("manifest"))
		require.NoError(b, err)
		o, err := r.card.Next(ctx)
		require.NoError(b, err)
		b.StartTimer()
		require.NoError(b, r.one(ctx, o))
	}
	b.StopTimer()
	r.store.close()
}

// BenchmarkBarePUT is the measure for BenchmarkDrain: the same bytes from
// memory to the same server by net/http.
func BenchmarkBarePUT(b *testing.B) {
	s := sinkStore(b)
	data := make([]byte, benchSize)
	b.SetBytes(benchSize)
	for b.Loop() {
		req, err := http.NewRequest(http.MethodPut, s.URL+"/clips/"+cloud.Token(8), bytes.NewReader(data))
		require.NoError(b, err)
		resp, err := s.Client().Do(req)
		require.NoError(b, err)
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	s.Client().CloseIdleConnections()
}
