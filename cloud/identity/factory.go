package identity

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base32"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/durable"
)

const (
	fileFactoryCert = "factory.pem"
	fileFactoryKey  = "factory.key"

	sanNoise = "noise:"
	sanSign  = "sign:"
)

// A camera can't renew its certificate and may not know the time (S9): valid
// from before it was made until the last moment that X.509 has a name for
// (RFC 5280, 4.1.2.5).
func validity() (from, to time.Time) {
	return time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
}

var b32 = base32.StdEncoding.WithPadding(base32.NoPadding)

// Factory is a vendor's certificate authority for cameras. Its key belongs on
// no camera and no server. It may be used from any goroutine.
type Factory struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// Format shows no key. S8.
func (f *Factory) Format(s fmt.State, _ rune) { fmt.Fprint(s, "factory") }

// NewFactory makes a certificate authority for a vendor's cameras.
func NewFactory(vendor string) (*Factory, error) {
	vendor = strings.TrimSpace(vendor)
	if vendor == "" || len(vendor) > 64 {
		return nil, fmt.Errorf("factory: vendor name of %d bytes, want 1 to 64", len(vendor))
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("factory: %w", err)
	}
	from, to := validity()
	tmpl := &x509.Certificate{
		SerialNumber: certNumber(),
		Subject:      pkix.Name{Organization: []string{vendor}, CommonName: vendor + " camera factory"},
		NotBefore:    from, NotAfter: to,
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("factory: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("factory: %w", err)
	}
	return &Factory{cert: cert, key: key}, nil
}

// LoadFactory reads a factory; fs.ErrNotExist if dir holds none.
func LoadFactory(dir string) (*Factory, error) {
	path := filepath.Join(dir, fileFactoryCert)
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("factory: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("factory: %s: no certificate in it", path)
	}
	// A second copy lets the chain parser, which wants two, check the first.
	certs, err := parseChain(string(b) + string(b))
	if err != nil || !certs[0].IsCA {
		return nil, fmt.Errorf("factory: %s: not the certificate of an authority", path)
	}
	path = filepath.Join(dir, fileFactoryKey)
	if b, err = os.ReadFile(path); err != nil {
		return nil, fmt.Errorf("factory: %s: %w", path, partError(err))
	}
	key, err := readKey[*ecdsa.PrivateKey](b)
	if err != nil {
		return nil, fmt.Errorf("factory: %s: %w", path, err)
	}
	if !key.PublicKey.Equal(certs[0].PublicKey) {
		return nil, fmt.Errorf("factory: %s: does not belong to the certificate in %s", path, fileFactoryCert)
	}
	return &Factory{cert: certs[0], key: key}, nil
}

// Save writes the factory into dir, durable, files 0600; it replaces none.
func (f *Factory) Save(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("factory: %w", err)
	}
	path := filepath.Join(dir, fileFactoryCert)
	if _, err := os.Lstat(path); err == nil {
		return fmt.Errorf("factory: %s holds one already: %w", dir, fs.ErrExist)
	}
	if err := writeKey(filepath.Join(dir, fileFactoryKey), f.key); err != nil {
		return fmt.Errorf("factory: %w", err)
	}
	if err := durable.WriteFile(path, []byte(f.CertPEM())); err != nil {
		return fmt.Errorf("factory: %w", err)
	}
	return nil
}

// CertPEM is the factory's certificate: what a cloud, a broker and apps trust.
func (f *Factory) CertPEM() string { return certPEM(f.cert.Raw) }

// Roots is a pool of the factory's certificate alone, for VerifyChain.
func (f *Factory) Roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(f.cert)
	return pool
}

// Provision makes a new camera: serial, code, keys, certificate.
func (f *Factory) Provision() (*Identity, error) {
	_, signing, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("factory: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("factory: %w", err)
	}
	id := &Identity{
		Serial: cloud.NewSerial(), Code: cloud.NewCode(), Signing: signing, Noise: NewKeyPair(),
	}
	der, err := f.issue(id, &key.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("factory: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("factory: %w", err)
	}
	id.TLS = tls.Certificate{Certificate: [][]byte{der, f.cert.Raw}, PrivateKey: key, Leaf: leaf}
	id.Chain = certPEM(der) + f.CertPEM()
	if _, err := DeviceFromCert(leaf); err != nil {
		return nil, errors.Join(errors.New("factory: made a certificate that does not verify"), err)
	}
	return id, nil
}

func (f *Factory) issue(id *Identity, key *ecdsa.PublicKey) ([]byte, error) {
	from, to := validity()
	public, ok := id.Signing.Public().(ed25519.PublicKey)
	if !ok {
		return nil, errors.New("signing key: not Ed25519")
	}
	return x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: certNumber(),
		Subject:      pkix.Name{CommonName: id.Serial.Plain()},
		NotBefore:    from, NotAfter: to,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		URIs: []*url.URL{
			{Scheme: "iid2", Opaque: sanNoise + b32.EncodeToString(id.Noise.Public)},
			{Scheme: "iid2", Opaque: sanSign + b32.EncodeToString(public)},
		},
	}, f.cert, key, f.key)
}

// certNumber is a random positive certificate number of 127 bits (RFC 5280, 4.1.2.2).
func certNumber() *big.Int {
	b := make([]byte, 16)
	rand.Read(b)
	b[0] &= 0x7f
	b[15] |= 1
	return new(big.Int).SetBytes(b)
}
