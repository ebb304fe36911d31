// Package pki keeps camcloud's own certificates: the authority from which its
// broker, API and development storage get their server certificates, and the
// one that signs the broker certificates of apps. Devices are not its business:
// their certificates come from the factory. Keys never leave the state folder.
package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"time"

	"iid2secure.nl/camagent/cloud/durable"
)

// How long certificates live. A server certificate is made anew at a start at
// which less than serverSpare is left.
const (
	authorityLife = 20 * 365 * 24 * time.Hour
	serverLife    = 730 * 24 * time.Hour
	serverSpare   = 90 * 24 * time.Hour
	clientLife    = 365 * 24 * time.Hour
	skew          = time.Hour // how much a reader's clock may be behind
)

// Authority signs certificates. It is safe for use by several goroutines.
type Authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// OpenAuthority reads the authority kept in path+".pem" and path+".key", or
// makes it there, named name.
func OpenAuthority(path, name string) (*Authority, error) {
	cert, key, err := load(path)
	if err == nil {
		return &Authority{cert, key}, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	fresh, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	tmpl := template(name, authorityLife)
	tmpl.IsCA, tmpl.BasicConstraintsValid = true, true
	tmpl.MaxPathLenZero = true
	tmpl.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, fresh.Public(), fresh)
	if err != nil {
		return nil, err
	}
	if err := save(path, fresh, der); err != nil {
		return nil, err
	}
	cert, err = x509.ParseCertificate(der)
	return &Authority{cert, fresh}, err
}

// Certificate returns the authority's own certificate.
func (a *Authority) Certificate() *x509.Certificate { return a.cert }

// PEM returns the authority's own certificate as text.
func (a *Authority) PEM() string { return encode(a.cert.Raw) }

// Server returns the server certificate kept in path+".pem" and path+".key",
// made anew if it is missing, foreign, near its end, or for other names. Names
// are host names and IP addresses.
func (a *Authority) Server(path string, names []string) (tls.Certificate, error) {
	cert, key, err := load(path)
	if err == nil && a.serves(cert, names) {
		return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return tls.Certificate{}, err
	}
	fresh, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	tmpl := template(names[0], serverLife)
	tmpl.KeyUsage = x509.KeyUsageDigitalSignature
	tmpl.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	tmpl.DNSNames, tmpl.IPAddresses = split(names)
	der, err := a.sign(tmpl, fresh.Public())
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: fresh}, save(path, fresh, der)
}

func (a *Authority) serves(cert *x509.Certificate, names []string) bool {
	if cert.CheckSignatureFrom(a.cert) != nil || time.Until(cert.NotAfter) < serverSpare {
		return false
	}
	return !slices.ContainsFunc(names, func(n string) bool { return cert.VerifyHostname(n) != nil })
}

// Client signs a certificate for the key of a certificate request (PEM), under
// the name cn; the names in the request are ignored. It returns the chain in
// PEM and the certificate's end.
func (a *Authority) Client(csr, cn string) (chain string, end time.Time, err error) {
	block, rest := pem.Decode([]byte(csr))
	if block == nil || block.Type != "CERTIFICATE REQUEST" || len(rest) > 0 {
		return "", end, errors.New("csr: not one PEM block CERTIFICATE REQUEST")
	}
	req, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil || req.CheckSignature() != nil {
		return "", end, errors.New("csr: not a valid certificate request")
	}
	switch pub := req.PublicKey.(type) {
	case ed25519.PublicKey:
	case *ecdsa.PublicKey:
		if pub.Curve != elliptic.P256() {
			return "", end, errors.New("csr: the key must be P-256 or Ed25519")
		}
	default:
		return "", end, errors.New("csr: the key must be P-256 or Ed25519")
	}
	tmpl := template(cn, clientLife)
	tmpl.KeyUsage = x509.KeyUsageDigitalSignature
	tmpl.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	der, err := a.sign(tmpl, req.PublicKey)
	return encode(der) + a.PEM(), tmpl.NotAfter, err
}

func (a *Authority) sign(tmpl *x509.Certificate, pub crypto.PublicKey) ([]byte, error) {
	return x509.CreateCertificate(rand.Reader, tmpl, a.cert, pub, a.key)
}

// ReadPool reads PEM roots from files; there must be at least one in each.
func ReadPool(files []string) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		if !pool.AppendCertsFromPEM(b) {
			return nil, fmt.Errorf("%s: no PEM certificate in it", f)
		}
	}
	return pool, nil
}

func template(cn string, life time.Duration) *x509.Certificate {
	now := time.Now()
	return &x509.Certificate{
		Subject:   pkix.Name{CommonName: cn},
		NotBefore: now.Add(-skew),
		NotAfter:  now.Add(life),
	}
}

func split(names []string) (dns []string, ips []net.IP) {
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			ips = append(ips, ip)
		} else {
			dns = append(dns, n)
		}
	}
	return dns, ips
}

func encode(der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// save writes the key first: a certificate without its key would be taken for a
// damaged state folder.
func save(path string, key *ecdsa.PrivateKey, der []byte) error {
	b, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	k := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: b})
	if err := durable.WriteFile(path+".key", k); err != nil {
		return err
	}
	return durable.WriteFile(path+".pem", []byte(encode(der)))
}

func load(path string) (*x509.Certificate, crypto.Signer, error) {
	if _, err := os.Stat(path + ".pem"); err != nil {
		return nil, nil, err
	}
	pair, err := tls.LoadX509KeyPair(path+".pem", path+".key")
	if err != nil {
		return nil, nil, fmt.Errorf("%s.pem and .key: %w", path, err)
	}
	key, ok := pair.PrivateKey.(crypto.Signer)
	if !ok {
		return nil, nil, fmt.Errorf("%s.key: not a signing key", path)
	}
	return pair.Leaf, key, nil
}
