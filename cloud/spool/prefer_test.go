package spool

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/cloud"
)

// What the owner asks for goes before the other footage, in the order of asking,
// and behind alarms; what is known by its folder alone included.
func TestM4_M10_PreferredClipsGoBeforeTheOthers(t *testing.T) {
	t.Parallel()
	s, dir := openTemp(t, Config{})
	for i := range 6 {
		putClip(t, s, nameAt(i), Routine, 10)
	}
	o := next(t, s)
	require.NoError(t, s.Release(o))
	require.NoError(t, s.Close())
	s, err := Open(dir, Config{})
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	putClip(t, s, nameAt(7), Routine, 10)
	for _, i := range []int{5, 3} { // found at start: not in memory
		waits, err := s.Prefer(nameAt(i))
		require.NoError(t, err)
		require.True(t, waits)
	}
	for name, why := range map[string]string{o.Name: "uploaded", nameAt(9): "not there", "../x": "no name", nameAt(1) + ".jpg.age": "no clip"} {
		waits, err := s.Prefer(name)
		require.NoError(t, err)
		require.False(t, waits, why)
	}
	putClip(t, s, nameAt(8), Alarm, 10)
	for _, i := range []int{8, 5, 3, 7, 1, 2, 4} {
		require.Equal(t, nameAt(i), next(t, s).Name)
	}
}

// What was preferred stays in front, however much is recorded meanwhile; one
// that is being sent is left alone.
func TestM4_R6_PreferredClipsStayInFront(t *testing.T) {
	t.Parallel()
	s, _ := openTemp(t, Config{})
	for i := range 3 {
		putClip(t, s, nameAt(i), Routine, 1)
	}
	lent := next(t, s)
	for _, i := range []int{0, 2} {
		waits, err := s.Prefer(nameAt(i))
		require.NoError(t, err)
		require.True(t, waits)
	}
	for i := range window + 10 {
		putClip(t, s, cloud.ClipName(time.Date(2026, 1, 2, 4, 0, i, 0, time.UTC)), Routine, 1)
	}
	require.Equal(t, nameAt(2), next(t, s).Name)
	s.Return(lent, 0)
	require.Equal(t, 1, countPending(s, nameAt(0)))
}

// countPending is how often a name is in the lanes.
func countPending(s *Spool, name string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.x.lanes {
		for _, it := range l.items {
			if it.name == name {
				n++
			}
		}
	}
	return n
}
