package agent

import (
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/cloud"
)

// settled lets the state folder tell that all has arrived, and ends the run.
func (b *storeBench) settled() {
	b.t.Helper()
	require.NoError(b.t, b.store.chains.write(b.store.chains.state))
	b.cut()
}

// tellAll tells of what was dropped without waiting for more.
func (b *storeBench) tellAll() {
	b.t.Helper()
	b.store.gaps.heard[gapKey{Reason: cloud.GapRetention}] = time.Now().Add(-time.Hour)
	require.NoError(b.t, b.store.tellGaps())
}

// S10, R2: what somebody takes from the card, or the card loses, is not signed as
// given up.
func TestS10_R2_ClipThatWasTakenIsSignedAsLost(t *testing.T) {
	t.Parallel()
	for name, take := range map[string]func(b *storeBench, clip, manifest string){
		"the clip": func(b *storeBench, clip, _ string) { require.NoError(b.t, os.Remove(clip)) },
		"the clip, its manifest to dropped/": func(b *storeBench, clip, manifest string) {
			require.NoError(b.t, os.Remove(clip))
			to := filepath.Join(b.cardDir(), "dropped", filepath.Base(filepath.Dir(clip)))
			require.NoError(b.t, os.MkdirAll(to, 0o700))
			require.NoError(b.t, os.Rename(manifest, filepath.Join(to, filepath.Base(manifest))))
		},
		"a copy of its manifest in dropped/": func(b *storeBench, clip, manifest string) {
			to := filepath.Join(b.cardDir(), "dropped", filepath.Base(filepath.Dir(clip)))
			require.NoError(b.t, os.MkdirAll(to, 0o700))
			token, err := os.ReadFile(manifest)
			require.NoError(b.t, err)
			require.NoError(b.t, os.WriteFile(filepath.Join(to, filepath.Base(manifest)), token, 0o600))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newStoreBench(t)
			b.start()
			b.clip()
			gone := b.clip()
			b.clip()
			b.settled()
			paths, err := filepath.Glob(filepath.Join(b.cardDir(), "pending", "*", "*", gone+".*"))
			require.NoError(t, err)
			require.Len(t, paths, 2)
			take(b, paths[1], paths[0])
			b.start()
			b.tellAll()
			list, _ := b.gapsOnCard()
			require.Len(t, list, 1)
			require.Equal(t, cloud.GapLost, list[0].Reason)
			require.Equal(t, []cloud.Span{{From: 2, To: 2}}, list[0].Missing)
		})
	}
}

// R2: what was given up is signed as such, though the power was cut before it was told.
func TestR2_ClipGivenUpBeforeACutIsRetention(t *testing.T) {
	t.Parallel()
	b := newStoreBench(t)
	b.limit = 12_000
	synctest.Test(t, func(t *testing.T) {
		b.t = t
		b.start()
		for range 6 {
			b.clip()
		}
		dropped, err := b.store.card.Dropped()
		require.NoError(t, err)
		require.NotEmpty(t, dropped)
		b.settled()
		b.limit = 0
		b.start()
		b.tellAll()
		list, _ := b.gapsOnCard()
		require.Len(t, list, 1)
		require.Equal(t, cloud.GapRetention, list[0].Reason)
		require.Equal(t, []cloud.Span{{From: 1, To: uint64(len(dropped))}}, list[0].Missing)
		require.Empty(t, b.store.given.names)
		text, err := os.ReadFile(b.state("given-up"))
		require.NoError(t, err)
		require.Empty(t, text)
	})
}

// S10: a clip that was to be given up and is there after all, because the power was
// cut, is not excused for later.
func TestS10_GivenUpExcusesNothingThatIsThere(t *testing.T) {
	t.Parallel()
	b := newStoreBench(t)
	b.start()
	name := b.clip()
	require.NoError(t, b.store.leaving(name))
	require.True(t, b.store.given.has(name))
	b.settled()
	b.start()
	require.False(t, b.store.given.has(name))
	b.store.leaving("not-a-clip.jpg.age")
	require.Empty(t, b.store.given.names)
}

// R2: a line that a cut tore is left out, and spoils none that follows.
func TestR2_NamesGivenUpSurviveACut(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	warn := func(err error) { require.NoError(t, err) }
	var names []string
	for range 4 {
		names = append(names, cloud.ClipName(time.Now()))
	}
	g := openGiven(dir, warn)
	require.NoError(t, g.add(names[0], "card"))
	require.NoError(t, g.add(names[1], ""))
	f, err := os.OpenFile(g.path, os.O_WRONLY|os.O_APPEND, 0)
	require.NoError(t, err)
	_, err = f.WriteString(names[2] + " ca")
	require.NoError(t, err)
	require.NoError(t, f.Close())
	g = openGiven(dir, warn)
	require.Equal(t, map[string]string{names[0]: "card", names[1]: ""}, g.names)
	require.NoError(t, g.add(names[3], "card"))
	require.NoError(t, g.add(names[2], "card"))
	require.Len(t, openGiven(dir, warn).names, 4)

	require.NoError(t, os.RemoveAll(dir))
	next := cloud.ClipName(time.Now())
	require.Error(t, g.add(next, "card"))
	require.False(t, g.has(next), "it stays on the card")
}

// R2, P7: what another camera, or this one for an earlier owner, has given up is
// neither told nor forgotten.
func TestR2_P7_DroppedOfAnEarlierOwnerStays(t *testing.T) {
	t.Parallel()
	b := newStoreBench(t)
	b.start()
	name := b.clip()
	token := b.read(name + cloud.ExtManifest)
	b.cut()
	b.again()
	dir := filepath.Join(b.cardDir(), "dropped", name[:8]+name[9:11])
	require.NoError(t, os.MkdirAll(dir, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, name[:21]+"aaaaaaaa"+cloud.ExtManifest), token, 0o600))
	b.start()
	b.tellAll()
	list, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, list, 1)
	gaps, _ := b.gapsOnCard()
	require.Empty(t, gaps)
}
