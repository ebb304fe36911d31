package onboard

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"syscall"
	"time"

	"iid2secure.nl/camagent/hal"
)

// maxSnapshot is the largest picture that is taken.
const maxSnapshot = 8 << 20

// still takes pictures by HTTP. A connection serves one picture: streamers have
// few of them.
type still struct {
	url      *url.URL
	shown    string
	addr     string
	user     string
	password string
	timeout  time.Duration
}

func newStill(text, user, password string, timeout time.Duration) (*still, error) {
	u, err := parse(text, "http", "80")
	if err != nil {
		return nil, err
	}
	if err := checkSecrets(user, password); err != nil {
		return nil, err
	}
	s := &still{url: u, addr: address(u, "80"), user: user, password: password, timeout: timeout}
	s.shown = "http://" + s.addr + shownPath(u)
	return s, nil
}

// Snapshot implements [hal.Snapshotter].
func (s *still) Snapshot(ctx context.Context) ([]byte, error) {
	ctx, cancel := within(ctx, s.timeout)
	defer cancel()
	picture, err := s.fetch(ctx)
	if err != nil && context.Cause(ctx) != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("onboard board, snapshot: %s: %w", s.shown, err)
	}
	return picture, nil
}

// fetch asks for the picture, and once more with the password if the streamer
// wants it.
func (s *still) fetch(ctx context.Context) ([]byte, error) {
	transport := &http.Transport{DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10}
	defer transport.CloseIdleConnections()
	res, err := s.get(ctx, transport, "")
	if err != nil {
		return nil, err
	}
	if res.StatusCode == http.StatusUnauthorized && s.user != "" {
		res.Body.Close()
		proof, err := authorize(res.Header.Values("WWW-Authenticate"), http.MethodGet, s.url.RequestURI(), s.user, s.password)
		if err != nil {
			return nil, err
		}
		if res, err = s.get(ctx, transport, proof); err != nil {
			return nil, err
		}
	}
	defer res.Body.Close()
	if err := s.check(res.StatusCode); err != nil {
		return nil, err
	}
	return readJPEG(res.Body)
}

func (s *still) get(ctx context.Context, t *http.Transport, proof string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url.String(), nil)
	if err != nil {
		return nil, errors.New("url can't be asked for")
	}
	if proof != "" {
		req.Header.Set("Authorization", proof)
	}
	res, err := t.RoundTrip(req) // which follows no redirect
	var timeout net.Error
	switch {
	case err == nil:
		return res, nil
	case errors.Is(err, syscall.ECONNREFUSED):
		return nil, unheard(s.addr)
	case errors.As(err, &timeout) && timeout.Timeout():
		return nil, fmt.Errorf("%w: the streamer did not answer for %v", hal.ErrGone, s.timeout)
	}
	return nil, fmt.Errorf("%w: %s", hal.ErrGone, printable(err))
}

func (s *still) check(status int) error {
	switch {
	case status == http.StatusOK:
		return nil
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return refused(s.user != "")
	case status == http.StatusNotFound:
		return fmt.Errorf("%w: the streamer has no picture there", hal.ErrNotFound)
	case status >= 300 && status < 400:
		return fmt.Errorf("%w: the streamer redirects with %d, want the URL of the picture itself", hal.ErrNotFound, status)
	}
	return fmt.Errorf("%w: the streamer answers with %d", hal.ErrGone, status)
}

var errNoJPEG = errors.New("what the streamer gives is not a JPEG")

// readJPEG reads a picture, if it begins as one (SOI and another marker).
func readJPEG(r io.Reader) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxSnapshot+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: the picture broke off after %d bytes: %s", hal.ErrGone, len(b), printable(err))
	case !bytes.HasPrefix(b, []byte{0xff, 0xd8, 0xff}):
		return nil, fmt.Errorf("%w, it begins with % x", errNoJPEG, b[:min(len(b), 3)])
	case len(b) > maxSnapshot:
		return nil, fmt.Errorf("the picture is larger than %d bytes, want a smaller one", maxSnapshot)
	}
	return b, nil
}
