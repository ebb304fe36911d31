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
	"time"

	"go.uber.org/zap"

	"iid2secure.nl/camagent/cloud"
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
type Uploader struct{ state }

// New checks cfg and starts nothing.
func New(cfg Config) (*Uploader, error) { return newUploader(cfg) }

// Run uploads until ctx ends, then returns nil.
func (u *Uploader) Run(ctx context.Context) error { return u.run(ctx) }

// Wait returns nil once the object of that name is confirmed in the store.
func (u *Uploader) Wait(ctx context.Context, name string) error { return u.wait(ctx, name) }

// Kick cuts a wait between attempts short: the link is back, the binding has changed.
func (u *Uploader) Kick() { u.kick() }

// Stats returns the counters.
func (u *Uploader) Stats() Stats { return u.stats() }
