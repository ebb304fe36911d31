package clock_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/clock"
	"iid2secure.nl/camagent/cloud/spool"
	"iid2secure.nl/camagent/cloud/upload"
)

// unset is a clock that nobody has set.
type unset struct{ clock.System }

func (unset) Wall() time.Time               { return time.Unix(0, 0) }
func (unset) Synced() (bool, time.Duration) { return false, 0 }

// bucket keeps the headers of the one object that it is given.
func bucket() http.Handler {
	var mu sync.Mutex
	var got http.Header
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		mu.Lock()
		defer mu.Unlock()
		switch {
		case r.Method == http.MethodPut:
			got = r.Header.Clone()
			got.Set("Content-Length", strconv.FormatInt(r.ContentLength, 10))
		case got == nil:
			w.WriteHeader(http.StatusNotFound)
		default:
			for _, h := range []string{"X-Amz-Checksum-Sha256", "Content-Length"} {
				w.Header().Set(h, got.Get(h))
			}
		}
	})
}

func TestS9_CameraWithoutAClockUploadsToAStoreThatItChecks(t *testing.T) {
	t.Parallel()
	store := httptest.NewUnstartedServer(bucket())
	store.Config.ErrorLog = log.New(io.Discard, "", 0)
	cert, roots := clock.Certificate(t, time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	store.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	store.StartTLS()
	t.Cleanup(store.Close)

	_, strange := clock.Certificate(t, time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	const name = "20260102T030405.000Z-abcdefgh.jpg.age"
	run := func(trusted *x509.CertPool) (*clock.Clock, *upload.Uploader) {
		k, err := clock.OpenWith(t.TempDir(), time.Now().AddDate(-1, 0, 0), unset{})
		require.NoError(t, err)
		card, err := spool.Open(t.TempDir(), spool.Config{})
		require.NoError(t, err)
		t.Cleanup(func() { card.Close() })
		_, err = card.Add(name, spool.Snapshot, []byte("sealed"))
		require.NoError(t, err)
		ask := func(_ context.Context, _ string, body, answer any) error {
			*answer.(*cloud.Grant) = grant(store.URL, body.(cloud.GrantRequest))
			return nil
		}
		u, err := upload.New(upload.Config{Spool: card, Ask: ask, Serial: "7K0000000000A2", Prefix: func() (string, bool) { return "b1", true },
			Hosts: []string{strings.TrimPrefix(store.URL, "https://")}, AllowPrivate: true, Roots: trusted, Secure: k.Secure, MaxWait: 10 * time.Millisecond})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error)
		go func() { done <- u.Run(ctx) }()
		t.Cleanup(func() { cancel(); require.NoError(t, <-done) })
		return k, u
	}

	k, u := run(roots)
	refused := false // as the agent, the clock is told of what the uploader met
	require.Eventually(t, func() bool {
		now, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		err := u.Stats().LastError
		k.Heed(err, roots)
		var bad *tls.CertificateVerificationError
		refused = refused || errors.As(err, &bad)
		return u.Wait(now, name) == nil
	}, 20*time.Second, time.Millisecond)
	require.True(t, refused, "checks are on")
	require.WithinDuration(t, time.Now().Add(-time.Hour), k.Now(), time.Minute)

	k, u = run(strange)
	require.Eventually(t, func() bool {
		st := u.Stats()
		k.Heed(st.LastError, strange)
		return st.Retries > 5
	}, 20*time.Second, time.Millisecond)
	require.Greater(t, time.Since(k.Now()), 360*24*time.Hour, "a stranger moves nothing")
	require.Zero(t, u.Stats().Confirmed)
}

func grant(url string, q cloud.GrantRequest) cloud.Grant {
	url += "/clips/" + q.Key
	return cloud.Grant{
		Put:  cloud.Request{Method: "PUT", URL: url, Headers: map[string]string{"If-None-Match": "*", "x-amz-checksum-sha256": base64Of(q.SHA256)}},
		Head: cloud.Request{Method: "HEAD", URL: url, Headers: map[string]string{"x-amz-checksum-mode": "ENABLED"}},
	}
}

func base64Of(sum string) string {
	raw, _ := hex.DecodeString(sum)
	return base64.StdEncoding.EncodeToString(raw)
}
