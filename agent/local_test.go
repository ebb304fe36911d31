package agent

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/agent/command"
	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/bind"
	"iid2secure.nl/camagent/cloud/channel"
	"iid2secure.nl/camagent/cloud/identity"
	"iid2secure.nl/camagent/cloud/local"
)

// session opens a member's session with a camera on the local network.
func session(t *testing.T, a *Agent, static identity.KeyPair) (*local.Conn, *channel.Client) {
	t.Helper()
	conn, err := local.Dial(t.Context(), a.local.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	epoch, bindID, _ := a.binding.Binding()
	ctx, cancel := context.WithTimeout(t.Context(), awaitLive)
	defer cancel()
	c, err := channel.Dial(ctx, conn, channel.ClientConfig{Serial: a.id.Serial, Epoch: epoch, BindID: bindID,
		ClientID: conn.Client(), Static: static, Device: a.id.Noise.Public})
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return conn, c
}

// keyMember is a member whose key the test has.
func keyMember(t *testing.T, name string, p ...cloud.Permission) (member, identity.KeyPair) {
	t.Helper()
	m, keys := newMember(t, name, 0, p...), identity.NewKeyPair()
	m.Noise, m.ID = keys.Public, bind.MemberID(keys.Public)
	return m, keys
}

func listening(t *testing.T, a *Agent) {
	t.Helper()
	require.Eventually(t, func() bool { return a.local.Addr() != nil }, awaitLive, 10*time.Millisecond)
}

// A camera without a broker, or whose broker is away, is commanded by its members
// on the local network: with the permissions that they have.
func TestM5_MembersCommandOnTheLocalNetwork(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	ann, keys := keyMember(t, "Ann", cloud.AllPermissions()...)
	bob, bobKeys := keyMember(t, "Bob", cloud.Live)
	boundTo(t, cfg, ann, bob)
	a := running(t, cfg)
	require.Nil(t, a.link)
	listening(t, a)

	_, c := session(t, a, keys)
	var st command.Status
	require.NoError(t, c.Call(t.Context(), command.StatusGet.Name, nil, &st))
	require.Equal(t, cloud.Version, st.Version)
	_, c = session(t, a, bobKeys)
	on := true
	err := c.Call(t.Context(), command.SettingsSet.Name, command.SettingsPatch{Microphone: &on}, nil)
	var refusal *cloud.Refusal
	require.ErrorAs(t, err, &refusal)
	require.Equal(t, cloud.CodePermission, refusal.Code)
}

// Nobody's camera listens to nobody; unbinding ends what is open.
func TestS1_OnlyABoundCameraListensOnTheLocalNetwork(t *testing.T) {
	t.Parallel()
	unbound := running(t, testConfig(t))
	cfg := testConfig(t)
	ann, keys := keyMember(t, "Ann", cloud.AllPermissions()...)
	boundTo(t, cfg, ann)
	a := running(t, cfg)
	listening(t, a)
	require.Nil(t, unbound.local.Addr(), "listens, and belongs to nobody")
	address := a.local.Addr().String()
	conn, c := session(t, a, keys)
	require.NoError(t, a.binding.Unbind())
	<-conn.Done()
	require.Error(t, c.Call(t.Context(), command.StatusGet.Name, nil, nil))
	require.Eventually(t, func() bool { return a.local.Addr() == nil }, awaitLive, 10*time.Millisecond)
	_, err := net.Dial("tcp", address)
	require.ErrorContains(t, err, "refused")
}

// A port that is taken is a condition, and live and everything else go on.
func TestR4_LocalPortThatIsTakenIsToldAndTriedAgain(t *testing.T) {
	t.Parallel()
	other, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	cfg := testConfig(t)
	cfg.Local.Address = other.Addr().String()
	boundTo(t, cfg, newMember(t, "Ann", 0, cloud.AllPermissions()...))
	a := running(t, cfg)
	told := func() bool {
		for _, c := range a.health.conditions() {
			if c.Code == "local" {
				return true
			}
		}
		return false
	}
	require.Eventually(t, told, awaitLive, 10*time.Millisecond)
	require.NoError(t, other.Close())
	listening(t, a)
	require.Eventually(t, func() bool { return !told() }, awaitLive, 10*time.Millisecond)
}

// Without local.address nothing is there that could listen, and messages for its
// clients go nowhere.
func TestLocalNetworkThatIsOff(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	cfg.Local.Address = ""
	a := testAgent(t, cfg)
	defer a.Close()
	require.Nil(t, a.sessions)
	require.Nil(t, a.localInbox())
	a.sendToApp("lan-aaaaaaaaaaaaaaaaaaaaaaaaaa", []byte("x")) // to nobody
	a.sendToApp("app-1", []byte("x"))
	for _, s := range a.services(nil) {
		require.NotContains(t, []string{"local", "sessions", "inbox"}, s.name)
	}
}
