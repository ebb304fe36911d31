package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/agent/command"
	"iid2secure.nl/camagent/cloud"
)

func TestP10_M10_StatusTellsTheSiteAndHowFarTheClockCanBeTrusted(t *testing.T) {
	t.Parallel()
	for want, s := range map[string]command.SiteStatus{
		"none yet":                            {},
		"frankfurt":                           {Name: "frankfurt", Home: "frankfurt"},
		"frankfurt, pinned":                   {Name: "frankfurt", Home: "singapore", Pinned: true},
		"beijing, as home is away: frankfurt": {Name: "beijing", Home: "frankfurt"},
	} {
		require.Equal(t, want, siteText(s))
	}
	require.Equal(t, ", not synchronised", clockText(cloud.Clock{}))
	require.Equal(t, ", synchronised to 12 ms", clockText(cloud.Clock{Synced: true, UncertaintyMS: 12}))
}
