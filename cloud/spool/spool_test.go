package spool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func openTemp(t *testing.T, cfg Config) (*Spool, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "card")
	s, err := Open(dir, cfg)
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	return s, dir
}

func putClip(t *testing.T, s *Spool, name string, lane Lane, size int) {
	t.Helper()
	f, err := s.Create(name)
	require.NoError(t, err)
	_, err = f.Write(make([]byte, size))
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	_, err = f.Commit(lane, []byte("manifest"))
	require.NoError(t, err)
}

func list(t *testing.T, s *Spool, q Query) []Entry {
	t.Helper()
	out, err := s.List(q)
	require.NoError(t, err)
	return out
}

func next(t *testing.T, s *Spool) Object {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	o, err := s.Next(ctx)
	require.NoError(t, err)
	return o
}

func TestM4_LanesInOrder(t *testing.T) {
	t.Parallel()
	s, dir := openTemp(t, Config{})
	putClip(t, s, nameAt(0), Routine, 10)
	putClip(t, s, nameAt(1), Alarm, 10)
	putClip(t, s, nameAt(2), Routine, 10)
	_, err := s.Add(nameAt(3)+".jpg.age", Snapshot, []byte("x"))
	require.NoError(t, err)
	require.Equal(t, nameAt(3)+".jpg.age", next(t, s).Name)
	o := next(t, s)
	require.Equal(t, nameAt(1), o.Name)
	require.Equal(t, []string{nameAt(1) + ".mp4.age", nameAt(1) + ".jws"}, []string{o.Parts[0].Name, o.Parts[1].Name})
	require.Equal(t, nameAt(0), next(t, s).Name)
	require.NoError(t, s.Release(o))
	require.FileExists(t, filepath.Join(dir, "uploaded", "2026010203", nameAt(1)+".jws"))
	require.NoError(t, s.Close())

	s, err = Open(dir, Config{})
	require.NoError(t, err)
	defer s.Close()
	putClip(t, s, nameAt(4), Routine, 10)
	require.Equal(t, nameAt(3)+".jpg.age", next(t, s).Name)
	o = next(t, s)
	require.Equal(t, nameAt(4), o.Name, "fresh footage goes before the backlog")
	o = next(t, s)
	require.Equal(t, nameAt(0), o.Name)
	require.Equal(t, Backfill, o.Lane)
	require.NotZero(t, o.Parts[1].SHA256)
	require.True(t, s.Pending(nameAt(0)))
	require.False(t, s.Pending(nameAt(1)))
}

func TestNextBlocksUntilThereIsOne(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, err := Open("/mnt/card", Config{FS: newMemFS()})
		require.NoError(t, err)
		got := make(chan Object)
		go func() {
			o, err := s.Next(context.Background())
			require.NoError(t, err)
			got <- o
		}()
		synctest.Wait()
		putClip(t, s, nameAt(0), Routine, 10)
		o := <-got

		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		_, err = s.Next(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded, "a lent object is not offered twice")

		began := time.Now()
		s.Return(o, time.Hour)
		require.Equal(t, o, next0(t, s))
		require.Equal(t, time.Hour, time.Since(began))
	})
}

func next0(t *testing.T, s *Spool) Object {
	o, err := s.Next(context.Background())
	require.NoError(t, err)
	return o
}

// The card is full although our count says otherwise: others write to it, too.
// A failed commit must leave nothing that recovery takes for a clip.
func TestS4_NamesStayInTheirFolder(t *testing.T) {
	t.Parallel()
	s, _ := openTemp(t, Config{})
	for _, name := range []string{
		"", "..", "../../etc/passwd", nameAt(0) + "/x", nameAt(0) + "\x00", strings.ToUpper(nameAt(0)), nameAt(0)[:20],
		"20261302T030405.123Z-abcdefgh", nameAt(0) + ".jpg",
	} {
		_, err := s.Create(name)
		require.ErrorIs(t, err, ErrName, "%q", name)
	}
	for _, suffix := range []string{"", ".part", ".jpg.part", ".jws", ".mp4.age", ".x.tmp", "/../x", ".a/b", ".JPG", ".a.b.c.d", "jpg"} {
		_, err := s.Add(nameAt(0)+suffix, Snapshot, nil)
		require.ErrorIs(t, err, ErrName, "%q", suffix)
	}
	putClip(t, s, nameAt(0), Routine, 1)
	_, err := s.Create(nameAt(0))
	require.ErrorIs(t, err, ErrName)
	for _, name := range []string{nameAt(0), "../" + nameAt(0) + ".jws", nameAt(0) + ".jws.tmp", ".lock", ""} {
		_, err := s.Open(name)
		require.ErrorIs(t, err, fs.ErrNotExist)
	}
}

func TestListPages(t *testing.T) {
	t.Parallel()
	s, _ := openTemp(t, Config{})
	for i := range 5 {
		putClip(t, s, nameAt(i), Routine, 10+i)
	}
	require.NoError(t, s.Release(next(t, s)))
	page := list(t, s, Query{Limit: 3})
	require.Equal(t, Entry{Name: nameAt(4), Size: 22}, page[0])
	page = list(t, s, Query{Before: page[2].Name, Limit: 3})
	require.Equal(t, []Entry{{nameAt(1), 19, false}, {nameAt(0), 18, true}}, page)
	require.Empty(t, list(t, s, Query{Before: nameAt(0), Limit: 3}))
}

func TestP7_WipeLeavesNothing(t *testing.T) {
	t.Parallel()
	s, dir := openTemp(t, Config{})
	putClip(t, s, nameAt(0), Routine, 10)
	putClip(t, s, nameAt(1), Routine, 10)
	require.NoError(t, s.Release(next(t, s)))
	f, err := s.Create(nameAt(2))
	require.NoError(t, err)
	require.NoError(t, s.Wipe())
	_, err = f.Write([]byte("x"))
	require.Error(t, err)
	_, err = f.Commit(Routine, []byte("x"))
	require.Error(t, err)
	require.NoError(t, f.Abort())
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		require.True(t, d.IsDir(), path)
		return err
	}))
	require.Zero(t, s.Stats().UsedBytes)
	require.Empty(t, list(t, s, Query{}))
	putClip(t, s, nameAt(3), Routine, 10)
}

// Files that somebody else put on the card are neither taken nor removed.
// A clip whose manifest the card has lost is footage all the same.
// One file that cannot be read must not hold up the others.
func TestHash(t *testing.T) {
	t.Parallel()
	s, _ := openTemp(t, Config{})
	f, err := s.Create(nameAt(0))
	require.NoError(t, err)
	io.WriteString(f, "ab")
	io.WriteString(f, "c")
	sum := f.SHA256()
	require.Equal(t, byte(0xba), sum[0]) // FIPS 180-2, "abc"
	require.EqualValues(t, 3, f.Size())
	o, err := f.Commit(Routine, []byte("m"))
	require.NoError(t, err)
	require.Equal(t, sum, o.Parts[0].SHA256)
	_, err = f.Write([]byte("x"))
	require.True(t, errors.Is(err, errClosed))
	require.NoError(t, f.Abort())
	require.True(t, s.Pending(nameAt(0)), "Abort after Commit does nothing")
}

func FuzzNames(f *testing.F) {
	for _, s := range []string{nameAt(0), nameAt(0) + ".mp4.age", nameAt(0) + ".jws.tmp", nameAt(0) + ".jpg.age.part", nameAt(0) + "\x00.tmp", "../x", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		object, kind := sortName(name)
		if kind == kindForeign {
			return
		}
		if strings.ContainsAny(name, "/\\\x00") || !strings.HasPrefix(name, object) || hourOf(object) == "" {
			t.Fatalf("%q taken for %q", name, object)
		}
	})
}

func nameAt(i int) string {
	return fmt.Sprintf("20260102T%02d%02d00.000Z-abcdefgh", 3+i/4, i)
}
