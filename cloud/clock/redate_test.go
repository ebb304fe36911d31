package clock

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/cloud"
)

func TestM10_ClipsOfBeforeTheSyncAreDatedByThoseAfterIt(t *testing.T) {
	t.Parallel()
	clip := func(boot string, uptime time.Duration, started string, synced bool) cloud.ClipDetails {
		return cloud.ClipDetails{Boot: boot, UptimeMS: uptime.Milliseconds(), Started: started, Clock: cloud.Clock{Synced: synced, UncertaintyMS: 3}}
	}
	list := []cloud.ClipDetails{
		clip("a-1", 30*time.Second, "2026-01-01T00:00:30.000Z", false),
		clip("a-1", 90*time.Second, "2026-01-01T00:01:30.000Z", false),
		clip("a-1", 150*time.Second, "2026-07-01T12:02:30.000Z", true),
		clip("a-2", 24*time.Hour, "2026-07-02T12:00:05.000Z", true), // the program was started anew, the clock had drifted
		clip("a-2", 24*time.Hour+time.Minute, "2026-07-02T12:01:00.000Z", false),
		clip("b-1", 30*time.Second, "2026-01-01T00:00:30.000Z", false), // never synchronised
		clip("c-1", 0, "2026-01-01T00:00:30.000Z", false),              // of a program that tells no uptime
		clip("c-1", time.Second, "2026-07-01T00:00:01.000Z", true),
		clip("c-1", 2*time.Second, "soon", false),
		clip("d-1", 2*time.Second, "soon", true),
		clip("d-1", 3*time.Second, "2026-01-01T00:00:03.000Z", false),
		clip("e-1", 0, "2026-07-01T00:00:00.000Z", true),
		clip("e-1", 3*time.Second, "2026-01-01T00:00:03.000Z", false),
		clip("f-1", 100*time.Second, "2026-07-01T00:01:40.000Z", true),
		clip("f-1", 110*time.Second, "2026-01-01T00:01:50.000Z", false),
		clip("f-1", 200*time.Second, "2026-07-01T00:03:21.000Z", true),
	}
	want := []struct {
		started string
		redated bool
	}{
		{"2026-07-01T12:00:30Z", true},
		{"2026-07-01T12:01:30Z", true},
		{"2026-07-01T12:02:30Z", false},
		{"2026-07-02T12:00:05Z", false},
		{"2026-07-02T12:01:05Z", true},
		{"2026-01-01T00:00:30Z", false},
		{"2026-01-01T00:00:30Z", false},
		{"2026-07-01T00:00:01Z", false},
		{"2026-07-01T00:00:02Z", true},
		{"0001-01-01T00:00:00Z", false},
		{"2026-01-01T00:00:03Z", false},
		{"2026-07-01T00:00:00Z", false},
		{"2026-01-01T00:00:03Z", false},
		{"2026-07-01T00:01:40Z", false},
		{"2026-07-01T00:01:50Z", true},
		{"2026-07-01T00:03:21Z", false},
	}
	got := Redate(list)
	require.Len(t, got, len(list))
	for i, d := range got {
		require.Equal(t, want[i].started, d.Started.Format(time.RFC3339Nano), i)
		require.Equal(t, want[i].redated, d.Redated, i)
		require.Equal(t, d.Redated || list[i].Clock.Synced, d.Clock.Synced, "%d: what is dated anew is dated by a clock that was right", i)
	}
	require.EqualValues(t, 3+6+1, got[1].Clock.UncertaintyMS, "the fix's, and the drift of a minute")
	require.Empty(t, Redate(nil))
	for i := range list { // the order does not matter
		list[i], list[len(list)-1-i] = list[len(list)-1-i], list[i]
		if i >= len(list)/2-1 {
			break
		}
	}
	for i, d := range Redate(list) {
		require.Equal(t, got[len(got)-1-i], d)
	}
}
