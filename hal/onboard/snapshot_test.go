package onboard

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"iid2secure.nl/camagent/hal"
)

var photo = append([]byte{0xff, 0xd8, 0xff, 0xe0}, bytes.Repeat([]byte{7}, 100_000)...)

// still makes a board whose snapshots are a handler's.
func snapper(t *testing.T, h http.HandlerFunc, change ...func(*Config)) hal.Snapshotter {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	b := board(t, "rtsp://127.0.0.1/x", append(change, func(c *Config) { c.Snapshot = server.URL + "/image.jpg?token=" + secret })...)
	s, ok := hal.As[hal.Snapshotter](b)
	if !ok {
		t.Fatal("the board takes no snapshots")
	}
	return s
}

func TestSnapshotIsTheStreamersPicture(t *testing.T) {
	t.Parallel()
	s := snapper(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("token") != secret || r.Header.Get("Authorization") != "" {
			w.WriteHeader(http.StatusTeapot)
		}
		w.Write(photo)
	}, with("u", secret))
	for range 3 {
		got, err := s.Snapshot(limit(t))
		if err != nil || !bytes.Equal(got, photo) {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
	}
}

// digests checks a Digest as a server does, by what the header itself says
// (RFC 7616, 3.4.1), written apart from what is tested.
func digests(t *testing.T, r *http.Request, realm, nonce, qop, password string, sum func(string) string) bool {
	t.Helper()
	got := r.Header.Get("Authorization")
	field := func(name string) string {
		_, rest, ok := strings.Cut(got, " "+name+"=")
		if !ok {
			return ""
		}
		if rest, quoted := strings.CutPrefix(rest, `"`); quoted {
			rest, _, _ = strings.Cut(rest, `"`)
			return rest
		}
		rest, _, _ = strings.Cut(rest, ",")
		return rest
	}
	if !strings.HasPrefix(got, "Digest ") || field("uri") != r.RequestURI || field("nonce") != nonce || field("realm") != realm {
		return false
	}
	want := sum(field("username")+":"+realm+":"+password) + ":" + nonce
	if qop != "" {
		if field("qop") != "auth" || len(field("cnonce")) < 16 || field("nc") != "00000001" {
			return false
		}
		want += ":" + field("nc") + ":" + field("cnonce") + ":auth"
	}
	return field("username") == "viewer" && field("opaque") == "5ccc" && field("response") == sum(want+":"+sum(r.Method+":"+r.RequestURI))
}

func TestSnapshotPasswords(t *testing.T) {
	t.Parallel()
	md := func(s string) string { return fmt.Sprintf("%x", md5.Sum([]byte(s))) }
	sha := func(s string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(s))) }
	for _, c := range []struct {
		offers []string
		right  func(r *http.Request) bool
	}{
		{[]string{`Basic realm="camera"`}, func(r *http.Request) bool {
			u, p, ok := r.BasicAuth()
			return ok && u == "viewer" && p == secret
		}},
		{[]string{`Digest realm="a, b", nonce="n0", opaque="5ccc"`}, func(r *http.Request) bool {
			return digests(t, r, "a, b", "n0", "", secret, md)
		}},
		{[]string{`Basic realm="x"`, `Digest realm="x",qop="auth-int, auth",nonce="n1",opaque="5ccc",algorithm=MD5`}, func(r *http.Request) bool {
			return digests(t, r, "x", "n1", "auth", secret, md)
		}},
		{[]string{`Digest realm="x", qop="auth", nonce="n2", opaque="5ccc", algorithm=MD5, Digest realm="x", qop="auth", nonce="n3", opaque="5ccc", algorithm=SHA-256, Basic realm="x"`}, func(r *http.Request) bool {
			return digests(t, r, "x", "n3", "auth", secret, sha)
		}},
	} {
		h := func(w http.ResponseWriter, r *http.Request) {
			if c.right(r) {
				w.Write(photo)
				return
			}
			for _, o := range c.offers {
				w.Header().Add("WWW-Authenticate", o)
			}
			w.WriteHeader(http.StatusUnauthorized)
		}
		if _, err := snapper(t, h, with("viewer", secret)).Snapshot(limit(t)); err != nil {
			t.Errorf("%q: %v", c.offers, err)
		}
		own := func(c *Config) { c.SnapshotUser, c.SnapshotPassword = "viewer", secret }
		if _, err := snapper(t, h, with("other", "one"), own).Snapshot(limit(t)); err != nil {
			t.Errorf("%q with its own password: %v", c.offers, err)
		}
		_, err := snapper(t, h, with("viewer", secret+"!")).Snapshot(limit(t))
		says(t, err, fs.ErrPermission, "refuses the configured user and password")
		_, err = snapper(t, h).Snapshot(limit(t))
		says(t, err, fs.ErrPermission, "none is configured")
	}
	h := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("WWW-Authenticate", `Negotiate, Digest realm="x", nonce="n", algorithm=MD4, Digest realm="unended`)
		w.WriteHeader(http.StatusUnauthorized)
	}
	_, err := snapper(t, h, with("viewer", secret)).Snapshot(limit(t))
	says(t, err, fs.ErrPermission, "neither Basic nor Digest")
}

// The examples of RFC 7616, 3.9.1.
func TestDigestVectors(t *testing.T) {
	t.Parallel()
	for algorithm, want := range map[string]string{
		"MD5":     "8ca523f5e9506fed4657c9700eebdbec",
		"SHA-256": "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
	} {
		list := challenges(`Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm=` + algorithm +
			`, nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"`)
		if len(list) != 1 {
			t.Fatalf("%d challenges", len(list))
		}
		got := list[0].digest("GET", "/dir/index.html", "Mufasa", "Circle of Life", "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ")
		if !strings.Contains(got, `response="`+want+`"`) {
			t.Errorf("%s: %s", algorithm, got)
		}
	}
}

func TestSnapshotThatIsNone(t *testing.T) {
	t.Parallel()
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a redirection was followed") }))
	t.Cleanup(other.Close)
	for _, c := range []struct {
		serve http.HandlerFunc
		kind  error
		says  string
	}{
		{func(w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) }, hal.ErrNotFound, "/image.jpg: device not found"},
		{func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }, hal.ErrGone, "503"},
		{func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, other.URL, 302) }, hal.ErrNotFound, "redirects with 302"},
		{func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") }, errNoJPEG, "begins with 3c 68 74"},
		{func(http.ResponseWriter, *http.Request) {}, errNoJPEG, "not a JPEG"},
		{func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			w.Write(photo[:50])
		}, hal.ErrGone, "broke off after 50 bytes"},
		{func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, hal.ErrGone, "did not answer for 500ms"},
		{func(w http.ResponseWriter, r *http.Request) {
			w.Write(photo)
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}, hal.ErrGone, "did not answer for 500ms"},
	} {
		_, err := snapper(t, c.serve, patience(500*time.Millisecond)).Snapshot(limit(t))
		says(t, err, c.kind, c.says)
	}
}

func TestSnapshotSizeIsBounded(t *testing.T) {
	t.Parallel()
	sent := 0
	s := snapper(t, func(w http.ResponseWriter, r *http.Request) {
		for sent < 100<<20 {
			n, err := w.Write(photo)
			if sent += n; err != nil {
				return
			}
		}
	}, patience(20*time.Second))
	if _, err := s.Snapshot(limit(t)); err == nil || !strings.Contains(err.Error(), "larger than 8388608 bytes") {
		t.Error(err)
	}
}

func TestSnapshotOfNobody(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	b := board(t, "rtsp://127.0.0.1/x", func(c *Config) { c.Snapshot = "http://" + addr + "/x?" + secret })
	s, _ := hal.As[hal.Snapshotter](b)
	_, err = s.Snapshot(limit(t))
	says(t, err, hal.ErrGone, "nothing listens on "+addr, "is the streamer running?")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = s.Snapshot(ctx)
	says(t, err, context.Canceled)
}

func FuzzChallenges(f *testing.F) {
	f.Add(`Digest realm="a\"b", qop="auth", nonce=x, Basic realm=""`)
	f.Fuzz(func(t *testing.T, text string) {
		proof, err := authorize([]string{text}, "GET", "/", "u", "p")
		if err == nil && (strings.HasPrefix(proof, "Digest ") == strings.HasPrefix(proof, "Basic ")) {
			t.Errorf("%q", proof)
		}
	})
}
