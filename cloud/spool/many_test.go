package spool

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/cloud"
)

func minuteName(i int) string {
	return cloud.ClipTime(epoch.Add(time.Duration(i)*time.Minute)) + "-abcdefgh"
}

func inMemory(s *Spool) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, l := range s.x.lanes {
		n += len(l.items)
	}
	return n
}

// drain lends, checks and releases what there is.
func drain(t *testing.T, s *Spool, n int) (got []string) {
	t.Helper()
	for range n {
		o := next(t, s)
		got = append(got, o.Name)
		require.NoError(t, s.Release(o))
		require.LessOrEqual(t, inMemory(s), 3*window+1)
	}
	require.Zero(t, s.Stats().Pending)
	return got
}

func TestR2_BacklogBeyondMemoryIsOfferedWholeAndInOrder(t *testing.T) {
	t.Parallel()
	const n = 4*window + 17
	m := newMemFS()
	s, err := Open("/mnt/card", Config{FS: m})
	require.NoError(t, err)
	var routine, alarms []string
	for i := range n {
		lane, list := Routine, &routine
		if i%3 == 0 {
			lane, list = Alarm, &alarms
		}
		putClip(t, s, minuteName(i), lane, 10)
		*list = append(*list, minuteName(i))
	}
	require.LessOrEqual(t, inMemory(s), 2*window)
	require.Equal(t, n, s.Stats().Pending)
	require.True(t, s.Pending(routine[0]), "it is not in memory")
	require.True(t, s.Has(alarms[len(alarms)-1]))
	require.False(t, s.Has(minuteName(n)))
	require.Equal(t, epoch, s.Stats().Oldest)

	require.NoError(t, s.Release(Object{Name: alarms[0]}))
	require.Equal(t, epoch.Add(time.Minute), s.Stats().Oldest)
	alarms = alarms[1:]
	got := drain(t, s, n-1)
	require.Equal(t, alarms, got[:len(alarms)], "alarms in order")
	fresh := routine[len(routine)-window:]
	require.Equal(t, fresh, got[len(alarms):len(alarms)+window], "then what is fresh")
	require.Equal(t, routine[:len(routine)-window], got[len(alarms)+window:], "then the backlog")
	require.Equal(t, n, s.Stats().Uploaded)
	require.Equal(t, m.objectBytes(), s.Stats().UsedBytes)
}

func TestR2_BacklogOfAnEarlierRun(t *testing.T) {
	t.Parallel()
	const n = 2*window + 5
	m := newMemFS()
	s, err := Open("/mnt/card", Config{FS: m})
	require.NoError(t, err)
	var want []string
	for i := range n {
		putClip(t, s, minuteName(i), Routine, 10)
		want = append(want, minuteName(i))
	}
	for _, index := range []bool{true, false} {
		require.NoError(t, s.Close())
		if !index {
			m.Remove("/mnt/card/index/hours")
		}
		s, err = Open("/mnt/card", Config{FS: m})
		require.NoError(t, err)
		require.Zero(t, inMemory(s), "nothing is read before it is asked for")
		require.Equal(t, m.objectBytes(), s.Stats().UsedBytes)
		require.Equal(t, n, s.Stats().Pending)
	}
	refused := next(t, s)
	s.Return(refused, time.Hour)
	got := drainBut(t, s, n-1)
	require.Equal(t, want[1:], got)
	require.Equal(t, 1, s.Stats().Pending)
}

func drainBut(t *testing.T, s *Spool, n int) (got []string) {
	t.Helper()
	for range n {
		o := next(t, s)
		got = append(got, o.Name)
		require.NoError(t, s.Release(o))
	}
	return got
}

// An index that is not of these folders costs time, nothing else.
func TestR2_IndexIsNotTrusted(t *testing.T) {
	t.Parallel()
	s, dir := openTemp(t, Config{})
	for i := range 70 {
		putClip(t, s, minuteName(i), Routine, 10+i)
	}
	used := s.Stats().UsedBytes
	require.NoError(t, s.Close())
	path := filepath.Join(dir, dirIndex, "hours")
	good, err := os.ReadFile(path)
	require.NoError(t, err)
	gone := filepath.Join(dir, dirPending, "routine", hourOf(minuteName(40)), minuteName(40))
	for _, c := range []struct {
		what  string
		index []byte
	}{{"good", good}, {"torn", good[:len(good)/2]}, {"empty", nil}, {"flipped", []byte(strings.Replace(string(good), " 3", " 4", 1))}} {
		require.NoError(t, os.WriteFile(path, c.index, 0o600))
		s, err := Open(dir, Config{})
		require.NoError(t, err)
		require.Equal(t, used, s.Stats().UsedBytes, c.what)
		require.Equal(t, 70, s.Stats().Pending, c.what)
		require.NoError(t, s.Close())
	}
	require.NoError(t, os.Remove(gone+extClip))
	require.NoError(t, os.Remove(gone+extManifest))
	s, err = Open(dir, Config{})
	require.NoError(t, err)
	defer s.Close()
	require.Equal(t, used-50-8, s.Stats().UsedBytes)
	require.Equal(t, 69, s.Stats().Pending)
}

func TestListByTime(t *testing.T) {
	t.Parallel()
	s, _ := openTemp(t, Config{})
	for i := range 100 {
		putClip(t, s, minuteName(i), []Lane{Routine, Alarm}[i%2], 10)
	}
	require.NoError(t, s.Release(next(t, s)))
	at := func(i int) time.Time { return epoch.Add(time.Duration(i) * time.Minute) }
	page := list(t, s, Query{From: at(20), To: at(95), Limit: 50})
	require.Len(t, page, 50)
	require.Equal(t, minuteName(94), page[0].Name)
	rest := list(t, s, Query{From: at(20), To: at(95), Before: page[49].Name})
	require.Len(t, rest, 25)
	require.Equal(t, minuteName(20), rest[24].Name)
	all := list(t, s, Query{})
	require.Len(t, all, 100)
	require.True(t, all[98].Uploaded)
	require.Empty(t, list(t, s, Query{From: at(100)}))
	require.Empty(t, list(t, s, Query{To: at(0)}))
	require.Empty(t, list(t, s, Query{Before: "2"}))
}

// slowFS takes a second for each change.
type slowFS struct{ *memFS }

type slowFile struct{ WFile }

func (f slowFS) Create(path string) (WFile, error) {
	time.Sleep(time.Second)
	w, err := f.memFS.Create(path)
	return slowFile{w}, err
}
func (f slowFS) Rename(from, to string) error {
	time.Sleep(time.Second)
	return f.memFS.Rename(from, to)
}
func (f slowFS) Remove(path string) error  { time.Sleep(time.Second); return f.memFS.Remove(path) }
func (f slowFS) SyncDir(path string) error { time.Sleep(time.Second); return f.memFS.SyncDir(path) }
func (f slowFile) Write(p []byte) (int, error) {
	time.Sleep(time.Second)
	return f.WFile.Write(p)
}
func (f slowFile) Sync() error { time.Sleep(time.Second); return f.WFile.Sync() }

func TestR7_SlowCard(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, err := Open("/mnt/card", Config{FS: slowFS{newMemFS()}, MaxBytes: 2000})
		require.NoError(t, err)
		var wg sync.WaitGroup
		for stream := range 2 {
			wg.Go(func() {
				for i := range 10 {
					putClip(t, s, strings.Replace(minuteName(i), "abcdefgh", fmt.Sprintf("abcdefg%d", stream), 1), Routine, 300)
				}
			})
		}
		wg.Go(func() {
			for range 5 {
				o, err := s.Next(context.Background())
				require.NoError(t, err)
				require.NoError(t, s.Release(o))
			}
		})
		synctest.Wait()
		began := time.Now()
		s.Stats()
		require.Zero(t, time.Since(began), "who asks how the card is does not wait for it")
		wg.Wait()
		gone, err := s.Dropped()
		require.NoError(t, err)
		require.Equal(t, 20, len(gone)+s.Stats().Pending+s.Stats().Uploaded+int(s.Stats().Evicted))
		require.NoError(t, s.Stats().Err)
	})
}

func TestR7_ReadOnlyCard(t *testing.T) {
	t.Parallel()
	m := newMemFS()
	s, err := Open("/mnt/card", Config{FS: m})
	require.NoError(t, err)
	putClip(t, s, nameAt(0), Routine, 10)
	putClip(t, s, nameAt(1), Routine, 10)
	require.NoError(t, s.Close())
	m.fail = func(op, path string) error {
		if slices.Contains([]string{"create", "write", "rename", "remove", "truncate"}, op) {
			return &os.PathError{Op: op, Path: path, Err: syscall.EROFS}
		}
		return nil
	}
	s, err = Open("/mnt/card", Config{FS: m})
	require.NoError(t, err, "what is on it can be read")
	_, err = s.Create(nameAt(2))
	require.ErrorIs(t, err, ErrReadOnly)
	require.ErrorIs(t, s.Stats().Err, ErrReadOnly)
	require.ErrorIs(t, s.makeRoom(), ErrReadOnly)
	for i := range 2 {
		o := next(t, s)
		require.Equal(t, nameAt(i), o.Name)
		require.ErrorIs(t, s.Release(o), ErrReadOnly)
		require.False(t, s.Pending(o.Name), "the store has it")
		require.True(t, s.Has(o.Name))
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = s.Next(ctx)
	require.ErrorIs(t, err, context.Canceled, "nothing is offered twice")
}

// Names must be fit for a FAT: no more than letters, digits, - and . and alike in
// no more than their case.
func TestNamesFitAFAT(t *testing.T) {
	t.Parallel()
	s, dir := openTemp(t, Config{MaxBytes: 150})
	fit := regexp.MustCompile(`^[0-9TZ]*[a-z0-9.-]*[0-9TZ.]*[a-z0-9.-]*$`)
	look := func() {
		require.NoError(t, filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
			rel, _ := filepath.Rel(dir, path)
			for _, name := range strings.Split(rel, string(filepath.Separator)) {
				require.Regexp(t, fit, name)
				require.NotContains(t, name, ":")
				require.Less(t, len(name), 64)
			}
			return err
		}))
	}
	f, err := s.Create(nameAt(0))
	require.NoError(t, err)
	look()
	_, err = f.Write(make([]byte, 50))
	require.NoError(t, err)
	_, err = f.Commit(Alarm, []byte("manifest"))
	require.NoError(t, err)
	putClip(t, s, nameAt(1), Routine, 90)
	require.Equal(t, []string{nameAt(0)}, dropped(t, s))
	require.NoError(t, s.Release(next(t, s)))
	look()
}
