package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func authority(t *testing.T, path string) *Authority {
	t.Helper()
	a, err := OpenAuthority(path, "test")
	require.NoError(t, err)
	return a
}

func csr(t *testing.T, key any) string {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{"evil.example"}}, key)
	require.NoError(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
}

func TestAuthorityAndServerArePersistent(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a := authority(t, dir+"/ca")
	again := authority(t, dir+"/ca")
	require.Equal(t, a.PEM(), again.PEM())
	names := []string{"localhost", "127.0.0.1", "::1"}
	cert, err := a.Server(dir+"/server", names)
	require.NoError(t, err)
	same, err := again.Server(dir+"/server", names)
	require.NoError(t, err)
	require.Equal(t, cert.Certificate, same.Certificate)
	more, err := a.Server(dir+"/server", append(names, "cloud.example"))
	require.NoError(t, err)
	require.NotEqual(t, cert.Certificate, more.Certificate)
	leaf, err := x509.ParseCertificate(more.Certificate[0])
	require.NoError(t, err)
	roots := x509.NewCertPool()
	roots.AddCert(a.Certificate())
	for _, n := range []string{"localhost", "127.0.0.1", "[::1]", "cloud.example"} {
		_, err := leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: n})
		require.NoError(t, err, n)
	}
	_, err = leaf.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	require.Error(t, err, "a server certificate must not be good for clients")
	other := authority(t, dir+"/other")
	foreign, err := other.Server(dir+"/server", names)
	require.NoError(t, err)
	require.NotEqual(t, more.Certificate, foreign.Certificate)
}

func TestS8_KeysAreForTheOwnerAlone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a := authority(t, dir+"/ca")
	_, err := a.Server(dir+"/server", []string{"localhost"})
	require.NoError(t, err)
	for _, f := range []string{"ca.key", "server.key"} {
		info, err := os.Stat(filepath.Join(dir, f))
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	}
}

func TestClientCertificates(t *testing.T) {
	t.Parallel()
	a := authority(t, t.TempDir()+"/ca")
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	chain, end, err := a.Client(csr(t, key), "app1")
	require.NoError(t, err)
	block, _ := pem.Decode([]byte(chain))
	leaf, err := x509.ParseCertificate(block.Bytes)
	require.NoError(t, err)
	require.Equal(t, "app1", leaf.Subject.CommonName)
	require.Empty(t, leaf.DNSNames, "names in a request are ignored")
	require.False(t, leaf.IsCA)
	require.Equal(t, end.Unix(), leaf.NotAfter.Unix())
	require.NoError(t, leaf.CheckSignatureFrom(a.Certificate()))
}

func TestClientRefusesBadRequests(t *testing.T) {
	t.Parallel()
	a := authority(t, t.TempDir()+"/ca")
	small, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	require.NoError(t, err)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	good := csr(t, key)
	block, _ := pem.Decode([]byte(good))
	block.Bytes[len(block.Bytes)-1] ^= 1 // the proof that the asker has the key
	for name, text := range map[string]string{
		"empty": "", "no PEM": "hello", "a certificate": a.PEM(), "RSA": csr(t, small), "P-384": csr(t, p384),
		"two": good + good, "bad signature": string(pem.EncodeToMemory(block)),
	} {
		_, _, err := a.Client(text, "app1")
		require.ErrorContains(t, err, "csr:", name)
	}
}

func TestReadPoolNamesTheBadFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(dir+"/x.pem", []byte("hello"), 0o600))
	_, err := ReadPool([]string{dir + "/x.pem"})
	require.ErrorContains(t, err, "x.pem")
	_, err = ReadPool([]string{dir + "/none.pem"})
	require.ErrorIs(t, err, os.ErrNotExist)
}

func FuzzClientRequest(f *testing.F) {
	f.Add("-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n")
	f.Add("")
	a, err := OpenAuthority(f.TempDir()+"/ca", "fuzz")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if chain, _, err := a.Client(text, "x"); err == nil && chain == "" {
			t.Fatal("no certificate and no error")
		}
	})
}
