package rtsp

import (
	"bytes"
	"context"
	"fmt"
	"net/url"

	"github.com/bluenviron/gortsplib/v4/pkg/description"
)

// terms are what a DESCRIBE told a client: those of the next session that it sets
// up over that connection.
type terms struct {
	offer  *offer
	tracks []track
	sealer *sealer // nil: it may have its media in the clear
}

// newTerms makes numberings and, for a client that comes by TLS, keys.
func newTerms(o *offer, sealed bool) (*terms, error) {
	t := &terms{offer: o, tracks: o.tracks()}
	if !sealed {
		return t, nil
	}
	var err error
	t.sealer, err = newSealer(len(t.tracks))
	return t, err
}

// describe makes the SDP for a client (RFC 4566; keys: RFC 4567). It speaks of a
// multicast group if the client asks so, as VLC has to.
func (s *Server) describe(ctx context.Context, c *conn, o *offer, user, query string) ([]byte, error) {
	c.described, c.terms = o, nil
	s.mu.Lock()
	s.forget(c)
	s.mu.Unlock()
	if asksForMulticast(query) && s.permits(way{overMulticast, c.tls}, c.tls) {
		g, err := s.tell(ctx, c, o, user)
		if err != nil {
			return nil, err
		}
		if g.sealer != nil {
			g.sealer.settled(ctx)
		}
		b, err := g.offer.sdp(g.tracks, g.sealer)
		return g.place(b), err
	}
	t, err := newTerms(o, c.tls && (s.cfg.UDP || s.cfg.Multicast))
	if err != nil {
		return nil, err
	}
	c.terms = t
	return o.sdp(t.tracks, t.sealer)
}

// settle gives a new session its way, and the numbering, keys and group that go
// with it.
func (s *Server) settle(ctx context.Context, c *conn, v *viewer) error {
	v.way, v.tls = c.choice.way, c.tls
	if err := s.signal(v); err != nil {
		return err
	}
	v.watch()
	if v.way.by == overMulticast {
		err := s.enter(ctx, v)
		if v.sealer != nil {
			v.sealer.settled(ctx)
		}
		return err
	}
	if !v.way.srtp {
		return nil
	}
	t := c.terms
	c.terms = nil // nobody else has these keys
	if t == nil || t.offer != v.offer || t.sealer == nil {
		var err error
		if t, err = newTerms(v.offer, true); err != nil {
			return err
		}
	}
	v.tracks, v.sealer = t.tracks, t.sealer
	return nil
}

// asksForMulticast knows the word of gortsplib's and mediamtx's users, and a
// plainer one.
func asksForMulticast(query string) bool {
	q, err := url.ParseQuery(query)
	return err == nil && (q.Has("vlcmulticast") || q.Has("multicast"))
}

func (o *offer) sdp(tracks []track, keys *sealer) ([]byte, error) {
	d := *o.desc
	d.Medias = nil
	for i, m := range o.desc.Medias {
		media := *m
		if keys != nil {
			media.Secure, media.KeyMgmtMikey = true, keys.message(i, tracks[i].ssrc)
		}
		d.Medias = append(d.Medias, &media)
	}
	return d.Marshal(false)
}

// place puts the group's address and ports into an SDP that has none.
func (g *group) place(sdp []byte) []byte {
	sdp = bytes.Replace(sdp, []byte("c=IN IP4 0.0.0.0\r\n"), fmt.Appendf(nil, "c=IN IP4 %s/%d\r\n", g.addr, multicastTTL), 1)
	for i, m := range g.offer.desc.Medias {
		sdp = bytes.Replace(sdp, portOf(m, 0), portOf(m, g.ports[i][0]), 1)
	}
	return sdp
}

func portOf(m *description.Media, port int) []byte {
	return fmt.Appendf(nil, "\r\nm=%s %d ", m.Type, port)
}
