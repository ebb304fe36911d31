package e2e

import (
	"bytes"
	"crypto/tls"
	"io"
	"log"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"iid2secure.nl/camagent/scripts/powercut/audit"
)

const (
	stormShare = 0.6 // of the requests that something happens to
	stormStep  = 7   // has nothing in common with the number of kinds, so that all are met
	storm      = 2   // times that each kind is to be met
)

// weather stands between camera and storage, and lies, fails and cuts.
type weather struct {
	*httptest.Server
	storage   *httputil.ReverseProxy
	elsewhere *httptest.Server

	mu     sync.Mutex
	bad    bool
	next   int
	met    map[string]int // how often each kind of weather was met
	strays int            // requests that followed a redirect
}

// kinds of bad weather; each answers, or falls upon, one request.
var kinds = map[string]func(*weather, http.ResponseWriter, *http.Request){
	"500": func(_ *weather, w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusInternalServerError)
	},
	"503 with Retry-After": func(_ *weather, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusServiceUnavailable)
	},
	"403": func(_ *weather, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) },
	"412": func(_ *weather, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusPreconditionFailed) },
	"200, nothing stored": func(_ *weather, w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body) //nolint:errcheck // it may hang up
		w.WriteHeader(http.StatusOK)
	},
	"half a body, then a reset": func(_ *weather, _ http.ResponseWriter, r *http.Request) {
		io.CopyN(io.Discard, r.Body, r.ContentLength/2) //nolint:errcheck // it may hang up
		panic(http.ErrAbortHandler)
	},
	"stored, and no answer": func(s *weather, _ http.ResponseWriter, r *http.Request) {
		s.storage.ServeHTTP(httptest.NewRecorder(), r)
		panic(http.ErrAbortHandler)
	},
	"a redirect to another host": func(s *weather, w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, s.elsewhere.URL+r.URL.RequestURI(), http.StatusTemporaryRedirect)
	},
	"other bytes": func(s *weather, w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		if len(b) > 0 {
			b[len(b)/2] ^= 1
		}
		r.Body = io.NopCloser(bytes.NewReader(b))
		s.storage.ServeHTTP(w, r)
	},
	"a late answer": func(s *weather, w http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(2 * time.Second):
		case <-r.Context().Done():
		}
		s.storage.ServeHTTP(w, r)
	},
}

// newWeather listens with the storage's certificate, and forwards to it.
func newWeather(t *testing.T, st *storage) *weather {
	t.Helper()
	cert, err := tls.LoadX509KeyPair(st.opt.CertFile, st.opt.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	s := &weather{met: map[string]int{}}
	s.storage = httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "https", Host: st.opt.Addr})
	s.storage.Transport = &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // a test's own storage
	s.storage.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) }
	s.storage.ErrorLog = log.New(io.Discard, "", 0)
	s.elsewhere = httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.strays++
	}))
	t.Cleanup(s.elsewhere.Close)
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(s.serve))
	s.Server.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	s.Server.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func (s *weather) host() string { return strings.TrimPrefix(s.URL, "https://") }

func (s *weather) change(bad bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bad = bad
}

// over tells whether every kind of weather was met.
func (s *weather) over() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for kind := range kinds {
		if s.met[kind] < storm {
			return false
		}
	}
	return true
}

// serve forwards what the camera asks for, or does something to it: the host that
// was signed is kept.
func (s *weather) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	kind, names := "", slices.Sorted(maps.Keys(kinds))
	if mine := r.Method == http.MethodPut || r.Method == http.MethodHead; s.bad && mine && rand.Float64() < stormShare {
		kind = names[s.next%len(names)]
		s.next += stormStep
		s.met[kind]++
	}
	s.mu.Unlock()
	if kind != "" {
		kinds[kind](s, w, r)
		return
	}
	s.storage.ServeHTTP(w, r)
}

// TestR2_R8_EverythingArrivesOnceAfterTheStorm has the storage lie, fail and
// cut, at random, while the camera uploads; then it is well.
func TestR2_R8_EverythingArrivesOnceAfterTheStorm(t *testing.T) {
	t.Parallel()
	st, args := startStorage(t)
	s := newWeather(t, st)
	opt := withStorage(st, append(args, "--s3.public_endpoint", s.host()))
	opt.Storage = s.host()
	opt.Camera = map[string]any{"record": map[string]any{"clip_length": "2s"}}
	camera := newStack(t, opt)
	if err := camera.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := camera.Ctl(t.Context(), "set", "main.gop=25", "main.bitrate=1000000"); err != nil {
		t.Fatal(err)
	}
	recordsAndUploads(t, camera, 0)
	s.change(true)
	eventually(t, 90*time.Second, "all kinds of weather", s.over)
	s.change(false)
	// What looked as if no store would ever take it has stepped aside for minutes;
	// a camera that starts anew tries everything.
	if err := camera.Camera.Stop(); err != nil {
		t.Error(err)
	}
	if err := camera.StartCamera(); err != nil {
		t.Fatal(err)
	}
	keys, err := audit.ReadKeys(camera.Path("owner"))
	if err != nil {
		t.Fatal(err)
	}
	r := stopAndAudit(t, camera, keys, camera.Path("camera", "card"), st.opt.Dir)
	everythingStored(t, r, st.opt.Dir)
	for _, b := range r.Boots("main") {
		b.Lossy = deviceLost(camera)
		faults, _ := b.Frames()
		for _, f := range faults {
			t.Error(f)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.strays > 0 {
		t.Errorf("%d requests went where a redirect led", s.strays)
	}
	t.Logf("%d clips in the storage, each once, after %v", len(r.Clips), s.met)
}
