package identity

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"iid2secure.nl/camagent/cloud"
)

// Device is what a certificate says about a camera.
type Device struct {
	Serial      cloud.Serial
	NoisePublic []byte // X25519, 32 bytes
	Signing     ed25519.PublicKey
}

// VerifyChain checks a camera's chain (PEM: leaf, then factory CA) against the
// roots of trusted factories.
//
// With roots nil the chain is checked only against itself: that shows nothing
// about who made it. The keys are then authenticated by the pairing handshake
// alone, which proves that the camera has the Noise key and knows the code.
func VerifyChain(chainPEM string, roots *x509.CertPool) (Device, error) {
	d, _, err := verifyChain(chainPEM, roots)
	return d, err
}

func verifyChain(chainPEM string, roots *x509.CertPool) (Device, []*x509.Certificate, error) {
	certs, err := parseChain(chainPEM)
	if err != nil {
		return Device{}, nil, err
	}
	leaf := certs[0]
	opts := x509.VerifyOptions{
		Roots: roots, Intermediates: x509.NewCertPool(),
		KeyUsages:   []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		CurrentTime: time.Now(),
	}
	// A clock that stands at 1970 must not make every camera a stranger. S9.
	if opts.CurrentTime.Before(leaf.NotBefore) {
		opts.CurrentTime = leaf.NotBefore
	}
	if roots == nil {
		last := certs[len(certs)-1]
		if !last.IsCA {
			return Device{}, nil, errors.New("certificate chain: does not end in an authority")
		}
		opts.Roots = x509.NewCertPool()
		opts.Roots.AddCert(last)
	}
	for _, c := range certs[1:] {
		opts.Intermediates.AddCert(c)
	}
	if _, err := leaf.Verify(opts); err != nil {
		return Device{}, nil, fmt.Errorf("certificate chain: not from a trusted factory: %w", err)
	}
	d, err := DeviceFromCert(leaf)
	return d, certs, err
}

// DeviceFromCert reads serial and keys from a camera's certificate. Whether the
// certificate is to be trusted (its chain) the caller has checked before: a TLS
// handshake has, see also VerifyChain.
func DeviceFromCert(c *x509.Certificate) (Device, error) {
	serial, err := cloud.ParseSerial(c.Subject.CommonName)
	if err != nil || serial.Plain() != c.Subject.CommonName {
		return Device{}, errors.New("device certificate: the name in it is not a serial")
	}
	if k, ok := c.PublicKey.(*ecdsa.PublicKey); !ok || k.Curve != elliptic.P256() {
		return Device{}, errors.New("device certificate: the key is not P-256")
	}
	if c.IsCA || !slices.Equal(c.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}) || len(c.UnknownExtKeyUsage) > 0 {
		return Device{}, errors.New("device certificate: not for client authentication alone")
	}
	noise, err := sanKey(c, sanNoise)
	if err != nil {
		return Device{}, err
	}
	if err := CheckPublic(noise); err != nil {
		return Device{}, fmt.Errorf("device certificate: %w", err)
	}
	sign, err := sanKey(c, sanSign)
	if err != nil {
		return Device{}, err
	}
	return Device{Serial: serial, NoisePublic: noise, Signing: sign}, nil
}

// sanKey finds the one URI SAN iid2:<kind><base32 of 32 bytes>.
func sanKey(c *x509.Certificate, kind string) ([]byte, error) {
	var found []byte
	for _, u := range c.URIs {
		text, ok := strings.CutPrefix(u.String(), "iid2:"+kind)
		if !ok {
			continue
		}
		b, err := b32.DecodeString(text)
		if err != nil || len(b) != 32 || b32.EncodeToString(b) != text {
			return nil, fmt.Errorf("device certificate: iid2:%s is not a key of 32 bytes in base32", kind)
		}
		if found != nil {
			return nil, fmt.Errorf("device certificate: more than one iid2:%s", kind)
		}
		found = b
	}
	if found == nil {
		return nil, fmt.Errorf("device certificate: no iid2:%s in it", kind)
	}
	return found, nil
}
