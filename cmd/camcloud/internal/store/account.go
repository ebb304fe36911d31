package store

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/durable"
)

// Accounts is the folder of accounts: one file each, named after the SHA-256 of
// its token, so that a token is found without being stored and another process
// (camcloud account) may add and remove accounts while the cloud runs.
type Accounts struct{ dir string }

// Account is one customer of this cloud.
type Account struct {
	Name    string `json:"name"`
	Created int64  `json:"created"` // Unix seconds
}

var (
	// ErrExists says that there is an account of that name.
	ErrExists = errors.New("account exists")
	// ErrUnknown says that there is no such account.
	ErrUnknown = errors.New("no such account")
)

var accountName = regexp.MustCompile(`^[a-z0-9][a-z0-9._@-]{0,63}$`)

// OpenAccounts opens the accounts in the state folder dir.
func OpenAccounts(dir string) (*Accounts, error) {
	a := &Accounts{filepath.Join(dir, "accounts")}
	return a, os.MkdirAll(a.dir, 0o700)
}

// Add makes an account and returns its token, which is shown this once.
func (a *Accounts) Add(name string) (cloud.Secret, error) {
	if !accountName.MatchString(name) {
		return cloud.Secret{}, fmt.Errorf("account name %q: want 1 to 64 of a-z, 0-9 and ._@-, the first a letter or digit", name)
	}
	if _, err := a.find(name); err == nil {
		return cloud.Secret{}, fmt.Errorf("account %q: %w", name, ErrExists)
	}
	token := "acc-" + cloud.Token(20)
	row := Account{Name: name, Created: time.Now().Unix()}
	return cloud.NewSecret(token), durable.WriteJSON(a.path(token), row)
}

// Remove ends an account: its token and its clients are refused from then on.
func (a *Accounts) Remove(name string) error {
	file, err := a.find(name)
	if err != nil {
		return fmt.Errorf("account %q: %w", name, err)
	}
	if err := os.Remove(file); err != nil {
		return err
	}
	return durable.SyncDir(a.dir)
}

// List returns the names of all accounts, sorted.
func (a *Accounts) List() ([]string, error) {
	var names []string
	err := a.each(func(_ string, row Account) bool {
		names = append(names, row.Name)
		return true
	})
	slices.Sort(names)
	return names, err
}

// Authenticate returns the name of the account to which a token belongs.
func (a *Accounts) Authenticate(token cloud.Secret) (string, error) {
	var row Account
	// The hash of the token is needed, and nothing else of it.
	found, err := durable.ReadJSON(a.path(token.Reveal()), &row)
	if err == nil && !found {
		err = ErrUnknown
	}
	return row.Name, err
}

// Exists tells whether there is an account of that name.
func (a *Accounts) Exists(name string) bool {
	_, err := a.find(name)
	return err == nil
}

func (a *Accounts) find(name string) (file string, err error) {
	err = a.each(func(path string, row Account) bool {
		if row.Name == name {
			file = path
		}
		return file == ""
	})
	if err == nil && file == "" {
		err = ErrUnknown
	}
	return file, err
}

func (a *Accounts) each(f func(path string, row Account) bool) error {
	entries, err := os.ReadDir(a.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		path := filepath.Join(a.dir, e.Name())
		var row Account
		if !strings.HasSuffix(path, ".json") {
			continue
		}
		if found, err := durable.ReadJSON(path, &row); err != nil {
			return err
		} else if found && !f(path, row) {
			return nil
		}
	}
	return nil
}

func (a *Accounts) path(token string) string { return filepath.Join(a.dir, Hash(token)+".json") }

// Hash is the SHA-256 of a token, hex: what is stored and compared in its place.
func Hash(token string) string {
	h := sha256.Sum256([]byte(token))
	return hex.EncodeToString(h[:])
}
