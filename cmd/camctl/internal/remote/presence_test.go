package remote

import (
	"crypto/ed25519"
	"testing"

	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/identity"
	"iid2secure.nl/camagent/cloud/seal"
)

// R2, S10: where the chains end is had of the broker, by the camera's signature alone.
func TestR2_S10_PresenceIsTheCamerasOwnWord(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	for name, tt := range map[string]struct {
		edit func(p *cloud.Presence)
		fail string
	}{
		"own":      {func(*cloud.Presence) {}, ""},
		"another":  {func(p *cloud.Presence) { p.BindID = "b" }, "another camera or binding"},
		"stranger": {nil, "signature"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			broker, _ := startBroker(t, a) // where only one is app-1
			c := newCamera(t, a, broker)
			signs, err := identity.NewSelfMade()
			require.NoError(t, err)
			target := c.target(a, broker)
			target.Camera.Signing, _ = signs.Signing.Public().(ed25519.PublicKey)
			p := cloud.Presence{Statement: cloud.Statement{V: 1, Serial: c.serial, Epoch: 1, BindID: c.bindID}, Online: true, Sequence: 3,
				Heads: map[string]cloud.ChainHead{"main": {Sequence: 7, Hash: "h"}}}
			if tt.edit != nil {
				tt.edit(&p)
			} else if signs, err = identity.NewSelfMade(); err != nil {
				t.Fatal(err)
			}
			token, err := seal.Sign(cloud.TypPresence, signs.Signing, p)
			require.NoError(t, err)
			c.mu.Lock()
			c.presence = []byte(token)
			c.mu.Unlock()
			c.online()
			c.link.RefreshPresence()
			b, err := Connect(t.Context(), target.Home, target.Account, patience)
			require.NoError(t, err)
			defer b.Close()
			got, err := b.Presence(t.Context(), target.Camera)
			if tt.fail != "" {
				require.ErrorContains(t, err, tt.fail)
				return
			}
			require.NoError(t, err)
			require.Equal(t, p, got)
		})
	}
}
