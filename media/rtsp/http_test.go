package rtsp

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/bluenviron/gortsplib/v4/pkg/auth"
	"github.com/bluenviron/gortsplib/v4/pkg/base"
	"github.com/stretchr/testify/require"
)

// httpClient speaks HTTP word by word.
type httpClient struct {
	t    testing.TB
	conn net.Conn
	br   *bufio.Reader
}

func (r *rig) http() *httpClient {
	r.t.Helper()
	conn, err := net.Dial("tcp", r.Addr().String())
	require.NoError(r.t, err)
	r.t.Cleanup(func() { conn.Close() })
	require.NoError(r.t, conn.SetDeadline(time.Now().Add(2*patience)))
	return &httpClient{t: r.t, conn: conn, br: bufio.NewReader(conn)}
}

func (c *httpClient) send(format string, args ...any) {
	c.t.Helper()
	_, err := fmt.Fprintf(c.conn, strings.ReplaceAll(format, "\n", "\r\n"), args...)
	require.NoError(c.t, err)
}

// read returns the next response, whole.
func (c *httpClient) read(method string) (*http.Response, []byte) {
	c.t.Helper()
	res, err := http.ReadResponse(c.br, &http.Request{Method: method})
	require.NoError(c.t, err)
	b, err := io.ReadAll(res.Body)
	require.NoError(c.t, err)
	return res, b
}

// ask sends a request that answers challenge, if there is one.
func (c *httpClient) ask(method, path string, challenge []string, password string) (*http.Response, []byte) {
	c.t.Helper()
	var answer string
	if challenge != nil {
		s, err := auth.NewSender(base.HeaderValue(challenge), user, password)
		require.NoError(c.t, err)
		u, err := base.ParseURL("rtsp://unused" + path)
		require.NoError(c.t, err)
		u.Scheme, u.Host = "", ""
		req := base.Request{Method: base.Method(method), URL: u}
		s.AddAuthorization(&req)
		answer = "Authorization: " + req.Header["Authorization"][0] + "\n"
	}
	c.send("%s %s HTTP/1.1\nHost: camera\n%s\n", method, path, answer)
	return c.read(method)
}

// closed tells that the server ends the connection without another byte.
func (c *httpClient) closed() bool {
	b, err := io.ReadAll(c.br)
	var timeout net.Error
	return len(b) == 0 && !(errors.As(err, &timeout) && timeout.Timeout())
}

func TestS3_OddHTTPRequests(t *testing.T) {
	t.Parallel()
	r := newHTTPRig(t, nil)
	for _, c := range []struct {
		request string
		status  int
		stays   bool
	}{
		{"GET /main HTTP/1.1\nHost: x\n\n", 404, true},
		{"GET / HTTP/1.1\nHost: x\n\n", 404, true},
		{"GET /snapshot.jpg/ HTTP/1.1\nHost: x\n\n", 404, true},
		{"GET /main/snapshot.jpg HTTP/1.1\nHost: x\n\n", 404, true},
		{"GET /snapshot.jpg?t=1700000000 HTTP/1.1\nHost: x\n\n", 401, true},
		{"GET //snapshot.jpg HTTP/1.1\nHost: x\n\n", 404, true},
		{"GET http://x/main HTTP/1.1\nHost: x\n\n", 404, true},
		{"GET http://x/snapshot.jpg HTTP/1.1\nHost: x\n\n", 401, true},
		{"GET /snapshot.jpg HTTP/1.1\nHost: x\nConnection: close\n\n", 401, false},
		{"GET /snapshot.jpg HTTP/1.0\n\n", 401, false},
		{"GET /snapshot.jpg HTTP/1.0\nConnection: keep-alive\n\n", 401, true},
		{"GET /snapshot.jpg HTTP/1.1\n\n", 400, false},
		{"GET /snapshot.jpg HTTP/2.0\nHost: x\n\n", 505, false},
		{"GET /snapshot.jpg\n\n", 400, false},
		{"GET /snapshot.jpg HTTP/1.1\nHost x\n\n", 400, false},
		{"GET /snapshot.jpg HTTP/1.1\nHost: x\nContent-Length: 4294967296\n\n", 413, false},
		{"GET /snapshot.jpg HTTP/1.1\nHost: x\nContent-Length: -1\n\n", 400, false},
		{"GET /snapshot.jpg HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\n\n", 413, false},
		{"PUT /snapshot.jpg HTTP/1.1\nHost: x\n\n", 405, true},
		{"POST /snapshot.jpg HTTP/1.1\nHost: x\nContent-Length: 5\n\n", 405, false},
		{"OPTIONS /snapshot.jpg HTTP/1.1\nHost: x\n\n", 405, true},
		// RTSP over HTTP, which is not there.
		{"GET /main HTTP/1.0\nAccept: application/x-rtsp-tunnelled\nx-sessioncookie: 1\n\n", 404, false},
		{"POST /main HTTP/1.0\nContent-Type: application/x-rtsp-tunnelled\nContent-Length: 32767\n\n", 405, false},
	} {
		h := r.http()
		h.send("%s", strings.ReplaceAll(c.request, "\n", "\r\n"))
		res, _ := h.read("GET")
		require.Equal(t, c.status, res.StatusCode, c.request)
		require.Equal(t, !c.stays, res.Close, c.request)
		if c.status == 405 {
			require.Equal(t, "GET, HEAD", res.Header.Get("Allow"))
		}
		if c.stays {
			res, _ := h.ask("GET", snapshotPath, nil, "")
			require.Equal(t, http.StatusUnauthorized, res.StatusCode, c.request)
		} else {
			require.True(t, h.closed(), c.request)
		}
	}
	require.Zero(t, r.Stats().AuthErrors)
	none := newRig(t, nil)
	res, _ := none.http().ask("GET", snapshotPath, nil, "")
	require.Equal(t, http.StatusNotFound, res.StatusCode, "no pictures")
}

func TestS3_HTTPRequestsAreBounded(t *testing.T) {
	t.Parallel()
	r := newHTTPRig(t, nil)
	for _, name := range []string{"X: ", ""} { // long values, and a name without end
		h := r.http()
		sent := make(chan int)
		go func() {
			n, _ := io.Copy(h.conn, io.MultiReader(strings.NewReader("GET /snapshot.jpg HTTP/1.1\r\n"+name), io.LimitReader(zeros{}, 64<<20)))
			sent <- int(n)
		}()
		res, err := http.ReadResponse(h.br, nil)
		if err == nil { // the reset may overtake it
			require.Equal(t, http.StatusRequestHeaderFieldsTooLarge, res.StatusCode)
		}
		require.Less(t, <-sent, 32<<20, "the server does not read on")
	}
}

func TestS3_OverHTTPNobodyMayIdleEither(t *testing.T) {
	t.Parallel()
	r := newHTTPRig(t, func(c *Config) { c.LoginTimeout = 300 * time.Millisecond })
	h := r.http()
	h.send("GET /snapshot.jpg HTTP/1.1\nHost:")
	require.True(t, h.closed(), "half a request, and then nothing")
	h = r.http()
	begin := time.Now()
	for err := error(nil); err == nil; { // a request without a password does not buy time
		_, err = io.WriteString(h.conn, "GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n")
		if err == nil {
			_, err = http.ReadResponse(h.br, nil)
			h.br.Discard(h.br.Buffered())
		}
	}
	require.Less(t, time.Since(begin), 5*time.Second)
	eventually(t, "all gone", func() bool { return r.Stats().Conns == 0 })
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = '0'
	}
	return len(b), nil
}

func TestM2_AClientThatPollsMayStay(t *testing.T) {
	t.Parallel()
	r := newHTTPRig(t, func(c *Config) { c.LoginTimeout = 1500 * time.Millisecond })
	c := r.http()
	res, _ := c.ask("GET", snapshotPath, nil, "")
	challenge := res.Header["Www-Authenticate"]
	tick := time.NewTicker(400 * time.Millisecond)
	defer tick.Stop()
	for range 6 {
		<-tick.C
		res, _ = c.ask("GET", snapshotPath, challenge, password)
		require.Equal(t, http.StatusOK, res.StatusCode)
	}
	require.True(t, c.closed(), "idle")
}

func TestM2_HTTPRequestsInOnePacketAndByteByByte(t *testing.T) {
	t.Parallel()
	r := newHTTPRig(t, nil)
	c := r.http()
	c.send("GET /snapshot.jpg HTTP/1.1\nHost: x\n\nHEAD /main HTTP/1.1\nHost: x\n\n")
	res, _ := c.read("GET")
	require.Equal(t, http.StatusUnauthorized, res.StatusCode)
	res, _ = c.read("HEAD")
	require.Equal(t, http.StatusNotFound, res.StatusCode)

	c = r.http()
	require.NoError(t, c.conn.(*net.TCPConn).SetNoDelay(true))
	for _, b := range []byte("GET /snapshot.jpg HTTP/1.1\r\nHost: x\r\n\r\n") {
		_, err := c.conn.Write([]byte{b})
		require.NoError(t, err)
	}
	res, _ = c.read("GET")
	require.Equal(t, http.StatusUnauthorized, res.StatusCode)
}

// countedWrites counts how often is written to it.
type countedWrites struct {
	net.Conn
	n int
}

func (w *countedWrites) Write(b []byte) (int, error) {
	w.n++
	return len(b), nil
}

func TestM2_APictureLeavesInFewWrites(t *testing.T) {
	t.Parallel()
	w := &countedWrites{}
	picture := make([]byte, 200<<10)
	res := newHTTP(&http.Request{Method: http.MethodGet, ProtoMajor: 1, ProtoMinor: 1}, http.StatusOK, "image/jpeg", bytes.NewReader(picture))
	require.NoError(t, writeHTTP(&conn{Conn: w, tls: true}, res))
	require.LessOrEqual(t, w.n, len(picture)/pictureWrite+1)
}
