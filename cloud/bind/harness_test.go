package bind

import (
	"bytes"
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/identity"
	"iid2secure.nl/camagent/cloud/seal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type packet struct {
	client string
	msg    []byte
}

// world is a camera and what carries messages to it and back.
type world struct {
	t      *testing.T
	id     *identity.Identity
	dir    string
	store  *Store
	pair   *Pairing
	bound  int // OnBound was called
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu       sync.Mutex
	up, down func(packet) []packet // what is delivered; nil: all
	seen     []packet              // up
	back     []packet              // down
	toCam    chan packet
	apps     map[string]chan []byte
}

// newWorld is a camera as it leaves the factory, switched on.
func newWorld(t *testing.T) *world {
	id, err := identity.NewSelfMade()
	require.NoError(t, err)
	w := &world{t: t, id: id, dir: t.TempDir(), toCam: make(chan packet, 1024), apps: map[string]chan []byte{}}
	w.start()
	return w
}

// in runs f with a camera on a simulated clock.
func in(t *testing.T, f func(t *testing.T, w *world)) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.stop()
		f(t, w)
	})
}

func (w *world) start() {
	var err error
	w.store, err = Open(w.dir, w.id)
	require.NoError(w.t, err)
	w.pair = NewPairing(w.store, PairingConfig{Send: w.fromCamera, OnBound: func() { w.bound++ }})
	ctx, cancel := context.WithCancel(context.Background())
	w.cancel = cancel
	pair := w.pair
	w.wg.Go(func() { pair.Run(ctx) })
	w.wg.Go(func() {
		for {
			select {
			case p := <-w.toCam:
				pair.Receive(p.client, p.msg)
			case <-ctx.Done():
				return
			}
		}
	})
	synctest.Wait()
}

func (w *world) stop() { w.cancel(); w.wg.Wait() }

// restart is a power cut, and power again.
func (w *world) restart() { w.stop(); w.start() }

func (w *world) fromCamera(client string, msg []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := packet{client, bytes.Clone(msg)}
	w.back = append(w.back, p)
	for _, q := range pass(w.down, p) {
		if in := w.apps[q.client]; in != nil {
			in <- q.msg
		}
	}
}

func pass(hook func(packet) []packet, p packet) []packet {
	if hook == nil {
		return []packet{p}
	}
	return hook(p)
}

// conn is one app's carrier.
type conn struct {
	w      *world
	client string
	in     chan []byte
}

func (w *world) conn(client string) *conn {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := &conn{w, client, make(chan []byte, 1024)}
	w.apps[client] = c.in
	return c
}

func (c *conn) Send(_ context.Context, msg []byte) error {
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	p := packet{c.client, bytes.Clone(msg)}
	c.w.seen = append(c.w.seen, p)
	for _, q := range pass(c.w.up, p) {
		c.w.toCam <- q
	}
	return nil
}

func (c *conn) Receive(ctx context.Context) ([]byte, error) {
	select {
	case m := <-c.in:
		return m, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// request is one of an owner who has scanned the QR.
func (w *world) request(client string) PairRequest {
	qr, err := identity.ParseQR(identity.QRText(w.id).Reveal())
	require.NoError(w.t, err)
	_, recipient, err := seal.NewIdentity()
	require.NoError(w.t, err)
	return PairRequest{
		QR: qr, ClientID: client, Name: "Ann", Owner: identity.NewKeyPair(), Recipient: recipient,
		ClaimToken: cloud.NewSecret("claim-token-of-" + client),
	}
}

func (w *world) do(req PairRequest) (Camera, error) {
	ctx, cancel := context.WithTimeout(w.t.Context(), 5*time.Minute)
	defer cancel()
	defer synctest.Wait() // for what is still on its way
	return Pair(ctx, w.conn(req.ClientID), req)
}

func wrongCode(r PairRequest) PairRequest {
	r.QR.Code = cloud.NewCode()
	return r
}
