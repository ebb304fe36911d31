package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"iid2secure.nl/camagent/agent"
	"iid2secure.nl/camagent/cloud/identity"
	"iid2secure.nl/camagent/config"
	"iid2secure.nl/camagent/hal"
)

// canDo lists the streams and capabilities of a camera.
func canDo(c *hal.Camera) string {
	var words []string
	for _, s := range c.Streams() {
		words = append(words, "stream "+s.Name)
	}
	for _, k := range c.Capabilities() {
		words = append(words, k.String())
	}
	return strings.Join(words, ", ")
}

// checkState makes sure that camagent does not run, for as long as lock is open,
// and that it can write its state. A folder that is not there yet is no problem
// if it can be made; lock is nil then.
func checkState(dir string) (lock *os.File, tell string, err error) {
	lock, err = agent.Lock(dir)
	at, tell := dir, dir
	if errors.Is(err, fs.ErrNotExist) {
		at, tell, err = existing(dir), dir+": not there yet; the first start makes it", nil
	}
	if err == nil {
		if err = unix.Access(at, unix.W_OK|unix.X_OK); err != nil {
			err = fmt.Errorf("state folder %s: writing in %s: %w", dir, at, err)
		}
	}
	return lock, tell, err
}

// existing is the nearest folder above dir that is there.
func existing(dir string) string {
	for {
		if _, err := os.Stat(dir); err == nil || dir == filepath.Dir(dir) {
			return dir
		}
		dir = filepath.Dir(dir)
	}
}

// storeOf is where a camera keeps its identity; nil if there is no camera.
func storeOf(c *hal.Camera) hal.IdentityStore {
	if c == nil {
		return nil
	}
	return c
}

// checkIdentity reads the identity; nil without an error if there is none yet,
// and the camera is to make its own.
func checkIdentity(cfg config.Config, camera *hal.Camera) (*identity.Identity, string, error) {
	id, err := agent.ReadIdentity(cfg, storeOf(camera))
	if errors.Is(err, fs.ErrNotExist) && cfg.Board == config.BoardSim {
		return nil, "none yet: a simulated camera makes its own at its first start", nil
	}
	if err != nil {
		return nil, "", err
	}
	leaf := id.TLS.Leaf
	now := time.Now()
	if now.Before(leaf.NotBefore) || now.After(leaf.NotAfter) {
		return id, "", fmt.Errorf("the certificate of %s is valid from %s to %s, and the clock says %s", id.Serial,
			day(leaf.NotBefore), day(leaf.NotAfter), day(now))
	}
	return id, fmt.Sprintf("%s, certificate valid until %s", id.Serial, day(leaf.NotAfter)), nil
}

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }

// checkClock compares the clock with what can't be later than now.
func checkClock(id *identity.Identity) (string, error) {
	now := time.Now().UTC()
	if floor := agent.BuildTime(); now.Before(floor) {
		return "", fmt.Errorf("it says %s, but this program was made on %s: set it, or let NTP", now.Format(time.RFC3339), day(floor))
	}
	if id != nil && now.Before(id.TLS.Leaf.NotBefore) {
		return "", fmt.Errorf("it says %s, but the camera was provisioned on %s: set it, or let NTP", now.Format(time.RFC3339), day(id.TLS.Leaf.NotBefore))
	}
	return now.Format(time.RFC3339), nil
}

// checkCard writes and reads on the card, and tells its space.
func checkCard(cfg config.Card) (string, error) {
	before := existing(cfg.Dir)
	defer removeUpTo(before, cfg.Dir)
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return "", err
	}
	var st unix.Statfs_t
	if err := unix.Statfs(cfg.Dir, &st); err != nil {
		return "", fmt.Errorf("%s: %w", cfg.Dir, err)
	}
	if st.Flags&unix.ST_RDONLY != 0 {
		return "", fmt.Errorf("%s is mounted read-only: look at the kernel's messages, the card may be worn out", cfg.Dir)
	}
	if err := tryWriting(cfg.Dir); err != nil {
		return "", err
	}
	free := st.Bavail * uint64(st.Bsize)
	if free < minFree {
		return "", fmt.Errorf("%s: %d MB free, want at least %d", cfg.Dir, free/1e6, uint64(minFree)/1e6)
	}
	where := "on a file system of its own"
	shared, err := sameDevice(cfg.Dir, filepath.Dir(cfg.Dir))
	switch {
	case err != nil:
		return "", err
	case shared && cfg.RequireMount:
		return "", fmt.Errorf("%s: nothing is mounted there, and card.require_mount is set", cfg.Dir)
	case shared:
		where = "no file system of its own"
	}
	return fmt.Sprintf("%s: writable, %d MB free, %s", cfg.Dir, free/1e6, where), nil
}

// removeUpTo removes dir and the folders above it, as far as they are empty, but
// not kept.
func removeUpTo(kept, dir string) {
	for ; dir != kept && os.Remove(dir) == nil; dir = filepath.Dir(dir) {
	}
}

// minFree is what a clip or two take.
const minFree = 32 << 20

// tryWriting writes a file, through to the device, and removes it.
func tryWriting(dir string) error {
	f, err := os.CreateTemp(dir, ".camagent-check-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(make([]byte, 64<<10))
	return errors.Join(err, f.Sync(), f.Close())
}

func sameDevice(a, b string) (bool, error) {
	var sa, sb syscall.Stat_t
	if err := errors.Join(syscall.Stat(a, &sa), syscall.Stat(b, &sb)); err != nil {
		return false, err
	}
	return sa.Dev == sb.Dev, nil
}

// server is something that the camera must reach.
type server struct {
	what, address string
	known         bool // it asks for our certificate
}

func servers(cfg config.Cloud) []server {
	var list []server
	for _, s := range cfg.AllSites() {
		list = append(list, server{strings.TrimSpace("broker " + s.Name), s.Broker, true})
	}
	for _, h := range cfg.StorageHosts {
		list = append(list, server{"storage", h, false})
	}
	return list
}

// Times of a connection: until it stands, and how long a refusal of our
// certificate may take to come, which TLS 1.3 sends only afterwards.
const (
	connectWithin = 10 * time.Second
	refusedWithin = time.Second
)

// checkServer connects by TLS, as the camera does.
func checkServer(ctx context.Context, cfg config.Config, s server, id *identity.Identity) (string, error) {
	roots, err := agent.Roots(cfg.Cloud)
	if err != nil {
		return "", err
	}
	tc := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13}
	if s.known && id != nil {
		tc.Certificates = []tls.Certificate{id.TLS}
	}
	ctx, cancel := context.WithTimeout(ctx, connectWithin)
	defer cancel()
	conn, err := (&tls.Dialer{Config: tc}).DialContext(ctx, "tcp", s.address)
	if err != nil {
		return "", fmt.Errorf("%s: %w", s.address, err)
	}
	defer conn.Close()
	if s.known && id != nil {
		if err := accepted(conn); err != nil {
			return "", fmt.Errorf("%s: it refuses this camera's certificate: %w", s.address, err)
		}
	}
	return s.address + ": reached by TLS, its certificate is trusted", nil
}

// accepted waits for a moment whether the other side ends the connection.
func accepted(conn net.Conn) error {
	if err := conn.SetReadDeadline(time.Now().Add(refusedWithin)); err != nil {
		return err
	}
	_, err := conn.Read(make([]byte, 1))
	if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	}
	return err
}
