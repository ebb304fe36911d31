package fetch_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/cloud/api"

	"iid2secure.nl/camagent/cmd/camctl/internal/fakecloud"
	"iid2secure.nl/camagent/cmd/camctl/internal/fetch"
	"iid2secure.nl/camagent/cmd/camctl/internal/verify"
)

// offsets notes from where objects are read.
type offsets struct {
	fetch.Source
	mu   sync.Mutex
	from []int64
}

func (o *offsets) Fetch(ctx context.Context, d api.Download) (io.ReadCloser, error) {
	o.mu.Lock()
	o.from = append(o.from, d.Offset)
	o.mu.Unlock()
	return o.Source.Fetch(ctx, d)
}

var errReset = errors.New("connection reset")

// torn gives up after n bytes.
func torn(n int64) func(string, io.Reader) io.Reader {
	return func(_ string, r io.Reader) io.Reader { return io.MultiReader(io.LimitReader(r, n), failing{errReset}) }
}

// download is one run of the program.
func download(ctx context.Context, g *fetch.Getter, k fakecloud.Clip, scratch string) ([]byte, error) {
	clip, err := g.Camera.Manifest(k.Name, k.Token)
	if err != nil {
		return nil, err
	}
	var plain bytes.Buffer
	_, err = g.Clip(ctx, clip, &plain, scratch, "")
	return plain.Bytes(), err
}

// What has come stays, and is not downloaded again: neither by the next run, nor
// after a run that was killed in the middle of a write.
func TestM10_DownloadGoesOnWhereItWasBrokenOff(t *testing.T) {
	t.Parallel()
	cam, c, g := bench(t)
	k := upload(t, cam, c, 0)
	source := &offsets{Source: c}
	g.Source = source
	scratch := filepath.Join(t.TempDir(), "a")
	c.Body(torn(100))
	_, err := download(t.Context(), g, k, scratch)
	var broken *fetch.BrokenError
	require.ErrorAs(t, err, &broken)
	require.ErrorIs(t, err, errReset)
	require.ErrorContains(t, err, "what has come is kept in "+scratch+".part")
	kept, err := os.ReadFile(scratch + ".part")
	require.NoError(t, err)
	require.Equal(t, k.Sealed[:100], kept)
	c.Body(nil)
	plain, err := download(t.Context(), g, k, scratch)
	require.NoError(t, err)
	require.Equal(t, k.Plain, plain)
	require.Equal(t, []int64{0, 100}, source.from)
	require.NoFileExists(t, scratch+".part")
}

func TestM10_DownloadGoesOnByItselfWhileThereIsProgress(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cam, c, g := bench(t)
		k := upload(t, cam, c, 0)
		source := &offsets{Source: c}
		g.Source, g.Retries = source, 2
		c.Body(torn(90))
		plain, err := download(t.Context(), g, k, filepath.Join(t.TempDir(), "a"))
		require.NoError(t, err)
		require.Equal(t, k.Plain, plain)
		require.Equal(t, []int64{0, 90, 180}, source.from[:3])
		require.True(t, slices.IsSorted(source.from))

		source.from = nil
		c.Body(torn(0))
		_, err = download(t.Context(), g, k, filepath.Join(t.TempDir(), "b"))
		require.ErrorIs(t, err, errReset)
		require.Equal(t, []int64{0, 0, 0}, source.from)
	})
}

// Whatever lies where the download goes to: another clip's beginning, the whole
// clip, too much, rubbish.
func TestM10_P6_WhatLiesThereIsNotBelieved(t *testing.T) {
	t.Parallel()
	cam, c, g := bench(t)
	k := upload(t, cam, c, 0)
	for name, there := range map[string][]byte{
		"rubbish": bytes.Repeat([]byte("x"), 50), "all rubbish": bytes.Repeat([]byte("x"), len(k.Sealed)),
		"too much": append(bytes.Clone(k.Sealed), 'x'), "whole": k.Sealed, "nothing": {},
	} {
		scratch := filepath.Join(t.TempDir(), "a")
		require.NoError(t, os.WriteFile(scratch+".part", there, 0o600))
		plain, err := download(t.Context(), g, k, scratch)
		require.NoError(t, err, name)
		require.Equal(t, k.Plain, plain, name)
		require.NoFileExists(t, scratch+".part", name)
	}
}

// fullDisk takes some bytes.
type fullDisk struct{ room int }

var errFull = errors.New("no space left on device")

func (f *fullDisk) Write(b []byte) (int, error) {
	if f.room -= len(b); f.room < 0 {
		return 0, errFull
	}
	return len(b), nil
}

// A full disk where the film is to go costs no second download.
func TestM10_FullDiskKeepsWhatHasCome(t *testing.T) {
	t.Parallel()
	cam, c, g := bench(t)
	k := upload(t, cam, c, 0)
	clip, err := g.Manifest(t.Context(), k.Name)
	require.NoError(t, err)
	scratch := filepath.Join(t.TempDir(), "a")
	_, err = g.Clip(t.Context(), clip, &fullDisk{10}, scratch, "")
	require.ErrorIs(t, err, errFull)
	var refused *verify.Error
	require.False(t, errors.As(err, &refused))
	c.Fail(func(string, string) error { return fakecloud.ErrAway })
	var plain bytes.Buffer
	_, err = g.Clip(t.Context(), clip, &plain, scratch, "")
	require.NoError(t, err)
	require.Equal(t, k.Plain, plain.Bytes())
}

func TestM10_TwoProgramsDoNotWriteOneFile(t *testing.T) {
	t.Parallel()
	cam, c, g := bench(t)
	k := upload(t, cam, c, 0)
	scratch := filepath.Join(t.TempDir(), "a")
	var other error
	c.Body(func(_ string, r io.Reader) io.Reader {
		c2 := *g
		c2.Source = gone{}
		_, other = download(t.Context(), &c2, k, scratch)
		return r
	})
	_, err := download(t.Context(), g, k, scratch)
	require.NoError(t, err)
	require.ErrorContains(t, other, "another camctl is downloading to "+scratch+".part")
}

type gone struct{ fetch.Source }

func TestM10_RefusalIsNotTriedAgain(t *testing.T) {
	t.Parallel()
	cam, c, g := bench(t)
	k := upload(t, cam, c, 0)
	g.Retries = 5
	asked := 0
	c.Fail(func(string, string) error {
		asked++
		return &api.Error{Status: 403, Code: "forbidden", Message: "no"}
	})
	_, err := download(t.Context(), g, k, filepath.Join(t.TempDir(), "a"))
	require.ErrorContains(t, err, "no")
	require.Equal(t, 1, asked)
}
