package spool

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// prepared is a card on which somebody has put things, beside a key that is the
// camera's.
func prepared(t *testing.T) (dir, key string) {
	t.Helper()
	root := t.TempDir()
	dir, key = filepath.Join(root, "card"), filepath.Join(root, "device.key")
	require.NoError(t, os.WriteFile(key, []byte("SECRET-KEY-OF-THE-DEVICE"), 0o600))
	require.NoError(t, os.MkdirAll(hourFolder(dir), 0o700))
	return dir, key
}

func hourFolder(dir string) string {
	return filepath.Join(dir, dirPending, "routine", hourOf(nameAt(0)))
}

// P4, P5: a link on the card leads nowhere: nothing is read, lent or removed by it.
func TestP4_P5_LinksAreNotFollowed(t *testing.T) {
	t.Parallel()
	for _, ext := range []string{extClip, extManifest, ".jpg.age", ".gap.jws"} {
		t.Run(ext, func(t *testing.T) {
			t.Parallel()
			dir, key := prepared(t)
			link := filepath.Join(hourFolder(dir), nameAt(0)+ext)
			require.NoError(t, os.Symlink(key, link))
			require.NoError(t, os.Symlink("../../../../device.key", filepath.Join(hourFolder(dir), nameAt(1)+ext)))
			require.NoError(t, os.Symlink(nameAt(3)+extClip, filepath.Join(hourFolder(dir), nameAt(2)+extClip)), "also on the card itself")
			synctest.Test(t, func(t *testing.T) {
				s, err := Open(dir, Config{Owner: func() Owner { return Owner{"ours", "b"} }})
				require.NoError(t, err)
				defer s.Close()
				putClip(t, s, nameAt(3), Routine, 10)
				require.Equal(t, nameAt(3), next(t, s).Name)
				noneOffered(t, s)
				require.Equal(t, []string{nameAt(3)[9:]}, names(t, s))
				for _, name := range []string{nameAt(0) + ext, nameAt(1) + ext, nameAt(2) + extClip} {
					_, err = s.Open(name)
					require.ErrorIs(t, err, errOdd)
				}
				require.ErrorContains(t, s.Stats().Spoiled, "3 of its files and folders can't be used")
				for s.makeRoom() == nil {
				}
			})
			require.FileExists(t, key)
			_, err := os.Lstat(link)
			require.NoError(t, err, "it is left alone")
		})
	}
}

// P5: nothing is written through a link, and nothing is made where one leads.
func TestP5_NothingIsWrittenThroughLinks(t *testing.T) {
	t.Parallel()
	for _, path := range []string{dirOpen, dirPending, dirPending + "/routine", dirUploaded, dirDropped, dirIndex} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			dir, _ := prepared(t)
			out := filepath.Join(filepath.Dir(dir), "rootfs")
			require.NoError(t, os.MkdirAll(filepath.Join(out, "routine"), 0o700))
			require.NoError(t, os.RemoveAll(filepath.Join(dir, path)))
			require.NoError(t, os.Symlink(out, filepath.Join(dir, path)))
			_, err := Open(dir, Config{})
			require.ErrorIs(t, err, errOdd)
			left, err := filepath.Glob(filepath.Join(out, "*", "*"))
			require.NoError(t, err)
			require.Empty(t, left)
		})
	}
	t.Run("hours", func(t *testing.T) {
		t.Parallel()
		dir, _ := prepared(t)
		out := filepath.Join(filepath.Dir(dir), "rootfs")
		require.NoError(t, os.Mkdir(out, 0o700))
		for _, d := range []string{hourFolder(dir), filepath.Join(dir, dirUploaded, hourOf(nameAt(0))), filepath.Join(dir, dirDropped, hourOf(nameAt(0)))} {
			require.NoError(t, os.MkdirAll(filepath.Dir(d), 0o700))
			require.NoError(t, os.RemoveAll(d))
			require.NoError(t, os.Symlink(out, d))
		}
		s, err := Open(dir, Config{})
		require.NoError(t, err)
		defer s.Close()
		f, err := s.Create(nameAt(0))
		require.NoError(t, err)
		_, err = f.Commit(Routine, []byte("manifest"))
		require.ErrorIs(t, err, errOdd)
		putClip(t, s, nameAt(1), Alarm, 10) // its hour folder is a real one
		require.Error(t, s.Release(next(t, s)))
		left, err := os.ReadDir(out)
		require.NoError(t, err)
		require.Empty(t, left)
	})
}

// R7: a pipe or a device is not opened: nothing waits for it for ever.
func TestR7_PipesHoldUpNothing(t *testing.T) {
	t.Parallel()
	dir, _ := prepared(t)
	for _, d := range []string{dirIndex, dirOpen, dirDropped + "/" + hourOf(nameAt(0))} {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, d), 0o700))
	}
	hour := hourFolder(dir)
	require.NoError(t, os.WriteFile(filepath.Join(hour, nameAt(0)+extClip), []byte("x"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, dirOpen, nameAt(5)+extClip+extPart), []byte("x"), 0o600))
	for _, path := range []string{hour + "/" + nameAt(0) + extManifest, hour + "/" + nameAt(1) + extClip, hour + "/" + nameAt(2) + extManifest + extTmp,
		dir + "/index/card", dir + "/index/hours", dir + "/open/" + nameAt(3) + extClip + extPart, dir + "/open/" + nameAt(5) + extNotes,
		dir + "/dropped/" + hourOf(nameAt(0)) + "/" + nameAt(4) + extManifest} {
		require.NoError(t, syscall.Mkfifo(path, 0o600), path)
	}
	s, err := Open(dir, Config{Owner: func() Owner { return Owner{"ours", "b"} }})
	require.NoError(t, err)
	defer s.Close()
	require.Empty(t, s.ID())
	require.Empty(t, s.Unfinished())
	require.Empty(t, dropped(t, s))
	o := next(t, s)
	require.Equal(t, nameAt(0), o.Name)
	require.Len(t, o.Parts, 1, "as one that has lost its manifest")
	s.Return(o, time.Hour)
	require.NoError(t, s.makeRoom())
	putClip(t, s, nameAt(6), Routine, 10)
	_, err = os.Lstat(hour + "/" + nameAt(2) + extManifest + extTmp)
	require.NoError(t, err)
}

// All steps of the file system hold to the card's folder.
func TestP5_FileSystemEndsAtTheCard(t *testing.T) {
	t.Parallel()
	dir, key := prepared(t)
	f := osFS{dir}
	inside := filepath.Join(dir, "file")
	w, err := f.Create(inside)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	link, out := filepath.Join(dir, "link"), filepath.Join(dir, "out")
	require.NoError(t, os.Symlink(key, link))
	require.NoError(t, os.Symlink(filepath.Dir(dir), out))
	for _, path := range []string{key, link, filepath.Join(dir, "..", "device.key"), filepath.Join(out, "device.key"), filepath.Join(out, "new")} {
		_, err := f.Open(path)
		require.Error(t, err, path)
		_, err = f.Create(path)
		require.Error(t, err, path)
		require.Error(t, f.Truncate(path, 0), path)
		require.Error(t, f.Rename(path, filepath.Join(dir, "moved")), path)
		if path != link {
			require.Error(t, f.Rename(inside, path), path)
			require.Error(t, f.Remove(path), path)
		}
		if strings.HasPrefix(path, out) {
			require.Error(t, f.Mkdir(path), path)
			require.Error(t, f.SyncDir(filepath.Dir(path)), path)
			_, err = f.ReadDir(filepath.Dir(path))
			require.Error(t, err, path)
		}
	}
	data, err := os.ReadFile(key)
	require.NoError(t, err)
	require.Equal(t, "SECRET-KEY-OF-THE-DEVICE", string(data))
	_, err = f.Open(filepath.Join(dir, "none"))
	require.ErrorIs(t, err, fs.ErrNotExist)
}

// hungFS never answers, until it is let go.
type hungFS struct {
	FS
	release chan struct{}
}

func (h hungFS) ReadDir(path string) ([]fs.DirEntry, error) {
	<-h.release
	return h.FS.ReadDir(path)
}

// R7: a card that does not answer holds up no start; it is used once it does.
func TestR7_AttachSoon(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "card")
	synctest.Test(t, func(t *testing.T) {
		hung := hungFS{osFS{dir}, make(chan struct{})}
		s := New(dir, Config{FS: hung})
		began := time.Now()
		require.ErrorIs(t, s.AttachSoon(3*time.Second), ErrGone)
		require.Equal(t, 3*time.Second, time.Since(began))
		require.ErrorContains(t, s.Stats().Err, "has not answered within 3s")
		_, err := s.Create(nameAt(0))
		require.ErrorIs(t, err, ErrGone)
		close(hung.release)
		require.NoError(t, s.Attach())
		putClip(t, s, nameAt(0), Routine, 10)
		require.NoError(t, s.AttachSoon(3*time.Second))
		require.NoError(t, s.Close())
	})
}
