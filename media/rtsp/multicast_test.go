package rtsp

import (
	"bytes"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bluenviron/gortsplib/v4"
	"github.com/bluenviron/gortsplib/v4/pkg/base"
	"github.com/bluenviron/gortsplib/v4/pkg/headers"
	"github.com/pion/rtcp"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

const testGroup = "239.192.7.1"

func withMulticast(c *Config) {
	withTLS(c)
	c.TCP, c.UDP, c.Multicast = false, false, true
	c.MulticastGroup, c.MulticastInterface, c.MulticastPort = netip.MustParseAddr(testGroup), "lo", 5004
}

var (
	plainMulticast  = base.Header{"Transport": base.HeaderValue{"RTP/AVP;multicast"}}
	sealedMulticast = base.Header{"Transport": base.HeaderValue{"RTP/SAVP;multicast"}}
)

// ask makes a request with a copy of headers.
func (c *rawClient) ask(method base.Method, suffix string, h base.Header) *base.Response {
	c.t.Helper()
	own := base.Header{}
	for k, v := range h {
		own[k] = v
	}
	return c.do(method, suffix, own)
}

// multicast plays, video alone, and returns the answer to SETUP.
func (c *rawClient) multicast(h base.Header) *base.Response {
	c.t.Helper()
	require.Equal(c.t, base.StatusOK, c.login().StatusCode)
	res := c.ask(base.Setup, "/trackID=0", h)
	require.Equal(c.t, base.StatusOK, res.StatusCode)
	require.Equal(c.t, base.StatusOK, c.do(base.Play, "", nil).StatusCode)
	return res
}

// hearGroup reads what comes to a port of the group.
func hearGroup(t *testing.T, port int) *net.UDPConn {
	t.Helper()
	lo, err := net.InterfaceByName("lo")
	require.NoError(t, err)
	c, err := net.ListenMulticastUDP("udp4", lo, &net.UDPAddr{IP: net.ParseIP(testGroup), Port: port})
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	require.NoError(t, c.SetReadDeadline(time.Now().Add(patience)))
	return c
}

func readPacket(t *testing.T, c *net.UDPConn) []byte {
	t.Helper()
	b := make([]byte, 2000)
	n, err := c.Read(b)
	require.NoError(t, err)
	return b[:n]
}

// Two viewers of a group, the second late, and one of the encrypted group get
// every frame, by gortsplib's client.
func TestM2_MulticastClientsGetEveryFrame(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	r := newRig(t, withMulticast)
	r.sound()
	r.play()
	done := make(chan struct{})
	view := func(address string) {
		defer func() { done <- struct{}{} }()
		c, desc, err := r.tryClient(gortsplib.TransportUDPMulticast, address)
		if !assertNo(t, err) {
			return
		}
		defer c.Close()
		// While it joins, its sockets fill up and nobody reads them.
		c.OnPacketsLost = func(uint64) {}
		got := receiveSome(t, c, desc, 90, func(error) {})
		requireRun(t, r.units(), got[30:], 60)
	}
	go view(r.url("main"))
	eventually(t, "the first", func() bool { return r.Stats().Frames > 10 })
	go view(r.url("main"))
	go view(r.secureURL("main"))
	for range 3 {
		<-done
	}
	eventually(t, "all gone", func() bool { return r.Viewers() == 0 })
}

func assertNo(t *testing.T, err error) bool {
	if err != nil {
		t.Error(err)
	}
	return err == nil
}

func TestM2_MulticastAnswersAndPackets(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	r := newRig(t, withMulticast)
	r.sound()
	r.push(0, time.Now())
	video, reports, sealed := hearGroup(t, 5004), hearGroup(t, 5005), hearGroup(t, 5008)
	receiveTTL(t, video)

	first := r.raw()
	var h headers.Transport
	res := first.multicast(plainMulticast)
	require.NoError(t, h.Unmarshal(res.Header["Transport"]))
	require.Contains(t, res.Header["Transport"][0], "RTP/AVP;multicast;destination="+testGroup+";port=5004-5005;ttl=1;ssrc=")
	require.Contains(t, res.Header["Session"][0], "timeout=60")
	require.Equal(t, "multicast", r.Sessions()[0].Transport)
	picture, err := first.pictures().fromGroup(video)
	require.NoError(t, err)
	require.Equal(t, len(pictureBytes(r.units()[0])), len(picture))
	require.True(t, bytes.Equal(pictureBytes(r.units()[0]), picture), "begins with the key frame that is there")
	list, err := rtcp.Unmarshal(readPacket(t, reports))
	require.NoError(t, err)
	require.Equal(t, *h.SSRC, list[0].(*rtcp.SenderReport).SSRC)

	second := r.raw()
	require.Equal(t, res.Header["Transport"], second.multicast(plainMulticast).Header["Transport"], "one sender for all")
	require.Equal(t, "main", <-r.asked, "a key frame is asked for, for who joins later")

	third := r.rawTLS()
	res = third.multicast(sealedMulticast)
	require.Contains(t, res.Header["Transport"][0], "RTP/SAVP;multicast;destination="+testGroup+";port=5008-5009;ttl=1;ssrc=")
	opens, err := newContext(keyInAnswer(t, res))
	require.NoError(t, err)
	_, err = opens.DecryptRTP(nil, readPacket(t, sealed), nil)
	require.NoError(t, err)
	require.Equal(t, "srtp/multicast", r.Sessions()[2].Transport)

	for _, c := range []*rawClient{first, second} {
		require.Len(t, r.groupKeys(), 2)
		require.Equal(t, base.StatusNotImplemented, c.do(base.Pause, "", nil).StatusCode, "gortsplib's own multicast dies of this")
		require.Equal(t, base.StatusOK, c.do(base.Teardown, "", nil).StatusCode)
	}
	eventually(t, "a group without viewers forgotten", func() bool { return len(r.groupKeys()) == 1 })
	for {
		list, err := rtcp.Unmarshal(readPacket(t, reports))
		require.NoError(t, err)
		if _, bye := list[1].(*rtcp.Goodbye); bye {
			break
		}
	}
	third.conn.Close()
	eventually(t, "the other one, whose viewer is just gone", func() bool { return len(r.groupKeys()) == 0 && r.Viewers() == 0 })
}

// receiveTTL fails the test unless the next packet comes with a TTL of 1.
func receiveTTL(t *testing.T, c *net.UDPConn) {
	t.Helper()
	raw, err := c.SyscallConn()
	require.NoError(t, err)
	require.NoError(t, raw.Control(func(fd uintptr) {
		require.NoError(t, unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_RECVTTL, 1))
	}))
}

// fromGroup returns the next picture that comes to a group.
func (p *pictureReader) fromGroup(c *net.UDPConn) ([]byte, error) {
	b, oob := make([]byte, 2000), make([]byte, 100)
	for {
		n, m, _, _, err := c.ReadMsgUDP(b, oob)
		if err != nil {
			return nil, err
		}
		controls, err := unix.ParseSocketControlMessage(oob[:m])
		require.NoError(p.c.t, err)
		require.Len(p.c.t, controls, 1)
		require.EqualValues(p.c.t, multicastTTL, controls[0].Data[0], "TTL")
		if got, err := p.add(bytes.Clone(b[:n])); err == nil {
			return got, nil
		}
	}
}

func (r *rig) groupKeys() (list []groupKey) {
	r.Server.mu.Lock()
	defer r.Server.mu.Unlock()
	for k := range r.groups {
		list = append(list, k)
	}
	return list
}

// A client that is told of the group before it sets up a session learns address,
// ports and key of what it will get then.
func TestM2_MulticastInTheDescription(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	r := newRig(t, withMulticast)
	r.sound()
	r.push(0, time.Now())
	plain := string(r.raw().login().Body)
	require.Contains(t, plain, "c=IN IP4 0.0.0.0\r\n")
	require.Contains(t, plain, "m=video 0 RTP/AVP")

	c := r.raw()
	c.address += "?vlcmulticast"
	told := string(c.login().Body)
	require.Contains(t, told, "c=IN IP4 "+testGroup+"/1\r\n")
	require.Contains(t, told, "m=video 5004 RTP/AVP 96\r\n")
	require.Contains(t, told, "m=audio 5006 RTP/AVP 0\r\n")
	require.Len(t, r.groupKeys(), 1)
	c.conn.Close()
	eventually(t, "nobody asks any more", func() bool { return len(r.groupKeys()) == 0 })

	c = r.rawTLS()
	c.address += "?multicast"
	body := c.login().Body
	require.Contains(t, string(body), "m=video 5008 RTP/SAVP 96\r\n")
	key := keyIn(t, body, 0)
	res := c.ask(base.Setup, "/trackID=0", sealedMulticast)
	require.Equal(t, base.StatusOK, res.StatusCode)
	require.Equal(t, key, keyInAnswer(t, res))
	other := r.rawTLS()
	require.NotEqual(t, key, keyIn(t, other.login().Body, 0), "the key of the group is for who asks for it")
	require.Equal(t, base.StatusOK, c.do(base.Play, "", nil).StatusCode)
}

// Nobody who may not look any more can read on: when a user is dropped who knows
// the key of a group, all its viewers must come again, and get another one.
func TestS3_MulticastHasANewKeyAfterDrop(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	var changed atomic.Bool // the password of one of the two
	r := newRigWith(t, withMulticast, func(s *Server) {
		s.cred = func(u string) (string, bool) {
			if u == user && changed.Load() {
				return "another", true
			}
			return password, u == user || u == "another"
		}
	})
	r.sound()
	r.push(0, time.Now())
	join := func(name string) (*rawClient, *base.Response) {
		c := r.rawTLS()
		c.user = name
		return c, c.multicast(sealedMulticast)
	}
	stays, before := join("another")
	leaves, same := join(user)
	require.Equal(t, keyInAnswer(t, before), keyInAnswer(t, same))
	require.Equal(t, base.StatusOK, leaves.do(base.Teardown, "", nil).StatusCode)
	eventually(t, "it has left", func() bool { return r.Viewers() == 1 })

	r.Drop("a third one")
	require.Len(t, r.groupKeys(), 1)
	r.Drop(user) // has no session any more, but knows the key
	require.True(t, stays.closed())
	eventually(t, "all ended", func() bool { return r.Viewers() == 0 })
	_, after := join("another")
	require.NotEqual(t, keyInAnswer(t, before), keyInAnswer(t, after))
	require.NotEqual(t, before.Header["Transport"], after.Header["Transport"], "the SSRC")

	leaves, _ = join(user)
	require.Equal(t, base.StatusOK, leaves.do(base.Teardown, "", nil).StatusCode)
	eventually(t, "it has left again", func() bool { return r.Viewers() == 1 })
	r.Recheck()
	require.Len(t, r.groupKeys(), 1, "nothing has changed")
	changed.Store(true)
	r.Recheck()
	eventually(t, "a changed password ends it too", func() bool { return len(r.groupKeys()) == 0 && r.Viewers() == 0 })
}

// A member that asks for a stream with another sound gets it; the others, whose
// sound has ended, come again.
func TestM2_MulticastFollowsTheSound(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	r := newRigWith(t, withMulticast, func(s *Server) { s.vanish.session = 400 * time.Millisecond })
	r.push(0, time.Now())
	c := r.raw()
	old := c.multicast(plainMulticast)
	r.sound()
	d := r.raw()
	require.NotEqual(t, old.Header["Transport"], d.multicast(plainMulticast).Header["Transport"])
	eventually(t, "the first has ended", func() bool { return r.Viewers() == 1 })
	require.Equal(t, 1, r.reasons()[errChanged.Error()])

	e := r.rawTLS()
	e.multicast(sealedMulticast)
	require.True(t, e.closed(), "one over TLS that is silent")
	eventually(t, "no longer there", func() bool { return r.Viewers() == 1 && r.reasons()[errSilent.Error()] == 1 })
}

func TestM2_MulticastThatCannotLeaveIs503(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *Config) { withMulticast(c); c.MulticastInterface = "nowhere" })
	require.NotZero(t, r.log.FilterMessageSnippet("cannot leave").Len(), "told when the server begins")
	r.push(0, time.Now())
	c := r.raw()
	require.Equal(t, base.StatusOK, c.login().StatusCode)
	require.Equal(t, base.StatusServiceUnavailable, c.ask(base.Setup, "/trackID=0", plainMulticast).StatusCode)
	require.Zero(t, r.Viewers())
	require.NotZero(t, r.log.FilterMessageSnippet("cannot send multicast").Len())
}

// ffmpeg and GStreamer find and play the group.
func TestM2_PlayersOverMulticast(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	r := newRig(t, withMulticast)
	r.play()
	out := tempFile(t, "out.h264")
	check := func() {
		b, err := os.ReadFile(out)
		require.NoError(t, err)
		list := received(t, b)
		require.NotEmpty(t, list)
		requireRun(t, r.units(), list[1:], 50)
	}
	run(t, program(t, "ffmpeg", "ffmpeg"), "-y", "-v", "warning", "-rtsp_transport", "udp_multicast", "-i", r.url("main"), "-map", "0:v", "-c", "copy", "-frames:v", "60", "-f", "h264", out)
	check()
	gst := program(t, "gst-launch-1.0", "gstreamer1.0-tools, gstreamer1.0-plugins-good and gstreamer1.0-plugins-bad")
	for _, location := range []string{r.plainURL("main"), "rtsps://" + r.TLSAddr().String() + "/main?multicast"} {
		args := []string{"-q", "rtspsrc", "location=" + location, "protocols=udp-mcast", "user-id=" + user, "user-pw=" + password, "multicast-iface=lo"}
		if strings.HasPrefix(location, "rtsps") {
			args = append(args, "tls-validation-flags=0")
		}
		run(t, gst, append(args, "!", "rtph264depay", "!", "h264parse", "!", "video/x-h264,stream-format=byte-stream,alignment=au",
			"!", "identity", "eos-after=60", "!", "filesink", "location="+out)...)
		check()
	}
}
