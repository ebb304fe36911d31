package spool

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestR7_CardThatComesLater(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "mnt", "card")
	s := New(dir, Config{})
	require.ErrorIs(t, s.Attach(), ErrGone)
	require.ErrorIs(t, s.Stats().Err, ErrGone)
	_, err := s.Create(nameAt(0))
	require.ErrorIs(t, err, ErrGone)
	_, err = s.Add(nameAt(0)+".jpg.age", Snapshot, []byte("x"))
	require.ErrorIs(t, err, ErrGone)
	require.ErrorIs(t, s.Wipe(), ErrGone, "what can't be wiped is not reported as wiped")

	require.NoError(t, os.Mkdir(filepath.Dir(dir), 0o700))
	require.NoError(t, s.Attach())
	require.NoError(t, s.Stats().Err)
	putClip(t, s, nameAt(0), Routine, 10)
	require.NoError(t, s.Attach())
	require.Equal(t, nameAt(0), next(t, s).Name, "the card that is held stays as it is")
	require.NoError(t, s.Close())
}

func TestR7_CardPulledAndPutBack(t *testing.T) {
	t.Parallel()
	s, dir := openTemp(t, Config{})
	putClip(t, s, nameAt(0), Routine, 10)
	f, err := s.Create(nameAt(1))
	require.NoError(t, err)
	_, err = f.Write([]byte("sealed"))
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	require.NoError(t, os.Rename(dir, dir+"-pulled"))
	_, err = s.Create(nameAt(2))
	require.ErrorIs(t, err, ErrGone)

	require.NoError(t, s.Attach(), "an empty card in its place")
	require.Zero(t, s.Stats().Pending)
	require.Zero(t, s.Stats().UsedBytes)
	_, err = f.Commit(Routine, []byte("manifest"))
	require.ErrorIs(t, err, ErrGone, "it was begun on another card")
	require.ErrorContains(t, err, "pulled while the clip was written")
	require.ErrorIs(t, f.Sync(), ErrGone)
	require.NoError(t, f.Abort())
	putClip(t, s, nameAt(3), Routine, 10)

	require.NoError(t, os.Rename(dir, dir+"-second"))
	require.NoError(t, os.Rename(dir+"-pulled", dir))
	require.NoError(t, s.Attach())
	require.Equal(t, 1, s.Stats().Pending)
	require.Len(t, s.Unfinished(), 1, "what was being written is told of")
	require.Equal(t, nameAt(1), s.Unfinished()[0].Name)
	require.Equal(t, nameAt(0), next(t, s).Name, "what was closed before is there")
}

func TestR7_FoldersRemovedBelowTheCard(t *testing.T) {
	t.Parallel()
	s, dir := openTemp(t, Config{})
	putClip(t, s, nameAt(0), Routine, 10)
	require.NoError(t, os.RemoveAll(filepath.Join(dir, dirOpen)))
	_, err := s.Create(nameAt(1))
	require.ErrorIs(t, err, ErrGone)
	require.NoError(t, s.Attach())
	putClip(t, s, nameAt(1), Routine, 10)
}

func TestR7_OneUnreadableFileIsNotALostCard(t *testing.T) {
	t.Parallel()
	s, _ := openTemp(t, Config{})
	f, err := s.Create(nameAt(0))
	require.NoError(t, err)
	s.note(cardError("reading", syscall.EIO))
	require.NoError(t, s.Attach())
	_, err = f.Write([]byte("sealed"))
	require.NoError(t, err, "the open clip goes on")
	_, err = f.Commit(Routine, []byte("manifest"))
	require.NoError(t, err)
}

func TestR7_FailureOfWritingIsTheCards(t *testing.T) {
	t.Parallel()
	m := newMemFS()
	s, err := Open("/mnt/card", Config{FS: m})
	require.NoError(t, err)
	f, err := s.Create(nameAt(0))
	require.NoError(t, err)
	m.fail = func(op, _ string) error { return syscall.EROFS }
	require.ErrorIs(t, f.Sync(), ErrReadOnly)
	require.ErrorIs(t, s.Stats().Err, ErrReadOnly)
}
