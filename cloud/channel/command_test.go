package channel

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/identity"
)

func TestS1_SwappedAndHeldCommandsAreRefused(t *testing.T) {
	bubble(t, func(t *testing.T, c *camera, ann identity.KeyPair) {
		r := c.open(t, "phone", ann, nil)
		r.replies()
		on, off := r.seal(r.cmd("on", 1, "privacy.on")), r.seal(r.cmd("off", 2, "privacy.off"))
		c.srv.Receive("phone", off)
		c.srv.Receive("phone", on)
		synctest.Wait()
		require.Equal(t, []string{"ann privacy.off"}, c.log())
		require.ElementsMatch(t, []string{"ok off", cloud.CodeLate}, codes(r.replies()))

		held := r.seal(r.cmd("held", 3, "siren.on"))
		time.Sleep(6 * time.Second)
		c.srv.Receive("phone", held)
		synctest.Wait()
		require.Equal(t, []string{cloud.CodeLate}, codes(r.replies()))

		none, far := r.cmd("none", 4, "x"), r.cmd("far", 5, "x")
		none.Deadline, far.Deadline = 0, far.Deadline+2*time.Minute.Milliseconds()
		r.do(none)
		r.do(far)
		require.Equal(t, []string{cloud.CodeArgument, cloud.CodeArgument}, codes(r.replies()))
		require.Len(t, c.log(), 1)
	})
}

func TestS1_HeldMessage3CannotOvertake(t *testing.T) {
	bubble(t, func(t *testing.T, c *camera, ann identity.KeyPair) {
		held := c.begin(t, "phone", ann, &cloud.Command{V: 1, ID: "on", Seq: 1, Name: "privacy.on"})
		c.open(t, "phone", ann, &cloud.Command{V: 1, ID: "off", Seq: 1, Name: "privacy.off"})
		c.srv.Receive("phone", held.msg3)
		synctest.Wait()
		require.Equal(t, []string{"ann privacy.off"}, c.log())

		alone := c.begin(t, "phone", ann, &cloud.Command{V: 1, ID: "x", Seq: 1, Name: "siren.on"})
		time.Sleep(pendingFor + time.Second)
		c.srv.Receive("phone", alone.msg3)
		synctest.Wait()
		require.Len(t, c.log(), 1, "a message 3 held for more than 10 s was taken")
	})
}

func TestS1_SupersededSessionTakesOnlyRepeats(t *testing.T) {
	bubble(t, func(t *testing.T, c *camera, ann identity.KeyPair) {
		old := c.open(t, "phone", ann, nil)
		old.do(old.cmd("known", 1, "status"))
		synctest.Wait()
		held := old.seal(old.cmd("held", 2, "privacy.on"))
		repeat := old.seal(old.cmd("known", 3, "status"))
		old.replies()
		sent := c.open(t, "phone", ann, nil)
		sent.replies()
		c.srv.Receive("phone", held)
		c.srv.Receive("phone", repeat)
		synctest.Wait()
		require.Equal(t, []string{cloud.CodeLate, "ok known"}, codes(old.replies()))
		require.Equal(t, []string{"ann status"}, c.log())
		require.Equal(t, 2, c.srv.Sessions())
		time.Sleep(keepOld + time.Second)
		require.Equal(t, 1, c.srv.Sessions(), "the old receive key outlives 10 s")
	})
}

func TestS1_CommandsOfASessionRunInOrder(t *testing.T) {
	bubble(t, func(t *testing.T, c *camera, ann identity.KeyPair) {
		var done []string
		c.execute = func(_ context.Context, _ string, cmd cloud.Command) cloud.Reply {
			if cmd.Name == "slow" {
				time.Sleep(time.Second)
			}
			c.mu.Lock()
			defer c.mu.Unlock()
			done = append(done, cmd.Name)
			return cloud.Reply{}
		}
		r := c.open(t, "phone", ann, nil)
		r.do(r.cmd("a", 1, "slow"))
		r.do(r.cmd("b", 2, "quick"))
		hasty := r.cmd("c", 3, "hasty")
		hasty.Deadline = (time.Since(c.boot) + 500*time.Millisecond).Milliseconds()
		r.do(hasty)
		r.replies()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		require.Equal(t, []string{"slow", "quick"}, done)
		require.Equal(t, []string{"ok a", "ok b", cloud.CodeLate}, codes(r.replies()))
	})
}

func TestStoredReplies(t *testing.T) {
	bubble(t, func(t *testing.T, c *camera, ann identity.KeyPair) {
		release := make(chan struct{})
		c.execute = func(context.Context, string, cloud.Command) cloud.Reply {
			<-release
			return cloud.Reply{Result: json.RawMessage(`7`)}
		}
		r := c.open(t, "phone", ann, nil)
		r.replies()
		r.do(r.cmd("a", 1, "move"))
		r.do(r.cmd("a", 2, "move"))
		second := c.open(t, "tablet", ann, nil)
		second.replies()
		second.do(second.cmd("a", 1, "move"))
		synctest.Wait()
		require.Empty(t, c.takeSent(), "an answer while it runs")
		close(release)
		synctest.Wait()
		sent := c.takeSent()
		require.Len(t, sent, 2, "each session is told once")
		r.do(r.cmd("a", 3, "move"))
		other := r.cmd("a", 4, "move")
		other.Args = json.RawMessage(`{"x":1}`)
		r.do(other)
		synctest.Wait()
		c.mu.Lock()
		c.sent = append(sent, c.sent...)
		c.mu.Unlock()
		require.Equal(t, []string{"ok a", "ok a", cloud.CodeArgument}, codes(r.replies()))
		require.Equal(t, []string{"ann move"}, c.log(), "ran more than once")

		bob := identity.NewKeyPair()
		c.add("bob", bob.Public)
		b := c.open(t, "bobs", bob, nil)
		b.do(b.cmd("a", 1, "move"))
		synctest.Wait()
		require.Len(t, c.log(), 2, "another member's id is another id")
	})
}

func TestR6_StoredRepliesAreBounded(t *testing.T) {
	bubble(t, func(t *testing.T, c *camera, ann identity.KeyPair) {
		c.execute = func(_ context.Context, _ string, cmd cloud.Command) cloud.Reply {
			n := 10
			if cmd.Name == "big" {
				n = 100 << 10
			}
			return cloud.Reply{Result: bytes.Repeat([]byte("1"), n)}
		}
		r := c.open(t, "phone", ann, nil)
		for i := range 2 * maxReplies {
			r.do(r.cmd(fmt.Sprint(i), uint64(i+1), "small"))
			synctest.Wait()
		}
		require.Len(t, c.srv.replies.list, maxReplies)
		for i := range 30 {
			r.do(r.cmd(fmt.Sprint("big", i), uint64(10000+i), "big"))
			synctest.Wait()
			require.LessOrEqual(t, c.srv.replies.size, maxReplyBytes)
		}
		c.srv.EndMember("ann")
		require.Zero(t, c.srv.replies.size)
		require.Zero(t, c.srv.Sessions())
	})
}

func TestBusyBeyondSixteen(t *testing.T) {
	bubble(t, func(t *testing.T, c *camera, ann identity.KeyPair) {
		c.execute = func(ctx context.Context, _ string, _ cloud.Command) cloud.Reply {
			<-ctx.Done()
			return cloud.Reply{}
		}
		r := c.open(t, "phone", ann, nil)
		r.replies()
		for i := range maxRunning + 1 {
			r.do(r.cmd(fmt.Sprint(i), uint64(i+1), "wait"))
		}
		require.Equal(t, []string{cloud.CodeBusy}, codes(r.replies()))
		c.srv.EndMember("ann")
		synctest.Wait()
		require.Zero(t, c.srv.running, "the member's commands go on")
		require.Empty(t, c.takeSent())
	})
}

func TestR4_PanicInACommandIsARefusal(t *testing.T) {
	bubble(t, func(t *testing.T, c *camera, ann identity.KeyPair) {
		c.execute = func(context.Context, string, cloud.Command) cloud.Reply { panic("boom") }
		r := c.open(t, "phone", ann, nil)
		r.replies()
		r.do(r.cmd("a", 1, "x"))
		r.do(cloud.Command{V: 2, ID: "b", Seq: 2, Name: "x"})
		synctest.Wait()
		require.ElementsMatch(t, []string{cloud.CodeFailed, cloud.CodeArgument}, codes(r.replies()))
	})
}
