package files_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/cmd/camctl/internal/files"
)

func TestWrite_AllOrNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "a.mp4")
	require.NoError(t, files.Write(path, []byte("old")))
	f, err := files.Create(path)
	require.NoError(t, err)
	_, err = f.WriteString("half of the n")
	require.NoError(t, err)
	f.Abort()
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "old", string(got))

	f, err = files.Create(path)
	require.NoError(t, err)
	_, err = f.WriteString("new")
	require.NoError(t, err)
	require.NoError(t, f.Commit())
	f.Abort()
	require.ErrorIs(t, f.Commit(), os.ErrClosed)
	got, err = os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "new", string(got))
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1)
}

func TestCreate_NamesWhatWasAskedFor(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, err := files.Create(filepath.Join(dir, "no", "a.mp4"))
	require.EqualError(t, err, "open "+dir+"/no/a.mp4: no such file or directory")
	_, err = files.Create(dir)
	require.ErrorContains(t, err, "is a folder, want a file")
}
