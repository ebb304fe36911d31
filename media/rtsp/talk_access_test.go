package rtsp

import (
	"bytes"
	"crypto/rand"
	"net"
	"testing"
	"time"

	"github.com/bluenviron/gortsplib/v4/pkg/base"
	"github.com/pion/rtp"
	"github.com/stretchr/testify/require"
)

func TestS3_TalkNeedsPermission(t *testing.T) {
	t.Parallel()
	r := newTalkRig(t, nil)
	r.push(0, time.Now())
	r.forbid.Store(true)
	c := r.raw()
	require.Equal(t, base.StatusOK, c.login().StatusCode)
	res := c.do(base.Describe, "", withBackchannel)
	require.Equal(t, base.StatusOptionNotSupported, res.StatusCode)
	require.Equal(t, base.HeaderValue{backchannel}, res.Header["Unsupported"])
	require.Equal(t, base.StatusForbidden, c.do(base.Setup, "/trackID=2", requiring(interleaved("0-1"))).StatusCode)
	require.Equal(t, base.StatusForbidden, c.do(base.Setup, "/trackID=2", interleaved("0-1")).StatusCode)
	require.Equal(t, base.StatusOK, c.do(base.Setup, "/trackID=0", interleaved("0-1")).StatusCode)
	require.Equal(t, base.StatusForbidden, c.do(base.Setup, "/trackID=2", interleaved("2-3")).StatusCode)
	require.Equal(t, base.StatusOK, c.do(base.Play, "", nil).StatusCode)
	require.NoError(t, c.say(2)((&voice{}).next())) // a channel that was not set up
	require.True(t, c.closed())
	require.Zero(t, r.desk.Stats().Turns)

	stranger := r.raw()
	require.Equal(t, base.StatusUnauthorized, stranger.do(base.Describe, "", withBackchannel).StatusCode)
	require.Equal(t, base.StatusUnauthorized, stranger.do(base.Setup, "/trackID=2", interleaved("0-1")).StatusCode)
}

func TestS3_TalkEndsWithThePermission(t *testing.T) {
	t.Parallel()
	r := newTalkRig(t, nil)
	r.push(0, time.Now())
	sock, to := r.raw().talkUDP(func(ports string) base.Header { return base.Header{"Transport": base.HeaderValue{ports}} })
	for name, send := range map[string]func(*rtp.Packet) error{"tcp": r.raw().talk(), "udp": over(sock, to)} {
		v := &voice{}
		v.speak(t, 20, send)
		_, ok := r.desk.Talking()
		require.True(t, ok, name)
		asked := r.asked.Load()
		r.forbid.Store(true)
		began := time.Now()
		v.speak(t, 60, send)
		_, ok = r.desk.Talking()
		require.False(t, ok, name)
		pcm, _ := r.heard(began)
		require.Less(t, len(pcm), 16000*12/10, "samples that are heard after the end")
		require.LessOrEqual(t, r.asked.Load()-asked, int32(3), "it is not asked at each packet")
		r.forbid.Store(false)
		began = time.Now()
		v.speak(t, 80, send)
		r.requireFloorFree()
		pcm, _ = r.heard(began)
		require.NotEmpty(t, pcm, "it may again")
	}
}

func TestS3_RecheckCutsTalkAtOnce(t *testing.T) {
	t.Parallel()
	r := newTalkRig(t, nil)
	r.push(0, time.Now())
	send := r.raw().talk()
	v := &voice{}
	v.speak(t, 10, send)
	r.Recheck()
	v.speak(t, 10, send)
	_, ok := r.desk.Talking()
	require.True(t, ok)
	r.forbid.Store(true)
	r.Recheck()
	_, ok = r.desk.Talking()
	require.False(t, ok, "before its next packet")
	v.speak(t, 10, send)
	_, ok = r.desk.Talking()
	require.False(t, ok)
}

func TestS3_DroppedTalkerIsSilentAtOnce(t *testing.T) {
	t.Parallel()
	r := newTalkRig(t, nil)
	r.push(0, time.Now())
	send := r.raw().talk()
	v := &voice{}
	v.speak(t, 20, send)
	require.True(t, r.board.State().Talking)
	r.Drop(user)
	began := time.Now()
	eventually(t, "silence", func() bool { return !r.board.State().Talking })
	require.Less(t, time.Since(began), lease/2, "it does not wait for the lease")
	_, ok := r.desk.Talking()
	require.False(t, ok)
}

func TestS3_ShutDeskIsSilentForAllViewers(t *testing.T) {
	t.Parallel()
	r := newTalkRig(t, nil)
	r.push(0, time.Now())
	send := r.raw().talk()
	v := &voice{}
	v.speak(t, 10, send)
	r.desk.Shut("privacy")
	v.speak(t, 10, send)
	require.False(t, r.board.State().Talking)
	r.desk.Open()
	v.speak(t, 10, send)
	require.True(t, r.board.State().Talking)
}

func TestS3_TalkOverUDPComesFromTheViewerAlone(t *testing.T) {
	t.Parallel()
	r := newTalkRig(t, nil)
	r.push(0, time.Now())
	sock, to := r.raw().talkUDP(func(ports string) base.Header { return base.Header{"Transport": base.HeaderValue{ports}} })
	for _, from := range []string{"127.0.0.1:0", "127.0.0.2:0", "127.0.0.2:" + port(sock)} {
		stranger, err := net.ListenPacket("udp", from)
		require.NoError(t, err)
		(&voice{}).speak(t, 5, over(stranger.(*net.UDPConn), to))
		require.NoError(t, stranger.Close())
	}
	require.Zero(t, r.desk.Stats().Turns)
	(&voice{}).speak(t, 5, over(sock, to))
	require.EqualValues(t, 1, r.desk.Stats().Turns)
}

func port(sock *net.UDPConn) string {
	_, p, _ := net.SplitHostPort(sock.LocalAddr().String())
	return p
}

// There is no way to agree on a key for what clients encrypt themselves: those
// that come by TLS talk over their connection.
func TestS3_TalkOverSRTPFallsBackToTLS(t *testing.T) {
	t.Parallel()
	r := newTalkRig(t, withTLS)
	r.push(0, time.Now())
	c := r.rawTLS()
	require.Equal(t, base.StatusOK, c.login().StatusCode)
	body := string(c.do(base.Describe, "", withBackchannel).Body)
	require.Contains(t, body, "m=video 0 RTP/SAVP 96")
	require.Contains(t, body, talkSDP)
	sealed := "RTP/SAVP;unicast;client_port=40000-40001"
	for _, refused := range []string{sealed, "RTP/SAVP/TCP;unicast;interleaved=0-1", "RTP/AVP;unicast;client_port=40000-40001", "RTP/AVP;multicast"} {
		res := c.do(base.Setup, "/trackID=2", base.Header{"Transport": base.HeaderValue{refused}})
		require.Equal(t, base.StatusUnsupportedTransport, res.StatusCode, refused)
	}
	res := c.do(base.Setup, "/trackID=2", base.Header{"Transport": base.HeaderValue{sealed + ",RTP/AVP/TCP;unicast;interleaved=4-5"}})
	require.Equal(t, base.StatusOK, res.StatusCode)
	require.NotContains(t, res.Header, "KeyMgmt")
	require.Equal(t, base.StatusOK, c.do(base.Setup, "/trackID=0", interleaved("0-1")).StatusCode)
	require.Equal(t, base.StatusOK, c.do(base.Play, "", nil).StatusCode)
	r.requireVoice(30, func() { (&voice{}).speak(t, 30, c.say(4)) })
}

func TestM6_VanishedTalkerFreesTheFloor(t *testing.T) {
	t.Parallel()
	r := newTalkRig(t, nil)
	r.push(0, time.Now())
	for range 3 {
		c := r.raw()
		(&voice{}).speak(t, 5, c.talk())
		_, ok := r.desk.Talking()
		require.True(t, ok)
		require.NoError(t, c.conn.Close())
		began := time.Now()
		eventually(t, "the floor is free", func() bool { _, ok := r.desk.Talking(); return !ok })
		require.Less(t, time.Since(began), lease/2, "it does not wait for the lease")
	}
	eventually(t, "nobody is left", func() bool { return r.Viewers() == 0 })
}

func TestR6_FloodOfTalkHarmsNoViewer(t *testing.T) {
	t.Parallel()
	r := newTalkRig(t, nil)
	r.play()
	watcher := r.raw()
	watcher.play()
	p := watcher.pictures()
	send := r.raw().talk()
	sock, to := r.raw().talkUDP(func(ports string) base.Header { return base.Header{"Transport": base.HeaderValue{ports}} })
	done := make(chan error, 1)
	go func() {
		v := &voice{}
		first := v.next()
		for range 20000 {
			first.SequenceNumber, first.Timestamp = first.SequenceNumber+1, first.Timestamp+160
			if err := send(first); err != nil {
				done <- err
				return
			}
			_ = over(sock, to)(first)
		}
		done <- nil
	}()
	var got [][]byte
	for range 50 {
		b, err := p.next()
		require.NoError(t, err)
		got = append(got, b)
	}
	requireRun(t, r.units(), got, 50)
	require.NoError(t, <-done)
	eventually(t, "all that came over TCP is counted", func() bool { s := r.desk.Stats(); return s.Packets+s.Refused >= 20000 })
	pcm, _ := r.heard(time.Time{})
	require.Less(t, len(pcm), 16000*30, "it is played at the speaker's pace")
}

func TestR6_GarbageOnTheBackChannel(t *testing.T) {
	t.Parallel()
	r := newTalkRig(t, nil)
	r.push(0, time.Now())
	c := r.raw()
	send := c.talk()
	noise := make([]byte, 1000)
	for _, b := range [][]byte{{}, {0}, {0x80, 0}, noise[:12], bytes.Repeat([]byte{0xff}, 900), make([]byte, maxTalk), make([]byte, maxTalk+1), make([]byte, maxRequest)} {
		_, _ = rand.Read(noise)
		_, err := c.out.Write(append([]byte{'$', 4, byte(len(b) >> 8), byte(len(b))}, b...))
		require.NoError(t, err)
	}
	p := (&voice{}).next()
	p.PayloadType = 96
	require.NoError(t, send(p))
	eventually(t, "garbage is counted", func() bool { return r.desk.Stats().Garbage >= 5 })
	require.Zero(t, r.desk.Stats().Turns)
	r.requireVoice(30, func() { (&voice{}).speak(t, 30, send) })
}

// Frames reach the ear whole, however the connection cuts them.
func TestM2_FramesOfTalkAtAnyBorder(t *testing.T) {
	t.Parallel()
	var wire []byte
	var want [][]byte
	for n := range 20 {
		b := bytes.Repeat([]byte{byte(n)}, n*13%47)
		for channel := byte(2); channel < 6; channel++ {
			wire = append(append(wire, '$', channel, 0, byte(len(b))), b...)
		}
		if len(b) > 0 {
			want = append(want, b)
		}
		wire = append(wire, "OPTIONS * RTSP/1.0\r\nContent-Length: 2\r\n\r\n$\x04"...)
	}
	for size := 1; size < 70; size++ {
		var f framer
		var got [][]byte
		f.listen([]track{{on: true, channel: 2}})
		f.hear(4, func(b []byte) { got = append(got, bytes.Clone(b)) })
		for rest := wire; len(rest) > 0; {
			n := min(size, len(rest))
			require.NoError(t, f.take(rest[:n]))
			rest = rest[n:]
		}
		require.Equal(t, want, got)
		f.answered()
		f.listen(nil)
		require.Nil(t, f.ear)
		require.ErrorIs(t, f.take(wire[:1+4]), errNoTrack)
	}
}
