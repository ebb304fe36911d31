package channel

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/cloud/identity"
)

// The window against a plain set of what was taken.
func TestReplayWindowAgainstModel(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var r receiver
		taken, top := map[uint64]bool{}, uint64(0)
		for range 500 {
			n := top + rnd.Uint64N(80) - min(top, 75)
			if rnd.IntN(50) == 0 {
				n += 1000
			}
			want := !taken[n] && (n >= top || top-1-n < 64)
			require.Equal(t, want, r.fresh(n), "counter %d, top %d", n, top)
			if want {
				r.take(n)
				taken[n], top = true, max(top, n+1)
			}
		}
	}
}

func TestPrologueIsUnambiguous(t *testing.T) {
	t.Parallel()
	require.NotEqual(t, Prologue("ab", "c"), Prologue("a", "bc"))
	require.NotEqual(t, Prologue("ab"), Prologue("ab", ""))
}

func TestJoinerIsBounded(t *testing.T) {
	t.Parallel()
	j := joiner{limit: maxCommand}
	for _, bad := range [][]byte{
		{kindJSON}, {kindJSON, 0, 0, 0, 1, 0, 0, 0, 0}, {kindJSON, 0, 0, 0, 1, 0, 2, 0, 2}, {kindJSON, 0, 0, 0, 1, 0, 0, 0, 3},
		append([]byte{kindJSON, 0, 0, 0, 1, 0, 0, 0, 1}, make([]byte, maxPart+1)...),
	} {
		_, err := j.add(bad)
		require.Error(t, err)
	}
	msg, err := j.add([]byte{2, 1, 2, 3})
	require.NoError(t, err)
	require.Nil(t, msg, "another kind")

	whole := bytes.Repeat([]byte("z"), maxCommand)
	a, b := split(5, whole), split(6, whole)
	for _, p := range [][]byte{a[0], a[0], b[1], a[1], b[0]} {
		msg, err = j.add(p)
		require.NoError(t, err)
	}
	require.Equal(t, whole, msg, "the newer message, in any order")
	msg, err = j.add(b[0])
	require.NoError(t, err)
	require.Nil(t, msg, "the same message twice")
}

func FuzzReceive(f *testing.F) {
	c, ann := newCamera(nil), identity.NewKeyPair()
	c.add("ann", ann.Public)
	t := &testing.T{}
	p := c.begin(t, "phone", ann, nil)
	f.Add(p.msg1)
	f.Add(p.msg3)
	r := c.open(t, "phone", ann, nil)
	f.Add(r.seal(r.cmd("a", 1, "x")))
	f.Add(unknownAnswer(r.w.id))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, msg []byte) {
		before := c.srv.Sessions()
		c.srv.Receive("fuzz", msg)
		c.srv.Receive("phone", append([]byte{typeTransport}, append(r.w.id[:], msg...)...))
		require.Equal(t, before, c.srv.Sessions())
		require.LessOrEqual(t, len(c.srv.pending), maxPending)
		require.Empty(t, c.log())
		c.takeSent()
	})
}

// FuzzInside gives the camera any plaintext and any command of an authenticated member.
func FuzzInside(f *testing.F) {
	f.Add([]byte(`{"v":1,"id":"a","seq":1,"deadline":30000,"name":"x"}`))
	f.Add(split(3, []byte(`{}`))[0])
	c, ann := newCamera(nil), identity.NewKeyPair()
	c.add("ann", ann.Public)
	r := c.open(&testing.T{}, "phone", ann, nil)
	f.Fuzz(func(t *testing.T, plain []byte) {
		if r.w.send.count() > maxMessages/2 || c.srv.Sessions() == 0 {
			r = c.open(t, "phone", ann, nil)
		}
		for _, p := range append(split(r.w.number, plain), plain) {
			m, err := r.w.send.seal(r.w.id, p)
			require.NoError(t, err)
			c.srv.Receive("phone", m)
		}
		r.w.number++
		c.srv.wg.Wait()
		require.Equal(t, 1, c.srv.Sessions())
		c.takeSent()
	})
}
