package rtsp

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/bluenviron/gortsplib/v4"
	"github.com/bluenviron/gortsplib/v4/pkg/base"
	"github.com/bluenviron/gortsplib/v4/pkg/headers"
	"github.com/pion/rtp"
	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/hal"
)

func udpPorts(p *udpPair) string {
	ports := p.ports()
	return fmt.Sprintf("RTP/AVP;unicast;client_port=%d-%d", ports[0], ports[1])
}

func serverPort(t testing.TB, res *base.Response) int {
	t.Helper()
	var h headers.Transport
	require.NoError(t, h.Unmarshal(res.Header["Transport"]))
	require.NotNil(t, h.ServerPorts)
	return h.ServerPorts[0]
}

func TestM2_M6_WhatIsSaidOverTheBackChannelIsHeard(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name      string
		transport gortsplib.Transport
		sound     bool
		law       hal.Codec
	}{
		{"tcp", gortsplib.TransportTCP, false, hal.PCMU},
		{"tcp with sound", gortsplib.TransportTCP, true, hal.PCMA},
		{"udp", gortsplib.TransportUDP, false, hal.PCMA},
		{"udp with sound", gortsplib.TransportUDP, true, hal.PCMU},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newTalkRig(t, nil)
			if c.sound {
				r.sound()
			}
			r.play()
			_, send := r.talker(c.transport, r.url("main"))
			v := &voice{law: c.law}
			r.requireVoice(100, func() { v.speak(t, 100, send) })
			require.Zero(t, r.desk.Stats().Garbage)
		})
	}
}

// A back channel takes nothing from those who watch and listen.
func TestM2_BackChannelDisturbsNoTrack(t *testing.T) {
	t.Parallel()
	for _, sound := range []bool{false, true} {
		t.Run(fmt.Sprint("sound: ", sound), func(t *testing.T) {
			t.Parallel()
			r := newTalkRig(t, nil)
			if sound {
				r.sound()
			}
			r.play()
			c := r.raw()
			require.Equal(t, base.StatusOK, c.login().StatusCode)
			require.Equal(t, base.StatusOK, c.do(base.Setup, "/trackID=2", interleaved("0-1")).StatusCode)
			require.Equal(t, base.StatusOK, c.do(base.Setup, "/trackID=0", interleaved("2-3")).StatusCode)
			if sound {
				require.Equal(t, base.StatusOK, c.do(base.Setup, "/trackID=1", interleaved("4-5")).StatusCode)
			} else {
				require.Equal(t, base.StatusNotFound, c.do(base.Setup, "/trackID=1", interleaved("4-5")).StatusCode)
			}
			require.Equal(t, base.StatusNotFound, c.do(base.Setup, "/trackID=3", interleaved("6-7")).StatusCode)
			require.Equal(t, base.StatusOK, c.do(base.Play, "", nil).StatusCode)
			v, say, seen := &voice{}, c.say(0), map[int]int{}
			began := time.Now()
			for range 200 {
				if seen[2] > v.n {
					require.NoError(t, say(v.next()))
				}
				_, f, err := c.read()
				require.NoError(t, err)
				seen[f.Channel]++
			}
			require.Greater(t, seen[2], 50)
			require.Equal(t, sound, seen[4] > 0)
			require.Zero(t, seen[0]+seen[1])
			eventually(t, "it is heard", func() bool { pcm, _ := r.heard(began); return len(pcm) > 320 })
			require.Equal(t, base.StatusOK, c.do(base.Teardown, "", nil).StatusCode)
		})
	}
}

func TestM2_BackChannelInTheDescription(t *testing.T) {
	t.Parallel()
	for _, sound := range []bool{false, true} {
		r := newTalkRig(t, nil)
		if sound {
			r.sound()
		}
		r.push(0, time.Now())
		c := r.raw()
		plain := string(c.login().Body)
		require.NotContains(t, plain, "sendonly")
		res := c.do(base.Describe, "", base.Header{"Require": base.HeaderValue{" " + backchannel + " "}})
		require.Equal(t, base.StatusOK, res.StatusCode)
		require.Equal(t, plain, strings.TrimSuffix(string(res.Body), talkSDP))
		require.Equal(t, plain+talkSDP, string(res.Body))
	}
}

func TestM2_RequirementsThatAreNotMetAreNamed(t *testing.T) {
	t.Parallel()
	r := newTalkRig(t, nil)
	r.push(0, time.Now())
	silent := newRig(t, nil)
	silent.push(0, time.Now())
	for _, c := range []struct {
		rig         *rig
		method      base.Method
		required    []string
		unsupported string
	}{
		{r.rig, base.Describe, []string{"www.onvif.org/ver20/other"}, "www.onvif.org/ver20/other"},
		{r.rig, base.Setup, []string{"www.onvif.org/ver20/other"}, "www.onvif.org/ver20/other"},
		{r.rig, base.Play, []string{"play.basic", "a"}, "play.basic, a"},
		{r.rig, base.Describe, []string{"a, " + backchannel + ",b", "a"}, "a, b"},
		{silent, base.Describe, []string{backchannel}, backchannel},
		{silent, base.Describe, []string{backchannel, "play.scale"}, backchannel + ", play.scale"},
		{silent, base.Setup, []string{backchannel, "play.scale"}, "play.scale"}, // its track says whether it wants to talk
	} {
		k := c.rig.raw()
		h := interleaved("0-1")
		h["Require"] = c.required
		if c.method == base.Describe { // nothing is told to who has shown no password
			require.Equal(t, base.StatusUnauthorized, k.do(base.Describe, "", h).StatusCode)
		}
		require.Equal(t, base.StatusOK, k.login().StatusCode)
		suffix := ""
		switch c.method {
		case base.Play:
			require.Equal(t, base.StatusOK, k.do(base.Setup, "/trackID=0", interleaved("0-1")).StatusCode)
		case base.Setup:
			suffix = "/trackID=0"
		}
		res := k.do(c.method, suffix, h)
		require.Equal(t, base.StatusOptionNotSupported, res.StatusCode, "%v", c)
		require.Equal(t, base.HeaderValue{c.unsupported}, res.Header["Unsupported"])
	}
	k := silent.raw()
	require.Equal(t, base.StatusOK, k.login().StatusCode)
	require.Equal(t, base.StatusNotFound, k.do(base.Setup, "/trackID=2", interleaved("0-1")).StatusCode)
}

func TestM2_BackChannelAlone(t *testing.T) {
	t.Parallel()
	r := newTalkRig(t, withTLS)
	r.push(0, time.Now())
	for _, secure := range []bool{false, true} {
		c := r.connect(secure)
		send := c.talk()
		r.requireVoice(50, func() { (&voice{}).speak(t, 50, send) })
		require.Equal(t, base.StatusOK, c.do(base.Teardown, "", nil).StatusCode)
		r.requireFloorFree()
	}
}

func TestM2_BackChannelAloneOverUDP(t *testing.T) {
	t.Parallel()
	r := newTalkRig(t, nil)
	r.push(0, time.Now())
	sock, to := r.raw().talkUDP(func(ports string) base.Header { return base.Header{"Transport": base.HeaderValue{ports}} })
	r.requireVoice(50, func() { (&voice{}).speak(t, 50, over(sock, to)) })
}

func over(sock *net.UDPConn, to *net.UDPAddr) func(*rtp.Packet) error {
	return func(p *rtp.Packet) error {
		b, err := p.Marshal()
		if err != nil {
			return err
		}
		_, err = sock.WriteToUDP(b, to)
		return err
	}
}

// Clients begin anew with another source, in the same session, and lose packets.
func TestM6_NewSourceAndLostPacketsHoldNothingUp(t *testing.T) {
	t.Parallel()
	r := newTalkRig(t, nil)
	r.push(0, time.Now())
	sock, to := r.raw().talkUDP(func(ports string) base.Header { return base.Header{"Transport": base.HeaderValue{ports}} })
	ways := map[string]func(*rtp.Packet) error{"udp": over(sock, to), "tcp": r.raw().talk()}
	for name, send := range ways {
		for source := range uint32(2) {
			t.Log(name, source)
			v := &voice{ssrc: source}
			r.requireVoice(60, func() {
				v.speak(t, 60, func(p *rtp.Packet) error {
					if v.n%15 == 0 {
						return nil
					}
					return send(p)
				})
			})
		}
	}
}

func TestM6_SecondTalkerWaitsUntilTheFirstIsSilent(t *testing.T) {
	t.Parallel()
	r := newTalkRig(t, nil)
	r.push(0, time.Now())
	first, second := r.raw().talk(), r.raw().talk()
	b := &voice{n: 1000}
	r.requireVoice(50, func() {
		before := r.desk.Stats()
		a := &voice{}
		a.speak(t, 50, func(p *rtp.Packet) error {
			if err := first(p); err != nil || a.n < 3 {
				return err
			}
			return second(b.next())
		})
		eventually(t, "all has arrived", func() bool { return r.desk.Stats().Refused == before.Refused+48 })
		require.Equal(t, before.Turns+1, r.desk.Stats().Turns)
	})
	r.requireVoice(50, func() { b.speak(t, 50, second) })
}
