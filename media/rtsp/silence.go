package rtsp

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"time"

	"github.com/bluenviron/gortsplib/v4/pkg/base"
	"github.com/bluenviron/gortsplib/v4/pkg/headers"
	"github.com/pion/srtp/v3"
)

var errSilent = errors.New("nothing was heard of the viewer for long")

// vanishing says how viewers that are not there any more are found out. Over TCP,
// TLS and SRTP it is the connection that ends: because what was sent stays
// unacknowledged, or if nothing was, because probes do. gortsplib ends sessions
// over UDP and multicast after a minute without request or report.
type vanishing struct {
	session time.Duration // of silence, for sessions over SRTP that gortsplib does not watch
	unacked time.Duration // data on a connection
	idle    time.Duration // a connection, before it is probed
	probe   time.Duration // between probes
}

// mind has the kernel end the connection when its peer has vanished.
func (b *vanishing) mind(c *net.TCPConn) {
	// All of this is advice: where it fails the write deadline remains.
	_ = c.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: b.idle, Interval: b.probe, Count: keepProbes})
	setUserTimeout(c, b.unacked)
}

// watch ends a viewer that neither its connection nor gortsplib would miss: one
// whose media do not go over its connection, and of whose packets gortsplib knows
// nothing.
func (v *viewer) watch() {
	if !v.way.srtp || v.way.by == overTCP {
		return
	}
	v.silence = time.AfterFunc(v.srv.vanish.session, func() {
		v.cancel(errSilent)
		v.endSession()
	})
}

// alive is said at each request and each report of a viewer.
func (v *viewer) alive() {
	if v.silence != nil {
		v.silence.Reset(v.srv.vanish.session)
	}
}

// unwatch is said when it has ended.
func (v *viewer) unwatch() {
	if v.silence != nil {
		v.silence.Stop()
	}
}

// learn notes the key by which a client encrypts its reports on a track, if it
// tells one (RFC 4567, 5).
func (v *viewer) learn(req *base.Request, track int) {
	var k headers.KeyMgmt
	if !v.way.srtp || v.way.by != overUDP || k.Unmarshal(req.Header["KeyMgmt"]) != nil {
		return
	}
	r := &reports{key: keyOf(k.MikeyMessage)}
	if r.begin() != nil {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.reports == nil {
		v.reports = map[int]*reports{}
	}
	v.reports[track] = r
}

// reports opens what one client encrypts on one track. It listens to the first
// sender alone that has shown the key: the library remembers each sender before
// it knows whether it has the key, so whoever forges packets could have it
// remember without end.
type reports struct {
	key    []byte
	opener *srtp.Context
	sender uint32 // SSRC
	known  bool   // sender is
}

func (r *reports) begin() (err error) {
	r.opener, err = newContext(r.key, srtp.SRTCPReplayProtection(64))
	return err
}

// has tells whether b is a report of the client that was not heard before.
func (r *reports) has(b []byte) bool {
	if len(b) < 8 {
		return false
	}
	sender := binary.BigEndian.Uint32(b[4:])
	if r.known && sender != r.sender {
		return false
	}
	_, err := r.opener.DecryptRTCP(nil, b, nil)
	if err == nil {
		r.sender, r.known = sender, true
	} else if !r.known {
		_ = r.begin() // forgets the forger; it went well before
	}
	return err == nil
}

// hearReports reads what viewers over SRTP report until the socket is closed. All
// that it is good for is that the viewer is still there.
func (s *Server) hearReports(sock *net.UDPConn) {
	b := make([]byte, maxPayload)
	for {
		n, from, err := sock.ReadFromUDPAddrPort(b)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		s.mu.Lock()
		v := s.receivers[netip.AddrPortFrom(from.Addr().Unmap(), from.Port())]
		s.mu.Unlock()
		if v != nil && v.isReport(b[:n]) {
			v.alive()
		}
	}
}

// isReport tells a packet that the viewer's client has encrypted from any other.
func (v *viewer) isReport(b []byte) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, r := range v.reports {
		if r.has(b) {
			return true
		}
	}
	return false
}
