// Package bucket reads a camera's objects from the bare bucket, without the cloud
// that signs for it: whoever has the bucket's keys can always get at their clips.
// It lists and reads, and never writes. What it hands over is sealed and
// unverified, as any fetch.Source does.
package bucket

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/api"
)

// The environment, by the names that all S3 programs know.
const (
	envKey     = "AWS_ACCESS_KEY_ID"
	envSecret  = "AWS_SECRET_ACCESS_KEY"
	envSession = "AWS_SESSION_TOKEN"
	envRoots   = "AWS_CA_BUNDLE"
)

// Bucket is a fetch.Source of one binding's objects. Safe for concurrent use.
type Bucket struct {
	client *minio.Client
	tr     *http.Transport
	name   string
	bindID string
}

// Open checks the address, https://host[:port]/bucket[?region=…], and takes keys
// and certificates from the environment; lookup is os.LookupEnv. Nothing is dialled.
func Open(address, bindID string, lookup func(string) (string, bool)) (*Bucket, error) {
	u, err := url.Parse(address)
	name := ""
	if err == nil {
		name = strings.Trim(u.Path, "/")
	}
	// The address is not repeated: it may hold what should be in the environment.
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.Fragment != "" || name == "" || strings.Contains(name, "/") {
		return nil, errors.New("--bucket: the address must be of the form https://host[:port]/bucket[?region=REGION]")
	}
	env := func(names ...string) string {
		for _, n := range names {
			if v, ok := lookup(n); ok && v != "" {
				return v
			}
		}
		return ""
	}
	if env(envKey) == "" || env(envSecret) == "" {
		return nil, fmt.Errorf("--bucket: set %s and %s", envKey, envSecret)
	}
	roots, err := readRoots(env(envRoots))
	if err != nil {
		return nil, err
	}
	region := u.Query().Get("region")
	if region == "" {
		region = env("AWS_REGION", "AWS_DEFAULT_REGION")
	}
	if region == "" {
		region = "us-east-1"
	}
	b := &Bucket{name: name, bindID: bindID, tr: &http.Transport{
		DialContext:            (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSClientConfig:        &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    10 * time.Second,
		ResponseHeaderTimeout:  30 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
		MaxIdleConnsPerHost:    16,
		IdleConnTimeout:        30 * time.Second,
	}}
	b.client, err = minio.New(u.Host, &minio.Options{
		Creds:        credentials.NewStaticV4(env(envKey), env(envSecret), env(envSession)),
		Secure:       true,
		Region:       region, // given, so that nobody is asked for it
		BucketLookup: minio.BucketLookupPath,
		MaxRetries:   2,
		Transport:    bounded{b.tr},
	})
	if err != nil {
		return nil, fmt.Errorf("--bucket: %w", err)
	}
	return b, nil
}

func readRoots(path string) (*x509.CertPool, error) {
	if path == "" {
		return nil, nil //nolint:nilnil // the system's
	}
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", envRoots, err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s: %s: no PEM certificate in it", envRoots, path)
	}
	return pool, nil
}

// maxAnswer bounds a list, in bytes, which is taken into memory whole; one of
// api.MaxObjects has less than 1 MB. R6.
const maxAnswer = 4 << 20

// bounded ends lists that have no end. Who reads an object counts, and of refusals
// the client takes a piece only.
type bounded struct{ http.RoundTripper }

func (b bounded) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := b.RoundTripper.RoundTrip(req)
	if err == nil && req.URL.Query().Has("list-type") {
		resp.Body = &endless{resp.Body, maxAnswer}
	}
	return resp, err
}

// endless is the body of an answer that may have no end.
type endless struct {
	io.ReadCloser
	left int
}

func (e *endless) Read(b []byte) (int, error) {
	if e.left == 0 {
		return 0, fmt.Errorf("the answer is larger than %d bytes", maxAnswer)
	}
	n, err := e.ReadCloser.Read(b[:min(len(b), e.left)])
	e.left -= n
	return n, err
}

// Close drops idle connections.
func (b *Bucket) Close() { b.tr.CloseIdleConnections() }

// Objects lists a page.
func (b *Bucket) Objects(ctx context.Context, serial cloud.Serial, q api.ObjectQuery) (api.ObjectList, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if q.Limit <= 0 || q.Limit > api.MaxObjects {
		q.Limit = api.MaxObjects
	}
	prefix := cloud.ObjectKey(serial, b.bindID, "")
	opts := minio.ListObjectsOptions{Prefix: prefix + q.Prefix, Recursive: true, MaxKeys: q.Limit + 1}
	if begin := q.Begin(); begin != "" {
		opts.StartAfter = prefix + begin
	}
	var page api.ObjectList
	for o := range b.client.ListObjectsIter(ctx, b.name, opts) {
		if o.Err != nil {
			return page, fmt.Errorf("list bucket: %w", b.explain(o.Err))
		}
		if name := strings.TrimPrefix(o.Key, prefix); !q.Past(name) {
			page.Objects = append(page.Objects, api.Object{Name: name, Size: o.Size, Modified: o.LastModified.Unix()})
		} else {
			return page, nil
		}
		if len(page.Objects) == q.Limit {
			page.Next = page.Objects[q.Limit-1].Name
			break
		}
	}
	return page, nil
}

// Get names the object; nobody has to be asked.
func (b *Bucket) Get(_ context.Context, serial cloud.Serial, name string) (api.Download, error) {
	return api.Download{URL: cloud.ObjectKey(serial, b.bindID, name)}, nil
}

// Fetch reads an object from d.Offset on.
func (b *Bucket) Fetch(ctx context.Context, d api.Download) (io.ReadCloser, error) {
	opts := minio.GetObjectOptions{}
	if d.Offset > 0 {
		if err := opts.SetRange(d.Offset, 0); err != nil {
			return nil, fmt.Errorf("read bucket: %w", err)
		}
	}
	// Not GetObject, which asks first and reads ahead in a goroutine.
	body, info, header, err := (&minio.Core{Client: b.client}).GetObject(ctx, b.name, d.URL, opts)
	if err != nil {
		return nil, fmt.Errorf("read bucket: %w", b.explain(err))
	}
	if d.Offset > 0 && !strings.HasPrefix(header.Get("Content-Range"), fmt.Sprintf("bytes %d-", d.Offset)) {
		if _, err := io.CopyN(io.Discard, body, d.Offset); err != nil {
			body.Close()
			return nil, fmt.Errorf("read bucket: an object of %d bytes has less than %d: %w", info.Size, d.Offset, err)
		}
	}
	return body, nil
}

// explain makes one line of S3's errors. What the storage refuses is an *api.Error,
// so that it is not tried again.
func (b *Bucket) explain(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return fmt.Errorf("storage %s: %w", b.client.EndpointURL().Host, e.Err)
	}
	e := minio.ToErrorResponse(err)
	if e.StatusCode == 0 {
		return err
	}
	refusal := &api.Error{Status: e.StatusCode, Code: api.CodeBadRequest, Message: cloud.OneLine(fmt.Sprintf("storage %s: %s",
		b.client.EndpointURL().Host, e.Message))}
	if e.StatusCode == http.StatusNotFound {
		refusal.Code = api.CodeNotFound
	}
	switch e.Code {
	case "NoSuchBucket":
		refusal.Message = fmt.Sprintf("there is no bucket %.63q at %s", b.name, b.client.EndpointURL().Host)
	case "NoSuchKey":
		refusal.Message = "no such object in the bucket"
	case "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch":
		refusal.Message = fmt.Sprintf("the storage refuses the keys (%s): are %s and %s right, and the region?", e.Code, envKey, envSecret)
	}
	return refusal
}
