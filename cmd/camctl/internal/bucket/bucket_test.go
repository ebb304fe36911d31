package bucket

import (
	"bytes"
	"crypto/tls"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/api"
	"iid2secure.nl/camagent/cloud/seal"
	"iid2secure.nl/camagent/scripts/s3dev"

	"iid2secure.nl/camagent/cmd/camctl/internal/fakecloud"
	"iid2secure.nl/camagent/cmd/camctl/internal/fetch"
)

// env is an environment.
type env map[string]string

func (e env) lookup(name string) (string, bool) { v, ok := e[name]; return v, ok }

// store is a real S3 server.
type store struct {
	address string
	env     env
	client  *minio.Client
}

func newStore(t *testing.T) store {
	t.Helper()
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	roots, err := s3dev.SelfSigned(path("cert"), path("key"))
	require.NoError(t, err)
	server, err := s3dev.Start(t.Context(), s3dev.Options{Dir: path("s3"), CertFile: path("cert"), KeyFile: path("key"),
		Access: "access", Secret: "secret", Bucket: "clips", Region: "eu-test-1", LogFile: path("log")})
	require.NoError(t, err)
	t.Cleanup(func() { server.Close() })
	s := store{address: server.Endpoint + "/clips?region=eu-test-1", env: env{envKey: "access", envSecret: "secret", envRoots: path("cert")}}

	s.client, err = minio.New(server.Addr, &minio.Options{Creds: credentials.NewStaticV4("access", "secret", ""), Secure: true, Region: "eu-test-1",
		Transport:    &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true},
		BucketLookup: minio.BucketLookupPath})
	require.NoError(t, err)
	return s
}

func (s store) put(t *testing.T, cam *fakecloud.Camera, name string, b []byte) {
	t.Helper()
	_, err := s.client.PutObject(t.Context(), "clips", cloud.ObjectKey(cam.ID.Serial, cam.BindID, name), bytes.NewReader(b), int64(len(b)), minio.PutObjectOptions{})
	require.NoError(t, err)
}

// The owner needs the bucket's keys and their own alone: no cloud.
func TestM10_ClipsComeFromTheBucketAlone(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	secret, _, err := seal.NewIdentity()
	require.NoError(t, err)
	cam, err := fakecloud.NewCamera(secret)
	require.NoError(t, err)
	start := time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)
	var clips []fakecloud.Clip
	for n := range 6 {
		k, err := cam.Clip(start.Add(time.Duration(n)*time.Hour), "main", nil)
		require.NoError(t, err)
		s.put(t, cam, k.Name+".mp4.age", k.Sealed)
		s.put(t, cam, k.Name+".jws", []byte(k.Token))
		clips = append(clips, k)
	}
	b, err := Open(s.address, cam.BindID, s.env.lookup)
	require.NoError(t, err)
	defer b.Close()
	g := &fetch.Getter{Source: b, Camera: cam.Pinned(), Secret: secret, Stall: 15 * time.Second}
	list, err := g.List(t.Context(), api.ObjectQuery{})
	require.NoError(t, err)
	require.Len(t, list, 6)
	for limit := 1; limit < 14; limit += 4 { // pages
		list, err := g.List(t.Context(), api.ObjectQuery{Limit: limit, From: start.Add(time.Hour), To: start.Add(4 * time.Hour)})
		require.NoError(t, err)
		require.Len(t, list, 3)
		require.Equal(t, clips[1].Name, list[0].Name)
		require.True(t, list[2].Complete)
	}
	clip, err := g.Manifest(t.Context(), clips[2].Name)
	require.NoError(t, err)
	// What an earlier run has left is not read again.
	scratch := filepath.Join(t.TempDir(), "a")
	require.NoError(t, os.WriteFile(scratch+fetch.ExtPart, clips[2].Sealed[:99], 0o600))
	var plain bytes.Buffer
	_, err = g.Clip(t.Context(), clip, &plain, scratch, "")
	require.NoError(t, err)
	require.Equal(t, clips[2].Plain, plain.Bytes())
	body, err := b.Fetch(t.Context(), api.Download{URL: cloud.ObjectKey(cam.ID.Serial, cam.BindID, clips[0].Name+".jws"), Offset: 10})
	require.NoError(t, err)
	rest, err := io.ReadAll(body)
	require.NoError(t, err)
	require.Equal(t, clips[0].Token[10:], string(rest))
	require.NoError(t, body.Close())

	_, err = g.Manifest(t.Context(), "20260102T030405.000Z-zzzzzzzz")
	require.ErrorContains(t, err, "no such object in the bucket")
	bad := env{envKey: "access", envSecret: "wrong", envRoots: s.env[envRoots]}
	for says, open := range map[string]func() (*Bucket, error){
		"the storage refuses the keys": func() (*Bucket, error) { return Open(s.address, cam.BindID, bad.lookup) },
		"there is no bucket": func() (*Bucket, error) {
			return Open(strings.Replace(s.address, "/clips", "/others", 1), cam.BindID, s.env.lookup)
		},
		"certificate": func() (*Bucket, error) {
			return Open(s.address, cam.BindID, env{envKey: "access", envSecret: "secret"}.lookup)
		},
	} {
		b, err := open()
		require.NoError(t, err)
		_, err = b.Objects(t.Context(), cam.ID.Serial, api.ObjectQuery{})
		require.ErrorContains(t, err, says)
		require.NotContains(t, err.Error(), "\n")
		require.NotContains(t, err.Error(), cam.ID.Serial.Plain())
		b.Close()
	}
}

func TestS8_BadAddressesAreOneClearLine(t *testing.T) {
	t.Parallel()
	keys := env{envKey: "access", envSecret: "hush"}
	for _, bad := range []string{"", "clips", "http://s3.example/clips", "https://s3.example", "https://s3.example/", "https://s3.example/a/b",
		"https://hush:hush@s3.example/clips", "https://s3.example/clips#x", "https://%zz/"} {
		_, err := Open(bad, "b", keys.lookup)
		require.ErrorContains(t, err, "of the form https://host[:port]/bucket", bad)
		require.NotContains(t, err.Error(), "hush")
	}
	_, err := Open("https://s3.example/clips", "b", env{envKey: "x"}.lookup)
	require.ErrorContains(t, err, "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
	keys[envRoots] = filepath.Join(t.TempDir(), "none")
	_, err = Open("https://s3.example/clips", "b", keys.lookup)
	require.ErrorContains(t, err, "AWS_CA_BUNDLE: ")
}

// A storage whose answers have no end gets no more than a piece of our memory.
func TestR6_S4_AnswersHaveAnEnd(t *testing.T) {
	t.Parallel()
	const entry = `<Contents><Key>x</Key><Size>1</Size><LastModified>2026-01-02T03:04:05.000Z</LastModified></Contents>`
	for name, c := range map[string]struct {
		status int
		begin  string
	}{
		"list":    {http.StatusOK, "<ListBucketResult>"},
		"refusal": {http.StatusForbidden, "<Error><Message>"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var sent atomic.Int64
			srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "application/xml")
				w.WriteHeader(c.status)
				_, err := io.WriteString(w, c.begin)
				for err == nil && r.Context().Err() == nil {
					var n int
					n, err = io.WriteString(w, strings.Repeat(entry, 100))
					sent.Add(int64(n))
				}
			}))
			t.Cleanup(srv.Close)
			ca := filepath.Join(t.TempDir(), "ca.pem")
			require.NoError(t, os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}), 0o600))
			b, err := Open(srv.URL+"/bucket", "b", env{envKey: "access", envSecret: "secret", envRoots: ca}.lookup)
			require.NoError(t, err)
			t.Cleanup(b.Close)
			_, err = b.Objects(t.Context(), cloud.NewSerial(), api.ObjectQuery{})
			require.Error(t, err)
			require.NotContains(t, err.Error(), "\n")
			require.Less(t, len(err.Error()), 1000)
			srv.CloseClientConnections()
			require.Less(t, sent.Load(), int64(8*maxAnswer), "with what lies in sockets, and is tried again")
		})
	}
}
