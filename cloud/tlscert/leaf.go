package tlscert

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// names are what a leaf is for: the address that a viewer connected to, and the
// host name by which it did, if it tells one.
type names struct {
	ip   netip.Addr // not valid: none
	host string
}

// maxLeaves bounds what those who ask by made-up names can have kept.
const maxLeaves = 32

// Certificate is the leaf for a connection, with the authority behind it; it
// fits tls.Config.GetCertificate.
func (a *Authority) Certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	n := names{host: hostName(hello.ServerName)}
	if hello.Conn != nil {
		n.ip = addressOf(hello.Conn.LocalAddr())
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if c := a.leaves[n]; c != nil {
		return c, nil
	}
	c, err := a.issue(n)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	if a.leaves == nil || len(a.leaves) >= maxLeaves {
		a.leaves = map[names]*tls.Certificate{}
	}
	a.leaves[n] = c
	return c, nil
}

func addressOf(addr net.Addr) netip.Addr {
	if addr == nil {
		return netip.Addr{}
	}
	p, err := netip.ParseAddrPort(addr.String())
	if err != nil {
		return netip.Addr{}
	}
	return p.Addr().Unmap().WithZone("")
}

// hostName is name if it can stand in a certificate (RFC 1123, 2.1), else "":
// the client chose it.
func hostName(name string) string {
	name = strings.ToLower(name)
	if len(name) > 253 || net.ParseIP(name) != nil {
		return ""
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return ""
		}
		if strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return ""
		}
	}
	return name
}

// issue signs a leaf; a.mu is held.
func (a *Authority) issue(n names) (*tls.Certificate, error) {
	if a.leaf == nil {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		a.leaf = key
	}
	from, to := validity()
	template := &x509.Certificate{
		SerialNumber: newNumber(),
		Subject:      pkix.Name{CommonName: "camera"},
		NotBefore:    from, NotAfter: to,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if n.ip.IsValid() {
		template.IPAddresses = []net.IP{n.ip.AsSlice()}
	}
	if n.host != "" {
		template.DNSNames = []string{n.host}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &a.leaf.PublicKey, a.key)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der, a.cert.Raw}, PrivateKey: a.leaf, Leaf: leaf}, nil
}
