package remote

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/cloud/identity"
)

func open(t *testing.T, target Target) *Session {
	t.Helper()
	s, err := Open(t.Context(), target)
	require.NoError(t, err)
	t.Cleanup(s.Close)
	return s
}

func call(t *testing.T, s *Session, name string) {
	t.Helper()
	var got int
	require.NoError(t, s.Call(t.Context(), name, 7, &got))
	require.Equal(t, 7, got)
}

// The broker dies while a command is carried out: the session goes on by the local
// network, the command runs once, and its answer arrives.
func TestM5_S1_BrokerThatDiesInTheMiddleOfACommand(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	broker, kill := startBroker(t, a)
	c := newCamera(t, a, broker)
	address, _ := c.listen()
	c.online()
	s := open(t, c.target(a, broker, address))
	require.Equal(t, "broker "+broker, s.Way())
	call(t, s, "before")
	c.during = func(name string) {
		if name == "during" {
			kill()
		}
	}
	call(t, s, "during")
	require.Equal(t, "local network "+address, s.Way())
	call(t, s, "after")
	require.Equal(t, []string{"before", "during", "after"}, c.log())

	again := open(t, c.target(a, broker, address)) // nobody listens there: at once
	require.Equal(t, "local network "+address, again.Way())
	alone := c.target(a, broker, address)
	alone.LAN = Off
	_, err := Open(t.Context(), alone)
	require.ErrorContains(t, err, broker)
}

// The camera's side of the local network goes, and comes back elsewhere.
func TestM5_LocalNetworkThatGoesAndComesBack(t *testing.T) {
	t.Parallel()
	c := newCamera(t, nil, "")
	first, stop := c.listen()
	var second string
	target := c.target(nil, "")
	target.LAN = Find
	target.Find = func(context.Context, string) ([]string, error) {
		if second != "" {
			return []string{second}, nil
		}
		return []string{first}, nil
	}
	s := open(t, target)
	call(t, s, "one")
	stop()
	second, _ = c.listen()
	call(t, s, "two")
	require.Equal(t, []string{"one", "two"}, c.log())
	s.Close()
	require.Error(t, s.Call(t.Context(), "three", nil, nil), "goes on after Close")
}

// A broker that takes connections and says nothing, and one behind which the
// camera is not: after 3 s the local network is tried too.
func TestM5_SilenceIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	mute, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer mute.Close()
	alive, _ := startBroker(t, a)
	for name, broker := range map[string]string{"the broker's": mute.Addr().String(), "the camera's": alive} {
		t.Run(name, func(t *testing.T) {
			c := newCamera(t, a, "")
			address, _ := c.listen()
			start := time.Now()
			s := open(t, c.target(a, broker, address))
			require.GreaterOrEqual(t, time.Since(start), headStart)
			require.Equal(t, "local network "+address, s.Way())
			call(t, s, "x")
		})
	}
}

// Where the local network is of no help, the error is what the broker's way ended with.
func TestErrorsSayWhoIsSilent(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	c := newCamera(t, nil, "")
	address, stop := c.listen()
	dead := freeAddress(t)
	stranger := newCamera(t, nil, "")
	elsewhere, _ := stranger.listen()
	refused := c.target(nil, "", address)
	refused.Owner.Noise = identity.NewKeyPair()
	for name, k := range map[string]struct {
		target Target
		lan    string
		want   string
	}{
		"no broker, not found":  {c.target(a, dead), Auto, dead},
		"no account, not found": {with(c.target(nil, ""), errors.New("signed in nowhere")), Auto, "signed in nowhere"},
		"not found":             {c.target(nil, ""), Find, "was not found on the local network"},
		"nobody there":          {c.target(nil, ""), dead, "refused"},
		"no member":             {refused, Find, "this key is not (or no longer) a member's"},
		"no member, no account": {with(refused, errors.New("signed in nowhere")), Auto, "this key is not (or no longer) a member's"},
		"another camera":        {c.target(nil, ""), elsewhere, "gives no session: it is not camera"},
	} {
		t.Run(name, func(t *testing.T) {
			k.target.LAN, k.target.Timeout = k.lan, 3*time.Second
			_, err := Open(t.Context(), k.target)
			require.ErrorContains(t, err, k.want)
			require.NotContains(t, err.Error(), c.serial.Plain())
		})
	}
	stop()
}

func with(t Target, err error) Target {
	t.NoAccount = err
	return t
}

// Who only says that it is the camera, and is found first, keeps nobody from it.
func TestS1_ImpostorsOnTheLocalNetworkGetNothing(t *testing.T) {
	t.Parallel()
	c, thief := newCamera(t, nil, ""), newCamera(t, nil, "")
	thief.serial, thief.bindID = c.serial, c.bindID
	address, _ := c.listen()
	there, _ := thief.listen()
	mute, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer mute.Close()
	target := c.target(nil, "", freeAddress(t), mute.Addr().String(), there, address)
	target.LAN = Find
	s := open(t, target)
	require.Equal(t, "local network "+address, s.Way())
	call(t, s, "x")
	require.Empty(t, thief.log())
	require.Zero(t, thief.sessions.Sessions())
}

func TestInterruptedOpenEndsAtOnce(t *testing.T) {
	t.Parallel()
	mute, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer mute.Close()
	c := newCamera(t, nil, "")
	for _, lan := range []string{Auto, Find, Off, mute.Addr().String()} {
		ctx, cancel := context.WithCancel(t.Context())
		target := c.target(newAuthority(t), mute.Addr().String(), mute.Addr().String())
		target.LAN = lan
		go func() {
			conn, err := mute.Accept()
			if err == nil {
				cancel()
				conn.Close()
			}
		}()
		_, err := Open(ctx, target)
		require.ErrorIs(t, err, context.Canceled, lan)
	}
}

func TestCheckLAN(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{"10.0.0.5": "10.0.0.5:8555", "10.0.0.5:1": "10.0.0.5:1", "door.local": "door.local:8555",
		"fe80::1%eth0": "[fe80::1%eth0]:8555", "[fd00::1]": "[fd00::1]:8555", "[fd00::1]:9": "[fd00::1]:9"} {
		require.NoError(t, CheckLAN(text))
		require.Equal(t, want, withPort(text))
	}
	for _, text := range []string{"a:b:c", ":8555", "10.0.0.5:"} {
		require.Error(t, CheckLAN(text), text)
	}
	for _, text := range []string{Auto, Find, Off} {
		require.NoError(t, CheckLAN(text))
	}
}
