package s3dev

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestToolsDir(t *testing.T) {
	t.Parallel()
	dir, err := toolsDir()
	require.NoError(t, err)
	require.FileExists(t, dir+"/go.mod")
}

func TestMissingBinaryIsOneClearLine(t *testing.T) {
	t.Setenv("VERSITYGW", "/nowhere/versitygw")
	_, err := Binary(t.Context())
	require.EqualError(t, err, "VERSITYGW: stat /nowhere/versitygw: no such file or directory")
	_, err = Start(t.Context(), Options{Dir: t.TempDir(), Binary: "/bin/false", CertFile: "x", KeyFile: "y", Addr: "127.0.0.1:1"})
	require.ErrorIs(t, err, errPort)
}
