package fetch_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/seal"

	"iid2secure.nl/camagent/cmd/camctl/internal/fakecloud"
	"iid2secure.nl/camagent/cmd/camctl/internal/fetch"
)

func mustNot(t *testing.T) func(error) {
	t.Helper()
	return func(err error) { t.Errorf("refused: %v", err) }
}

// What manifests said is asked for once, survives, and is nobody else's.
func TestM10_ManifestsAreFetchedOnce(t *testing.T) {
	t.Parallel()
	cam, c, g := bench(t)
	var names []string
	for n := range 20 {
		names = append(names, upload(t, cam, c, n).Name)
	}
	path := filepath.Join(t.TempDir(), "known", "a.jsonl")
	var last int64
	said, err := g.Describe(t.Context(), names, fetch.OpenKnown(path, g.Camera), mustNot(t), func(done, total int64) {
		require.Equal(t, last+1, done)
		require.EqualValues(t, 20, total)
		last = done
	})
	require.NoError(t, err)
	require.EqualValues(t, 20, last)
	for i, s := range said {
		require.Equal(t, names[i], s.Name)
		require.EqualValues(t, i+1, s.Sequence)
		require.Equal(t, 250, s.What.Frames)
	}
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())

	c.Fail(func(string, string) error { return fakecloud.ErrAway })
	again, err := g.Describe(t.Context(), names, fetch.OpenKnown(path, g.Camera), mustNot(t), nil)
	require.NoError(t, err)
	require.Len(t, again, 20)
	require.Equal(t, said[3].Hash, again[3].Hash)
	require.Equal(t, said[3].What, again[3].What)

	stranger := g.Camera
	stranger.BindID = "ff"
	require.Empty(t, fetch.OpenKnown(path, stranger).All())
}

// A line that was cut, or is no line of ours, costs a question.
func TestM10_S4_DamagedKnowledgeIsFetchedAgain(t *testing.T) {
	t.Parallel()
	cam, c, g := bench(t)
	names := []string{upload(t, cam, c, 0).Name, upload(t, cam, c, 1).Name}
	path := filepath.Join(t.TempDir(), "a.jsonl")
	_, err := g.Describe(t.Context(), names, fetch.OpenKnown(path, g.Camera), mustNot(t), nil)
	require.NoError(t, err)
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, append([]byte("rubbish\n{\"name\":\"../x\"}\n"), b[:len(b)-9]...), 0o600))
	k := fetch.OpenKnown(path, g.Camera)
	require.Len(t, k.All(), 1)
	said, err := g.Describe(t.Context(), names, k, mustNot(t), nil)
	require.NoError(t, err)
	require.Len(t, said, 2)
}

func TestS10_ForgedManifestIsToldAndLeftOut(t *testing.T) {
	t.Parallel()
	cam, c, g := bench(t)
	a, b := upload(t, cam, c, 0), upload(t, cam, c, 1)
	c.Put(b.Name+".jws", []byte(a.Token))
	var told []error
	said, err := g.Describe(t.Context(), []string{a.Name, b.Name}, fetch.OpenKnown(filepath.Join(t.TempDir(), "a"), g.Camera),
		func(err error) { told = append(told, err) }, nil)
	require.NoError(t, err)
	require.Len(t, said, 1)
	require.Len(t, told, 1)
	require.ErrorContains(t, told[0], b.Name+" is refused")

	c.Fail(func(string, string) error { return fakecloud.ErrAway })
	late := upload(t, cam, c, 2)
	_, err = g.Describe(t.Context(), []string{late.Name}, fetch.OpenKnown(filepath.Join(t.TempDir(), "b"), g.Camera), mustNot(t), nil)
	require.ErrorIs(t, err, fakecloud.ErrAway)
}

// A store that gives rubbish for one object, or nothing although it lists it, keeps
// no other clip away.
func TestS10_R6_OneManifestThatIsTooLargeOrGoneIsToldAndLeftOut(t *testing.T) {
	t.Parallel()
	cam, c, g := bench(t)
	var names []string
	for n := range 20 {
		names = append(names, upload(t, cam, c, n).Name)
	}
	c.Put(names[2]+cloud.ExtManifest, bytes.Repeat([]byte("x"), seal.MaxStatement+1))
	c.Remove(names[3] + cloud.ExtManifest)
	told := map[string]bool{}
	said, err := g.Describe(t.Context(), names, fetch.OpenKnown(filepath.Join(t.TempDir(), "a"), g.Camera),
		func(err error) { told[err.Error()] = true }, nil)
	require.NoError(t, err)
	require.Len(t, said, 18)
	require.Equal(t, map[string]bool{
		"clip " + names[2] + " is refused: its statement is larger than 65536 bytes": true,
		"manifest of " + names[3] + ": no such object":                               true,
	}, told)
}
