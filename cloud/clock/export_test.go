package clock

import (
	"crypto/tls"
	"crypto/x509"
	"testing"
	"time"
)

// Certificate makes one for 127.0.0.1, of an authority of its own.
func Certificate(t *testing.T, from, to time.Time) (tls.Certificate, *x509.CertPool) {
	a := newAuthority(t, from.Add(-2*time.Hour), to)
	return *a.issue(t, from, to), a.roots
}
