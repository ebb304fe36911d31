package spool

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"iid2secure.nl/camagent/cloud"
)

// manyClips fills a folder with n closed clips, 60 an hour: a fifth waits, the
// rest is uploaded. The last hour's folder is the first one's plus n/60 hours.
func manyClips(tb testing.TB, dir string, n int) {
	tb.Helper()
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range n {
		name := cloud.ClipTime(at.Add(time.Duration(i)*time.Minute)) + "-abcdefgh"
		t := treeUploaded
		if i >= n*4/5 {
			t = int(Routine)
		}
		hour := filepath.Join(dir, treeDir(t), hourOf(name))
		err := error(nil)
		if i%60 == 0 || i == n*4/5 {
			err = os.MkdirAll(hour, 0o700)
		}
		for _, ext := range []string{extClip, extManifest} {
			if err == nil {
				err = os.WriteFile(filepath.Join(hour, name+ext), []byte(ext), 0o600)
			}
		}
		if err != nil {
			tb.Fatal(err)
		}
	}
}

// BenchmarkAttach100k is a start with 100,000 clips on a real card, its names in
// the kernel's cache: after a clean stop, and without an index.
func BenchmarkAttach100k(b *testing.B) {
	dir := filepath.Join(b.TempDir(), "card")
	manyClips(b, dir, 100_000)
	for _, c := range []struct {
		name  string
		index bool
	}{{"without-index", false}, {"with-index", true}} {
		b.Run(c.name, func(b *testing.B) {
			var before, after runtime.MemStats
			for b.Loop() {
				b.StopTimer()
				if !c.index {
					os.Remove(filepath.Join(dir, dirIndex, "hours"))
				}
				runtime.GC()
				runtime.ReadMemStats(&before)
				b.StartTimer()
				s, err := Open(dir, Config{})
				if err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				if o, err := s.Next(context.Background()); err != nil || o.Lane != Backfill { // windows are read
					b.Fatal(o, err)
				}
				runtime.GC()
				runtime.ReadMemStats(&after)
				if st := s.Stats(); st.Pending+st.Uploaded != 100_000 || st.UsedBytes != 1_200_000 {
					b.Fatal(st)
				}
				s.Close()
				b.StartTimer()
			}
			held := float64(after.HeapAlloc) - float64(before.HeapAlloc)
			b.ReportMetric(held/1e3, "kB-held")
			b.ReportMetric(held/100_000, "B/clip")
		})
	}
}

// BenchmarkWrite is the way of sealed bytes to a real file, hash included.
func BenchmarkWrite(b *testing.B) {
	s, err := Open(filepath.Join(b.TempDir(), "card"), Config{})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	f, err := s.Create(cloud.ClipName(time.Now()))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Abort()
	p := make([]byte, 64<<10)
	b.SetBytes(int64(len(p)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := f.Write(p); err != nil {
			b.Fatal(err)
		}
	}
}
