package channel

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/identity"
)

const (
	retryEvery  = 3 * time.Second  // of silence
	retryPause  = time.Second      // between handshakes that failed
	silentTries = 3                // then the session is taken for lost
	commandLife = 10 * time.Second // from sending to its deadline
)

// ClientConfig is what an app knows of a camera, and of itself.
type ClientConfig struct {
	Serial   cloud.Serial
	Epoch    uint64
	BindID   string
	ClientID string           // by which the carrier knows this app
	Static   identity.KeyPair // the member's Noise key
	Device   []byte           // the camera's Noise public key, pinned at pairing
}

// ErrClosed is a call on a client that was closed.
var ErrClosed = errors.New("session: closed")

// Client is an app's session with one camera. Calls may be made from any
// goroutine. It owns one goroutine, which receives from the Conn.
type Client struct {
	cfg    ClientConfig
	conn   cloud.Conn
	cancel context.CancelFunc
	done   chan struct{} // closed when receiving has ended, for the reason in err
	err    error

	connecting turn // who holds it makes the handshake
	sending    turn // who holds it uses conn.Send, so that sequences leave in order

	mu    sync.Mutex
	cur   *appSession // nil before the first session
	old   *appSession // the one before, until oldTo
	oldTo time.Time
	try   *attempt // the handshake under way
	calls map[string]*call
}

// turn is a lock that gives up with a context.
type turn chan struct{}

func (t turn) take(ctx context.Context) error {
	select {
	case t <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (t turn) leave() { <-t }

// call is one command on its way.
type call struct {
	id, name string
	args     json.RawMessage
	done     chan struct{} // closed when reply is set

	// guarded by Client.mu
	on      *appSession    // where it was last sent
	due     bool           // to be sent there again
	copies  int            // sent there
	refused int            // of those, refused for coming late or at a busy moment
	last    *cloud.Refusal // of those refusals
	reply   *cloud.Reply
}

// sent notes one more copy on w. A copy that the carrier held back may be
// refused as late after another has been carried out: only when all copies are
// refused is the command.
func (k *call) sent(w *appSession) {
	if k.on != w {
		k.on, k.copies, k.refused = w, 0, 0
	}
	k.copies, k.due = k.copies+1, false
}

// Dial opens a session and returns when the camera has confirmed it. It tries
// until ctx ends; the error then wraps ctx's. A key that is no member (any more)
// gets a *cloud.Refusal. ctx bounds only the opening.
func Dial(ctx context.Context, conn cloud.Conn, cfg ClientConfig) (*Client, error) {
	if !cloud.ValidClient(cfg.ClientID) {
		return nil, errors.New("session: client id: want 1 to 64 of a-z, 0-9, dash")
	}
	if err := identity.CheckPublic(cfg.Device); err != nil {
		return nil, fmt.Errorf("session: camera's %w", err)
	}
	if _, err := identity.KeyPairFrom(cfg.Static.Private); err != nil {
		return nil, fmt.Errorf("session: own %w", err)
	}
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	c := &Client{
		cfg: cfg, conn: conn, cancel: cancel, done: make(chan struct{}), calls: map[string]*call{},
		connecting: make(turn, 1), sending: make(turn, 1),
	}
	go c.receive(run)
	if err := c.connect(ctx, nil); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// Close ends the client, its goroutine and the calls that wait; the camera is
// told nothing. It does not close the Conn.
func (c *Client) Close() error {
	c.cancel()
	<-c.done
	return nil
}

// Call runs one command on the camera: args is marshalled (nil: none), the
// reply's result is decoded into result (nil: ignored). What the camera refuses
// is a *cloud.Refusal. On silence the same command, by the same id, is sent again
// every 3 s until ctx ends; it never runs twice. When the session is lost or has
// aged, a new one is made on the way. The camera does not begin a command later
// than ctx's deadline, or 10 s after it was sent.
func (c *Client) Call(ctx context.Context, name string, args, result any) error {
	return c.CallAs(ctx, NewCommandID(), name, args, result)
}

// NewCommandID makes an id for CallAs.
func NewCommandID() string { return cloud.Token(10) }

// CallAs is Call by an id that the caller chose. A command that was lost with its
// session may be sent in another, of another client of the same member, by the
// same id: it does not run twice.
func (c *Client) CallAs(ctx context.Context, id, name string, args, result any) error {
	k := &call{id: id, name: name, done: make(chan struct{})}
	if args != nil {
		b, err := json.Marshal(args)
		if err != nil {
			return fmt.Errorf("%s: arguments: %w", name, err)
		}
		k.args = b
	}
	if len(k.args) > maxCommand-1<<10 {
		return fmt.Errorf("%s: arguments of %d bytes, at most %d", name, len(k.args), maxCommand-1<<10)
	}
	c.mu.Lock()
	c.calls[k.id] = k
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.calls, k.id)
		c.mu.Unlock()
	}()
	err := c.pursue(ctx, k)
	reply, refusal := c.outcome(k)
	switch {
	case reply != nil && reply.Error != nil:
		return reply.Error
	case reply != nil:
		return decode(name, reply.Result, result)
	case refusal != nil:
		return refusal
	}
	var r *cloud.Refusal
	if errors.As(err, &r) {
		return r
	}
	return fmt.Errorf("%s: %w", name, err)
}

func (c *Client) outcome(k *call) (*cloud.Reply, *cloud.Refusal) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return k.reply, k.last
}

func decode(name string, from json.RawMessage, to any) error {
	if to == nil || len(from) == 0 {
		return nil
	}
	if err := json.Unmarshal(from, to); err != nil {
		return fmt.Errorf("%s: the camera's answer: %w", name, err)
	}
	return nil
}

// pursue sends the command until it is answered.
func (c *Client) pursue(ctx context.Context, k *call) error {
	for silent := 0; ; {
		if reply, _ := c.outcome(k); reply != nil {
			return nil
		}
		w := c.usable()
		if w == nil {
			if err := c.connect(ctx, k); err != nil {
				return err
			}
			silent = 0
			continue
		}
		if err := c.sendOnce(ctx, w, k); err != nil {
			return err
		}
		_, err := c.await(ctx, k, w.lost, retryEvery)
		if errors.Is(err, errAgain) {
			c.resend(k)
			if silent++; silent >= silentTries {
				c.lose(w, nil)
			}
		} else if err != nil {
			return err
		}
		if r := c.refusal(w); r != nil {
			return r
		}
	}
}

func (c *Client) resend(k *call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k.due = true
}

// sendOnce sends the command on w unless it went there already (it may have
// ridden with message 3).
func (c *Client) sendOnce(ctx context.Context, w *appSession, k *call) error {
	if err := c.sending.take(ctx); err != nil {
		return fmt.Errorf("no answer from the camera: %w", err)
	}
	defer c.sending.leave()
	msgs, err := c.sealCall(ctx, w, k)
	if err != nil {
		return err
	}
	for _, m := range msgs {
		if err := c.conn.Send(ctx, m); err != nil {
			return err
		}
	}
	return nil
}

func (c *Client) sealCall(ctx context.Context, w *appSession, k *call) ([][]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k.reply != nil || c.cur != w || k.on == w && !k.due {
		return nil, nil
	}
	k.sent(w)
	b, err := json.Marshal(w.command(k, w.deadline(ctx)))
	if err != nil {
		return nil, err
	}
	return w.seal(b)
}

// receive is the client's goroutine.
func (c *Client) receive(ctx context.Context) {
	defer close(c.done)
	for {
		msg, err := c.conn.Receive(ctx)
		if ctx.Err() != nil {
			c.err = ErrClosed
			return
		}
		if err != nil {
			c.err = fmt.Errorf("session: connection: %w", err)
			return
		}
		c.take(msg)
	}
}
