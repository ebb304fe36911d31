package channel

import (
	"bytes"
	"encoding/json"
	"slices"
	"time"

	"github.com/flynn/noise"
	"go.uber.org/zap"

	"iid2secure.nl/camagent/cloud"
)

// pending is a handshake that waits for its message 3.
type pending struct {
	key
	hs    *noise.HandshakeState
	msg1  []byte // Noise message 1, to know a repeat
	msg2  []byte // the whole answer
	begun time.Time
}

// session is one that message 3 has authenticated.
type session struct {
	key
	member string
	peer   []byte // the member's Noise key
	send   sender
	recv   receiver
	join   joiner
	number uint32 // of the next message sent
	seq    uint64 // of the last command
	born   time.Time
	used   time.Time
	until  time.Time     // of a superseded one; zero: current
	tail   chan struct{} // closed when its last command so far is done; nil: none
}

func (s *session) superseded() bool { return !s.until.IsZero() }

func (s *session) expired(now time.Time) bool {
	return now.Sub(s.born) > sessionFor+keepOld || s.superseded() && now.After(s.until)
}

func (s *Server) expire() {
	now := time.Now()
	s.pending = slices.DeleteFunc(s.pending, func(p *pending) bool { return now.Sub(p.begun) > pendingFor })
	for k, sess := range s.sessions {
		if sess.expired(now) {
			s.end(k, "expired")
		}
	}
}

func (s *Server) end(k key, why string) {
	sess := s.sessions[k]
	delete(s.sessions, k)
	s.log.Debug("session ended", zap.String("client", k.client), zap.String("member", sess.member), zap.String("why", why))
}

// handshake1 answers message 1. Anybody can send one, recorded ones too: it
// costs a place among the pending for a while, and evicts no session. S1.
func (s *Server) handshake1(k key, m message) {
	if s.sessions[k] != nil {
		s.drop("handshake for a session that stands")
		return
	}
	for _, p := range s.pending {
		if p.key == k {
			if bytes.Equal(p.msg1, m.body) {
				s.cfg.Send(k.client, p.msg2)
			}
			return
		}
	}
	hs, err := newHandshake(s.cfg.Static, nil, s.cfg.Serial, s.epoch, s.bindID, k.client)
	if err != nil {
		s.log.Error("session handshake", zap.Error(err))
		return
	}
	if _, _, _, err := hs.ReadMessage(nil, m.body); err != nil {
		s.drop("handshake 1 that does not verify")
		return
	}
	msg2, _, _, err := hs.WriteMessage(head(typeHandshake2, k.id), nil)
	if err != nil {
		s.drop("handshake 1 that can't be answered")
		return
	}
	s.pend(&pending{key: k, hs: hs, msg1: bytes.Clone(m.body), msg2: msg2, begun: time.Now()})
	s.cfg.Send(k.client, msg2)
}

// pend makes room by the oldest of the same client, then by the oldest of all:
// were new ones refused instead, 8 recorded messages every 10 s would lock
// everybody out.
func (s *Server) pend(p *pending) {
	mine, oldest := 0, -1
	for i, q := range s.pending {
		if q.client == p.client {
			if mine++; oldest < 0 {
				oldest = i
			}
		}
	}
	switch {
	case mine >= maxPendingClient:
		s.pending = slices.Delete(s.pending, oldest, oldest+1)
	case len(s.pending) >= maxPending:
		s.pending = slices.Delete(s.pending, 0, 1)
	}
	s.pending = append(s.pending, p)
}

// handshake3 makes the session. Whatever comes of it, the pending state is gone:
// after one bad message it would not take the good one either.
func (s *Server) handshake3(k key, m message) {
	i := slices.IndexFunc(s.pending, func(p *pending) bool { return p.key == k })
	if i < 0 {
		if s.sessions[k] == nil {
			s.hint(k)
		}
		return
	}
	hs := s.pending[i].hs
	s.pending = slices.Delete(s.pending, i, i+1)
	payload, in, out, err := hs.ReadMessage(nil, m.body)
	if err != nil {
		s.drop("handshake 3 that does not verify")
		return
	}
	now := time.Now()
	sess := &session{
		key: k, peer: hs.PeerStatic(), send: sender{out}, recv: receiver{c: in.Cipher()},
		join: joiner{limit: maxCommand}, born: now, used: now,
	}
	member, ok := s.cfg.Member(sess.peer)
	if !ok {
		s.log.Info("session refused: no member has this key", zap.String("client", k.client))
		s.reply(sess, cloud.Reply{Error: noMember()})
		return
	}
	sess.member = member
	s.establish(sess, i)
	s.reply(sess, cloud.Reply{})
	if len(payload) > 0 {
		s.command(sess, payload, true)
	}
}

func noMember() *cloud.Refusal {
	return cloud.Refuse(cloud.CodePermission, "this key is not (or no longer) a member's of the camera")
}

// establish lets a new session count. i is the place that its handshake had
// among the pending: older handshakes of the client go, so that a message 3 held
// back by the carrier can't come in later and overtake. S1.
func (s *Server) establish(sess *session, i int) {
	place := -1
	s.pending = slices.DeleteFunc(s.pending, func(p *pending) bool {
		place++
		return place < i && p.client == sess.client
	})
	for _, old := range s.sessions {
		if old.client == sess.client && old.member == sess.member && !old.superseded() {
			old.until = sess.born.Add(keepOld)
		}
	}
	s.makeRoom(maxPerMember, func(o *session) bool { return o.member == sess.member })
	s.makeRoom(maxSessions, func(*session) bool { return true })
	s.sessions[sess.key] = sess
	s.log.Info("session opened", zap.String("client", sess.client), zap.String("member", sess.member),
		zap.Int("sessions", len(s.sessions)))
}

// makeRoom ends sessions among those counted until there are fewer than limit:
// superseded ones first, then the one longest without use.
func (s *Server) makeRoom(limit int, counted func(*session) bool) {
	var all []*session
	for _, o := range s.sessions {
		if counted(o) {
			all = append(all, o)
		}
	}
	slices.SortFunc(all, func(a, b *session) int {
		if a.superseded() != b.superseded() {
			if a.superseded() {
				return -1
			}
			return 1
		}
		return a.used.Compare(b.used)
	})
	for len(all) >= limit {
		s.end(all[0].key, "made room for a new one")
		all = all[1:]
	}
}

// transport takes a message of a session.
func (s *Server) transport(k key, m message) {
	sess := s.sessions[k]
	if sess == nil {
		s.hint(k)
		return
	}
	plain, err := sess.recv.open(m)
	if err != nil {
		s.drop("transport message " + err.Error())
		return
	}
	// Asked again each time: an expiry, or a change of the roster that nobody told
	// us yet, ends the session here.
	if member, ok := s.cfg.Member(sess.peer); !ok || member != sess.member {
		s.reply(sess, cloud.Reply{Error: noMember()})
		s.endMember(sess.member)
		return
	}
	sess.used = time.Now()
	msg, err := sess.join.add(plain)
	if err != nil {
		s.drop("transport message with a bad piece")
		return
	}
	if msg != nil {
		s.command(sess, msg, false)
	}
}

// hint sends the one answer that is not authenticated, once a second to a client.
func (s *Server) hint(k key) {
	now := time.Now()
	if now.Sub(s.hinted[k.client]) < hintEvery {
		return
	}
	if len(s.hinted) >= maxHinted {
		for c, t := range s.hinted {
			if now.Sub(t) >= hintEvery {
				delete(s.hinted, c)
			}
		}
	}
	if len(s.hinted) >= maxHinted {
		return
	}
	s.hinted[k.client] = now
	s.cfg.Send(k.client, unknownAnswer(k.id))
}

// reply sends one reply in the session that asked.
func (s *Server) reply(sess *session, r cloud.Reply) {
	r.V, r.Uptime = 1, s.cfg.Uptime().Milliseconds()
	b, err := json.Marshal(r)
	if err == nil && len(b) > maxReply {
		r.Result, r.Error = nil, cloud.Refuse(cloud.CodeFailed, "the answer of %d bytes is larger than %d", len(b), maxReply)
		b, err = json.Marshal(r)
	}
	if err != nil {
		r.Result, r.Error = nil, cloud.Refuse(cloud.CodeFailed, "the answer can't be encoded")
		b, _ = json.Marshal(r)
	}
	for _, plain := range split(sess.number, b) {
		if sess.send.count() >= maxMessages+messageGrace {
			s.drop("reply past the session's last message")
			return
		}
		msg, err := sess.send.seal(sess.id, plain)
		if err != nil {
			s.log.Error("session reply", zap.Error(err))
			return
		}
		s.cfg.Send(sess.client, msg)
	}
	sess.number++
}
