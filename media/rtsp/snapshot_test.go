package rtsp

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

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
		"curl, query":     {"curl", "-sS", "--fail", "--digest", "-u", user + ":" + password, url + "?t=1&u=2"},
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

func TestS3_NoPictureForWhoIsRemovedWhileItIsMade(t *testing.T) {
	t.Parallel()
	l := &roster{passwords: map[string]string{user: password}}
	removed := false
	r := newRosterRig(t, l, func(context.Context) ([]byte, error) {
		if removed {
			l.set(nil)
		}
		removed = true
		return aPicture, nil
	})
	challenge := challenge(r.nonces.next(addr("127.0.0.1")), false)
	c := r.http()
	res, _ := c.ask("GET", snapshotPath, challenge, password)
	require.Equal(t, http.StatusOK, res.StatusCode)
	for res.StatusCode == http.StatusOK { // the first picture is young
		var b []byte
		res, b = c.ask("GET", snapshotPath, challenge, password)
		require.Equal(t, res.StatusCode == http.StatusOK, bytes.Equal(b, aPicture))
	}
	require.Equal(t, http.StatusUnauthorized, res.StatusCode)
	require.True(t, res.Close)
}

// A recorder that asks on and on leaves a board that hangs most of its time.
func TestR6_ABoardThatHangsIsAskedSeldom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var asked int
		p := snapshots{shoot: func(ctx context.Context) ([]byte, error) {
			asked++
			<-ctx.Done()
			return nil, ctx.Err()
		}}
		p.begin(t.Context())
		for start := time.Now(); time.Since(start) < time.Minute; time.Sleep(time.Second) {
			_, err := p.get()
			require.ErrorIs(t, err, context.DeadlineExceeded)
		}
		require.Equal(t, 3, asked)
		time.Sleep(time.Minute)
		p.shoot = takePicture
		_, err := p.get()
		require.NoError(t, err)
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
