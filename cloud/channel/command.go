package channel

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"runtime/debug"
	"slices"
	"time"

	"go.uber.org/zap"

	"iid2secure.nl/camagent/cloud"
)

const (
	maxReplies    = 256
	maxReplyBytes = 1 << 20
	maxAhead      = time.Minute // of a deadline
	maxName       = 64          // of names and ids of commands, in bytes
)

// entry is one command that runs or has run.
type entry struct {
	member  string
	id      string
	hash    [sha256.Size]byte
	cmd     cloud.Command
	cancel  context.CancelFunc
	running bool
	reply   cloud.Reply
	size    int
	waiting []*session // who is told when it is done
}

// replies remembers what was carried out, oldest first. The server's lock guards it.
type replies struct {
	list []*entry
	size int
}

func (r *replies) find(member, id string) *entry {
	for _, e := range r.list {
		if e.id == id && e.member == member {
			return e
		}
	}
	return nil
}

// trim forgets the oldest until the limits hold, but none that runs, nor the newest.
func (r *replies) trim() {
	for i := 0; i < len(r.list)-1 && (len(r.list) > maxReplies || r.size > maxReplyBytes); {
		if r.list[i].running {
			i++
			continue
		}
		r.size -= r.list[i].size
		r.list = slices.Delete(r.list, i, i+1)
	}
}

// forget drops entries, running ones included, which it cancels.
func (r *replies) forget(which func(*entry) bool) {
	r.list = slices.DeleteFunc(r.list, func(e *entry) bool {
		if !which(e) {
			return false
		}
		e.cancel()
		r.size -= e.size
		return true
	})
}

// command takes one command of an authenticated member: answered from the
// store, refused, or carried out.
func (s *Server) command(sess *session, msg []byte, riding bool) {
	var cmd cloud.Command
	if err := json.Unmarshal(msg, &cmd); err != nil || !wellFormed(cmd) {
		s.reply(sess, cloud.Reply{ID: clip(cmd.ID), Error: cloud.Refuse(cloud.CodeArgument,
			"not a command of version 1 with an id and a name of 1 to %d bytes", maxName)})
		return
	}
	hash := argumentHash(cmd)
	if e := s.replies.find(sess.member, cmd.ID); e != nil {
		s.again(sess, e, hash, cmd)
		return
	}
	if refusal := s.admit(sess, cmd, riding); refusal != nil {
		s.reply(sess, cloud.Reply{ID: cmd.ID, Error: refusal})
		return
	}
	s.start(sess, cmd, hash)
}

func wellFormed(c cloud.Command) bool {
	return c.V == 1 && c.ID != "" && len(c.ID) <= maxName && c.Name != "" && len(c.Name) <= maxName
}

func clip(id string) string { return id[:min(len(id), maxName)] }

// argumentHash is SHA-256 of name and arguments, the name after its length.
func argumentHash(c cloud.Command) [sha256.Size]byte {
	return sha256.Sum256(append(Prologue(c.Name), c.Args...))
}

// again answers a repeated id, which never runs twice. This comes before order
// and deadline: it has no effect, and a repeat is late by nature.
func (s *Server) again(sess *session, e *entry, hash [sha256.Size]byte, cmd cloud.Command) {
	sess.seq = max(sess.seq, cmd.Seq)
	switch {
	case e.hash != hash:
		s.reply(sess, cloud.Reply{ID: cmd.ID, Error: cloud.Refuse(cloud.CodeArgument,
			"id %q was used for another command", cmd.ID)})
	case e.running:
		if !slices.Contains(e.waiting, sess) {
			e.waiting = append(e.waiting, sess)
		}
	default:
		s.reply(sess, e.reply)
	}
}

// admit decides whether a new command may run: in order, in time, and not too
// many. S1: one that was held back or overtaken on the way is refused.
func (s *Server) admit(sess *session, cmd cloud.Command, riding bool) *cloud.Refusal {
	if sess.superseded() || cmd.Seq <= sess.seq {
		return cloud.Refuse(cloud.CodeLate, "%s: overtaken by a later command", cmd.Name)
	}
	sess.seq = cmd.Seq
	uptime := s.cfg.Uptime().Milliseconds()
	switch {
	case cmd.Deadline == 0 && riding:
	case cmd.Deadline <= 0:
		return cloud.Refuse(cloud.CodeArgument, "%s: no deadline", cmd.Name)
	case cmd.Deadline < uptime:
		return cloud.Refuse(cloud.CodeLate, "%s: %d ms past its deadline", cmd.Name, uptime-cmd.Deadline)
	case cmd.Deadline-uptime > maxAhead.Milliseconds():
		return cloud.Refuse(cloud.CodeArgument, "%s: the deadline is more than %s ahead", cmd.Name, maxAhead)
	}
	if s.running >= maxRunning {
		return cloud.Refuse(cloud.CodeBusy, "%s: %d commands run already", cmd.Name, maxRunning)
	}
	return nil
}

// start runs a command after the earlier ones of its session: what the carrier
// could not swap, our own scheduler must not either.
func (s *Server) start(sess *session, cmd cloud.Command, hash [sha256.Size]byte) {
	ctx, cancel := context.WithCancel(s.ctx)
	cmd.Args = bytes.Clone(cmd.Args)
	e := &entry{
		member: sess.member, id: cmd.ID, hash: hash, cmd: cmd, cancel: cancel,
		running: true, waiting: []*session{sess},
	}
	s.replies.list = append(s.replies.list, e)
	s.replies.trim()
	s.running++
	before, done := sess.tail, make(chan struct{})
	sess.tail = done
	s.wg.Go(func() {
		defer cancel()
		s.finish(e, s.carryOut(ctx, e, before))
		close(done)
	})
}

func (s *Server) carryOut(ctx context.Context, e *entry, before <-chan struct{}) (r cloud.Reply) {
	defer func() {
		// R4: a command must not end the camera.
		if p := recover(); p != nil {
			s.log.Error("command panicked", zap.String("command", e.cmd.Name), zap.Any("panic", p),
				zap.ByteString("stack", debug.Stack()))
			r = cloud.Reply{Error: cloud.Refuse(cloud.CodeFailed, "%s: failed inside the camera", e.cmd.Name)}
		}
	}()
	if before != nil {
		select {
		case <-before:
		case <-ctx.Done():
		}
	}
	if ctx.Err() != nil {
		return cloud.Reply{Error: cloud.Refuse(cloud.CodeFailed, "%s: ended before it began", e.cmd.Name)}
	}
	if e.cmd.Deadline > 0 && e.cmd.Deadline < s.cfg.Uptime().Milliseconds() {
		return cloud.Reply{Error: cloud.Refuse(cloud.CodeLate, "%s: its turn came after its deadline", e.cmd.Name)}
	}
	return s.cfg.Execute(ctx, e.member, e.cmd)
}

func (s *Server) finish(e *entry, r cloud.Reply) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running--
	r.ID = e.id
	e.running, e.reply = false, r
	waiting := e.waiting
	e.waiting, e.cmd = nil, cloud.Command{}
	if s.replies.find(e.member, e.id) == e {
		e.size = cmp.Or(len(r.Result), 1)
		s.replies.size += e.size
		s.replies.trim()
	}
	for _, sess := range waiting {
		if s.sessions[sess.key] == sess {
			s.reply(sess, r)
		}
	}
}
