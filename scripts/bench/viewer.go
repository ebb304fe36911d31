package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/bluenviron/gortsplib/v4/pkg/auth"
	"github.com/bluenviron/gortsplib/v4/pkg/base"
)

// viewer is a light RTSP client for the video of one stream over TCP: a hundred
// of them take less of the machine than the server that is measured.
type viewer struct {
	conn    *net.TCPConn
	br      *bufio.Reader // until PLAY is answered
	url     *base.URL     // without the credential
	user    string
	secret  string
	sender  *auth.Sender
	session string
	cseq    int
	*receiver
}

// patience is how long a viewer waits for a server.
const patience = 10 * time.Second

func dial(address string, f *film) (*viewer, error) {
	u, err := base.ParseURL(address)
	if err != nil {
		return nil, err
	}
	c, err := net.DialTimeout("tcp", u.Host, patience)
	if err != nil {
		return nil, err
	}
	v := &viewer{conn: c.(*net.TCPConn), br: bufio.NewReader(c), url: u.CloneWithoutCredentials(), receiver: newReceiver(f)}
	if u.User != nil {
		v.user = u.User.Username()
		v.secret, _ = u.User.Password()
	}
	return v, nil
}

// play goes from DESCRIBE to PLAY.
func (v *viewer) play() error {
	v.conn.SetDeadline(time.Now().Add(patience))
	res, err := v.ask(base.Describe, v.url, nil)
	if err != nil {
		return err
	}
	control, err := v.control(res)
	if err != nil {
		return err
	}
	if _, err = v.ask(base.Setup, control, base.Header{"Transport": base.HeaderValue{"RTP/AVP/TCP;unicast;interleaved=0-1"}}); err != nil {
		return err
	}
	_, err = v.ask(base.Play, v.url, nil)
	return err
}

// ask makes a request, answers the challenge if there is one, and wants success.
func (v *viewer) ask(method base.Method, u *base.URL, h base.Header) (*base.Response, error) {
	for {
		res, err := v.try(method, u, h)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", method, err)
		}
		if res.StatusCode == base.StatusUnauthorized && v.sender == nil && v.user != "" {
			if v.sender, err = auth.NewSender(res.Header["WWW-Authenticate"], v.user, v.secret); err != nil {
				return nil, err
			}
			continue
		}
		if res.StatusCode != base.StatusOK {
			return nil, fmt.Errorf("%s: %d %s", method, res.StatusCode, res.StatusMessage)
		}
		if s := res.Header["Session"]; len(s) == 1 {
			v.session, _, _ = strings.Cut(s[0], ";")
		}
		return res, nil
	}
}

func (v *viewer) try(method base.Method, u *base.URL, h base.Header) (*base.Response, error) {
	if err := v.write(method, u, h); err != nil {
		return nil, err
	}
	var res base.Response
	return &res, res.Unmarshal(v.br)
}

func (v *viewer) write(method base.Method, u *base.URL, h base.Header) error {
	req := base.Request{Method: method, URL: u, Header: base.Header{}}
	for k, value := range h {
		req.Header[k] = value
	}
	v.cseq++
	req.Header["CSeq"] = base.HeaderValue{strconv.Itoa(v.cseq)}
	if v.session != "" {
		req.Header["Session"] = base.HeaderValue{v.session}
	}
	if v.sender != nil {
		v.sender.AddAuthorization(&req)
	}
	b, err := req.Marshal()
	if err == nil {
		_, err = v.conn.Write(b)
	}
	return err
}

// control is the address of the video that the description tells (RFC 2326, C.1.1).
func (v *viewer) control(res *base.Response) (*base.URL, error) {
	_, video, found := strings.Cut(string(res.Body), "m=video")
	_, control, named := strings.Cut(video, "a=control:")
	if !found || !named {
		return nil, errors.New("no video in the description")
	}
	control, _, _ = strings.Cut(control, "\r\n")
	if strings.HasPrefix(control, "rtsp://") {
		return base.ParseURL(control)
	}
	parent := v.url.String()
	if b := res.Header["Content-Base"]; len(b) == 1 {
		parent = b[0]
	}
	return base.ParseURL(strings.TrimSuffix(parent, "/") + "/" + control)
}

// read feeds the receiver until ctx or the deadline (zero: none) ends it, or done
// says so after some bytes.
func (v *viewer) read(ctx context.Context, deadline time.Time, done func() bool) error {
	v.conn.SetReadDeadline(deadline)
	defer context.AfterFunc(ctx, func() { v.conn.SetReadDeadline(time.Now()) })()
	if n := v.br.Buffered(); n > 0 {
		n, _ = io.ReadFull(v.br, v.space()[:n])
		if err := v.fed(n, time.Now()); err != nil {
			return err
		}
	}
	for !done() {
		n, err := v.conn.Read(v.space())
		now := time.Now()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			return fmt.Errorf("receiving: %w", err)
		}
		if err := v.fed(n, now); err != nil {
			return err
		}
	}
	return nil
}

// firstKey reads to the last packet of the first whole key frame, and tells when
// it was there.
func (v *viewer) firstKey(ctx context.Context) (at time.Time, err error) {
	v.frame = func(_ int, key bool, now time.Time) {
		if key && at.IsZero() {
			at = now
		}
	}
	err = v.read(ctx, time.Now().Add(patience), func() bool { return !at.IsZero() })
	v.frame = nil
	return at, err
}

// leave says goodbye and waits for the answer.
func (v *viewer) leave(ctx context.Context) error {
	if err := v.write(base.Teardown, v.url, nil); err != nil {
		return err
	}
	before := v.responses
	return v.read(ctx, time.Now().Add(patience), func() bool { return v.responses > before })
}

func (v *viewer) close() { v.conn.Close() }

// join dials and plays.
func join(address string, f *film) (*viewer, error) {
	v, err := dial(address, f)
	if err != nil {
		return nil, err
	}
	if err := v.play(); err != nil {
		v.close()
		return nil, err
	}
	return v, nil
}

// joinUntil tries every few milliseconds until it is let in, as a viewer that
// waits for a camera to start.
func joinUntil(ctx context.Context, address string, f *film) (*viewer, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		v, err := join(address, f)
		if err == nil {
			return v, nil
		}
		select {
		case <-time.After(2 * time.Millisecond):
		case <-ctx.Done():
			return nil, fmt.Errorf("not let in within %s: %w", patience, err)
		}
	}
}

// firstKeyFrame returns when a whole key frame is there, however long the
// server needs to start.
func firstKeyFrame(ctx context.Context, address string) error {
	v, err := joinUntil(ctx, address, nil)
	if err != nil {
		return err
	}
	defer v.close()
	_, err = v.firstKey(ctx)
	return err
}
