// Package tlscert makes the certificates by which viewers on the local network
// know a camera: an authority of its own for each binding, whose certificate
// members get in a session, and under it a leaf for each address that a viewer
// connects to. So a viewer checks chain and name as with any server, or pins the
// authority, and no public authority, name or clock is needed (S9).
//
// The authority's private key is kept by whoever keeps the binding, and ends
// with it. Only the standard library does cryptography here.
package tlscert

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"sync"
	"time"
)

// Authority signs the leaves of one binding. It may be used from any goroutine.
type Authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey

	mu     sync.Mutex
	leaf   *ecdsa.PrivateKey // of all leaves; made with the first
	leaves map[names]*tls.Certificate
}

// Format shows no key. S8.
func (a *Authority) Format(s fmt.State, _ rune) { fmt.Fprint(s, "authority") }

// validity spans every time that a clock can show: what ends a certificate is
// the end of its binding. RFC 5280, 4.1.2.5, has no later moment.
func validity() (from, to time.Time) {
	return time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
}

// New makes an authority. Its name holds nothing about the camera: everybody who
// reaches the port can read it.
func New() (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	number := newNumber()
	from, to := validity()
	template := &x509.Certificate{
		SerialNumber: number,
		// A name of its own: verifiers look authorities up by it.
		Subject:   pkix.Name{CommonName: "camera " + number.Text(16)},
		NotBefore: from, NotAfter: to,
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage:    x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	return &Authority{cert: cert, key: key}, nil
}

// newNumber is a random certificate number of 120 bits.
func newNumber() *big.Int {
	var b [15]byte
	rand.Read(b[:])
	b[0] |= 0x80
	return new(big.Int).SetBytes(b[:])
}

const (
	pemCertificate = "CERTIFICATE"
	pemKey         = "PRIVATE KEY"
)

// Marshal writes certificate and private key, as Parse reads them: a secret.
func (a *Authority) Marshal() (string, error) {
	der, err := x509.MarshalPKCS8PrivateKey(a.key)
	if err != nil {
		return "", fmt.Errorf("certificate: %w", err)
	}
	return a.CertPEM() + string(pem.EncodeToMemory(&pem.Block{Type: pemKey, Bytes: der})), nil
}

// Parse reads what Marshal wrote. What is anything else is an error, without a
// byte of it.
func Parse(text string) (*Authority, error) {
	first, rest := pem.Decode([]byte(text))
	second, rest := pem.Decode(rest)
	if first == nil || second == nil || first.Type != pemCertificate || second.Type != pemKey || len(rest) > 0 {
		return nil, errors.New("certificate: want one certificate and its key as PEM")
	}
	cert, err := x509.ParseCertificate(first.Bytes)
	if err != nil {
		return nil, errors.New("certificate: not valid")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(second.Bytes)
	key, ok := parsed.(*ecdsa.PrivateKey)
	if err != nil || !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("certificate: the key is not one of P-256")
	}
	if !key.PublicKey.Equal(cert.PublicKey) || !cert.IsCA {
		return nil, errors.New("certificate: not the authority of this key")
	}
	return &Authority{cert: cert, key: key}, nil
}

// CertPEM is the authority's certificate, for viewers.
func (a *Authority) CertPEM() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: pemCertificate, Bytes: a.cert.Raw}))
}

// Fingerprint is SHA-256 of the authority's certificate (DER), in hex, for
// viewers that pin it.
func (a *Authority) Fingerprint() string {
	sum := sha256.Sum256(a.cert.Raw)
	return hex.EncodeToString(sum[:])
}
