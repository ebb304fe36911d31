package verify_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/cloud"

	"iid2secure.nl/camagent/cmd/camctl/internal/verify"
)

// ring makes manifest n of a stream; its hash is h<n>, unless said otherwise.
func ring(stream string, n uint64, prev, hash string) verify.Clip {
	return verify.Clip{Manifest: cloud.Manifest{Stream: stream, Sequence: n, Prev: prev}, Hash: hash}
}

func good(stream string, n uint64) verify.Clip {
	prev := ""
	if n > 1 {
		prev = fmt.Sprint("h", n-1)
	}
	return ring(stream, n, prev, fmt.Sprint("h", n))
}

func missing(c *verify.Chain) []verify.Missing {
	list, _ := c.Missing()
	return list
}

func TestChain_GapsInAnyOrder(t *testing.T) {
	t.Parallel()
	var c verify.Chain
	require.Empty(t, missing(&c))
	for _, n := range []uint64{5, 9, 2, 8} {
		require.Empty(t, c.Add(good("main", n)))
	}
	require.Empty(t, c.Add(good("sub", 1)))
	require.Equal(t, []verify.Missing{{Stream: "main", From: 1, To: 1}, {Stream: "main", From: 3, To: 4}, {Stream: "main", From: 6, To: 7}}, missing(&c))
	require.Equal(t, "main: clip 1 is missing", missing(&c)[0].String())
	require.Equal(t, "main: clips 3 to 4 are missing", missing(&c)[1].String())
	for _, n := range []uint64{7, 3, 6, 4, 1} {
		require.Empty(t, c.Add(good("main", n)))
	}
	require.Empty(t, missing(&c))
}

func TestChain_Contradictions(t *testing.T) {
	t.Parallel()
	var c verify.Chain
	require.Empty(t, c.Add(good("main", 1)))
	require.Empty(t, c.Add(good("main", 1)), "the same again is no fault")
	require.Equal(t, []string{"main: two different clips have the number 1"}, c.Add(ring("main", 1, "", "other")))
	require.Equal(t, []string{"main: clip 2 does not follow clip 1: the chain is broken"}, c.Add(ring("main", 2, "elsewhere", "h2")))

	require.Empty(t, c.Add(good("main", 5)))
	require.Equal(t, []string{"main: clip 5 does not follow clip 4: the chain is broken"}, c.Add(ring("main", 4, "h3", "other")))
}
