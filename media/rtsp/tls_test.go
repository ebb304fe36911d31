package rtsp

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bluenviron/gortsplib/v4"
	"github.com/bluenviron/gortsplib/v4/pkg/base"
	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/media"
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

// A handshake that does not go on keeps nobody waiting, and not for long.
func TestS3_HandshakeThatStalls(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *Config) { withTLS(c); c.LoginTimeout = 500 * time.Millisecond })
	r.push(0, time.Now())
	var stalled []*net.TCPConn
	for range 20 {
		stalled = append(stalled, r.dial(r.TLSAddr()))
	}
	_, err := stalled[0].Write([]byte{22, 3, 1, 2, 0, 1}) // the beginning of a ClientHello
	require.NoError(t, err)
	c := r.rawTLS()
	c.play()
	_, err = c.pictures().next()
	require.NoError(t, err)
	for _, s := range stalled {
		_, err := s.Read(make([]byte, 1))
		require.ErrorIs(t, err, io.EOF, "closed by the server")
	}
	eventually(t, "counted", func() bool { return r.Stats().Handshakes == 20 && r.Stats().Conns == 1 })
	require.NotZero(t, r.log.FilterMessageSnippet("without a handshake").Len())
	require.Equal(t, base.StatusOK, c.do(base.GetParameter, "", nil).StatusCode)
}

func TestS3_OldTLSAndNoTLSAreRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t, withTLS)
	_, err := tls.Dial("tcp", r.TLSAddr().String(), &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11})
	require.Error(t, err)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		c, err := tls.Dial("tcp", r.TLSAddr().String(), &tls.Config{InsecureSkipVerify: true, MaxVersion: version})
		require.NoError(t, err)
		require.Equal(t, version, c.ConnectionState().Version)
		require.NoError(t, c.Close())
	}
	plain := r.dial(r.TLSAddr())
	_, err = io.WriteString(plain, "OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n")
	require.NoError(t, err)
	b, _ := io.ReadAll(plain)
	require.NotContains(t, string(b), "RTSP")
	eventually(t, "counted", func() bool { return r.Stats().Handshakes == 2 })
}

// Over TLS, too, one that reads nothing is dropped, and nobody else notices.
func TestR1_TLSViewerThatReadsNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *Config) { withTLS(c); c.WriteTimeout = 300 * time.Millisecond })
	r.play()
	stuck := r.rawTLS()
	require.NoError(t, stuck.conn.SetReadBuffer(4096))
	stuck.play()
	good := r.rawTLS()
	good.play()
	p := good.pictures()
	var got [][]byte
	for r.Stats().Timeouts == 0 || len(got) < 50 {
		b, err := p.next()
		require.NoError(t, err)
		got = append(got, b)
	}
	requireRun(t, r.units(), got, 50)
	eventually(t, "only the good one left", func() bool { return r.Viewers() == 1 && r.Stats().Conns == 1 })
}

// The end that the server makes is said in TLS (RFC 5246, 7.2.1), so that a client
// can tell it from a cut.
func TestS3_EndOfTLSIsSaid(t *testing.T) {
	t.Parallel()
	r := newRig(t, withTLS)
	r.push(0, time.Now())
	c := r.rawTLS()
	wire := &recorded{Conn: c.conn}
	client := tls.Client(wire, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12})
	c.out, c.br = client, bufio.NewReader(client)
	c.play()
	r.Drop(user)
	require.True(t, c.closed())
	var last byte
	for b := wire.read; len(b) >= 5; b = b[5+int(b[3])<<8+int(b[4]):] {
		last = b[0]
	}
	const alert = 21
	require.EqualValues(t, alert, last, "type of the last record")
}

// recorded keeps what is read.
type recorded struct {
	net.Conn
	read []byte
}

func (r *recorded) Read(b []byte) (int, error) {
	n, err := r.Conn.Read(b)
	r.read = append(r.read, b[:n]...)
	return n, err
}

// The certificate may change while the server runs, and there may be no plain
// address at all.
func TestM2_TLSAloneServesUDPToo(t *testing.T) {
	t.Parallel()
	var shown atomic.Int32
	r := newRig(t, func(c *Config) {
		withTLS(c)
		c.Address = ""
		c.Certificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { shown.Add(1); return selfSigned(), nil }
	})
	require.Nil(t, r.Addr())
	r.play()
	for i := range 2 {
		c, desc, err := r.tryClient(gortsplib.TransportUDP, r.secureURL("main"))
		require.NoError(t, err)
		got := receive(t, c, desc, 10)
		requireRun(t, r.units(), got, 10)
		c.Close()
		require.EqualValues(t, i+1, shown.Load())
	}
}

func TestM2_BadTLSAndMulticastConfiguration(t *testing.T) {
	t.Parallel()
	taken := newRig(t, nil)
	any := func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, nil }
	group := netip.MustParseAddr("239.255.255.255")
	for _, c := range []struct {
		cfg  Config
		want string
	}{
		{Config{TLSAddress: "127.0.0.1:0"}, "needs a certificate"},
		{Config{TLSAddress: "nonsense", Certificate: any}, "nonsense"},
		{Config{TLSAddress: taken.Addr().String(), Certificate: any}, "address already in use"},
		{Config{Address: "127.0.0.1:0", Multicast: true}, "multicast group"},
		{Config{Address: "127.0.0.1:0", Multicast: true, MulticastGroup: netip.MustParseAddr("10.0.0.1")}, "10.0.0.1"},
		{Config{Address: "127.0.0.1:0", Multicast: true, MulticastGroup: netip.MustParseAddr("ff02::1")}, "ff02::1"},
		{Config{Address: "127.0.0.1:0", Multicast: true, MulticastGroup: group, MulticastPort: 5005}, "5005"},
	} {
		err := New(c.cfg, []*media.Stream{taken.stream}, nil, nil).Run(t.Context())
		require.ErrorContains(t, err, c.want)
		require.NotContains(t, err.Error(), "\n")
	}
}

func TestM2_PicturesOverHTTPS(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *Config) {
		withTLS(c)
		c.Snapshot = func(context.Context) ([]byte, error) { return []byte("jpeg"), nil }
	})
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	defer transport.CloseIdleConnections()
	res, err := (&http.Client{Transport: transport, Timeout: patience}).Get("https://" + r.TLSAddr().String() + snapshotPath)
	require.NoError(t, err)
	defer res.Body.Close()
	require.Equal(t, http.StatusUnauthorized, res.StatusCode)
	require.Contains(t, res.Header.Get("WWW-Authenticate"), "Digest")
}
