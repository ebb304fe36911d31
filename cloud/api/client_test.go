package api

import (
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/cloud"
)

// hostile is a server that answers everything with h.
func hostile(t *testing.T, h http.HandlerFunc) *Client {
	t.Helper()
	srv := httptest.NewTLSServer(h)
	t.Cleanup(srv.Close)
	roots := x509.NewCertPool()
	roots.AddCert(srv.Certificate())
	c := New(srv.URL, roots, cloud.NewSecret("hush"))
	t.Cleanup(c.Close)
	return c
}

func oneClearLine(t *testing.T, err error) {
	t.Helper()
	require.Error(t, err)
	require.NotContains(t, err.Error(), "\n")
	require.NotContains(t, err.Error(), "\x1b")
	require.NotContains(t, err.Error(), "hush")
	require.Less(t, len(err.Error()), 500)
}

func TestS4_ClientSurvivesAHostileCloud(t *testing.T) {
	t.Parallel()
	for name, h := range map[string]http.HandlerFunc{
		"not JSON":   func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") },
		"wrong type": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"cameras":7}`) },
		"nothing":    func(http.ResponseWriter, *http.Request) {},
		"endless": func(w http.ResponseWriter, _ *http.Request) {
			for range 3 << 10 {
				fmt.Fprint(w, strings.Repeat(" ", 1024))
			}
		},
		"error no body": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) },
		"redirect":      func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) },
		"steering": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(400)
			fmt.Fprintf(w, `{"error":{"code":"x","message":"a\nb\u001b[31m%s"}}`, strings.Repeat("long", 1000))
		},
		"hangs up": func(w http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) },
	} {
		_, err := hostile(t, h).Cameras(t.Context())
		oneClearLine(t, err)
		require.ErrorContains(t, err, "list cameras: ", name)
	}
}

// A page is no larger than it may be, however small its objects are.
func TestR6_S4_PagesAreBounded(t *testing.T) {
	t.Parallel()
	for n, ok := range map[int]bool{MaxObjects: true, MaxObjects + 1: false} {
		c := hostile(t, func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, `{"objects":[{}%s]}`, strings.Repeat(",{}", n-1))
		})
		list, err := c.Objects(t.Context(), cloud.NewSerial(), ObjectQuery{})
		if ok {
			require.NoError(t, err)
			require.Len(t, list.Objects, n)
			continue
		}
		oneClearLine(t, err)
		require.ErrorContains(t, err, "a page of 501, want 500 at most")
		require.Empty(t, list.Objects)
	}
}

func TestClientTellsTheRefusal(t *testing.T) {
	t.Parallel()
	c := hostile(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(404)
		fmt.Fprint(w, `{"error":{"code":"not_found","message":"no such thing"}}`)
	})
	_, err := c.Camera(t.Context(), cloud.NewSerial())
	var e *Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, Error{Status: 404, Code: CodeNotFound, Message: "no such thing"}, *e)
	require.EqualError(t, err, "look up camera: no such thing")
}

func TestP4_ClientSpeaksOnlyTLSToWhomItTrusts(t *testing.T) {
	t.Parallel()
	srv := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(srv.Close)
	for name, base := range map[string]string{
		"unknown CA": srv.URL, "http": "http://127.0.0.1:1", "no host": "https://", "nothing": "", "userinfo": "https://a:b@127.0.0.1:1", "no URL": "https://%zz",
	} {
		c := New(base, x509.NewCertPool(), cloud.NewSecret("hush"))
		t.Cleanup(c.Close)
		_, err := c.Claim(t.Context(), cloud.NewSerial())
		oneClearLine(t, err)
		require.ErrorContains(t, err, "claim: ", name)
	}
}

func TestS11_FetchKeepsToHTTPSAndFollowsNothing(t *testing.T) {
	t.Parallel()
	c := hostile(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) })
	for _, u := range []string{"", "http://127.0.0.1:1/x", "file:///etc/passwd", "::", c.base + "/SECRET-SERIAL?X-Amz-Signature=1"} {
		_, err := c.Fetch(t.Context(), Download{URL: u})
		oneClearLine(t, err)
		require.NotContains(t, err.Error(), "SECRET-SERIAL")
	}
}

func TestS8_TokensPrintRedacted(t *testing.T) {
	t.Parallel()
	claim := Claim{Token: "hush"}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		require.NotContains(t, fmt.Sprintf(verb, claim), "hush", verb)
		require.NotContains(t, fmt.Sprintf(verb, claim), "68757368", verb)
	}
	require.Equal(t, "hush", claim.Token.Secret().Reveal())
}

// A download that was broken off goes on where it was, whether the storage knows
// ranges or not; one that sends something else is found out.
func TestM10_FetchGoesOnFromAnOffset(t *testing.T) {
	t.Parallel()
	const whole = "0123456789"
	for name, h := range map[string]http.HandlerFunc{
		"ranges": func(w http.ResponseWriter, r *http.Request) {
			http.ServeContent(w, r, "", time.Time{}, strings.NewReader(whole))
		},
		"no ranges": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, whole) },
	} {
		c := hostile(t, h)
		for _, offset := range []int64{0, 1, 9, 10} {
			body, err := c.Fetch(t.Context(), Download{URL: c.base + "/x", Offset: offset})
			if offset == 10 && name == "ranges" {
				oneClearLine(t, err)
				continue
			}
			require.NoError(t, err, name)
			got, err := io.ReadAll(body)
			require.NoError(t, err)
			require.NoError(t, body.Close())
			require.Equal(t, whole[offset:], string(got), name)
		}
	}
	for name, h := range map[string]http.HandlerFunc{
		"another part": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Range", "bytes 3-9/10")
			w.WriteHeader(http.StatusPartialContent)
		},
		"too short": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "01") },
		"forbidden": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) },
	} {
		c := hostile(t, h)
		_, err := c.Fetch(t.Context(), Download{URL: c.base + "/x", Offset: 4})
		oneClearLine(t, err)
		require.ErrorContains(t, err, "storage ", name)
	}
}

func TestM10_ObjectsAreAskedForByTime(t *testing.T) {
	t.Parallel()
	var asked string
	c := hostile(t, func(w http.ResponseWriter, r *http.Request) {
		asked = r.URL.Query().Encode()
		fmt.Fprint(w, `{"objects":[]}`)
	})
	from := time.Date(2026, 1, 2, 3, 4, 5, 0, time.FixedZone("", 3600))
	_, err := c.Objects(t.Context(), cloud.NewSerial(), ObjectQuery{From: from, To: from.Add(time.Second)})
	require.NoError(t, err)
	require.Equal(t, "from=2026-01-02T02%3A04%3A05Z&to=2026-01-02T02%3A04%3A06Z", asked)
	q := ObjectQuery{From: from, To: from.Add(time.Second), After: "20260102T020405.500Z-aaaaaaaa.jws"}
	require.Equal(t, q.After, q.Begin())
	require.Equal(t, "20260102T020405.000Z", ObjectQuery{From: from, After: "2025"}.Begin())
	require.False(t, q.Past("20260102T020405.999Z-zzzzzzzz.jws"))
	require.True(t, q.Past("20260102T020406.000Z-00000000.jws"))
	require.False(t, ObjectQuery{}.Past("zzz"))
}
