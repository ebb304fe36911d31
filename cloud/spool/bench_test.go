package spool

import (
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"iid2secure.nl/camagent/cloud"
)

// manyClips fills a card in memory with n closed clips, 60 an hour.
func manyClips(n int) *memFS {
	m := newMemFS()
	put := func(dir, name string, f *memFile) {
		m.dirs[dir].now[name] = f
		if f.dir {
			m.dirs[filepath.Join(dir, name)] = &memDir{now: map[string]*memFile{}, synced: map[string]*memFile{}}
		}
	}
	dir := "/mnt"
	for _, d := range []string{"card", "pending", "routine"} {
		put(dir, d, &memFile{dir: true})
		dir = filepath.Join(dir, d)
	}
	data := &memFile{data: make([]byte, 1000)}
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range n {
		name := cloud.ClipTime(at.Add(time.Duration(i)*time.Minute)) + "-abcdefgh"
		if i%60 == 0 {
			put(dir, hourOf(name), &memFile{dir: true})
		}
		put(filepath.Join(dir, hourOf(name)), name+extClip, data)
		put(filepath.Join(dir, hourOf(name)), name+extManifest, data)
	}
	return m
}

// BenchmarkOpen100000 is a start with 100,000 clips on the card, but for the
// card's own time.
func BenchmarkOpen100000(b *testing.B) {
	m := manyClips(100_000)
	var before, after runtime.MemStats
	for b.Loop() {
		runtime.GC()
		runtime.ReadMemStats(&before)
		s, err := Open("/mnt/card", Config{FS: m})
		if err != nil {
			b.Fatal(err)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		if s.Stats().Pending != 100_000 {
			b.Fatal(s.Stats())
		}
		s.Close()
	}
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/1e6, "MB-held")
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
