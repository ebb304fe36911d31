package spool

import (
	"bytes"
	"crypto/sha256"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// leaveOpen writes a clip and lets the card go without closing it.
func leaveOpen(t *testing.T, name string, notes ...string) (*Spool, string) {
	t.Helper()
	s, dir := openTemp(t, Config{})
	f, err := s.Create(name)
	require.NoError(t, err)
	for _, n := range notes {
		_, err = f.Write([]byte("sealed "))
		require.NoError(t, err)
		require.NoError(t, f.Note([]byte(n)))
		require.NoError(t, f.Sync())
	}
	_, err = f.Write([]byte("unsynced"))
	require.NoError(t, err)
	require.NoError(t, f.Note([]byte("of what is not synced")))
	require.NoError(t, s.Close())
	require.ErrorIs(t, f.Sync(), ErrGone)
	s, err = Open(dir, Config{})
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	return s, dir
}

func TestR3_OpenClipIsLeftToItsOwner(t *testing.T) {
	t.Parallel()
	s, _ := leaveOpen(t, nameAt(0), "one", "two")
	require.Equal(t, []Unfinished{{nameAt(0), 22, [][]byte{[]byte("one"), []byte("two")}}}, s.Unfinished())
	require.False(t, s.Has(nameAt(0)))
	_, err := s.Create(nameAt(0))
	require.ErrorIs(t, err, ErrName, "the name is taken")
	require.EqualValues(t, 22+2*13, s.Stats().UsedBytes)
	_, err = s.Finish(nameAt(0), 23)
	require.ErrorContains(t, err, "it has 22")

	f, err := s.Finish(nameAt(0), 14)
	require.NoError(t, err)
	require.Empty(t, s.Unfinished())
	require.EqualValues(t, 14, f.Size())
	require.Equal(t, sha256.Sum256([]byte("sealed sealed ")), f.SHA256())
	_, err = f.Write([]byte("x"))
	require.ErrorContains(t, err, "only be committed")
	f, err = s.Finish(nameAt(0), 14)
	require.ErrorIs(t, err, ErrName, "once")
	require.Nil(t, f)
}

func TestR3_FinishedClipIsAClip(t *testing.T) {
	t.Parallel()
	s, dir := leaveOpen(t, nameAt(0), "one", "two")
	f, err := s.Finish(nameAt(0), 7)
	require.NoError(t, err)
	o, err := f.Commit(Alarm, []byte("manifest"))
	require.NoError(t, err)
	require.Equal(t, o, next(t, s))
	require.EqualValues(t, 7+8, s.Stats().UsedBytes)
	left, err := os.ReadDir(filepath.Join(dir, dirOpen))
	require.NoError(t, err)
	require.Empty(t, left)
	data, err := os.ReadFile(filepath.Join(dir, dirPending, "alarm", "2026010203", nameAt(0)+extClip))
	require.NoError(t, err)
	require.Equal(t, "sealed ", string(data))
}

func TestR3_DiscardedClipLeavesNothing(t *testing.T) {
	t.Parallel()
	s, dir := leaveOpen(t, nameAt(0))
	require.ErrorIs(t, s.Discard(nameAt(1)), ErrName)
	require.NoError(t, s.Discard(nameAt(0)))
	require.Empty(t, s.Unfinished())
	require.Zero(t, s.Stats().UsedBytes)
	left, err := os.ReadDir(filepath.Join(dir, dirOpen))
	require.NoError(t, err)
	require.Empty(t, left)
	putClip(t, s, nameAt(0), Routine, 10) // the name is free again
}

func TestR3_TornJournal(t *testing.T) {
	t.Parallel()
	var whole []byte
	for _, n := range []string{"one", "two", "three"} {
		l, err := noteLine([]byte(n))
		require.NoError(t, err)
		whole = append(whole, l...)
	}
	require.Len(t, parseJournal(whole), 3)
	for cut := range len(whole) {
		require.Len(t, parseJournal(whole[:cut]), bytes.Count(whole[:cut], []byte("\n")), "cut at %d", cut)
	}
	for i := range whole {
		bad := bytes.Clone(whole)
		bad[i] ^= 1
		require.Less(t, len(parseJournal(bad)), 3, "byte %d", i)
	}
	for _, bad := range []string{"", "two\nlines", strings.Repeat("x", maxNote+1)} {
		_, err := noteLine([]byte(bad))
		require.Error(t, err)
	}
}

func FuzzJournal(f *testing.F) {
	l, _ := noteLine([]byte(`{"bytes":1}`))
	f.Add(l)
	f.Add(append(l, l[:5]...))
	f.Add([]byte("00000000 \n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var back []byte
		for _, n := range parseJournal(data) {
			l, err := noteLine(n)
			if len(n) == 0 || len(n) > maxNote {
				return // not ours
			}
			if err != nil {
				t.Fatal(err)
			}
			back = append(back, l...)
		}
		if !bytes.HasPrefix(data, back) {
			t.Fatalf("%q read as %q", data, back)
		}
	})
}

func FuzzIndex(f *testing.F) {
	s := New("/mnt/card", Config{FS: newMemFS()})
	f.Add(s.indexBytes())
	s.x.trees[1].set(hour{name: "2026010203", n: 2, clips: 1, bytes: 10, names: 3})
	f.Add(s.indexBytes())
	f.Fuzz(func(t *testing.T, data []byte) { parseIndex(data) })
}
