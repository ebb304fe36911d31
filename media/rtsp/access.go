package rtsp

import (
	"crypto/rand"
	"encoding/binary"
	"errors"

	"github.com/bluenviron/gortsplib/v4/pkg/auth"
	"github.com/bluenviron/gortsplib/v4/pkg/base"
	"github.com/bluenviron/gortsplib/v4/pkg/headers"
	"go.uber.org/zap"
)

// errWrongAnswers ends a connection.
var errWrongAnswers = errors.New("too many wrong passwords")

// methods in the order in which they are offered: ffmpeg knows MD5 alone, and
// takes the last it is offered; Basic would show the password to the network.
func methods() []auth.VerifyMethod {
	return []auth.VerifyMethod{auth.VerifyMethodDigestSHA256, auth.VerifyMethodDigestMD5}
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
	var h headers.Authorization
	given := h.Unmarshal(req.Header["Authorization"]) == nil && h.Username != ""
	if password, ok := s.verify(c, req, h.Username); given && ok {
		c.wrong, c.shown = 0, password
		s.know(c)
		if c.viewer == nil {
			c.mayIdle(false)
		}
		return h.Username, nil, nil
	}
	res = &base.Response{
		StatusCode: base.StatusUnauthorized,
		Header:     base.Header{"WWW-Authenticate": auth.GenerateWWWAuthenticate(methods(), realm, c.nonce)},
	}
	if given {
		err = s.wrongAnswer(c)
	}
	return "", res, err
}

// verify does the same work for users that are none.
func (s *Server) verify(c *conn, req *base.Request, user string) (password string, right bool) {
	password, ok := s.cred(user)
	if !ok || password == "" {
		password, ok = rand.Text(), false
	}
	return password, auth.Verify(req, user, password, methods(), realm, c.nonce) == nil && ok
}

func (s *Server) wrongAnswer(c *conn) error {
	s.count.authErrors.Add(1)
	s.slowLog(&s.wrongLog, "RTSP viewer refused: wrong user or password", zap.Stringer("address", c.RemoteAddr()))
	if c.wrong++; c.wrong >= wrongAnswers {
		return errWrongAnswers
	}
	return nil
}

// Recheck ends every session whose user has no password now, or another one than
// when it was set up. Call it after each change of what Credentials answers; it
// asks once a user who looks, and is cheap.
func (s *Server) Recheck() {
	s.mu.Lock()
	now := make(map[string]string, len(s.viewers))
	for v := range s.viewers {
		now[v.user] = ""
	}
	s.mu.Unlock()
	for user := range now { // not under the lock: Credentials is the caller's
		if p, ok := s.cred(user); ok {
			now[user] = p
		}
	}
	s.drop(func(v *viewer) bool {
		p, asked := now[v.user]
		return asked && (p == "" || p != v.password)
	})
}

func random32() uint32 {
	var b [4]byte
	rand.Read(b[:]) //nolint:errcheck // never fails
	return binary.LittleEndian.Uint32(b[:])
}
