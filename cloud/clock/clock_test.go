package clock

import (
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"iid2secure.nl/camagent/cloud"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// kernel is one whose every word can be changed. Its wall-clock goes on from set.
type kernel struct {
	set    time.Time
	at     time.Time
	synced bool
	asleep time.Duration
	began  time.Time
}

func newKernel(wall time.Time) *kernel {
	now := time.Now()
	return &kernel{set: wall, at: now, began: now.Add(-10 * time.Second)}
}

// put sets the wall-clock.
func (k *kernel) put(t time.Time, synced bool) { k.set, k.at, k.synced = t, time.Now(), synced }

// step moves the wall-clock by d.
func (k *kernel) step(d time.Duration) { k.put(k.Wall().Add(d), k.synced) }

// sleep suspends the device; the wall-clock is kept going by its quartz.
func (k *kernel) sleep(d time.Duration) { k.asleep += d; k.set = k.set.Add(d) }

func (k *kernel) Wall() time.Time               { return k.set.Add(time.Since(k.at)) }
func (k *kernel) Synced() (bool, time.Duration) { return k.synced, 7 * time.Millisecond }
func (k *kernel) Uptime() time.Duration         { return time.Since(k.began) + k.asleep }
func (k *kernel) Asleep() time.Duration         { return k.asleep }
func (k *kernel) BootID() string                { return "60645db1-d9ea-4f46-9822-27cac8c58cd9" }

func day(y int, m time.Month, d int) time.Time { return time.Date(y, m, d, 0, 0, 0, 0, time.UTC) }

var (
	epoch = time.Unix(0, 0)
	built = day(2026, 5, 1)
)

func open(t *testing.T, dir string, k Kernel) *Clock {
	t.Helper()
	c, err := OpenWith(dir, built, k)
	require.NoError(t, err)
	return c
}

func TestS9_TimeIsNeverBeforeTheFloorAndGoesOnFromStartToStart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		k := newKernel(epoch)
		c := open(t, dir, k)
		require.Equal(t, built, c.Now(), "not set: the build's time")
		require.ErrorContains(t, c.Wrong(), "1970-01-01 00:00:00 and can't be right")
		time.Sleep(time.Hour)
		require.Equal(t, built.Add(time.Hour), c.Now())
		k.synced = true
		require.Equal(t, cloud.Clock{}, c.Trust(), "a clock before the floor is not synchronised, whoever says so")

		require.NoError(t, c.Save())
		require.Equal(t, built.Add(time.Hour), open(t, dir, newKernel(epoch)).Now(), "it goes on where it was")

		k.put(day(2026, 7, 1), false)
		require.Equal(t, day(2026, 7, 1), c.Now(), "a later clock is as good as any, if it is not synchronised")
		require.Equal(t, cloud.Clock{}, c.Trust())
		require.NoError(t, c.Wrong())
		k.synced = true
		require.Equal(t, cloud.Clock{Synced: true, UncertaintyMS: 7}, c.Trust())

		require.True(t, c.Plausible())
		k.put(day(2026, 4, 1), true)
		require.False(t, c.Plausible(), "before the floor")

		k.put(day(2099, 1, 1), false)
		require.True(t, c.Plausible())
		require.Equal(t, day(2099, 1, 1), c.Now())
		require.NoError(t, c.Save())
		c = open(t, dir, newKernel(epoch))
		require.Equal(t, built.Add(time.Hour), c.Now(), "what a lying clock said is not kept")
	})
}

func TestS9_FileThatIsDamagedIsAsNone(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "{", "[]", `{"v":1,"floor":"soon"}`, `{"v":1,"floor":7}`, `{"v":2,"floor":"2090-01-01T00:00:00Z"}`} {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, fileName), []byte(text), 0o600))
		c := open(t, dir, newKernel(epoch))
		require.WithinDuration(t, built, c.Now(), time.Minute, text)
	}
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, fileName), 0o700))
	_, err := OpenWith(dir, built, System{})
	require.ErrorContains(t, err, fileName)
}

// The clock is set by a day in both directions, with frames of before and after.
func TestM10_StepsMoveAllMomentsAlike(t *testing.T) {
	t.Parallel()
	for _, step := range []time.Duration{24 * time.Hour, -24 * time.Hour, time.Second, -time.Second} {
		synctest.Test(t, func(t *testing.T) {
			noon := day(2026, 7, 1)
			k := newKernel(noon)
			c := open(t, t.TempDir(), k)
			first := time.Now()
			require.Equal(t, noon, c.At(first))
			time.Sleep(30 * time.Second)
			k.step(step)
			second := time.Now()
			time.Sleep(time.Second)
			require.Equal(t, noon.Add(step), c.At(first), "by the clock as it is set now")
			require.Equal(t, 30*time.Second, c.At(second).Sub(c.At(first)), "no step between two moments")
			require.Equal(t, noon.Add(step+31*time.Second), c.Now())
			require.Equal(t, 30*time.Second, c.Uptime(second)-c.Uptime(first))
			require.Equal(t, 10*time.Second, c.Uptime(first))
			require.Equal(t, 9*time.Second, c.Uptime(first.Add(-time.Second)), "of before the program")
			require.Zero(t, c.Uptime(first.Add(-time.Hour)))
		})
	}
}

func TestM10_TimeThatWasSleptCounts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := newKernel(epoch) // not set: the floor goes on
		c := open(t, t.TempDir(), k)
		before := time.Now()
		require.Equal(t, built, c.At(before))
		time.Sleep(time.Second)
		k.sleep(8 * time.Hour)
		after := time.Now()
		require.Equal(t, built.Add(8*time.Hour+time.Second), c.Now())
		require.Equal(t, built, c.At(before))
		require.Equal(t, built.Add(8*time.Hour+time.Second), c.At(after))
		require.Equal(t, 8*time.Hour+time.Second, c.Uptime(after)-c.Uptime(before))
		require.Equal(t, k.Uptime(), c.Uptime(after))
		for range 3 * maxNaps {
			time.Sleep(time.Second)
			k.sleep(time.Minute)
			require.Equal(t, k.Uptime(), c.Uptime(time.Now()))
		}
		require.LessOrEqual(t, len(c.naps), maxNaps)
		require.Equal(t, built.Add(8*time.Hour+time.Second+3*maxNaps*61*time.Second), c.Now())
	})
}

func TestBootIsOfTheDeviceAndOfTheProgram(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a, b := open(t, dir, newKernel(epoch)).Boot(), open(t, dir, newKernel(epoch)).Boot()
	require.NotEqual(t, a, b)
	require.True(t, SameBoot(a, b))
	require.False(t, SameBoot(a, bootID("00000000-d9ea-4f46-9822-27cac8c58cd9")))
	require.False(t, SameBoot(bootID(""), bootID("")), "not known: never the same")
}

// The kernel that runs this test says something sensible.
func TestSystem(t *testing.T) {
	t.Parallel()
	c, err := Open(t.TempDir(), built)
	require.NoError(t, err)
	now := time.Now()
	require.Positive(t, c.Uptime(now))
	require.WithinRange(t, c.At(now), built, time.Now())
	if tr := c.Trust(); !tr.Synced {
		require.Zero(t, tr.UncertaintyMS)
	}
}
