package agent

import (
	"crypto/tls"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"iid2secure.nl/camagent/agent/command"
	"iid2secure.nl/camagent/cloud/bind"
	"iid2secure.nl/camagent/cloud/identity"
	"iid2secure.nl/camagent/config"
)

func TestP10_StatusTellsTheSiteIfThereAreSeveral(t *testing.T) {
	t.Parallel()
	id, err := identity.NewSelfMade()
	require.NoError(t, err)
	open := func(c config.Cloud) (*Agent, error) {
		a := &Agent{log: zap.NewNop(), health: newHealth(zap.NewNop()), cfg: config.Config{StateDir: t.TempDir(), Cloud: c}}
		a.binding, err = bind.Open(a.cfg.StateDir, id)
		require.NoError(t, err)
		require.NoError(t, a.openClock())
		return a, a.openSite(&tls.Config{})
	}
	a, err := open(config.Cloud{Broker: "one:1", Site: config.SiteAuto})
	require.NoError(t, err)
	require.Equal(t, "one:1", a.site.Choose(t.Context()))
	require.Nil(t, a.siteStatus())
	require.Nil(t, (&Agent{}).siteStatus(), "no cloud at all")

	two := []config.Site{{Name: "beijing", Broker: "b:1"}, {Name: "frankfurt", Broker: "f:1"}}
	a, err = open(config.Cloud{Sites: two, Site: "frankfurt"})
	require.NoError(t, err)
	require.Equal(t, "f:1", a.site.Choose(t.Context()))
	require.Equal(t, &command.SiteStatus{Name: "frankfurt", Pinned: true, Times: map[string]int64{}}, a.siteStatus())

	_, err = open(config.Cloud{Sites: two, Site: "singapore"})
	require.ErrorContains(t, err, "singapore")
}
