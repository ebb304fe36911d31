package rtsp

import (
	"crypto/rand"
	"encoding/binary"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/bluenviron/gortsplib/v4/pkg/base"
	"github.com/bluenviron/gortsplib/v4/pkg/headers"
	"github.com/pion/rtcp"
	"github.com/stretchr/testify/require"
)

// Who sets up the picture and not the sound has the picture by its own key.
func TestM2_SRTPOfOneTrackOfTwo(t *testing.T) {
	t.Parallel()
	for track, suffix := range []string{"/trackID=0", "/trackID=1"} {
		t.Run(suffix, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, withTLS)
			r.sound()
			socks, err := listenPair(net.IPv4(127, 0, 0, 1), 0)
			require.NoError(t, err)
			t.Cleanup(socks.close)
			c := r.rawTLS()
			r.play()
			require.Equal(t, base.StatusOK, c.login().StatusCode)
			th := headers.Transport{Secure: true, ClientPorts: &[2]int{socks.ports()[0], socks.ports()[1]}}
			res := c.do(base.Setup, suffix, base.Header{"Transport": th.Marshal()})
			require.Equal(t, base.StatusOK, res.StatusCode)
			opens, err := newContext(keyInAnswer(t, res))
			require.NoError(t, err)
			require.Equal(t, base.StatusOK, c.do(base.Play, "", nil).StatusCode)
			b := make([]byte, 2000)
			require.NoError(t, socks.rtp.SetReadDeadline(time.Now().Add(patience)))
			n, err := socks.rtp.Read(b)
			require.NoError(t, err)
			_, err = opens.DecryptRTP(nil, b[:n], nil)
			require.NoError(t, err, "track %d", track)
		})
	}
}

// Forged reports, each of another sender, leave nothing behind, and the client's
// own go on to count.
func TestS3_ForgedReportsCostNoMemory(t *testing.T) {
	client, err := newSealer(1)
	require.NoError(t, err)
	r := &reports{key: client.keys[0]}
	require.NoError(t, r.begin())
	report := func(sender uint32) []byte {
		plain, err := (&rtcp.ReceiverReport{SSRC: sender}).Marshal()
		require.NoError(t, err)
		b, err := client.seal(make([]byte, 0, 200), plain, 0, true)
		require.NoError(t, err)
		return b
	}
	forge := func() {
		b := report(7)
		rand.Read(b[len(b)-4:])
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		for i := range uint32(20_000) {
			binary.BigEndian.PutUint32(b[4:], 1000+i)
			require.False(t, r.has(b))
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		require.Less(t, int64(after.HeapAlloc)-int64(before.HeapAlloc), int64(1<<20))
	}
	forge()
	first := report(7)
	require.True(t, r.has(first))
	require.False(t, r.has(first), "replayed")
	forge()
	require.True(t, r.has(report(7)))
	require.False(t, r.has(report(8)), "of another sender")
	require.False(t, r.has(nil))
}

// A Recheck at the very moment that a session is made does not end it.
func TestS3_RecheckWhileASessionIsMade(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.push(0, time.Now())
	o, err := (&handler{srv: r.Server, ctx: t.Context()}).offer(r.stream)
	require.NoError(t, err)
	v, err := r.register(t.Context(), o, user, password, nil)
	require.NoError(t, err)
	r.Recheck()
	require.NoError(t, v.ctx.Err())
	r.refuse.Store(true)
	r.Recheck()
	require.Error(t, v.ctx.Err())
	r.unregister(v)
}

// Who loses the right while a DESCRIBE waits for the first picture is not told
// the key of a group.
func TestS3_NoKeyForWhoLostTheRightMeanwhile(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	r := newRig(t, withMulticast)
	r.stream.Ring.Clear()
	c := r.rawTLS()
	c.address += "?multicast"
	res := c.do(base.Describe, "", nil)
	c.answer(res)
	c.write(base.Describe, "", nil)
	<-r.asked // the request has been judged, and waits
	r.refuse.Store(true)
	r.Recheck()
	r.push(0, time.Now())
	res, _, err := c.read()
	require.NoError(t, err)
	require.Equal(t, base.StatusServiceUnavailable, res.StatusCode)
	require.Empty(t, res.Body)
}
