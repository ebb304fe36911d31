package broker

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net"
	"sync"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/identity"
	"iid2secure.nl/camagent/cmd/camcloud/internal/pki"
	"iid2secure.nl/camagent/cmd/camcloud/internal/store"
	"iid2secure.nl/camagent/scripts/port"
)

// patience is how long a test waits for something that must come.
const patience = 10 * time.Second

// ask is what a device asked.
type ask struct {
	serial  cloud.Serial
	payload []byte
}

// rig is a broker with a factory and a store.
type rig struct {
	t       *testing.T
	dir     string
	addr    string
	broker  *Broker
	store   *store.Store
	apps    *pki.Authority
	roots   *x509.CertPool
	factory *identity.Factory
	end     func() // ends the broker and waits

	mu      sync.Mutex
	asks    []ask
	answer  []byte
	capture capture
}

func newRig(t *testing.T) *rig {
	t.Helper()
	factory, err := identity.NewFactory("test")
	require.NoError(t, err)
	r := &rig{t: t, dir: t.TempDir(), factory: factory}
	addr, err := port.Free() // it is started there again
	require.NoError(t, err)
	r.start(addr)
	return r
}

// start runs the broker on the state of dir.
func (r *rig) start(addr string) {
	t := r.t
	t.Helper()
	ca, err := pki.OpenAuthority(r.dir+"/ca", "test")
	require.NoError(t, err)
	r.roots = x509.NewCertPool()
	r.roots.AddCert(ca.Certificate())
	cert, err := ca.Server(r.dir+"/server", []string{"127.0.0.1"})
	require.NoError(t, err)
	r.apps, err = pki.OpenAuthority(r.dir+"/app-ca", "apps")
	require.NoError(t, err)
	r.store, err = store.Open(r.dir)
	require.NoError(t, err)
	l, err := net.Listen("tcp", addr)
	require.NoError(t, err)
	r.addr = l.Addr().String()
	r.broker = New(Options{
		Listener: l, Certificate: cert, Devices: r.factory.Roots(), Apps: r.apps.Certificate(), Store: r.store,
		Dir: r.dir + "/broker", Log: zaptest.NewLogger(t, zaptest.Level(zap.WarnLevel)), Ask: r.take, Capture: &r.capture,
		Device: func(c *x509.Certificate) (cloud.Serial, error) {
			d, err := identity.DeviceFromCert(c)
			return d.Serial, err
		},
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.broker.Run(ctx) }()
	var once sync.Once
	r.end = func() {
		once.Do(func() {
			cancel()
			require.NoError(t, <-done)
		})
	}
	t.Cleanup(r.end)
	select {
	case <-r.broker.Ready():
	case err := <-done:
		t.Fatalf("broker ended: %v", err)
	case <-time.After(patience):
		t.Fatal("broker not ready")
	}
}

// capture is what the broker carried.
type capture struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (c *capture) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.b.Write(p)
}

func (c *capture) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.b.String()
}

func (r *rig) take(_ context.Context, s cloud.Serial, p []byte) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asks = append(r.asks, ask{s, p})
	return r.answer
}

func (r *rig) device() *identity.Identity {
	r.t.Helper()
	id, err := r.factory.Provision()
	require.NoError(r.t, err)
	return id
}

// app enrols an app of account and returns its client id and certificate.
func (r *rig) app(account string) (string, tls.Certificate) {
	r.t.Helper()
	if !r.store.Accounts.Exists(account) {
		_, err := r.store.Accounts.Add(account)
		require.NoError(r.t, err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(r.t, err)
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	require.NoError(r.t, err)
	id := cloud.Token(10)
	chain, end, err := r.apps.Client(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})), id)
	require.NoError(r.t, err)
	require.NoError(r.t, r.store.AddClient(id, account, end))
	return id, tls.Certificate{Certificate: ders(chain), PrivateKey: key}
}

func ders(chain string) (out [][]byte) {
	for b, rest := pem.Decode([]byte(chain)); b != nil; b, rest = pem.Decode(rest) {
		out = append(out, b.Bytes)
	}
	return out
}

// bind books serial to account.
func (r *rig) bind(account string, serial cloud.Serial, epoch uint64) {
	r.t.Helper()
	token, _, err := r.store.Claim(account, serial)
	require.NoError(r.t, err)
	receipt := cloud.Receipt{Statement: cloud.Statement{V: 1, Serial: serial, Epoch: epoch, BindID: "00112233445566778899aabbccddeeff"}, Token: store.Hash(token.Reveal())}
	_, err = r.store.Book(receipt, token)
	require.NoError(r.t, err)
}

// options are those of a client with a certificate.
func (r *rig) options(id string, cert tls.Certificate) *mqtt.ClientOptions {
	return mqtt.NewClientOptions().AddBroker("ssl://" + r.addr).SetClientID(id).SetProtocolVersion(4).
		SetTLSConfig(&tls.Config{Certificates: []tls.Certificate{cert}, RootCAs: r.roots, MinVersion: tls.VersionTLS13}).
		SetAutoReconnect(false).SetConnectTimeout(patience)
}

func (r *rig) connect(o *mqtt.ClientOptions) mqtt.Client {
	r.t.Helper()
	c := mqtt.NewClient(o)
	r.wait(c.Connect())
	r.t.Cleanup(func() { c.Disconnect(0) })
	return c
}

func (r *rig) wait(tok mqtt.Token) {
	r.t.Helper()
	require.True(r.t, tok.WaitTimeout(patience), "no answer in time")
	require.NoError(r.t, tok.Error())
}

// refused tells that a client with these options does not get in.
func (r *rig) refused(o *mqtt.ClientOptions) {
	r.t.Helper()
	tok := mqtt.NewClient(o).Connect()
	require.True(r.t, tok.WaitTimeout(patience), "no answer in time")
	require.Error(r.t, tok.Error())
}

// subscribe returns what comes on a topic, and whether the broker granted it.
func (r *rig) subscribe(c mqtt.Client, topic string, qos byte) (<-chan mqtt.Message, bool) {
	r.t.Helper()
	ch := make(chan mqtt.Message, 16)
	tok := c.Subscribe(topic, qos, func(_ mqtt.Client, m mqtt.Message) { ch <- m })
	require.True(r.t, tok.WaitTimeout(patience))
	sub, ok := tok.(*mqtt.SubscribeToken)
	require.True(r.t, ok)
	return ch, sub.Result()[topic] != 0x80
}

func (r *rig) granted(c mqtt.Client, topic string, qos byte) <-chan mqtt.Message {
	r.t.Helper()
	ch, ok := r.subscribe(c, topic, qos)
	require.True(r.t, ok, "subscription to %s denied", topic)
	return ch
}

func (r *rig) next(ch <-chan mqtt.Message) mqtt.Message {
	r.t.Helper()
	select {
	case m := <-ch:
		return m
	case <-time.After(patience):
		r.t.Fatal("no message in time")
		return nil
	}
}

// onlyAfter publishes a marker on a topic that is allowed, and tells that it is
// the next thing to come on ch: what was published before was not delivered.
func (r *rig) onlyMarker(ch <-chan mqtt.Message, from mqtt.Client, topic string) {
	r.t.Helper()
	r.wait(from.Publish(topic, 1, false, "marker"))
	require.Equal(r.t, "marker", string(r.next(ch).Payload()))
}
