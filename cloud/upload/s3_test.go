package upload

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/spool"
	"iid2secure.nl/camagent/scripts/s3dev"
)

// realStore is a versitygw with a signer.
type realStore struct {
	opt    s3dev.Options
	server *s3dev.Server
	roots  *x509.CertPool
	client *minio.Client
}

const bucket = "clips"

func startRealStore(t testing.TB) *realStore {
	t.Helper()
	dir := t.TempDir()
	s := &realStore{}
	s.opt = s3dev.Options{
		Dir: filepath.Join(dir, "s3"), CertFile: filepath.Join(dir, "cert.pem"), KeyFile: filepath.Join(dir, "key.pem"),
		Access: "testaccess", Secret: "testsecret", Bucket: bucket, LogFile: filepath.Join(dir, "log"),
	}
	var err error
	s.roots, err = s3dev.SelfSigned(s.opt.CertFile, s.opt.KeyFile)
	require.NoError(t, err)
	s.start(t)
	client, err := minio.New(s.server.Addr, &minio.Options{
		Creds: credentials.NewStaticV4(s.opt.Access, s.opt.Secret, ""), Secure: true, Region: "us-east-1",
		Transport:    &http.Transport{TLSClientConfig: s.tls(), DisableKeepAlives: true},
		BucketLookup: minio.BucketLookupPath,
	})
	require.NoError(t, err)
	s.client = client
	return s
}

func (s *realStore) start(t testing.TB) {
	t.Helper()
	server, err := s3dev.Start(context.Background(), s.opt)
	require.NoError(t, err)
	s.server, s.opt.Addr = server, server.Addr
	t.Cleanup(func() { server.Close() })
}

func (s *realStore) tls() *tls.Config { return &tls.Config{RootCAs: s.roots} }

// grant signs as a cloud does: size, checksum and condition are under the signature.
func (s *realStore) grant(q cloud.GrantRequest, valid time.Duration) (g cloud.Grant, err error) {
	raw, err := hex.DecodeString(q.SHA256)
	if err != nil {
		return g, err
	}
	put := http.Header{}
	put.Set("If-None-Match", "*")
	put.Set("X-Amz-Checksum-Sha256", base64.StdEncoding.EncodeToString(raw))
	put.Set("Content-Length", fmt.Sprint(q.Size))
	head := http.Header{}
	head.Set("X-Amz-Checksum-Mode", "ENABLED")
	if g.Put, err = s.sign("PUT", q.Key, valid, put); err != nil {
		return g, err
	}
	g.Head, err = s.sign("HEAD", q.Key, valid, head)
	return g, err
}

func (s *realStore) sign(method, key string, valid time.Duration, h http.Header) (cloud.Request, error) {
	u, err := s.client.PresignHeader(context.Background(), method, bucket, key, valid, url.Values{}, h)
	if err != nil {
		return cloud.Request{}, err
	}
	r := cloud.Request{Method: method, URL: u.String(), Headers: map[string]string{}}
	for name := range h {
		r.Headers[name] = h.Get(name)
	}
	return r, nil
}

func (s *realStore) rig(t testing.TB, cfg Config) *rig {
	cfg.Hosts, cfg.AllowPrivate, cfg.Roots, cfg.MaxWait = []string{s.server.Addr}, true, s.roots, 20*time.Millisecond
	return newRig(t, cfg, func(q cloud.GrantRequest, g *cloud.Grant) (err error) {
		*g, err = s.grant(q, time.Minute)
		return err
	})
}

// get fetches an object back.
func (s *realStore) get(t *testing.T, key string) []byte {
	t.Helper()
	o, err := s.client.GetObject(context.Background(), bucket, key, minio.GetObjectOptions{})
	require.NoError(t, err)
	defer o.Close()
	b, err := io.ReadAll(o)
	require.NoError(t, err)
	return b
}

func (s *realStore) keys(t *testing.T) (keys []string) {
	t.Helper()
	for o := range s.client.ListObjects(context.Background(), bucket, minio.ListObjectsOptions{Recursive: true}) {
		require.NoError(t, o.Err)
		keys = append(keys, o.Key)
	}
	return keys
}

func TestM4_RealS3(t *testing.T) {
	t.Parallel()
	s := startRealStore(t)
	r := s.rig(t, Config{})
	for i := range 4 {
		r.clip(t, i, spool.Routine, 1<<20+i)
	}
	r.start(t)
	r.waitAll(t)
	require.Len(t, s.keys(t), 8)
	for i, n := range r.names {
		require.Equal(t, strings.Repeat(string(rune('a'+i)), 1<<20+i), string(s.get(t, cloud.ObjectKey(serial, bindID, n)+".mp4.age")))
	}
	require.Zero(t, r.Stats().Retries, "%v", r.Stats().LastError)
}

// Stored already before a cut: the 412 of the real server, then the look.
func TestR2_RealS3StoredBeforeTheCut(t *testing.T) {
	t.Parallel()
	s := startRealStore(t)
	r := s.rig(t, Config{})
	r.clip(t, 0, spool.Routine, 1000)
	o, err := r.card.Next(t.Context())
	require.NoError(t, err)
	r.q.push(o, bindID)
	require.NoError(t, r.object(t.Context(), r.q.jobs[0])) // and the process is killed before Release
	r.q.empty()
	r.card.Return(o, 0)
	r.start(t)
	r.waitAll(t)
	require.Len(t, s.keys(t), 2)
	require.Zero(t, r.Stats().Retries, "%v", r.Stats().LastError)
}

// The store refuses what the signature does not cover, so a grant is good for
// exactly one content under one name, once.
func TestS11_RealS3GrantIsExact(t *testing.T) {
	t.Parallel()
	s := startRealStore(t)
	r := s.rig(t, Config{})
	r.clip(t, 0, spool.Routine, 1000)
	o, err := r.card.Next(t.Context())
	require.NoError(t, err)
	want := r.rules.expect(cloud.ObjectKey(serial, bindID, o.Parts[0].Name), o.Parts[0])
	g, err := s.grant(want.request, time.Minute)
	require.NoError(t, err)
	put := func(body string, req cloud.Request) int {
		code, _ := r.store.put(t.Context(), req, &cardBody{r: strings.NewReader(body), size: int64(len(body)), urgent: true})
		return code
	}
	require.Equal(t, 400, put(strings.Repeat("x", 1000), g.Put), "other content")
	require.Equal(t, 403, put(strings.Repeat("a", 999), g.Put), "other size")
	moved := g.Put
	moved.URL = strings.Replace(moved.URL, "abcdefgh", "abcdefgi", 1)
	require.Equal(t, 403, put(strings.Repeat("a", 1000), moved), "other name")
	require.Empty(t, s.keys(t))
	require.Equal(t, 200, put(strings.Repeat("a", 1000), g.Put))
}

// Expired grants are asked anew, a store that is away is waited for.
func TestR8_RealS3AwayAndExpired(t *testing.T) {
	t.Parallel()
	s := startRealStore(t)
	r := s.rig(t, Config{})
	var asked atomic.Int32
	honest := r.cfg.Ask
	r.cfg.Ask = func(ctx context.Context, kind string, body, answer any) error {
		if asked.Add(1) > 2 {
			return honest(ctx, kind, body, answer)
		}
		g, err := s.grant(body.(cloud.GrantRequest), time.Second)
		*answer.(*cloud.Grant) = g
		<-time.After(2100 * time.Millisecond)
		return err
	}
	r.clip(t, 0, spool.Routine, 1000)
	r.start(t)
	require.Eventually(t, func() bool { return asked.Load() >= 2 }, 8*time.Second, 5*time.Millisecond)
	r.waitAll(t)
	require.Zero(t, r.Stats().Retries, "a grant that came too late is asked anew at once: %v", r.Stats().LastError)

	s.server.Close()
	r.clip(t, 1, spool.Routine, 1000)
	r.clip(t, 2, spool.Alarm, 1000)
	before := r.Stats().Retries
	require.Eventually(t, func() bool { return r.Stats().Retries > before+3 }, 5*time.Second, 5*time.Millisecond)
	require.Error(t, r.Stats().LastError)
	s.start(t)
	r.waitAll(t)
	require.Len(t, s.keys(t), 6)
}
