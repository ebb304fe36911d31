package agent

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"iid2secure.nl/camagent/cloud/clock"
)

// The clock of a bubble stands at 2000, before this program was thought of.
func TestS9_WrongClockIsToldAndItsTimeIsKeptSeldom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		a := &Agent{log: zap.NewNop(), health: newHealth(zap.NewNop())}
		a.cfg.StateDir = dir
		require.NoError(t, a.openClock())
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- a.keepClock(ctx) }()
		synctest.Wait()
		list := a.health.conditions()
		require.Len(t, list, 1)
		require.Equal(t, "clock", list[0].Code)
		require.Contains(t, list[0].Message, "the clock says 2000-01-01")
		_, right := a.expiryClock()
		require.False(t, right, "whose membership ends is not let in")

		path := filepath.Join(dir, "clock.json")
		kept := func() bool {
			synctest.Wait()
			_, err := os.Stat(path)
			os.Remove(path)
			return err == nil
		}
		time.Sleep(59 * time.Second)
		require.False(t, kept())
		time.Sleep(time.Second)
		require.True(t, kept(), "after a minute")
		for range 3 {
			time.Sleep(59 * time.Minute)
			require.False(t, kept(), "at most once an hour")
			time.Sleep(time.Minute)
			require.True(t, kept())
		}
		time.Sleep(5 * time.Minute)
		cancel()
		<-done
		c, err := clock.Open(dir, firstBuild())
		require.NoError(t, err)
		require.Equal(t, a.clock.Now(), c.Now(), "and at the end")
		require.Equal(t, firstBuild().Add(3*time.Hour+6*time.Minute), c.Now())
	})
}

func TestS9_BuildTime(t *testing.T) {
	t.Parallel()
	first := firstBuild()
	for _, c := range []struct {
		texts string
		want  string
	}{
		{"", "2026-01-01T00:00:00Z"},
		{"2026-08-01T12:00:00+02:00", "2026-08-01T10:00:00Z"},
		{"2026-08-01T12:00:00Z 2026-09-01T12:00:00Z", "2026-09-01T12:00:00Z"},
		{"2026-09-01T12:00:00Z 2026-08-01T12:00:00Z", "2026-09-01T12:00:00Z"},
		{"1970-01-01T00:00:00Z soon", "2026-01-01T00:00:00Z"},
	} {
		require.Equal(t, c.want, latest(first, strings.Fields(c.texts)...).Format(time.RFC3339), c.texts)
	}
	require.False(t, BuildTime().Before(first))
	require.True(t, BuildTime().Before(time.Now()))
}
