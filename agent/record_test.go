package agent

import (
	"bytes"
	"context"
	"crypto/rand"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/seal"
	"iid2secure.nl/camagent/media/clip"
)

// M3: the manifest says what the clip is, and the sealed file is that clip.
func TestM3_ClipAndItsManifest(t *testing.T) {
	t.Parallel()
	b := newStoreBench(t)
	b.start()
	b.frame = 1000
	k := b.create()
	plain := b.fragments(k, 3, 100<<10)
	info := b.info(75)
	info.Order = clip.Order{Trigger: "motion", Event: "e1", Urgent: true}
	info.Cut = true // of a GOP: the file is whole
	require.NoError(t, k.Close(info))

	m, d := b.manifest(k.name)
	require.Equal(t, "main", m.Stream)
	require.Equal(t, uint64(1), m.Sequence)
	require.Equal(t, cloud.ClipDetails{Boot: b.store.clock.Boot(), Started: timeText(k.began), DurationMS: 3000, Frames: 75,
		FirstFrame: 1000, LastFrame: 1074, UptimeMS: d.UptimeMS, Trigger: "motion", Event: "e1", Clock: b.store.clock.Trust()}, d)
	require.Positive(t, d.UptimeMS)
	start, err := cloud.ParseClipName(k.name)
	require.NoError(t, err)
	require.Equal(t, d.Started, timeText(start))
	got, err := seal.OpenBytes(b.read(k.name+cloud.ExtClip), b.secret)
	require.NoError(t, err)
	require.True(t, bytes.Equal(plain, got))
	require.True(t, onLane(b, "alarm", k.name))
	require.True(t, onLane(b, "routine", b.clip()))
}

func onLane(b *storeBench, lane, name string) bool {
	found, err := filepath.Glob(filepath.Join(b.cardDir(), "pending", lane, "*", name+cloud.ExtClip))
	require.NoError(b.t, err)
	return len(found) == 1
}

// P6: a clip is stale as soon as one to whom it is sealed may not open clips any more.
func TestP6_ClipIsStaleWhenAMemberLeaves(t *testing.T) {
	t.Parallel()
	b := newStoreBench(t)
	b.start()
	k := b.create()
	require.False(t, k.Stale())
	_, gone, err := seal.NewIdentity()
	require.NoError(t, err)
	k.members = append(k.members, gone)
	require.True(t, k.Stale())
	k.members = k.members[:1]
	require.NoError(t, b.binding.Unbind())
	require.True(t, k.Stale())
}

// P7: a clip of one owner is never committed under another.
func TestP7_ClipOfAnotherBindingIsThrownAway(t *testing.T) {
	t.Parallel()
	b := newStoreBench(t)
	b.start()
	k := b.create()
	b.fragments(k, 1, 1000)
	require.NoError(t, b.binding.Unbind())
	require.ErrorIs(t, k.Close(b.info(25)), errRebound)
	require.Equal(t, uint64(30), k.Fail(29), "nothing of it may be recorded again")
	require.Empty(t, b.names())
	left, err := os.ReadDir(filepath.Join(b.cardDir(), "open"))
	require.NoError(t, err)
	require.Empty(t, left)
}

// P5: nothing of a clip is on the card in the clear, whatever becomes of it.
func TestP5_NothingReadableIsWritten(t *testing.T) {
	t.Parallel()
	b := newStoreBench(t)
	b.start()
	marker := []byte("PLAINTEXT-MARKER-0123456789")
	end := map[string]func(k *clipSink){
		"closed": func(k *clipSink) { require.NoError(t, k.Close(b.info(1))) },
		"failed": func(k *clipSink) { k.Fail(24) },
		"open":   func(*clipSink) {},
	}
	for _, stop := range end {
		k := b.create()
		for range 20 {
			_, err := k.Write(bytes.Repeat(marker, 1000))
			require.NoError(t, err)
			require.NoError(t, k.Sync(b.info(1)))
		}
		stop(k)
	}
	seen := 0
	err := filepath.WalkDir(b.dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		require.False(t, bytes.Contains(data, marker), path)
		seen += len(data)
		return err
	})
	require.NoError(t, err)
	require.Greater(t, seen, 500_000)
}

// BenchmarkClip is a clip of 8 MB, sealed and put on the card, without what the
// disk takes to sync: what it allocates, and how much memory it holds at most.
func BenchmarkClip(b *testing.B) {
	s := newStoreBench(b)
	s.limit = 100 << 20
	s.start()
	fragment := make([]byte, 250_000)
	rand.Read(fragment)
	var peak uint64
	b.ReportAllocs()
	b.SetBytes(int64(32 * len(fragment)))
	for b.Loop() {
		sink, err := s.store.Create(context.Background(), clip.Start{Stream: "main", Time: time.Now()})
		require.NoError(b, err)
		before := heap()
		for i := range 32 {
			_, err := sink.Write(fragment)
			require.NoError(b, err)
			require.NoError(b, sink.Sync(s.info(25*i+25)))
		}
		peak = max(peak, heap()-min(before, heap()))
		require.NoError(b, sink.Close(s.info(800)))
	}
	b.ReportMetric(float64(peak)/1000, "kB-held")
}

// heap is what is in use after a collection.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
