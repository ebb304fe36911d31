package api

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"iid2secure.nl/camagent/cloud"
)

// Client speaks the API for one account. It is safe for use by several
// goroutines. Its errors are one clear line; a refusal by the cloud is an
// *Error underneath.
type Client struct {
	base  string
	token cloud.Secret
	http  *http.Client
}

// New makes a client of the cloud at base, for example https://cloud.example:8443.
// roots are the certificates that it trusts (nil: the system's). Nothing is
// dialled until the first call.
func New(base string, roots *x509.CertPool, token cloud.Secret) *Client {
	return &Client{
		base:  strings.TrimRight(base, "/"),
		token: token,
		http: &http.Client{
			Transport: &http.Transport{
				TLSClientConfig:        &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13},
				DialContext:            (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
				TLSHandshakeTimeout:    10 * time.Second,
				ResponseHeaderTimeout:  30 * time.Second,
				MaxResponseHeaderBytes: 64 << 10,
				MaxIdleConnsPerHost:    4,
				IdleConnTimeout:        30 * time.Second,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// Close drops idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Claim asks for a claim token for a camera that is about to be paired.
func (c *Client) Claim(ctx context.Context, serial cloud.Serial) (Claim, error) {
	var out Claim
	return out, c.call(ctx, "claim", http.MethodPost, "/v1/claims", ClaimRequest{Serial: serial}, &out)
}

// Cameras lists the account's cameras.
func (c *Client) Cameras(ctx context.Context) ([]Camera, error) {
	var out CameraList
	err := c.call(ctx, "list cameras", http.MethodGet, "/v1/cameras", nil, &out)
	return out.Cameras, err
}

// Camera tells what the cloud knows about one camera.
func (c *Client) Camera(ctx context.Context, serial cloud.Serial) (Camera, error) {
	var out Camera
	return out, c.call(ctx, "look up camera", http.MethodGet, cameraPath(serial), nil, &out)
}

// Objects returns one page of a camera's objects, oldest names first.
func (c *Client) Objects(ctx context.Context, serial cloud.Serial, q ObjectQuery) (ObjectList, error) {
	v := url.Values{}
	for key, val := range map[string]string{"prefix": q.Prefix, "after": q.After, "from": timeText(q.From), "to": timeText(q.To)} {
		if val != "" {
			v.Set(key, val)
		}
	}
	if q.Limit > 0 {
		v.Set("limit", strconv.Itoa(q.Limit))
	}
	path := cameraPath(serial) + "/objects"
	if len(v) > 0 {
		path += "?" + v.Encode()
	}
	var out ObjectList
	err := c.call(ctx, "list objects", http.MethodGet, path, nil, &out)
	if err == nil && len(out.Objects) > MaxObjects {
		return ObjectList{}, fmt.Errorf("list objects: a page of %d, want %d at most", len(out.Objects), MaxObjects)
	}
	return out, err
}

func timeText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// Get asks for leave to read one object; Fetch then reads it.
func (c *Client) Get(ctx context.Context, serial cloud.Serial, name string) (Download, error) {
	var out Download
	return out, c.call(ctx, "ask for object", http.MethodPost, cameraPath(serial)+"/get", GetRequest{Name: name}, &out)
}

// Delete removes one object.
func (c *Client) Delete(ctx context.Context, serial cloud.Serial, name string) error {
	path := cameraPath(serial) + "/objects?" + url.Values{"name": {name}}.Encode()
	return c.call(ctx, "delete object", http.MethodDelete, path, nil, &Empty{})
}

// Enrol gets a broker certificate for the key that signed csr (PEM).
func (c *Client) Enrol(ctx context.Context, csr string) (ClientCert, error) {
	var out ClientCert
	return out, c.call(ctx, "enrol client", http.MethodPost, "/v1/clients", ClientRequest{CSR: csr}, &out)
}

// Site tells where broker and storage are.
func (c *Client) Site(ctx context.Context) (Site, error) {
	var out Site
	return out, c.call(ctx, "ask for site", http.MethodGet, "/v1/site", nil, &out)
}

// Fetch reads a granted object from the storage, from d.Offset on, over https and
// without redirects. What it returns is the sealed object as the storage has it:
// the caller limits how much it reads, checks it, and closes the body.
func (c *Client) Fetch(ctx context.Context, d Download) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.URL, nil)
	if err != nil || req.URL.Scheme != "https" {
		return nil, errors.New("fetch object: the cloud gave an address that is not https")
	}
	for k, v := range d.Headers {
		req.Header.Set(k, v)
	}
	if d.Offset > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", d.Offset))
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("fetch object: storage %s: %w", req.URL.Host, bare(err))
	}
	if err := begins(resp, d.Offset); err != nil {
		resp.Body.Close()
		return nil, fmt.Errorf("fetch object: storage %s %w", req.URL.Host, err)
	}
	return resp.Body, nil
}

// begins makes sure that what comes begins at the offset, although a storage may
// ignore a Range (RFC 9110, 14.2).
func begins(resp *http.Response, offset int64) error {
	switch {
	case resp.StatusCode == http.StatusOK:
		_, err := io.CopyN(io.Discard, resp.Body, offset)
		if err != nil {
			err = fmt.Errorf("has less than %d bytes: %w", offset, bare(err))
		}
		return err
	case resp.StatusCode == http.StatusPartialContent && offset > 0:
		if !strings.HasPrefix(resp.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", offset)) {
			return errors.New("sent another part of the object than it was asked for")
		}
		return nil
	}
	e := &Error{Status: resp.StatusCode, Code: CodeBadRequest, Message: "answered " + resp.Status}
	switch {
	case resp.StatusCode == http.StatusNotFound:
		e.Code = CodeNotFound
	case resp.StatusCode >= 500:
		e.Code = CodeUnavailable
	}
	return e
}

func cameraPath(serial cloud.Serial) string { return "/v1/cameras/" + url.PathEscape(serial.Plain()) }

// call does one operation; doing says what for, in errors.
func (c *Client) call(ctx context.Context, doing, method, path string, in, out any) error {
	if err := c.try(ctx, method, path, in, out); err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	return nil
}

func (c *Client) try(ctx context.Context, method, path string, in, out any) error {
	req, err := c.request(ctx, method, path, in)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("cloud %s: %w", req.URL.Host, bare(err))
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, MaxResponse+1))
	if err != nil {
		return fmt.Errorf("cloud %s: %w", req.URL.Host, bare(err))
	}
	if len(body) > MaxResponse {
		return fmt.Errorf("cloud %s: answer larger than %d bytes", req.URL.Host, MaxResponse)
	}
	if resp.StatusCode/100 != 2 {
		return problem(resp, body)
	}
	if err := json.Unmarshal(body, out); err != nil {
		return fmt.Errorf("cloud %s: answer is not valid: %w", req.URL.Host, err)
	}
	return nil
}

func (c *Client) request(ctx context.Context, method, path string, in any) (*http.Request, error) {
	u, err := url.Parse(c.base + path)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
		return nil, errors.New("the cloud's address must be of the form https://host[:port]")
	}
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), body)
	if err != nil {
		return nil, err
	}
	// The token itself is needed here: it is what the cloud checks.
	req.Header.Set("Authorization", "Bearer "+c.token.Reveal())
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return req, nil
}

// problem makes an *Error of an answer that is not 2xx, whatever its body.
func problem(resp *http.Response, body []byte) error {
	var p Problem
	if json.Unmarshal(body, &p) != nil || p.Error.Message == "" {
		p.Error = Error{Code: CodeInternal, Message: "cloud answered " + resp.Status}
	}
	p.Error.Status = resp.StatusCode
	p.Error.Message = cloud.OneLine(p.Error.Message) // a hostile cloud's
	return &p.Error
}

// bare takes the address, which holds serials and signatures, out of an error
// of net/http. P8, S8.
func bare(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}
