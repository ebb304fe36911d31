package rtsp

import (
	"encoding/binary"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/bluenviron/gortsplib/v4/pkg/base"
	"github.com/bluenviron/gortsplib/v4/pkg/headers"
	"github.com/stretchr/testify/require"
)

func TestM2_TransportHeader(t *testing.T) {
	t.Parallel()
	tcp, udp, multicast := way{by: overTCP}, way{by: overUDP}, way{by: overMulticast}
	for header, want := range map[string][]transport{
		"RTP/AVP/TCP;unicast;interleaved=4-5":           {{way: tcp, channels: "4-5"}},
		"RTP/AVP/TCP;interleaved=254":                   {{way: tcp, channels: "254-255"}},
		"RTP/AVP/TCP;interleaved=255-256":               {{way: tcp}},
		"RTP/AVP/TCP;interleaved=4-9":                   {{way: tcp}},
		"RTP/AVP/TCP;interleaved=x":                     {{way: tcp}},
		"rtp/avp/tcp":                                   {{way: tcp}},
		"RTP/AVP;unicast;client_port=5000-5001":         {{way: udp, ports: [2]int{5000, 5001}}},
		"RTP/AVP/UDP;unicast;client_port=5000":          {{way: udp, ports: [2]int{5000, 5001}}},
		"RTP/AVP;unicast":                               nil,
		"RTP/AVP;unicast;client_port=0-1":               nil,
		"RTP/AVP;unicast;client_port=65535-65536":       nil,
		"RTP/AVP;unicast;client_port=5000-6000":         nil,
		"RTP/AVP;multicast":                             {{way: multicast}},
		"RTP/AVP/UDP;multicast;port=1-2;ttl=9":          {{way: multicast}},
		"RTP/SAVP/UDP;unicast;client_port=2-3":          {{way: way{overUDP, true}, ports: [2]int{2, 3}}},
		"RTP/SAVP/TCP;unicast":                          {{way: way{overTCP, true}}},
		"RTP/SAVP;multicast":                            {{way: way{overMulticast, true}}},
		"RTP/AVP/TCP;mode=record":                       nil,
		`RTP/AVP/TCP;unicast;mode="PLAY"`:               {{way: tcp}},
		"RTP/AVPF;unicast;client_port=2-3, RTP/AVP/TCP": {{way: tcp}},
		"RTP/AVP;client_port=2-3,RTP/AVP/TCP;unicast":   {{way: udp, ports: [2]int{2, 3}}, {way: tcp}},
		"RTP/AVP/TCP;source=example.com;ssrc=zz;;=;":    {{way: tcp}},
		"":      nil,
		";;,,=": nil,
	} {
		require.Equal(t, want, parseTransports(base.HeaderValue{header}), header)
	}
	require.Len(t, parseTransports(base.HeaderValue{"RTP/AVP/TCP", "RTP/AVP;multicast"}), 2, "two headers are one list")
}

// Every transport is taken or refused as configured, and as the connection is
// plain or not.
func TestM2_TransportsAsConfigured(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		header string
		by     delivery
		tls    bool
	}{
		{"RTP/AVP/TCP;unicast;interleaved=6-7", overTCP, false}, {"RTP/AVP/TCP;unicast;interleaved=6-7", overTCP, true},
		{"RTP/SAVP/TCP;unicast;interleaved=6-7", overTCP, true},
		{"RTP/AVP;unicast;client_port=35000-35001", overUDP, false},
		{"RTP/SAVP;unicast;client_port=35000-35001", overUDP, true},
	} {
		for _, configured := range []delivery{overTCP, overUDP} {
			t.Run(c.header+" "+configured.String(), func(t *testing.T) {
				t.Parallel()
				r := newRig(t, func(cfg *Config) { cfg.TCP, cfg.UDP = configured == overTCP, configured == overUDP; withTLS(cfg) })
				r.push(0, time.Now())
				client := r.connect(c.tls)
				require.Equal(t, base.StatusOK, client.login().StatusCode)
				res := client.do(base.Setup, "/trackID=0", base.Header{"Transport": base.HeaderValue{c.header}})
				if c.by != configured {
					require.Equal(t, base.StatusUnsupportedTransport, res.StatusCode)
					require.Zero(t, r.Viewers())
					return
				}
				require.Equal(t, base.StatusOK, res.StatusCode)
				require.Equal(t, strings.Contains(c.header, "SAVP"), res.Header["KeyMgmt"] != nil)
				var h headers.Transport
				require.NoError(t, h.Unmarshal(res.Header["Transport"]))
				require.Equal(t, strings.Contains(c.header, "SAVP"), h.Secure)
				require.NotNil(t, h.SSRC)
				if c.by == overTCP {
					require.Equal(t, &[2]int{6, 7}, h.InterleavedIDs)
				} else {
					require.Equal(t, &[2]int{35000, 35001}, h.ClientPorts)
					require.NotNil(t, h.ServerPorts)
				}
			})
		}
	}
}

// What would show keys or pictures to the network is refused even where it is
// configured, without a word before the client has shown who it is.
func TestS3_NothingInTheClearWithTLSAndNoKeysWithout(t *testing.T) {
	t.Parallel()
	r := newRig(t, withTLS)
	r.push(0, time.Now())
	for _, c := range []struct {
		header string
		tls    bool
	}{
		{"RTP/SAVP/TCP;unicast;interleaved=0-1", false}, {"RTP/SAVP;unicast;client_port=35002-35003", false}, {"RTP/SAVP;multicast", false},
		{"RTP/AVP;unicast;client_port=35002-35003", true}, {"RTP/AVP;multicast", true},
		{"RTP/AVP;multicast", false}, {"RTP/SAVP;multicast", true}, // not configured
		{"RAW/RAW/UDP", false}, {"", true},
	} {
		client := r.connect(c.tls)
		h := base.Header{"Transport": base.HeaderValue{c.header}}
		require.Equal(t, base.StatusUnauthorized, client.do(base.Setup, "/trackID=0", h).StatusCode, c.header)
		client.session = ""
		res := client.login()
		require.Equal(t, base.StatusOK, res.StatusCode)
		require.Equal(t, c.tls, strings.Contains(string(res.Body), "key-mgmt"), "a key on a plain connection")
		res = client.do(base.Setup, "/trackID=0", h)
		require.Equal(t, base.StatusUnsupportedTransport, res.StatusCode, c.header)
		require.Nil(t, res.Header["KeyMgmt"])
	}
}

// The first alternative that may be had is taken, not the first.
func TestM2_ClientsOrderOfTransports(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *Config) { c.UDP = false; withTLS(c) })
	r.push(0, time.Now())
	for _, tls := range []bool{false, true} {
		c := r.connect(tls)
		require.Equal(t, base.StatusOK, c.login().StatusCode)
		list := "RTP/AVP;multicast,RTP/SAVP;unicast;client_port=2-3,RTP/AVP;unicast;client_port=2-3,RTP/AVP/TCP;unicast;interleaved=8-9,RTP/SAVP/TCP"
		res := c.do(base.Setup, "/trackID=0", base.Header{"Transport": base.HeaderValue{list}})
		require.Equal(t, base.StatusOK, res.StatusCode)
		require.Contains(t, res.Header["Transport"][0], "RTP/AVP/TCP;unicast;interleaved=8-9;ssrc=")
	}
}

func TestM2_OneSessionHasOneTransport(t *testing.T) {
	t.Parallel()
	r := newRig(t, withTLS)
	r.sound()
	r.push(0, time.Now())
	for _, pair := range [][2]string{
		{"RTP/AVP/TCP;unicast", "RTP/SAVP/TCP;unicast"},
		{"RTP/SAVP/TCP;unicast", "RTP/SAVP;unicast;client_port=35010-35011"},
		{"RTP/SAVP;unicast;client_port=35010-35011", "RTP/AVP/TCP;unicast"},
	} {
		c := r.connect(true)
		require.Equal(t, base.StatusOK, c.login().StatusCode)
		require.Equal(t, base.StatusOK, c.do(base.Setup, "/trackID=0", base.Header{"Transport": base.HeaderValue{pair[0]}}).StatusCode)
		res := c.do(base.Setup, "/trackID=1", base.Header{"Transport": base.HeaderValue{pair[1]}})
		require.Equal(t, base.StatusUnsupportedTransport, res.StatusCode, pair)
	}
	c := r.raw()
	require.Equal(t, base.StatusOK, c.login().StatusCode)
	require.Equal(t, base.StatusOK, c.do(base.Setup, "/trackID=0", interleaved("0-1")).StatusCode)
	res := c.do(base.Setup, "/trackID=1", base.Header{"Transport": base.HeaderValue{"RTP/AVP;unicast;client_port=35010-35011"}})
	require.Equal(t, base.StatusBadRequest, res.StatusCode)
}

func TestM2_ChannelsAreTheClientsOrChosen(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.sound()
	r.push(0, time.Now())
	for _, c := range []struct{ video, sound, wantVideo, wantSound string }{
		{";interleaved=2-3", ";interleaved=0-1", "2-3", "0-1"},
		{"", "", "0-1", "2-3"},
		{";interleaved=2-3", "", "2-3", "0-1"},
		{";interleaved=7-9", ";interleaved=300-301", "0-1", "2-3"},
		{";interleaved=254-255", ";interleaved=1-2", "254-255", "1-2"},
	} {
		client := r.raw()
		require.Equal(t, base.StatusOK, client.login().StatusCode)
		for i, asked := range []string{c.video, c.sound} {
			res := client.do(base.Setup, []string{"/trackID=0", "/trackID=1"}[i], base.Header{"Transport": base.HeaderValue{"RTP/AVP/TCP;unicast" + asked}})
			require.Equal(t, base.StatusOK, res.StatusCode)
			require.Contains(t, res.Header["Transport"][0], "interleaved="+[]string{c.wantVideo, c.wantSound}[i]+";")
		}
		require.Equal(t, base.StatusOK, client.do(base.Play, "", nil).StatusCode)
		_, f, err := client.read()
		require.NoError(t, err)
		require.Equal(t, c.wantVideo[:strings.Index(c.wantVideo, "-")], strconv.Itoa(f.Channel))
	}
}

// The SSRC of the answer is that of the packets, and each viewer has its own.
func TestM2_EachViewerHasNumbersOfItsOwn(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.push(0, time.Now())
	seen := map[uint32]bool{}
	for range 3 {
		c := r.raw()
		require.Equal(t, base.StatusOK, c.login().StatusCode)
		var h headers.Transport
		require.NoError(t, h.Unmarshal(c.do(base.Setup, "/trackID=0", interleaved("0-1")).Header["Transport"]))
		require.Equal(t, base.StatusOK, c.do(base.Play, "", nil).StatusCode)
		_, f, err := c.read()
		require.NoError(t, err)
		require.Equal(t, *h.SSRC, binary.BigEndian.Uint32(f.Payload[8:]))
		seen[*h.SSRC] = true
	}
	require.Len(t, seen, 3)
}

// A session of one connection can't be had over one of the other kind.
func TestS3_SessionStaysOnItsSideOfTLS(t *testing.T) {
	t.Parallel()
	r := newRig(t, withTLS)
	r.sound()
	r.push(0, time.Now())
	secure, plain := r.connect(true), r.connect(false)
	require.Equal(t, base.StatusOK, secure.login().StatusCode)
	require.Equal(t, base.StatusOK, plain.login().StatusCode)
	h := base.Header{"Transport": base.HeaderValue{"RTP/AVP/TCP;unicast"}}
	require.Equal(t, base.StatusOK, secure.do(base.Setup, "/trackID=0", h).StatusCode)
	plain.session = secure.session
	require.Equal(t, base.StatusForbidden, plain.do(base.Setup, "/trackID=1", h).StatusCode)
	require.Equal(t, base.StatusForbidden, plain.do(base.Play, "", nil).StatusCode)
}

// Media for one viewer never go to the ports of another.
func TestM2_PortsAreOneViewers(t *testing.T) {
	t.Parallel()
	r := newRig(t, withTLS)
	r.push(0, time.Now())
	plain := base.Header{"Transport": base.HeaderValue{"RTP/AVP;unicast;client_port=35020-35021"}}
	sealed := base.Header{"Transport": base.HeaderValue{"RTP/SAVP;unicast;client_port=35020-35021"}}
	first, second, third := r.connect(false), r.connect(false), r.connect(true)
	for _, c := range []*rawClient{first, second, third} {
		require.Equal(t, base.StatusOK, c.login().StatusCode)
	}
	require.Equal(t, base.StatusOK, first.do(base.Setup, "/trackID=0", plain).StatusCode)
	require.Equal(t, base.StatusUnsupportedTransport, second.do(base.Setup, "/trackID=0", plain).StatusCode)
	require.Equal(t, base.StatusUnsupportedTransport, third.do(base.Setup, "/trackID=0", sealed).StatusCode)
	require.Equal(t, base.StatusOK, first.do(base.Teardown, "", nil).StatusCode)
	eventually(t, "the ports back", func() bool { return r.claimed() == 0 })
	require.Equal(t, base.StatusOK, third.do(base.Setup, "/trackID=0", sealed).StatusCode)
}

// A query is no part of the name, wherever clients put the track behind it.
func TestM2_QueryIsNoPartOfTheName(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.push(0, time.Now())
	for _, track := range []string{"?x=y/trackID=0", "/trackID=0?x=y"} {
		c := r.raw()
		c.address += "?x=y"
		require.Equal(t, base.StatusOK, c.login().StatusCode)
		c.address = r.plainURL("main")
		require.Equal(t, base.StatusOK, c.do(base.Setup, track, interleaved("0-1")).StatusCode, track)
		c.address += "?x=y"
		require.Equal(t, base.StatusOK, c.do(base.Play, "", nil).StatusCode)
		_, f, err := c.read()
		require.NoError(t, err)
		require.NotNil(t, f)
	}
	for _, bad := range []string{"?x=y/trackID=9", "/trackID=-1", "/trackID=99999999999"} {
		c := r.raw()
		require.Equal(t, base.StatusOK, c.login().StatusCode)
		require.Equal(t, base.StatusNotFound, c.do(base.Setup, bad, interleaved("2-3")).StatusCode, bad)
	}
}

// FuzzTransports: whatever a client asks for, gortsplib is asked for one plain
// transport that it knows.
func FuzzTransports(f *testing.F) {
	for _, s := range []string{
		"RTP/AVP/TCP;unicast;interleaved=4-5", "RTP/SAVP/UDP;unicast;client_port=2-3,RTP/AVP;multicast", "RTP/AVP;source=x;client_port=65534",
		`RTP/AVP/TCP;mode="PLAY";interleaved=254`, ";;,,=", "RTP/AVP;multicast;port=1-2;ttl=9",
	} {
		f.Add(s)
	}
	s := New(Config{}, nil, nil, nil)
	f.Fuzz(func(t *testing.T, header string) {
		for _, tr := range append(parseTransports(base.HeaderValue{header}), transport{way: way{by: overTCP}}) {
			var list headers.Transports
			require.NoError(t, list.Unmarshal(s.forGortsplib(&tr)))
			require.Len(t, list, 1)
			require.False(t, list[0].Secure)
			require.NotEqual(t, list[0].Protocol == headers.TransportProtocolUDP, list[0].ClientPorts == nil)
			require.True(t, list[0].Delivery == nil || *list[0].Delivery == headers.TransportDeliveryUnicast)
			require.Equal(t, tr.keptAsUDP(), list[0].Protocol == headers.TransportProtocolUDP)
			if id := list[0].InterleavedIDs; id != nil {
				require.True(t, id[0] >= 0 && id[1] == id[0]+1 && id[1] <= 255)
			}
			if tr.by == overUDP {
				require.True(t, tr.ports[0] > 0 && tr.ports[1] == tr.ports[0]+1 && tr.ports[1] <= 65535)
			}
		}
	})
}
