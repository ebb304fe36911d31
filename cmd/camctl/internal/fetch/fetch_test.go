package fetch_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/api"
	"iid2secure.nl/camagent/cloud/seal"

	"iid2secure.nl/camagent/cmd/camctl/internal/fakecloud"
	"iid2secure.nl/camagent/cmd/camctl/internal/fetch"
	"iid2secure.nl/camagent/cmd/camctl/internal/verify"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func bench(t *testing.T) (*fakecloud.Camera, *fakecloud.Cloud, *fetch.Getter) {
	t.Helper()
	secret, _, err := seal.NewIdentity()
	require.NoError(t, err)
	cam, err := fakecloud.NewCamera(secret)
	require.NoError(t, err)
	c := fakecloud.New()
	return cam, c, &fetch.Getter{Source: c, Camera: cam.Pinned(), Secret: secret, Stall: 15 * time.Second}
}

func upload(t *testing.T, cam *fakecloud.Camera, c *fakecloud.Cloud, n int) fakecloud.Clip {
	t.Helper()
	k, err := cam.Clip(start.Add(time.Duration(n)*time.Second), "main", nil)
	require.NoError(t, err)
	c.Upload(k)
	return k
}

func TestList_JoinsClipsAndManifestsOverPages(t *testing.T) {
	t.Parallel()
	cam, c, g := bench(t)
	var names []string
	for n := range 10 {
		names = append(names, upload(t, cam, c, n).Name)
	}
	half, err := cam.Clip(start.Add(time.Hour), "main", nil)
	require.NoError(t, err)
	c.Put(half.Name+".mp4.age", half.Sealed)
	c.Put("20260102T030405.000Z-aaaaaaaa.jpg.age", []byte("x"))
	c.Put("../../etc/passwd.mp4.age", []byte("x"))
	list, err := g.List(t.Context(), api.ObjectQuery{})
	require.NoError(t, err)
	require.Len(t, list, 11)
	for i, name := range names {
		require.Equal(t, name, list[i].Name)
		require.True(t, list[i].Complete)
	}
	require.False(t, list[10].Complete)
	require.Equal(t, "2026-01-02T04:04:05.000Z", list[10].Time)
}

// loops is a cloud whose list has no end.
type loops struct{ fetch.Source }

func (loops) Objects(context.Context, cloud.Serial, api.ObjectQuery) (api.ObjectList, error) {
	return api.ObjectList{Next: "same"}, nil
}

func TestR6_ListThatNeverEnds(t *testing.T) {
	t.Parallel()
	_, _, g := bench(t)
	g.Source = loops{}
	_, err := g.List(t.Context(), api.ObjectQuery{})
	require.ErrorContains(t, err, "repeats itself")
}

func TestClip_SealedIsKeptOnlyIfAskedFor(t *testing.T) {
	t.Parallel()
	cam, c, g := bench(t)
	k := upload(t, cam, c, 0)
	var seen []int64
	g.Progress = func(done, total int64) { seen = append(seen, done, total) }
	clip, err := g.Manifest(t.Context(), k.Name)
	require.NoError(t, err)
	dir := t.TempDir()
	scratch, keep := filepath.Join(dir, "scratch"), filepath.Join(dir, "kept.age")
	var plain bytes.Buffer
	_, err = g.Clip(t.Context(), clip, &plain, scratch, "")
	require.NoError(t, err)
	require.Equal(t, k.Plain, plain.Bytes())
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, entries)
	require.Equal(t, []int64{clip.Size, clip.Size}, seen[len(seen)-2:])

	_, err = g.Clip(t.Context(), clip, io.Discard, scratch, keep)
	require.NoError(t, err)
	kept, err := os.ReadFile(keep)
	require.NoError(t, err)
	require.Equal(t, k.Sealed, kept)
}

// Nothing is decrypted, and nothing stays, of a clip that is not what it should be.
func TestP6_TamperedClipLeavesNothing(t *testing.T) {
	t.Parallel()
	cam, c, g := bench(t)
	k := upload(t, cam, c, 0)
	clip, err := g.Manifest(t.Context(), k.Name)
	require.NoError(t, err)
	other, err := cam.Seal(k.Plain)
	require.NoError(t, err)
	c.Put(k.Name+".mp4.age", other) // opens, but is not what was signed
	dir := t.TempDir()
	var plain bytes.Buffer
	_, err = g.Clip(t.Context(), clip, &plain, filepath.Join(dir, "a"), filepath.Join(dir, "b"))
	var refused *verify.Error
	require.ErrorAs(t, err, &refused)
	require.Zero(t, plain.Len())
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, entries)
}

func TestClip_LostConnectionIsNoForgery(t *testing.T) {
	t.Parallel()
	cam, c, g := bench(t)
	k := upload(t, cam, c, 0)
	clip, err := g.Manifest(t.Context(), k.Name)
	require.NoError(t, err)
	lost := errors.New("connection reset")
	c.Body(func(_ string, r io.Reader) io.Reader {
		return io.MultiReader(io.LimitReader(r, 10), failing{lost})
	})
	_, err = g.Clip(t.Context(), clip, io.Discard, filepath.Join(t.TempDir(), "a"), "")
	require.ErrorIs(t, err, lost)
	var refused *verify.Error
	require.False(t, errors.As(err, &refused))
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestManifest_TooLargeOrMissing(t *testing.T) {
	t.Parallel()
	cam, c, g := bench(t)
	k := upload(t, cam, c, 0)
	c.Put(k.Name+".jws", bytes.Repeat([]byte("a"), seal.MaxStatement+1))
	_, err := g.Manifest(t.Context(), k.Name)
	require.ErrorContains(t, err, fmt.Sprintf("larger than %d bytes", seal.MaxStatement))
	_, err = g.Manifest(t.Context(), "20260102T030405.000Z-zzzzzzzz")
	require.ErrorContains(t, err, "no such object")
}

func TestPicture_CheckedAndOpened(t *testing.T) {
	t.Parallel()
	cam, c, g := bench(t)
	jpeg := []byte("\xff\xd8 a picture \xff\xd9")
	sealed, err := cam.Seal(jpeg)
	require.NoError(t, err)
	sum := sha256.Sum256(sealed)
	sha := hex.EncodeToString(sum[:])
	c.Put("p.jpg.age", sealed)
	size := int64(len(sealed))
	got, err := g.Picture(t.Context(), "p.jpg.age", size, sha)
	require.NoError(t, err)
	require.Equal(t, jpeg, got)
	got, err = g.OpenPicture(bytes.NewReader(sealed), size, sha)
	require.NoError(t, err)
	require.Equal(t, jpeg, got)

	_, err = g.Picture(t.Context(), "p.jpg.age", size-1, sha)
	require.ErrorContains(t, err, "larger than")
	_, err = g.Picture(t.Context(), "p.jpg.age", 1<<40, sha)
	require.ErrorContains(t, err, "want 1 to")
	c.Put("p.jpg.age", append(sealed[:size-1:size-1], sealed[size-1]^1))
	_, err = g.Picture(t.Context(), "p.jpg.age", size, sha)
	require.ErrorContains(t, err, "snapshot is refused")
}
