package agent

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bluenviron/gortsplib/v4"
	"github.com/bluenviron/gortsplib/v4/pkg/base"
	"github.com/bluenviron/gortsplib/v4/pkg/description"
	"github.com/bluenviron/gortsplib/v4/pkg/format"
	"github.com/pion/rtp"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"iid2secure.nl/camagent/agent/command"
	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/bind"
	"iid2secure.nl/camagent/cloud/durable"
	"iid2secure.nl/camagent/cloud/identity"
	"iid2secure.nl/camagent/cloud/seal"
	"iid2secure.nl/camagent/config"
	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/hal/sim"
	"iid2secure.nl/camagent/media/rtsp"
	"iid2secure.nl/camagent/media/talk"
)

// member is a person with an RTSP password, as the file of a binding keeps them.
type member struct {
	bind.Member
	Password string `json:"password"`
}

func newMember(t *testing.T, name string, expires int64, p ...cloud.Permission) member {
	t.Helper()
	_, recipient, err := seal.NewIdentity()
	require.NoError(t, err)
	k := identity.NewKeyPair()
	return member{bind.Member{ID: bind.MemberID(k.Public), Name: name, Noise: k.Public, Recipient: recipient,
		Permissions: p, Expires: expires}, cloud.Token(15)}
}

// boundTo makes the state folder of a camera that belongs to the members.
func boundTo(t *testing.T, cfg config.Config, members ...member) {
	t.Helper()
	id, err := identity.NewSelfMade()
	require.NoError(t, err)
	require.NoError(t, id.Save(filepath.Join(cfg.StateDir, "identity")))
	const bindID = "000102030405060708090a0b0c0d0e0f"
	require.NoError(t, durable.WriteJSON(filepath.Join(cfg.StateDir, "binding.json"), map[string]any{
		"v": 1, "serial": id.Serial.Plain(), "epoch": 1, "bind_id": bindID, "version": 1, "members": members}))
	require.NoError(t, durable.WriteJSON(filepath.Join(cfg.StateDir, "settings.json"), map[string]any{
		"bind_id": bindID, "settings": command.Settings{Recording: command.RecordOff}}))
}

const awaitLive = 20 * time.Second

// running is the camera of cfg at work, until the test ends.
func running(t *testing.T, cfg config.Config) *Agent {
	t.Helper()
	a := testAgent(t, cfg)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx, nil) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
	})
	return a
}

func serving(t *testing.T, a *Agent) {
	t.Helper()
	require.Eventually(t, func() bool { return a.server.Load() != nil }, awaitLive, 10*time.Millisecond)
}

// liveViewer plays main over TCP.
type liveViewer struct {
	gortsplib.Client
	packets atomic.Int64
	ended   chan time.Time // gets when
}

func viewLive(t *testing.T, a *Agent, m member) (*liveViewer, error) {
	t.Helper()
	tcp := gortsplib.TransportTCP
	v := &liveViewer{ended: make(chan time.Time, 1)}
	v.Transport = &tcp
	u := &base.URL{Scheme: "rtsp", Host: a.server.Load().Addr().String(), Path: "/main", User: url.UserPassword(m.ID, m.Password)}
	if err := v.Start(u.Scheme, u.Host); err != nil {
		return nil, err
	}
	t.Cleanup(v.Close)
	d, _, err := v.Describe(u)
	if err != nil {
		return nil, err
	}
	require.NoError(t, v.SetupAll(d.BaseURL, d.Medias))
	v.OnPacketRTPAny(func(*description.Media, format.Format, *rtp.Packet) { v.packets.Add(1) })
	_, err = v.Play(nil)
	require.NoError(t, err)
	go func() {
		v.Wait()
		v.ended <- time.Now()
	}()
	v.plays(t)
	return v, nil
}

// plays returns once more packets have come.
func (v *liveViewer) plays(t *testing.T) {
	t.Helper()
	before := v.packets.Load()
	require.Eventually(t, func() bool { return v.packets.Load() > before }, awaitLive, 10*time.Millisecond)
}

// end tells when the viewer ended.
func (v *liveViewer) end(t *testing.T) time.Time {
	t.Helper()
	select {
	case at := <-v.ended:
		return at
	case <-time.After(awaitLive):
		t.Fatal("the viewer goes on")
		return time.Time{}
	}
}

func TestS3_MembershipThatExpiresEndsItsViewersAlone(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	expires := time.Unix(time.Now().Unix()+10, 0)
	ann := newMember(t, "Ann", 0, cloud.Admin)
	guest := newMember(t, "guest", expires.Unix(), cloud.Live, cloud.Talk)
	boundTo(t, cfg, ann, guest)
	a := running(t, cfg)
	serving(t, a)
	hers, err := viewLive(t, a, ann)
	require.NoError(t, err)
	theirs, err := viewLive(t, a, guest)
	require.NoError(t, err)

	who := func(m member) (names []string) {
		st, err := a.statusGet(t.Context(), m.ID, command.None{})
		require.NoError(t, err)
		for _, s := range st.Live.Sessions {
			require.Equal(t, "main", s.Stream)
			require.Equal(t, "tcp", s.Transport)
			require.NotZero(t, s.Frames)
			names = append(names, s.Member)
		}
		return names
	}
	require.Equal(t, []string{"Ann", "guest"}, who(ann))
	require.Equal(t, []string{"guest"}, who(guest), "a guest is told who else watches")
	require.True(t, a.mayTalk(guest.ID))
	talker := a.desk.Join(guest.ID)
	defer talker.Close()
	require.NoError(t, talker.Packet(talk.Packet{Codec: hal.PCMU, Sequence: 1, Payload: make([]byte, 160)}))
	for _, m := range []member{ann, guest} {
		st, err := a.statusGet(t.Context(), m.ID, command.None{})
		require.NoError(t, err)
		require.Equal(t, "guest", st.Live.Talking)
	}

	ended := theirs.end(t)
	require.False(t, ended.Before(expires), "ended %v before the membership", expires.Sub(ended))
	require.Less(t, ended.Sub(expires), time.Second)
	require.False(t, a.mayTalk(guest.ID))
	_, err = viewLive(t, a, guest)
	require.ErrorContains(t, err, "401")
	_, err = a.liveGet(t.Context(), guest.ID, command.None{})
	require.ErrorContains(t, err, "live.get needs the permission")
	require.Empty(t, hers.ended)
	hers.plays(t)
	require.Equal(t, []string{"Ann"}, who(ann))
}

func TestS3_UnbindingEndsViewersAndCertificate(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	ann := newMember(t, "Ann", 0, cloud.Admin)
	boundTo(t, cfg, ann)
	a := running(t, cfg)
	serving(t, a)
	v, err := viewLive(t, a, ann)
	require.NoError(t, err)
	live, err := a.liveGet(t.Context(), ann.ID, command.None{})
	require.NoError(t, err)
	require.NoError(t, handshake(live, live.Certificate))

	require.NoError(t, a.binding.Unbind())
	v.end(t)
	_, err = a.liveCertificate(&tls.ClientHelloInfo{})
	require.ErrorIs(t, err, errNotBound)
	require.Eventually(t, func() bool { return a.server.Load() == nil }, awaitLive, 10*time.Millisecond)
	require.Error(t, handshake(live, live.Certificate), "an unbound camera listens")
}

// handshake does TLS with the camera and believes the certificate alone.
func handshake(live command.Live, certificate string) error {
	u, err := url.Parse(live.TLSURLs["main"])
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(certificate))
	c, err := tls.Dial("tcp", u.Host, &tls.Config{RootCAs: roots})
	if err != nil {
		return err
	}
	return c.Close()
}

func TestM2_LiveTellsEveryDoorThatIsOpen(t *testing.T) {
	t.Parallel()
	ann := newMember(t, "Ann", 0, cloud.Admin)
	for what, c := range map[string]struct {
		change   func(*config.RTSP)
		rtsp     bool
		tls      bool
		pictures bool
	}{
		"both":       {func(r *config.RTSP) { r.Multicast = true }, true, true, true},
		"TLS alone":  {func(r *config.RTSP) { r.Address = "" }, false, true, true},
		"no TLS":     {func(r *config.RTSP) { r.TLSAddress = "" }, true, false, true},
		"no picture": {func(r *config.RTSP) { r.Snapshot = false }, true, true, false},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			cfg := testConfig(t)
			c.change(&cfg.RTSP)
			boundTo(t, cfg, ann)
			a := running(t, cfg)
			serving(t, a)
			live, err := a.liveGet(t.Context(), ann.ID, command.None{})
			require.NoError(t, err)
			require.Equal(t, []string{ann.ID, ann.Password}, []string{live.User, live.Password})
			require.True(t, live.Talk)
			require.Equal(t, cfg.RTSP.Multicast, live.Multicast)
			require.Equal(t, c.rtsp, strings.HasPrefix(live.URLs["sub"], "rtsp://127.0.0.1:"), live.URLs)
			require.Equal(t, c.tls, strings.HasPrefix(live.TLSURLs["main"], "rtsps://127.0.0.1:"), live.TLSURLs)
			require.Equal(t, c.rtsp && c.pictures, strings.HasPrefix(live.Snapshot, "http://127.0.0.1:"), live.Snapshot)
			require.Equal(t, c.tls && c.pictures, strings.HasPrefix(live.TLSSnapshot, "https://127.0.0.1:"), live.TLSSnapshot)
			require.Equal(t, c.tls, live.Certificate != "")
			require.Equal(t, c.tls, len(live.Fingerprint) == 64)
			if c.tls {
				require.NoError(t, handshake(live, live.Certificate))
			}
		})
	}
}

func TestM2_CameraWithoutALiveServerSaysSo(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	cfg.RTSP.Address, cfg.RTSP.TLSAddress = "", ""
	ann := newMember(t, "Ann", 0, cloud.Admin)
	boundTo(t, cfg, ann)
	a := running(t, cfg)
	_, err := a.liveGet(t.Context(), ann.ID, command.None{})
	var refused *cloud.Refusal
	require.ErrorAs(t, err, &refused)
	require.Equal(t, cloud.CodeUnable, refused.Code)
	require.Contains(t, refused.Message, "configured without a live server")
	st, err := a.statusGet(t.Context(), ann.ID, command.None{})
	require.NoError(t, err)
	require.Zero(t, st.Live.Viewers)
	require.NotNil(t, st.Live.Sessions, "JSON: a list, not null")
}

func TestR4_PortThatIsTakenIsToldAndTriedAgain(t *testing.T) {
	t.Parallel()
	other, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer other.Close()
	cfg := testConfig(t)
	cfg.RTSP.Address = other.Addr().String()
	ann := newMember(t, "Ann", 0, cloud.Admin)
	boundTo(t, cfg, ann)
	a := running(t, cfg)
	told := func() bool {
		for _, c := range a.health.conditions() {
			if c.Code == "rtsp" {
				return strings.Contains(c.Message, other.Addr().String())
			}
		}
		return false
	}
	require.Eventually(t, told, awaitLive, 10*time.Millisecond)
	_, err = a.liveGet(t.Context(), ann.ID, command.None{})
	require.ErrorContains(t, err, "not running")
	other.Close()
	serving(t, a)
	require.Eventually(t, func() bool { return !told() }, awaitLive, 10*time.Millisecond)
	_, err = viewLive(t, a, ann)
	require.NoError(t, err)
}

func TestR6_ListOfSessionsIsBounded(t *testing.T) {
	t.Parallel()
	var list []rtsp.Session
	for i := range 100 {
		list = append(list, rtsp.Session{User: []string{"a", "b"}[i%2], Address: strings.Repeat("f", 60), Stream: "main", Transport: "srtp/multicast"})
	}
	names := map[string]string{"a": strings.Repeat("A", 64), "b": "Bob"}
	got := liveSessions(list, names, func(string) bool { return true })
	require.Len(t, got, command.MaxLiveSessions)
	b, err := json.Marshal(got)
	require.NoError(t, err)
	require.Less(t, len(b), 16<<10, "it must fit a message beside the rest")
	got = liveSessions(list[:10], names, func(user string) bool { return user == "b" })
	require.Len(t, got, 5)
	require.Equal(t, "Bob", got[0].Member)
}

func TestM2_MulticastGroupIsTheCamerasOwn(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 20 {
		id, err := identity.NewSelfMade()
		require.NoError(t, err)
		a := &Agent{id: id}
		g := a.multicastGroup()
		require.Equal(t, g, a.multicastGroup())
		ip := g.As4()
		require.True(t, ip[0] == 239 && ip[1] >= 192 && ip[1] <= 195 && ip[3]%2 == 0, g)
		seen[g.String()] = true
		a.cfg.RTSP.MulticastGroup = "239.1.2.3"
		require.Equal(t, "239.1.2.3", a.multicastGroup().String())
	}
	require.Greater(t, len(seen), 15)
}

func TestM2_PicturesAndTalkNeedABoardThatCan(t *testing.T) {
	t.Parallel()
	a := bare(t)
	require.Nil(t, a.liveConfig().Snapshot)
	require.Nil(t, a.desk)
	require.False(t, a.mayTalk("anybody"))
	full := testAgent(t, testConfig(t))
	t.Cleanup(func() { full.board.Close(); full.close() })
	require.NotNil(t, full.liveConfig().Snapshot)
	require.NotNil(t, full.desk)
}

func TestM6_BackChannelIsForMembersWhoMayTalk(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	ann, bob := newMember(t, "Ann", 0, cloud.Admin), newMember(t, "Bob", 0, cloud.Live)
	boundTo(t, cfg, ann, bob)
	a := running(t, cfg)
	serving(t, a)
	offered := func(m member) (*description.Session, error) {
		c := &gortsplib.Client{RequestBackChannels: true}
		u := &base.URL{Scheme: "rtsp", Host: a.server.Load().Addr().String(), Path: "/main", User: url.UserPassword(m.ID, m.Password)}
		require.NoError(t, c.Start(u.Scheme, u.Host))
		defer c.Close()
		d, _, err := c.Describe(u)
		return d, err
	}
	d, err := offered(ann)
	require.NoError(t, err)
	require.True(t, d.Medias[len(d.Medias)-1].IsBackChannel)
	_, err = offered(bob)
	require.ErrorContains(t, err, "551")
	for m, may := range map[*member]bool{&ann: true, &bob: false} {
		live, err := a.liveGet(t.Context(), m.ID, command.None{})
		require.NoError(t, err)
		require.Equal(t, may, live.Talk)
	}
}

// Nobody talks to a camera that nobody owns.
func TestM6_IntercomIsShutUnlessTheCameraIsBound(t *testing.T) {
	t.Parallel()
	c := testCamera(t, sim.New(sim.Config{}))
	a := &Agent{board: c.board, camera: c, log: zap.NewNop()}
	require.NoError(t, a.openDesk())
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.intercom(ctx) }()
	ann := a.desk.Join("Ann")
	defer ann.Close()
	say := func(n uint16) error {
		return ann.Packet(talk.Packet{Codec: hal.PCMU, Sequence: n, Timestamp: 160 * uint32(n), Payload: make([]byte, 160)})
	}
	require.ErrorIs(t, say(1), talk.ErrShut)
	c.bound.set(true)
	require.Eventually(t, func() bool { return say(2) == nil }, awaitLive, 10*time.Millisecond)
	c.bound.set(false)
	require.Eventually(t, func() bool { return say(3) == talk.ErrShut }, awaitLive, 10*time.Millisecond)
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
}
