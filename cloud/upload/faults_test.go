package upload

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/spool"
	"iid2secure.nl/camagent/scripts/s3dev"
)

// hijack takes the TCP connection away from net/http.
func hijack(w http.ResponseWriter) net.Conn {
	c, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(err)
	}
	return c
}

func isPut(r *http.Request) bool { return r.Method == http.MethodPut }

// fault answers one request wrongly, or returns false.
type fault struct {
	name  string
	aside bool // objects may be set aside, and others go first
	does  func(s *fakeStore, w http.ResponseWriter, r *http.Request, key string) bool
}

// status answers with a code, and S3's word for it.
func status(code int, word string, header ...string) func(*fakeStore, http.ResponseWriter, *http.Request, string) bool {
	return func(_ *fakeStore, w http.ResponseWriter, _ *http.Request, _ string) bool {
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(code)
		if word != "" {
			fmt.Fprintf(w, `<?xml version="1.0"?><Error><Code>%s</Code><Message>no</Message></Error>`, word)
		}
		return true
	}
}

func onPut(f func(*fakeStore, http.ResponseWriter, *http.Request, string) bool) func(*fakeStore, http.ResponseWriter, *http.Request, string) bool {
	return func(s *fakeStore, w http.ResponseWriter, r *http.Request, key string) bool {
		return isPut(r) && f(s, w, r, key)
	}
}

// looks answers HEAD with headers of its own for what is there.
func looks(headers func(h http.Header)) func(*fakeStore, http.ResponseWriter, *http.Request, string) bool {
	return func(s *fakeStore, w http.ResponseWriter, r *http.Request, key string) bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		if isPut(r) || s.objects[key] == nil {
			return false
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(s.objects[key])))
		headers(w.Header())
		return true
	}
}

// elsewhere is where redirects point to: nobody may ever come there.
const elsewhere = "https://elsewhere.example:443/clips/"

// faults of a store, or of somebody who plays one.
var faults = []fault{
	{name: "500", does: status(500, "InternalError")},
	{name: "502 without words", does: status(502, "")},
	{name: "503 with Retry-After", does: status(503, "SlowDown", "Retry-After", "7")},
	{name: "503 with a Retry-After of years", does: status(503, "SlowDown", "Retry-After", "99999999")},
	{name: "429", does: status(429, "TooManyRequests", "Retry-After", "3")},
	{name: "403", does: status(403, "AccessDenied")},
	{name: "403 with Retry-After", does: status(403, "RequestTimeTooSkewed", "Retry-After", "3")},
	{name: "401", does: status(401, "")},
	{name: "404", does: status(404, "NoSuchBucket")},
	{name: "400 of the line", does: onPut(status(400, "RequestTimeout"))},
	{name: "400 of the object", aside: true, does: onPut(status(400, "BadDigest"))},
	{name: "413", aside: true, does: onPut(status(413, "EntityTooLarge"))},
	{name: "412 without having it", does: onPut(status(412, "PreconditionFailed"))},
	{name: "200 without storing", does: onPut(status(200, ""))},
	{name: "204 without storing", does: onPut(status(204, ""))},
	{name: "stored, answer lost", does: onPut(func(s *fakeStore, w http.ResponseWriter, r *http.Request, key string) bool {
		body, _ := io.ReadAll(r.Body)
		s.put(key, body, r.Header)
		hijack(w).Close()
		return true
	})},
	{name: "stored, answer after the time-out", does: onPut(func(s *fakeStore, w http.ResponseWriter, r *http.Request, key string) bool {
		body, _ := io.ReadAll(r.Body)
		s.put(key, body, r.Header)
		time.Sleep(time.Minute)
		return true
	})},
	{name: "half a body, then reset", does: onPut(func(_ *fakeStore, w http.ResponseWriter, r *http.Request, _ string) bool {
		io.CopyN(io.Discard, r.Body, 50_000)
		hijack(w).Close()
		return true
	})},
	{name: "reset at once", does: func(_ *fakeStore, w http.ResponseWriter, _ *http.Request, _ string) bool {
		hijack(w).Close()
		return true
	}},
	{name: "half an answer", does: func(_ *fakeStore, w http.ResponseWriter, _ *http.Request, _ string) bool {
		c := hijack(w)
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
		c.Close()
		return true
	}},
	{name: "garbage", does: func(_ *fakeStore, w http.ResponseWriter, _ *http.Request, _ string) bool {
		c := hijack(w)
		io.WriteString(c, "\x00\xff no HTTP\r\n\r\n")
		c.Close()
		return true
	}},
	{name: "silence", does: func(_ *fakeStore, w http.ResponseWriter, _ *http.Request, _ string) bool {
		c := hijack(w)
		io.Copy(io.Discard, c) // until the client gives up
		c.Close()
		return true
	}},
	{name: "a byte a second", does: func(_ *fakeStore, w http.ResponseWriter, _ *http.Request, _ string) bool {
		c := hijack(w)
		defer c.Close()
		go io.Copy(io.Discard, c)
		for _, b := range []byte("HTTP/1.1 200 OK\r\nX-Slow: " + strings.Repeat("z", 2000)) {
			time.Sleep(time.Second)
			if _, err := c.Write([]byte{b}); err != nil {
				break
			}
		}
		return true
	}},
	{name: "headers of 100 MB", does: func(_ *fakeStore, w http.ResponseWriter, _ *http.Request, _ string) bool {
		c := hijack(w)
		defer c.Close()
		go io.Copy(io.Discard, c)
		io.WriteString(c, "HTTP/1.1 200 OK\r\nX-Long: ")
		for range 100 << 20 / 65536 {
			if _, err := c.Write(make([]byte, 65536)); err != nil {
				break
			}
		}
		return true
	}},
	{name: "a body of 100 MB", does: onPut(func(_ *fakeStore, w http.ResponseWriter, _ *http.Request, _ string) bool {
		for range 100 << 20 / 32768 {
			if _, err := w.Write(make([]byte, 32768)); err != nil {
				break
			}
		}
		return true
	})},
	{name: "an error of 100 MB", does: func(_ *fakeStore, w http.ResponseWriter, _ *http.Request, _ string) bool {
		w.WriteHeader(500)
		for range 100 << 20 / 32768 {
			if _, err := w.Write(make([]byte, 32768)); err != nil {
				break
			}
		}
		return true
	}},
	{name: "301", does: status(301, "PermanentRedirect", "Location", elsewhere)},
	{name: "307", does: status(307, "TemporaryRedirect", "Location", elsewhere)},
	{name: "308", does: status(308, "", "Location", elsewhere)},
	{name: "no checksum in the look", does: looks(func(http.Header) {})},
	{name: "wrong checksum in the look", aside: true, does: looks(func(h http.Header) { h.Set(headerSHA256, "AAAA") })},
	{name: "wrong length in the look", aside: true, does: looks(func(h http.Header) { h.Set("Content-Length", "5") })},
	{name: "continues for ever", does: func(_ *fakeStore, w http.ResponseWriter, _ *http.Request, _ string) bool {
		c := hijack(w)
		defer c.Close()
		go io.Copy(io.Discard, c)
		for {
			time.Sleep(10 * time.Second)
			if _, err := io.WriteString(c, "HTTP/1.1 103 Early Hints\r\n\r\n"); err != nil {
				return true
			}
		}
	}},
}

// hostile makes the network fail in a way; undo makes it well.
var hostile = map[string]func(t *testing.T, s *fakeStore){
	"no such host": func(_ *testing.T, s *fakeStore) {
		s.net.fail = func(addr string) error { return &net.DNSError{Err: "no such host", Name: addr, IsNotFound: true} }
	},
	"no answer of the name server": func(_ *testing.T, s *fakeStore) {
		s.net.fail = func(addr string) error {
			time.Sleep(20 * time.Second)
			return &net.DNSError{Err: "i/o timeout", Name: addr, IsTimeout: true}
		}
	},
	"refused": func(_ *testing.T, s *fakeStore) {
		s.net.fail = func(string) error { return errors.New("connection refused") }
	},
	"an uplink of a byte a second": func(_ *testing.T, s *fakeStore) { s.net.rate = 1 },
	"another certificate": func(t *testing.T, s *fakeStore) {
		dir := t.TempDir()
		certFile, keyFile := filepath.Join(dir, "cert"), filepath.Join(dir, "key")
		_, err := s3dev.SelfSigned(certFile, keyFile)
		require.NoError(t, err)
		cert, err := tls.LoadX509KeyPair(certFile, keyFile)
		require.NoError(t, err)
		other := startFakeStore(t, newMemNet(), &cert)
		other.setFault(func(http.ResponseWriter, *http.Request, string) bool {
			t.Error("something was sent to a stranger")
			return false
		})
		s.net.detour = other.net
	},
	"no TLS": func(_ *testing.T, s *fakeStore) {
		plain := newMemNet()
		s.net.detour = plain
		go func() {
			for {
				c, err := plain.Accept()
				if err != nil {
					return
				}
				go func() { io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n"); io.Copy(io.Discard, c); c.Close() }()
			}
		}()
		s.net.after = func() { plain.Close() }
	},
}

// load puts one object of each kind on the card, and more.
func (r *rig) load(t *testing.T) {
	r.clip(t, 0, spool.Routine, 300_000)
	r.clip(t, 1, spool.Alarm, 100)
	r.clip(t, 2, spool.Routine, 100_000)
	r.clip(t, 3, spool.Alarm, 70_000)
	r.single(t, "20260102T040000.000Z-abcdefgh.gap.jws", spool.Routine)
	r.single(t, "20260102T040001.000Z-abcdefgh.jpg.age", spool.Snapshot)
}

// inOrder checks that objects of a class are stored in the order of the card.
func (s *fakeStore) inOrder(t *testing.T, r *rig, lanes map[string]class) {
	t.Helper()
	for c := snapshots; c <= routine; c++ {
		var want, got []string
		for _, n := range r.names {
			if lanes[n] == c {
				want = append(want, keysOf(n)...)
			}
		}
		for _, key := range s.order {
			file := key[strings.LastIndex(key, "/")+1:]
			name := strings.TrimSuffix(file, ".mp4.age")
			if !strings.HasSuffix(file, ".gap.jws") {
				name = strings.TrimSuffix(name, ".jws")
			}
			if lanes[name] == c {
				got = append(got, key)
			}
		}
		require.Equal(t, want, got, "class %d", c)
	}
}

// loaded are the classes of what load puts on the card.
func (r *rig) loaded() map[string]class {
	lanes := map[string]class{}
	for i, c := range []class{routine, alarms, routine, alarms, routine, snapshots} {
		lanes[r.names[i]] = c
	}
	return lanes
}

// Each fault happens some times, then the store is well again: everything is
// there once, in order, and nothing was released before.
func TestR2_S11_FaultsThenHealthEverythingOnce(t *testing.T) {
	t.Parallel()
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s := newMemStore(t)
				r := honest(t, s)
				var left atomic.Int32
				left.Store(4)
				s.setFault(func(w http.ResponseWriter, req *http.Request, key string) bool {
					return left.Load() > 0 && f.does(s, w, req, key) && left.Add(-1) >= -99
				})
				s.net.fail = func(addr string) error {
					if !strings.HasPrefix(addr, "example.com") {
						t.Errorf("S11: dialled %s", addr)
					}
					return nil
				}
				r.load(t)
				r.preload(t, 4)
				r.start(t)
				r.waitAll(t)
				require.LessOrEqual(t, left.Load(), int32(0), "the fault did not happen")
				s.checkStored(t, r)
				if !f.aside {
					s.inOrder(t, r, r.loaded())
				}
				require.NoError(t, r.Stats().LastError)
			})
		})
	}
}

func TestR8_P4_NetworkFaultsThenHealth(t *testing.T) {
	t.Parallel()
	for name, begin := range hostile {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s := newMemStore(t)
				r := honest(t, s)
				begin(t, s)
				r.load(t)
				r.start(t)
				time.Sleep(time.Hour)
				require.Empty(t, s.objects)
				require.Positive(t, r.Stats().Retries)
				require.Error(t, r.Stats().LastError)
				s.net.set(func(m *memNet) {
					if m.after != nil {
						m.after()
					}
					m.fail, m.rate, m.detour, m.free = nil, 0, nil, time.Time{}
				})
				r.waitAll(t)
				s.checkStored(t, r)
				s.inOrder(t, r, r.loaded())
			})
		})
	}
}

// Random faults of cloud, store and process over random objects, then health.
func TestR2_R8_RandomFaultsThenHealth(t *testing.T) {
	t.Parallel()
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			bubble(t, func(t *testing.T) { randomFaults(t, rand.New(rand.NewPCG(seed, 5)), seed%2 == 0) })
		})
	}
}

func randomFaults(t *testing.T, rnd *rand.Rand, ordered bool) {
	var some []fault
	for _, f := range faults {
		if !strings.Contains(f.name, "100 MB") && (!f.aside || !ordered) {
			some = append(some, f)
		}
	}
	var sick atomic.Bool
	sick.Store(true)
	pick := func(n int) int { return int(rand.Uint32()) % n } // in handlers; which one meets which request varies anyway
	s := newMemStore(t)
	s.setFault(func(w http.ResponseWriter, req *http.Request, key string) bool {
		return sick.Load() && pick(3) > 0 && some[pick(len(some))].does(s, w, req, key)
	})
	r := newRig(t, s.config(), func(q cloud.GrantRequest, g *cloud.Grant) error {
		*g = s.grant(q)
		if sick.Load() {
			switch pick(8) {
			case 0:
				return errors.New("offline")
			case 1:
				time.Sleep(30 * time.Second)
			case 2:
				g.Put.URL = strings.Replace(g.Put.URL, "example.com", "evil.example", 1)
			case 3:
				g.Head.URL += "&X-Amz-Expires=1"
			}
		}
		return nil
	})
	s.net.fail = func(addr string) error {
		if !strings.HasPrefix(addr, "example.com") {
			t.Errorf("S11: dialled %s", addr)
		}
		if sick.Load() && pick(10) == 0 {
			return errors.New("refused")
		}
		return nil
	}
	lanes := map[string]class{}
	r.start(t)
	for i := range 40 {
		lane := []spool.Lane{spool.Snapshot, spool.Alarm, spool.Routine, spool.Routine}[rnd.IntN(4)]
		switch {
		case lane == spool.Snapshot:
			lanes[r.single(t, fmt.Sprintf("20260102T04%02d00.000Z-abcdefgh.jpg.age", i), lane)] = snapshots
		case rnd.IntN(5) == 0:
			lanes[r.single(t, fmt.Sprintf("20260102T04%02d00.000Z-abcdefgh.gap.jws", i), spool.Routine)] = routine
		default:
			lanes[r.clip(t, i, lane, 1+rnd.IntN(100_000))] = classOf(lane)
		}
		time.Sleep(time.Duration(rnd.IntN(120)) * time.Second)
		switch rnd.IntN(10) {
		case 0:
			r.Kick()
		case 1:
			r.stop()
			r.start(t)
		}
	}
	sick.Store(false)
	r.waitAll(t)
	s.checkStored(t, r)
	if ordered {
		s.inOrder(t, r, lanes)
	}
	require.Zero(t, r.Stats().Backlog)
	require.NoError(t, r.Stats().LastError)
}

func TestS4_ErrorCodes(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		"<Error><Code>SlowDown</Code></Error>": "SlowDown", "": "", "<Code>": "", "</Code><Code>": "", "<Code></Code>": "",
		"<Code>a b</Code>": "", "<Code>\x1b[2J</Code>": "", "<Code>" + strings.Repeat("a", 65) + "</Code>": "",
	} {
		require.Equal(t, want, errorCode([]byte(body)), body)
	}
}

// S5: what a store says in its errors reaches logs and the owner only as a plain word.
func FuzzErrorAnswer(f *testing.F) {
	f.Add([]byte("<Error><Code>SlowDown</Code></Error>"), "7")
	f.Add([]byte("<Code></Code><Code>"), time.Now().UTC().Format(http.TimeFormat))
	f.Fuzz(func(t *testing.T, body []byte, after string) {
		err := newStatusError("PUT", &http.Response{StatusCode: 503, Header: http.Header{"Retry-After": {after}}}, body)
		if err.after < 0 || err.after > maxRetryAfter || len(err.Error()) > 200 || cloud.OneLine(err.Error()) != err.Error() {
			t.Fatalf("%q %v", err, err.after)
		}
	})
}

// R2: a clip that the card gives up once it is in the store still gets its
// manifest there, through failures too, and is not told of as missing.
func TestR2_ClipGivenUpBetweenItsParts(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newMemStore(t)
		r := newRigOn(t, spool.Config{MaxBytes: 300_000}, s.config(), s.honest)
		name := r.clip(t, 1, spool.Routine, 100_000)
		fill, err := r.card.Create("20260102T035900.000Z-abcdefgh")
		require.NoError(t, err)
		failures := 0
		s.setFault(func(w http.ResponseWriter, q *http.Request, key string) bool {
			if q.Method != http.MethodPut || !strings.HasSuffix(key, cloud.ExtManifest) || failures == 2 {
				return false
			}
			if failures++; failures == 1 {
				if _, err := fill.Write(make([]byte, 250_000)); err != nil {
					t.Error(err)
				}
			}
			w.WriteHeader(http.StatusServiceUnavailable)
			return true
		})
		r.start(t)
		r.waitStored(t, name)
		require.Equal(t, 2, failures)
		require.False(t, r.card.Has(name), "it was given up")
		list, err := r.card.Dropped()
		require.NoError(t, err)
		require.Empty(t, list)
		require.Len(t, s.objects, 2)
	})
}

// waitStored waits until an object is confirmed, whether the card has it or not.
func (r *rig) waitStored(t *testing.T, name string) {
	t.Helper()
	for range 1000 {
		if r.Stats().Confirmed > 0 {
			return
		}
		time.Sleep(time.Second)
	}
	t.Fatalf("%s is not confirmed: %v", name, r.Stats().LastError)
}
