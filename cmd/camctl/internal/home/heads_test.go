package home

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/agent/command"
	"iid2secure.nl/camagent/cloud/bind"
)

// R2: what a camera has told of its chains is never taken back by less, and belongs
// to one binding.
func TestR2_NewestHeadsAreKept(t *testing.T) {
	t.Parallel()
	h := New(t.TempDir())
	cam := Camera{Camera: bind.Camera{Serial: "0123456789ABCDEF", BindID: "a"}}
	type heads = map[string]command.ChainHead
	got, err := h.Heads(cam)
	require.NoError(t, err)
	require.Empty(t, got)
	require.NoError(t, h.SawHeads(cam, heads{"main": {Sequence: 7, Hash: "seven"}}))
	require.NoError(t, h.SawHeads(cam, heads{"main": {Sequence: 6, Hash: "six"}, "sub": {Sequence: 1, Hash: "one"}}))
	got, err = h.Heads(cam)
	require.NoError(t, err)
	require.Equal(t, heads{"main": {Sequence: 7, Hash: "seven"}, "sub": {Sequence: 1, Hash: "one"}}, got)

	again := cam
	again.BindID = "b"
	got, err = h.Heads(again)
	require.NoError(t, err)
	require.Empty(t, got, "of the binding before")
	require.NoError(t, h.SawHeads(again, heads{"main": {Sequence: 1, Hash: "first"}}))
	got, err = h.Heads(again)
	require.NoError(t, err)
	require.Equal(t, heads{"main": {Sequence: 1, Hash: "first"}}, got)

	require.NoError(t, os.WriteFile(h.headsPath(cam), []byte("{"), 0o600))
	_, err = h.Heads(again)
	require.ErrorContains(t, err, "can't be read")
	require.NoError(t, h.SawHeads(again, heads{"main": {Sequence: 2}}))
}
