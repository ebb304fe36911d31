package upload

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/spool"
)

const (
	benchSize  = 8 << 20
	benchClips = 12
)

// BenchmarkDrain is the whole path card → confirmed upload of a backlog of 8 MiB
// clips with their manifests, over TLS on loopback to a real S3 server; and,
// beside it in turns, the bare PUT of the same bytes from memory by net/http. A
// card that must be read comes on top of it.
func BenchmarkDrain(b *testing.B) {
	s := startRealStore(b)
	data := make([]byte, benchSize)
	for i := range data {
		data[i] = byte(rand.Uint32())
	}
	var drain, bare time.Duration
	var held uint64
	round := 0
	for b.Loop() {
		round++
		d, h := drainOnce(b, s, data, round)
		drain, held = drain+d, max(held, h)
		bare += bareOnce(b, s, data, round)
	}
	mb := float64(round) * benchClips * benchSize / 1e6
	b.ReportMetric(mb/drain.Seconds(), "MB/s")
	b.ReportMetric(mb/bare.Seconds(), "bare-MB/s")
	b.ReportMetric(bare.Seconds()/drain.Seconds(), "of-bare")
	b.ReportMetric(float64(held)/1e6, "MB-above-idle")
}

// drainOnce fills a card and empties it; it returns also by how many bytes the
// heap in use was above the idle one.
func drainOnce(b *testing.B, s *realStore, data []byte, round int) (time.Duration, uint64) {
	r := s.rig(b, Config{})
	for i := range benchClips {
		name := cloud.ClipTime(time.Unix(int64(round*1000+i), 0)) + "-abcdefgh"
		f, err := r.card.Create(name)
		require.NoError(b, err)
		_, err = f.Write(data)
		require.NoError(b, err)
		_, err = f.Commit(spool.Routine, bytes.Repeat([]byte("m"), 1000))
		require.NoError(b, err)
		r.names = append(r.names, name)
	}
	idle := heapInUse(true)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	began := time.Now()
	go func() { done <- r.Run(ctx) }()
	var most uint64
	for _, n := range r.names {
		require.NoError(b, r.Wait(ctx, n))
		most = max(most, heapInUse(false))
	}
	took := time.Since(began)
	cancel()
	require.NoError(b, <-done)
	require.Zero(b, r.Stats().Retries, "%v", r.Stats().LastError)
	return took, most - min(most, idle)
}

func heapInUse(collect bool) uint64 {
	if collect {
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}

// bareOnce is the measure for drainOnce.
func bareOnce(b *testing.B, s *realStore, data []byte, round int) time.Duration {
	began := time.Now()
	sum := sha256.Sum256(data)
	manifest := bytes.Repeat([]byte("m"), 1000)
	sumManifest := sha256.Sum256(manifest)
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: s.tls(), WriteBufferSize: 64 << 10}}
	defer c.CloseIdleConnections()
	for i := range benchClips {
		bare(b, s, c, fmt.Sprintf("bare/%d/%d", round, i), data, sum)
		bare(b, s, c, fmt.Sprintf("bare/%d/%d.jws", round, i), manifest, sumManifest)
	}
	return time.Since(began)
}

func bare(b *testing.B, s *realStore, c *http.Client, key string, data []byte, sum [32]byte) {
	g, err := s.grant(cloud.GrantRequest{Key: key, Size: int64(len(data)), SHA256: hex.EncodeToString(sum[:])}, time.Minute)
	require.NoError(b, err)
	req, err := http.NewRequest(http.MethodPut, g.Put.URL, bytes.NewReader(data))
	require.NoError(b, err)
	for k, v := range g.Put.Headers {
		req.Header.Set(k, v)
	}
	resp, err := c.Do(req)
	require.NoError(b, err)
	io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	require.Equal(b, 200, resp.StatusCode)
}
