package rtsp

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bluenviron/gortsplib/v4/pkg/base"
	"github.com/bluenviron/gortsplib/v4/pkg/headers"
	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/media"
)

// canned is a connection that has been sent some bytes, and keeps the answer.
type canned struct {
	net.Conn
	in  *bytes.Reader
	out bytes.Buffer
}

func (c *canned) Read(b []byte) (int, error)  { return c.in.Read(b) }
func (c *canned) Write(b []byte) (int, error) { return c.out.Write(b) }
func (c *canned) RemoteAddr() net.Addr        { return addr("127.0.0.1") }

// FuzzHTTP sends bytes to a server that gives a picture to those who know the
// password, whatever the time: each answer can be read, and only they get it.
func FuzzHTTP(f *testing.F) {
	cred := func(u string) (string, bool) { return password, u == user }
	shot := []byte("\xff\xd8 a picture")
	s := New(Config{WrongAnswers: 1 << 30, Snapshot: func(context.Context) ([]byte, error) { return shot, nil }}, nil, cred, nil)
	s.snapshots.begin(context.Background())
	s.nonces = &nonces{start: time.Now()}
	nonce := s.nonces.at(0, addr("127.0.0.1"))
	for _, method := range []string{"GET", "HEAD"} {
		f.Add(fmt.Appendf(nil, "%s %s HTTP/1.1\r\nHost: x\r\nAuthorization: Digest username=\"%s\", realm=\"%s\", nonce=\"%s\", uri=\"%s\", response=\"%s\"\r\n\r\n",
			method, snapshotPath, user, realm, nonce, snapshotPath, digest(user, password, method, snapshotPath, nonce)))
	}
	for _, c := range clientAnswers() {
		f.Add(fmt.Appendf(nil, "%s %s HTTP/1.0\r\nConnection: keep-alive\r\nAuthorization: %s\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", c.method, c.url, c.answer))
	}
	for _, seed := range []string{
		"POST /snapshot.jpg HTTP/1.1\r\nHost: x\r\nContent-Length: 4294967296\r\n\r\n",
		"GET http://[::1]:80/snapshot.jpg?x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTrailer: x\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
		"GET /%2e%2e/snapshot.jpg HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nUpgrade: h2c\r\n\r\n",
		"GET /snapshot.jpg HTTP/1.1\nHost: x\n continued\n\n",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		wire := &canned{in: bytes.NewReader(b)}
		c := &conn{Conn: wire, raw: &net.TCPConn{}, srv: s, tls: true} // over TLS, deadlines of writes are not its own
		first, _ := wire.in.ReadByte()
		require.Error(t, s.serveHTTP(c, []byte{first}[:min(1, len(b))]))
		br := bufio.NewReader(&wire.out)
		for {
			if _, err := br.Peek(1); err != nil {
				return
			}
			res, err := http.ReadResponse(br, &http.Request{Method: "HEAD"})
			require.NoError(t, err)
			require.Contains(t, []int{200, 400, 401, 404, 405, 413, 431, 505}, res.StatusCode)
			if res.StatusCode == 200 {
				require.Contains(t, string(b), nonce)
			}
			// The body is there unless this was an answer to HEAD.
			if next, _ := br.Peek(7); len(next) > 0 && !bytes.HasPrefix(next, []byte("HTTP/1.")) {
				_, err = br.Discard(int(res.ContentLength))
				require.NoError(t, err)
			}
		}
	})
}

// FuzzAuthorization judges answers: one that is right holds the right digest.
func FuzzAuthorization(f *testing.F) {
	s := New(Config{}, nil, func(u string) (string, bool) { return password, u == user }, nil)
	for _, c := range append(clientAnswers(), otherAnswers()...) {
		f.Add(c.method, c.url, c.answer)
	}
	sha := func(s string) string { b := sha256.Sum256([]byte(s)); return hex.EncodeToString(b[:]) }
	f.Fuzz(func(t *testing.T, method, address, answer string) {
		u, err := url.Parse(address)
		if err != nil {
			return
		}
		who, with, v := s.judge(challenged{method: method, url: u, answer: []string{answer}, fresh: func(n string) bool { return n == givenNonce }})
		if v != rightAnswer {
			require.Empty(t, who+with)
			return
		}
		require.Equal(t, user+password, who+with)
		var h headers.Authorization
		require.NoError(t, h.Unmarshal(base.HeaderValue{"Digest" + answer[6:]}))
		old := digest(user, password, method, h.URI, givenNonce)
		better := sha(sha(user+":"+realm+":"+password) + ":" + givenNonce + ":" + sha(method+":"+h.URI))
		require.Contains(t, []string{old, better}, h.Response)
		require.Equal(t, user, h.Username)
	})
}

// How far a client has come before it begins to send what a fuzzer invents.
const (
	asStranger = iota
	asMember
	withSession
	whilePlaying
	stages
)

// FuzzConnection sends bytes to a running server, as a stranger and in the middle
// of a session: the connection ends, and nothing stays behind. SESSION stands for
// the client's session, and METHOD-URL in Authorization for the right answer.
func FuzzConnection(f *testing.F) {
	stream := media.NewStream("main", 8<<20)
	r := &rig{t: f, stream: stream, asked: make(chan string, 1)}
	r.Server = New(Config{Address: "127.0.0.1:0", TCP: true, WrongAnswers: 1 << 30, Snapshot: takePicture},
		[]*media.Stream{stream}, func(u string) (string, bool) { return password, u == user }, nil)
	r.run()
	r.push(0, time.Now())
	for _, seed := range []string{
		"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n",
		"DESCRIBE rtsp://x/main RTSP/1.0\r\nCSeq: 1\r\nAuthorization: DESCRIBE-rtsp://x/main\r\nRequire: www.onvif.org/ver20/backchannel\r\n\r\n",
		"SETUP rtsp://x/main/trackID=0 RTSP/1.0\r\nCSeq: 1\r\nAuthorization: SETUP-rtsp://x/main/trackID=0\r\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n\r\n",
		"SETUP rtsp://x/main/trackID=1 RTSP/1.0\r\nCSeq: 1\r\nSession: SESSION\r\nTransport: RTP/AVP;unicast;client_port=5000-5001,RTP/AVP;multicast\r\n\r\n",
		"PLAY rtsp://x/main/ RTSP/1.0\r\nCSeq: 2\r\nSession: SESSION\r\nRange: npt=0.000-\r\nAuthorization: PLAY-rtsp://x/main/\r\n\r\n",
		"PAUSE rtsp://x/main/ RTSP/1.0\r\nCSeq: 2\r\nSession: SESSION\r\n\r\nTEARDOWN rtsp://x/main/ RTSP/1.0\r\nCSeq: 3\r\nSession: SESSION\r\n\r\n",
		"GET_PARAMETER rtsp://x/main/ RTSP/1.0\r\nCSeq: 2\r\nSession: SESSION\r\nContent-Length: 4\r\n\r\nabcd",
		"$\x01\x00\x08\x80\xc9\x00\x01\x12\x34\x56\x78$\x00\x00\x0c\x80\x60\x00\x01\x00\x00\x00\x01\x00\x00\x00\x02",
		"$\x07\xff\xff", "RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n", "GET /snapshot.jpg HTTP/1.0\r\n\r\n", "\x16\x03\x01\x02\x00\x01\x00",
		"ANNOUNCE rtsp://x/main RTSP/1.0\r\nCSeq: 1\r\nContent-Type: application/sdp\r\nContent-Length: 4294967295\r\n\r\nv=0\r\n",
		"DESCRIBE rtsp://x/main RTSP/1.0\r\nCSeq: 1\r\nX: " + strings.Repeat("0", 3000) + "\r\n\r\n",
	} {
		for stage := range stages {
			f.Add(byte(stage), []byte(seed))
		}
	}
	f.Fuzz(func(t *testing.T, stage byte, b []byte) {
		r := &rig{Server: r.Server, t: t, stream: stream}
		c := r.raw()
		c.reach(int(stage) % stages)
		_, err := c.conn.Write(c.fill(b))
		if err == nil {
			c.conn.CloseWrite() //nolint:errcheck // it may be closed by now
		}
		_, err = io.Copy(io.Discard, c.br)
		var late net.Error
		require.NotErrorAs(t, err, &late, "the server keeps the connection")
		c.conn.Close()
		r.Drop(user) // sessions that the client may come back to
		eventually(t, "nothing to stay", func() bool {
			st := r.Stats()
			return st.Conns == 0 && st.Viewers == 0 && stream.Ring.Stats().Readers == 0
		})
	})
}

// reach goes as far as a stage.
func (c *rawClient) reach(stage int) {
	c.t.Helper()
	if stage >= asMember {
		require.Equal(c.t, base.StatusOK, c.login().StatusCode)
	}
	if stage >= withSession {
		require.Equal(c.t, base.StatusOK, c.do(base.Setup, "/trackID=0", interleaved("0-1")).StatusCode)
	}
	if stage >= whilePlaying {
		require.Equal(c.t, base.StatusOK, c.do(base.Play, "", nil).StatusCode)
	}
}

// fill puts in what only this client knows.
func (c *rawClient) fill(b []byte) []byte {
	b = bytes.ReplaceAll(b, []byte("SESSION"), []byte(strings.Split(c.session+";", ";")[0]))
	const field = "Authorization: "
	at := bytes.Index(b, []byte(field))
	if at < 0 || c.sender == nil {
		return b
	}
	rest := b[at+len(field):]
	line, tail, _ := bytes.Cut(rest, []byte("\r\n"))
	method, address, ok := bytes.Cut(line, []byte("-"))
	u, err := base.ParseURL(string(address))
	if !ok || err != nil {
		return b
	}
	req := base.Request{Method: base.Method(method), URL: u}
	c.sender.AddAuthorization(&req)
	return slices.Concat(b[:at], []byte(field), []byte(req.Header["Authorization"][0]), []byte("\r\n"), tail)
}
