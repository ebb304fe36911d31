package rtsp

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"sync"
	"testing"
	"time"

	"github.com/bluenviron/gortsplib/v4/pkg/base"
	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/hal"
)

// selfSigned is a certificate, made once a test run.
var selfSigned = sync.OnceValue(func() *tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
})

func withTLS(c *Config) {
	c.TLSAddress = "127.0.0.1:0"
	c.Certificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return selfSigned(), nil }
}

func (r *rig) connect(secure bool) *rawClient {
	r.t.Helper()
	if secure {
		return r.rawTLS()
	}
	return r.raw()
}

// sound gives the stream some, of which nothing is pushed unless the rig plays.
func (r *rig) sound() { r.stream.SetAudio(&hal.AudioFormat{Codec: hal.PCMU, Rate: 8000, Channels: 1}) }

func TestM2_TLSViewerGetsEveryFrame(t *testing.T) {
	t.Parallel()
	r := newRig(t, withTLS)
	r.play()
	c := r.rawTLS()
	c.play()
	p := c.pictures()
	var got [][]byte
	for range 60 {
		b, err := p.next()
		require.NoError(t, err)
		got = append(got, b)
	}
	requireRun(t, r.units(), got, 60)
	require.Equal(t, "tls", r.Sessions()[0].Transport)
	require.Equal(t, base.StatusOK, c.do(base.Teardown, "", nil).StatusCode)
}
