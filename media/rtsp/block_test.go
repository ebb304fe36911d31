package rtsp

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/bluenviron/gortsplib/v4/pkg/base"
	"github.com/stretchr/testify/require"
)

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
