package spool

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// R2, R7: one bad sector costs the clip that it is in, nothing else.
func TestR2_R7_BadSectorEndsNothing(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "card")
	now := time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)
	bad := &badFS{FS: osFS{dir}}
	s, err := Open(dir, Config{MaxBytes: 1000, FS: bad, MaxAge: time.Hour, Now: func() time.Time { return now }})
	require.NoError(t, err)
	defer s.Close()
	for i := range 4 {
		putClip(t, s, nameAt(i), Routine, 200)
	}
	bad.open.Store(nameAt(0) + extManifest)
	for i := range 3 {
		putClip(t, s, nameAt(5+i), Routine, 300)
		require.NoError(t, s.Stats().Err)
	}
	require.True(t, s.Has(nameAt(0)), "it can't be told that it was given up")
	require.ErrorContains(t, s.Stats().Spoiled, "the card works, but 1 of its files and folders can't be used")
	now = now.Add(25 * time.Hour)
	require.NoError(t, s.Retain())
	require.Equal(t, []string{nameAt(0)[9:]}, names(t, s))
	_, err = s.Create(nameAt(9))
	require.NoError(t, err)
}

// R7: many bad ones are left out a few at a time, each for a while.
func TestR7_ManyBadSectors(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMemFS()
		s, err := Open("/mnt/card", Config{FS: m})
		require.NoError(t, err)
		for i := range 2 * maxBad {
			putClip(t, s, nameAt(i), Routine, 100)
		}
		broken := true
		m.fail = func(op, path string) error {
			if broken && op == "open" && filepath.Base(path) < nameAt(2*maxBad-1) {
				return syscall.EIO
			}
			return nil
		}
		require.ErrorIs(t, s.makeRoom(), ErrGone)
		require.NoError(t, s.makeRoom(), "the one that is good")
		require.ErrorIs(t, s.makeRoom(), ErrFull)
		broken = false
		require.ErrorIs(t, s.makeRoom(), ErrFull)
		time.Sleep(unreadableWait)
		for range 2*maxBad - 1 {
			require.NoError(t, s.makeRoom())
		}
		require.NoError(t, s.Stats().Spoiled)
		require.Zero(t, s.Stats().Pending)
	})
}

// R7: an hour folder that can't be read is left out; the card is used.
func TestR7_UnreadableFolderIsLeftOut(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "card")
	synctest.Test(t, func(t *testing.T) {
		bad := &badFS{FS: osFS{dir}}
		s, err := Open(dir, Config{FS: bad})
		require.NoError(t, err)
		for i := range 3 {
			putClip(t, s, minuteName(60*i), Routine, 100)
		}
		require.NoError(t, s.Close())
		bad.dir.Store(hourOf(minuteName(60)))
		s, err = Open(dir, Config{FS: bad})
		require.NoError(t, err)
		require.ErrorContains(t, s.Stats().Spoiled, "can't be used")
		require.Equal(t, 2, s.Stats().Pending)
		require.Len(t, list(t, s, Query{}), 2)
		require.Equal(t, minuteName(0), next(t, s).Name)
		require.Equal(t, minuteName(120), next(t, s).Name)
		require.NoError(t, s.Close())

		bad.dir.Store("")
		s, err = Open(dir, Config{FS: bad})
		require.NoError(t, err)
		require.NoError(t, s.Stats().Spoiled)
		require.Equal(t, minuteName(0), next(t, s).Name)
		bad.dir.Store(hourOf(minuteName(60))) // in the middle of a run
		require.NoError(t, s.Close())
		bad.dir.Store("")
		s, err = Open(dir, Config{FS: bad})
		require.NoError(t, err)
		defer s.Close()
		bad.dir.Store(hourOf(minuteName(60)))
		require.Equal(t, minuteName(0), next(t, s).Name)
		require.Equal(t, minuteName(120), next(t, s).Name)
		_, err = s.List(Query{})
		require.ErrorIs(t, err, ErrGone, "who looks for the newest is not told of older ones")
		require.NoError(t, s.makeRoom())
		bad.dir.Store("")
		time.Sleep(unreadableWait)
		require.NoError(t, s.Attach())
		require.Equal(t, minuteName(60), next(t, s).Name)
	})
}

// R7: where all fails it is the card, and not its parts.
func TestR7_DeadCardIsNotCalledSpoiled(t *testing.T) {
	t.Parallel()
	m := newMemFS()
	s, err := Open("/mnt/card", Config{FS: m})
	require.NoError(t, err)
	putClip(t, s, nameAt(0), Routine, 100)
	m.fail = func(op, _ string) error { return syscall.EIO }
	_, err = s.List(Query{})
	require.ErrorIs(t, err, ErrGone, "an empty list would say that there is nothing")
	_, err = s.Dropped()
	require.NoError(t, err, "nothing was")
	require.ErrorIs(t, s.makeRoom(), ErrGone)
	require.NoError(t, s.Close())
	_, err = Open("/mnt/card", Config{FS: m})
	require.ErrorIs(t, err, ErrGone)
	dead := false
	m.fail = func(_, path string) error {
		if dead = dead || filepath.Base(path) == hourOf(nameAt(0)); dead {
			return syscall.EIO
		}
		return nil
	}
	_, err = Open("/mnt/card", Config{FS: m})
	require.ErrorIs(t, err, ErrGone, "it dies when the hours are read")
	require.ErrorContains(t, err, "settling hour")
}

// R2: a card whose id can't be read gets no other one.
func TestR2_UnreadableIDIsNotReplaced(t *testing.T) {
	t.Parallel()
	s, dir := openTemp(t, Config{})
	id := s.ID()
	require.NotEmpty(t, id)
	require.NoError(t, s.Close())
	bad := &badFS{FS: osFS{dir}}
	bad.open.Store("card")
	s, err := Open(dir, Config{FS: bad})
	require.NoError(t, err)
	require.Empty(t, s.ID())
	require.NoError(t, s.Close())
	s, err = Open(dir, Config{})
	require.NoError(t, err)
	defer s.Close()
	require.Equal(t, id, s.ID())
	require.NoError(t, s.Close())
	require.NoError(t, os.WriteFile(filepath.Join(dir, dirIndex, "card"), []byte("no id"), 0o600))
	s, err = Open(dir, Config{})
	require.NoError(t, err)
	defer s.Close()
	require.True(t, isID(s.ID()))
	require.NotEqual(t, id, s.ID())
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// R8: what somebody has put on a card is not all read into memory.
func TestR8_PreparedCardTakesNoMemory(t *testing.T) { //nolint:paralleltest // it measures the heap
	dir := filepath.Join(t.TempDir(), "card")
	hour := filepath.Join(dir, dirDropped, "2026010203")
	for _, d := range []string{hour, filepath.Join(dir, dirOpen)} {
		require.NoError(t, os.MkdirAll(d, 0o700))
	}
	line, err := noteLine([]byte(`{"serial":"other"}`))
	require.NoError(t, err)
	stem := func(i int) string { return fmt.Sprintf("20260102T030000.%03dZ-abcdefgh", i) }
	put := func(path string, data []byte) { require.NoError(t, os.WriteFile(path, data, 0o600)) }
	const clips = 100
	for i := range clips {
		put(filepath.Join(dir, dirOpen, stem(i)+extClip+extPart), []byte("x"))
		put(filepath.Join(dir, dirOpen, stem(i)+extNotes), bytes.Repeat(line, maxJournal/len(line)))
		put(filepath.Join(hour, stem(i)+extManifest), make([]byte, maxManifest))
	}
	put(filepath.Join(dir, dirOpen, stem(7)+extNotes), bytes.Repeat(line, 4<<20/len(line)))
	before := heap()
	s, err := Open(dir, Config{})
	require.NoError(t, err)
	defer s.Close()
	seen := map[string]bool{}
	for range 2 * clips {
		size := 0
		list := s.Unfinished()
		for _, u := range list {
			seen[u.Name] = true
			for _, n := range u.Notes {
				size += len(n)
			}
		}
		require.LessOrEqual(t, size, lotBytes)
	}
	require.Len(t, seen, clips-1, "each in its turn, but for the one whose journal is too long")
	require.False(t, seen[stem(7)])
	require.ErrorContains(t, s.Stats().Spoiled, "none of ours")
	list, err := s.Dropped()
	require.NoError(t, err)
	require.Len(t, list, maxDroppedBytes/maxManifest)
	list = nil
	require.Less(t, int64(heap())-int64(before), int64(2<<20))
	runtime.KeepAlive(list)
}

// R3: what can't be read again is not begun.
func TestR3_JournalIsBounded(t *testing.T) {
	t.Parallel()
	s, _ := openTemp(t, Config{})
	f, err := s.Create(nameAt(0))
	require.NoError(t, err)
	for range maxJournal / (maxNote + 10) {
		require.NoError(t, f.Note(bytes.Repeat([]byte("x"), maxNote)))
	}
	require.ErrorContains(t, f.Note(bytes.Repeat([]byte("x"), maxNote)), "it would exceed 65536 bytes")
	_, err = f.Commit(Routine, []byte("manifest"))
	require.NoError(t, err)
}
