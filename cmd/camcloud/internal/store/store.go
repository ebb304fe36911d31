// Package store is what camcloud remembers: accounts, claim tokens (as hashes),
// bindings, and the broker clients of apps. Everything is a small JSON file,
// durable before the call that changes it returns. It decides who owns what, by
// the rules of pairing (docs/protocol.md); it verifies no signature and knows
// no content. One process owns a state folder; accounts alone may be changed
// from outside while it runs.
package store

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"iid2secure.nl/camagent/cloud"
)

// Limits for one account. R6.
const (
	ClaimLife  = 15 * time.Minute
	MaxClaims  = 20  // outstanding at a time
	MaxClients = 100 // with a certificate that still lives
)

var (
	// ErrLimit says that the account has as many as it may.
	ErrLimit = errors.New("limit of the account reached")
	// ErrClaim says that a claim token is unknown, used, expired, or for another camera.
	ErrClaim = errors.New("claim token unknown, used or expired, or for another camera")
	// ErrEpoch says that a binding is not newer than the one already booked.
	ErrEpoch = errors.New("a binding of the same or a later epoch is booked already")
)

// Claim is an outstanding claim token; its key is the token's hash.
type Claim struct {
	Account string       `json:"account"`
	Serial  cloud.Serial `json:"serial"`
	Expires time.Time    `json:"expires"`
}

// Binding is the booked binding of one camera; its key is the serial.
type Binding struct {
	Account string       `json:"account"`
	Serial  cloud.Serial `json:"serial"`
	Epoch   uint64       `json:"epoch"`
	BindID  string       `json:"bind_id"`
	Booked  time.Time    `json:"booked"`
}

// Client is one enrolled app; its key is the client id.
type Client struct {
	Account string    `json:"account"`
	Expires time.Time `json:"expires"`
}

// Store is safe for use by several goroutines.
type Store struct {
	Accounts *Accounts

	mu       sync.Mutex
	claims   *table[Claim]
	bindings *table[Binding]
	clients  *table[Client]
}

// Open reads the state folder dir, or begins one.
func Open(dir string) (*Store, error) {
	accounts, err := OpenAccounts(dir)
	if err != nil {
		return nil, err
	}
	claims, err := openTable[Claim](filepath.Join(dir, "claims"))
	if err != nil {
		return nil, err
	}
	bindings, err := openTable[Binding](filepath.Join(dir, "bindings"))
	if err != nil {
		return nil, err
	}
	clients, err := openTable[Client](filepath.Join(dir, "clients"))
	if err != nil {
		return nil, err
	}
	return &Store{Accounts: accounts, claims: claims, bindings: bindings, clients: clients}, nil
}

// Claim makes a claim token for one camera and account.
func (s *Store) Claim(account string, serial cloud.Serial) (cloud.Secret, time.Time, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if err := s.claims.drop(func(c Claim) bool { return !now.Before(c.Expires) }); err != nil {
		return cloud.Secret{}, now, err
	}
	if count(s.claims, func(c Claim) bool { return c.Account == account }) >= MaxClaims {
		return cloud.Secret{}, now, fmt.Errorf("%d claim tokens are outstanding: %w", MaxClaims, ErrLimit)
	}
	token := cloud.Token(20)
	end := now.Add(ClaimLife)
	err := s.claims.put(Hash(token), Claim{Account: account, Serial: serial, Expires: end})
	return cloud.NewSecret(token), end, err
}

// Book books the binding of a verified receipt to the account that made the
// claim token, and returns the account that it took the camera from, if any. A
// receipt that is booked already is booked again without effect, so that a
// device whose answer was lost may repeat it. M7, P13.
func (s *Store) Book(r cloud.Receipt, token cloud.Secret) (previous string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, bound := s.bindings.rows[r.Serial.Plain()]
	if bound && old.Epoch == r.Epoch && old.BindID == r.BindID {
		return "", nil
	}
	if bound && r.Epoch <= old.Epoch {
		return "", ErrEpoch
	}
	hash := Hash(token.Reveal()) // the hash alone is compared
	claim, known := s.claims.rows[hash]
	if !known || claim.Serial != r.Serial || !time.Now().Before(claim.Expires) || r.Token != hash {
		return "", ErrClaim
	}
	row := Binding{Account: claim.Account, Serial: r.Serial, Epoch: r.Epoch, BindID: r.BindID, Booked: time.Now()}
	if err := s.bindings.put(r.Serial.Plain(), row); err != nil {
		return "", err
	}
	if bound && old.Account != claim.Account {
		previous = old.Account
	}
	return previous, s.claims.del(hash)
}

// Binding returns the booked binding of a camera.
func (s *Store) Binding(serial cloud.Serial) (Binding, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, ok := s.bindings.rows[serial.Plain()]
	return b, ok
}

// Bindings lists an account's cameras by serial.
func (s *Store) Bindings(account string) []Binding {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []Binding
	for _, b := range s.bindings.rows {
		if b.Account == account {
			list = append(list, b)
		}
	}
	slices.SortFunc(list, func(a, b Binding) int { return strings.Compare(a.Serial.Plain(), b.Serial.Plain()) })
	return list
}

// Claims lists an account's outstanding claims.
func (s *Store) Claims(account string) []Claim {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []Claim
	for _, c := range s.claims.rows {
		if c.Account == account && time.Now().Before(c.Expires) {
			list = append(list, c)
		}
	}
	return list
}

// AddClient remembers an app's client id until its certificate ends.
func (s *Store) AddClient(id, account string, end time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.clients.drop(func(c Client) bool { return !time.Now().Before(c.Expires) }); err != nil {
		return err
	}
	if count(s.clients, func(c Client) bool { return c.Account == account }) >= MaxClients {
		return fmt.Errorf("%d apps are enrolled: %w", MaxClients, ErrLimit)
	}
	return s.clients.put(id, Client{Account: account, Expires: end})
}

// ClientAccount returns the account to which a client id belongs, if that
// account still exists.
func (s *Store) ClientAccount(id string) (string, bool) {
	s.mu.Lock()
	c, ok := s.clients.rows[id]
	s.mu.Unlock()
	return c.Account, ok && s.Accounts.Exists(c.Account)
}

func count[T any](t *table[T], which func(T) bool) (n int) {
	for _, row := range t.rows {
		if which(row) {
			n++
		}
	}
	return n
}
