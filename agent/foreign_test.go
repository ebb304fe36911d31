package agent

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/cloud"
)

// R2: the card of another camera: nothing of it is offered for upload, its cut
// clip stays, and the owner is told; back in its camera it is as if it had never left.
func TestR2_P7_CardOfAnotherCamera(t *testing.T) {
	t.Parallel()
	a := newStoreBench(t)
	a.start()
	closed := a.clip()
	k := a.create()
	a.fragments(k, 10, 100<<10)
	a.cut()

	b := newStoreBench(t)
	require.NoError(t, os.Rename(a.cardDir(), b.cardDir()))
	b.start()
	require.FileExists(t, filepath.Join(b.cardDir(), "open", k.name+cloud.ExtClip+".part"))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := b.store.card.Next(ctx)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, b.store.foreign(), "the card holds 2 clips")
	b.cut()

	require.NoError(t, os.Rename(b.cardDir(), a.cardDir()))
	a.start()
	require.Equal(t, []string{closed, k.name}, a.names())
	require.NoError(t, a.store.foreign())
}

// R2: what lies on a card that was taken out is not signed as lost; back again, it
// is found. What that card has not, is told of as soon as it is back.
func TestR2_NoGapForWhatIsOnAnotherCard(t *testing.T) {
	t.Parallel()
	b := newStoreBench(t)
	b.start()
	there := b.clip()
	b.cut() // the file does not tell yet that it has arrived
	away := b.cardDir() + ".away"
	require.NoError(t, os.Rename(b.cardDir(), away))
	b.start()
	list, _ := b.gapsOnCard()
	require.Empty(t, list)
	b.clip()
	b.cut()
	require.NoError(t, os.Rename(b.cardDir(), b.cardDir()+".other"))
	require.NoError(t, os.Rename(away, b.cardDir()))
	b.start()
	list, _ = b.gapsOnCard()
	require.Empty(t, list)
	require.Equal(t, []string{there}, b.names())
}

// R2: a card that does not answer is not taken for one that lacks a clip.
func TestR2_NoGapFromACardThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	b := newStoreBench(t)
	b.start()
	name := b.clip()
	b.cut()
	b.open()
	hours, err := filepath.Glob(filepath.Join(b.cardDir(), "pending", "routine", "*"))
	require.NoError(t, err)
	path := filepath.Join(hours[0], name+cloud.ExtManifest)
	token, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.Remove(path))
	require.NoError(t, os.Mkdir(path, 0o700)) // can be opened, not read
	require.Error(t, b.store.tellGaps())
	require.NoError(t, os.Remove(path))
	require.NoError(t, os.WriteFile(path, token, 0o600))
	b.store.patience = patience{}
	require.NoError(t, b.store.tellGaps())
	list, _ := b.gapsOnCard()
	require.Empty(t, list)
}

// R2: a clip that was uploaded and given up within moments is no cut one at the next start.
func TestR2_NoGapForWhatTheStoreHas(t *testing.T) {
	t.Parallel()
	b := newStoreBench(t)
	b.limit = 100_000
	b.start()
	b.clip()
	o, err := b.store.card.Next(t.Context())
	require.NoError(t, err)
	require.NoError(t, b.store.card.Release(o))
	f, err := b.store.card.Create(cloud.ClipName(time.Now()))
	require.NoError(t, err)
	_, err = f.Write(make([]byte, 99_900)) // makes room
	require.NoError(t, err)
	require.False(t, b.store.card.Has(o.Name))
	b.cut()
	b.start()
	list, _ := b.gapsOnCard()
	require.Empty(t, list)
}
