package rtsp

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bluenviron/gortsplib/v4/pkg/base"
	"github.com/bluenviron/gortsplib/v4/pkg/description"
	"github.com/bluenviron/gortsplib/v4/pkg/format"
	"github.com/bluenviron/gortsplib/v4/pkg/headers"
	"github.com/pion/rtp"

	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/media/talk"
)

// The back channel (ONVIF Streaming Specification, 5.3) is track 2, whether
// there is sound or not.
const (
	talkTrack   = 2
	backchannel = "www.onvif.org/ver20/backchannel"
	talkSDP     = "m=audio 0 RTP/AVP 0 8\r\na=control:trackID=2\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\na=sendonly\r\n"
	askEvery    = time.Second // whether somebody who talks still may
	maxTalk     = 2 << 10     // bytes of a packet of talk
)

var errNoTalk = errors.New("no way for a back channel")

// mayTalk tells whether there is a speaker for a user now (S3).
func (s *Server) mayTalk(user string) bool {
	return s.cfg.Talk != nil && s.cfg.MayTalk != nil && s.cfg.MayTalk(user) && s.cfg.Talk.Able()
}

// requires reads what a client says it needs (RFC 2326, 12.32): the back channel,
// if the user can have it, or the refusal.
func (s *Server) requires(req *base.Request, user string) (back bool, refusal *base.Response) {
	var lacking []string
	for _, value := range req.Header["Require"] {
		for _, option := range strings.Split(value, ",") {
			option = strings.TrimSpace(option)
			switch {
			case option == "":
			case option == backchannel && (req.Method != base.Describe || s.mayTalk(user)):
				back = true // a SETUP says itself whether it wants to talk
			case !slices.Contains(lacking, option):
				lacking = append(lacking, option)
			}
		}
	}
	if lacking == nil {
		return back, nil
	}
	return false, &base.Response{
		StatusCode: base.StatusOptionNotSupported,
		Header:     base.Header{"Unsupported": base.HeaderValue{strings.Join(lacking, ", ")}},
	}
}

// wantsTalk tells a SETUP of the back channel.
func (s *Server) wantsTalk(req *base.Request) bool {
	return s.cfg.Talk != nil && req.URL != nil && trackOf(req.URL) == talkTrack
}

// chooseFor takes the first alternative of a SETUP that is permitted for what it
// sets up: talk does not come by multicast, nor, since clients have no way to say
// by which key, by SRTP. The refusal has clients over TLS take TCP.
func (s *Server) chooseFor(c *conn, req *base.Request) *transport {
	if !s.wantsTalk(req) {
		return s.choose(c, req)
	}
	for _, t := range parseTransports(req.Header["Transport"]) {
		if s.permits(t.way, c.tls) && !t.srtp && t.by != overMulticast {
			return &t
		}
	}
	return nil
}

// signalled is an offer as gortsplib shall know it: with a back channel last,
// always at its place. For gortsplib it is a track as any other, so that it does
// not listen to it: it would hold back what follows a lost packet for more than
// a second, and takes one source a session.
func (s *Server) signalled(o *offer) *description.Session {
	if s.cfg.Talk == nil {
		return o.desc
	}
	d := *o.desc
	d.Medias = slices.Clone(d.Medias)
	g711 := []format.Format{
		&format.G711{PayloadTyp: 0, MULaw: true, SampleRate: 8000, ChannelCount: 1},
		&format.G711{PayloadTyp: 8, SampleRate: 8000, ChannelCount: 1},
	}
	for len(d.Medias) <= talkTrack { // a track that is not there cannot be set up: see OnSetup
		d.Medias = append(d.Medias, &description.Media{Type: description.MediaTypeAudio, Formats: g711})
	}
	return &d
}

// talkback is the back channel of one viewer.
type talkback struct {
	viewer  *viewer
	channel uint8          // over TCP: of RTP
	from    netip.AddrPort // over UDP: where packets come from

	mu     sync.Mutex
	talker *talk.Talker // nil: it may not talk, or did not yet
	asked  time.Time    // whether it may
	may    bool
	ended  bool
}

// openTalk answers the SETUP of a back channel.
func (a *answered) openTalk(res *base.Response) error {
	var h headers.Transport
	if err := h.Unmarshal(res.Header["Transport"]); err != nil {
		return err
	}
	t := &talkback{viewer: a.viewer}
	switch {
	case a.how.by == overTCP && h.InterleavedIDs != nil && h.InterleavedIDs[1] < 256:
		t.channel = uint8(h.InterleavedIDs[0])
	case a.how.by == overUDP:
		server := a.viewer.srv.doors.udp.ports()
		h.ServerPorts = &server
		t.from = netip.AddrPortFrom(a.peer.AddrPort().Addr().Unmap(), uint16(a.how.ports[0]))
		res.Header["Transport"] = h.Marshal()
	default:
		return errNoTalk
	}
	a.viewer.mu.Lock()
	defer a.viewer.mu.Unlock()
	if a.viewer.sink != nil {
		return errPlays
	}
	a.viewer.talk = t
	return nil
}

// beginTalk listens to a viewer that plays over a connection.
func (v *viewer) beginTalk(c *conn) {
	t := v.talkback()
	switch {
	case t == nil:
	case v.way.by == overTCP:
		c.in.hear(t.channel, t.hear)
	default:
		v.srv.ears.add(t)
	}
}

// talkback returns the viewer's back channel, nil if it has none.
func (v *viewer) talkback() *talkback {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.talk
}

// endTalk ends it; cut: nothing that was said is heard any more.
func (v *viewer) endTalk(cut bool) {
	t := v.talkback()
	if t == nil {
		return
	}
	v.srv.ears.remove(t)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended = true
	t.release(cut)
}

// release gives the floor back. The caller holds the lock.
func (t *talkback) release(cut bool) {
	switch {
	case t.talker == nil:
		return
	case cut:
		t.talker.Cut()
	default:
		t.talker.Close()
	}
	t.talker = nil
}

// hear takes one packet of RTP, if its sender may talk. What the desk refuses it
// counts and logs itself.
func (t *talkback) hear(b []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended || t.viewer.ctx.Err() != nil || !t.permitted(time.Now()) {
		return
	}
	if t.talker == nil {
		t.talker = t.viewer.srv.cfg.Talk.Join(t.viewer.user)
	}
	_ = t.talker.Packet(unpack(b))
}

// permitted asks at most once a second. Who may not any more is silent at once (S3).
func (t *talkback) permitted(now time.Time) bool {
	if now.Sub(t.asked) >= askEvery {
		t.asked, t.may = now, t.viewer.srv.mayTalk(t.viewer.user)
		if !t.may {
			t.release(true)
		}
	}
	return t.may
}

// recheck asks now, of somebody who talks.
func (t *talkback) recheck() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.asked = time.Time{}
	if t.talker != nil {
		t.permitted(time.Now())
	}
}

// unpack reads RTP (RFC 3550, 5.1); what is none comes out as garbage.
func unpack(b []byte) talk.Packet {
	var p rtp.Packet
	if len(b) > maxTalk || p.Unmarshal(b) != nil || p.Version != 2 {
		return talk.Packet{}
	}
	out := talk.Packet{Sequence: p.SequenceNumber, Timestamp: p.Timestamp, Payload: p.Payload}
	switch p.PayloadType {
	case 0:
		out.Codec = hal.PCMU
	case 8:
		out.Codec = hal.PCMA
	}
	return out
}
