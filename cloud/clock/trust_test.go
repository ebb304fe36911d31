package clock

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// store is a server whose certificate can be changed.
type store struct {
	net.Listener
	authority
	cert atomic.Pointer[tls.Certificate]
}

type authority struct {
	root  *x509.Certificate
	key   *ecdsa.PrivateKey
	roots *x509.CertPool
}

// newAuthority makes one that begins an hour after the certificates that it makes:
// such are met as well.
func newAuthority(t *testing.T, from, to time.Time) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: from.Add(time.Hour), NotAfter: to.AddDate(20, 0, 0), KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	require.NoError(t, err)
	a := authority{key: key, roots: x509.NewCertPool()}
	a.root, err = x509.ParseCertificate(der)
	require.NoError(t, err)
	a.roots.AddCert(a.root)
	return a
}

func (a authority) issue(t *testing.T, from, to time.Time) *tls.Certificate {
	t.Helper()
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "store"}, NotBefore: from, NotAfter: to,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.root, &a.key.PublicKey, a.key)
	require.NoError(t, err)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: a.key}
}

// newStore serves until the test ends.
func newStore(t *testing.T, from, to time.Time) *store {
	t.Helper()
	s := &store{authority: newAuthority(t, from, to)}
	s.renew(t, from, to)
	var err error
	s.Listener, err = tls.Listen("tcp", "127.0.0.1:0", &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.cert.Load(), nil }})
	require.NoError(t, err)
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := s.Accept()
			if err != nil {
				return
			}
			all.Go(func() { io.Copy(io.Discard, conn); conn.Close() })
		}
	})
	t.Cleanup(func() { s.Close(); all.Wait() })
	return s
}

// renew gives the server another certificate.
func (s *store) renew(t *testing.T, from, to time.Time) { s.cert.Store(s.issue(t, from, to)) }

// meet makes a connection as a camera does that is told of every failure.
func (s *store) meet(t *testing.T, c *Clock, roots *x509.CertPool) error {
	t.Helper()
	d := tls.Dialer{Config: c.Secure(&tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13})}
	conn, err := d.DialContext(t.Context(), "tcp", s.Addr().String())
	if err == nil {
		conn.Close()
	}
	c.Heed(err, roots)
	return err
}

func isCertificate(err error) bool {
	var bad *tls.CertificateVerificationError
	return errors.As(err, &bad)
}

func TestS9_CameraWithoutAClockMeetsAServerYoungerThanItsProgram(t *testing.T) {
	t.Parallel()
	s := newStore(t, day(2026, 9, 1), day(2027, 9, 1))
	dir := t.TempDir()
	c := open(t, dir, newKernel(epoch))
	require.True(t, isCertificate(s.meet(t, c, s.roots)), "not valid yet, by all that is known")
	require.NoError(t, s.meet(t, c, s.roots))
	require.WithinDuration(t, day(2026, 9, 1).Add(time.Hour), c.Now(), time.Minute, "surely not before its authority began")
	require.False(t, c.Trust().Synced)

	require.NoError(t, c.Save())
	c = open(t, dir, newKernel(epoch))
	require.NoError(t, s.meet(t, c, s.roots), "known from then on")
	s.renew(t, day(2026, 1, 1), day(2026, 8, 31))
	require.True(t, isCertificate(s.meet(t, c, s.roots)), "one that ended before the floor")
	require.True(t, isCertificate(s.meet(t, c, s.roots)), "and stays so")
}

func TestS9_CertificateThatPassedRaisesTheFloor(t *testing.T) {
	t.Parallel()
	s := newStore(t, day(2026, 9, 1), day(2027, 9, 1))
	dir := t.TempDir()
	c := open(t, dir, newKernel(day(2026, 10, 1)))
	s.renew(t, day(2026, 9, 20), day(2027, 9, 1))
	require.NoError(t, s.meet(t, c, s.roots))
	require.NoError(t, c.Save())
	c = open(t, dir, newKernel(epoch))
	require.WithinDuration(t, day(2026, 9, 20), c.Now(), time.Minute, "to its begin: what a clock says that is not synchronised is not kept")

	c = open(t, dir, newKernel(day(2027, 9, 2)))
	require.True(t, isCertificate(s.meet(t, c, s.roots)))
	require.ErrorContains(t, c.Wrong(), "2026-09-20 00:00:00 to 2027-09-01 00:00:00: one of them is wrong")
}

func TestS9_NobodyElseMovesTheFloor(t *testing.T) {
	t.Parallel()
	s, stranger := newStore(t, day(2026, 9, 1), day(2027, 9, 1)), newStore(t, day(2026, 9, 1), day(2027, 9, 1))
	c := open(t, t.TempDir(), newKernel(epoch))
	for range 3 {
		require.True(t, isCertificate(s.meet(t, c, stranger.roots)))
	}
	require.WithinDuration(t, built, c.Now(), time.Minute)
	for _, err := range []error{nil, io.EOF, &tls.CertificateVerificationError{Err: x509.CertificateInvalidError{Reason: x509.Expired}}} {
		c.Heed(err, s.roots)
	}
	require.WithinDuration(t, built, c.Now(), time.Minute)

	k := newKernel(day(2026, 6, 1))
	k.synced = true
	c = open(t, t.TempDir(), k)
	for range 3 {
		require.True(t, isCertificate(s.meet(t, c, s.roots)), "a synchronised clock is believed")
	}
	require.WithinDuration(t, day(2026, 6, 1), c.Now(), time.Minute)
	require.ErrorContains(t, c.Wrong(), "the clock says 2026-06-01 00:00:")
	require.ErrorContains(t, c.Wrong(), "2026-09-01 00:00:00 to 2027-09-01")
	refused := s.meet(t, c, s.roots)
	k.put(day(2026, 10, 1), true)
	require.NoError(t, s.meet(t, c, s.roots))
	require.NoError(t, c.Wrong())
	c.Heed(refused, s.roots)
	require.NoError(t, c.Wrong(), "what was told before the clock was set")
}

// Somebody whose certificate is good for another host, and begins later, moves no
// floor, and keeps the camera from nobody.
func TestS9_CertificateOfAnotherHostMovesNothing(t *testing.T) {
	t.Parallel()
	s := newStore(t, day(2026, 9, 1), day(2027, 9, 1))
	c := open(t, t.TempDir(), newKernel(day(2026, 10, 1)))
	cfg := func() *tls.Config { return c.Secure(&tls.Config{RootCAs: s.roots, ServerName: "other.example"}) }
	s.renew(t, day(2030, 1, 1), day(2031, 1, 1))
	for range 3 {
		_, err := tls.Dial("tcp", s.Addr().String(), cfg())
		require.True(t, isCertificate(err))
		c.Heed(err, s.roots)
	}
	require.WithinDuration(t, day(2026, 10, 1), c.Now(), time.Minute)

	s.renew(t, day(2026, 9, 15), day(2027, 9, 15))
	require.True(t, isCertificate(s.meet(t, c, s.roots)), "judged by the other's time, once")
	require.NoError(t, s.meet(t, c, s.roots))
	require.WithinDuration(t, day(2026, 10, 1), c.Now(), time.Minute)
	// Nor does the other begin it again at once.
	s.renew(t, day(2030, 1, 1), day(2031, 1, 1))
	_, err := tls.Dial("tcp", s.Addr().String(), cfg())
	require.True(t, isCertificate(err))
	c.Heed(err, s.roots)
	s.renew(t, day(2026, 9, 15), day(2027, 9, 15))
	require.NoError(t, s.meet(t, c, s.roots))
}

// A clock that lies about the future keeps the camera away from its cloud for as
// long as it lies, and no longer, whatever was written down meanwhile.
func TestS9_LyingClockDoesNotBrick(t *testing.T) {
	t.Parallel()
	s := newStore(t, day(2026, 9, 1), day(2031, 1, 1))
	dir := t.TempDir()
	restart := func(c *Clock, wall time.Time, synced bool) *Clock {
		if c != nil {
			require.NoError(t, c.Save())
		}
		k := newKernel(wall)
		k.synced = synced
		return open(t, dir, k)
	}
	c := restart(nil, day(2099, 1, 1), true)
	require.True(t, isCertificate(s.meet(t, c, s.roots)))
	require.ErrorContains(t, c.Wrong(), "the clock says 2099-01-01")
	c = restart(c, day(2026, 10, 1), false)
	require.NoError(t, s.meet(t, c, s.roots), "as soon as it tells the truth")

	// A lie that the certificate covers is believed, even at a start without a clock,
	for _, synced := range []bool{true, false} {
		c = restart(c, day(2030, 1, 1), synced)
		require.NoError(t, s.meet(t, c, s.roots))
	}
	c = restart(c, epoch, false)
	require.WithinDuration(t, day(2030, 1, 1), c.Now(), time.Minute)
	s.renew(t, day(2026, 9, 15), day(2027, 9, 15))
	require.True(t, isCertificate(s.meet(t, c, s.roots)))
	require.Error(t, c.Wrong())
	// until the clock is kept by the truth,
	c = restart(c, day(2026, 10, 2), false)
	require.ErrorContains(t, c.Wrong(), "the clock says 2026-10-02")
	require.ErrorContains(t, c.Wrong(), "earlier than it was already")
	lied, err := os.ReadFile(c.path)
	require.NoError(t, err)
	c = restart(c, day(2026, 10, 2), true)
	require.NoError(t, s.meet(t, c, s.roots))
	require.NoError(t, c.Wrong())
	// and then it is forgotten.
	c = restart(c, epoch, false)
	require.WithinDuration(t, day(2026, 10, 2), c.Now(), time.Minute)
	require.NoError(t, s.meet(t, c, s.roots))

	require.NoError(t, os.WriteFile(c.path, lied, 0o600))
	c = restart(restart(nil, day(2026, 10, 3), true), epoch, false)
	require.WithinDuration(t, day(2026, 10, 3), c.Now(), time.Minute, "without meeting anybody, too")
}

// What is kept never passes the end of the certificate by which it was believed.
func TestS9_KnownTimeIsNotKeptPastTheCertificatesEnd(t *testing.T) {
	t.Parallel()
	s := newStore(t, day(2026, 9, 1), day(2027, 9, 1))
	dir := t.TempDir()
	k := newKernel(day(2027, 8, 31))
	k.synced = true
	c := open(t, dir, k)
	require.NoError(t, s.meet(t, c, s.roots))
	require.NoError(t, c.Save())
	k.put(day(2027, 10, 1), true)
	require.NoError(t, c.Save())
	require.WithinDuration(t, day(2027, 8, 31), open(t, dir, newKernel(epoch)).Now(), time.Minute)
	k = newKernel(epoch)
	c = open(t, dir, k)
	c.known.mono = c.known.mono.Add(-30 * 24 * time.Hour) // a month goes by without a clock
	require.NoError(t, c.Save())
	require.WithinDuration(t, day(2027, 9, 1), open(t, dir, newKernel(epoch)).Now(), time.Minute)
}

func TestSecureKeepsOtherChecks(t *testing.T) {
	t.Parallel()
	s := newStore(t, day(2026, 9, 1), day(2027, 9, 1))
	c := open(t, t.TempDir(), newKernel(day(2026, 10, 1)))
	no := errors.New("no")
	cfg := c.Secure(&tls.Config{RootCAs: s.roots, VerifyConnection: func(tls.ConnectionState) error { return no }})
	_, err := tls.Dial("tcp", s.Addr().String(), cfg)
	require.ErrorIs(t, err, no)
	require.Nil(t, c.seen)
}
