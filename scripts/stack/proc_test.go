package stack

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestStopOfAProgramThatDoesNotListen(t *testing.T) {
	t.Parallel()
	p, err := startProc(t.TempDir(), "sleep", "sleep", nil, "100")
	require.NoError(t, err)
	require.NoError(t, p.Stop(), "it ended as it was told")
	require.NoError(t, p.Stop())

	p, err = startProc(t.TempDir(), "false", "false", nil)
	require.NoError(t, err)
	<-p.Done()
	require.ErrorContains(t, p.Stop(), "false ended: exit status 1")
}

func TestProgramThatEndsBeforeItIsReadyTellsWhy(t *testing.T) {
	t.Parallel()
	p, err := startProc(t.TempDir(), "sh", "sh", nil, "-c", "echo one; echo the reason >&2; exit 1")
	require.NoError(t, err)
	err = until(t.Context(), p, func() bool { return false })
	require.ErrorIs(t, err, errEnded)
	require.ErrorContains(t, err, ": the reason: see ")
}
