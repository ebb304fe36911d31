package upload

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/spool"
)

// maxURL bounds a presigned URL; real ones have some 600 bytes.
const maxURL = 4096

// headerSHA256 is S3's header with the base64 SHA-256 of an object.
const headerSHA256 = "X-Amz-Checksum-Sha256"

// rules are what every grant must keep to. S11, P10.
type rules struct {
	hosts map[string]bool // host:port, lower case
}

// parseHosts reads the configured store addresses.
func parseHosts(list []string) (map[string]bool, error) {
	hosts := map[string]bool{}
	for _, h := range list {
		name, port, err := net.SplitHostPort(h)
		if err != nil {
			name, port = h, "443"
		}
		if _, err := strconv.ParseUint(port, 10, 16); err != nil || name == "" || strings.ContainsAny(name, "/@?# ") {
			return nil, fmt.Errorf("upload: storage host %q is not of the form host or host:port", h)
		}
		hosts[strings.ToLower(net.JoinHostPort(name, port))] = true
	}
	if len(hosts) == 0 {
		return nil, fmt.Errorf("upload: no storage hosts are configured")
	}
	return hosts, nil
}

// expectation is what the grant for one file must say.
type expectation struct {
	rules
	request cloud.GrantRequest
	sum64   string
}

func (r rules) expect(key string, p spool.Part) expectation {
	return expectation{
		rules:   r,
		request: cloud.GrantRequest{Key: key, Size: p.Size, SHA256: hex.EncodeToString(p.SHA256[:])},
		sum64:   base64.StdEncoding.EncodeToString(p.SHA256[:]),
	}
}

// check refuses a grant that would send our object elsewhere, under another
// name, over something that is there, or in another way than we know. Expires is
// left to the store: our clock may be wrong.
func (e expectation) check(g cloud.Grant) error {
	if err := e.checkRequest(g.Put, "PUT"); err != nil {
		return err
	}
	if err := e.checkRequest(g.Head, "HEAD"); err != nil {
		return err
	}
	if err := e.checkPutHeaders(g.Put.Headers); err != nil {
		return err
	}
	for name, value := range g.Head.Headers {
		if !is(name, "X-Amz-Checksum-Mode") || value != "ENABLED" {
			return fmt.Errorf("%w: HEAD header %.40q is not allowed", ErrGrant, name)
		}
	}
	return nil
}

func (e expectation) checkRequest(r cloud.Request, method string) error {
	if r.Method != method {
		return fmt.Errorf("%w: method %.20q, want %s", ErrGrant, r.Method, method)
	}
	if len(r.URL) > maxURL {
		return fmt.Errorf("%w: address of %d bytes", ErrGrant, len(r.URL))
	}
	u, err := url.Parse(r.URL)
	if err != nil {
		return fmt.Errorf("%w: not a valid address", ErrGrant)
	}
	switch {
	case u.Scheme != "https":
		return fmt.Errorf("%w: scheme %.20q, want https", ErrGrant, u.Scheme)
	case u.User != nil:
		return fmt.Errorf("%w: address with user information", ErrGrant)
	case u.Fragment != "" || strings.Contains(r.URL, "#"):
		return fmt.Errorf("%w: address with a fragment", ErrGrant)
	case !e.hosts[hostPort(u)]:
		return fmt.Errorf("%w: host %.100q is not one of the configured ones", ErrGrant, u.Host)
	}
	return e.checkPath(u)
}

func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = "443"
	}
	return strings.ToLower(net.JoinHostPort(u.Hostname(), port))
}

// checkPath wants /<key>, or /<bucket>/<key>, spelled plainly: keys have no
// character that needs escaping.
func (e expectation) checkPath(u *url.URL) error {
	bucket, ok := strings.CutSuffix(u.EscapedPath(), "/"+e.request.Key)
	if !ok {
		return fmt.Errorf("%w: the path does not end with our key", ErrGrant)
	}
	name := strings.TrimPrefix(bucket, "/")
	if bucket != "" && (bucket == name || name == "" || name == "." || name == ".." || strings.Trim(name, bucketLetters) != "") {
		return fmt.Errorf("%w: more than a bucket's name before our key", ErrGrant)
	}
	return nil
}

const bucketLetters = "abcdefghijklmnopqrstuvwxyz0123456789-."

// checkPutHeaders allows what makes the store check our object, and requires
// that it does not overwrite one.
func (e expectation) checkPutHeaders(headers map[string]string) error {
	fixed := map[string]string{
		"If-None-Match":                "*",
		headerSHA256:                   e.sum64,
		"Content-Length":               strconv.FormatInt(e.request.Size, 10),
		"X-Amz-Sdk-Checksum-Algorithm": "SHA256",
		"Content-Type":                 "application/octet-stream",
	}
	seen := map[string]bool{}
	for name, value := range headers {
		want, known := "", false
		for k, v := range fixed {
			if is(name, k) {
				want, known, seen[k] = v, true, true
			}
		}
		if is(name, "X-Amz-Content-Sha256") {
			want, known = value, value == "UNSIGNED-PAYLOAD" || value == e.request.SHA256
		}
		if !known || value != want {
			return fmt.Errorf("%w: PUT header %.40q is not allowed, or not with this value", ErrGrant, name)
		}
	}
	if !seen["If-None-Match"] || !seen[headerSHA256] {
		return fmt.Errorf("%w: the PUT lacks If-None-Match or the checksum", ErrGrant)
	}
	return nil
}

func is(name, canonical string) bool { return strings.EqualFold(name, canonical) }
