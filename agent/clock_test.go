package agent

import (
	"cmp"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/clock"
	"iid2secure.nl/camagent/cloud/seal"
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
		require.Equal(t, "2026-01-01T00:00:00Z", list[0].Since)
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

// movedKernel is the system's, with a wall-clock that can be moved.
type movedKernel struct {
	clock.System
	by     time.Duration
	synced bool
	asleep time.Duration
}

func (k *movedKernel) Wall() time.Time               { return time.Now().Add(k.by) }
func (k *movedKernel) Synced() (bool, time.Duration) { return k.synced, time.Millisecond }
func (k *movedKernel) Uptime() time.Duration         { return k.System.Uptime() + k.asleep }
func (k *movedKernel) Asleep() time.Duration         { return k.asleep }

// While clips are open the clock is set from 1970 to now, a day back, a day ahead
// and right again, and the device sleeps.
func TestM10_StepsTearNoClipAndClipsAreDatedAnew(t *testing.T) {
	t.Parallel()
	b := newStoreBench(t)
	b.start()
	const aDay = 24 * time.Hour
	k := &movedKernel{by: -time.Since(time.Unix(0, 0))}
	var err error
	b.store.clock, err = clock.OpenWith(b.state(""), firstBuild(), k)
	require.NoError(t, err)
	steps := []func(){
		func() { b.clip() }, // one more that begins and ends without a clock
		func() { k.by, k.synced = 0, true },
		func() { k.by = -aDay },
		func() { k.by = aDay; k.synced = false },
		func() { k.by = 0; k.asleep += time.Hour },
		func() { k.synced = true },
		func() {},
	}
	before := time.Now().Add(-time.Second)
	for _, step := range steps {
		sink := b.create()
		b.fragments(sink, 1, 500)
		step()
		b.fragments(sink, 1, 500)
		require.NoError(t, sink.Close(b.info(50)))
		b.frame += 50
	}

	bySequence := map[uint64]cloud.ClipDetails{}
	manifests := map[uint64]cloud.Manifest{}
	names := map[string]bool{}
	tokens := map[uint64]string{}
	for _, name := range b.names() {
		m, d := b.manifest(name)
		require.False(t, names[m.Name])
		names[m.Name], bySequence[m.Sequence], manifests[m.Sequence] = true, d, m
		tokens[m.Sequence] = string(b.read(name + cloud.ExtManifest))
	}
	require.Len(t, bySequence, len(steps)+1)
	var list []cloud.ClipDetails
	for i := uint64(1); i <= uint64(len(bySequence)); i++ {
		require.Equal(t, seal.Hash(tokens[i]), cmp.Or(manifests[i+1].Prev, seal.Hash(tokens[i])), "the chain of %d", i)
		d := bySequence[i]
		require.Equal(t, 2*time.Second, time.Duration(d.DurationMS)*time.Millisecond)
		require.False(t, d.Cut)
		require.Equal(t, manifests[i].Name[:len("20260102T030405.000Z")], nameTime(t, d.Started))
		list = append(list, d)
	}
	for i, dated := range clock.Redate(list) {
		require.Equal(t, dated.Redated, !list[i].Clock.Synced, i)
		require.True(t, dated.Clock.Synced, "each boot has one whose clock was right")
	}
	first := clock.Redate(list)[0]
	require.WithinRange(t, first.Started, before, time.Now())
}

func nameTime(t *testing.T, started string) string {
	at, err := time.Parse(time.RFC3339, started)
	require.NoError(t, err)
	return cloud.ClipTime(at)
}
