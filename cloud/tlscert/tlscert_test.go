package tlscert

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func newAuthority(t testing.TB) *Authority {
	t.Helper()
	a, err := New()
	require.NoError(t, err)
	return a
}

// from is a connection that came in at an address of the camera.
type from struct {
	net.Conn
	addr net.Addr
}

func (f from) LocalAddr() net.Addr { return f.addr }

func at(address, name string) *tls.ClientHelloInfo {
	addr, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		panic(err)
	}
	return &tls.ClientHelloInfo{ServerName: name, Conn: from{addr: addr}}
}

func pool(t testing.TB, a *Authority) *x509.CertPool {
	t.Helper()
	p := x509.NewCertPool()
	require.True(t, p.AppendCertsFromPEM([]byte(a.CertPEM())))
	return p
}

// shake is a TLS handshake over loopback, of a client that trusts roots alone.
func shake(t *testing.T, a *Authority, address string, client *tls.Config) error {
	t.Helper()
	ln, err := tls.Listen("tcp", address, &tls.Config{GetCertificate: a.Certificate})
	require.NoError(t, err)
	defer ln.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		if c, err := ln.Accept(); err == nil {
			c.(*tls.Conn).Handshake()
			c.Close()
		}
	}()
	c, err := tls.Dial("tcp", ln.Addr().String(), client)
	if err == nil {
		c.Close()
	}
	<-done
	return err
}

func TestS3_ViewerWithTheCertificateChecksChainAndAddress(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	roots := pool(t, a)
	for _, address := range []string{"127.0.0.1:0", "127.0.0.2:0", "[::1]:0"} {
		require.NoError(t, shake(t, a, address, &tls.Config{RootCAs: roots}), address)
	}
	require.NoError(t, shake(t, a, "127.0.0.1:0", &tls.Config{RootCAs: roots, ServerName: "Camera.local"}))
	require.Error(t, shake(t, newAuthority(t), "127.0.0.1:0", &tls.Config{RootCAs: roots}), "another camera")
	require.Error(t, shake(t, a, "127.0.0.1:0", &tls.Config{RootCAs: roots, ServerName: "127.0.0.9"}), "another address")
}

func TestS3_ViewerPinsTheAuthority(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	pin := func(raw [][]byte, _ [][]*x509.Certificate) error {
		sum := sha256.Sum256(raw[len(raw)-1])
		if got := hex.EncodeToString(sum[:]); got != a.Fingerprint() {
			return fmt.Errorf("fingerprint %s", got)
		}
		return nil
	}
	require.NoError(t, shake(t, a, "127.0.0.1:0", &tls.Config{InsecureSkipVerify: true, VerifyPeerCertificate: pin}))
	require.Error(t, shake(t, newAuthority(t), "127.0.0.1:0", &tls.Config{InsecureSkipVerify: true, VerifyPeerCertificate: pin}))
}

func TestS9_CertificatesHoldWhateverTheClockSays(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	c, err := a.Certificate(at("192.0.2.1:8322", ""))
	require.NoError(t, err)
	for _, year := range []int{2001, 2026, 2500, 9999} {
		_, err := c.Leaf.Verify(x509.VerifyOptions{Roots: pool(t, a), DNSName: "192.0.2.1", CurrentTime: time.Date(year, 6, 1, 0, 0, 0, 0, time.UTC)})
		require.NoError(t, err, year)
	}
}

func TestLeafIsForTheAddressAndTheNameAskedFor(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	for _, c := range []struct{ address, name, ip, dns string }{
		{"192.0.2.1:1", "", "192.0.2.1", ""},
		{"[::ffff:192.0.2.1]:1", "Camera.Home.arpa", "192.0.2.1", "camera.home.arpa"},
		{"[fe80::1%lo]:1", "a", "fe80::1", "a"},
		{"192.0.2.1:1", "192.0.2.7", "192.0.2.1", ""},
		{"192.0.2.1:1", "a..b", "192.0.2.1", ""},
		{"192.0.2.1:1", "-a", "192.0.2.1", ""},
		{"192.0.2.1:1", "*.example", "192.0.2.1", ""},
		{"192.0.2.1:1", "b\xfccher", "192.0.2.1", ""},
		{"192.0.2.1:1", strings.Repeat("a", 64), "192.0.2.1", ""},
		{"192.0.2.1:1", strings.Repeat("a.", 127), "192.0.2.1", ""},
	} {
		got, err := a.Certificate(at(c.address, c.name))
		require.NoError(t, err, "%+v", c)
		require.Equal(t, c.ip, got.Leaf.IPAddresses[0].String(), "%+v", c)
		require.Equal(t, c.dns, strings.Join(got.Leaf.DNSNames, " "), "%+v", c)
		require.False(t, got.Leaf.IsCA)
	}
	got, err := a.Certificate(&tls.ClientHelloInfo{ServerName: "a"})
	require.NoError(t, err, "without a connection")
	require.Empty(t, got.Leaf.IPAddresses)
}

func TestR6_LeavesAreKeptAndBounded(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	first, err := a.Certificate(at("192.0.2.1:1", ""))
	require.NoError(t, err)
	again, err := a.Certificate(at("192.0.2.1:2", ""))
	require.NoError(t, err)
	require.Same(t, first, again)
	var all sync.WaitGroup
	for i := range 100 {
		all.Go(func() {
			if _, err := a.Certificate(at("192.0.2.1:1", fmt.Sprintf("host%d", i))); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	require.LessOrEqual(t, len(a.leaves), maxLeaves)
}

func TestAuthorityIsKeptAndReadBack(t *testing.T) {
	t.Parallel()
	a, b := newAuthority(t), newAuthority(t)
	text, err := a.Marshal()
	require.NoError(t, err)
	got, err := Parse(text)
	require.NoError(t, err)
	require.Equal(t, a.Fingerprint(), got.Fingerprint())
	require.NotEqual(t, a.cert.Subject.String(), b.cert.Subject.String(), "verifiers look authorities up by name")
	c, err := got.Certificate(at("192.0.2.1:1", ""))
	require.NoError(t, err)
	_, err = c.Leaf.Verify(x509.VerifyOptions{Roots: pool(t, a)})
	require.NoError(t, err)

	other, err := b.Marshal()
	require.NoError(t, err)
	key := func(s string) string { return s[strings.Index(s, "-----BEGIN PRIV"):] }
	for what, wrong := range map[string]string{
		"nothing": "", "no key": a.CertPEM(), "no certificate": key(text), "two": text + text,
		"another's key": a.CertPEM() + key(other), "damaged": strings.Replace(text, "A", "B", 40), "twice": a.CertPEM() + a.CertPEM(),
	} {
		_, err := Parse(wrong)
		require.Error(t, err, what)
		require.NotContains(t, err.Error(), "\n", what)
	}
}

func TestS8_AuthorityPrintsNoKey(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
		require.Equal(t, "authority", fmt.Sprintf(verb, a))
	}
}

// OpenSSL, by which most viewers judge, must agree.
func TestS3_OpenSSLVerifiesChainAndAddress(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	c, err := a.Certificate(at("192.0.2.1:1", "camera.local"))
	require.NoError(t, err)
	dir := t.TempDir()
	ca, leaf := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "leaf.der")
	require.NoError(t, os.WriteFile(ca, []byte(a.CertPEM()), 0o600))
	require.NoError(t, os.WriteFile(leaf, c.Certificate[0], 0o600))
	for _, check := range [][]string{{"-verify_ip", "192.0.2.1"}, {"-verify_hostname", "camera.local"}} {
		args := append([]string{"verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", ca}, append(check, leaf)...)
		out, err := exec.Command("openssl", args...).CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	out, err := exec.Command("openssl", "verify", "-CAfile", ca, "-verify_ip", "192.0.2.2", leaf).CombinedOutput()
	require.Error(t, err, "%s", out)
}

// S5: whatever name a client asks for, it gets a certificate that is one.
func FuzzServerName(f *testing.F) {
	a := newAuthority(f)
	roots := pool(f, a)
	f.Add("camera.local")
	f.Add("*.a\x00b")
	f.Fuzz(func(t *testing.T, name string) {
		c, err := a.Certificate(at("192.0.2.1:1", name))
		require.NoError(t, err)
		_, err = c.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: "192.0.2.1"})
		require.NoError(t, err)
	})
}

// S5: the file of a binding holds what Parse reads.
func FuzzParse(f *testing.F) {
	a := newAuthority(f)
	text, err := a.Marshal()
	require.NoError(f, err)
	f.Add(text)
	f.Fuzz(func(t *testing.T, text string) {
		if a, err := Parse(text); err == nil {
			_, err = a.Certificate(at("192.0.2.1:1", ""))
			require.NoError(t, err)
		}
	})
}
