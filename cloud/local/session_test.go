package local

import (
	"context"
	"encoding/json"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/channel"
	"iid2secure.nl/camagent/cloud/identity"
)

const bindID = "000102030405060708090a0b0c0d0e0f"

// camera serves sessions over TCP on loopback.
type camera struct {
	*Server

	sessions *channel.Server
	serial   cloud.Serial
	static   identity.KeyPair
	waiting  chan struct{} // closed when it carries out "wait"
	end      func()        // waits
}

func newCamera(t *testing.T, member []byte) *camera {
	t.Helper()
	c := &camera{serial: cloud.NewSerial(), static: identity.NewKeyPair(), waiting: make(chan struct{})}
	c.Server = NewServer(Config{Address: "127.0.0.1:0", Proves: channel.IsSession, Gone: func(client string) { c.sessions.EndClient(client) }})
	c.sessions = channel.NewServer(channel.ServerConfig{
		Serial: c.serial, Static: c.static, Uptime: func() time.Duration { return time.Minute },
		Binding: func() (uint64, string, bool) { return 1, bindID, true },
		Member:  func(key []byte) (string, bool) { return "ann", string(key) == string(member) },
		Execute: func(ctx context.Context, _ string, cmd cloud.Command) cloud.Reply {
			if cmd.Name == "wait" {
				close(c.waiting)
				<-ctx.Done()
			}
			if cmd.Name == "list" {
				b, _ := json.Marshal(strings.Repeat("x", 900<<10))
				return cloud.Reply{Result: b}
			}
			return cloud.Reply{Result: cmd.Args}
		},
		Send: func(client string, msg []byte) { c.Send(client, msg) },
	})
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	ready := make(chan struct{})
	work.Go(func() { c.Run(ctx, func() { close(ready) }) })
	work.Go(func() { c.sessions.Run(ctx) })
	work.Go(func() {
		for {
			select {
			case m := <-c.Inbox():
				c.sessions.Receive(m.Client, m.Payload)
			case <-ctx.Done():
				return
			}
		}
	})
	<-ready
	c.end = func() {
		cancel()
		work.Wait()
	}
	t.Cleanup(c.end)
	return c
}

func (c *camera) dial(t *testing.T, static identity.KeyPair) (*Conn, *channel.Client, error) {
	t.Helper()
	conn, err := Dial(t.Context(), c.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	client, err := channel.Dial(t.Context(), conn, channel.ClientConfig{Serial: c.serial, Epoch: 1, BindID: bindID,
		ClientID: conn.Client(), Static: static, Device: c.static.Public})
	if err == nil {
		t.Cleanup(func() { client.Close() })
	}
	return conn, client, err
}

func TestM5_SessionsOverTCP(t *testing.T) {
	t.Parallel()
	ann := identity.NewKeyPair()
	c := newCamera(t, ann.Public)
	var work sync.WaitGroup
	var conns []*Conn
	for range 4 {
		conn, client, err := c.dial(t, ann)
		require.NoError(t, err)
		conns = append(conns, conn)
		work.Go(func() {
			var list, echo string
			if err := client.Call(t.Context(), "list", nil, &list); err != nil || len(list) != 900<<10 {
				t.Error(len(list), err)
			}
			if err := client.Call(t.Context(), "echo", strings.Repeat("y", 50<<10), &echo); err != nil || len(echo) != 50<<10 {
				t.Error(len(echo), err)
			}
		})
	}
	work.Wait()
	require.Equal(t, 4, c.sessions.Sessions())
	for _, conn := range conns {
		conn.Close()
	}
	require.Eventually(t, func() bool { return c.sessions.Sessions() == 0 }, 10*time.Second, time.Millisecond,
		"they would push out others of the member")
}

func TestS1_StrangersGetNoSessionOverTCP(t *testing.T) {
	t.Parallel()
	c := newCamera(t, identity.NewKeyPair().Public)
	_, _, err := c.dial(t, identity.NewKeyPair())
	var refusal *cloud.Refusal
	require.ErrorAs(t, err, &refusal)
	require.Equal(t, cloud.CodePermission, refusal.Code)
	require.Zero(t, c.sessions.Sessions())
}

// When the camera goes away, a command that waits is told so at once.
func TestM5_EndOfTheCameraEndsWhatWaits(t *testing.T) {
	t.Parallel()
	ann := identity.NewKeyPair()
	c := newCamera(t, ann.Public)
	conn, client, err := c.dial(t, ann)
	require.NoError(t, err)
	address := c.Addr().String()
	ended := make(chan error, 1)
	go func() { ended <- client.Call(t.Context(), "wait", nil, nil) }()
	<-c.waiting
	c.end()
	require.Error(t, <-ended)
	<-conn.Done()
	require.Nil(t, c.Addr())
	_, err = Dial(t.Context(), address)
	require.ErrorContains(t, err, "refused")
}

// A port that is taken is told, and the server can be run again.
func TestServer_RunsAgain(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := NewServer(Config{Address: taken.Addr().String(), Proves: proves})
	require.ErrorContains(t, s.Run(t.Context(), func() { t.Error("up") }), "local sessions: listen tcp")
	require.NoError(t, taken.Close())
	for range 2 {
		ctx, cancel := context.WithCancel(t.Context())
		require.ErrorIs(t, s.Run(ctx, func() {
			c, err := Dial(t.Context(), s.Addr().String())
			if err != nil {
				t.Error(err)
				cancel()
				return
			}
			c.Close()
			cancel()
		}), context.Canceled)
	}
}
