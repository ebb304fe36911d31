// Package grant is camcloud's hand on the object storage: it signs requests for
// devices and apps, and lists and removes objects. It never reads one. The
// bucket's keys stay in here; who may have what, the caller decides.
package grant

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/signer"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/api"
)

// Limits of a grant.
const (
	Life    = 10 * time.Minute
	MaxSize = 64 << 20 // bytes of an object
)

// Options say where the bucket is.
type Options struct {
	Endpoint  string // host:port, as camcloud reaches it; https
	Public    string // host:port, as devices and apps reach it; empty: the same
	Region    string
	Bucket    string
	AccessKey string
	SecretKey cloud.Secret
	PathStyle bool           // https://host/bucket/key instead of https://bucket.host/key
	Roots     *x509.CertPool // nil: the system's
}

// Storage is safe for use by several goroutines.
type Storage struct {
	opt    Options
	inside *minio.Client // used by us
	host   string        // of signed addresses, as HTTP names it: without the port if it is 443
	folder string        // before the key: the bucket with path style
}

// New checks the options; it dials nothing.
func New(o Options) (*Storage, error) {
	if o.Public == "" {
		o.Public = o.Endpoint
	}
	if o.AccessKey == "" || o.SecretKey.IsZero() || o.Region == "" {
		return nil, errors.New("storage: access key, secret key and region are required: without them nothing is signed")
	}
	inside, err := client(o, o.Endpoint)
	if err != nil {
		return nil, err
	}
	s := &Storage{opt: o, inside: inside, host: strings.TrimSuffix(o.Public, ":443"), folder: "/" + o.Bucket}
	u, err := url.Parse("https://" + s.host)
	if err != nil || u.Host != s.host || u.Hostname() == "" {
		return nil, fmt.Errorf("storage: %q is not of the form host or host:port", o.Public)
	}
	if !o.PathStyle {
		if net.ParseIP(u.Hostname()) != nil {
			return nil, fmt.Errorf("storage: %s is an address: the bucket's name cannot stand before it, as it does without path style", o.Public)
		}
		s.host, s.folder = o.Bucket+"."+s.host, ""
	}
	return s, nil
}

func client(o Options, endpoint string) (*minio.Client, error) {
	lookup := minio.BucketLookupDNS
	if o.PathStyle {
		lookup = minio.BucketLookupPath
	}
	c, err := minio.New(endpoint, &minio.Options{
		Creds:        credentials.NewStaticV4(o.AccessKey, o.SecretKey.Reveal(), ""), // the signer's own need
		Secure:       true,
		Region:       o.Region, // given, so that signing asks nobody
		BucketLookup: lookup,
		MaxRetries:   2,
		Transport: &http.Transport{
			TLSClientConfig:       &tls.Config{RootCAs: o.Roots, MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout:   10 * time.Second,
			ResponseHeaderTimeout: 30 * time.Second,
			MaxIdleConnsPerHost:   16,
			IdleConnTimeout:       time.Minute,
		},
	})
	if err != nil {
		return nil, fmt.Errorf("storage %q: %w", endpoint, err)
	}
	return c, nil
}

// Public is what signed addresses name, host:port: what devices have among their
// storage hosts.
func (s *Storage) Public() string {
	if u := (url.URL{Host: s.host}); u.Port() == "" {
		return s.host + ":443"
	}
	return s.host
}

// Prepare makes the bucket if it is not there.
func (s *Storage) Prepare(ctx context.Context) error {
	ok, err := s.inside.BucketExists(ctx, s.opt.Bucket)
	if err == nil && !ok {
		err = s.inside.MakeBucket(ctx, s.opt.Bucket, minio.MakeBucketOptions{Region: s.opt.Region})
	}
	if err != nil {
		return fmt.Errorf("storage %s: bucket %q: %w", s.opt.Endpoint, s.opt.Bucket, err)
	}
	return nil
}

// objectName is what may follow <serial>/<bind id>/: up to four parts of
// letters, digits and . _ - that don't begin with a dot.
var objectName = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*){0,3}$`)

// ValidName tells whether name can be the name of an object.
func ValidName(name string) bool {
	return len(name) <= api.MaxName && objectName.MatchString(name)
}

// Check tells what is wrong with a request for a grant below prefix. S11.
func Check(r cloud.GrantRequest, prefix string) error {
	name, ok := strings.CutPrefix(r.Key, prefix)
	if !ok || !ValidName(name) {
		return errors.New("grant: the key must be <serial>/<bind id>/<name> of this camera and its present binding")
	}
	if r.Size < 1 || r.Size > MaxSize {
		return fmt.Errorf("grant: size %d, want 1 to %d bytes", r.Size, MaxSize)
	}
	if sum, err := hex.DecodeString(r.SHA256); err != nil || len(sum) != 32 || hex.EncodeToString(sum) != r.SHA256 {
		return errors.New("grant: sha256 must be 64 hex digits in lower case")
	}
	return nil
}

// Put signs a grant for a request that was checked: to put exactly this object,
// if there is none of that name, and to look whether it is there. M4.
func (s *Storage) Put(_ context.Context, r cloud.GrantRequest) (cloud.Grant, error) {
	sum, err := hex.DecodeString(r.SHA256)
	if err != nil {
		return cloud.Grant{}, err
	}
	// Measured before signing: never later than what the storage goes by.
	expires := time.Now().Add(Life).Unix()
	put := s.sign(http.MethodPut, r.Key, Life, map[string]string{
		"Content-Length":        strconv.FormatInt(r.Size, 10),
		"If-None-Match":         "*",
		"X-Amz-Checksum-Sha256": base64.StdEncoding.EncodeToString(sum),
	})
	head := s.sign(http.MethodHead, r.Key, Life, map[string]string{"X-Amz-Checksum-Mode": "ENABLED"})
	return cloud.Grant{Put: put, Head: head, Expires: expires}, nil
}

// Get signs a request to read the object key.
func (s *Storage) Get(_ context.Context, key string) (api.Download, error) {
	expires := time.Now().Add(Life).Unix()
	req := s.sign(http.MethodGet, key, Life, nil)
	return api.Download{URL: req.URL, Headers: req.Headers, Expires: expires}, nil
}

// sign makes an address by which whoever has it can do this one thing for so
// long, with exactly these headers (Signature Version 4 in the query). It asks
// nobody. The key has no character that needs escaping: see ValidName.
func (s *Storage) sign(method, key string, life time.Duration, headers map[string]string) cloud.Request {
	req := http.Request{Method: method, Host: s.host, Header: http.Header{}, URL: &url.URL{Scheme: "https", Host: s.host, Path: s.folder + "/" + key}}
	for k, v := range headers {
		req.Header.Set(k, v)
	}
	signed := signer.PreSignV4(req, s.opt.AccessKey, s.opt.SecretKey.Reveal(), "", s.opt.Region, int64(life/time.Second)) // the signer's own need
	return cloud.Request{Method: method, URL: signed.URL.String(), Headers: headers}
}

// List returns a page of the objects below prefix (which ends in a slash), with
// names relative to it.
func (s *Storage) List(ctx context.Context, prefix string, q api.ObjectQuery) (api.ObjectList, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	opts := minio.ListObjectsOptions{Prefix: prefix + q.Prefix, Recursive: true, MaxKeys: q.Limit + 1}
	if q.After != "" {
		opts.StartAfter = prefix + q.After
	}
	page := api.ObjectList{Objects: []api.Object{}}
	for o := range s.inside.ListObjectsIter(ctx, s.opt.Bucket, opts) {
		if o.Err != nil {
			return page, fmt.Errorf("list objects: %w", bare(o.Err))
		}
		if len(page.Objects) == q.Limit {
			page.Next = page.Objects[q.Limit-1].Name
			break
		}
		name := strings.TrimPrefix(o.Key, prefix)
		page.Objects = append(page.Objects, api.Object{Name: name, Size: o.Size, Modified: o.LastModified.Unix()})
	}
	return page, nil
}

// Exists tells whether there is an object key.
func (s *Storage) Exists(ctx context.Context, key string) (bool, error) {
	_, err := s.inside.StatObject(ctx, s.opt.Bucket, key, minio.StatObjectOptions{})
	if e := minio.ToErrorResponse(err); err != nil && e.StatusCode == http.StatusNotFound {
		return false, nil
	}
	return err == nil, bare(err)
}

// Delete removes the object key; one that isn't there is no error.
func (s *Storage) Delete(ctx context.Context, key string) error {
	return bare(s.inside.RemoveObject(ctx, s.opt.Bucket, key, minio.RemoveObjectOptions{}))
}

// bare takes the address, which holds a serial, out of an error of net/http. P8.
func bare(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}
