package spool

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/cloud"
)

func signedBy(o Owner) []byte {
	raw, _ := json.Marshal(cloud.Statement{V: 1, Serial: o.Serial, Epoch: 1, BindID: o.BindID})
	return []byte("e30." + base64.RawURLEncoding.EncodeToString(raw) + ".c2ln")
}

// R2: what another camera, or this one for the owner before, has signed is not
// uploaded as ours, and not given up before its owner has it.
func TestR2_P7_ForeignClipsAreLeftAlone(t *testing.T) {
	t.Parallel()
	us := Owner{"serial-of-ours", "bind-of-ours"}
	for name, other := range map[string]Owner{
		"another camera": {"serial-of-another", us.BindID}, "the owner before": {us.Serial, "bind-before"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "card")
			synctest.Test(t, func(t *testing.T) {
				s, err := Open(dir, Config{})
				require.NoError(t, err)
				for i, by := range []Owner{other, us, other} {
					f, err := s.Create(nameAt(i))
					require.NoError(t, err)
					_, err = f.Write(make([]byte, 100))
					require.NoError(t, err)
					_, err = f.Commit([]Lane{Routine, Routine, Alarm}[i], signedBy(by))
					require.NoError(t, err)
				}
				_, err = s.Add(nameAt(3)+cloud.ExtGap, Routine, signedBy(other))
				require.NoError(t, err)
				require.NoError(t, s.Close())

				now := us
				s, err = Open(dir, Config{Owner: func() Owner { return now }})
				require.NoError(t, err)
				defer s.Close()
				o := next(t, s)
				require.Equal(t, nameAt(1), o.Name)
				require.NoError(t, s.Release(o))
				putClip(t, s, nameAt(5), Alarm, 100)
				putClip(t, s, nameAt(4), Routine, 100)
				require.Equal(t, nameAt(5), next(t, s).Name, "ours go on")
				require.Equal(t, nameAt(4), next(t, s).Name)
				require.Equal(t, 3, s.Stats().Foreign)
				for s.makeRoom() == nil {
				}
				require.Empty(t, names(t, s), "theirs are not shown")
				require.False(t, s.Has(nameAt(0)))
				for _, file := range []string{nameAt(0) + extClip, nameAt(0) + extManifest, nameAt(3) + cloud.ExtGap} {
					_, err = s.Open(file)
					require.ErrorIs(t, err, fs.ErrNotExist)
				}
				waits, err := s.Prefer(nameAt(0))
				require.NoError(t, err)
				require.False(t, waits)

				now = other // it is the other camera's turn
				require.Equal(t, []string{nameAt(0)[9:], nameAt(2)[9:], nameAt(3)[9:] + cloud.ExtGap}, names(t, s))
				require.Equal(t, nameAt(2), next(t, s).Name)
			})
		})
	}
}

func putSigned(t *testing.T, s *Spool, name string, lane Lane, by Owner) {
	t.Helper()
	f, err := s.Create(name)
	require.NoError(t, err)
	_, err = f.Write(make([]byte, 100))
	require.NoError(t, err)
	_, err = f.Commit(lane, signedBy(by))
	require.NoError(t, err)
}

// noneOffered waits for what is not to come.
func noneOffered(t *testing.T, s *Spool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	o, err := s.Next(ctx)
	require.ErrorIs(t, err, context.DeadlineExceeded, o.Name)
}

// R2, P7: what was recorded for the owner before is his, also in the same run.
func TestR2_P7_RebindInTheSameRun(t *testing.T) {
	t.Parallel()
	a, b := Owner{"ours", "bind-a"}, Owner{"ours", "bind-b"}
	dir := filepath.Join(t.TempDir(), "card")
	synctest.Test(t, func(t *testing.T) {
		now := a
		s, err := Open(dir, Config{Owner: func() Owner { return now }})
		require.NoError(t, err)
		defer s.Close()
		putSigned(t, s, nameAt(0), Routine, a)
		putSigned(t, s, nameAt(1), Alarm, a)
		_, err = s.Add(nameAt(2)+cloud.ExtGap, Routine, signedBy(a))
		require.NoError(t, err)
		_, err = s.Add(nameAt(3)+".jpg.age", Snapshot, []byte("sealed"))
		require.NoError(t, err)
		picture, alarm := next(t, s), next(t, s)
		require.NoError(t, s.Release(picture))
		_, err = s.Add(nameAt(4)+".jpg.age", Snapshot, []byte("sealed"))
		require.NoError(t, err)

		now = b
		s.Return(alarm, 0)
		noneOffered(t, s)
		putSigned(t, s, nameAt(5), Routine, b)
		putSigned(t, s, nameAt(6), Routine, a) // it was begun before
		require.Equal(t, nameAt(5), next(t, s).Name)
		noneOffered(t, s)
		require.Equal(t, 5, s.Stats().Foreign)
		require.Equal(t, []string{nameAt(3)[9:] + ".jpg.age", nameAt(5)[9:]}, names(t, s), "a picture that is in the store tells nothing")
		for s.makeRoom() == nil {
		}
		require.Equal(t, 5, s.Stats().Pending)

		now = a
		for _, want := range []string{nameAt(4) + ".jpg.age", nameAt(1), nameAt(0), nameAt(2) + cloud.ExtGap, nameAt(6)} {
			o := next(t, s)
			require.Equal(t, want, o.Name)
			require.NoError(t, s.Release(o))
		}
		now = b
		require.Empty(t, list(t, s, Query{To: epoch.Add(24 * time.Hour)})[1:], "in the store, and still not b's")
	})
}

// R2: a manifest that can't be read for a moment makes no clip ours.
func TestR2_P7_UnreadableManifestIsNobodys(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "card")
	synctest.Test(t, func(t *testing.T) {
		s, err := Open(dir, Config{})
		require.NoError(t, err)
		putSigned(t, s, nameAt(0), Routine, Owner{"other", "x"})
		us := Owner{"ours", "b"}
		putSigned(t, s, nameAt(1), Routine, us)
		require.NoError(t, s.Close())
		bad := &badFS{FS: osFS{dir}}
		bad.open.Store(nameAt(0) + extManifest)
		s, err = Open(dir, Config{Owner: func() Owner { return us }, FS: bad})
		require.NoError(t, err)
		defer s.Close()
		require.Equal(t, nameAt(1), next(t, s).Name)
		noneOffered(t, s)
		require.NoError(t, s.makeRoom(), "ours is lent, and all that there is")
		require.ErrorIs(t, s.makeRoom(), ErrFull)
		require.Equal(t, 1, s.Stats().Pending)
		require.ErrorContains(t, s.Stats().Spoiled, "1 of its files")

		bad.open.Store("")
		time.Sleep(unreadableWait + time.Second)
		require.NoError(t, s.Attach())
		noneOffered(t, s)
		require.Equal(t, 1, s.Stats().Foreign)
	})
}

// R2: any number of others' manifests in dropped/ does not hide ours.
func TestR2_OthersDroppedClipsHideNoneOfOurs(t *testing.T) {
	t.Parallel()
	us := Owner{"ours", "b"}
	s, dir := openTemp(t, Config{Owner: func() Owner { return us }})
	require.NoError(t, s.Close())
	hour := filepath.Join(dir, dirDropped, "2026010103")
	require.NoError(t, os.MkdirAll(hour, 0o700))
	for i := range maxDropped + 200 {
		by := []Owner{{"other", "x"}, {us.Serial, "before"}}[i%2]
		require.NoError(t, os.WriteFile(filepath.Join(hour, fmt.Sprintf("20260101T0300%02d.%03dZ-abcdefgh.jws", i/1000, i%1000)), signedBy(by), 0o600))
	}
	same := filepath.Join(dir, dirDropped, hourOf(nameAt(0)))
	require.NoError(t, os.MkdirAll(same, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(same, nameAt(1)+extManifest), signedBy(Owner{"other", "x"}), 0o600))
	s, err := Open(dir, Config{Owner: func() Owner { return us }})
	require.NoError(t, err)
	defer s.Close()
	list, err := s.Dropped()
	require.NoError(t, err)
	require.Empty(t, list)
	putSigned(t, s, nameAt(0), Routine, us)
	require.NoError(t, s.makeRoom())
	for range 2 {
		list, err := s.Dropped()
		require.NoError(t, err)
		require.Equal(t, []Dropped{{nameAt(0), signedBy(us)}}, list)
	}
	require.NoError(t, s.Forget(nameAt(0)))
	kept, err := os.ReadDir(hour)
	require.NoError(t, err)
	require.Len(t, kept, maxDropped+200)
}

// R8: a card full of others' clips is looked at once, and nothing is kept of each.
func TestR8_OthersBacklogIsReadOnce(t *testing.T) {
	t.Parallel()
	m := newMemFS()
	s, err := Open("/mnt/card", Config{FS: m})
	require.NoError(t, err)
	const hours = 40
	other, us := Owner{"other", "x"}, Owner{"ours", "b"}
	for i := range hours * 60 {
		putSigned(t, s, minuteName(i), Routine, other)
	}
	require.NoError(t, s.Close())
	s, err = Open("/mnt/card", Config{FS: m, Owner: func() Owner { return us }})
	require.NoError(t, err)
	lists, opens := 0, 0
	m.fail = func(op, path string) error {
		switch {
		case op == "readdir" && strings.Contains(path, "routine"):
			lists++
		case op == "open":
			opens++
		}
		return nil
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = s.Next(ctx)
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, hours*60, s.Stats().Foreign)
	require.LessOrEqual(t, opens, hours*60+1)
	require.LessOrEqual(t, lists, 2*hours+10)
	require.Empty(t, s.foreign, "an hour that is all theirs is one mark")
	require.ErrorIs(t, s.makeRoom(), ErrFull)
	require.LessOrEqual(t, opens, hours*60+1, "it is known")
}

// badFS fails to open a file, or to read a folder, of this name.
type badFS struct {
	FS
	open, dir atomic.Value
}

func (b *badFS) Open(path string) (io.ReadSeekCloser, error) {
	if b.open.Load() == filepath.Base(path) {
		return nil, &fs.PathError{Op: "read", Path: path, Err: syscall.EIO}
	}
	return b.FS.Open(path)
}

func (b *badFS) ReadDir(path string) ([]fs.DirEntry, error) {
	if b.dir.Load() == filepath.Base(path) {
		return nil, &fs.PathError{Op: "readdir", Path: path, Err: syscall.EIO}
	}
	return b.FS.ReadDir(path)
}
