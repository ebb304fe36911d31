package bind

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"
)

// PairingConfig is what the camera's side of pairing needs.
type PairingConfig struct {
	// Send hands a message to the carrier for a client; it must not block, nor
	// call back.
	Send func(client string, msg []byte)
	// Window is how long the window stays open after start and after OpenWindow;
	// 0 is 10 minutes.
	Window time.Duration
	// OnBound is called once the binding is durable, from the goroutine of
	// Receive; it must be quick. May be nil.
	OnBound func()
	Log     *zap.Logger // nil: no log
}

// Pairing is the camera's side of pairing.
type Pairing struct{}

// NewPairing makes it; nothing is open before Run.
func NewPairing(store *Store, cfg PairingConfig) *Pairing { return &Pairing{} }

// Receive takes one pairing message (channel.IsPairing) of a client. Any bytes
// are allowed. S4. To be called from one goroutine.
func (p *Pairing) Receive(client string, msg []byte) {}

// Run opens the window, unless the camera is bound or 10 failures have closed
// it (S2), closes it in time, and drops what is pending too long; until ctx ends.
func (p *Pairing) Run(ctx context.Context) error { return errors.New("bind: not there yet") }

// OpenWindow is the button: it forgets failures and opens the window. No effect on a bound camera.
func (p *Pairing) OpenWindow() error { return errors.New("bind: not there yet") }

// Open tells whether the window is open.
func (p *Pairing) Open() bool { return false }
