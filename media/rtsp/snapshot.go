package rtsp

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"net"
	"sync"
	"time"
)

const (
	pictureAge  = 500 * time.Millisecond // a younger picture is given again
	pictureWait = 5 * time.Second        // so long one may take
	nonceAge    = time.Minute            // a challenge over HTTP counts so long
)

var errNoPicture = errors.New("the picture is empty")

// snapshots has one picture made at a time, however many ask for it.
type snapshots struct {
	shoot func(context.Context) ([]byte, error)

	mu   sync.Mutex
	ctx  context.Context // of the present Run
	last *snapshot       // in the making, or young
}

// snapshot is one result; jpeg and err are read-only once done is closed.
type snapshot struct {
	done chan struct{}
	jpeg []byte
	err  error
}

// begin has pictures end with ctx, and none be left from before.
func (p *snapshots) begin(ctx context.Context) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ctx, p.last = ctx, nil
}

// get returns a JPEG that is being made, that is young, or that it makes; a
// failure is as good as a picture, so that nobody asks the board for many.
func (p *snapshots) get() ([]byte, error) {
	p.mu.Lock()
	ctx, now := p.ctx, p.last
	if now == nil {
		now = &snapshot{done: make(chan struct{})}
		p.last = now
		p.mu.Unlock()
		p.take(ctx, now)
	} else {
		p.mu.Unlock()
	}
	select {
	case <-now.done:
		return now.jpeg, now.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// take makes a picture, which is let go when it is old.
func (p *snapshots) take(ctx context.Context, now *snapshot) {
	ctx, cancel := context.WithTimeout(ctx, pictureWait)
	defer cancel()
	began, keep := time.Now(), pictureAge
	now.jpeg, now.err = p.shoot(ctx)
	if now.err == nil && len(now.jpeg) == 0 {
		now.err = errNoPicture
	}
	if now.err != nil { // a board that hangs is not kept busy by who asks on and on
		keep = max(keep, 4*time.Since(began))
	}
	close(now.done)
	time.AfterFunc(keep, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.last == now {
			p.last = nil
		}
	})
}

// nonces are the challenges of HTTP, where a client may use another connection
// for each request: a time and what only this server can have made of it and of
// the client's address (RFC 7616, 3.3).
type nonces struct {
	key   [32]byte
	start time.Time
}

func newNonces() *nonces {
	n := &nonces{start: time.Now()}
	rand.Read(n.key[:]) //nolint:errcheck // never fails
	return n
}

// next returns a nonce for the client at a.
func (n *nonces) next(a net.Addr) string { return n.at(time.Since(n.start), a) }

func (n *nonces) at(t time.Duration, a net.Addr) string {
	b := binary.BigEndian.AppendUint64(nil, uint64(t))
	mac := hmac.New(sha256.New, n.key[:])
	mac.Write(b)
	if t, ok := a.(*net.TCPAddr); ok {
		mac.Write(t.IP.To16())
	}
	return hex.EncodeToString(mac.Sum(b)[:24])
}

// counts tells whether nonce was given to the client at a not long ago.
func (n *nonces) counts(nonce string, a net.Addr) bool {
	b, err := hex.DecodeString(nonce)
	if err != nil || len(b) != 24 {
		return false
	}
	t := time.Duration(binary.BigEndian.Uint64(b))
	age := time.Since(n.start) - t
	return age >= 0 && age < nonceAge && hmac.Equal([]byte(nonce), []byte(n.at(t, a)))
}
