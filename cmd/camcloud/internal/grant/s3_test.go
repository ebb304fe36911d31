package grant

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/api"
	"iid2secure.nl/camagent/scripts/s3dev"
)

// example is the account of Amazon's published examples (Amazon S3 API
// Reference, "Authenticating Requests: Using Query Parameters").
func example(t *testing.T, o Options) *Storage {
	o.AccessKey, o.SecretKey = "AKIAIOSFODNN7EXAMPLE", cloud.NewSecret("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
	s, err := New(o)
	require.NoError(t, err)
	return s
}

func TestM4_SignatureOfThePublishedExample(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(time.Date(2013, 5, 24, 0, 0, 0, 0, time.UTC)))
		s := example(t, Options{Endpoint: "s3.amazonaws.com:443", Region: "us-east-1", Bucket: "examplebucket"})
		require.Equal(t, "https://examplebucket.s3.amazonaws.com/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256"+
			"&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z"+
			"&X-Amz-Expires=86400&X-Amz-SignedHeaders=host"+
			"&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404",
			s.sign(http.MethodGet, "test.txt", 24*time.Hour, nil).URL)
		require.Equal(t, "examplebucket.s3.amazonaws.com:443", s.Public())
	})
}

// signature is the published procedure once more, step by step, for what the
// example lacks: headers under the signature, path style, ports.
func signature(method, raw string, headers map[string]string, secret string) string {
	u, _ := url.Parse(raw)
	q := u.Query()
	q.Del("X-Amz-Signature")
	signed := map[string]string{"host": u.Host}
	for k, v := range headers {
		signed[strings.ToLower(k)] = v
	}
	var names []string
	for k := range signed {
		names = append(names, k)
	}
	slices.Sort(names)
	var lines strings.Builder
	for _, k := range names {
		fmt.Fprintf(&lines, "%s:%s\n", k, signed[k])
	}
	request := strings.Join([]string{method, u.EscapedPath(), q.Encode(), lines.String(), strings.Join(names, ";"), "UNSIGNED-PAYLOAD"}, "\n")
	sum := sha256.Sum256([]byte(request))
	scope := strings.SplitN(q.Get("X-Amz-Credential"), "/", 2)[1]
	text := strings.Join([]string{"AWS4-HMAC-SHA256", q.Get("X-Amz-Date"), scope, hex.EncodeToString(sum[:])}, "\n")
	key := []byte("AWS4" + secret)
	for _, part := range append(strings.Split(scope, "/"), text) {
		h := hmac.New(sha256.New, key)
		h.Write([]byte(part))
		key = h.Sum(nil)
	}
	return hex.EncodeToString(key)
}

func TestM4_SignaturesOfAnyS3(t *testing.T) {
	t.Parallel()
	sum := sha256.Sum256([]byte("sealed"))
	q := cloud.GrantRequest{Key: "7K0000000000A2/00112233445566778899aabbccddeeff/20260102T030405.123Z-abcdefgh.mp4.age", Size: 6, SHA256: hex.EncodeToString(sum[:])}
	for _, c := range []struct {
		opt          Options
		prefix, host string
	}{
		{Options{Endpoint: "s3.example"}, "https://bucket.s3.example/", "bucket.s3.example:443"},
		{Options{Endpoint: "s3.example:443"}, "https://bucket.s3.example/", "bucket.s3.example:443"},
		{Options{Endpoint: "s3.example:9000"}, "https://bucket.s3.example:9000/", "bucket.s3.example:9000"},
		{Options{Endpoint: "s3.example", PathStyle: true}, "https://s3.example/bucket/", "s3.example:443"},
		{Options{Endpoint: "10.0.0.9:9000", PathStyle: true}, "https://10.0.0.9:9000/bucket/", "10.0.0.9:9000"},
		{Options{Endpoint: "[fd00::9]:9000", PathStyle: true}, "https://[fd00::9]:9000/bucket/", "[fd00::9]:9000"},
		{Options{Endpoint: "inside:9000", Public: "s3.example", PathStyle: true}, "https://s3.example/bucket/", "s3.example:443"},
		{Options{Endpoint: "s3.eu-central-1.amazonaws.com"}, "https://bucket.s3.eu-central-1.amazonaws.com/", "bucket.s3.eu-central-1.amazonaws.com:443"},
	} {
		c.opt.Region, c.opt.Bucket = "eu-central-1", "bucket"
		s := example(t, c.opt)
		require.Equal(t, c.host, s.Public())
		g, err := s.Put(t.Context(), q)
		require.NoError(t, err)
		for _, r := range []cloud.Request{g.Put, g.Head} {
			require.True(t, strings.HasPrefix(r.URL, c.prefix+q.Key+"?"), r.URL)
			u, err := url.Parse(r.URL)
			require.NoError(t, err)
			require.Contains(t, u.Query().Get("X-Amz-Credential"), "/eu-central-1/s3/aws4_request")
			require.Equal(t, "600", u.Query().Get("X-Amz-Expires"))
			require.Equal(t, signature(r.Method, r.URL, r.Headers, s.opt.SecretKey.Reveal()), u.Query().Get("X-Amz-Signature"), c.prefix)
		}
		require.Equal(t, map[string]string{"Content-Length": "6", "If-None-Match": "*",
			"X-Amz-Checksum-Sha256": base64.StdEncoding.EncodeToString(sum[:])}, g.Put.Headers)
	}
}

func TestM4_BadStorages(t *testing.T) {
	t.Parallel()
	good := Options{Endpoint: "s3.example", Region: "r", Bucket: "bucket", AccessKey: "a", SecretKey: cloud.NewSecret("s")}
	for name, spoil := range map[string]func(*Options){
		"no key":                   func(o *Options) { o.AccessKey = "" },
		"no secret":                func(o *Options) { o.SecretKey = cloud.Secret{} },
		"no region":                func(o *Options) { o.Region = "" },
		"a scheme":                 func(o *Options) { o.Endpoint = "http://x" },
		"a scheme in public":       func(o *Options) { o.Public = "http://x" },
		"a path":                   func(o *Options) { o.Public = "x/y" },
		"an address, virtual host": func(o *Options) { o.Public = "10.0.0.9:9000" },
	} {
		o := good
		spoil(&o)
		_, err := New(o)
		require.Error(t, err, name)
	}
	_, err := New(good)
	require.NoError(t, err)
}

// gateway runs a real S3 server with a certificate of its own.
func gateway(t *testing.T, names ...string) (o s3dev.Options, roots *x509.CertPool) {
	t.Helper()
	dir := t.TempDir()
	o = s3dev.Options{Dir: filepath.Join(dir, "s3"), CertFile: filepath.Join(dir, "cert"), KeyFile: filepath.Join(dir, "key"),
		Access: "testaccess", Secret: "testsecret", Region: "eu-test-1"}
	roots, err := s3dev.SelfSigned(o.CertFile, o.KeyFile, names...)
	require.NoError(t, err)
	return o, roots
}

func runGateway(t *testing.T, o s3dev.Options) string {
	t.Helper()
	server, err := s3dev.Start(context.Background(), o)
	require.NoError(t, err)
	t.Cleanup(func() { server.Close() })
	return server.Addr
}

// send does what a device does with a grant; addr is where the host is found.
func send(t *testing.T, roots *x509.CertPool, addr string, r cloud.Request, body string) (int, http.Header, string) {
	t.Helper()
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true}
	tr.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, addr)
	}
	req, err := http.NewRequest(r.Method, r.URL, bytes.NewReader([]byte(body)))
	require.NoError(t, err)
	for k, v := range r.Headers {
		req.Header.Set(k, v)
	}
	resp, err := tr.RoundTrip(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, resp.Header, string(text)
}

// What a grant allows, a real server takes, once; and nothing else.
func checkGrants(t *testing.T, s *Storage, roots *x509.CertPool, addr string) {
	t.Helper()
	const body = "a sealed clip"
	sum := sha256.Sum256([]byte(body))
	q := cloud.GrantRequest{Key: "7K0000000000A2/00112233445566778899aabbccddeeff/20260102T030405.123Z-abcdefgh.mp4.age", Size: int64(len(body)), SHA256: hex.EncodeToString(sum[:])}
	g, err := s.Put(t.Context(), q)
	require.NoError(t, err)
	look := func() (int, http.Header) {
		code, h, _ := send(t, roots, addr, g.Head, "")
		return code, h
	}
	put := func(r cloud.Request, body string) int {
		code, _, _ := send(t, roots, addr, r, body)
		return code
	}
	code, _ := look()
	require.Equal(t, 404, code)
	require.Equal(t, 400, put(g.Put, "a SEALED clip"), "other content")
	require.Equal(t, 403, put(g.Put, body+"x"), "other size")
	other := g.Put
	other.URL = strings.Replace(other.URL, "abcdefgh", "abcdefgi", 1)
	require.Equal(t, 403, put(other, body), "other name")
	other = g.Put
	other.Headers = map[string]string{"X-Amz-Checksum-Sha256": g.Put.Headers["X-Amz-Checksum-Sha256"]}
	require.Equal(t, 403, put(other, body), "without its condition")
	other = g.Head
	other.Method = http.MethodDelete
	require.Equal(t, 403, put(other, ""), "a look is no deletion")

	require.Equal(t, 200, put(g.Put, body))
	code, h := look()
	require.Equal(t, 200, code)
	require.Equal(t, base64.StdEncoding.EncodeToString(sum[:]), h.Get("X-Amz-Checksum-Sha256"))
	require.Equal(t, fmt.Sprint(len(body)), h.Get("Content-Length"))
	require.Equal(t, 412, put(g.Put, body), "never twice")
	d, err := s.Get(t.Context(), q.Key)
	require.NoError(t, err)
	code, _, text := send(t, roots, addr, cloud.Request{Method: "GET", URL: d.URL, Headers: d.Headers}, "")
	require.Equal(t, 200, code)
	require.Equal(t, body, text)
}

func TestM4_S11_RealS3PathStyle(t *testing.T) {
	t.Parallel()
	o, roots := gateway(t)
	addr := runGateway(t, o)
	opt := Options{Endpoint: addr, Region: o.Region, Bucket: "clips", AccessKey: o.Access, SecretKey: cloud.NewSecret(o.Secret), PathStyle: true, Roots: roots}
	s, err := New(opt)
	require.NoError(t, err)
	require.NoError(t, s.Prepare(t.Context()), "the bucket is made")
	require.NoError(t, s.Prepare(t.Context()), "and found")
	checkGrants(t, s, roots, addr)
	list, err := s.List(t.Context(), "7K0000000000A2/", api.ObjectQuery{Limit: 10})
	require.NoError(t, err)
	require.Len(t, list.Objects, 1)

	opt.Roots = nil
	stranger, err := New(opt)
	require.NoError(t, err)
	require.ErrorContains(t, stranger.Prepare(t.Context()), "certificate signed by unknown authority")
	opt.Roots, opt.Region = roots, "us-east-1"
	elsewhere, err := New(opt)
	require.NoError(t, err)
	g, err := elsewhere.Put(t.Context(), cloud.GrantRequest{Key: "7K0000000000A2/x/y", Size: 1, SHA256: strings.Repeat("0", 64)})
	require.NoError(t, err)
	code, _, text := send(t, roots, addr, g.Put, "x")
	require.Greater(t, code, 399, "signed for another region: %s", text)
}

// The bucket as part of the host's name.
func TestM4_S11_RealS3VirtualHost(t *testing.T) {
	o, roots := gateway(t, "s3.test", "clips.s3.test")
	o.Bucket = "clips"
	t.Setenv("VGW_VIRTUAL_DOMAIN", "s3.test")
	addr := runGateway(t, o)
	s, err := New(Options{Endpoint: "s3.test", Region: o.Region, Bucket: "clips", AccessKey: o.Access, SecretKey: cloud.NewSecret(o.Secret), Roots: roots})
	require.NoError(t, err)
	checkGrants(t, s, roots, addr)
}
