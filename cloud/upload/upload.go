// Package upload brings sealed objects from the card into the store, each
// exactly once under one name, and tells the card only when the store has
// confirmed size and checksum (R2).
//
// One way: the cloud is asked for a grant per file (package cloud), the grant is
// checked against the camera's own configuration (S11), the file is sent with
// one PUT, looked up with one HEAD, and released. The cloud and the store are
// trusted for nothing else: they get no plaintext, no client certificate, and no
// say in which host the camera talks to.
package upload

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/retry"
	"iid2secure.nl/camagent/cloud/spool"
)

// The kinds of failure; test with errors.Is.
var (
	// ErrGrant: the cloud's grant breaks a rule of S11; it is not used.
	ErrGrant = errors.New("grant refused")
	// ErrStalled: no byte went either way for Config.Stall.
	ErrStalled = errors.New("transfer stalled")
	// ErrMismatch: the store has something else under our name.
	ErrMismatch = errors.New("stored object differs")
)

// Card is what an Uploader needs of the card; *spool.Spool is it.
type Card interface {
	Next(ctx context.Context) (spool.Object, error)
	Return(o spool.Object, after time.Duration)
	Release(o spool.Object) error
	Open(file string) (io.ReadSeekCloser, error)
	Pending(name string) bool
	Stats() spool.Stats
}

// Config of an Uploader.
type Config struct {
	Spool Card
	// Ask asks the cloud (link.Device.Ask). An error with a method
	// Permanent() bool that returns true is final for that object. Several are
	// asked at once, 2·urgentAhead at most.
	Ask    func(ctx context.Context, kind string, body, answer any) error
	Serial cloud.Serial
	// Prefix returns the bind id under which objects are stored; ok is false
	// while nothing may leave (nobody bound, upload switched off). Kick tells of
	// a change. No id comes twice for different owners, and Spool offers what was
	// recorded for the present one alone.
	Prefix       func() (bindID string, ok bool)
	Hosts        []string // the store's host:port, exactly as grants name them (port 443 may be left out)
	AllowPrivate bool     // the store may have a loopback or private address
	Roots        *x509.CertPool
	Secure       func(*tls.Config) *tls.Config // has certificates judged by the device's clock; nil: the system's
	Bandwidth    int64                         // bytes a second, all connections and all that goes over them together; 0: no cap
	Stall        time.Duration                 // 0: 30 s
	MaxWait      time.Duration                 // longest span between attempts, 0: 5 minutes
	Log          *zap.Logger

	dial dialFunc // nil: the operating system's
}

// Stats is the state of the upload.
type Stats struct {
	Backlog      int
	BacklogBytes int64
	Oldest       time.Time // start of the oldest object that waits, zero if none
	Sending      []Sending // the one that overtakes last
	Confirmed    uint64    // objects since the start
	Bytes        uint64    // of confirmed objects
	Retries      uint64
	Refused      uint64    // objects that the cloud refused for good, or found different in the store
	LastError    error     // nil after a success
	NextTry      time.Time // while everything waits after a failure; else zero
}

// Sending is one file on its way.
type Sending struct {
	File  string
	Lane  spool.Lane
	Size  int64
	Sent  int64     // bytes that were taken from the card
	Since time.Time // since the object is held, its grant being asked
}

// Uploader moves objects. Methods may be called from any goroutine.
type Uploader struct {
	cfg   Config
	rules rules
	store *store
	q     *queue
	asks  sync.WaitGroup // open questions to the cloud

	mu      sync.Mutex
	st      Stats
	waiters map[string][]chan error
}

// New checks cfg and starts nothing.
func New(cfg Config) (*Uploader, error) {
	hosts, err := parseHosts(cfg.Hosts)
	switch {
	case err != nil:
		return nil, err
	case cfg.Spool == nil || cfg.Ask == nil || cfg.Prefix == nil:
		return nil, errors.New("upload: spool, ask and prefix are required")
	case cfg.Roots == nil:
		return nil, errors.New("upload: no root certificates of its own are configured")
	case cfg.Bandwidth < 0 || cfg.Bandwidth > 0 && cfg.Bandwidth < minBandwidth:
		return nil, fmt.Errorf("upload: bandwidth %d bytes a second, want 0 or at least %d", cfg.Bandwidth, minBandwidth)
	}
	if cfg.Stall <= 0 {
		cfg.Stall = 30 * time.Second
	}
	if cfg.MaxWait <= 0 {
		cfg.MaxWait = 5 * time.Minute
	}
	if cfg.Log == nil {
		cfg.Log = zap.NewNop()
	}
	return &Uploader{
		cfg: cfg, rules: rules{hosts: hosts}, store: newStore(cfg), q: newQueue(cfg.MaxWait), waiters: map[string][]chan error{},
	}, nil
}

// Run uploads until ctx ends, then returns nil. What was held goes back to the
// card. Call it once at a time.
func (u *Uploader) Run(ctx context.Context) error {
	defer u.store.close()
	var workers sync.WaitGroup
	workers.Go(func() { u.fetch(ctx) })
	for i := range senders {
		workers.Go(func() { u.send(ctx, i) })
	}
	workers.Wait()
	u.asks.Wait()
	for _, o := range u.q.empty() {
		u.cfg.Spool.Return(o, 0)
	}
	return nil
}

// owned tells whether the binding is still the present one.
func (u *Uploader) owned(bind string) bool {
	now, _ := u.cfg.Prefix()
	return now == bind
}

// fetch keeps the queue filled. A full one is looked past now and then, for an
// alarm must not wait behind what came before it.
func (u *Uploader) fetch(ctx context.Context) {
	b := retry.Backoff{Max: u.cfg.MaxWait}
	var seen spool.Stats
	for u.q.room(ctx) == nil {
		bind, _ := u.cfg.Prefix() // before the card is asked: should it change meanwhile, the object goes back in its turn
		before := seen
		seen = u.cfg.Spool.Stats()
		if u.q.busy() && seen.Pending == before.Pending && seen.PendingBytes == before.PendingBytes {
			continue // nothing has come
		}
		o, err := u.cfg.Spool.Next(ctx)
		switch {
		case ctx.Err() != nil:
			if err == nil {
				u.cfg.Spool.Return(o, 0)
			}
			return
		case err != nil:
			wait := b.Next()
			u.failed(err, wait)
			retry.Sleep(ctx, wait, nil)
			continue
		case u.q.fits(o):
			u.q.push(o, bind)
			u.askAhead(ctx)
		default:
			u.cfg.Spool.Return(o, 0) // at its place in its lane
		}
		b.Reset()
	}
}

// Wait returns nil once the object of that name is confirmed in the store.
func (u *Uploader) Wait(ctx context.Context, name string) error {
	done := make(chan error, 1)
	u.mu.Lock()
	u.waiters[name] = append(u.waiters[name], done)
	u.mu.Unlock()
	// Looked at after registering: whichever happens in between is seen.
	if !u.cfg.Spool.Pending(name) {
		u.unwait(name, done)
		return nil
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		u.unwait(name, done)
		return fmt.Errorf("%s is not in the store yet: %w", name, ctx.Err())
	}
}

func (u *Uploader) unwait(name string, done chan error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.waiters[name] = slices.DeleteFunc(u.waiters[name], func(c chan error) bool { return c == done })
	if len(u.waiters[name]) == 0 {
		delete(u.waiters, name)
	}
}

// tellLocked answers who waits for an object.
func (u *Uploader) tellLocked(name string, err error) {
	for _, w := range u.waiters[name] {
		w <- err
	}
	delete(u.waiters, name)
}

// Kick cuts a wait between attempts short, but for what the store has asked for:
// the link is back, or the binding has changed. What may not leave any more is
// stopped at once, and what is held for another binding goes back to the card.
func (u *Uploader) Kick() {
	u.q.stopUnless(u.cfg.Prefix())
	u.q.kick()
}

// Stats returns the counters.
func (u *Uploader) Stats() Stats {
	card := u.cfg.Spool.Stats()
	u.mu.Lock()
	st := u.st
	u.mu.Unlock()
	st.Backlog, st.BacklogBytes, st.Oldest = card.Pending, card.PendingBytes, card.Oldest
	st.Sending, st.NextTry = u.q.stats()
	return st
}
