package rtsp

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"go.uber.org/zap"
)

// What HTTP has beside RTSP. It is read and written message by message, which keeps
// the server of net/http out of the program.
const (
	snapshotPath = "/snapshot.jpg"
	maxHeader    = 16 << 10 // bytes of a request, which has no body
	retryAfter   = 2        // seconds, for a client that got no picture
	pictureWrite = 32 << 10 // bytes of a response that are written at once
)

var (
	errProtocol = errors.New("not a request over HTTP/1 without a body")
	errEnded    = errors.New("the password does not count any more")
)

// looksLikeHTTP tells from the first bytes of a connection whether HTTP is spoken
// there ("GET /", not "GET_PARAMETER" or "DESCRIBE rtsp://"); known is false while
// there are too few to tell.
func looksLikeHTTP(first []byte) (yes, known bool) {
	const longest = 8 // OPTIONS and a space
	n := bytes.IndexFunc(first[:min(len(first), longest)], func(r rune) bool { return r < 'A' || r > 'Z' })
	switch {
	case n < 0:
		return false, len(first) >= longest
	case n == 0 || first[n] != ' ':
		return false, true
	case n+1 == len(first):
		return false, false
	}
	return first[n+1] == '/' || first[n+1]|0x20 == 'h', true
}

// serveHTTP answers HTTP requests on c until it ends, and says why; first are the
// bytes that have been read of it. It reads from c.Conn, never by c.Read, and runs
// in place of that: Read returns what it returns, so that gortsplib closes c.
func (s *Server) serveHTTP(c *conn, first []byte) error {
	in := &io.LimitedReader{R: io.MultiReader(bytes.NewReader(first), c.Conn)}
	br := bufio.NewReader(in)
	for {
		in.N = maxHeader
		req, err := http.ReadRequest(br)
		if err != nil {
			return s.refuseHTTP(c, in, err)
		}
		res, err := s.answerHTTP(c, req)
		if err != nil || req.ContentLength != 0 { // what follows may be a body
			res.Close = true
		}
		if wrong := writeHTTP(c, res); wrong != nil || res.Close {
			return cmp.Or(wrong, err, io.EOF)
		}
	}
}

// refuseHTTP ends a connection on which no request could be read.
func (s *Server) refuseHTTP(c *conn, in *io.LimitedReader, err error) error {
	code := http.StatusBadRequest
	switch {
	case in.N <= 0:
		code = http.StatusRequestHeaderFieldsTooLarge
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.As(err, new(net.Error)):
		return err
	}
	res := plainHTTP(&http.Request{Method: http.MethodGet, ProtoMajor: 1, ProtoMinor: 1}, code)
	res.Close = true
	return errors.Join(err, writeHTTP(c, res))
}

// answerHTTP makes the response to one request; an error ends the connection
// after it.
func (s *Server) answerHTTP(c *conn, req *http.Request) (*http.Response, error) {
	switch {
	case req.ProtoMajor != 1:
		return plainHTTP(req, http.StatusHTTPVersionNotSupported), errProtocol
	case req.ProtoMinor > 0 && req.Host == "":
		return plainHTTP(req, http.StatusBadRequest), errProtocol
	case req.Method != http.MethodGet && req.Method != http.MethodHead:
		res := plainHTTP(req, http.StatusMethodNotAllowed)
		res.Header.Set("Allow", "GET, HEAD")
		return res, nil
	case req.ContentLength != 0:
		return plainHTTP(req, http.StatusRequestEntityTooLarge), errProtocol
	case req.URL.Path != snapshotPath || s.cfg.Snapshot == nil:
		return plainHTTP(req, http.StatusNotFound), nil
	}
	user, v, err := s.admits(c, challenged{
		method: req.Method, url: req.URL, answer: req.Header["Authorization"],
		fresh: func(nonce string) bool { return s.nonces.counts(nonce, c.RemoteAddr()) },
	})
	if v != rightAnswer {
		res := plainHTTP(req, http.StatusUnauthorized)
		res.Header["WWW-Authenticate"] = challenge(s.nonces.next(c.RemoteAddr()), v == staleAnswer)
		return res, err
	}
	res := s.picture(req)
	if p, ok := s.password(user); !ok || p != c.shown { // it ended while the picture was made
		return plainHTTP(req, http.StatusUnauthorized), errEnded
	}
	return res, nil
}

// picture answers a request that may have it.
func (s *Server) picture(req *http.Request) *http.Response {
	jpeg, err := s.snapshots.get()
	if err != nil {
		s.slowLog(&s.pictureLog, "no picture for "+snapshotPath, zap.Error(err))
		res := plainHTTP(req, http.StatusServiceUnavailable)
		res.Header.Set("Retry-After", strconv.Itoa(retryAfter))
		return res
	}
	res := newHTTP(req, http.StatusOK, "image/jpeg", bytes.NewReader(jpeg))
	return res
}

// plainHTTP is a response that a person may read.
func plainHTTP(req *http.Request, code int) *http.Response {
	return newHTTP(req, code, "text/plain; charset=utf-8", bytes.NewReader([]byte(http.StatusText(code)+"\n")))
}

func newHTTP(req *http.Request, code int, kind string, body *bytes.Reader) *http.Response {
	h := http.Header{}
	h.Set("Date", time.Now().UTC().Format(http.TimeFormat))
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Type", kind)
	if req.ProtoMinor == 0 && !req.Close {
		h.Set("Connection", "keep-alive")
	}
	return &http.Response{
		StatusCode: code, ProtoMajor: 1, ProtoMinor: min(req.ProtoMinor, 1), Request: req, Header: h,
		Body: io.NopCloser(body), ContentLength: body.Size(), Close: req.Close,
	}
}

// writeHTTP sends the header and the picture in few writes.
func writeHTTP(c *conn, res *http.Response) error {
	if res.Close {
		res.Header.Del("Connection")
	}
	w := bufio.NewWriterSize(c, int(min(1<<10+res.ContentLength, pictureWrite)))
	return cmp.Or(res.Write(w), w.Flush())
}
