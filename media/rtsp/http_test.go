package rtsp

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bluenviron/gortsplib/v4/pkg/auth"
	"github.com/bluenviron/gortsplib/v4/pkg/base"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

// aPicture is what the rigs of these tests take, larger than any buffer on its way.
var aPicture = append([]byte("\xff\xd8"), bytes.Repeat([]byte("picture "), 50_000)...)

func takePicture(context.Context) ([]byte, error) { return aPicture, nil }

func newHTTPRig(t testing.TB, change func(*Config)) *rig {
	return newRig(t, func(c *Config) {
		c.Snapshot = takePicture
		if change != nil {
			change(c)
		}
	})
}

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

func TestM2_S3_APictureOverHTTPForThosePasswordIsRight(t *testing.T) {
	t.Parallel()
	r := newHTTPRig(t, nil)
	c := r.http()
	res, _ := c.ask("GET", snapshotPath, nil, "")
	require.Equal(t, http.StatusUnauthorized, res.StatusCode)
	challenges := res.Header["Www-Authenticate"]
	require.Len(t, challenges, 2)
	require.Contains(t, challenges[0], `algorithm="SHA-256"`)
	require.Contains(t, challenges[1], `algorithm="MD5"`)
	for _, challenge := range [][]string{challenges, challenges[1:]} { // all it offers, and MD5 alone
		res, b := c.ask("GET", snapshotPath, challenge, password)
		require.Equal(t, http.StatusOK, res.StatusCode)
		require.Equal(t, aPicture, b)
		require.Equal(t, "image/jpeg", res.Header.Get("Content-Type"))
		require.Equal(t, "no-store", res.Header.Get("Cache-Control"))
		require.NotEmpty(t, res.Header.Get("Date"))
	}
	res, b := c.ask("HEAD", snapshotPath, challenges, password)
	require.Equal(t, http.StatusOK, res.StatusCode)
	require.EqualValues(t, len(aPicture), res.ContentLength)
	require.Empty(t, b)
	res, _ = c.ask("GET", snapshotPath, challenges, "wrong")
	require.Equal(t, http.StatusUnauthorized, res.StatusCode)

	c = r.http() // NVRs use another connection for the answer
	res, _ = c.ask("GET", snapshotPath, challenges, password)
	require.Equal(t, http.StatusOK, res.StatusCode)
	require.EqualValues(t, 1, r.Stats().AuthErrors)
}

func TestM2_RealHTTPClients(t *testing.T) {
	t.Parallel()
	r := newHTTPRig(t, nil)
	url := "http://" + r.Addr().String() + snapshotPath
	for name, args := range map[string][]string{
		"curl, digest":    {"curl", "-sS", "--fail", "--digest", "-u", user + ":" + password, url},
		"curl, anyauth":   {"curl", "-sS", "--fail", "--anyauth", "-u", user + ":" + password, url},
		"curl, HTTP/1.0":  {"curl", "-sS", "--fail", "--http1.0", "--digest", "-u", user + ":" + password, url},
		"wget, MD5 alone": {"wget", "-q", "--user", user, "--password", password, "-O", "-", url},
	} {
		got, err := exec.Command(program(t, args[0], args[0]), args[1:]...).Output()
		require.NoError(t, err, name)
		require.Equal(t, aPicture, got, name)
	}
	out, err := exec.Command("curl", "-sS", "-o", "/dev/null", "-w", "%{http_code} %{num_connects}",
		"--digest", "-u", user+":"+password, url, "-o", "/dev/null", url).Output()
	require.NoError(t, err)
	require.Equal(t, "200 1200 0", string(out), "one connection for both")
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
		{"GET /snapshot.jpg?stream=main HTTP/1.1\nHost: x\n\n", 404, true},
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

func TestS3_GuessesOverHTTPCountToo(t *testing.T) {
	t.Parallel()
	r := newHTTPRig(t, func(c *Config) { c.WrongAnswers, c.LoginTimeout = 5, time.Minute })
	r.push(0, time.Now())
	idle, playing := r.raw(), r.raw()
	playing.play()
	neighbour, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 9)}}).Dial("tcp", r.Addr().String())
	require.NoError(t, err)
	defer neighbour.Close()
	known := r.http()
	res, _ := known.ask("GET", snapshotPath, nil, "")
	challenge := res.Header["Www-Authenticate"]
	res, _ = known.ask("GET", snapshotPath, challenge, password)
	require.Equal(t, http.StatusOK, res.StatusCode)

	guesser := r.http()
	for i := range wrongAnswers {
		res, _ = guesser.ask("GET", snapshotPath, challenge, fmt.Sprint("guess ", i))
		require.Equal(t, http.StatusUnauthorized, res.StatusCode)
	}
	require.True(t, guesser.closed(), "three over one connection")
	guesser = r.http()
	guesser.ask("GET", snapshotPath, challenge, "guess")
	rtsp := r.raw()
	rtsp.password = "guess"
	require.Equal(t, base.StatusUnauthorized, rtsp.login().StatusCode, "the fifth")
	require.True(t, rtsp.closed())
	require.True(t, guesser.closed(), "of the same address")
	require.True(t, idle.closed(), "of the same address")
	for range 3 {
		require.True(t, r.http().closed())
		require.True(t, r.raw().closed())
	}
	require.EqualValues(t, 6, r.Stats().Blocked)
	require.EqualValues(t, 5, r.Stats().AuthErrors)
	require.Len(t, r.log.FilterMessageSnippet("refused for a while").All(), 1)

	_, err = io.WriteString(neighbour, "GET / HTTP/1.0\r\n\r\n")
	require.NoError(t, err)
	res, err = http.ReadResponse(bufio.NewReader(neighbour), nil)
	require.NoError(t, err, "of another address")
	require.Equal(t, http.StatusNotFound, res.StatusCode)
	require.Equal(t, base.StatusOK, playing.do(base.GetParameter, "", nil).StatusCode, "who plays goes on")
	r.push(1, time.Now())
	res, _ = known.ask("GET", snapshotPath, challenge, password)
	require.Equal(t, http.StatusOK, res.StatusCode, "and who was let in")
	res, _ = known.ask("GET", snapshotPath, challenge, "a member guesses the owner's")
	require.Equal(t, http.StatusUnauthorized, res.StatusCode)
	require.True(t, known.closed(), "at once while the address is refused")
	for _, l := range r.log.All() {
		require.NotContains(t, fmt.Sprint(l.Message, l.ContextMap()), "guess ")
		require.NotContains(t, fmt.Sprint(l.Message, l.ContextMap()), password)
	}
}

func TestS3_TheBlockEnds(t *testing.T) {
	t.Parallel()
	r := newHTTPRig(t, func(c *Config) { c.WrongAnswers, c.BlockTime = 1, 500*time.Millisecond })
	r.push(0, time.Now())
	c := r.raw()
	c.password = "wrong"
	require.Equal(t, base.StatusUnauthorized, c.login().StatusCode)
	require.True(t, c.closed())
	require.True(t, r.raw().closed())
	eventually(t, "in again", func() bool {
		res, _ := tryHTTP(r)
		return res == http.StatusUnauthorized
	})
	require.Equal(t, base.StatusOK, r.raw().login().StatusCode)
}

func tryHTTP(r *rig) (int, error) {
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := c.Get("http://" + r.Addr().String() + snapshotPath)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	return res.StatusCode, nil
}

// A client that has been away answers with what it was asked before.
func TestS3_AnOldNonceIsStaleAndNoGuess(t *testing.T) {
	t.Parallel()
	r := newHTTPRig(t, nil)
	r.push(0, time.Now())
	before := r.raw()
	require.Equal(t, base.StatusOK, before.login().StatusCode)
	for range 2 * r.cfg.WrongAnswers {
		c := r.raw()
		c.sender = before.sender
		res := c.do(base.Describe, "", nil)
		require.Equal(t, base.StatusUnauthorized, res.StatusCode)
		require.Contains(t, res.Header["WWW-Authenticate"][1], "stale=true")
		c.answer(res)
		require.Equal(t, base.StatusOK, c.do(base.Describe, "", nil).StatusCode)
	}
	require.Zero(t, r.Stats().AuthErrors)
	for range 2 * r.cfg.WrongAnswers {
		c := r.raw()
		res := c.do(base.Describe, "", base.Header{"Authorization": base.HeaderValue{"Basic bTc6d3Jvbmc="}})
		require.NotContains(t, res.Header["WWW-Authenticate"][1], "stale")
	}
	require.Zero(t, r.Stats().AuthErrors+r.Stats().Blocked)

	n := r.nonces
	old, ours := n.at(-2*nonceAge, addr("127.0.0.1")), n.next(addr("127.0.0.1"))
	c := r.http()
	challengeOf := func(nonce string) []string { return challenge(nonce, false) }
	res, _ := c.ask("GET", snapshotPath, challengeOf(ours), password)
	require.Equal(t, http.StatusOK, res.StatusCode)
	for _, nonce := range []string{old, n.next(addr("127.0.0.9")), strings.Repeat("0", 48), "x", n.at(time.Hour, addr("127.0.0.1"))} {
		res, _ = c.ask("GET", snapshotPath, challengeOf(nonce), password)
		require.Equal(t, http.StatusUnauthorized, res.StatusCode, nonce)
		require.Contains(t, res.Header["Www-Authenticate"][0], "stale=true")
		res, _ = c.ask("GET", snapshotPath, res.Header["Www-Authenticate"], password)
		require.Equal(t, http.StatusOK, res.StatusCode)
	}
	require.Zero(t, r.Stats().AuthErrors)
}

func TestS3_OnePictureAtATimeHoweverManyAsk(t *testing.T) {
	t.Parallel()
	var made atomic.Int32
	began, finish := make(chan struct{}, 100), make(chan struct{}, 100)
	r := newHTTPRig(t, func(c *Config) {
		c.Snapshot = func(ctx context.Context) ([]byte, error) {
			n := made.Add(1)
			began <- struct{}{}
			<-finish
			return fmt.Append(nil, n), nil
		}
	})
	challenge := challenge(r.nonces.next(addr("127.0.0.1")), false)
	var asked, over sync.WaitGroup
	got := make(chan string, 20)
	for range 20 {
		c := r.http()
		asked.Add(1)
		over.Go(func() {
			asked.Done()
			_, b := c.ask("GET", snapshotPath, challenge, password)
			got <- string(b)
		})
	}
	asked.Wait()
	<-began
	finish <- struct{}{}
	over.Wait()
	for range 20 {
		require.Equal(t, "1", <-got, "asked for while it was made, or made just before")
	}
	finish <- struct{}{}
	eventually(t, "another", func() bool {
		_, b := r.http().ask("GET", snapshotPath, challenge, password)
		return string(b) == "2"
	})
}

func TestR6_NoPictureIs503AndOneLine(t *testing.T) {
	t.Parallel()
	var empty atomic.Bool
	r := newHTTPRig(t, func(c *Config) {
		c.Snapshot = func(context.Context) ([]byte, error) {
			if empty.Load() {
				return nil, nil
			}
			return nil, errors.New("the board is busy")
		}
	})
	challenge := challenge(r.nonces.next(addr("127.0.0.1")), false)
	c := r.http()
	for range 5 {
		res, _ := c.ask("GET", snapshotPath, challenge, password)
		require.Equal(t, http.StatusServiceUnavailable, res.StatusCode)
		require.Equal(t, "2", res.Header.Get("Retry-After"))
	}
	lines := r.log.FilterMessageSnippet("no picture").All()
	require.Len(t, lines, 1)
	require.Equal(t, "the board is busy", lines[0].ContextMap()["error"])
	empty.Store(true)
	eventually(t, "an empty picture", func() bool {
		res, _ := c.ask("GET", snapshotPath, challenge, password)
		require.Equal(t, http.StatusServiceUnavailable, res.StatusCode)
		return r.log.FilterField(zap.Error(errNoPicture)).Len() > 0
	})
}

func TestR6_APictureThatIsBeingMadeDoesNotHoldTheEnd(t *testing.T) {
	t.Parallel()
	began := make(chan struct{})
	r := newHTTPRig(t, func(c *Config) {
		c.Snapshot = func(ctx context.Context) ([]byte, error) {
			close(began)
			<-ctx.Done()
			return nil, ctx.Err()
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	again := New(r.cfg, nil, r.cred, nil)
	done := make(chan error)
	go func() { done <- again.Run(ctx) }()
	<-again.Ready()
	conn, err := net.Dial("tcp", again.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	h := &httpClient{t: t, conn: conn, br: bufio.NewReader(conn)}
	nonce := again.nonces.next(conn.LocalAddr())
	h.send("GET %s HTTP/1.1\nHost: x\nAuthorization: Digest username=\"%s\", realm=\"%s\", nonce=\"%s\", uri=\"%s\", response=\"%s\"\n\n",
		snapshotPath, user, realm, nonce, snapshotPath, digest(user, password, "GET", snapshotPath, nonce))
	<-began
	start := time.Now()
	cancel()
	require.NoError(t, <-done)
	require.Less(t, time.Since(start), pictureWait/2)
}
