package agent

import (
	"context"
	"crypto/ed25519"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/identity"
	"iid2secure.nl/camagent/cloud/seal"
)

// R2: the signed presence says where the chains of this binding end.
func TestR2_PresenceTellsWhereTheChainsEnd(t *testing.T) {
	t.Parallel()
	id, err := identity.NewSelfMade()
	require.NoError(t, err)
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		a := &Agent{log: zap.NewNop(), id: id, binding: boundStore(t, ctx, id, dir)}
		_, bindID, _ := a.binding.Binding()
		a.chains, err = openChains(dir, "")
		require.NoError(t, err)
		presence := func() (p cloud.Presence) {
			t.Helper()
			key, _ := id.Signing.Public().(ed25519.PublicKey)
			require.NoError(t, seal.Verify(cloud.TypPresence, key, string(a.presenceStatement(false)), &p))
			return p
		}
		signNext(t, a.chains, "another binding", "main", "x")
		require.Empty(t, presence().Heads)
		signNext(t, a.chains, bindID, "main", "a")
		signNext(t, a.chains, bindID, "main", "b")
		p := presence()
		require.Equal(t, map[string]cloud.ChainHead{"main": {Sequence: 2, Hash: "hash of b"}}, p.Heads)
		require.Equal(t, bindID, p.BindID)
		require.False(t, p.Online)
	})
}
