package channel

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flynn/noise"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/identity"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bubble runs f on a simulated clock, with a camera and its member "ann".
func bubble(t *testing.T, f func(t *testing.T, c *camera, ann identity.KeyPair)) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, ann := newCamera(t), identity.NewKeyPair()
		c.add("ann", ann.Public)
		f(t, c, ann)
		c.srv.EndAll()
		c.srv.cancel()
		c.srv.wg.Wait()
	})
}

// conversation records all that an app sends in a session with three commands.
func conversation(t *testing.T, c *camera, ann identity.KeyPair) []packet {
	r := c.open(t, "phone", ann, &cloud.Command{V: 1, ID: "a", Seq: 1, Name: "ride"})
	rec := []packet{{"phone", r.msg1}, {"phone", r.msg3}}
	for i, name := range []string{"privacy.on", "privacy.off"} {
		m := r.seal(r.cmd(name, uint64(i+2), name))
		rec = append(rec, packet{"phone", m})
		c.srv.Receive("phone", m)
	}
	synctest.Wait()
	require.Equal(t, []string{"ann ride", "ann privacy.on", "ann privacy.off"}, c.log())
	return rec
}

func TestS1_RecordedMessagesHaveNoEffectInAnyState(t *testing.T) {
	states := map[string]func(t *testing.T, c *camera, ann identity.KeyPair){
		"session open":      func(*testing.T, *camera, identity.KeyPair) {},
		"superseded":        func(t *testing.T, c *camera, ann identity.KeyPair) { c.open(t, "phone", ann, nil) },
		"handshake pending": func(t *testing.T, c *camera, ann identity.KeyPair) { c.begin(t, "phone", ann, nil) },
		"pending expired":   func(*testing.T, *camera, identity.KeyPair) { time.Sleep(11 * time.Second) },
		"session expired":   func(*testing.T, *camera, identity.KeyPair) { time.Sleep(2 * time.Hour) },
		"all ended":         func(_ *testing.T, c *camera, _ identity.KeyPair) { c.srv.EndAll() },
		"restarted":         func(_ *testing.T, c *camera, _ identity.KeyPair) { c.restart() },
		"next owner":        func(_ *testing.T, c *camera, _ identity.KeyPair) { c.bind(3, "ff"+bindID1[2:], true) },
		"unbound":           func(_ *testing.T, c *camera, _ identity.KeyPair) { c.bind(2, "", false) },
		"member gone": func(_ *testing.T, c *camera, ann identity.KeyPair) {
			c.mu.Lock()
			delete(c.members, string(ann.Public))
			c.mu.Unlock()
		},
	}
	for name, enter := range states {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, c *camera, ann identity.KeyPair) {
				rec := conversation(t, c, ann)
				enter(t, c, ann)
				c.srv.Receive("phone", nil) // lets what has changed take effect
				before := c.srv.Sessions()
				c.takeSent()
				for range 3 {
					for _, p := range rec {
						c.srv.Receive(p.client, p.msg)
						c.srv.Receive("other", p.msg)
					}
				}
				synctest.Wait()
				require.Len(t, c.log(), 3, "something ran again")
				require.Equal(t, before, c.srv.Sessions())
				for _, p := range c.takeSent() {
					require.Contains(t, []byte{typeHandshake2, typeUnknown}, p.msg[0], "an answer that is worth something")
					require.False(t, name == "unbound", "an unbound camera answers")
				}
			})
		})
	}
}

func TestS1_SessionsEndWithTheBinding(t *testing.T) {
	bubble(t, func(t *testing.T, c *camera, ann identity.KeyPair) {
		for i, next := range []func(){
			func() { c.bind(2, "", false) }, func() { c.bind(3, "ff"+bindID1[2:], true) }, func() { c.bind(3, bindID1, true) },
		} {
			c.bind(1, bindID1, true)
			r := c.open(t, "phone", ann, nil)
			next()
			r.do(r.cmd(fmt.Sprint(i), 1, "siren.on")) // ann's key is in the next roster too
			synctest.Wait()
			require.Empty(t, c.log(), "case %d", i)
			require.Zero(t, c.srv.Sessions())
		}
	})
}

func TestS1_ReplayedFirstMessagesEvictNoSession(t *testing.T) {
	bubble(t, func(t *testing.T, c *camera, ann identity.KeyPair) {
		var recorded [][]byte
		for i := range 30 {
			recorded = append(recorded, c.begin(t, fmt.Sprintf("c%d", i), ann, nil).msg1)
		}
		var mine [][]byte
		for range 30 {
			mine = append(mine, c.begin(t, "phone", ann, nil).msg1)
		}
		r := c.open(t, "phone", ann, nil)
		for i, m := range recorded {
			c.srv.Receive(fmt.Sprintf("c%d", i), m)
			c.srv.Receive("phone", mine[i])
			require.LessOrEqual(t, len(c.srv.pending), maxPending)
		}
		require.Equal(t, 1, c.srv.Sessions())
		c.takeSent()
		r.do(r.cmd("a", 1, "status"))
		synctest.Wait()
		require.Equal(t, []string{"ok a"}, codes(r.replies()))
		late := c.open(t, "tablet", ann, nil)
		require.NotEmpty(t, late.replies(), "recorded first messages hold the door")
		time.Sleep(11 * time.Second)
		c.srv.Receive("c0", recorded[0])
		require.Len(t, c.srv.pending, 1, "pending handshakes outlive 10 s")
	})
}

func TestS1_OtherCamerasMessages(t *testing.T) {
	bubble(t, func(t *testing.T, c *camera, ann identity.KeyPair) {
		rec := conversation(t, c, ann)
		sibling := newCamera(t)
		sibling.static = c.static // even with the same key: the serial is in the prologue
		sibling.restart()
		sibling.add("ann", ann.Public)
		for _, p := range rec {
			sibling.srv.Receive(p.client, p.msg)
		}
		require.Zero(t, sibling.srv.Sessions())
		require.Empty(t, sibling.log())
		for _, p := range sibling.takeSent() {
			require.Len(t, p.msg, unknownLen)
		}
	})
}

// thiefDH is Curve25519 for somebody who has the camera's private key and a
// member's public one: it claims the member's key as static, and computes what
// can be computed without the member's private key.
type thiefDH struct {
	noise.DHFunc
	device identity.KeyPair
	victim []byte
}

func (d thiefDH) DH(priv, pub []byte) ([]byte, error) {
	if priv == nil { // the member's private key, which the thief lacks
		if bytes.Equal(pub, d.device.Public) {
			return noise.DH25519.DH(d.device.Private, d.victim)
		}
		return make([]byte, 32), nil
	}
	return noise.DH25519.DH(priv, pub)
}

func TestS1_ThiefOfTheCamerasKeyIsNoMember(t *testing.T) {
	bubble(t, func(t *testing.T, c *camera, ann identity.KeyPair) {
		hs, err := noise.NewHandshakeState(noise.Config{
			CipherSuite: noise.NewCipherSuite(thiefDH{noise.DH25519, c.static, ann.Public}, noise.CipherChaChaPoly, noise.HashBLAKE2s),
			Pattern:     noise.HandshakeXK, Initiator: true,
			StaticKeypair: noise.DHKey{Public: ann.Public}, PeerStatic: c.static.Public,
			Prologue: Prologue(prologue, c.serial.Plain(), "\x00\x00\x00\x00\x00\x00\x00\x01", c.bindID, "phone"),
		})
		require.NoError(t, err)
		m1, _, _, err := hs.WriteMessage(head(typeHandshake1, sessionID{1}), nil)
		require.NoError(t, err)
		c.srv.Receive("phone", m1)
		sent := c.takeSent()
		require.Len(t, sent, 1)
		_, _, _, err = hs.ReadMessage(nil, sent[0].msg[headLen:])
		require.NoError(t, err)
		m3, _, _, err := hs.WriteMessage(head(typeHandshake3, sessionID{1}), []byte(`{"v":1,"id":"x","seq":1,"name":"privacy.off"}`))
		require.NoError(t, err)
		c.srv.Receive("phone", m3)
		synctest.Wait()
		require.Zero(t, c.srv.Sessions())
		require.Empty(t, c.log())
		require.Empty(t, c.takeSent())
	})
}

func TestS4_FlippedBytesHaveNoEffect(t *testing.T) {
	bubble(t, func(t *testing.T, c *camera, ann identity.KeyPair) {
		r := c.open(t, "phone", ann, nil)
		good := r.seal(r.cmd("a", 1, "status"))
		for i := range good {
			bad := bytes.Clone(good)
			bad[i] ^= 0x40
			c.srv.Receive("phone", bad)
			c.srv.Receive("phone", good[:i])
		}
		synctest.Wait()
		require.Empty(t, c.log())
		r.replies()
		c.srv.Receive("phone", good)
		synctest.Wait()
		require.Equal(t, []string{"ann status"}, c.log(), "forgeries pushed a genuine message out")

		for i := 0; i < len(r.msg3); i += 3 {
			p := c.begin(t, "pad", ann, nil)
			p.msg3[i] ^= 1
			c.srv.Receive("pad", p.msg3)
		}
		require.Equal(t, 1, c.srv.Sessions())
	})
}

func TestUnknownSessionIsTheOnlyHint(t *testing.T) {
	bubble(t, func(t *testing.T, c *camera, ann identity.KeyPair) {
		msg := append(head(typeTransport, sessionID{9}), make([]byte, 40)...)
		for range 50 {
			c.srv.Receive("phone", msg)
		}
		sent := c.takeSent()
		require.Equal(t, []packet{{"phone", unknownAnswer(sessionID{9})}}, sent, "more than one a second")
		require.Len(t, sent[0].msg, 32)
		time.Sleep(time.Second)
		c.srv.Receive("phone", msg)
		require.Len(t, c.takeSent(), 1)
		for i := range 10 * maxHinted {
			c.srv.Receive(fmt.Sprintf("flood%d", i), msg)
		}
		require.Less(t, len(c.takeSent()), maxHinted)
		require.LessOrEqual(t, len(c.srv.hinted), maxHinted, "memory grows with clients")
		time.Sleep(2 * time.Second)
		c.srv.Receive("phone", msg)
		require.Len(t, c.takeSent(), 1)
		c.bind(2, "", false)
		time.Sleep(2 * time.Second)
		c.srv.Receive("phone", msg)
		require.Empty(t, c.takeSent(), "an unbound camera answers")
	})
}

func TestR6_SixteenSessionsFourPerMember(t *testing.T) {
	bubble(t, func(t *testing.T, c *camera, ann identity.KeyPair) {
		var first []*raw
		for i := range 5 {
			first = append(first, c.open(t, fmt.Sprintf("ann%d", i), ann, nil))
			time.Sleep(time.Millisecond)
			if i == 3 {
				first[0].do(first[0].cmd("a", 1, "status")) // no longer the idlest
				synctest.Wait()
			}
			time.Sleep(time.Millisecond)
		}
		require.Equal(t, 4, c.srv.Sessions())
		require.NotNil(t, c.srv.sessions[key{"ann0", first[0].w.id}])
		require.Nil(t, c.srv.sessions[key{"ann1", first[1].w.id}], "not the idlest gave way")
		for i := range 20 {
			k := identity.NewKeyPair()
			c.add(fmt.Sprintf("m%d", i), k.Public)
			c.open(t, fmt.Sprintf("m%d", i), k, nil)
			time.Sleep(time.Millisecond)
			require.LessOrEqual(t, c.srv.Sessions(), maxSessions)
		}
		require.Equal(t, maxSessions, c.srv.Sessions())
	})
}

func TestR6_SixteenSessionsUnder2MB(t *testing.T) {
	c := newCamera(t)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range maxSessions {
		k := identity.NewKeyPair()
		c.add(fmt.Sprintf("m%d", i), k.Public)
		r := c.open(t, fmt.Sprintf("m%d", i), k, nil)
		// Each leaves the largest unfinished message behind.
		plains := split(1, make([]byte, maxCommand))
		m, err := r.w.send.seal(r.w.id, plains[0])
		require.NoError(t, err)
		c.srv.Receive(r.client, m)
	}
	c.takeSent()
	runtime.GC()
	runtime.ReadMemStats(&after)
	used := int64(after.HeapAlloc) - int64(before.HeapAlloc)
	t.Logf("16 sessions, each with half a message: %d KiB", used>>10)
	require.Less(t, used, int64(2<<20))
	require.Equal(t, maxSessions, c.srv.Sessions())
	c.srv.EndAll()
}

func TestStrangersAndExMembers(t *testing.T) {
	bubble(t, func(t *testing.T, c *camera, ann identity.KeyPair) {
		stranger := c.open(t, "phone", identity.NewKeyPair(), &cloud.Command{V: 1, ID: "x", Seq: 1, Name: "siren.on"})
		require.Equal(t, []string{cloud.CodePermission}, codes(stranger.replies()))
		require.Zero(t, c.srv.Sessions())
		r := c.open(t, "phone", ann, nil)
		r.replies()
		c.mu.Lock()
		delete(c.members, string(ann.Public)) // the roster changed; nobody told the server
		c.mu.Unlock()
		r.do(r.cmd("a", 1, "siren.on"))
		synctest.Wait()
		require.Equal(t, []string{cloud.CodePermission}, codes(r.replies()))
		require.Zero(t, c.srv.Sessions())
		require.Empty(t, c.log())
	})
}

func TestWornSessionTakesNoMore(t *testing.T) {
	bubble(t, func(t *testing.T, c *camera, ann identity.KeyPair) {
		r := c.open(t, "phone", ann, nil)
		r.w.send.cs.SetNonce(maxMessages + messageGrace)
		r.do(r.cmd("a", 1, "x"))
		synctest.Wait()
		require.Empty(t, c.log())
	})
}

func TestRunEndsCommandsAndClosesTheDoor(t *testing.T) {
	bubble(t, func(t *testing.T, c *camera, ann identity.KeyPair) {
		c.execute = func(ctx context.Context, _ string, _ cloud.Command) cloud.Reply {
			<-ctx.Done()
			return cloud.Reply{}
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- c.srv.Run(ctx) }()
		r := c.open(t, "phone", ann, nil)
		r.do(r.cmd("a", 1, "wait"))
		synctest.Wait()
		cancel()
		require.NoError(t, <-ended)
		require.Zero(t, c.srv.running)
		c.takeSent()
		c.srv.Receive("phone", r.msg1)
		require.Empty(t, c.takeSent())
	})
}

// A carrier that is gone takes its sessions along, but no command and no reply.
func TestR6_ClientWhoseCarrierIsGoneHoldsNoSession(t *testing.T) {
	bubble(t, func(t *testing.T, c *camera, ann identity.KeyPair) {
		phone, lan := c.open(t, "phone", ann, nil), c.open(t, "lan", ann, nil)
		c.begin(t, "lan", ann, nil)
		require.Equal(t, 2, c.srv.Sessions())
		lan.do(lan.cmd("a", 1, "x"))
		c.srv.EndClient("lan")
		synctest.Wait()
		require.Equal(t, 1, c.srv.Sessions())
		require.Empty(t, c.srv.pending)
		require.Equal(t, []string{"ann x"}, c.log())
		c.takeSent()
		phone.do(phone.cmd("a", 1, "x"))
		synctest.Wait()
		require.Equal(t, []string{"ok a"}, codes(phone.replies()))
		require.Len(t, c.log(), 1)
	})
}
