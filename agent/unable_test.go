package agent

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"iid2secure.nl/camagent/agent/command"
	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/hal/sim"
)

// bare is a camera of nothing but video.
func bare(t *testing.T) *Agent {
	t.Helper()
	a, err := New(testConfig(t), hal.NewCamera(struct{ hal.Board }{sim.New(sim.Config{})}), zap.NewNop())
	require.NoError(t, err)
	t.Cleanup(func() { a.board.Close(); a.close() })
	return a
}

func TestM1_M5_CommandOfAnotherCameraIsRefusedByName(t *testing.T) {
	t.Parallel()
	a := bare(t)
	x, err := command.NewExecutor(func(string, cloud.Permission) bool { return true }, a.able, a.handlers())
	require.NoError(t, err)
	needs := 0
	for _, e := range command.All() {
		if e.Needs == "" {
			continue
		}
		needs++
		r := x.Execute(t.Context(), "owner", cloud.Command{ID: "1", Name: e.Name, Args: json.RawMessage(`{"stream":"main"}`)})
		require.NotNil(t, r.Error, e.Name)
		require.Equal(t, cloud.CodeUnable, r.Error.Code)
		require.Equal(t, e.Name+": this camera can't do "+e.Needs, r.Error.Message)
	}
	require.NotZero(t, needs, "no command needs a capability")
}

func TestM1_M5_StatusListsWhatTheCameraCanDo(t *testing.T) {
	t.Parallel()
	a := bare(t)
	st, err := a.statusGet(t.Context(), "owner", command.None{})
	require.NoError(t, err)
	require.Equal(t, []hal.Capability{{Name: hal.CapMotion, By: "frame sizes"}}, st.Capabilities)
	full := testAgent(t, testConfig(t))
	t.Cleanup(func() { full.board.Close(); full.close() })
	st, err = full.statusGet(t.Context(), "owner", command.None{})
	require.NoError(t, err)
	require.Contains(t, st.Capabilities, hal.Capability{Name: hal.CapSnapshot})
}
