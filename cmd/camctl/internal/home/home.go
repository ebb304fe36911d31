// Package home is camctl's configuration folder: who the owner is, at which
// cloud, and which cameras are theirs.
//
//	identity.json          the owner's Noise key, and which age recipient belongs to it
//	age.key                the owner's age identity, in the format of age's own key files
//	account.json           the cloud, its token, and the certificate for its broker
//	cameras/<serial>.json  what was pinned when a camera was paired
//	heads/<serial>.json    the newest that a camera has told of its chains
//	*.lock                 held by a running camctl
//
// Folders are 0700 and files 0600, written durably. The package talks to
// nobody, and prints no secret: keys and tokens leave it in types that redact
// themselves. Several processes may use one folder.
package home

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Home is one configuration folder. It may be used from any goroutine.
type Home struct{ dir string }

// New uses dir, which is made when something is first stored.
func New(dir string) *Home { return &Home{dir: dir} }

// Default is where the folder lies if nobody says otherwise.
func Default() (string, error) {
	base, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("configuration folder: %w: give --config DIR or set CAMCTL_CONFIG", err)
	}
	return filepath.Join(base, "camctl"), nil
}

// Dir is the folder.
func (h *Home) Dir() string { return h.dir }

func (h *Home) path(parts ...string) string {
	return filepath.Join(append([]string{h.dir}, parts...)...)
}

func (h *Home) make(parts ...string) error {
	if err := os.MkdirAll(h.path(parts...), 0o700); err != nil {
		return fmt.Errorf("configuration folder: %w", err)
	}
	return nil
}

// lockPoll is how often a lock that another process holds is tried.
const lockPoll = 50 * time.Millisecond

// ErrLocked is a lock that another camctl holds.
var ErrLocked = errors.New("another camctl is at it")

// Lock takes the lock of the name for this process, waiting until ctx ends; the
// system releases it if the process dies.
func (h *Home) Lock(ctx context.Context, name string) (unlock func(), err error) {
	if err := h.make(); err != nil {
		return nil, err
	}
	return LockFile(ctx, h.path(name+".lock"))
}

// LockFile is Lock for a file anywhere.
func LockFile(ctx context.Context, path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err := tryLock(f)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, ErrLocked) {
			f.Close()
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, fmt.Errorf("%s: %w: %w", path, ErrLocked, ctx.Err())
		case <-time.After(lockPoll):
		}
	}
}
