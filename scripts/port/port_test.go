package port

import (
	"net"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFreeIsBelowThePortsOfOutgoingConnections(t *testing.T) {
	t.Parallel()
	for range 20 {
		addr, err := Free()
		require.NoError(t, err)
		host, text, err := net.SplitHostPort(addr)
		require.NoError(t, err)
		require.Equal(t, "127.0.0.1", host)
		n, err := strconv.Atoi(text)
		require.NoError(t, err)
		require.Less(t, n, 32768)
		require.Greater(t, n, 1023)
	}
}
