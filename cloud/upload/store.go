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
	"net/http/httptrace"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"iid2secure.nl/camagent/cloud"
)

// store sends presigned requests, and knows nothing of grants.
type store struct {
	rt    *http.Transport
	stall time.Duration
}

func newStore(cfg Config) *store {
	s := &store{stall: cfg.Stall}
	dialer := &net.Dialer{Timeout: cfg.Stall}
	if !cfg.AllowPrivate {
		dialer.Control = publicOnly
	}
	dial := dialer.DialContext
	if cfg.dial != nil {
		dial = cfg.dial
	}
	t := &tls.Config{RootCAs: cfg.Roots, MinVersion: tls.VersionTLS13}
	if cfg.Secure != nil {
		t = cfg.Secure(t)
	}
	s.rt = &http.Transport{
		Proxy:       nil, // no proxy of the environment
		DialContext: newLines(cfg.Bandwidth).dial(dial),
		// No client certificate, whoever asks for one; our own roots. P4
		TLSClientConfig:        t,
		TLSHandshakeTimeout:    cfg.Stall,
		MaxIdleConnsPerHost:    senders,
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

// put sends the object, and returns the answer's status if that is one after
// which something may be there: 412 is no error.
func (s *store) put(ctx context.Context, r cloud.Request, b *cardBody) (int, error) {
	resp, err := s.send(ctx, r, b, b.size)
	if card := b.failure(); card != nil {
		return 0, card
	}
	if err != nil {
		return 0, fmt.Errorf("PUT: %w", err)
	}
	switch resp.StatusCode {
	case http.StatusOK, http.StatusCreated, http.StatusNoContent, http.StatusPreconditionFailed:
		return resp.StatusCode, nil
	}
	return resp.StatusCode, newStatusError("PUT", resp.Response, resp.text)
}

// look asks what is in the store under our name.
func (s *store) look(ctx context.Context, r cloud.Request, want expectation) error {
	resp, err := s.send(ctx, r, nil, 0)
	if err != nil {
		return fmt.Errorf("HEAD: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return newStatusError("HEAD", resp.Response, resp.text)
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

// answer is a response whose body has been dealt with.
type answer struct {
	*http.Response
	text []byte // the beginning of an error's body
}

// send makes one request. It gives up when nothing moves on its connection.
func (s *store) send(ctx context.Context, r cloud.Request, body io.Reader, size int64) (answer, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var on atomic.Pointer[line]
	trace := &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { on.Store(lineOf(i.Conn)) }}
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, trace), r.Method, r.URL, body)
	if err != nil {
		return answer{}, fmt.Errorf("%w: not a valid request", ErrGrant)
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
	watch.Go(func() { stalled(stop, s.stall, on.Load, func() { cancel(ErrStalled) }) })
	defer watch.Wait()
	defer close(stop)
	resp, err := s.rt.RoundTrip(req) // follows no redirect
	if err != nil {
		return answer{}, withCause(ctx, err)
	}
	defer resp.Body.Close()
	// So that the connection can be used again; never more than a little.
	if resp.StatusCode >= 300 {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswer)) // the status is enough
		return answer{resp, text}, nil
	}
	if _, err := io.Copy(io.Discard, io.LimitReader(resp.Body, maxAnswer)); err != nil {
		return answer{}, withCause(ctx, err)
	}
	return answer{resp, nil}, nil
}

// maxAnswer is how much is read of an answer's body.
const maxAnswer = 16 << 10

// withCause names what ended the request, instead of "context canceled".
func withCause(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && errors.Is(err, context.Canceled) {
		return cause
	}
	return err
}

// cardBody reads exactly size bytes from the card. It tells the card's failures
// from the line's, and how far it is.
type cardBody struct {
	r      io.Reader
	size   int64
	urgent bool
	way    func() error // waits a little while something more urgent is sent

	sent atomic.Int64
	mu   sync.Mutex // the transport may still read while send returns
	card error
}

func (b *cardBody) Read(p []byte) (int, error) {
	left := b.size - b.sent.Load()
	if left == 0 {
		return 0, io.EOF
	}
	if !b.urgent {
		if err := b.way(); err != nil {
			return 0, err
		}
	}
	n, err := b.r.Read(p[:min(int64(len(p)), left)])
	left = b.size - b.sent.Add(int64(n))
	if err != nil && (err != io.EOF || left > 0) {
		b.fail(err)
		return n, errCard
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
