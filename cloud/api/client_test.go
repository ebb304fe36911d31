package api

import (
	"crypto/x509"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

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
