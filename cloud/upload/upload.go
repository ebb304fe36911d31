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
	"crypto/x509"
	"errors"
	"fmt"
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

// Config of an Uploader.
type Config struct {
	Spool *spool.Spool
	// Ask asks the cloud (link.Device.Ask). An error with a method
	// Permanent() bool that returns true is final for that object.
	Ask    func(ctx context.Context, kind string, body, answer any) error
	Serial cloud.Serial
	// Prefix returns the bind id under which objects are stored; ok is false
	// while nothing may leave (nobody bound, upload switched off).
	Prefix       func() (bindID string, ok bool)
	Hosts        []string // the store's host:port, exactly as grants name them (port 443 may be left out)
	AllowPrivate bool     // the store may have a loopback or private address
	Roots        *x509.CertPool
	Bandwidth    int64         // bytes a second, 0: no cap
	Stall        time.Duration // 0: 30 s
	MaxWait      time.Duration // longest span between attempts, 0: 5 minutes
	Log          *zap.Logger
}

// Stats is the state of the upload.
type Stats struct {
	Backlog      int
	BacklogBytes int64
	Oldest       time.Time // start of the oldest object that waits, zero if none
	Confirmed    uint64    // objects since the start
	Bytes        uint64    // of confirmed objects
	Retries      uint64
	Refused      uint64 // objects that the cloud refused for good, or found different in the store
	LastError    error  // nil after a success
}

// Uploader moves objects. Methods may be called from any goroutine.
type Uploader struct {
	cfg   Config
	rules rules
	store *store
	wake  chan struct{}

	mu      sync.Mutex
	st      Stats
	waiters map[string][]chan struct{}
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
		cfg: cfg, rules: rules{hosts: hosts}, store: newStore(cfg),
		wake: make(chan struct{}, 1), waiters: map[string][]chan struct{}{},
	}, nil
}

// Run uploads until ctx ends, then returns nil.
func (u *Uploader) Run(ctx context.Context) error {
	defer u.store.close()
	b := retry.Backoff{Min: min(time.Second, u.cfg.MaxWait), Max: u.cfg.MaxWait}
	for {
		o, err := u.cfg.Spool.Next(ctx)
		if err == nil {
			err = u.one(ctx, o)
		}
		if ctx.Err() != nil {
			return nil
		}
		if err == nil {
			b.Reset()
			continue
		}
		wait := max(b.Next(), retryAfter(err))
		u.failed(err, wait)
		if retry.Sleep(ctx, wait, u.wake) != nil {
			return nil
		}
	}
}

// one brings one object into the store. An error means: wait before the next
// attempt, which need not be of the same object.
func (u *Uploader) one(ctx context.Context, o spool.Object) error {
	err := u.object(ctx, o)
	switch {
	case err == nil:
		u.confirmed(o)
		return nil
	case ctx.Err() != nil:
		u.cfg.Spool.Return(o, 0)
		return ctx.Err()
	case poisoned(err):
		// Nothing is wrong with the way, only with this object: it steps aside.
		u.setAside(o, err)
		return nil
	}
	u.cfg.Spool.Return(o, 0)
	return fmt.Errorf("uploading %s: %w", o.Name, err)
}

// object stores the parts in order: a manifest in the store says that its clip
// is there, too.
func (u *Uploader) object(ctx context.Context, o spool.Object) error {
	bind, ok := u.cfg.Prefix()
	if !ok {
		return errNotNow
	}
	for _, p := range o.Parts {
		if err := u.part(ctx, bind, p); err != nil {
			return fmt.Errorf("%s: %w", p.Name, err)
		}
	}
	return nil
}

// part asks for a grant, puts, and looks. The look alone counts.
func (u *Uploader) part(ctx context.Context, bind string, p spool.Part) error {
	want := u.rules.expect(cloud.ObjectKey(u.cfg.Serial, bind, p.Name), p)
	var g cloud.Grant
	if err := u.cfg.Ask(ctx, cloud.AskGrant, want.request, &g); err != nil {
		return err
	}
	if err := want.check(g); err != nil {
		return err
	}
	body, err := u.cfg.Spool.Open(p.Name)
	if err != nil {
		return fmt.Errorf("%w: %w", errCard, err)
	}
	defer body.Close()
	if err := u.store.put(ctx, g.Put, body, p.Size); err != nil {
		return err
	}
	return u.store.look(ctx, g.Head, want)
}

func (u *Uploader) confirmed(o spool.Object) {
	if err := u.cfg.Spool.Release(o); err != nil {
		u.cfg.Log.Warn("object is in the store, but the card failed", zap.Error(err))
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.st.Confirmed++
	u.st.Bytes += uint64(o.Size())
	u.st.LastError = nil
	for _, w := range u.waiters[o.Name] {
		close(w)
	}
	delete(u.waiters, o.Name)
	u.cfg.Log.Debug("object confirmed in the store", zap.String("object", o.Name), zap.Stringer("lane", o.Lane))
}

// asideFor is how long an object rests that was refused for itself.
const asideFor = time.Hour

func (u *Uploader) setAside(o spool.Object, err error) {
	u.cfg.Spool.Return(o, asideFor)
	u.mu.Lock()
	u.st.Refused++
	u.st.LastError = fmt.Errorf("uploading %s: %w", o.Name, err)
	u.mu.Unlock()
	u.cfg.Log.Error("object refused, kept on the card and tried again later",
		zap.String("object", o.Name), zap.Duration("retry_in", asideFor), zap.Error(err))
}

func (u *Uploader) failed(err error, wait time.Duration) {
	if errors.Is(err, errNotNow) {
		return
	}
	u.mu.Lock()
	u.st.Retries++
	u.st.LastError = err
	u.mu.Unlock()
	u.cfg.Log.Warn("upload failed", zap.Error(err), zap.Duration("retry_in", wait.Round(time.Millisecond)))
}

// Wait returns nil once the object of that name is confirmed in the store.
func (u *Uploader) Wait(ctx context.Context, name string) error {
	done := make(chan struct{})
	u.mu.Lock()
	u.waiters[name] = append(u.waiters[name], done)
	u.mu.Unlock()
	// Looked at after registering: whichever happens in between is seen.
	if !u.cfg.Spool.Pending(name) {
		u.unwait(name, done)
		return nil
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		u.unwait(name, done)
		return fmt.Errorf("%s is not in the store yet: %w", name, ctx.Err())
	}
}

func (u *Uploader) unwait(name string, done chan struct{}) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.waiters[name] = slices.DeleteFunc(u.waiters[name], func(c chan struct{}) bool { return c == done })
	if len(u.waiters[name]) == 0 {
		delete(u.waiters, name)
	}
}

// Kick cuts a wait between attempts short: the link is back, the binding has changed.
func (u *Uploader) Kick() {
	select {
	case u.wake <- struct{}{}:
	default:
	}
}

// Stats returns the counters.
func (u *Uploader) Stats() Stats {
	card := u.cfg.Spool.Stats()
	u.mu.Lock()
	defer u.mu.Unlock()
	st := u.st
	st.Backlog, st.BacklogBytes, st.Oldest = card.Pending, card.PendingBytes, card.Oldest
	return st
}
