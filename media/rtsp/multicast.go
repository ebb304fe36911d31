package rtsp

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"go.uber.org/zap"
)

var (
	errNobody  = errors.New("nobody watches any more")
	errChanged = errors.New("the stream has another sound now")
	errRekeyed = errors.New("the key of the multicast has changed")
	errNoGroup = errors.New("no multicast group")
)

// groupKey names a group: what is encrypted goes to ports of its own.
type groupKey struct {
	stream string
	srtp   bool
}

// group is the multicast of a stream: one sender, with one numbering and, if it
// is encrypted, one key, for all sessions that chose it. It begins with the first
// of them, or with a client that was told its key, and is forgotten, with all of
// that, with the last.
type group struct {
	srv    *Server
	key    groupKey
	offer  *offer // as the stream was described when the group began
	addr   netip.Addr
	ports  [][2]int // by track
	source net.IP   // what packets come from, nil: unknown
	socks  []*net.UDPConn
	sealer *sealer // nil: it is not encrypted
	sender *viewer
	tracks []track // as the sender's were when it began

	// Guarded by Server.mu.
	started bool
	retired bool
	members map[*viewer]struct{} // sessions
	askers  map[*conn]struct{}   // were told of it and have not set up a session
	told    map[string]string    // users who know its key, and their passwords
}

// groupOf returns the group of a stream, as o describes it; Server.mu is held.
func (s *Server) groupOf(ctx context.Context, o *offer, srtp bool) (*group, error) {
	key := groupKey{o.stream.Name, srtp}
	if g := s.groups[key]; g != nil {
		if g.offer.sound.Same(o.sound) {
			return g, nil
		}
		s.retire(g, errChanged)
	}
	if !s.running {
		return nil, errStopped
	}
	g, err := s.newGroup(ctx, o, key)
	if err != nil {
		s.complain("cannot send multicast", err)
		return nil, err
	}
	s.groups[key] = g
	return g, nil
}

func (s *Server) newGroup(ctx context.Context, o *offer, key groupKey) (g *group, err error) {
	g = &group{srv: s, key: key, offer: o, members: map[*viewer]struct{}{}, askers: map[*conn]struct{}{}, told: map[string]string{}}
	var ok bool
	if g.addr, g.ports, ok = s.placeOf(key, len(o.desc.Medias)); !ok {
		return nil, errNoGroup
	}
	if key.srtp {
		if g.sealer, err = newSealer(len(g.ports)); err != nil {
			return nil, err
		}
	}
	if g.socks, g.source, err = openGroup(g.addr, g.ports, s.cfg.MulticastInterface); err != nil {
		return nil, fmt.Errorf("multicast group %s: %w", g.addr, err)
	}
	g.sender = g.newSender(ctx)
	g.tracks = slices.Clone(g.sender.tracks)
	return g, nil
}

// placeOf tells where a group is: each stream has an address, each track a pair
// of ports, those of SRTP behind the plain ones.
func (s *Server) placeOf(key groupKey, tracks int) (addr netip.Addr, ports [][2]int, ok bool) {
	addr = s.cfg.MulticastGroup.Unmap()
	for range s.order[key.stream] {
		addr = addr.Next()
	}
	port := s.cfg.MulticastPort
	if key.srtp {
		port += 2 * groupTracks
	}
	for range tracks {
		ports = append(ports, [2]int{port, port + 1})
		port += 2
	}
	return addr, ports, addr.Is4() && addr.IsMulticast()
}

// newSender makes the viewer that stands for the group.
func (g *group) newSender(ctx context.Context) *viewer {
	v := &viewer{srv: g.srv, offer: g.offer, way: way{overMulticast, g.key.srtp}, tls: g.key.srtp, udp: true, stands: g,
		tracks: g.offer.tracks(), name: rand.Text(), address: &net.UDPAddr{IP: g.addr.AsSlice(), Port: g.ports[0][0]}}
	v.live(ctx)
	u := &udpSink{ctx: v.ctx, from: g.socks}
	for i := range v.tracks {
		v.tracks[i].on, v.tracks[i].channel = true, uint8(2*i)
		for _, port := range g.ports[i] {
			u.to = append(u.to, netip.AddrPortFrom(g.addr, uint16(port)))
		}
	}
	v.sealer = g.sealer
	v.use(v.sealing(u))
	return v
}

// enter makes a session a member of the group of its stream.
func (s *Server) enter(ctx context.Context, v *viewer) error {
	if err := s.admitTo(ctx, v); err != nil {
		return err
	}
	return s.stillMay(v.user, v.password)
}

func (s *Server) admitTo(ctx context.Context, v *viewer) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, err := s.groupOf(ctx, v.offer, v.way.srtp)
	if err != nil {
		return err
	}
	v.group, v.sealer, v.tracks = g, g.sealer, slices.Clone(g.tracks)
	g.members[v] = struct{}{}
	g.told[v.user] = v.password
	return nil
}

// tell lets the client of a connection know the group that it has asked for.
func (s *Server) tell(ctx context.Context, c *conn, o *offer, user string) (*group, error) {
	g, err := s.noteAsker(ctx, c, o, user)
	if err != nil {
		return nil, err
	}
	return g, s.stillMay(user, c.shown)
}

// stillMay looks again at somebody who has just been noted among those who know
// a key, and before they do: a Recheck since their request was judged, which may
// have waited for a key frame, has not seen them there.
func (s *Server) stillMay(user, password string) error {
	if p, ok := s.cred(user); !ok || p != password {
		return errDropped
	}
	return nil
}

func (s *Server) noteAsker(ctx context.Context, c *conn, o *offer, user string) (*group, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.gone {
		return nil, errStopped
	}
	g, err := s.groupOf(ctx, o, c.tls)
	if err != nil {
		return nil, err
	}
	c.asked = g
	g.askers[c] = struct{}{}
	g.told[user] = c.shown
	return g, nil
}

// forget is said of a connection that has ended or asks for something else;
// Server.mu is held.
func (s *Server) forget(c *conn) {
	if g := c.asked; g != nil {
		c.asked = nil
		delete(g.askers, c)
		s.tidy(g)
	}
}

// quit ends a membership; Server.mu is held.
func (s *Server) quit(v *viewer) {
	if g := v.group; g != nil {
		delete(g.members, v)
		s.tidy(g)
	}
}

// tidy forgets a group that nobody uses.
func (s *Server) tidy(g *group) {
	if len(g.members) == 0 && (g.started || len(g.askers) == 0) {
		s.retire(g, errNobody)
	}
}

// retire ends a group with all its sessions; Server.mu is held. A later one has
// other keys and numberings.
func (s *Server) retire(g *group, cause error) {
	if g.retired {
		return
	}
	g.retired = true
	if s.groups[g.key] == g {
		delete(s.groups, g.key)
	}
	g.sender.cancel(cause)
	if !g.started {
		g.close()
	}
	for v := range g.members {
		v.cancel(cause)
		v.endSession()
	}
}

// close is said when the sender has ended.
func (g *group) close() { closeAll(g.socks) }

// joined has media go to a member: the first begins the sender, for any other a
// key frame is asked for.
func (s *Server) joined(v *viewer) {
	g := v.group
	s.mu.Lock()
	if g.retired || v.ctx.Err() != nil {
		s.mu.Unlock()
		v.endSession()
		return
	}
	first := !g.started
	if first && s.running {
		g.started = true
		s.work.Add(1)
		go g.sender.run()
	}
	s.mu.Unlock()
	v.log().Info("RTSP viewer joined")
	if !first {
		s.keys.insist(g.offer.stream, time.Now())
	}
}

// left is the end of a membership in the log.
func (v *viewer) left() {
	if v.group != nil && v.playing {
		v.log().Info("RTSP viewer left", zap.NamedError("reason", context.Cause(v.ctx)))
	}
}

// rekey ends the encrypted groups whose key somebody knows who may not look any
// more: the next ones have others.
func (s *Server) rekey(ended func(user, password string) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range s.groups {
		if g.key.srtp && g.knownTo(ended) {
			s.retire(g, errRekeyed)
		}
	}
}

func (g *group) knownTo(ended func(user, password string) bool) bool {
	for user, password := range g.told {
		if ended(user, password) {
			return true
		}
	}
	return false
}

// retireAll is the end of a server.
func (s *Server) retireAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range s.groups {
		s.retire(g, errDropped)
	}
}

// member is the sink of a session that gets its media by a group: there is none.
type member struct{}

func (member) send([]byte) error { return nil }
func (member) close()            {}
