package bind

import (
	"errors"
	"time"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/identity"
)

// Member is one person of the roster.
type Member struct {
	ID          string             `json:"id"` // first 10 bytes of SHA-256 of the Noise public key, lower base32
	Name        string             `json:"name"`
	Noise       []byte             `json:"noise"`     // public key, 32 bytes
	Recipient   string             `json:"recipient"` // age1…
	Permissions []cloud.Permission `json:"permissions"`
	Expires     int64              `json:"expires,omitempty"` // Unix seconds; 0 is never
}

// Store is the camera's side of the binding, in the state folder. All methods
// may be called from any goroutine.
type Store struct{}

// Open reads the binding in dir, or begins an unbound one. A file that is
// damaged, or of another camera, is an error: it must not turn a bound camera
// into one that anybody can bind.
func Open(dir string, id *identity.Identity) (*Store, error) {
	return nil, errors.New("bind: not there yet")
}

// SetClock sets the clock by which expiry is judged: the time, never below the
// clock's floor, and whether it is synced; while it is not, members that expire are
// refused. Without it the system's clock is taken as synced.
func (s *Store) SetClock(now func() (t time.Time, synced bool)) {}

// Binding is the current binding: epoch (+1 at every bind and unbind) and bind
// id (16 random bytes, hex; empty while unbound).
func (s *Store) Binding() (epoch uint64, bindID string, bound bool) { return 0, "", false }

// Member names the member with this Noise public key; not ok for strangers and
// for the expired.
func (s *Store) Member(noisePublic []byte) (id string, ok bool) { return "", false }

// Members lists the roster, expired ones included.
func (s *Store) Members() []Member { return nil }

// Version is the roster's version: +1 at every change.
func (s *Store) Version() uint64 { return 0 }

// Permitted tells whether a member may do something now; Admin implies all.
func (s *Store) Permitted(member string, p cloud.Permission) bool { return false }

// Recipients are the age recipients of the members who have p now.
func (s *Store) Recipients(p cloud.Permission) []string { return nil }

// Credential is the RTSP password of a member (the user name is the member's
// id); not ok for strangers and for those without Live now.
func (s *Store) Credential(user string) (password string, ok bool) { return "", false }

// Receipt is what the cloud has not taken yet: the signed receipt with chain and
// claim token. Not ok if there is none, or the owner uses no cloud.
func (s *Store) Receipt() (cloud.ReceiptNotice, bool) { return cloud.ReceiptNotice{}, false }

// ReceiptTaken forgets the notice, durable.
func (s *Store) ReceiptTaken() error { return errors.New("bind: not there yet") }

// Changed is closed at the next change of binding or roster. Take it before
// reading, so as to miss nothing.
func (s *Store) Changed() <-chan struct{} { return nil }

// Unbind ends the binding, durable: epoch +1, no roster, no receipt. Wiping what
// belongs to the epoch is the caller's, before.
func (s *Store) Unbind() error { return errors.New("bind: not there yet") }
