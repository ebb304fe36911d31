package upload

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/spool"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	serial = cloud.Serial("7K0000000000A2")
	bindID = "00112233445566778899aabbccddeeff"
)

// fakeStore is an S3 server in which faults are one line: fault is asked first
// and returns true if it has answered.
type fakeStore struct {
	*httptest.Server
	net     *memNet // nil: real sockets
	mu      sync.Mutex
	objects map[string][]byte
	order   []string        // keys as they were first stored
	doubles int             // second stores under one key
	puts    int             // requests
	looked  map[string]bool // a look has found it, and said so
	t       testing.TB
	fault   func(w http.ResponseWriter, r *http.Request, key string) bool
}

// newFakeStore listens on a real socket.
func newFakeStore(t testing.TB) *fakeStore { return startFakeStore(t, nil, nil) }

// newMemStore is for virtual time.
func newMemStore(t testing.TB) *fakeStore { return startFakeStore(t, newMemNet(), nil) }

func startFakeStore(t testing.TB, n *memNet, cert *tls.Certificate) *fakeStore {
	s := &fakeStore{objects: map[string][]byte{}, looked: map[string]bool{}, net: n, t: t}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(s.serve))
	if cert != nil {
		s.Server.TLS = &tls.Config{Certificates: []tls.Certificate{*cert}}
	}
	if n != nil {
		s.Server.Listener.Close()
		s.Server.Listener = n
	}
	s.Server.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.Server.StartTLS()
	t.Cleanup(func() {
		s.Server.CloseClientConnections()
		s.Server.Close()
	})
	return s
}

// config is that of a camera which uses this store.
func (s *fakeStore) config() Config {
	cfg := Config{Hosts: []string{s.host()}, AllowPrivate: true, Roots: s.roots(), Spool: &judge{s: s}}
	if s.net != nil {
		cfg.dial = s.net.dial
	}
	return cfg
}

func (s *fakeStore) roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	return pool
}

func (s *fakeStore) host() string { return strings.TrimPrefix(s.URL, "https://") }

func (s *fakeStore) setFault(f func(w http.ResponseWriter, r *http.Request, key string) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = f
}

func (s *fakeStore) serve(w http.ResponseWriter, r *http.Request) {
	key := strings.TrimPrefix(r.URL.Path, "/clips/")
	s.mu.Lock()
	fault := s.fault
	if r.Method == http.MethodPut {
		s.puts++
	}
	s.mu.Unlock()
	if fault != nil && fault(w, r, key) {
		return
	}
	if r.Method == http.MethodHead {
		s.head(w, key)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	w.WriteHeader(s.put(key, body, r.Header))
}

func (s *fakeStore) put(key string, body []byte, h http.Header) int {
	sum := sha256.Sum256(body)
	if h.Get(headerSHA256) != base64.StdEncoding.EncodeToString(sum[:]) {
		return http.StatusBadRequest
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.objects[key] != nil {
		if h.Get("If-None-Match") == "*" {
			return http.StatusPreconditionFailed
		}
		s.doubles++
	}
	if clip, ok := strings.CutSuffix(key, ".jws"); ok && !strings.HasSuffix(key, ".gap.jws") && !s.looked[clip+".mp4.age"] {
		s.t.Errorf("the manifest %s comes before its clip is confirmed", key)
	}
	s.objects[key] = body
	s.order = append(s.order, key)
	return http.StatusOK
}

func (s *fakeStore) head(w http.ResponseWriter, key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	body, ok := s.objects[key]
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	sum := sha256.Sum256(body)
	w.Header().Set(headerSHA256, base64.StdEncoding.EncodeToString(sum[:]))
	w.Header().Set("Content-Length", fmt.Sprint(len(body)))
	s.looked[key] = true
}

// judge is a card that is told of nothing too early. R2.
type judge struct {
	*spool.Spool
	s *fakeStore
}

func (j *judge) Release(o spool.Object) error {
	j.s.mu.Lock()
	for _, p := range o.Parts {
		if key := cloud.ObjectKey(serial, bindID, p.Name); j.s.objects[key] == nil || !j.s.looked[key] {
			j.s.t.Errorf("%s is released before the store has confirmed it", p.Name)
		}
	}
	j.s.mu.Unlock()
	return j.Spool.Release(o)
}

// grant is what an honest cloud says.
func (s *fakeStore) grant(q cloud.GrantRequest) cloud.Grant {
	raw, _ := hex.DecodeString(q.SHA256)
	url := s.URL + "/clips/" + q.Key + "?X-Amz-Signature=00"
	return cloud.Grant{
		Put: cloud.Request{Method: "PUT", URL: url, Headers: map[string]string{
			"If-None-Match": "*", "x-amz-checksum-sha256": base64.StdEncoding.EncodeToString(raw), "content-length": fmt.Sprint(q.Size)}},
		Head: cloud.Request{Method: "HEAD", URL: url, Headers: map[string]string{"x-amz-checksum-mode": "ENABLED"}},
	}
}

// rig is an uploader with a card and a cloud.
type rig struct {
	*Uploader
	card  *spool.Spool
	names []string
	stop  func() // ends Run
}

type askFunc func(q cloud.GrantRequest, g *cloud.Grant) error

func newRig(t testing.TB, cfg Config, ask askFunc) *rig {
	t.Helper()
	return newRigOn(t, spool.Config{}, cfg, ask)
}

func newRigOn(t testing.TB, c spool.Config, cfg Config, ask askFunc) *rig {
	t.Helper()
	card, err := spool.Open(filepath.Join(t.TempDir(), "card"), c)
	require.NoError(t, err)
	t.Cleanup(func() { card.Close() })
	cfg.Serial = serial
	if j, ok := cfg.Spool.(*judge); ok {
		j.Spool = card
	} else {
		cfg.Spool = card
	}
	if cfg.Prefix == nil {
		cfg.Prefix = func() (string, bool) { return bindID, true }
	}
	cfg.Ask = func(_ context.Context, kind string, body, answer any) error {
		if kind != cloud.AskGrant {
			return fmt.Errorf("kind %s", kind)
		}
		return ask(body.(cloud.GrantRequest), answer.(*cloud.Grant))
	}
	u, err := New(cfg)
	require.NoError(t, err)
	return &rig{Uploader: u, card: card}
}

// honest is a rig against the fake store.
func honest(t testing.TB, s *fakeStore) *rig { return newRig(t, s.config(), s.honest) }

// honest answers as a cloud does that means well.
func (s *fakeStore) honest(q cloud.GrantRequest, g *cloud.Grant) error {
	*g = s.grant(q)
	return nil
}

func clipName(i int) string { return fmt.Sprintf("20260102T03%02d00.000Z-abcdefgh", i) }

// clip closes a clip and its manifest on the card.
func (r *rig) clip(t testing.TB, i int, lane spool.Lane, size int) string {
	t.Helper()
	name := clipName(i)
	f, err := r.card.Create(name)
	require.NoError(t, err)
	_, err = f.Write([]byte(strings.Repeat(string(rune('a'+i)), size)))
	require.NoError(t, err)
	_, err = f.Commit(lane, []byte("manifest "+name))
	require.NoError(t, err)
	r.names = append(r.names, name)
	return name
}

// single stores a gap record or a snapshot on the card.
func (r *rig) single(t testing.TB, name string, lane spool.Lane) string {
	t.Helper()
	_, err := r.card.Add(name, lane, []byte("sealed "+name))
	require.NoError(t, err)
	r.names = append(r.names, name)
	return name
}

// start runs the uploader until the test ends.
func (r *rig) start(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- r.Run(ctx) }()
	var once sync.Once
	r.stop = func() { once.Do(func() { cancel(); require.NoError(t, <-done) }) }
	t.Cleanup(r.stop)
}

// waitAll waits until everything is in the store: hours in virtual time.
func (r *rig) waitAll(t *testing.T) {
	t.Helper()
	limit := 10 * time.Second
	if r.cfg.dial != nil {
		limit = 24 * time.Hour
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	for _, n := range r.names {
		require.NoError(t, r.Wait(ctx, n), "last error: %v", r.Stats().LastError)
	}
}

// checkStored finds every object once, whole, under its own key, and no other.
func (s *fakeStore) checkStored(t *testing.T, r *rig) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	require.Zero(t, s.doubles)
	files := 0
	for _, n := range r.names {
		require.False(t, r.card.Pending(n))
		for _, file := range filesOf(n) {
			files++
			f, err := r.card.Open(file)
			require.NoError(t, err)
			want, _ := io.ReadAll(f)
			f.Close()
			require.Equal(t, string(want), string(s.objects[cloud.ObjectKey(serial, bindID, file)]))
		}
	}
	require.Len(t, s.objects, files)
}

func filesOf(name string) []string {
	if len(name) > cloud.ClipNameLen {
		return []string{name}
	}
	return []string{name + ".mp4.age", name + ".jws"}
}
