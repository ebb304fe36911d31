package spool

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestR7_FullCard(t *testing.T) {
	t.Parallel()
	s, _ := openTemp(t, Config{MaxBytes: 1000})
	putClip(t, s, nameAt(0), Routine, 400)
	putClip(t, s, nameAt(1), Routine, 400)
	f, err := s.Create(nameAt(2))
	require.NoError(t, err)
	_, err = f.Write(make([]byte, 300))
	require.ErrorIs(t, err, ErrFull)
	require.ErrorIs(t, s.Stats().Err, ErrFull)
	_, err = f.Commit(Routine, []byte("m"))
	require.ErrorIs(t, err, ErrFull)
	require.NoError(t, f.Abort())
	require.EqualValues(t, 816, s.Stats().UsedBytes)
	require.Equal(t, 2, s.Stats().Pending, "nothing closed is dropped")

	require.NoError(t, s.Release(next(t, s)))
	putClip(t, s, nameAt(3), Routine, 300)
	require.NoError(t, s.Stats().Err)
	require.EqualValues(t, 1, s.Stats().Evicted)
	_, err = s.Open(nameAt(0) + ".mp4.age")
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func TestR7_CardFullerThanCounted(t *testing.T) {
	t.Parallel()
	m := newMemFS()
	s, err := Open("/mnt/card", Config{FS: m})
	require.NoError(t, err)
	putClip(t, s, nameAt(0), Routine, 400)
	putClip(t, s, nameAt(1), Routine, 400)
	require.NoError(t, s.Release(next(t, s)))
	m.capacity = 900 // the credit of 1 MiB given before is void now
	putClip(t, s, nameAt(2), Routine, 450)
	require.EqualValues(t, 1, s.Stats().Evicted)
	f, err := s.Create(nameAt(3))
	require.NoError(t, err)
	_, err = f.Write(make([]byte, 400))
	require.ErrorIs(t, err, ErrFull)
	require.NoError(t, f.Abort())
	require.Equal(t, m.usedLocked(), s.Stats().UsedBytes)
}

func TestMinFree(t *testing.T) {
	t.Parallel()
	m := newMemFS()
	m.capacity = 1000
	s, err := Open("/mnt/card", Config{FS: m, MinFree: 500})
	require.NoError(t, err)
	putClip(t, s, nameAt(0), Routine, 480)
	_, err = s.Add(nameAt(1)+".jpg.age", Snapshot, make([]byte, 50))
	require.ErrorIs(t, err, ErrFull)
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
		require.Zero(t, m.usedLocked(), op)
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
	require.EqualValues(t, 108, m.usedLocked(), "both halves were evicted")
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
