package spool

import (
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// R2: what was named while the clock was not set is not too old once it is, nor
// after a start; with the store it ages as all else.
func TestR2_ClipsOfAnUnsetClockDoNotAge(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "card")
	synctest.Test(t, func(t *testing.T) {
		var now time.Time
		cfg := Config{MaxAge: 24 * time.Hour, Now: func() time.Time { return now }}
		s, err := Open(dir, cfg)
		require.NoError(t, err)
		f, err := s.Create(nameAt(0))
		require.NoError(t, err)
		now = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC) // the clock is set while it is written
		_, err = f.Commit(Routine, []byte("manifest"))
		require.NoError(t, err)
		putClip(t, s, nameAt(50), Routine, 100) // of a later hour, and old
		require.NoError(t, s.Retain())
		require.Equal(t, []string{nameAt(0)[9:]}, names(t, s))
		require.NoError(t, s.Close())

		s, err = Open(dir, cfg)
		require.NoError(t, err)
		require.NoError(t, s.Retain())
		require.Equal(t, []string{nameAt(0)[9:]}, names(t, s))
		require.NoError(t, s.Release(next(t, s)))
		require.NoError(t, s.Retain())
		require.Empty(t, names(t, s))
		require.NoError(t, s.Close())

		s, err = Open(dir, cfg)
		require.NoError(t, err)
		defer s.Close()
		require.NoFileExists(t, s.unsurePath(hourOf(nameAt(0))), "the mark is of no more use")
	})
}

// R2: what the store confirms although the card has given it up is not told as
// missing; what is on its way is not given up for its age.
func TestR2_ConfirmedIsNotDropped(t *testing.T) {
	t.Parallel()
	for name, giveUp := range map[string]func(s *Spool) error{"for room": (*Spool).makeRoom, "for its age": (*Spool).Retain} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, _ := openTemp(t, Config{MaxAge: time.Hour})
			putClip(t, s, nameAt(0), Routine, 100)
			o := next(t, s)
			require.NoError(t, giveUp(s))
			require.Equal(t, name == "for its age", s.Has(o.Name))
			require.NoError(t, s.Release(o))
			require.Empty(t, dropped(t, s))
		})
	}
}
