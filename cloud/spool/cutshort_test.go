package spool

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// R3, R7: at whichever step a commit fails, the clip is left as a cut would leave
// it, and can be finished at once, or after the next start.
func TestR3_R7_CommitThatFailsLeavesTheClip(t *testing.T) {
	t.Parallel()
	for name, bad := range map[string]func(op, path string) bool{
		"the manifest":     func(op, path string) bool { return op == "sync" && strings.HasSuffix(path, extTmp) },
		"its rename":       func(op, path string) bool { return op == "rename" && strings.Contains(path, extManifest) },
		"the clip's":       func(op, path string) bool { return op == "rename" && strings.Contains(path, extClip) },
		"the folder":       func(op, path string) bool { return op == "syncdir" && strings.Contains(path, dirPending) },
		"the journal gone": func(op, path string) bool { return op == "remove" && strings.HasSuffix(path, extNotes) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMemFS()
			s, err := Open("/mnt/card", Config{FS: m})
			require.NoError(t, err)
			f, err := s.Create(nameAt(0))
			require.NoError(t, err)
			_, err = f.Write([]byte("sealed"))
			require.NoError(t, err)
			require.NoError(t, f.Note([]byte("one")))
			failed := 0
			m.fail = func(op, path string) error {
				if failed == 0 && bad(op, path) {
					failed++
					return errors.New("input/output error")
				}
				return nil
			}
			_, err = f.CommitOrLeave(Routine, []byte("manifest"))
			require.Error(t, err)
			require.Equal(t, 1, failed, "the step does not exist")
			require.False(t, s.Has(nameAt(0)))
			want := []Unfinished{{nameAt(0), 6, [][]byte{[]byte("one")}}}
			require.Equal(t, want, s.Unfinished())
			require.NoError(t, f.Abort(), "it is nobody's any more")
			require.NoError(t, s.Close())
			s, err = Open("/mnt/card", Config{FS: m})
			require.NoError(t, err)
			require.Equal(t, want, s.Unfinished())
			used := s.Stats().UsedBytes
			f, err = s.Finish(nameAt(0), 6)
			require.NoError(t, err)
			require.NoError(t, f.Leave(), "the manifest could not be signed")
			require.Equal(t, want, s.Unfinished())
			require.Equal(t, used, s.Stats().UsedBytes)
			f, err = s.Finish(nameAt(0), 6)
			require.NoError(t, err)
			_, err = f.CommitOrLeave(Alarm, []byte("manifest"))
			require.NoError(t, err)
			require.True(t, s.Has(nameAt(0)))
			require.Empty(t, s.Unfinished())
			require.NoError(t, f.Leave())
			require.Empty(t, s.Unfinished())
			require.NoError(t, s.Close())
		})
	}
}

// R3: a clip is left in the middle, also by a File of a card that is away.
func TestR3_R7_ClipThatIsLeft(t *testing.T) {
	t.Parallel()
	s, dir := openTemp(t, Config{})
	f, err := s.Create(nameAt(0))
	require.NoError(t, err)
	_, err = f.Write([]byte("sealed"))
	require.NoError(t, err)
	require.NoError(t, f.Note([]byte("one")))
	require.NoError(t, f.Sync())
	_, err = f.Write([]byte("more"))
	require.NoError(t, err)
	require.NoError(t, f.Leave())
	require.Equal(t, []Unfinished{{nameAt(0), 10, [][]byte{[]byte("one")}}}, s.Unfinished())
	require.NoError(t, s.Discard(nameAt(0)))
	left, err := os.ReadDir(filepath.Join(dir, dirOpen))
	require.NoError(t, err)
	require.Empty(t, left)
	require.Zero(t, s.Stats().UsedBytes)

	f, err = s.Create(nameAt(1))
	require.NoError(t, err)
	require.NoError(t, s.Close())
	require.NoError(t, f.Leave())
	require.Empty(t, s.Unfinished())
}
