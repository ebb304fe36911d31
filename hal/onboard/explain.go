package onboard

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"strings"
	"syscall"

	"github.com/bluenviron/gortsplib/v4/pkg/base"
	"github.com/bluenviron/gortsplib/v4/pkg/liberrors"

	"iid2secure.nl/camagent/hal"
)

// explain turns what went wrong while a session began into one line that says
// what to do, of one of hal's kinds.
func (s *session) explain(err error) error {
	if over := context.Cause(s.ctx); over != nil {
		return fmt.Errorf("%s: %w", s.src.shown, over)
	}
	var status liberrors.ErrClientBadStatusCode
	var auth liberrors.ErrClientAuthSetup
	var sdp liberrors.ErrClientSDPInvalid
	var udp liberrors.ErrClientServerRequestedUDP
	var dial *net.OpError
	switch {
	case errors.Is(err, hal.ErrGarbage), errors.Is(err, hal.ErrNotFound), errors.Is(err, hal.ErrUnable): // by choose
	case errors.Is(err, syscall.ECONNREFUSED):
		return unheard(s.src.addr)
	case errors.As(err, &status):
		err = s.status(status.Code)
	case errors.As(err, &auth):
		err = errScheme
	case errors.As(err, &udp):
		err = fmt.Errorf("%w: %w", hal.ErrUnable, errUDP)
	case errors.As(err, &sdp):
		err = fmt.Errorf("%w: the streamer's description can't be read: %s", hal.ErrGarbage, printable(sdp.Err))
	case errors.Is(err, errRedirect):
		err = fmt.Errorf("%w: %w", hal.ErrNotFound, err)
	case errors.As(err, &dial):
		err = fmt.Errorf("%w: %s", hal.ErrGone, printable(err))
	case errors.Is(err, io.EOF):
		err = fmt.Errorf("%w: the connection was ended: is its RTSP server at %s?", hal.ErrGone, s.src.addr)
	default:
		err = fmt.Errorf("%w: %s: is its RTSP server at %s?", hal.ErrGone, printable(err), s.src.addr)
	}
	return fmt.Errorf("%s: %w", s.src.shown, err)
}

var errUDP = errors.New("the streamer gives RTP by UDP alone")

// status explains an answer that is not 200.
func (s *session) status(code base.StatusCode) error {
	switch {
	case code == base.StatusUnauthorized || code == base.StatusForbidden:
		return refused(s.src.user)
	case code == base.StatusNotFound:
		return fmt.Errorf("%w: the streamer has no stream at path %q", hal.ErrNotFound, s.src.path)
	case code == base.StatusUnsupportedTransport:
		return fmt.Errorf("%w: %w", hal.ErrUnable, errUDP)
	case code == base.StatusServiceUnavailable || code == base.StatusNotEnoughBandwidth:
		return fmt.Errorf("%w: the streamer answers %d: has it too many viewers, or is it still starting?", hal.ErrBusy, code)
	}
	return fmt.Errorf("%w: the streamer answers %s with %d", hal.ErrGone, s.asks(), code)
}

// errScheme is of streamers that want another proof than a password.
var errScheme = fmt.Errorf("%w: the streamer asks for an authentication that is neither Basic nor Digest", fs.ErrPermission)

// refused explains a streamer that lets nobody in; known: with the configured user.
func refused(known bool) error {
	if known {
		return fmt.Errorf("%w: the streamer refuses the configured user and password", fs.ErrPermission)
	}
	return fmt.Errorf("%w: the streamer asks for a user and a password, and none is configured", fs.ErrPermission)
}

// unheard explains an address where nobody is.
func unheard(addr string) error {
	return fmt.Errorf("%w: nothing listens on %s: is the streamer running?", hal.ErrGone, addr)
}

// printable is an error's text on one line, and not for ever.
func printable(err error) string {
	text := strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, err.Error())
	return fmt.Sprintf("%.200s", text)
}
