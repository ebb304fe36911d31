package site

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// authority makes a certificate for 127.0.0.1, and the pool that trusts it.
func authority(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "site"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		IsCA: true, BasicConstraintsValid: true, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

// serve is a broker that answers each connection after delay, nil: at once. met is
// called when one is through.
func serve(t *testing.T, cert tls.Certificate, delay func(), met func()) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer conn.Close()
				if delay != nil {
					delay()
				}
				s := tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{cert}})
				if s.Handshake() == nil {
					s.Read(make([]byte, 1)) // until the other side hangs up
					met()
				}
			})
		}
	})
	t.Cleanup(func() { l.Close(); all.Wait() })
	return l.Addr().String()
}

// Real connections: to the far sites each takes twice as long as all of those to
// the near one took together; others are strangers, or not there.
func TestP10_NearestOnRealConnections(t *testing.T) {
	t.Parallel()
	cert, roots := authority(t)
	strange, _ := authority(t)
	began, near := time.Now(), make(chan struct{})
	var mu sync.Mutex
	var n int
	var took time.Duration
	far := func() {
		<-near
		<-time.After(min(2*took, tryWithin/2))
	}
	nothing := func() {}
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, gone.Close())
	sites := []Site{
		{"far", serve(t, cert, far, nothing)},
		{"stranger", serve(t, strange, nil, nothing)},
		{"gone", gone.Addr().String()},
		{"near", serve(t, cert, nil, func() {
			mu.Lock()
			defer mu.Unlock()
			if n++; n == tries {
				took = time.Since(began)
				close(near)
			}
		})},
		{"farther", serve(t, cert, far, nothing)},
	}
	c, err := New(Config{Sites: sites, Dir: t.TempDir(), Probe: Connect(&tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13}),
		Binding: func() (uint64, string, bool) { return 0, "", false }, Move: func() {}})
	require.NoError(t, err)
	require.Equal(t, sites[3].Broker, c.Choose(t.Context()))
	st := c.Stats()
	require.Equal(t, "near", st.Site)
	require.Contains(t, st.Times, "far")
	require.NotContains(t, st.Times, "stranger", "who is not trusted is no site")
	require.NotContains(t, st.Times, "gone")
}
