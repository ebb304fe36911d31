package onboard

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/bluenviron/gortsplib/v4/pkg/base"
)

// source is a Source that was checked.
type source struct {
	stream string
	url    *base.URL // with user and password
	addr   string    // host:port
	shown  string    // what errors name it
	path   string    // the part of shown behind addr
	user   bool
}

func newSource(s Source) (source, error) {
	if order(s.Stream) < 0 {
		return source{}, errors.New(`unknown stream, want "main" or "sub"`)
	}
	u, err := parse(s.URL, "rtsp", "554")
	if err != nil {
		return source{}, err
	}
	if err := checkSecrets(s.User, s.Password); err != nil {
		return source{}, err
	}
	src := source{stream: s.Stream, addr: address(u, "554"), path: shownPath(u), user: s.User != ""}
	src.shown = "rtsp://" + src.addr + src.path
	if src.user {
		u.User = url.UserPassword(s.User, s.Password)
	}
	src.url = (*base.URL)(u)
	return src, nil
}

// parse checks a URL. Its errors don't repeat it, as it may hold a password.
func parse(text, scheme, port string) (*url.URL, error) {
	want := fmt.Sprintf("want %s://host[:port]/path", scheme)
	if text == "" {
		return nil, errors.New("no url, " + want)
	}
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return nil, errors.New("url can't be read, " + want)
	case u.User != nil:
		return nil, errors.New("url holds a user or a password, want them in user and password alone")
	case u.Scheme != scheme:
		return nil, fmt.Errorf("url has scheme %q, %s", u.Scheme, want)
	case u.Hostname() == "" || u.Opaque != "" || u.Fragment != "":
		return nil, errors.New("url has no host, or a fragment, " + want)
	}
	if _, err := net.LookupPort("tcp", orElse(u.Port(), port)); err != nil {
		return nil, fmt.Errorf("url has port %q, want 1 to 65535", u.Port())
	}
	return u, nil
}

func address(u *url.URL, port string) string {
	return net.JoinHostPort(u.Hostname(), orElse(u.Port(), port))
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// shownPath is the path without what may be a secret: queries, and what stands
// behind "pass" (some streamers want user and password there).
func shownPath(u *url.URL) string {
	p := u.EscapedPath()
	if i := strings.Index(strings.ToLower(p), "pass"); i >= 0 {
		return p[:i] + "[redacted]"
	}
	return p
}

// checkSecrets refuses what can't stand in a header.
func checkSecrets(user, password string) error {
	switch {
	case user == "" && password != "":
		return errors.New("a password without a user, want both")
	case strings.ContainsAny(user, `":\`) || !plain(user):
		return errors.New(`user holds a control character, a quote, a backslash or a colon, want none of them`)
	case !plain(password):
		return errors.New("password holds a control character, want none")
	}
	return nil
}

func plain(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}
