package retry

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestR8_FullJitterDoublesToTheMaximum(t *testing.T) {
	t.Parallel()
	var most [12]time.Duration
	below := 0
	for range 2000 {
		var b Backoff
		for i := range most {
			w := b.Next()
			require.Less(t, w, min(time.Second<<i, 5*time.Minute))
			most[i] = max(most[i], w)
			if i == 0 && w < time.Second/2 {
				below++
			}
		}
		b.Reset()
		require.Less(t, b.Next(), time.Second)
	}
	for i, m := range most {
		require.Greater(t, m, min(time.Second<<i, 5*time.Minute)*9/10, "wait %d never comes near its span", i)
	}
	require.InDelta(t, 1000, below, 200, "not even")
	require.Less(t, (&Backoff{Min: time.Second, Max: time.Millisecond}).Next(), time.Millisecond)
}

func TestSleep(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		began := time.Now()
		require.NoError(t, Sleep(ctx, time.Hour, nil))
		require.Equal(t, time.Hour, time.Since(began))
		wake := make(chan struct{}, 1)
		wake <- struct{}{}
		require.NoError(t, Sleep(ctx, time.Hour, wake))
		cancel()
		require.ErrorIs(t, Sleep(ctx, time.Hour, nil), context.Canceled)
		require.Equal(t, time.Hour, time.Since(began))
	})
}
