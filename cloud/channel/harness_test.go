package channel

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/identity"
)

const bindID1 = "000102030405060708090a0b0c0d0e0f"

type packet struct {
	client string
	msg    []byte
}

// camera is a server with a scripted roster and a log of what was carried out.
type camera struct {
	t      *testing.T
	serial cloud.Serial
	static identity.KeyPair
	srv    *Server
	boot   time.Time

	mu      sync.Mutex
	epoch   uint64
	bindID  string
	bound   bool
	members map[string]string // Noise public key → member
	ran     []string          // "member name args" in order
	sent    []packet
	execute func(ctx context.Context, member string, cmd cloud.Command) cloud.Reply
	deliver func(client string, msg []byte) // to apps; nil: nowhere
}

func newCamera(t *testing.T) *camera {
	c := &camera{
		t: t, serial: cloud.NewSerial(), static: identity.NewKeyPair(), epoch: 1, bindID: bindID1, bound: true,
		members: map[string]string{}, boot: time.Now(),
	}
	c.restart()
	return c
}

// restart is a reboot: a new server, uptime from 0.
func (c *camera) restart() {
	c.boot = time.Now()
	c.srv = NewServer(ServerConfig{
		Serial: c.serial, Static: c.static,
		Binding: func() (uint64, string, bool) {
			c.mu.Lock()
			defer c.mu.Unlock()
			return c.epoch, c.bindID, c.bound
		},
		Member: func(pub []byte) (string, bool) {
			c.mu.Lock()
			defer c.mu.Unlock()
			m, ok := c.members[string(pub)]
			return m, ok
		},
		Uptime:  func() time.Duration { return time.Since(c.boot) },
		Execute: c.run,
		Send: func(client string, msg []byte) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.sent = append(c.sent, packet{client, bytes.Clone(msg)})
			if c.deliver != nil {
				c.deliver(client, bytes.Clone(msg))
			}
		},
	})
}

func (c *camera) run(ctx context.Context, member string, cmd cloud.Command) cloud.Reply {
	c.mu.Lock()
	c.ran = append(c.ran, strings.TrimSpace(fmt.Sprintf("%s %s %s", member, cmd.Name, cmd.Args)))
	f := c.execute
	c.mu.Unlock()
	if f != nil {
		return f(ctx, member, cmd)
	}
	return cloud.Reply{Result: cmd.Args}
}

func (c *camera) add(member string, pub []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.members[string(pub)] = member
}

func (c *camera) bind(epoch uint64, bindID string, bound bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.epoch, c.bindID, c.bound = epoch, bindID, bound
}

func (c *camera) log() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string(nil), c.ran...)
}

// takeSent empties the list of what the camera has sent.
func (c *camera) takeSent() []packet {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.sent
	c.sent = nil
	return s
}

// carrier joins apps and a camera, and does with the messages what a test says.
type carrier struct {
	cam *camera
	// up and down see every message and return what is delivered; nil: itself.
	up, down func(p packet) []packet

	mu    sync.Mutex
	toCam chan packet
	apps  map[string]*app
	seen  []packet // up
}

// join runs a carrier and the camera's server until the returned function is called.
func join(c *camera) (*carrier, func()) {
	n := &carrier{cam: c, toCam: make(chan packet, 4096), apps: map[string]*app{}}
	c.deliver = n.fromCamera
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case p := <-n.toCam:
				c.srv.Receive(p.client, p.msg)
			case <-ctx.Done():
				return
			}
		}
	})
	wg.Go(func() { c.srv.Run(ctx) })
	return n, func() { cancel(); wg.Wait() }
}

func (n *carrier) fromCamera(client string, msg []byte) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, p := range pass(n.down, packet{client, msg}) {
		if a := n.apps[p.client]; a != nil {
			select {
			case a.in <- p.msg:
			default:
			}
		}
	}
}

func pass(hook func(packet) []packet, p packet) []packet {
	if hook == nil {
		return []packet{p}
	}
	return hook(p)
}

// hook changes up while apps are sending.
func (n *carrier) hook(up func(packet) []packet) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.up = up
}

func (n *carrier) app(client string) *app {
	n.mu.Lock()
	defer n.mu.Unlock()
	a := &app{n: n, client: client, in: make(chan []byte, 4096)}
	n.apps[client] = a
	return a
}

// app is one app's cloud.Conn.
type app struct {
	n      *carrier
	client string
	in     chan []byte
}

func (a *app) Send(_ context.Context, msg []byte) error {
	a.n.mu.Lock()
	defer a.n.mu.Unlock()
	p := packet{a.client, bytes.Clone(msg)}
	a.n.seen = append(a.n.seen, p)
	for _, q := range pass(a.n.up, p) {
		a.n.toCam <- q
	}
	return nil
}

func (a *app) Receive(ctx context.Context) ([]byte, error) {
	select {
	case m := <-a.in:
		return m, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (c *camera) config(client string, static identity.KeyPair) ClientConfig {
	return ClientConfig{
		Serial: c.serial, Epoch: c.epoch, BindID: c.bindID, ClientID: client,
		Static: static, Device: c.static.Public,
	}
}

func dial(t *testing.T, n *carrier, client string, static identity.KeyPair) *Client {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	c, err := Dial(ctx, n.app(client), n.cam.config(client, static))
	require.NoError(t, err)
	return c
}

// run runs a command within 5 minutes of simulated time.
func run(t *testing.T, c *Client, name string, args, result any) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	return c.Call(ctx, name, args, result)
}

// raw is a session driven by hand, message by message, without a carrier.
type raw struct {
	t      *testing.T
	cam    *camera
	client string
	w      *appSession
	msg1   []byte
	msg3   []byte
}

// open does a handshake with the camera directly; ride may be nil.
func (c *camera) open(t *testing.T, client string, static identity.KeyPair, ride *cloud.Command) *raw {
	t.Helper()
	r := c.begin(t, client, static, ride)
	c.srv.Receive(client, r.msg3)
	return r
}

// begin stops before message 3 is delivered.
func (c *camera) begin(t *testing.T, client string, static identity.KeyPair, ride *cloud.Command) *raw {
	t.Helper()
	hs, err := newHandshake(static, c.static.Public, c.serial, c.epoch, c.bindID, client)
	require.NoError(t, err)
	r := &raw{t: t, cam: c, client: client}
	var id sessionID
	rand.Read(id[:])
	r.msg1, _, _, err = hs.WriteMessage(head(typeHandshake1, id), nil)
	require.NoError(t, err)
	c.takeSent()
	c.srv.Receive(client, r.msg1)
	sent := c.takeSent()
	require.Len(t, sent, 1, "no message 2")
	_, _, _, err = hs.ReadMessage(nil, sent[0].msg[headLen:])
	require.NoError(t, err)
	var payload []byte
	if ride != nil {
		payload, err = json.Marshal(ride)
		require.NoError(t, err)
	}
	m3, out, in, err := hs.WriteMessage(head(typeHandshake3, id), payload)
	require.NoError(t, err)
	r.msg3 = m3
	r.w = &appSession{id: id, send: sender{out}, recv: receiver{c: in.Cipher()}, join: joiner{limit: maxReply}, lost: make(chan []byte)}
	return r
}

// seal makes the one transport message of a small command.
func (r *raw) seal(cmd cloud.Command) []byte {
	r.t.Helper()
	b, err := json.Marshal(cmd)
	require.NoError(r.t, err)
	msgs, err := r.w.seal(b)
	require.NoError(r.t, err)
	require.Len(r.t, msgs, 1)
	return msgs[0]
}

// cmd is a command with a deadline 5 s ahead.
func (r *raw) cmd(id string, seq uint64, name string) cloud.Command {
	return cloud.Command{V: 1, ID: id, Seq: seq, Name: name,
		Deadline: (time.Since(r.cam.boot) + 5*time.Second).Milliseconds()}
}

func (r *raw) do(cmd cloud.Command) { r.cam.srv.Receive(r.client, r.seal(cmd)) }

// replies decrypts what the camera has sent in this session since the last look.
func (r *raw) replies() []cloud.Reply {
	r.t.Helper()
	var out []cloud.Reply
	for _, p := range r.cam.takeSent() {
		m, ok := parse(p.msg)
		if !ok || m.kind != typeTransport || m.id != r.w.id {
			continue
		}
		plain, err := r.w.recv.open(m)
		require.NoError(r.t, err)
		msg, err := r.w.join.add(plain)
		require.NoError(r.t, err)
		if msg == nil {
			continue
		}
		var rep cloud.Reply
		require.NoError(r.t, json.Unmarshal(msg, &rep))
		out = append(out, rep)
	}
	return out
}

func codes(rs []cloud.Reply) []string {
	var out []string
	for _, r := range rs {
		if r.Error != nil {
			out = append(out, r.Error.Code)
		} else {
			out = append(out, "ok "+r.ID)
		}
	}
	return out
}
