package rtsp

import (
	"context"
	"io"
	"net"
	"testing"
	"time"

	"github.com/bluenviron/gortsplib/v4/pkg/base"
	"github.com/stretchr/testify/require"
)

// pairOf returns a connection as the server has it, and its peer.
func pairOf(t *testing.T) (*conn, net.Conn) {
	t.Helper()
	ln, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	defer ln.Close()
	peer, err := net.Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { peer.Close() })
	c, err := ln.AcceptTCP()
	require.NoError(t, err)
	s := New(Config{}, nil, nil, nil)
	require.True(t, s.admit())
	wrapped := newConn(c, s, nil)
	t.Cleanup(func() {
		wrapped.Close()
		wrapped.Close()
		require.Zero(t, s.Stats().Conns, "closed twice, counted out once")
	})
	return wrapped, peer
}

func TestM2_MediaBeginAfterTheAnswer(t *testing.T) {
	t.Parallel()
	c, peer := pairOf(t)
	ran := 0
	c.afterNextWrite(func() {
		ran++
		require.NoError(t, c.writeMedia(t.Context(), []byte("media"))) // must not wait for the answer's lock
	})
	require.Zero(t, ran)
	for range 2 {
		_, err := c.Write([]byte("answer"))
		require.NoError(t, err)
	}
	require.Equal(t, 1, ran)
	b := make([]byte, len("answermediaanswer"))
	_, err := io.ReadFull(peer, b)
	require.NoError(t, err)
	require.Equal(t, "answermediaanswer", string(b))
}

func TestM2_NoMediaAfterTheEnd(t *testing.T) {
	t.Parallel()
	c, peer := pairOf(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errTornDown)
	require.ErrorIs(t, c.writeMedia(ctx, []byte("media")), errTornDown)
	_, err := c.Write([]byte("answer"))
	require.NoError(t, err)
	require.NoError(t, c.Close())
	b, err := io.ReadAll(peer)
	require.NoError(t, err)
	require.Equal(t, "answer", string(b))
}

// gortsplib makes clients of that name wait for a second.
func TestM2_GStreamerNeedNotWait(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.push(0, time.Now())
	c := r.raw()
	require.Equal(t, base.StatusOK, c.login().StatusCode)
	h := interleaved("0-1")
	h["User-Agent"] = base.HeaderValue{"GStreamer/1.22.0"}
	start := time.Now()
	require.Equal(t, base.StatusOK, c.do(base.Setup, "/trackID=0", h).StatusCode)
	require.Less(t, time.Since(start), time.Second)
}
