package spool

import (
	"encoding/base64"
	"encoding/json"
	"path/filepath"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/cloud"
)

func signedBy(o Owner) []byte {
	raw, _ := json.Marshal(cloud.Statement{V: 1, Serial: o.Serial, Epoch: 1, BindID: o.BindID})
	return []byte("e30." + base64.RawURLEncoding.EncodeToString(raw) + ".c2ln")
}

// R2: what another camera, or this one for the owner before, has signed is not
// uploaded as ours, and not given up before its owner has it.
func TestR2_P7_ForeignClipsAreLeftAlone(t *testing.T) {
	t.Parallel()
	us := Owner{"serial-of-ours", "bind-of-ours"}
	for name, other := range map[string]Owner{
		"another camera": {"serial-of-another", us.BindID}, "the owner before": {us.Serial, "bind-before"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "card")
			synctest.Test(t, func(t *testing.T) {
				s, err := Open(dir, Config{})
				require.NoError(t, err)
				for i, by := range []Owner{other, us, other} {
					f, err := s.Create(nameAt(i))
					require.NoError(t, err)
					_, err = f.Write(make([]byte, 100))
					require.NoError(t, err)
					_, err = f.Commit([]Lane{Routine, Routine, Alarm}[i], signedBy(by))
					require.NoError(t, err)
				}
				_, err = s.Add(nameAt(3)+cloud.ExtGap, Routine, signedBy(other))
				require.NoError(t, err)
				require.NoError(t, s.Close())

				now := us
				s, err = Open(dir, Config{Owner: func() Owner { return now }})
				require.NoError(t, err)
				defer s.Close()
				o := next(t, s)
				require.Equal(t, nameAt(1), o.Name)
				require.NoError(t, s.Release(o))
				putClip(t, s, nameAt(5), Alarm, 100)
				putClip(t, s, nameAt(4), Routine, 100)
				require.Equal(t, nameAt(5), next(t, s).Name, "ours go on")
				require.Equal(t, nameAt(4), next(t, s).Name)
				require.Equal(t, 2, s.Stats().Foreign, "as far as they were looked at")
				for s.makeRoom() == nil {
				}
				require.Equal(t, []string{nameAt(0)[9:], nameAt(2)[9:], nameAt(3)[9:] + cloud.ExtGap}, names(t, s))

				now = other // it is the other camera's turn
				require.Equal(t, nameAt(2), next(t, s).Name)
			})
		})
	}
}
