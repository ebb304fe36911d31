package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"iid2secure.nl/camagent/scripts/s3dev"
	"iid2secure.nl/camagent/scripts/stack"
)

// storage is an S3 server that a test can stop and start.
type storage struct {
	opt    s3dev.Options
	server *s3dev.Server
}

const storageSecret = "e2e-secret-key"

// startStorage runs it with a certificate for 127.0.0.1 and returns the
// arguments by which camcloud uses it, with the same certificate for itself.
func startStorage(t *testing.T) (*storage, []string) {
	t.Helper()
	dir := t.TempDir()
	cert, key, ca := makeCertificate(t, dir)
	st := &storage{opt: s3dev.Options{Dir: filepath.Join(dir, "objects"), Binary: filepath.Join(bin, "versitygw"),
		CertFile: cert, KeyFile: key, Access: "e2e", Secret: storageSecret}}
	st.start(t)
	t.Cleanup(func() { st.stop(t) })
	return st, []string{"--s3.endpoint", st.opt.Addr, "--s3.access_key", st.opt.Access, "--s3.ca", ca,
		"--tls.cert", cert, "--tls.key", key, "--tls.ca", ca}
}

func (s *storage) start(t *testing.T) {
	t.Helper()
	server, err := s3dev.Start(context.WithoutCancel(t.Context()), s.opt)
	if err != nil {
		t.Fatal(err)
	}
	s.server, s.opt.Addr = server, server.Addr
}

func (s *storage) stop(t *testing.T) {
	t.Helper()
	if s.server != nil {
		s.server.Close()
		s.server = nil
	}
}

// withStorage is the stack's options for a storage of the test's own.
func withStorage(st *storage, args []string) stack.Options {
	return stack.Options{Storage: st.opt.Addr, Cloud: args}
}

// makeCertificate writes a CA and a server certificate for 127.0.0.1.
func makeCertificate(t *testing.T, dir string) (cert, key, ca string) {
	t.Helper()
	caKey, leafKey := newKey(t), newKey(t)
	root := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "e2e"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "127.0.0.1"},
		NotBefore: root.NotBefore, NotAfter: root.NotAfter, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	rootDER, err := x509.CreateCertificate(rand.Reader, root, root, caKey.Public(), caKey)
	if err != nil {
		t.Fatal(err)
	}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, root, leafKey.Public(), caKey)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(leafKey)
	if err != nil {
		t.Fatal(err)
	}
	return writePEM(t, dir, "server.pem", "CERTIFICATE", leafDER), writePEM(t, dir, "server.key", "PRIVATE KEY", keyDER),
		writePEM(t, dir, "ca.pem", "CERTIFICATE", rootDER)
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func writePEM(t *testing.T, dir, name, kind string, der []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
