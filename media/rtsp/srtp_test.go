package rtsp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bluenviron/gortsplib/v4"
	"github.com/bluenviron/gortsplib/v4/pkg/base"
	"github.com/bluenviron/gortsplib/v4/pkg/description"
	"github.com/bluenviron/gortsplib/v4/pkg/format/rtph264"
	"github.com/bluenviron/gortsplib/v4/pkg/headers"
	"github.com/bluenviron/gortsplib/v4/pkg/sdp"
	"github.com/pion/rtcp"
	"github.com/pion/srtp/v3"
	"github.com/stretchr/testify/require"
)

func TestM2_SRTPClientGetsEveryFrame(t *testing.T) {
	t.Parallel()
	for _, transport := range []gortsplib.Transport{gortsplib.TransportTCP, gortsplib.TransportUDP} {
		t.Run(transport.String(), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, withTLS)
			r.sound()
			r.play()
			c, desc, err := r.tryClient(transport, r.secureURL("main"))
			require.NoError(t, err)
			t.Cleanup(c.Close)
			got := receive(t, c, desc, 60)
			requireRun(t, r.units(), got, 60)
			require.Equal(t, map[gortsplib.Transport]string{gortsplib.TransportTCP: "srtp/tcp", gortsplib.TransportUDP: "srtp"}[transport], r.Sessions()[0].Transport)
		})
	}
}

func TestM2_FfmpegOverTLS(t *testing.T) {
	t.Parallel()
	ffmpeg := program(t, "ffmpeg", "ffmpeg")
	r := newRig(t, withTLS)
	r.sound()
	r.play()
	out := tempFile(t, "out.h264")
	run(t, ffmpeg, "-v", "warning", "-rtsp_transport", "tcp", "-i", r.secureURL("main"), "-map", "0:v", "-c", "copy", "-frames:v", "60", "-f", "h264", out,
		"-map", "0:a", "-c:a", "copy", "-t", "2", "-f", "mulaw", out+".ulaw")
	b, err := os.ReadFile(out)
	require.NoError(t, err)
	requireRun(t, r.units(), received(t, b), 60)
	requireTone(t, out+".ulaw")
}

func TestM2_GStreamerOverTLS(t *testing.T) {
	t.Parallel()
	gst := program(t, "gst-launch-1.0", "gstreamer1.0-tools, gstreamer1.0-plugins-good and gstreamer1.0-plugins-bad")
	for _, transport := range []string{"tcp", "udp"} {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, withTLS)
			r.play()
			out := tempFile(t, "out.h264")
			run(t, gst, "-q", "rtspsrc", "location=rtsps://"+r.TLSAddr().String()+"/main", "protocols="+transport, "tls-validation-flags=0", "user-id="+user, "user-pw="+password,
				"!", "rtph264depay", "!", "h264parse", "!", "video/x-h264,stream-format=byte-stream,alignment=au",
				"!", "identity", "eos-after=60", "!", "filesink", "location="+out)
			b, err := os.ReadFile(out)
			require.NoError(t, err)
			requireRun(t, r.units(), received(t, b), 55)
		})
	}
}

// keyIn reads the key of a track from an SDP.
func keyIn(t *testing.T, body []byte, track int) []byte {
	t.Helper()
	var s sdp.SessionDescription
	require.NoError(t, s.Unmarshal(body))
	var d description.Session
	require.NoError(t, d.Unmarshal(&s))
	require.True(t, d.Medias[track].Secure)
	return keyOf(d.Medias[track].KeyMgmtMikey)
}

func keyInAnswer(t *testing.T, res *base.Response) []byte {
	t.Helper()
	var k headers.KeyMgmt
	require.NoError(t, k.Unmarshal(res.Header["KeyMgmt"]))
	return keyOf(k.MikeyMessage)
}

// No two viewers, tracks or sessions share a key; the one of the SDP is that of
// the next session, and of no other.
func TestS3_EachViewerHasAKeyOfItsOwn(t *testing.T) {
	t.Parallel()
	r := newRig(t, withTLS)
	r.sound()
	r.push(0, time.Now())
	seen := map[string]bool{}
	count := 0
	note := func(key []byte) {
		require.Len(t, key, masterKey+masterSalt)
		seen[string(key)] = true
		count++
	}
	h := base.Header{"Transport": base.HeaderValue{"RTP/SAVP/TCP;unicast"}}
	for range 3 {
		c := r.rawTLS()
		unused := c.login()
		note(keyIn(t, unused.Body, 0))
		res := c.do(base.Describe, "", nil)
		for track, suffix := range []string{"/trackID=0", "/trackID=1"} {
			note(keyIn(t, res.Body, track))
			require.Equal(t, keyIn(t, res.Body, track), keyInAnswer(t, c.do(base.Setup, suffix, h)), "the answer to SETUP")
		}
		require.Equal(t, base.StatusOK, c.do(base.Teardown, "", nil).StatusCode)
		c.session = ""
		note(keyInAnswer(t, c.do(base.Setup, "/trackID=0", h))) // a second session by one DESCRIBE
	}
	require.Len(t, seen, count)
}

// What is on the wire opens with the key alone, and then is what anybody gets.
func TestS3_SAVPShowsNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, withTLS)
	socks, err := listenPair(net.IPv4(127, 0, 0, 1), 0)
	require.NoError(t, err)
	t.Cleanup(socks.close)
	c := r.rawTLS()
	r.push(0, time.Now())
	require.Equal(t, base.StatusOK, c.login().StatusCode)
	th := headers.Transport{Secure: true, ClientPorts: &[2]int{socks.ports()[0], socks.ports()[1]}}
	res := c.do(base.Setup, "/trackID=0", base.Header{"Transport": th.Marshal()})
	require.Equal(t, base.StatusOK, res.StatusCode)
	key := keyInAnswer(t, res)
	require.Equal(t, base.StatusOK, c.do(base.Play, "", nil).StatusCode)

	opens, err := newContext(key)
	require.NoError(t, err)
	wrong, err := newContext(bytes.Repeat([]byte{1}, len(key)))
	require.NoError(t, err)
	picture := pictureBytes(r.units()[0])
	dec := c.pictures()
	var got []byte
	b := make([]byte, 2000)
	for got == nil {
		require.NoError(t, socks.rtp.SetReadDeadline(time.Now().Add(patience)))
		n, err := socks.rtp.Read(b)
		require.NoError(t, err)
		for i := 12; i+32 < n; i += 32 {
			require.False(t, bytes.Contains(picture, b[i:i+32]), "bytes of the picture in the clear")
		}
		_, err = wrong.DecryptRTP(nil, b[:n], nil)
		require.Error(t, err)
		plain, err := opens.DecryptRTP(nil, b[:n], nil)
		require.NoError(t, err)
		if got, err = dec.add(plain); !errors.Is(err, rtph264.ErrMorePacketsNeeded) {
			require.NoError(t, err)
		}
	}
	require.True(t, bytes.Equal(picture, got))

	require.NoError(t, socks.rtcp.SetReadDeadline(time.Now().Add(patience)))
	n, err := socks.rtcp.Read(b)
	require.NoError(t, err)
	_, err = rtcp.Unmarshal(b[:n])
	require.Error(t, err, "a report in the clear")
	plain, err := opens.DecryptRTCP(nil, b[:n], nil)
	require.NoError(t, err)
	list, err := rtcp.Unmarshal(plain)
	require.NoError(t, err)
	require.IsType(t, &rtcp.SenderReport{}, list[0])
}

// Over SRTP by UDP a viewer that says nothing any more ends, although its
// connection stays; requests keep it, reports do if they are its client's.
func TestR1_SilentSRTPViewerEnds(t *testing.T) {
	t.Parallel()
	r := newRigWith(t, withTLS, func(s *Server) { s.vanish.session = 300 * time.Millisecond })
	r.push(0, time.Now())
	client, err := newSealer(1)
	require.NoError(t, err)
	start := func() (*rawClient, *udpPair) {
		socks, err := listenPair(net.IPv4(127, 0, 0, 1), 0)
		require.NoError(t, err)
		t.Cleanup(socks.close)
		c := r.rawTLS()
		require.Equal(t, base.StatusOK, c.login().StatusCode)
		th := headers.Transport{Secure: true, ClientPorts: &[2]int{socks.ports()[0], socks.ports()[1]}}
		h := base.Header{"Transport": th.Marshal()}
		h["KeyMgmt"], err = headers.KeyMgmt{URL: c.address, MikeyMessage: client.message(0, 7)}.Marshal()
		require.NoError(t, err)
		res := c.do(base.Setup, "/trackID=0", h)
		require.Equal(t, base.StatusOK, res.StatusCode)
		require.Contains(t, res.Header["Session"][0], ";timeout=60")
		require.Equal(t, base.StatusOK, c.do(base.Play, "", nil).StatusCode)
		return c, socks
	}
	silent, _ := start()
	require.True(t, silent.closed())
	eventually(t, "it is gone", func() bool { return r.Viewers() == 0 && r.claimed() == 0 })
	eventually(t, "the reason in the log", func() bool { return r.reasons()[errSilent.Error()] == 1 })

	_, socks := start()
	report, err := (&rtcp.ReceiverReport{SSRC: 7}).Marshal()
	require.NoError(t, err)
	to := r.doors.sealed.rtcp.LocalAddr().(*net.UDPAddr).AddrPort()
	send := func(b []byte) {
		_, err := socks.rtcp.WriteToUDPAddrPort(b, to)
		require.NoError(t, err)
	}
	now := time.NewTicker(50 * time.Millisecond)
	defer now.Stop()
	for range 20 {
		<-now.C
		require.Equal(t, 1, r.Viewers())
		b, err := client.seal(make([]byte, 0, 200), report, 0, true)
		require.NoError(t, err)
		send(b)
	}
	replayed, err := client.seal(make([]byte, 0, 200), report, 0, true)
	require.NoError(t, err)
	eventually(t, "neither plain nor replayed reports keep it", func() bool {
		send(report)
		send(replayed)
		return r.Viewers() == 0
	})
}

func (r *rig) claimed() int {
	r.Server.mu.Lock()
	defer r.Server.mu.Unlock()
	return len(r.receivers)
}

// Encrypted sequence numbers go round as plain ones do.
func TestS3_SealedPacketsBeyondTheirNumbers(t *testing.T) {
	t.Parallel()
	s, err := newSealer(1)
	require.NoError(t, err)
	opens, err := newContext(s.keys[0], srtp.SRTPReplayProtection(64))
	require.NoError(t, err)
	packet := make([]byte, 100)
	packet[0] = 2 << 6
	for i := range 110000 {
		binary.BigEndian.PutUint16(packet[2:], uint16(30000+i))
		binary.BigEndian.PutUint32(packet[12:], uint32(i))
		b, err := s.seal(make([]byte, 0, 128), packet, 0, false)
		require.NoError(t, err)
		plain, err := opens.DecryptRTP(nil, b, nil)
		require.NoError(t, err)
		require.True(t, bytes.Equal(packet, plain))
	}
	m := s.message(0, 0)
	require.EqualValues(t, (30000+109999)>>16, m.Header.CSIDMapInfo[0].ROC, "what a late member of a group is told")
}

// Nobody is told a key when what goes with it is about to be wrong.
func TestS3_KeysAreNotToldJustBeforeNumbersGoRound(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, err := newSealer(2)
		require.NoError(t, err)
		packet := make([]byte, 100)
		packet[0] = 2 << 6
		number := func(track int, n uint16) {
			binary.BigEndian.PutUint16(packet[2:], n)
			_, err := s.seal(make([]byte, 0, 128), packet, track, false)
			require.NoError(t, err)
		}
		waited := func() time.Duration {
			start := time.Now()
			s.settled(t.Context())
			return time.Since(start)
		}
		require.Zero(t, waited(), "nothing was sent yet")
		for range 1000 { // 100 packets a second of picture, 10 of sound
			number(0, 30000)
			if s.counts[0].sent%10 == 0 {
				number(1, 30000)
			}
			time.Sleep(10 * time.Millisecond)
		}
		number(0, 65300)
		number(1, 65500)
		require.Zero(t, waited())
		number(0, 65500)
		time.AfterFunc(time.Second, func() { number(0, 3) })
		require.InDelta(t, time.Second, waited(), float64(roundWait/50))
		require.EqualValues(t, 1, s.message(0, 0).Header.CSIDMapInfo[0].ROC)
		number(1, 65530)
		require.InDelta(t, roundWait, waited(), float64(roundWait/50), "a stream that stands still")
	})
}

// A SETUP that a PLAY over another connection overtakes changes nothing that is
// played from.
func TestR6_SETUPBehindAPLAYIsRefused(t *testing.T) {
	t.Parallel()
	v := &viewer{sink: member{}, tracks: make([]track, 2)}
	a := answered{viewer: v, track: 1, how: transport{way: way{by: overTCP}}}
	for _, answer := range []func(*base.Response) error{a.rewrite, a.openTalk} {
		require.ErrorIs(t, answer(&base.Response{Header: interleaved("2-3")}), errPlays)
	}
	require.False(t, v.tracks[1].on)
	require.Nil(t, v.talkback())
}
