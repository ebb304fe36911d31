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
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

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
	public *minio.Client // signs for others, and is never dialled
}

// New checks the options; it dials nothing.
func New(o Options) (*Storage, error) {
	if o.Public == "" {
		o.Public = o.Endpoint
	}
	inside, err := client(o, o.Endpoint)
	if err != nil {
		return nil, err
	}
	public, err := client(o, o.Public)
	return &Storage{o, inside, public}, err
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

// Public is where devices and apps reach the storage, host:port.
func (s *Storage) Public() string { return s.opt.Public }

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
func (s *Storage) Put(ctx context.Context, r cloud.GrantRequest) (cloud.Grant, error) {
	sum, err := hex.DecodeString(r.SHA256)
	if err != nil {
		return cloud.Grant{}, err
	}
	// Measured before signing: never later than what the storage goes by.
	expires := time.Now().Add(Life).Unix()
	put, err := s.sign(ctx, http.MethodPut, r.Key, map[string]string{
		"Content-Length":        strconv.FormatInt(r.Size, 10),
		"If-None-Match":         "*",
		"X-Amz-Checksum-Sha256": base64.StdEncoding.EncodeToString(sum),
	})
	if err != nil {
		return cloud.Grant{}, err
	}
	head, err := s.sign(ctx, http.MethodHead, r.Key, map[string]string{"X-Amz-Checksum-Mode": "ENABLED"})
	return cloud.Grant{Put: put, Head: head, Expires: expires}, err
}

// Get signs a request to read the object key.
func (s *Storage) Get(ctx context.Context, key string) (api.Download, error) {
	expires := time.Now().Add(Life).Unix()
	req, err := s.sign(ctx, http.MethodGet, key, nil)
	return api.Download{URL: req.URL, Headers: req.Headers, Expires: expires}, err
}

func (s *Storage) sign(ctx context.Context, method, key string, headers map[string]string) (cloud.Request, error) {
	h := http.Header{}
	for k, v := range headers {
		h.Set(k, v)
	}
	u, err := s.public.PresignHeader(ctx, method, s.opt.Bucket, key, Life, url.Values{}, h)
	if err != nil {
		return cloud.Request{}, fmt.Errorf("sign %s: %w", method, err)
	}
	return cloud.Request{Method: method, URL: u.String(), Headers: headers}, nil
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
