package rtsp

import (
	"context"
	"maps"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/bluenviron/gortsplib/v4/pkg/base"
	"github.com/bluenviron/gortsplib/v4/pkg/headers"
)

// delivery is how packets get to a viewer.
type delivery uint8

const (
	overTCP delivery = iota + 1 // interleaved with RTSP (RFC 2326, 10.12)
	overUDP
	overMulticast
)

func (d delivery) String() string { return [...]string{"", "tcp", "udp", "multicast"}[d] }

// way is how a session gets its media: the same for all its tracks.
type way struct {
	by   delivery
	srtp bool // profile SAVP: packets are encrypted (RFC 3711)
}

// keptAsUDP tells that gortsplib takes the session for one over UDP.
func (w way) keptAsUDP() bool { return w.by != overTCP && !w.srtp }

func (w way) String() string {
	if w.srtp {
		return w.by.String() + " srtp"
	}
	return w.by.String()
}

// transport is one alternative of a Transport header (RFC 2326, 12.39).
type transport struct {
	way
	channels string // interleaved=, empty: any
	ports    [2]int // client_port=
}

// parseTransports reads the alternatives of a SETUP in the order of the client's
// preference; those that make no sense here are left out.
func parseTransports(h base.HeaderValue) []transport {
	var list []transport
	for _, one := range strings.Split(strings.Join(h, ","), ",") {
		if t, ok := parseTransport(one); ok {
			list = append(list, t)
		}
	}
	return list
}

func parseTransport(s string) (t transport, ok bool) {
	profile, rest, _ := strings.Cut(strings.TrimSpace(s), ";")
	switch strings.ToUpper(profile) {
	case "RTP/AVP", "RTP/AVP/UDP":
		t.by = overUDP
	case "RTP/AVP/TCP":
		t.by = overTCP
	case "RTP/SAVP", "RTP/SAVP/UDP":
		t.by, t.srtp = overUDP, true
	case "RTP/SAVP/TCP":
		t.by, t.srtp = overTCP, true
	default:
		return t, false
	}
	ported := false
	for _, parameter := range strings.Split(rest, ";") {
		key, value, _ := strings.Cut(strings.TrimSpace(parameter), "=")
		switch strings.ToLower(key) {
		case "multicast":
			t.by = overMulticast
		case "interleaved":
			if p, ok := parsePair(value, 0, 255); ok {
				t.channels = strconv.Itoa(p[0]) + "-" + strconv.Itoa(p[1])
			}
		case "client_port":
			t.ports, ported = parsePair(value, 1, 65535)
		case "mode":
			if !strings.EqualFold(strings.Trim(value, `"`), "play") {
				return t, false
			}
		}
	}
	return t, ported || t.by != overUDP
}

// parsePair reads a-b or a, which means a and the next one; both must be within
// the limits, and neighbours.
func parsePair(s string, least, most int) (p [2]int, ok bool) {
	first, second, two := strings.Cut(s, "-")
	a, err := strconv.Atoi(first)
	if err != nil || a < least || a >= most {
		return p, false
	}
	if b, err := strconv.Atoi(second); two && (err != nil || b != a+1) {
		return p, false
	}
	return [2]int{a, a + 1}, true
}

// permits tells whether a connection may use a transport: keys of SRTP would be
// readable on a plain one, and pictures of a viewer that came by TLS must not
// leave in the clear.
func (s *Server) permits(w way, overTLS bool) bool {
	if w.srtp && !overTLS || overTLS && !w.srtp && w.by != overTCP {
		return false
	}
	switch w.by {
	case overTCP:
		return s.cfg.TCP
	case overUDP:
		return s.cfg.UDP
	case overMulticast:
		return s.cfg.Multicast
	}
	return false
}

// choose takes the first alternative of a SETUP that is permitted; nil: none.
func (s *Server) choose(c *conn, req *base.Request) *transport {
	for _, t := range parseTransports(req.Header["Transport"]) {
		if s.permits(t.way, c.tls) {
			return &t
		}
	}
	return nil
}

// forGortsplib says a transport in the words of what gortsplib shall keep: plain
// sessions over UDP and multicast end when they have been silent for long, all
// others with their connection, which has also given them their keys. What it
// never sees: SRTP, multicast and transports that are refused; those get their 461
// once the client has shown who it is.
func (s *Server) forGortsplib(t *transport) base.HeaderValue {
	switch {
	case t != nil && t.by == overTCP && t.channels != "":
		return base.HeaderValue{"RTP/AVP/TCP;unicast;interleaved=" + t.channels}
	case t == nil || !t.keptAsUDP():
		return base.HeaderValue{"RTP/AVP/TCP;unicast"}
	case t.by == overMulticast: // ports that nobody can have, not twice
		n := 1<<16 + int(s.dummies.Add(2))%(1<<29)
		return headers.Transport{ClientPorts: &[2]int{n, n + 1}}.Marshal()
	}
	return headers.Transport{ClientPorts: &t.ports}.Marshal()
}

// claim takes the ports that a client names for media over UDP, unless another
// viewer has them: two would get each other's.
func (s *Server) claim(v *viewer, c *conn) bool {
	if v.way.by != overUDP {
		return true
	}
	ip := c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, port := range c.choice.ports {
		if s.receivers[netip.AddrPortFrom(ip, uint16(port))] != nil {
			return false
		}
	}
	for _, port := range c.choice.ports {
		s.receivers[netip.AddrPortFrom(ip, uint16(port))] = v
	}
	return true
}

// release gives them back; Server.mu is held.
func (s *Server) release(v *viewer) {
	if v.way.by == overUDP {
		maps.DeleteFunc(s.receivers, func(_ netip.AddrPort, o *viewer) bool { return o == v })
	}
}

// trackKey stands between a stream's URL and the number of a track.
const trackKey = "/trackID="

// trackOf reads the number of a track from the URL of a SETUP: behind the path,
// or behind the query as ffmpeg has it; without one it is the first.
func trackOf(u *base.URL) int {
	for _, s := range []string{u.RawQuery, u.Path} {
		if i := strings.LastIndex(s, trackKey); i >= 0 {
			n, err := strconv.ParseUint(s[i+len(trackKey):], 10, 31)
			if err != nil {
				return -1
			}
			return int(n)
		}
	}
	return 0
}

// wholeStream is a URL without the track that some clients play by: all tracks of
// a session play together (RFC 2326, C.3).
func wholeStream(u *base.URL) *base.URL {
	whole := *u
	whole.Path, _, _ = strings.Cut(whole.Path, trackKey)
	whole.RawQuery, _, _ = strings.Cut(whole.RawQuery, trackKey)
	return &whole
}

// sinkOn makes what a viewer's packets go to; c is the connection of its PLAY.
func (v *viewer) sinkOn(c *conn) (s sink, err error) {
	switch {
	case v.way.by == overMulticast:
		return member{}, nil
	case v.way.by == overUDP && v.way.srtp:
		s, err = newUDPSink(v.ctx, v.srv.doors.sealed, c.RemoteAddr(), v.ports)
	case v.way.by == overUDP:
		s, err = newUDPSink(v.ctx, v.srv.doors.udp, c.RemoteAddr(), v.ports)
	case c.tls || v.way.srtp:
		s = &tcpSink{ctx: v.ctx, conn: c}
	default:
		s, err = newPlainSink(v, c)
	}
	return v.sealing(s), err
}

// sealing puts encryption in front of a sink, if the viewer's packets want it.
func (v *viewer) sealing(s sink) sink {
	if v.sealer == nil {
		return s
	}
	return newSealedSink(s, v.sealer, v.tracks, &v.srv.buffers)
}

// afterAll is a sink for what goes out when its viewer has ended already.
func afterAll(s sink) sink {
	switch s := s.(type) {
	case *udpSink:
		return &udpSink{ctx: context.Background(), from: s.from, to: s.to}
	case *sealedSink:
		last := *s
		last.sink = afterAll(s.sink)
		return &last
	}
	return s
}
