package home_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/bind"
	"iid2secure.nl/camagent/cloud/identity"
	"iid2secure.nl/camagent/cloud/seal"

	"iid2secure.nl/camagent/cmd/camctl/internal/home"
)

func TestOwner_MadeOnceBySeveralAtOnce(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "new", "folder")
	_, err := home.New(dir).Owner()
	require.ErrorIs(t, err, home.ErrNoIdentity)
	var wg sync.WaitGroup
	lines := make([]string, 8)
	made := make([]bool, len(lines))
	for i := range lines {
		wg.Go(func() {
			o, created, err := home.New(dir).EnsureOwner(t.Context())
			if err == nil {
				lines[i], made[i] = o.MemberLine(), created
			}
		})
	}
	wg.Wait()
	creators := 0
	for i := range lines {
		require.Equal(t, lines[0], lines[i])
		if made[i] {
			creators++
		}
	}
	require.Equal(t, 1, creators)
}

// A cut between the two files leaves an age.key, which is taken up again.
func TestOwner_CutWhileMaking(t *testing.T) {
	t.Parallel()
	h := home.New(t.TempDir())
	first, _, err := h.EnsureOwner(t.Context())
	require.NoError(t, err)
	require.NoError(t, os.Remove(filepath.Join(h.Dir(), "identity.json")))
	second, created, err := h.EnsureOwner(t.Context())
	require.NoError(t, err)
	require.True(t, created)
	require.Equal(t, first.Recipient, second.Recipient)
}

func TestOwner_DamagedOrMixed(t *testing.T) {
	t.Parallel()
	_, other, err := seal.NewIdentity()
	require.NoError(t, err)
	for name, tt := range map[string]struct{ file, text, want string }{
		"no key file":   {"age.key", "", "no such file"},
		"two in it":     {"age.key", "AGE-SECRET-KEY-1A\nAGE-SECRET-KEY-1B\n", "more than one"},
		"rubbish":       {"age.key", "hunter2\n", "not an AGE-SECRET-KEY-1"},
		"short key":     {"identity.json", `{"v":1,"noise":"AAAA","recipient":"` + other + `"}`, "want 32"},
		"not JSON":      {"identity.json", "{", "not valid"},
		"of other keys": {"identity.json", `{"v":1,"noise":"` + strings.Repeat("A", 43) + `=","recipient":"` + other + `"}`, "does not belong"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := home.New(t.TempDir())
			_, _, err := h.EnsureOwner(t.Context())
			require.NoError(t, err)
			path := filepath.Join(h.Dir(), tt.file)
			require.NoError(t, os.Remove(path))
			if tt.text != "" {
				require.NoError(t, os.WriteFile(path, []byte(tt.text), 0o600))
			}
			_, _, err = h.EnsureOwner(t.Context())
			require.ErrorContains(t, err, tt.want)
			require.NotContains(t, err.Error(), "hunter2")
			require.NotContains(t, err.Error(), "AGE-SECRET-KEY-1A")
		})
	}
}

func TestS8_SecretsPrintRedacted(t *testing.T) {
	t.Parallel()
	h := home.New(t.TempDir())
	o, _, err := h.EnsureOwner(t.Context())
	require.NoError(t, err)
	a := home.Account{URL: "https://c", Token: cloud.NewSecret("hunter2"), Key: cloud.NewSecret("hunter3")}
	text := fmt.Sprintf("%v %+v %#v %s %v %+v %#v", o, o, o, o, a, a, a)
	j, err := json.Marshal(a)
	require.NoError(t, err)
	for _, secret := range []string{"hunter", o.Age.Reveal(), "AGE-SECRET", fmt.Sprint(o.Noise.Private)} {
		require.NotContains(t, text+string(j), secret)
	}
}

func TestS8_AccountRoundTrip0600(t *testing.T) {
	t.Parallel()
	h := home.New(t.TempDir())
	_, err := h.Account()
	require.ErrorIs(t, err, home.ErrNoAccount)
	want := home.Account{URL: "https://c:1", Token: cloud.NewSecret("t"), Roots: "r", Broker: "b:2", ClientID: "app-1",
		Chain: "c", Key: cloud.NewSecret("k"), Expires: time.Unix(1_800_000_000, 0)}
	require.NoError(t, h.SaveAccount(want))
	got, err := h.Account()
	require.NoError(t, err)
	require.Equal(t, want, got)
	info, err := os.Stat(filepath.Join(h.Dir(), "account.json"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	_, err = got.TLS()
	require.ErrorContains(t, err, "run camctl sign-in again")
}

func TestCameras_RoundTripAndDamage(t *testing.T) {
	t.Parallel()
	h := home.New(t.TempDir())
	list, err := h.Cameras()
	require.NoError(t, err)
	require.Empty(t, list)
	id, err := identity.NewSelfMade()
	require.NoError(t, err)
	dev, err := identity.DeviceFromCert(id.TLS.Leaf)
	require.NoError(t, err)
	want := home.Camera{Name: "door", Camera: bind.Camera{Serial: id.Serial, Epoch: 3, BindID: "00", NoisePublic: dev.NoisePublic,
		Signing: dev.Signing, Chain: id.Chain, Receipt: "r"}}
	require.NoError(t, h.SaveCamera(want))
	list, err = h.Cameras()
	require.NoError(t, err)
	require.Equal(t, []home.Camera{want}, list)

	want.Signing = want.Signing[:31]
	require.NoError(t, h.SaveCamera(want))
	_, err = h.Cameras()
	require.ErrorContains(t, err, "keys are missing")
	require.NotContains(t, err.Error(), id.Serial.Plain())
}

func TestLock_WaitsAndGivesUp(t *testing.T) {
	t.Parallel()
	h := home.New(t.TempDir())
	unlock, err := h.Lock(t.Context(), "broker")
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Millisecond)
	defer cancel()
	_, err = h.Lock(ctx, "broker")
	require.ErrorIs(t, err, home.ErrLocked)
	got := make(chan error, 1)
	go func() {
		unlock, err := h.Lock(t.Context(), "broker")
		if err == nil {
			unlock()
		}
		got <- err
	}()
	unlock()
	require.NoError(t, <-got)
}
