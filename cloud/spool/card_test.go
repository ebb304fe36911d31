package spool

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// names lists what is on the card, oldest first.
func names(t *testing.T, s *Spool) (out []string) {
	t.Helper()
	for _, e := range list(t, s, Query{}) {
		out = append(out, strings.TrimPrefix(e.Name, "20260102T"))
	}
	slices.Reverse(out)
	return out
}

func dropped(t *testing.T, s *Spool) (out []string) {
	t.Helper()
	list, err := s.Dropped()
	require.NoError(t, err)
	for _, d := range list {
		require.Equal(t, "manifest", string(d.Manifest))
		out = append(out, d.Name)
	}
	return out
}

// The order: uploaded ones, routine ones that wait, alarms, snapshots, gap records.
func TestR2_R7_OrderOfGivingUp(t *testing.T) {
	t.Parallel()
	s, dir := openTemp(t, Config{})
	_, err := s.Add(nameAt(0)+".gap.jws", Routine, make([]byte, 100))
	require.NoError(t, err)
	_, err = s.Add(nameAt(0)+".jpg.age", Snapshot, make([]byte, 100))
	require.NoError(t, err)
	putClip(t, s, nameAt(1), Alarm, 100)
	putClip(t, s, nameAt(2), Routine, 100)
	putClip(t, s, nameAt(5), Routine, 100)
	putClip(t, s, nameAt(6), Alarm, 100)
	for range 2 { // the snapshot stays lent, the alarm goes up
		if o := next(t, s); o.Lane == Alarm {
			require.NoError(t, s.Release(o))
		}
	}
	require.NoError(t, s.Close())
	for round := range 2 { // a start in between changes nothing
		s, err = Open(dir, Config{})
		require.NoError(t, err)
		defer s.Close()
		for _, gone := range [][]string{{nameAt(1), nameAt(2), nameAt(5)}, {nameAt(6), nameAt(0) + ".jpg.age", nameAt(0) + ".gap.jws"}}[round] {
			require.True(t, s.Has(gone))
			require.NoError(t, s.makeRoom())
			require.False(t, s.Has(gone), gone)
		}
		require.NoError(t, s.Close())
	}
	s, err = Open(dir, Config{})
	require.NoError(t, err)
	defer s.Close()
	require.ErrorIs(t, s.makeRoom(), ErrFull)
	require.Equal(t, []string{nameAt(2), nameAt(5), nameAt(6)}, dropped(t, s), "what was uploaded, and what is no clip, leaves nothing")
	require.EqualValues(t, 3*len("manifest"), s.Stats().UsedBytes)
	require.NoError(t, s.Forget(nameAt(2), nameAt(6)))
	require.Equal(t, []string{nameAt(5)}, dropped(t, s))
	require.NoError(t, s.Forget(dropped(t, s)...))
	require.Empty(t, dropped(t, s))
	require.Zero(t, s.Stats().UsedBytes)
}

func TestR7_FullCardGoesOnRecording(t *testing.T) {
	t.Parallel()
	s, _ := openTemp(t, Config{MaxBytes: 1000})
	putClip(t, s, nameAt(0), Routine, 400)
	putClip(t, s, nameAt(1), Routine, 400)
	putClip(t, s, nameAt(2), Routine, 300)
	require.NoError(t, s.Stats().Err)
	require.Equal(t, []string{nameAt(0)}, dropped(t, s))
	require.EqualValues(t, 1, s.Stats().Dropped)
	require.Equal(t, 2, s.Stats().Pending)

	require.Equal(t, nameAt(1), next(t, s).Name)
	putClip(t, s, nameAt(3), Routine, 300)
	require.Equal(t, []string{nameAt(0), nameAt(2)}, dropped(t, s), "the one that is being sent stays")
	require.NoError(t, s.Release(Object{Name: nameAt(1)}))
	putClip(t, s, nameAt(4), Routine, 300)
	require.Equal(t, []string{nameAt(0), nameAt(2)}, dropped(t, s), "one that is uploaded goes first")
	require.EqualValues(t, 1, s.Stats().Evicted)
	_, err := s.Open(nameAt(1) + ".mp4.age")
	require.ErrorIs(t, err, fs.ErrNotExist)
}

// What cannot fit is refused before anything is given up for it.
func TestR7_NothingIsGivenUpInVain(t *testing.T) {
	t.Parallel()
	s, _ := openTemp(t, Config{MaxBytes: 1000})
	putClip(t, s, nameAt(0), Routine, 400)
	f, err := s.Create(nameAt(1))
	require.NoError(t, err)
	_, err = f.Write(make([]byte, 1100))
	require.ErrorIs(t, err, ErrFull)
	require.ErrorIs(t, s.Stats().Err, ErrFull)
	_, err = f.Commit(Routine, []byte("m"))
	require.ErrorIs(t, err, ErrFull)
	require.NoError(t, f.Abort())
	require.True(t, s.Has(nameAt(0)))
	require.EqualValues(t, 408, s.Stats().UsedBytes)

	m := newMemFS()
	m.capacity = 4000
	s, err = Open("/mnt/card", Config{FS: m})
	require.NoError(t, err)
	putClip(t, s, nameAt(0), Routine, 400)
	require.NoError(t, s.Close())
	s, err = Open("/mnt/card", Config{FS: m, MinFree: 5000})
	require.NoError(t, err)
	_, err = s.Create(nameAt(1))
	require.ErrorIs(t, err, ErrFull)
	require.ErrorContains(t, err, "5000 are to stay free")
	require.True(t, s.Has(nameAt(0)))
}

func TestR7_CardFullerThanCounted(t *testing.T) {
	t.Parallel()
	m := newMemFS()
	s, err := Open("/mnt/card", Config{FS: m})
	require.NoError(t, err)
	putClip(t, s, nameAt(0), Routine, 400)
	putClip(t, s, nameAt(1), Routine, 400)
	require.NoError(t, s.Release(next(t, s)))
	m.capacity = m.usedLocked() + 84 // the credit given before is void now
	putClip(t, s, nameAt(2), Routine, 450)
	require.EqualValues(t, 1, s.Stats().Evicted)
	f, err := s.Create(nameAt(3))
	require.NoError(t, err)
	_, err = f.Write(make([]byte, 1400))
	require.ErrorIs(t, err, ErrFull)
	require.NoError(t, f.Abort())
	require.Equal(t, m.objectBytes(), s.Stats().UsedBytes)
}

func TestMinFree(t *testing.T) {
	t.Parallel()
	m := newMemFS()
	s, err := Open("/mnt/card", Config{FS: m, MinFree: 500})
	require.NoError(t, err)
	m.capacity = m.usedLocked() + 1000
	putClip(t, s, nameAt(0), Routine, 480)
	_, err = s.Add(nameAt(1)+".jpg.age", Snapshot, make([]byte, 50))
	require.NoError(t, err)
	require.Equal(t, []string{nameAt(0)}, dropped(t, s))
	m.capacity = m.usedLocked() + 400 // others have filled it
	require.NoError(t, s.Retain())
	_, err = s.Create(nameAt(2))
	require.ErrorIs(t, err, ErrFull)
}

func TestR2_MaxAge(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)
	s, _ := openTemp(t, Config{MaxAge: 48 * time.Hour, Now: func() time.Time { return now }})
	_, err := s.Add(nameAt(0)+".gap.jws", Routine, []byte("gap"))
	require.NoError(t, err)
	for i := range 6 {
		putClip(t, s, nameAt(i), []Lane{Routine, Alarm}[i%2], 100)
	}
	require.NoError(t, s.Release(next(t, s))) // nameAt(1)
	now = time.Time{}
	require.NoError(t, s.Retain())
	require.Len(t, names(t, s), 7, "a clock that cannot be trusted ages nothing")
	now = time.Date(2026, 1, 4, 3, 3, 0, 0, time.UTC)
	require.NoError(t, s.Retain())
	require.Equal(t, []string{nameAt(0) + ".gap.jws", nameAt(3), nameAt(4), nameAt(5)}, func() (out []string) {
		for _, n := range names(t, s) {
			out = append(out, "20260102T"+n)
		}
		return out
	}(), "gap records that wait stay")
	require.Equal(t, []string{nameAt(0), nameAt(2)}, dropped(t, s))
}

func TestR7_CardErrorsByKind(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ is, want error }{
		{syscall.EROFS, ErrReadOnly}, {syscall.EIO, ErrGone}, {syscall.ENODEV, ErrGone}, {syscall.ENOSPC, ErrFull}, {syscall.ENOENT, ErrGone},
	} {
		m := newMemFS()
		s, err := Open("/mnt/card", Config{FS: m})
		require.NoError(t, err)
		putClip(t, s, nameAt(0), Routine, 100)
		m.fail = func(op, _ string) error {
			if op == "create" || op == "write" {
				return &fs.PathError{Op: op, Path: "x", Err: c.is}
			}
			return nil
		}
		_, err = s.Create(nameAt(1))
		require.ErrorIs(t, err, c.want)
		require.NotContains(t, err.Error(), "\n")
		require.ErrorIs(t, s.Stats().Err, c.want)
		m.fail = nil
		putClip(t, s, nameAt(1), Routine, 100) // the card is back
		require.NoError(t, s.Stats().Err)
	}
}

func TestR2_FailedCommitLeavesNothing(t *testing.T) {
	t.Parallel()
	for _, op := range []string{"sync", "create", "write", "rename", "syncdir"} {
		m := newMemFS()
		s, err := Open("/mnt/card", Config{FS: m})
		require.NoError(t, err)
		before := m.usedLocked() // the card's id
		f, err := s.Create(nameAt(0))
		require.NoError(t, err)
		_, err = f.Write([]byte("clip"))
		require.NoError(t, err)
		m.fail = func(o, _ string) error {
			if o == op {
				return syscall.EIO
			}
			return nil
		}
		_, err = f.Commit(Routine, []byte("manifest"))
		require.ErrorIs(t, err, ErrGone, op)
		m.fail = nil
		require.Equal(t, before, m.usedLocked(), op)
		require.Zero(t, s.Stats().UsedBytes, op)
		require.NoError(t, f.Abort())
		putClip(t, s, nameAt(0), Routine, 10) // the name is free again
	}
}

func TestR7_ReleaseSurvivesDeadCard(t *testing.T) {
	t.Parallel()
	m := newMemFS()
	s, err := Open("/mnt/card", Config{FS: m, MaxBytes: 150})
	require.NoError(t, err)
	putClip(t, s, nameAt(0), Routine, 100)
	renames := 0
	m.fail = func(op, _ string) error {
		if op == "rename" {
			if renames++; renames > 1 {
				return syscall.EIO
			}
		}
		return nil
	}
	require.ErrorIs(t, s.Release(next(t, s)), ErrGone)
	require.False(t, s.Pending(nameAt(0)), "the store has it")
	r, err := s.Open(nameAt(0) + ".jws")
	require.NoError(t, err, "found where it was left")
	r.Close()
	m.fail = nil
	putClip(t, s, nameAt(1), Routine, 100)
	require.EqualValues(t, 108, m.objectBytes(), "both halves were evicted")
	require.Empty(t, dropped(t, s), "the store has it")
}

func TestR7_MissingCard(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	_, err := Open(filepath.Join(root, "no", "card"), Config{})
	require.ErrorIs(t, err, ErrGone)
	require.NoDirExists(t, filepath.Join(root, "no"))
	_, err = Open(filepath.Join(root, "card"), Config{RequireMount: true})
	require.ErrorIs(t, err, ErrGone)
	require.ErrorContains(t, err, "nothing is mounted there")
	require.NoDirExists(t, filepath.Join(root, "card"), "nothing is made on the file system below")
	require.NoError(t, os.Mkdir(filepath.Join(root, "card"), 0o700))
	_, err = Open(filepath.Join(root, "card"), Config{RequireMount: true})
	require.ErrorContains(t, err, "nothing is mounted there")
	require.NoError(t, os.Remove(filepath.Join(root, "card")))

	s, dir := openTemp(t, Config{})
	_, err = Open(dir, Config{})
	require.ErrorIs(t, err, ErrBusy)
	putClip(t, s, nameAt(0), Routine, 10)
	require.NoError(t, os.Rename(dir, dir+"-pulled"))
	require.NoError(t, os.Mkdir(dir, 0o700))
	_, err = s.Create(nameAt(1))
	require.ErrorIs(t, err, ErrGone)
	empty, _ := os.ReadDir(dir)
	require.Empty(t, empty, "nothing is written below an empty mount point")
}

func TestForeignFilesAreLeftAlone(t *testing.T) {
	t.Parallel()
	s, dir := openTemp(t, Config{})
	putClip(t, s, nameAt(0), Routine, 10)
	require.NoError(t, s.Close())
	hour := filepath.Join(dir, "pending", "routine", "2026010203")
	foreign := []string{"holiday.jpg", nameAt(8) + ".mp4.age", "x.part", nameAt(0) + "-copy.tmp", nameAt(0) + "~.part"} // nameAt(8) is of another hour
	for _, name := range foreign {
		require.NoError(t, os.WriteFile(filepath.Join(hour, name), []byte("x"), 0o600))
	}
	s, err := Open(dir, Config{})
	require.NoError(t, err)
	defer s.Close()
	require.Len(t, list(t, s, Query{}), 1)
	require.NoError(t, s.Release(next(t, s)))
	for _, name := range foreign {
		require.FileExists(t, filepath.Join(hour, name))
	}
}

func TestClipWithoutManifestIsKept(t *testing.T) {
	t.Parallel()
	s, dir := openTemp(t, Config{})
	putClip(t, s, nameAt(0), Alarm, 10)
	require.NoError(t, s.Close())
	require.NoError(t, os.Remove(filepath.Join(dir, "pending", "alarm", "2026010203", nameAt(0)+".jws")))
	s, err := Open(dir, Config{})
	require.NoError(t, err)
	defer s.Close()
	o := next(t, s)
	require.Len(t, o.Parts, 1)
	require.NoError(t, s.Release(o))
}

func TestUnreadableFileStepsAside(t *testing.T) {
	t.Parallel()
	m := newMemFS()
	s, err := Open("/mnt/card", Config{FS: m})
	require.NoError(t, err)
	putClip(t, s, nameAt(0), Routine, 10)
	putClip(t, s, nameAt(1), Routine, 10)
	require.NoError(t, s.Close())
	m.fail = func(op, path string) error {
		if op == "open" && strings.Contains(path, nameAt(0)) {
			return syscall.EIO
		}
		return nil
	}
	s, err = Open("/mnt/card", Config{FS: m})
	require.NoError(t, err)
	_, err = s.Next(context.Background())
	require.ErrorIs(t, err, ErrGone)
	require.Equal(t, nameAt(1), next(t, s).Name)
}

// Names take room, too: a card without a byte left makes room for them.
func TestR7_FullCardTakesNames(t *testing.T) {
	t.Parallel()
	m := newMemFS()
	s, err := Open("/mnt/card", Config{FS: m})
	require.NoError(t, err)
	putClip(t, s, nameAt(0), Routine, 10)
	putClip(t, s, nameAt(1), Routine, 10)
	full := true
	m.fail = func(op, path string) error {
		switch op {
		case "remove":
			full = false
		case "create", "mkdir":
			if full && !strings.Contains(path, dirDropped) {
				return &fs.PathError{Op: op, Path: path, Err: syscall.ENOSPC}
			}
		}
		return nil
	}
	putClip(t, s, nameAt(5), Routine, 10)
	require.Equal(t, []string{nameAt(0)}, dropped(t, s), "no more than was needed")
	m.fail = func(op, path string) error {
		if op == "create" && strings.Contains(path, dirOpen) {
			return &fs.PathError{Op: op, Path: path, Err: syscall.ENOSPC}
		}
		return nil
	}
	_, err = s.Create(nameAt(6))
	require.ErrorIs(t, err, ErrFull)
}
