package channel

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/identity"
)

// joined runs f with a carrier between the camera and its apps.
func joined(t *testing.T, f func(t *testing.T, n *carrier, ann identity.KeyPair)) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, ann := newCamera(t), identity.NewKeyPair()
		c.add("ann", ann.Public)
		n, leave := join(c)
		defer leave()
		f(t, n, ann)
	})
}

func TestCommandAndReply(t *testing.T) {
	joined(t, func(t *testing.T, n *carrier, ann identity.KeyPair) {
		c := dial(t, n, "phone", ann)
		defer c.Close()
		var echo map[string]string
		require.NoError(t, run(t, c, "echo", map[string]string{"a": strings.Repeat("x", 50<<10)}, &echo))
		require.Len(t, echo["a"], 50<<10)
		require.NoError(t, run(t, c, "nothing", nil, nil))
		require.ErrorContains(t, run(t, c, "echo", strings.Repeat("x", 70<<10), nil), "at most")
		require.ErrorContains(t, run(t, c, "echo", 7, &echo), "echo: the camera's answer")

		n.cam.execute = func(context.Context, string, cloud.Command) cloud.Reply {
			return cloud.Reply{Error: cloud.Refuse(cloud.CodeUnable, "no siren")}
		}
		var r *cloud.Refusal
		require.ErrorAs(t, run(t, c, "siren", nil, nil), &r)
		require.Equal(t, cloud.CodeUnable, r.Code)
		require.Equal(t, "no siren", r.Error())
	})
}

func TestLargeRepliesGoInParts(t *testing.T) {
	joined(t, func(t *testing.T, n *carrier, ann identity.KeyPair) {
		big, _ := json.Marshal(strings.Repeat("y", 900<<10))
		n.cam.execute = func(_ context.Context, _ string, cmd cloud.Command) cloud.Reply {
			if cmd.Name == "too big" {
				return cloud.Reply{Result: json.RawMessage(`"` + strings.Repeat("y", maxReply) + `"`)}
			}
			return cloud.Reply{Result: big}
		}
		var held []packet
		n.down = func(p packet) []packet { // each pair of parts swapped
			require.LessOrEqual(t, len(p.msg), cloud.MaxMessage)
			if len(p.msg) < maxPart {
				return append([]packet{p}, held...)
			}
			if held = append(held, p); len(held) == 2 {
				out := []packet{held[1], held[0]}
				held = nil
				return out
			}
			return nil
		}
		c := dial(t, n, "phone", ann)
		defer c.Close()
		var got string
		require.NoError(t, run(t, c, "list", nil, &got))
		require.Len(t, got, 900<<10)
		require.ErrorContains(t, run(t, c, "too big", nil, nil), "larger than")
	})
}

func TestLostDoubledAndReorderedMessages(t *testing.T) {
	for name, hook := range map[string]func(i int, p packet) []packet{
		"every third lost": func(i int, p packet) []packet { return []packet{p}[:min(1, i%3)] },
		"all three times":  func(_ int, p packet) []packet { return []packet{p, p, p} },
		"a quarter lost":   func(_ int, p packet) []packet { return []packet{p}[:min(1, rand.IntN(4))] },
	} {
		t.Run(name, func(t *testing.T) {
			joined(t, func(t *testing.T, n *carrier, ann identity.KeyPair) {
				up, down := 0, 0
				n.up = func(p packet) []packet { up++; return hook(up, p) }
				n.down = func(p packet) []packet { down++; return hook(down+1, p) }
				c := dial(t, n, "phone", ann)
				defer c.Close()
				for i := range 12 {
					var got int
					require.NoError(t, run(t, c, "echo", i, &got))
					require.Equal(t, i, got)
				}
				ran := n.cam.log()
				require.Len(t, ran, 12, "a command ran twice, or not at all")
				require.True(t, slices.IsSortedFunc(ran, func(a, b string) int { return len(a) - len(b) }))
			})
		})
	}
}

func TestManyCallsAtOnce(t *testing.T) {
	joined(t, func(t *testing.T, n *carrier, ann identity.KeyPair) {
		c := dial(t, n, "phone", ann)
		defer c.Close()
		var wg sync.WaitGroup
		for i := range 10 {
			wg.Go(func() {
				var got int
				if err := run(t, c, "echo", i, &got); err != nil || got != i {
					t.Errorf("call %d: %d, %v", i, got, err)
				}
			})
		}
		wg.Wait()
		require.Len(t, n.cam.log(), 10)
	})
}

func TestRestartOfTheCameraHeals(t *testing.T) {
	joined(t, func(t *testing.T, n *carrier, ann identity.KeyPair) {
		time.Sleep(30 * time.Minute) // the camera's uptime is high, then 0
		c := dial(t, n, "phone", ann)
		defer c.Close()
		require.NoError(t, run(t, c, "before", nil, nil))
		n.cam.srv.EndAll()
		n.cam.restart()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go n.cam.srv.Run(ctx)
		n.mu.Lock()
		n.seen = nil
		n.mu.Unlock()
		start := time.Now()
		require.NoError(t, run(t, c, "after", nil, nil))
		require.Zero(t, time.Since(start), "healed only by a timer")
		require.Len(t, n.seen, 3, "more than the command, message 1, and message 3 with the command")
		require.Equal(t, []string{"ann before", "ann after"}, n.cam.log())
		require.NoError(t, run(t, c, "then", nil, nil))
		cancel()
		synctest.Wait()
	})
}

func TestForgedHintsTakeNothingAway(t *testing.T) {
	joined(t, func(t *testing.T, n *carrier, ann identity.KeyPair) {
		c := dial(t, n, "phone", ann)
		defer c.Close()
		n.up = func(p packet) []packet {
			n.apps["phone"].in <- unknownAnswer(sessionID(p.msg[1:headLen]))
			n.apps["phone"].in <- []byte{typeHandshake2}
			return []packet{p}
		}
		for i := range 5 {
			require.NoError(t, run(t, c, "echo", i, nil))
		}
		require.Len(t, n.cam.log(), 5)
	})
}

func TestSessionIsRenewedByAgeAndByCount(t *testing.T) {
	joined(t, func(t *testing.T, n *carrier, ann identity.KeyPair) {
		c := dial(t, n, "phone", ann)
		defer c.Close()
		first := c.cur.id
		time.Sleep(59 * time.Minute)
		require.NoError(t, run(t, c, "a", nil, nil))
		require.Equal(t, first, c.cur.id)
		time.Sleep(time.Minute)
		require.NoError(t, run(t, c, "b", nil, nil))
		second := c.cur.id
		require.NotEqual(t, first, second)
		c.mu.Lock()
		c.cur.send.cs.SetNonce(maxMessages)
		c.mu.Unlock()
		require.NoError(t, run(t, c, "c", nil, nil))
		require.NotEqual(t, second, c.cur.id)
		require.Len(t, n.cam.log(), 3)
		time.Sleep(keepOld + time.Second)
		require.Equal(t, 1, n.cam.srv.Sessions())
	})
}

// A copy that was held back may be refused as late: what counts is the copy that ran.
func TestLateCopyDoesNotFailTheCall(t *testing.T) {
	joined(t, func(t *testing.T, n *carrier, ann identity.KeyPair) {
		c := dial(t, n, "phone", ann)
		defer c.Close()
		var held []packet
		hold := func(p packet) []packet { held = append(held, p); return nil }
		n.up = hold
		got := make(chan error, 1)
		go func() { got <- run(t, c, "held", nil, nil) }()
		synctest.Wait()
		require.Len(t, held, 1)
		n.hook(nil)
		require.NoError(t, run(t, c, "overtakes", nil, nil))
		n.hook(func(p packet) []packet { return append(held, p) }) // its copy, after 3 s
		require.NoError(t, <-got)
		require.Equal(t, []string{"ann overtakes", "ann held"}, n.cam.log())
	})
}

func TestS1_HeldCommandIsNotBegunAfterItsCaller(t *testing.T) {
	joined(t, func(t *testing.T, n *carrier, ann identity.KeyPair) {
		c := dial(t, n, "phone", ann)
		defer c.Close()
		var held []packet
		n.up = func(p packet) []packet { held = append(held, p); return nil }
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		err := c.Call(ctx, "siren.on", nil, nil)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, "siren.on: no answer from the camera")
		time.Sleep(time.Second)
		for _, p := range held {
			n.toCam <- p
		}
		synctest.Wait()
		require.Empty(t, n.cam.log())
	})
}

func TestStrangersAreToldSo(t *testing.T) {
	joined(t, func(t *testing.T, n *carrier, ann identity.KeyPair) {
		_, err := Dial(t.Context(), n.app("x"), n.cam.config("x", identity.NewKeyPair()))
		var r *cloud.Refusal
		require.ErrorAs(t, err, &r)
		require.Equal(t, cloud.CodePermission, r.Code)

		c := dial(t, n, "phone", ann)
		defer c.Close()
		n.cam.mu.Lock()
		clear(n.cam.members)
		n.cam.mu.Unlock()
		for range 2 {
			require.ErrorAs(t, run(t, c, "echo", 1, nil), &r)
			require.Equal(t, cloud.CodePermission, r.Code)
		}
	})
}

func TestDialGivesUpWithItsContext(t *testing.T) {
	for name, change := range map[string]func(*camera, *ClientConfig){
		"unbound":         func(c *camera, _ *ClientConfig) { c.bind(2, "", false) },
		"old epoch":       func(_ *camera, k *ClientConfig) { k.Epoch = 9 },
		"another bind id": func(_ *camera, k *ClientConfig) { k.BindID = "00" },
		"another key":     func(_ *camera, k *ClientConfig) { k.Device = identity.NewKeyPair().Public },
		"another client":  func(_ *camera, k *ClientConfig) { k.ClientID = "tablet" },
	} {
		t.Run(name, func(t *testing.T) {
			joined(t, func(t *testing.T, n *carrier, ann identity.KeyPair) {
				cfg := n.cam.config("phone", ann)
				change(n.cam, &cfg)
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				defer cancel()
				_, err := Dial(ctx, n.app("phone"), cfg)
				require.ErrorIs(t, err, context.DeadlineExceeded)
				require.Zero(t, n.cam.srv.Sessions())
			})
		})
	}
}

func TestDialRefusesBadConfigs(t *testing.T) {
	t.Parallel()
	good := newCamera(t).config("phone", identity.NewKeyPair())
	for want, change := range map[string]func(*ClientConfig){
		"client id":         func(k *ClientConfig) { k.ClientID = "a/b" },
		"camera's noise":    func(k *ClientConfig) { k.Device = k.Device[:31] },
		"low-order point":   func(k *ClientConfig) { k.Device = make([]byte, 32) },
		"own noise key: 0 ": func(k *ClientConfig) { k.Static = identity.KeyPair{} },
	} {
		cfg := good
		change(&cfg)
		_, err := Dial(t.Context(), nil, cfg)
		require.ErrorContains(t, err, want)
	}
}

type brokenConn struct{}

var errBroken = errors.New("cable cut")

func (brokenConn) Send(context.Context, []byte) error      { return nil }
func (brokenConn) Receive(context.Context) ([]byte, error) { return nil, errBroken }

func TestBrokenConnection(t *testing.T) {
	t.Parallel()
	_, err := Dial(t.Context(), brokenConn{}, newCamera(t).config("phone", identity.NewKeyPair()))
	require.ErrorIs(t, err, errBroken)
}

func TestCallsEndWithClose(t *testing.T) {
	joined(t, func(t *testing.T, n *carrier, ann identity.KeyPair) {
		c := dial(t, n, "phone", ann)
		n.up = func(packet) []packet { return nil }
		got := make(chan error, 1)
		go func() { got <- c.Call(t.Context(), "echo", 1, nil) }()
		synctest.Wait()
		require.NoError(t, c.Close())
		require.ErrorIs(t, <-got, ErrClosed)
		require.ErrorIs(t, c.Call(t.Context(), "echo", 1, nil), ErrClosed)
	})
}

func BenchmarkCall(b *testing.B) {
	c, ann := newCamera(nil), identity.NewKeyPair()
	c.add("ann", ann.Public)
	n, leave := join(c)
	defer leave()
	cl, err := Dial(b.Context(), n.app("phone"), c.config("phone", ann))
	if err != nil {
		b.Fatal(err)
	}
	defer cl.Close()
	for b.Loop() {
		if err := cl.Call(b.Context(), "status.get", nil, nil); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkHandshake(b *testing.B) {
	c, ann := newCamera(nil), identity.NewKeyPair()
	c.add("ann", ann.Public)
	n, leave := join(c)
	defer leave()
	for i := 0; b.Loop(); i++ {
		cl, err := Dial(b.Context(), n.app(fmt.Sprint("phone", i%4)), c.config(fmt.Sprint("phone", i%4), ann))
		if err != nil {
			b.Fatal(err)
		}
		cl.Close()
	}
}

// A command that was carried out, but whose answer was lost with the session, is
// not carried out again when another client of the member sends it by its id.
func TestS1_CommandThatGoesOnElsewhereRunsOnce(t *testing.T) {
	joined(t, func(t *testing.T, n *carrier, ann identity.KeyPair) {
		first := dial(t, n, "phone", ann)
		down := func(hook func(packet) []packet) {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.down = hook
		}
		down(func(packet) []packet { return nil })
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		id := NewCommandID()
		require.ErrorIs(t, first.CallAs(ctx, id, "echo", 7, nil), context.DeadlineExceeded)
		first.Close()
		down(nil)
		second := dial(t, n, "lan", ann)
		defer second.Close()
		var got int
		require.NoError(t, second.CallAs(t.Context(), id, "echo", 7, &got))
		require.Equal(t, 7, got)
		require.Len(t, n.cam.log(), 1)
	})
}
