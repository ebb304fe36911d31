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
	var longest time.Duration
	below := 0
	for range 2000 {
		var b Backoff
		var waited time.Duration
		for i := range 60 {
			w := b.Next()
			require.Less(t, w, min(max(time.Second, 2*waited), 5*time.Minute), "longer than twice the outage")
			if waited > 10*time.Minute {
				longest = max(longest, w)
			}
			waited += w
			if i == 0 && w < time.Second/2 {
				below++
			}
		}
		require.Greater(t, waited, 20*time.Minute, "it does not grow")
		b.Reset()
		require.Less(t, b.Next(), time.Second)
	}
	require.Greater(t, longest, 5*time.Minute*9/10, "a wait never comes near its span")
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

func TestChange(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		began := time.Now()
		require.NoError(t, Change(ctx, nil, time.Hour))
		require.Equal(t, time.Hour, time.Since(began))
		changed := make(chan struct{})
		time.AfterFunc(2*time.Hour, func() { close(changed) })
		require.NoError(t, Change(ctx, changed, 0))
		require.Equal(t, 3*time.Hour, time.Since(began), "no time, and it waits for the change alone")
		time.AfterFunc(time.Hour, cancel)
		require.ErrorIs(t, Change(ctx, nil, 0), context.Canceled)
		require.Equal(t, 4*time.Hour, time.Since(began))
	})
}
