package bind

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/identity"
	"iid2secure.nl/camagent/cloud/seal"
)

func someMember(t *testing.T, name string, expires int64, p ...cloud.Permission) record {
	t.Helper()
	_, recipient, err := seal.NewIdentity()
	require.NoError(t, err)
	k := identity.NewKeyPair()
	return record{
		Member: Member{ID: MemberID(k.Public), Name: name, Noise: k.Public, Recipient: recipient,
			Permissions: p, Expires: expires},
		Password: cloud.Token(15),
	}
}

func boundStore(t *testing.T, members ...record) (*Store, string, *identity.Identity) {
	t.Helper()
	id, err := identity.NewSelfMade()
	require.NoError(t, err)
	dir := t.TempDir()
	s, err := Open(dir, id)
	require.NoError(t, err)
	require.NoError(t, s.update(func(st *state) error {
		st.Epoch, st.BindID, st.Members = 1, "000102030405060708090a0b0c0d0e0f", members
		return nil
	}))
	return s, dir, id
}

func TestPermissionsAndExpiry(t *testing.T) {
	t.Parallel()
	noon := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	ann := someMember(t, "Ann", 0, cloud.Admin)
	bob := someMember(t, "Bob", noon.Unix(), cloud.Live, cloud.Clips)
	cid := someMember(t, "Cid", 0, cloud.Talk)
	s, _, _ := boundStore(t, ann, bob, cid)
	now, synced := noon.Add(-time.Second), true
	s.SetClock(func() (time.Time, bool) { return now, synced })

	check := func(bobIn bool) {
		t.Helper()
		_, ok := s.Member(bob.Noise)
		require.Equal(t, bobIn, ok)
		require.Equal(t, bobIn, s.Permitted(bob.ID, cloud.Live))
		_, ok = s.Credential(bob.ID)
		require.Equal(t, bobIn, ok)
		want := []string{ann.Recipient}
		if bobIn {
			want = append(want, bob.Recipient)
		}
		require.Equal(t, want, s.Recipients(cloud.Clips))
	}
	check(true)
	now = noon
	check(false)
	now, synced = noon.Add(-time.Hour), false
	check(false)

	require.False(t, s.Permitted(bob.ID, cloud.Admin))
	require.True(t, s.Permitted(ann.ID, cloud.Talk), "admin implies all")
	_, ok := s.Credential(cid.ID)
	require.False(t, ok, "a credential without the permission live")
	_, ok = s.Credential("nobody")
	require.False(t, ok)
	require.False(t, s.Permitted("", cloud.Live))
	_, ok = s.Member(nil)
	require.False(t, ok)
	s.Members()[0].Permissions[0] = cloud.Live
	require.True(t, s.Permitted(ann.ID, cloud.Admin), "the caller's copy is the store's")
}

func TestS3_NextExpiryIsThatOfTheNextMember(t *testing.T) {
	t.Parallel()
	noon := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	s, _, _ := boundStore(t, someMember(t, "Ann", 0, cloud.Admin),
		someMember(t, "Bob", noon.Unix(), cloud.Live), someMember(t, "Cid", noon.Unix()+60, cloud.Live))
	now, synced := noon.Add(-time.Minute), true
	s.SetClock(func() (time.Time, bool) { return now, synced })
	next := func(want time.Duration, some bool) {
		t.Helper()
		in, ok := s.NextExpiry()
		require.Equal(t, some, ok)
		require.Equal(t, want, in)
	}
	next(time.Minute, true)
	now = noon
	next(time.Minute, true)
	now = noon.Add(time.Minute)
	next(0, false)
	synced = false
	next(time.Second, true)
}

func TestS3_EachEpochHasAnAuthorityOfItsOwn(t *testing.T) {
	t.Parallel()
	ann := someMember(t, "Ann", 0, cloud.Admin)
	s, dir, id := boundStore(t, ann)
	first, ok := s.Live()
	require.True(t, ok)
	require.NoError(t, s.failure(), "a change of something else")
	again, _ := s.Live()
	require.Same(t, first, again)
	s, err := Open(dir, id)
	require.NoError(t, err)
	kept, ok := s.Live()
	require.True(t, ok)
	require.Equal(t, first.Fingerprint(), kept.Fingerprint(), "after a restart")

	secret := s.st.Live
	require.NoError(t, s.Unbind())
	_, ok = s.Live()
	require.False(t, ok)
	file, err := os.ReadFile(filepath.Join(dir, fileBinding))
	require.NoError(t, err)
	require.NotContains(t, string(file), "PRIVATE KEY")
	require.NoError(t, s.bind(3, "ff0102030405060708090a0b0c0d0e0f", ann.Member, "", ""))
	second, ok := s.Live()
	require.True(t, ok)
	require.NotEqual(t, first.Fingerprint(), second.Fingerprint())
	require.NotEqual(t, secret, s.st.Live)
}

// A binding made before there were authorities gets one, and keeps it.
func TestS3_OlderBindingGetsAnAuthority(t *testing.T) {
	t.Parallel()
	s, dir, id := boundStore(t, someMember(t, "Ann", 0, cloud.Admin))
	path := filepath.Join(dir, fileBinding)
	older := s.st
	older.Live = ""
	require.NoError(t, s.write(path, older))
	var prints []string
	for range 2 {
		s, err := Open(dir, id)
		require.NoError(t, err)
		a, ok := s.Live()
		require.True(t, ok)
		prints = append(prints, a.Fingerprint())
	}
	require.Equal(t, prints[0], prints[1])
	older.Live = "no certificate"
	require.NoError(t, s.write(path, older))
	_, err := Open(dir, id)
	require.ErrorContains(t, err, path)
	require.ErrorContains(t, err, "certificate")
}

func TestUnbindAndTheNextEpoch(t *testing.T) {
	t.Parallel()
	ann := someMember(t, "Ann", 0, cloud.Admin)
	s, dir, id := boundStore(t, ann)
	changed := s.Changed()
	require.NoError(t, s.Unbind())
	<-changed
	require.ErrorIs(t, s.Unbind(), errNotBound)
	s, err := Open(dir, id)
	require.NoError(t, err)
	epoch, bindID, bound := s.Binding()
	require.Equal(t, []any{uint64(2), "", false}, []any{epoch, bindID, bound})
	_, ok := s.Member(ann.Noise)
	require.False(t, ok)
	b, err := os.ReadFile(filepath.Join(dir, fileBinding))
	require.NoError(t, err)
	require.NotContains(t, string(b), ann.Recipient)
}

func TestS1_StoreBindsOnlyTheNextEpochOfAnUnboundCamera(t *testing.T) {
	t.Parallel()
	ann := someMember(t, "Ann", 0, cloud.Admin)
	s, _, _ := boundStore(t, ann)
	const id = "ff0102030405060708090a0b0c0d0e0f"
	require.ErrorIs(t, s.bind(2, id, ann.Member, "", ""), ErrAlreadyBound)
	require.NoError(t, s.Unbind())
	require.ErrorIs(t, s.bind(2, id, ann.Member, "", ""), ErrAlreadyBound)
	require.NoError(t, s.bind(3, id, ann.Member, "", ""))
}

func TestS8_FileIsPrivate(t *testing.T) {
	t.Parallel()
	_, dir, _ := boundStore(t, someMember(t, "Ann", 0, cloud.Admin))
	st, err := os.Stat(filepath.Join(dir, fileBinding))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), st.Mode().Perm())
}

// A damaged file must never make a camera that anybody can bind.
func TestS1_DamagedFileIsNotUnbound(t *testing.T) {
	t.Parallel()
	ann := someMember(t, "Ann", 0, cloud.Admin)
	s, dir, id := boundStore(t, ann)
	path := filepath.Join(dir, fileBinding)
	good, err := os.ReadFile(path)
	require.NoError(t, err)
	for want, change := range map[string]func(m map[string]any){
		"version 2":        func(m map[string]any) { m["v"] = 2 },
		"another camera":   func(m map[string]any) { m["serial"] = cloud.NewSerial().Plain() },
		"no bind id":       func(m map[string]any) { delete(m, "bind_id") },
		"no lasting admin": func(m map[string]any) { delete(m, "members") },
		"member 1":         func(m map[string]any) { m["members"].([]any)[0].(map[string]any)["recipient"] = "x" },
		"id and key":       func(m map[string]any) { m["members"].([]any)[0].(map[string]any)["id"] = "x" },
		"negative":         func(m map[string]any) { m["failures"] = -1 },
	} {
		var m map[string]any
		require.NoError(t, json.Unmarshal(good, &m))
		change(m)
		b, err := json.Marshal(m)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(path, b, 0o600))
		_, err = Open(dir, id)
		require.ErrorContains(t, err, want)
		require.ErrorContains(t, err, path)
	}
	for _, b := range [][]byte{nil, good[:len(good)/2]} {
		require.NoError(t, os.WriteFile(path, b, 0o600))
		_, err = Open(dir, id)
		require.ErrorContains(t, err, path)
	}
	require.NoError(t, os.WriteFile(path, good, 0o600))
	_, err = Open(dir, id)
	require.NoError(t, err)
	_ = s
}

func FuzzBindingFile(f *testing.F) {
	id, err := identity.NewSelfMade()
	require.NoError(f, err)
	f.Add([]byte(`{"v":1,"serial":"` + id.Serial.Plain() + `","epoch":2,"failures":3}`))
	f.Add([]byte(`{"v":1,"serial":"` + id.Serial.Plain() + `","epoch":1,"bind_id":"000102030405060708090a0b0c0d0e0f","members":[{"id":"x"}]}`))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, b []byte) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, fileBinding), b, 0o600))
		s, err := Open(dir, id)
		if err == nil {
			_, bindID, bound := s.Binding()
			require.Equal(t, bound, validBindID(bindID))
		}
	})
}
