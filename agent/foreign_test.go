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
