package rtsp

import (
	"cmp"
	"slices"
	"time"
)

// Session is one viewer that plays.
type Session struct {
	User      string
	Address   string // host:port that its requests come from
	Stream    string
	Transport string    // tcp, tls, udp, multicast, srtp, srtp/tcp or srtp/multicast
	Since     time.Time // when it began to play
	Frames    uint64    // access units sent to it
	Skips     uint64    // times that it was too slow and put forward to a key frame
}

// Sessions tells who watches, the oldest first. It may be called at any time.
func (s *Server) Sessions() []Session {
	var list []Session
	s.mu.Lock()
	for v := range s.viewers {
		if v.sink != nil {
			list = append(list, v.tell())
		}
	}
	s.mu.Unlock()
	slices.SortFunc(list, func(a, b Session) int {
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.Address, b.Address))
	})
	return list
}

// tell is called under Server.mu, after setSink.
func (v *viewer) tell() Session {
	return Session{
		User: v.user, Address: v.address.String(), Stream: v.offer.stream.Name, Transport: v.transport(),
		Since: v.since, Frames: v.seen.Load(), Skips: v.skips.Load(),
	}
}

// transport names the way in one word.
func (v *viewer) transport() string {
	switch {
	case v.way.srtp && v.way.by == overUDP:
		return "srtp"
	case v.way.srtp:
		return "srtp/" + v.way.by.String()
	case v.way.by == overTCP && v.tls:
		return "tls"
	}
	return v.way.by.String()
}
