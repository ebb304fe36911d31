package agent

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/agent/command"
	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/seal"
)

// signNext signs a statement whose text is its name.
func signNext(t *testing.T, c *chains, bindID, stream, name string) (number, string) {
	t.Helper()
	before := ""
	token, n, err := c.sign(bindID, stream, name, func(_ uint64, prev string) (string, string, error) {
		before = prev
		return name, "hash of " + name, nil
	})
	require.NoError(t, err)
	require.Equal(t, name, token)
	return n, before
}

func openTestChains(t *testing.T, dir string) *chains {
	t.Helper()
	c, err := openChains(dir, "b1")
	require.NoError(t, err)
	return c
}

func TestM3_ChainNeverUsesASequenceTwiceAndEndsWithTheBinding(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c, err := openChains(dir, "")
	require.NoError(t, err)
	require.NoError(t, c.begin("b1"))
	for i, want := range []string{"", "hash of x", "hash of x"} {
		n, before := signNext(t, c, "b1", "main", "x")
		require.Equal(t, number{Stream: "main", Sequence: uint64(i + 1), Name: "x"}, n)
		require.Equal(t, want, before)
		c = openTestChains(t, dir) // the program is started anew
	}
	n, before := signNext(t, c, "b1", "sub", "y")
	require.Equal(t, number{Stream: "sub", Sequence: 1, Name: "y"}, n)
	require.Empty(t, before)
	n, before = signNext(t, c, "b2", "main", "z")
	require.Equal(t, number{Stream: "main", Sequence: 1, Name: "z"}, n)
	require.Empty(t, before)
	require.Equal(t, map[string]command.ChainHead{"main": {Sequence: 1, Hash: "hash of z"}}, c.heads("b2"))
	require.Empty(t, c.heads("b1"))
}

// R2: what was signed and never said to be on the card is known after any cut.
func TestR2_NumbersOnTheirWayAreRemembered(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c, err := openChains(dir, "")
	require.NoError(t, err)
	a, _ := signNext(t, c, "b1", "main", "a")
	c.done(a, nil)
	b, _ := signNext(t, c, "b1", "main", "b")
	c.done(b, errors.New("card full"))
	d, _ := signNext(t, c, "b1", "main", "d")

	list, failed := c.missing("b1")
	require.Equal(t, []number{b}, list, "d is on its way")
	require.True(t, failed[b])
	list, failed = openTestChains(t, dir).missing("b1")
	require.Equal(t, []number{b, d}, list)
	require.False(t, failed[b], "of an earlier run it isn't known why")
	list, _ = c.missing("b2")
	require.Empty(t, list)

	require.NoError(t, c.told([]number{b}))
	list, _ = c.missing("b1")
	require.Empty(t, list)
}

func TestChainsAreTidiedWhenNothingIsSigned(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c, err := openChains(dir, "")
	require.NoError(t, err)
	synctest.Test(t, func(t *testing.T) {
		n, _ := signNext(t, c, "b1", "main", "a")
		c.done(n, nil)
		require.NoError(t, c.tidy())
		list, _ := openTestChains(t, dir).missing("b1")
		require.Len(t, list, 1, "a write is spared")
		time.Sleep(tidyAfter)
		require.NoError(t, c.tidy())
		list, _ = openTestChains(t, dir).missing("b1")
		require.Empty(t, list)
	})
}

func TestChainFileThatCannotBeReadIsAnError(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "chains.json"), 0o700))
	_, err := openChains(dir, "")
	require.ErrorContains(t, err, "chains.json")
}

// M3: a lost file is a condition, and the chain goes on from what the card tells.
func TestM3_LostChainsGoOnFromTheCard(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(path string) error{
		"missing": os.Remove,
		"damaged": func(path string) error { return os.WriteFile(path, []byte("{"), 0o600) },
		"old": func(path string) error {
			return os.WriteFile(path, []byte(`{"bind_id":"`+filepath.Base(filepath.Dir(path))+`"}`), 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newStoreBench(t)
			b.start()
			for range 3 {
				b.clip()
			}
			last := b.read(b.names()[2] + cloud.ExtManifest)
			b.cut()
			require.NoError(t, lose(b.state("chains.json")))
			b.start()
			require.Equal(t, []string{"chain"}, codes(b.store.health))
			m, _ := b.manifest(b.clip())
			require.Equal(t, uint64(4), m.Sequence)
			require.Equal(t, seal.Hash(string(last)), m.Prev)
			b.cut()
			b.start()
			require.Empty(t, codes(b.store.health))
		})
	}
}

// Nothing is signed as long as nobody knows the numbers.
func TestM3_LostChainsWaitForTheCard(t *testing.T) {
	t.Parallel()
	b := newStoreBench(t)
	require.NoError(t, os.Remove(b.state("chains.json")))
	b.open()
	k := b.create()
	require.ErrorContains(t, k.Close(b.info(1)), "the numbers of clips are lost")
	require.NoError(t, b.store.tend(false))
	m, _ := b.manifest(b.clip())
	require.Equal(t, uint64(1), m.Sequence)
	require.Equal(t, []string{"chain"}, codes(b.store.health), "it may be the second one with this number")
}

// M3, R3: a card that can't be read at first is compared with the chains once it can be.
func TestM3_R3_ChainsAreComparedOnceTheCardCanBeRead(t *testing.T) {
	t.Parallel()
	b := newStoreBench(t)
	b.start()
	for range 3 {
		b.clip()
	}
	b.cut()
	_, bindID, _ := b.binding.Binding()
	require.NoError(t, os.WriteFile(b.state("chains.json"), []byte(`{"bind_id":"`+bindID+`"}`), 0o600)) // an old one
	hours, err := filepath.Glob(filepath.Join(b.cardDir(), "pending", "*", "*"))
	require.NoError(t, err)
	require.NotEmpty(t, hours)
	b.open()
	for _, h := range hours {
		require.NoError(t, os.Rename(h, h+".away"))
		require.NoError(t, os.WriteFile(h, nil, 0o600))
	}
	require.Error(t, b.store.tend(true))
	for _, h := range hours {
		require.NoError(t, os.Remove(h))
		require.NoError(t, os.Rename(h+".away", h))
	}
	require.NoError(t, b.store.tend(false))
	require.Equal(t, []string{"chain"}, codes(b.store.health))
	m, _ := b.manifest(b.clip())
	require.Equal(t, uint64(4), m.Sequence)
}
