package bind

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/durable"
	"iid2secure.nl/camagent/cloud/identity"
	"iid2secure.nl/camagent/cloud/seal"
	"iid2secure.nl/camagent/cloud/tlscert"
)

const (
	fileBinding = "binding.json"
	maxFailures = 10 // S2
)

// Member is one person of the roster.
type Member struct {
	ID          string             `json:"id"` // see MemberID
	Name        string             `json:"name"`
	Noise       []byte             `json:"noise"`     // public key, 32 bytes
	Recipient   string             `json:"recipient"` // age1…
	Permissions []cloud.Permission `json:"permissions"`
	Expires     int64              `json:"expires,omitempty"` // Unix seconds; 0 is never
}

// MemberID is the first 10 bytes of SHA-256 of a member's Noise public key, in
// lower-case base32.
func MemberID(noisePublic []byte) string {
	sum := sha256.Sum256(noisePublic)
	return strings.ToLower(base32.StdEncoding.EncodeToString(sum[:10]))
}

// state is the file. One file, replaced as a whole: a power cut leaves the
// camera bound or unbound.
type state struct {
	V        int      `json:"v"`
	Serial   string   `json:"serial"`
	Epoch    uint64   `json:"epoch"`
	BindID   string   `json:"bind_id,omitempty"` // empty: unbound
	Version  uint64   `json:"version"`
	Members  []record `json:"members,omitempty"`
	Failures int      `json:"failures,omitempty"` // pairings that did not verify
	Receipt  string   `json:"receipt,omitempty"`  // until the cloud took it
	Claim    string   `json:"claim,omitempty"`    // with it
	Live     string   `json:"live,omitempty"`     // certificate and key of the live server, while bound
}

type record struct {
	Member
	Password string `json:"password"`
}

// Store is the camera's side of the binding, in the state folder. All methods
// may be called from any goroutine; they answer from memory.
type Store struct {
	id    *identity.Identity
	path  string
	write func(path string, v any) error

	mu      sync.Mutex
	now     func() (time.Time, bool)
	st      state
	live    *tlscert.Authority // of st.Live
	changed chan struct{}
}

// Open reads the binding in dir, or begins an unbound one. A file that is
// damaged, or of another camera, is an error: it must not turn a bound camera
// into one that anybody can bind.
func Open(dir string, id *identity.Identity) (*Store, error) {
	s := &Store{
		id: id, path: filepath.Join(dir, fileBinding), write: durable.WriteJSON,
		now:     func() (time.Time, bool) { return time.Now(), true },
		changed: make(chan struct{}),
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("binding: %w", err)
	}
	found, err := durable.ReadJSON(s.path, &s.st)
	if err != nil {
		return nil, fmt.Errorf("binding: %w", err)
	}
	if !found {
		s.st = state{V: 1, Serial: id.Serial.Plain()}
		return s, nil
	}
	if err := s.st.check(id); err != nil {
		return nil, fmt.Errorf("binding: %s: %w; only a factory reset helps", s.path, err)
	}
	if err := s.openLive(); err != nil {
		return nil, err
	}
	return s, nil
}

func (st *state) check(id *identity.Identity) error {
	switch {
	case st.V != 1:
		return fmt.Errorf("version %d, want 1", st.V)
	case st.Serial != id.Serial.Plain():
		return errors.New("belongs to another camera")
	case st.Failures < 0:
		return errors.New("negative count of failures")
	case st.BindID == "" && len(st.Members) == 0 && st.Live == "":
		return nil
	case !validBindID(st.BindID) || st.Epoch == 0:
		return errors.New("damaged: no epoch, or no bind id of 16 bytes in hex")
	}
	admins := 0
	for i, m := range st.Members {
		if err := m.Member.check(); err != nil || m.Password == "" {
			return errors.Join(fmt.Errorf("damaged: member %d", i+1), err)
		}
		if m.ID != MemberID(m.Noise) {
			return fmt.Errorf("damaged: member %d: id and key do not fit", i+1)
		}
		if m.Expires == 0 && slices.Contains(m.Permissions, cloud.Admin) {
			admins++
		}
	}
	if admins == 0 {
		return errors.New("damaged: no lasting admin")
	}
	return nil
}

// check tells whether a person can be a member.
func (m Member) check() error {
	if err := checkName(m.Name); err != nil {
		return err
	}
	if err := identity.CheckPublic(m.Noise); err != nil {
		return err
	}
	if err := seal.TrialSeal(m.Recipient); err != nil {
		return err
	}
	for _, p := range m.Permissions {
		if !slices.Contains(cloud.AllPermissions(), p) {
			return fmt.Errorf("permission %q: want one of %v", p, cloud.AllPermissions())
		}
	}
	return nil
}

func validBindID(id string) bool {
	b, err := hex.DecodeString(id)
	return err == nil && len(b) == 16 && strings.ToLower(id) == id
}

// update replaces the state, durable first; on failure nothing has changed.
func (s *Store) update(change func(*state) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.st
	st.Members = slices.Clone(st.Members)
	if err := change(&st); err != nil {
		return err
	}
	live, err := s.authority(&st)
	if err != nil {
		return err
	}
	if err := s.write(s.path, st); err != nil {
		return fmt.Errorf("binding: %w", err)
	}
	news := st.Epoch != s.st.Epoch || st.Version != s.st.Version
	s.st, s.live = st, live
	if news {
		close(s.changed)
		s.changed = make(chan struct{})
	}
	return nil
}

// SetClock sets the clock by which expiry is judged: the time, never below the
// clock's floor, and whether it is synced; while it is not, members that expire are
// refused. Without it the system's clock is taken as synced.
func (s *Store) SetClock(now func() (t time.Time, synced bool)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = now
}

// Binding is the current binding: epoch (+1 at every bind and unbind) and bind
// id (16 random bytes, hex; empty while unbound).
func (s *Store) Binding() (epoch uint64, bindID string, bound bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.st.Epoch, s.st.BindID, s.st.BindID != ""
}

// valid tells whether a member has not expired.
func (s *Store) valid(m record) bool {
	if m.Expires == 0 {
		return true
	}
	now, synced := s.now()
	return synced && now.Unix() < m.Expires
}

func (s *Store) has(m record, p cloud.Permission) bool {
	return s.valid(m) && (slices.Contains(m.Permissions, p) || slices.Contains(m.Permissions, cloud.Admin))
}

func (s *Store) find(id string) (record, bool) {
	i := slices.IndexFunc(s.st.Members, func(m record) bool { return m.ID == id })
	if i < 0 {
		return record{}, false
	}
	return s.st.Members[i], true
}

// Member names the member with this Noise public key; not ok for strangers and
// for the expired.
func (s *Store) Member(noisePublic []byte) (id string, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.st.Members {
		if subtle.ConstantTimeCompare(m.Noise, noisePublic) == 1 {
			return m.ID, s.valid(m)
		}
	}
	return "", false
}

// Members lists the roster, expired ones included.
func (s *Store) Members() []Member {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Member, 0, len(s.st.Members))
	for _, m := range s.st.Members {
		c := m.Member
		c.Noise, c.Permissions = slices.Clone(c.Noise), slices.Clone(c.Permissions)
		out = append(out, c)
	}
	return out
}

// Version is the roster's version: +1 at every change.
func (s *Store) Version() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.st.Version
}

// Permitted tells whether a member may do something now; Admin implies all.
func (s *Store) Permitted(member string, p cloud.Permission) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	m, ok := s.find(member)
	return ok && s.has(m, p)
}

// Recipients are the age recipients of the members who have p now.
func (s *Store) Recipients(p cloud.Permission) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, m := range s.st.Members {
		if s.has(m, p) {
			out = append(out, m.Recipient)
		}
	}
	return out
}

// Credential is the RTSP password of a member (the user name is the member's
// id); not ok for strangers and for those without Live now.
func (s *Store) Credential(user string) (password string, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m, ok := s.find(user)
	if !ok || !s.has(m, cloud.Live) {
		return "", false
	}
	return m.Password, true
}

// Receipt is what the cloud has not taken yet: the signed receipt with chain and
// claim token. Not ok if there is none, or the owner uses no cloud.
func (s *Store) Receipt() (cloud.ReceiptNotice, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.st.Receipt == "" || s.st.Claim == "" {
		return cloud.ReceiptNotice{}, false
	}
	return cloud.ReceiptNotice{Receipt: s.st.Receipt, Chain: s.id.Chain, Token: s.st.Claim}, true
}

// ReceiptTaken forgets the notice, durable; to be called when the cloud has
// booked it, or will never.
func (s *Store) ReceiptTaken() error {
	return s.update(func(st *state) error {
		st.Receipt, st.Claim = "", ""
		return nil
	})
}

// Changed is closed at the next change of binding or roster (expiry is none: it
// is judged whenever something is asked). Take it before reading, so as to miss
// nothing.
func (s *Store) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

var errNotBound = errors.New("binding: the camera belongs to nobody")

// Unbind ends the binding, durable: epoch +1, no roster, no receipt. Wiping what
// belongs to the epoch is the caller's, before.
func (s *Store) Unbind() error {
	return s.update(func(st *state) error {
		if st.BindID == "" {
			return errNotBound
		}
		*st = state{V: 1, Serial: st.Serial, Epoch: st.Epoch + 1, Version: st.Version + 1}
		return nil
	})
}

// bind makes the owner, if the camera is still unbound in the epoch before.
func (s *Store) bind(epoch uint64, bindID string, owner Member, receipt, claim string) error {
	return s.update(func(st *state) error {
		if st.BindID != "" || st.Epoch+1 != epoch {
			return ErrAlreadyBound
		}
		*st = state{
			V: 1, Serial: st.Serial, Epoch: epoch, BindID: bindID, Version: st.Version + 1,
			Members: []record{{Member: owner, Password: cloud.Token(15)}},
			Receipt: receipt, Claim: claim,
		}
		return nil
	})
}

// failure counts a failed pairing before it is checked, so that pulling the plug
// does not give another guess. S2.
func (s *Store) failure() error {
	return s.update(func(st *state) error {
		if st.Failures >= maxFailures {
			return ErrWindowClosed
		}
		st.Failures++
		return nil
	})
}

// noFailure takes one back.
func (s *Store) noFailure() error {
	return s.update(func(st *state) error {
		st.Failures = max(0, st.Failures-1)
		return nil
	})
}

func (s *Store) failures() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.st.Failures
}

// forgive is the button.
func (s *Store) forgive() error {
	if s.failures() == 0 {
		return nil
	}
	return s.update(func(st *state) error {
		st.Failures = 0
		return nil
	})
}
