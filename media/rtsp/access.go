package rtsp

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/bluenviron/gortsplib/v4/pkg/auth"
	"github.com/bluenviron/gortsplib/v4/pkg/base"
	"github.com/bluenviron/gortsplib/v4/pkg/headers"
	"go.uber.org/zap"
)

// What ends a connection.
var (
	errWrongAnswers = errors.New("too many wrong passwords")
	errGuesser      = errors.New("too many wrong passwords from this address")
)

// methods in the order in which they are offered: ffmpeg knows MD5 alone, and
// takes the last it is offered; Basic would show the password to the network.
func methods() []auth.VerifyMethod {
	return []auth.VerifyMethod{auth.VerifyMethodDigestSHA256, auth.VerifyMethodDigestMD5}
}

// verdict is about the answer that a request carries.
type verdict int

const (
	noAnswer    verdict = iota // none, or none to a challenge of ours
	rightAnswer                // by it the user is let in
	staleAnswer                // right, but to a challenge that does not count any more
	wrongAnswer                // of nobody who may look
)

// challenged is a request by what matters of it for access.
type challenged struct {
	method string
	url    *url.URL
	answer []string          // Authorization
	fresh  func(string) bool // whether a nonce counts now
}

// authorize tells who makes a request (S3). If the answer is not a right one,
// res is what to reply; it always carries a challenge, so that a client whose
// nonce is of another connection can try again.
func (s *Server) authorize(c *conn, req *base.Request) (user string, res *base.Response, err error) {
	if c.nonce == "" {
		if c.nonce, err = auth.GenerateNonce(); err != nil {
			return "", &base.Response{StatusCode: base.StatusInternalServerError}, err
		}
	}
	user, v, err := s.admits(c, challenged{
		method: string(req.Method), url: (*url.URL)(req.URL), answer: req.Header["Authorization"],
		fresh: func(nonce string) bool { return nonce == c.nonce },
	})
	if v == rightAnswer {
		return user, nil, nil
	}
	return "", &base.Response{
		StatusCode: base.StatusUnauthorized,
		Header:     base.Header{"WWW-Authenticate": challenge(c.nonce, v == staleAnswer)},
	}, err
}

// challenge asks for an answer to nonce; stale tells a client that its password
// was right, and to answer again without asking anybody (RFC 7616, 3.3). live555
// reads stale without quotes, next to the nonce.
func challenge(nonce string, stale bool) []string {
	list := auth.GenerateWWWAuthenticate(methods(), realm, nonce)
	for i := range list {
		if end := nonce + `"`; stale {
			list[i] = strings.Replace(list[i], end, end+", stale=true", 1)
		}
	}
	return list
}

// admits judges a request on c, and draws the conclusions for c and for where it
// comes from. An error ends the connection after the reply.
func (s *Server) admits(c *conn, req challenged) (user string, v verdict, err error) {
	stranger := c.shown == ""
	if stranger && s.guard.blocks(c.RemoteAddr()) { // since it was accepted
		return "", noAnswer, errGuesser
	}
	user, password, v := s.judge(req)
	switch v {
	case rightAnswer:
		c.wrong, c.shown = 0, password
		s.know(c)
		if c.viewer == nil {
			c.mayIdle(false)
		}
	case wrongAnswer:
		err = s.wrongAnswer(c)
	}
	return user, v, err
}

// judge compares an answer with what it should be, by the nonce and the URI that
// it was made for; only then it looks whether those are the right ones. What
// can't tell anything about a password (Basic, a realm of others) is no answer.
func (s *Server) judge(req challenged) (user, password string, v verdict) {
	var h headers.Authorization
	field := base.HeaderValue(req.answer)
	if len(field) == 1 && len(field[0]) > 7 && strings.EqualFold(field[0][:7], "Digest ") {
		field = base.HeaderValue{"Digest " + field[0][7:]}
	}
	if h.Unmarshal(field) != nil || h.Method != headers.AuthMethodDigest || h.Realm != realm || h.Username == "" {
		return "", "", noAnswer
	}
	password, ok := s.password(h.Username)
	signed := base.Request{
		Method: base.Method(req.method),
		URL:    (*base.URL)(&url.URL{Opaque: h.URI}), // written as it was given
		Header: base.Header{"Authorization": field},
	}
	switch {
	case auth.Verify(&signed, h.Username, password, methods(), realm, h.Nonce) != nil || !ok:
		return "", "", wrongAnswer
	case !sameResource(req.url, h.URI):
		return "", "", noAnswer
	case !req.fresh(h.Nonce):
		return "", "", staleAnswer
	}
	return h.Username, password, rightAnswer
}

// password gives one that nobody can guess for users that are none, so that the
// work is the same for them.
func (s *Server) password(user string) (string, bool) {
	if p, ok := s.cred(user); ok && p != "" {
		return p, true
	}
	return rand.Text(), false
}

// sameResource tells whether an answer was made for what is requested, be it by
// path alone or by an address that differs in host, port, query, slash at the end
// or track: clients build it from Content-Base in many ways (RFC 7616, 3.4.6).
func sameResource(requested *url.URL, uri string) bool {
	u, err := url.Parse(uri)
	return err == nil && requested != nil && streamPath(u.Path) == streamPath(requested.Path)
}

func streamPath(path string) string {
	path, _, _ = strings.Cut(path, trackKey)
	return strings.Trim(path, "/")
}

// wrongAnswer counts one, against the connection and against where it comes from.
func (s *Server) wrongAnswer(c *conn) error {
	s.count.authErrors.Add(1)
	s.slowLog(&s.wrongLog, "RTSP viewer refused: wrong user or password", zap.Stringer("address", c.RemoteAddr()))
	blocked, began := s.guard.wrong(c.RemoteAddr())
	if began {
		s.slowLog(&s.guessLog, "RTSP address refused for a while: too many wrong passwords",
			zap.Stringer("source", sourceOf(c.RemoteAddr())), zap.Duration("for", s.cfg.BlockTime))
		s.expel(c)
	}
	c.wrong++
	switch {
	case blocked:
		return errGuesser
	case c.wrong >= wrongAnswers:
		return errWrongAnswers
	}
	return nil
}

// expel closes the connections of the source of c that nobody has shown a right
// password on; c itself, which gets an answer, ends by an error.
func (s *Server) expel(c *conn) {
	source := sourceOf(c.RemoteAddr())
	var all []*conn
	s.mu.Lock()
	for _, o := range s.strangers {
		if o != c && sourceOf(o.RemoteAddr()) == source {
			all = append(all, o)
		}
	}
	s.mu.Unlock()
	for _, o := range all {
		o.Close()
	}
}

// Recheck ends every session whose user has no password now, or another one than
// when it was set up, and those that share a key with such a user; it cuts the talk
// of those who may not talk now. Call it after each change of what Credentials or
// MayTalk answers; it asks once for each user, and MayTalk for each who talks.
func (s *Server) Recheck() {
	s.mu.Lock()
	now := make(map[string]string, len(s.viewers))
	viewers := slices.Collect(maps.Keys(s.viewers))
	for _, v := range viewers {
		now[v.user] = ""
	}
	for _, g := range s.groups {
		for user := range g.told {
			now[user] = ""
		}
	}
	s.mu.Unlock()
	for user := range now { // not under the lock: Credentials is the caller's
		if p, ok := s.cred(user); ok {
			now[user] = p
		}
	}
	ended := func(user, password string) bool {
		p, asked := now[user]
		return asked && (p == "" || p != password)
	}
	s.drop(func(v *viewer) bool { return ended(v.user, v.password) })
	s.rekey(ended)
	for _, v := range viewers {
		if t := v.talkback(); t != nil {
			t.recheck()
		}
	}
}

func random32() uint32 {
	var b [4]byte
	rand.Read(b[:]) //nolint:errcheck // never fails
	return binary.LittleEndian.Uint32(b[:])
}
