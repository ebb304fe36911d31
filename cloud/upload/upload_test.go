package upload

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/spool"
)

func TestM4_LanesAndPairsInOrder(t *testing.T) {
	t.Parallel()
	s := newFakeStore(t)
	r := honest(t, s)
	a, b, c := r.clip(t, 0, spool.Routine, 100_000), r.clip(t, 1, spool.Alarm, 10), r.clip(t, 2, spool.Routine, 10)
	require.Equal(t, 3, r.Stats().Backlog)
	require.Equal(t, "2026-01-02 03:00:00 +0000 UTC", r.Stats().Oldest.String())
	r.start(t)
	r.waitAll(t)
	s.checkStored(t, r)
	var want []string
	for _, n := range []string{b, a, c} {
		key := cloud.ObjectKey(serial, bindID, n)
		want = append(want, key+".mp4.age", key+".jws")
	}
	require.Equal(t, want, s.order)
	st := r.Stats()
	require.Zero(t, st.Backlog)
	require.EqualValues(t, 3, st.Confirmed)
	require.NoError(t, st.LastError)
}

// hijack takes the TCP connection away from net/http.
func hijack(w http.ResponseWriter) net.Conn {
	c, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(err)
	}
	return c
}

// Each fault happens some times, then the store is well again.
func TestR2_FaultsThenHealthEverythingOnce(t *testing.T) {
	t.Parallel()
	elsewhere := newFakeStore(t) // where a redirect points to
	status := func(code int) func(*fakeStore, http.ResponseWriter, *http.Request, string) bool {
		return func(_ *fakeStore, w http.ResponseWriter, r *http.Request, _ string) bool {
			w.WriteHeader(code)
			return true
		}
	}
	put := func(r *http.Request) bool { return r.Method == http.MethodPut }
	faults := map[string]func(s *fakeStore, w http.ResponseWriter, r *http.Request, key string) bool{
		"500": status(500),
		"403": status(403),
		"404": status(404),
		"503 with Retry-After": func(_ *fakeStore, w http.ResponseWriter, r *http.Request, _ string) bool {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(503)
			return true
		},
		"200 without storing": func(_ *fakeStore, w http.ResponseWriter, r *http.Request, _ string) bool {
			return put(r)
		},
		"412 without having it": func(_ *fakeStore, w http.ResponseWriter, r *http.Request, _ string) bool {
			if put(r) {
				w.WriteHeader(412)
			}
			return put(r)
		},
		"stored, answer lost": func(s *fakeStore, w http.ResponseWriter, r *http.Request, key string) bool {
			if put(r) {
				body, _ := io.ReadAll(r.Body)
				s.put(key, body, r.Header)
				hijack(w).Close()
			}
			return put(r)
		},
		"half a body, then reset": func(_ *fakeStore, w http.ResponseWriter, r *http.Request, _ string) bool {
			io.CopyN(io.Discard, r.Body, 50_000)
			hijack(w).Close()
			return true
		},
		"half an answer": func(_ *fakeStore, w http.ResponseWriter, r *http.Request, _ string) bool {
			c := hijack(w)
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
			c.Close()
			return true
		},
		"garbage": func(_ *fakeStore, w http.ResponseWriter, r *http.Request, _ string) bool {
			c := hijack(w)
			io.WriteString(c, "\x00\xff no HTTP\r\n\r\n")
			c.Close()
			return true
		},
		"silence": func(_ *fakeStore, w http.ResponseWriter, r *http.Request, _ string) bool {
			c := hijack(w)
			io.Copy(io.Discard, c) // until the client gives up
			c.Close()
			return true
		},
		"a byte now and then": func(_ *fakeStore, w http.ResponseWriter, r *http.Request, _ string) bool {
			c := hijack(w)
			defer c.Close()
			tick := time.NewTicker(20 * time.Millisecond)
			defer tick.Stop()
			for _, b := range []byte("HTTP/1.1 200 OK\r\nX-Slow: " + strings.Repeat("z", 2000)) {
				<-tick.C
				if _, err := c.Write([]byte{b}); err != nil {
					break
				}
			}
			return true
		},
		"endless answer": func(_ *fakeStore, w http.ResponseWriter, r *http.Request, _ string) bool {
			for i := 0; i < 1<<10; i++ {
				if _, err := w.Write(make([]byte, 32<<10)); err != nil {
					break
				}
			}
			return put(r)
		},
		"redirect": func(_ *fakeStore, w http.ResponseWriter, r *http.Request, key string) bool {
			http.Redirect(w, r, elsewhere.URL+"/clips/"+key, http.StatusTemporaryRedirect)
			return true
		},
		"no checksum in the look": func(_ *fakeStore, w http.ResponseWriter, r *http.Request, _ string) bool {
			return !put(r)
		},
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newFakeStore(t)
			r := honest(t, s)
			var left atomic.Int32
			left.Store(3)
			s.setFault(func(w http.ResponseWriter, req *http.Request, key string) bool {
				return left.Add(-1) >= 0 && fault(s, w, req, key)
			})
			r.clip(t, 0, spool.Routine, 300_000)
			r.clip(t, 1, spool.Alarm, 100)
			r.start(t)
			r.waitAll(t)
			s.checkStored(t, r)
			require.Positive(t, r.Stats().Retries)
			require.NoError(t, r.Stats().LastError)
		})
	}
	t.Cleanup(func() { require.Empty(t, elsewhere.objects, "S11: a redirect was followed") })
}

func TestRetryAfterIsHonoured(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]time.Duration{
		"7": 7 * time.Second, "": 0, "-3": 0, "soon": 0, "99999999": maxRetryAfter, "99999999999999999999": 0,
		time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat):    0,
		time.Now().Add(9 * time.Hour).UTC().Format(http.TimeFormat): maxRetryAfter,
	} {
		resp := &http.Response{StatusCode: 503, Header: http.Header{"Retry-After": {header}}}
		require.Equal(t, want, retryAfter(fmt.Errorf("x: %w", newStatusError("PUT", resp))), header)
	}
	s := newFakeStore(t)
	r := honest(t, s)
	r.clip(t, 0, spool.Routine, 10)
	var first, second atomic.Int64
	s.setFault(func(w http.ResponseWriter, _ *http.Request, _ string) bool {
		if first.CompareAndSwap(0, time.Now().UnixNano()) {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(503)
			return true
		}
		second.CompareAndSwap(0, time.Now().UnixNano())
		return false
	})
	r.start(t)
	r.waitAll(t)
	require.GreaterOrEqual(t, second.Load()-first.Load(), int64(time.Second))
}

// Something else under our name: never released, never overwritten, and the
// others go on.
func TestR2_ForeignObjectUnderOurName(t *testing.T) {
	t.Parallel()
	s := newFakeStore(t)
	r := honest(t, s)
	bad := r.clip(t, 0, spool.Alarm, 10)
	s.objects[cloud.ObjectKey(serial, bindID, bad)+".mp4.age"] = []byte("not ours")
	good := r.clip(t, 1, spool.Routine, 10)
	r.start(t)
	r.names = []string{good}
	r.waitAll(t)
	require.True(t, r.card.Pending(bad))
	require.EqualValues(t, 1, r.Stats().Refused)
	require.Equal(t, "not ours", string(s.objects[cloud.ObjectKey(serial, bindID, bad)+".mp4.age"]))
}

type finalError struct{}

func (finalError) Error() string   { return "no" }
func (finalError) Permanent() bool { return true }

func TestFinalRefusalHoldsUpNobody(t *testing.T) {
	t.Parallel()
	s := newFakeStore(t)
	var asked atomic.Int32
	r := newRig(t, Config{Hosts: []string{s.host()}, AllowPrivate: true, Roots: s.roots()}, func(q cloud.GrantRequest, g *cloud.Grant) error {
		if strings.Contains(q.Key, "T0300") {
			asked.Add(1)
			return fmt.Errorf("asking: %w", finalError{})
		}
		*g = s.grant(q)
		return nil
	})
	bad, good := r.clip(t, 0, spool.Alarm, 10), r.clip(t, 1, spool.Routine, 10)
	r.start(t)
	r.names = []string{good}
	r.waitAll(t)
	require.True(t, r.card.Pending(bad))
	require.EqualValues(t, 1, asked.Load())
	require.EqualValues(t, 1, r.Stats().Refused)
}

func TestR8_CloudAwayThenBack(t *testing.T) {
	t.Parallel()
	s := newFakeStore(t)
	var left atomic.Int32
	left.Store(5)
	r := newRig(t, Config{Hosts: []string{s.host()}, AllowPrivate: true, Roots: s.roots()}, func(q cloud.GrantRequest, g *cloud.Grant) error {
		if left.Add(-1) >= 0 {
			return errors.New("offline")
		}
		*g = s.grant(q)
		return nil
	})
	r.clip(t, 0, spool.Routine, 10)
	r.start(t)
	r.waitAll(t)
	s.checkStored(t, r)
	require.GreaterOrEqual(t, r.Stats().Retries, uint64(5))
}

func TestNothingLeavesWithoutPrefix(t *testing.T) {
	t.Parallel()
	s := newFakeStore(t)
	var bound atomic.Bool
	asked := make(chan struct{}, 100)
	r := newRig(t, Config{Hosts: []string{s.host()}, AllowPrivate: true, Roots: s.roots(), MaxWait: time.Hour,
		Prefix: func() (string, bool) { asked <- struct{}{}; return bindID, bound.Load() }},
		func(q cloud.GrantRequest, g *cloud.Grant) error {
			require.True(t, bound.Load())
			*g = s.grant(q)
			return nil
		})
	r.clip(t, 0, spool.Routine, 10)
	r.start(t)
	<-asked
	bound.Store(true)
	r.Kick()
	r.waitAll(t)
}

func TestWait(t *testing.T) {
	t.Parallel()
	s := newFakeStore(t)
	r := honest(t, s)
	name := r.clip(t, 0, spool.Routine, 10)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, r.Wait(ctx, name), context.Canceled)
	require.Empty(t, r.waiters)
	r.start(t)
	r.waitAll(t)
	require.NoError(t, r.Wait(ctx, name), "already confirmed")
	require.Empty(t, r.waiters)
}

func TestBandwidthCapHoldsInBursts(t *testing.T) {
	t.Parallel()
	s := newFakeStore(t)
	r := newRig(t, Config{Hosts: []string{s.host()}, AllowPrivate: true, Roots: s.roots(), Bandwidth: 200 << 10},
		func(q cloud.GrantRequest, g *cloud.Grant) error { *g = s.grant(q); return nil })
	began := time.Now()
	r.clip(t, 0, spool.Routine, 116<<10) // 16 KiB at once, 100 KiB at 200 KiB/s
	r.start(t)
	r.waitAll(t)
	require.GreaterOrEqual(t, time.Since(began), 480*time.Millisecond)
	s.checkStored(t, r)
}

// An uplink slower than any total time-out is no fault.
func TestSlowIsNotStalled(t *testing.T) {
	t.Parallel()
	s := newFakeStore(t)
	r := honest(t, s) // stall after 400 ms
	began := time.Now()
	s.setFault(func(_ http.ResponseWriter, req *http.Request, _ string) bool {
		if req.Method == http.MethodPut {
			tick := time.NewTicker(50 * time.Millisecond)
			defer tick.Stop()
			for range 24 {
				<-tick.C
				io.CopyN(io.Discard, req.Body, 512<<10)
			}
		}
		return false
	})
	r.clip(t, 0, spool.Routine, 12<<20)
	r.start(t)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	for r.Stats().Retries == 0 && ctx.Err() == nil && time.Since(began) < 1300*time.Millisecond {
		<-time.After(20 * time.Millisecond)
	}
	require.Zero(t, r.Stats().Retries, "%v", r.Stats().LastError)
}

func TestS11_NoClientCertificateNoProxyRightName(t *testing.T) {
	s := newFakeStore(t)
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1")
	r := honest(t, s)
	r.clip(t, 0, spool.Routine, 10)
	r.start(t)
	r.waitAll(t)

	other := httptest.NewTLSServer(http.NotFoundHandler()) // same certificate, but its pool is empty below
	defer other.Close()
	r = newRig(t, Config{Hosts: []string{strings.TrimPrefix(other.URL, "https://")}, AllowPrivate: true, Roots: newFakePool()},
		func(q cloud.GrantRequest, g *cloud.Grant) error {
			*g = s.grant(q)
			g.Put.URL = strings.Replace(g.Put.URL, s.URL, other.URL, 1)
			g.Head.URL = g.Put.URL
			return nil
		})
	r.clip(t, 0, spool.Routine, 10)
	r.start(t)
	require.Eventually(t, func() bool { return r.Stats().Retries > 1 }, 5*time.Second, 5*time.Millisecond)
	require.ErrorContains(t, r.Stats().LastError, "certificate signed by unknown authority")
}
