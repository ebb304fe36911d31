package upload

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"golang.org/x/time/rate"

	"iid2secure.nl/camagent/cloud"
)

// minBandwidth is the smallest cap: below it, a chunk takes longer than a stall.
const minBandwidth = 4 << 10

// chunk is how much is read from the card, and let through by the cap, at once.
const chunk = 16 << 10

// store sends presigned requests, and knows nothing of grants.
type store struct {
	rt    *http.Transport
	limit *rate.Limiter // nil: none
	stall time.Duration
	lines lines
}

func newStore(cfg Config) *store {
	s := &store{stall: cfg.Stall}
	if cfg.Bandwidth > 0 {
		s.limit = rate.NewLimiter(rate.Limit(cfg.Bandwidth), int(min(chunk, cfg.Bandwidth)))
	}
	dialer := &net.Dialer{Timeout: cfg.Stall}
	if !cfg.AllowPrivate {
		dialer.Control = publicOnly
	}
	s.rt = &http.Transport{
		Proxy:       nil, // no proxy of the environment
		DialContext: s.lines.dial(dialer),
		// No client certificate, whoever asks for one; our own roots. P4
		TLSClientConfig:        &tls.Config{RootCAs: cfg.Roots, MinVersion: tls.VersionTLS13},
		TLSHandshakeTimeout:    cfg.Stall,
		MaxIdleConnsPerHost:    1,
		IdleConnTimeout:        time.Minute,
		MaxResponseHeaderBytes: 32 << 10,
		DisableCompression:     true,
		WriteBufferSize:        64 << 10,
	}
	return s
}

func (s *store) close() { s.rt.CloseIdleConnections() }

// publicOnly runs after name resolution, so no name can point inside. S11
func publicOnly(_, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("storage address: %w", err)
	}
	a := ap.Addr().Unmap()
	if !a.IsGlobalUnicast() || a.IsPrivate() || sharedSpace.Contains(a) {
		return fmt.Errorf("%w: the storage host has the private address %s", ErrGrant, a)
	}
	return nil
}

// sharedSpace is carrier-grade NAT's, RFC 6598.
var sharedSpace = netip.MustParsePrefix("100.64.0.0/10")

// put sends the object. 412 is no error: something is there, the look decides.
func (s *store) put(ctx context.Context, r cloud.Request, body io.Reader, size int64) error {
	b := &cardBody{ctx: ctx, r: body, left: size, limit: s.limit}
	resp, err := s.send(ctx, r, b, size)
	if card := b.failure(); card != nil {
		return card
	}
	if err != nil {
		return fmt.Errorf("PUT: %w", err)
	}
	switch resp.StatusCode {
	case http.StatusOK, http.StatusCreated, http.StatusNoContent, http.StatusPreconditionFailed:
		return nil
	}
	return newStatusError("PUT", resp)
}

// look asks what is in the store under our name.
func (s *store) look(ctx context.Context, r cloud.Request, want expectation) error {
	resp, err := s.send(ctx, r, nil, 0)
	if err != nil {
		return fmt.Errorf("HEAD: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return newStatusError("HEAD", resp)
	}
	sum := resp.Header.Get(headerSHA256)
	if sum == "" {
		return errors.New("HEAD: the store does not tell the checksum")
	}
	if sum != want.sum64 || resp.ContentLength != want.request.Size {
		return fmt.Errorf("%w: %d bytes, expected %d, or another checksum", ErrMismatch, resp.ContentLength, want.request.Size)
	}
	return nil
}

// send makes one request; the response's body has been dealt with.
func (s *store) send(ctx context.Context, r cloud.Request, body io.Reader, size int64) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	req, err := http.NewRequestWithContext(ctx, r.Method, r.URL, body)
	if err != nil {
		return nil, fmt.Errorf("%w: not a valid request", ErrGrant)
	}
	req.ContentLength = size
	if size == 0 {
		req.Body = http.NoBody
	}
	for name, value := range r.Headers {
		if !is(name, "Content-Length") { // said by net/http
			req.Header.Set(name, value)
		}
	}
	var watch sync.WaitGroup
	stop := make(chan struct{})
	watch.Go(func() { s.lines.watch(stop, s.stall, func() { cancel(ErrStalled) }) })
	defer watch.Wait()
	defer close(stop)
	resp, err := s.rt.RoundTrip(req) // follows no redirect
	if err != nil {
		return nil, withCause(ctx, err)
	}
	defer resp.Body.Close()
	// So that the connection can be used again; never more than a little.
	_, err = io.Copy(io.Discard, io.LimitReader(resp.Body, 16<<10))
	if err != nil && resp.StatusCode < 300 {
		return nil, withCause(ctx, err)
	}
	return resp, nil
}

// withCause names what ended the request, instead of "context canceled".
func withCause(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && errors.Is(err, context.Canceled) {
		return cause
	}
	return err
}

// cardBody reads exactly left bytes from the card, in small steps so that the
// cap holds in bursts, too. It tells the card's failures from the line's.
type cardBody struct {
	ctx   context.Context
	r     io.Reader
	left  int64
	limit *rate.Limiter // nil: none

	mu   sync.Mutex // the transport may still read while send returns
	card error
}

func (b *cardBody) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, io.EOF
	}
	p = p[:min(int64(len(p)), b.left)]
	if b.limit != nil {
		p = p[:min(len(p), b.limit.Burst())]
	}
	n, err := b.r.Read(p)
	b.left -= int64(n)
	if err != nil && (err != io.EOF || b.left > 0) {
		b.fail(err)
		return n, errCard
	}
	if b.limit != nil && n > 0 {
		if err := b.limit.WaitN(b.ctx, n); err != nil {
			return 0, err
		}
	}
	return n, nil
}

func (b *cardBody) fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if errors.Is(err, fs.ErrClosed) {
		return // the answer came before we had read everything
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	b.card = fmt.Errorf("%w: %w", errCard, err)
}

func (b *cardBody) failure() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.card
}
