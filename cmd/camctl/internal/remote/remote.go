// Package remote joins camctl to a camera: a carrier, and the end-to-end session
// inside it. The carrier is the account's broker, with the account's certificate,
// or, when no session comes about by that, the local network. It says in one line
// which of the two ends is silent. A broker knows one connection per certificate,
// so that only one camctl of a configuration folder is connected at a time: others
// wait. On the local network nobody waits.
package remote

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/channel"
	"iid2secure.nl/camagent/cloud/local"

	"iid2secure.nl/camagent/cmd/camctl/internal/home"
)

// What may be said of the local network; anything else is an address, host:port
// or host.
const (
	Auto = ""     // if there is no session by the broker within 3 s
	Find = "find" // by it alone, wherever the camera is there
	Off  = "off"  // never
)

// Target is a camera, and how it may be reached.
type Target struct {
	Home    *home.Home
	Owner   home.Owner
	Camera  home.Camera
	Account home.Account
	// NoAccount is why the account is of no use; nil: it is.
	NoAccount error
	Timeout   time.Duration // for broker and camera, each
	LAN       string
	Find      func(ctx context.Context, bindID string) ([]string, error) // nil: local.Find
}

// headStart is how long the broker has before the local network is tried too, and
// lookFor how long a camera is looked for there, if not by it alone.
const (
	headStart = 3 * time.Second
	lookFor   = 3 * time.Second
)

// CheckLAN tells whether text is something that may be said of the local network.
func CheckLAN(text string) error {
	switch text {
	case Auto, Find, Off:
		return nil
	}
	if host, port, err := net.SplitHostPort(withPort(text)); err != nil || host == "" || port == "" {
		return fmt.Errorf("%.60q is not HOST:PORT, %s or %s", text, Find, Off)
	}
	return nil
}

// withPort adds the usual port to an address that has none.
func withPort(address string) string {
	bare := strings.TrimSuffix(strings.TrimPrefix(address, "["), "]")
	if _, err := netip.ParseAddr(bare); err == nil || !strings.Contains(address, ":") {
		return net.JoinHostPort(bare, local.DefaultPort)
	}
	return address
}

// Session is a member's session with one camera; it is a command.Caller, for any
// goroutine. When its carrier is lost it goes on by whatever carrier there is.
type Session struct {
	target Target

	mu     sync.Mutex
	line   *line
	closed bool
}

// line is a session in a carrier.
type line struct {
	kind, at string // of the carrier
	client   *channel.Client
	lost     <-chan struct{} // closed when the carrier is gone
	close    func()
	once     sync.Once
}

const (
	broker       = "broker"
	localNetwork = "local network"
)

// Open opens the session with a paired camera.
func Open(ctx context.Context, t Target) (*Session, error) {
	if t.Find == nil {
		t.Find = local.Find
	}
	l, err := t.open(ctx)
	if err != nil {
		return nil, err
	}
	return &Session{target: t, line: l}, nil
}

func (t Target) open(ctx context.Context) (*line, error) {
	switch t.LAN {
	case Off:
		return t.byBroker(ctx)
	case Auto:
		return t.either(ctx)
	}
	return t.byLAN(ctx, t.Timeout)
}

// opened is the outcome of one way.
type opened struct {
	line *line
	err  error
}

// either tries the broker and, some seconds later or when that has failed, the
// local network too. No command leaves before one of them is chosen.
func (t Target) either(ctx context.Context) (*line, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	far, lan := t.start(ctx, t.byBroker), (<-chan opened)(nil)
	late := time.After(headStart)
	var failed error
	for {
		select {
		case o := <-far:
			if o.err == nil || refused(o.err) || ctx.Err() != nil {
				cancel()
				drop(lan)
				return o.line, o.err
			}
			far, failed = nil, o.err
		case <-late:
		case o := <-lan:
			if o.err == nil || refused(o.err) {
				cancel()
				drop(far)
				return o.line, o.err
			}
			if far == nil {
				return nil, failed
			}
			o = <-far
			return o.line, o.err
		}
		if lan == nil {
			lan = t.start(ctx, func(ctx context.Context) (*line, error) { return t.byLAN(ctx, lookFor) })
		}
	}
}

// start opens a line beside others.
func (t Target) start(ctx context.Context, open func(context.Context) (*line, error)) <-chan opened {
	c := make(chan opened, 1)
	go func() {
		l, err := open(ctx)
		c <- opened{l, err}
	}()
	return c
}

// drop waits for the end of a try that is not wanted any more.
func drop(c <-chan opened) {
	if c == nil {
		return
	}
	if o := <-c; o.err == nil {
		o.line.end()
	}
}

func refused(err error) bool {
	_, is := errors.AsType[*cloud.Refusal](err)
	return is
}

// dial opens the session in a carrier that is connected.
func (t Target) dial(ctx context.Context, conn cloud.Conn, clientID string) (*channel.Client, error) {
	c := t.Camera
	return channel.Dial(ctx, conn, channel.ClientConfig{
		Serial: c.Serial, Epoch: c.Epoch, BindID: c.BindID, ClientID: clientID, Static: t.Owner.Noise, Device: c.NoisePublic,
	})
}

func (l *line) end() {
	l.once.Do(func() {
		l.client.Close()
		l.close()
	})
}

func (s *Session) current() *line {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.line
}

// Way says how the camera is reached now: "broker HOST:PORT" or "local network HOST:PORT".
func (s *Session) Way() string {
	l := s.current()
	return l.kind + " " + l.at
}

// Close ends the session and its carrier.
func (s *Session) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.line.end()
}

// renewals is how often one call goes on by another carrier.
const renewals = 3

// Call runs one command, within the timeout on each carrier. It runs once, even if
// it goes on by another carrier.
func (s *Session) Call(ctx context.Context, name string, args, result any) error {
	id := channel.NewCommandID()
	for try := 0; ; try++ {
		l := s.current()
		err := s.callOn(ctx, l, id, name, args, result)
		if err == nil || refused(err) || ctx.Err() != nil || try == renewals {
			return err
		}
		if !s.renew(ctx, l, err) {
			return err
		}
	}
}

func (s *Session) callOn(ctx context.Context, l *line, id, name string, args, result any) error {
	calling, cancel := context.WithTimeout(ctx, s.target.Timeout)
	defer cancel()
	if err := l.client.CallAs(calling, id, name, args, result); err != nil {
		return s.target.why(ctx, l, err)
	}
	return nil
}

// renew opens another line if that may help: whatever there is when the carrier
// was lost, the local network when the broker lost the camera.
func (s *Session) renew(ctx context.Context, old *line, err error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	if s.line != old {
		return true // another call has done it
	}
	_, silent := errors.AsType[*SilenceError](err)
	var l *line
	switch {
	case s.target.LAN == Off:
		return false
	case isDone(old.lost):
		old.end() // its connection to the broker is in the way of another
		l, err = s.target.open(ctx)
	case silent && s.target.LAN == Auto:
		l, err = s.target.byLAN(ctx, lookFor)
	default:
		return false
	}
	if err != nil {
		return false
	}
	old.end()
	s.line = l
	return true
}

func isDone(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// SilenceError is a camera that does not answer while its carrier is there.
type SilenceError struct {
	serial cloud.Serial
	hint   string
}

func (e *SilenceError) Error() string {
	return fmt.Sprintf("camera %v does not answer: is it switched on and online? (%s)", e.serial, e.hint)
}

// why turns an end by our own clock into who was silent; what the camera refuses
// stays as it is.
func (t Target) why(ctx context.Context, l *line, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if refusal, ok := errors.AsType[*cloud.Refusal](err); ok {
		return refusal
	}
	if isDone(l.lost) {
		return fmt.Errorf("the connection to the %s was lost", l.kind)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return &SilenceError{t.Camera.Serial, "the " + l.kind + " is connected"}
	}
	return fmt.Errorf("camera %v: %w", t.Camera.Serial, err)
}
