package rtsp

import (
	"errors"
	"fmt"
	"net"

	"github.com/bluenviron/gortsplib/v4/pkg/base"
	"github.com/bluenviron/gortsplib/v4/pkg/headers"
)

// errPlays is about a SETUP that a PLAY over another connection has overtaken.
var errPlays = errors.New("the session plays already")

// answered is what a SETUP that is being answered sets up.
type answered struct {
	viewer *viewer
	peer   *net.TCPAddr // that it sends from
	url    string
	local  net.IP // that the client speaks to
	track  int
	how    transport
}

// rewrite takes the answer that gortsplib gave over to the track, and puts in
// what was really chosen.
func (a *answered) rewrite(res *base.Response) error {
	var h headers.Transport
	if err := h.Unmarshal(res.Header["Transport"]); err != nil {
		return err
	}
	v := a.viewer
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.sink != nil {
		return errPlays
	}
	t := &v.tracks[a.track]
	if err := a.settle(t, &h); err != nil {
		return err
	}
	t.on = true
	h.SSRC, h.Secure = &t.ssrc, a.how.srtp
	res.Header["Transport"] = h.Marshal()
	if !a.how.srtp {
		return nil
	}
	if a.how.by != overTCP {
		res.Header["Session"] = base.HeaderValue{fmt.Sprintf("%s;timeout=%d", res.Header["Session"][0], int(sessionTimeout.Seconds()))}
	}
	return a.tellKey(res)
}

// settle notes where a track goes, and writes it into the answer.
func (a *answered) settle(t *track, h *headers.Transport) error {
	v := a.viewer
	unicast, multicast := headers.TransportDeliveryUnicast, headers.TransportDeliveryMulticast
	switch {
	case a.how.by == overTCP:
		if h.InterleavedIDs == nil || h.InterleavedIDs[1] > 255 {
			return errors.New("no interleaved channels")
		}
		t.channel = uint8(h.InterleavedIDs[0])
	case a.how.by == overMulticast:
		ip, ttl := net.IP(v.group.addr.AsSlice()), uint(multicastTTL)
		*h = headers.Transport{Delivery: &multicast, Destination: &ip, Ports: &v.group.ports[a.track], TTL: &ttl}
		if v.group.source != nil && !v.group.source.Equal(a.local) {
			h.Source = &v.group.source
		}
	default:
		pair := v.srv.doors.udp
		if a.how.srtp {
			pair = v.srv.doors.sealed
		}
		server := pair.ports()
		*h = headers.Transport{Delivery: &unicast, ClientPorts: &a.how.ports, ServerPorts: &server}
		t.channel, v.ports[a.track] = uint8(2*a.track), a.how.ports
	}
	return nil
}

// tellKey puts the key of the track into the answer (RFC 4567, 5).
func (a *answered) tellKey(res *base.Response) (err error) {
	v := a.viewer
	k := headers.KeyMgmt{URL: a.url, MikeyMessage: v.sealer.message(a.track, v.tracks[a.track].ssrc)}
	res.Header["KeyMgmt"], err = k.Marshal()
	return err
}
