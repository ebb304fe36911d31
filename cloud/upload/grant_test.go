package upload

import (
	"crypto/x509"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/spool"
)

func newFakePool() *x509.CertPool { return x509.NewCertPool() }

func goodGrant() (expectation, cloud.Grant) {
	hosts, err := parseHosts([]string{"s3.example.com", "10.0.0.9:9000"})
	if err != nil {
		panic(err)
	}
	p := spool.Part{Name: "20260102T030405.000Z-abcdefgh.mp4.age", Size: 5, SHA256: [32]byte{1, 2}}
	e := rules{hosts}.expect(cloud.ObjectKey(serial, bindID, p.Name), p)
	url := "https://s3.example.com/clips/" + e.request.Key + "?X-Amz-Expires=600&X-Amz-Signature=00"
	return e, cloud.Grant{
		Put: cloud.Request{Method: "PUT", URL: url, Headers: map[string]string{
			"If-None-Match": "*", "X-Amz-Checksum-Sha256": e.sum64, "Content-Length": "5"}},
		Head:    cloud.Request{Method: "HEAD", URL: url, Headers: map[string]string{"X-Amz-Checksum-Mode": "ENABLED"}},
		Expires: 1,
	}
}

func TestS11_GoodGrantsAreTaken(t *testing.T) {
	t.Parallel()
	e, g := goodGrant()
	require.NoError(t, e.check(g))
	for _, base := range []string{"https://S3.example.com:443/clips/", "https://10.0.0.9:9000/clips.v2-x/", "https://s3.example.com/"} {
		g.Put.URL = base + e.request.Key
		require.NoError(t, e.check(g), base)
	}
	g.Put.Headers["x-amz-content-sha256"] = "UNSIGNED-PAYLOAD"
	require.NoError(t, e.check(g))
}

func TestP10_S11_HostileGrantsAreRefused(t *testing.T) {
	t.Parallel()
	e, honestOne := goodGrant()
	key := e.request.Key
	urls := map[string]string{
		"http":                    "http://s3.example.com/clips/" + key,
		"foreign host":            "https://evil.example.com/clips/" + key,
		"host as a prefix":        "https://s3.example.com.evil.com/clips/" + key,
		"other port":              "https://s3.example.com:8443/clips/" + key,
		"configured port missing": "https://10.0.0.9/clips/" + key,
		"userinfo":                "https://s3.example.com@evil.com/clips/" + key,
		"userinfo, right host":    "https://user:pw@s3.example.com/clips/" + key,
		"fragment":                "https://s3.example.com/clips/" + key + "#x",
		"empty fragment":          "https://s3.example.com/clips/" + key + "#",
		"other serial":            "https://s3.example.com/clips/" + strings.Replace(key, "7K", "8K", 1),
		"other binding":           "https://s3.example.com/clips/" + strings.Replace(key, "0011", "1100", 1),
		"other object":            "https://s3.example.com/clips/" + strings.Replace(key, "abcdefgh", "abcdefgi", 1),
		"longer key":              "https://s3.example.com/clips/" + key + "/x",
		"key in the query":        "https://s3.example.com/clips/x?/" + key,
		"key glued on":            "https://s3.example.com/clips" + key,
		"two folders before":      "https://s3.example.com/clips/more/" + key,
		"dot dot":                 "https://s3.example.com/../" + key,
		"empty bucket":            "https://s3.example.com//" + key,
		"escaped":                 "https://s3.example.com/clips%2f" + key,
		"escaped letter in key":   "https://s3.example.com/clips/" + strings.Replace(key, "abcdefgh", "%61bcdefgh", 1),
		"no host":                 "https:///clips/" + key,
		"relative":                "/clips/" + key,
		"opaque":                  "https:s3.example.com/clips/" + key,
		"control characters":      "https://s3.example.com/clips/\r\n" + key,
		"too long":                "https://s3.example.com/clips/" + key + "?x=" + strings.Repeat("a", maxURL),
		"empty":                   "",
		"garbage":                 "::://%%%",
	}
	for name, url := range urls {
		g := honestOne
		g.Put.URL = url
		require.ErrorIs(t, e.check(g), ErrGrant, "PUT: %s", name)
		g = honestOne
		g.Head.URL = url
		require.ErrorIs(t, e.check(g), ErrGrant, "HEAD: %s", name)
	}
	headers := map[string]map[string]string{
		"none":             {},
		"overwrites":       {"X-Amz-Checksum-Sha256": e.sum64},
		"unchecked":        {"If-None-Match": "*"},
		"other checksum":   {"If-None-Match": "*", "X-Amz-Checksum-Sha256": strings.ToLower(e.sum64)},
		"weak condition":   {"If-None-Match": `"x"`, "X-Amz-Checksum-Sha256": e.sum64},
		"other size":       {"If-None-Match": "*", "X-Amz-Checksum-Sha256": e.sum64, "Content-Length": "6"},
		"public":           {"If-None-Match": "*", "X-Amz-Checksum-Sha256": e.sum64, "X-Amz-Acl": "public-read"},
		"host":             {"If-None-Match": "*", "X-Amz-Checksum-Sha256": e.sum64, "Host": "evil"},
		"website redirect": {"If-None-Match": "*", "X-Amz-Checksum-Sha256": e.sum64, "X-Amz-Website-Redirect-Location": "x"},
		"cookie":           {"If-None-Match": "*", "X-Amz-Checksum-Sha256": e.sum64, "Cookie": "x"},
		"line break":       {"If-None-Match": "*", "X-Amz-Checksum-Sha256": e.sum64, "Content-Type": "a\r\nX: y"},
		"chunked":          {"If-None-Match": "*", "X-Amz-Checksum-Sha256": e.sum64, "Transfer-Encoding": "chunked"},
	}
	for name, h := range headers {
		g := honestOne
		g.Put.Headers = h
		require.ErrorIs(t, e.check(g), ErrGrant, name)
	}
	for _, method := range []string{"", "GET", "POST", "DELETE", "put", "HEAD"} {
		g := honestOne
		g.Put.Method = method
		require.ErrorIs(t, e.check(g), ErrGrant, method)
	}
	g := honestOne
	g.Head.Headers = map[string]string{"Authorization": "x"}
	require.ErrorIs(t, e.check(g), ErrGrant)
	g = honestOne
	g.Head.Method = "DELETE"
	require.ErrorIs(t, e.check(g), ErrGrant)
}

// A hostile cloud gets no connection to anywhere else, and the object stays.
func TestS11_HostileCloudGetsNoConnection(t *testing.T) {
	t.Parallel()
	s, target := newFakeStore(t), newFakeStore(t)
	target.setFault(func(http.ResponseWriter, *http.Request, string) bool { t.Error("a connection was made"); return false })
	r := newRig(t, Config{Hosts: []string{s.host()}, AllowPrivate: true, Roots: s.roots(), MaxWait: time.Millisecond}, func(q cloud.GrantRequest, g *cloud.Grant) error {
		*g = target.grant(q)
		return nil
	})
	name := r.clip(t, 0, spool.Routine, 10)
	r.start(t)
	require.Eventually(t, func() bool { return r.Stats().Retries > 2 }, 5*time.Second, time.Millisecond)
	require.ErrorIs(t, r.Stats().LastError, ErrGrant)
	require.True(t, r.card.Pending(name))
}

func TestP10_S11_PrivateAddresses(t *testing.T) {
	t.Parallel()
	for _, a := range []string{"127.0.0.1:1", "10.1.2.3:443", "192.168.0.1:443", "172.16.9.9:1", "169.254.169.254:80", "100.64.0.1:1",
		"[::1]:1", "[fe80::1]:1", "[fd00::1]:1", "[::ffff:127.0.0.1]:1", "0.0.0.0:1", "[::]:1", "224.0.0.1:1", "255.255.255.255:1", "x"} {
		require.Error(t, publicOnly("tcp", a, nil), a)
	}
	for _, a := range []string{"93.184.216.34:443", "[2606:2800::1]:443"} {
		require.NoError(t, publicOnly("tcp", a, nil), a)
	}
	s := newFakeStore(t)
	r := newRig(t, Config{Hosts: []string{s.host()}, Roots: s.roots()}, func(q cloud.GrantRequest, g *cloud.Grant) error { *g = s.grant(q); return nil })
	r.clip(t, 0, spool.Routine, 10)
	r.start(t)
	require.Eventually(t, func() bool { return r.Stats().Retries > 0 }, 5*time.Second, time.Millisecond)
	require.ErrorIs(t, r.Stats().LastError, ErrGrant)
	require.Empty(t, s.objects)
}

func TestBadConfigurations(t *testing.T) {
	t.Parallel()
	for _, hosts := range [][]string{nil, {""}, {"https://s3"}, {"a/b"}, {"u@h:1"}, {"h:"}} {
		_, err := parseHosts(hosts)
		require.Error(t, err, "%q", hosts)
	}
	_, err := New(Config{Hosts: []string{"x"}})
	require.Error(t, err)
	_, err = New(Config{Hosts: []string{"x"}, Spool: &spool.Spool{}, Ask: nil})
	require.Error(t, err)
}

// S5: whatever a cloud answers, nothing but our host, key and headers is used.
func FuzzGrant(f *testing.F) {
	e, g := goodGrant()
	seed, _ := json.Marshal(g)
	f.Add(seed)
	f.Add([]byte(`{"put":{"method":"PUT","url":"https://s3.example.com/%2e%2e/x"}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var g cloud.Grant
		if json.Unmarshal(raw, &g) != nil || e.check(g) != nil {
			return
		}
		req, err := http.NewRequest(g.Put.Method, g.Put.URL, nil)
		if err != nil {
			return
		}
		if req.URL.Scheme != "https" || !e.hosts[hostPort(req.URL)] || !strings.HasSuffix(req.URL.Path, "/"+e.request.Key) {
			t.Fatalf("taken: %s", g.Put.URL)
		}
	})
}
