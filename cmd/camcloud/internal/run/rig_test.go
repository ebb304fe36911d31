package run

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/api"
	"iid2secure.nl/camagent/cloud/durable"
	"iid2secure.nl/camagent/cloud/identity"
	"iid2secure.nl/camagent/cloud/seal"
	"iid2secure.nl/camagent/cmd/camcloud/internal/conf"
	"iid2secure.nl/camagent/cmd/camcloud/internal/store"
	"iid2secure.nl/camagent/scripts/port"
	"iid2secure.nl/camagent/scripts/s3dev"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for something that must come.
const patience = 20 * time.Second

// rig is a whole camcloud with a real storage.
type rig struct {
	t       *testing.T
	cfg     conf.Config
	factory *identity.Factory
	info    Info
	roots   *x509.CertPool
	api     *api.Client // of the account demo
	end     func()
	logs    *buffer
	out     *buffer
}

// buffer is a bytes.Buffer for several goroutines.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) Sync() error { return nil }

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func newRig(t *testing.T) *rig {
	t.Helper()
	factory, err := identity.NewFactory("test")
	require.NoError(t, err)
	bin, err := s3dev.Binary(t.Context())
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "factory.pem"), []byte(factory.CertPEM()), 0o600))
	cfg := conf.Default()
	cfg.Dir = filepath.Join(dir, "cloud")
	cfg.FactoryCA = []string{filepath.Join(dir, "factory.pem")}
	for _, address := range []*string{&cfg.MQTT.Address, &cfg.HTTPS.Address} { // it is started there again
		*address, err = port.Free()
		require.NoError(t, err)
	}
	cfg.S3.Serve.Binary = bin
	cfg.Account = "demo"
	cfg.Capture = filepath.Join(dir, "capture")
	r := &rig{t: t, cfg: cfg, factory: factory, logs: &buffer{}, out: &buffer{}}
	r.start()
	return r
}

// start runs the cloud until end.
func (r *rig) start() {
	t := r.t
	t.Helper()
	info := filepath.Join(r.cfg.Dir, InfoFile)
	before, _ := os.Stat(info)
	log := zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), r.logs, zap.DebugLevel))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	ready := make(chan struct{})
	go func() { done <- Run(ctx, r.cfg, log, writerFunc(func(p []byte) { r.out.Write(p); close(ready) })) }()
	var once sync.Once
	r.end = func() {
		once.Do(func() {
			if r.api != nil {
				r.api.Close()
			}
			cancel()
			require.NoError(t, <-done)
		})
	}
	t.Cleanup(r.end)
	select {
	case <-ready:
	case err := <-done:
		done <- err
		t.Fatalf("camcloud ended: %v\n%s", err, r.logs)
	case <-time.After(patience):
		t.Fatalf("camcloud not ready\n%s", r.logs)
	}
	found, err := durable.ReadJSON(info, &r.info)
	require.NoError(t, err)
	require.True(t, found)
	now, err := os.Stat(info)
	require.NoError(t, err)
	require.True(t, before == nil || !os.SameFile(before, now), "info.json was not written")
	require.Equal(t, os.FileMode(0o600), now.Mode().Perm())
	require.NotEmpty(t, r.info.Token)
	ca, err := os.ReadFile(r.info.CA)
	require.NoError(t, err)
	r.roots = x509.NewCertPool()
	require.True(t, r.roots.AppendCertsFromPEM(ca))
	r.api = api.New(r.info.API, r.roots, cloud.NewSecret(r.info.Token))
}

type writerFunc func([]byte)

func (f writerFunc) Write(p []byte) (int, error) { f(p); return len(p), nil }

// account makes another account and its client.
func (r *rig) account(name string) *api.Client {
	r.t.Helper()
	accounts, err := store.OpenAccounts(r.cfg.Dir)
	require.NoError(r.t, err)
	token, err := accounts.Add(name)
	require.NoError(r.t, err)
	c := api.New(r.info.API, r.roots, token)
	r.t.Cleanup(c.Close)
	return c
}

// camera is a device with a connection to the broker.
type camera struct {
	r       *rig
	id      *identity.Identity
	client  mqtt.Client
	answers chan cloud.Answer
}

func (r *rig) camera() *camera {
	r.t.Helper()
	id, err := r.factory.Provision()
	require.NoError(r.t, err)
	c := &camera{r: r, id: id}
	c.connect()
	return c
}

func (r *rig) options(id string, cert tls.Certificate) *mqtt.ClientOptions {
	return mqtt.NewClientOptions().AddBroker("ssl://" + r.info.Broker).SetClientID(id).SetProtocolVersion(4).SetAutoReconnect(false).
		SetTLSConfig(&tls.Config{Certificates: []tls.Certificate{cert}, RootCAs: r.roots, MinVersion: tls.VersionTLS13})
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

func (c *camera) connect() {
	c.answers = make(chan cloud.Answer, 8)
	answers := c.answers
	c.client = c.r.connect(c.r.options(c.id.Serial.Plain(), c.id.TLS))
	c.r.wait(c.client.Subscribe(cloud.TopicAnswer(c.id.Serial), 1, func(_ mqtt.Client, m mqtt.Message) {
		var a cloud.Answer
		if json.Unmarshal(m.Payload(), &a) == nil {
			answers <- a
		}
	}))
}

// ask asks the cloud and waits for the answer.
func (c *camera) ask(kind string, body any) cloud.Answer {
	t := c.r.t
	t.Helper()
	b, err := json.Marshal(body)
	require.NoError(t, err)
	id := cloud.Token(5)
	q, err := json.Marshal(cloud.Ask{V: 1, ID: id, Kind: kind, Body: b})
	require.NoError(t, err)
	c.r.wait(c.client.Publish(cloud.TopicAsk(c.id.Serial), 1, false, q))
	select {
	case a := <-c.answers:
		require.Equal(t, id, a.ID)
		require.Equal(t, 1, a.V)
		return a
	case <-time.After(patience):
		t.Fatalf("no answer to %s\n%s", kind, c.r.logs)
		return cloud.Answer{}
	}
}

func bindID(n byte) string { return strings.Repeat(hex.EncodeToString([]byte{n}), 16) }

// notice signs the receipt of a binding as the camera does at pairing.
func (c *camera) notice(epoch uint64, bind string, token string) cloud.ReceiptNotice {
	c.r.t.Helper()
	sum := sha256.Sum256([]byte(token))
	receipt, err := seal.Sign(cloud.TypReceipt, c.id.Signing, cloud.Receipt{
		Statement: cloud.Statement{V: 1, Serial: c.id.Serial, Epoch: epoch, BindID: bind},
		Owner:     strings.Repeat("0", 64), Recipient: strings.Repeat("0", 64),
		Token: hex.EncodeToString(sum[:]), Time: time.Now().Unix(),
	})
	require.NoError(c.r.t, err)
	return cloud.ReceiptNotice{Receipt: receipt, Chain: c.id.Chain, Token: token}
}

// bind claims the camera for an account and books its binding.
func (c *camera) bind(owner *api.Client, epoch uint64) string {
	t := c.r.t
	t.Helper()
	claim, err := owner.Claim(t.Context(), c.id.Serial)
	require.NoError(t, err)
	id := bindID(byte(epoch))
	a := c.ask(cloud.AskReceipt, c.notice(epoch, id, claim.Token.Reveal()))
	require.Empty(t, a.Error)
	return id
}

func requestFor(serial cloud.Serial, bind, name string, content []byte) cloud.GrantRequest {
	sum := sha256.Sum256(content)
	return cloud.GrantRequest{Key: cloud.ObjectKey(serial, bind, name), Size: int64(len(content)), SHA256: hex.EncodeToString(sum[:])}
}

// grant asks for a grant that must be given.
func (c *camera) grant(bind, name string, content []byte) cloud.Grant {
	t := c.r.t
	t.Helper()
	a := c.ask(cloud.AskGrant, requestFor(c.id.Serial, bind, name, content))
	require.Empty(t, a.Error)
	var g cloud.Grant
	require.NoError(t, json.Unmarshal(a.Body, &g))
	return g
}

// do sends a granted request as the device does, and returns the status.
func (r *rig) do(q cloud.Request, body []byte) *http.Response {
	t := r.t
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), q.Method, q.URL, bytes.NewReader(body))
	require.NoError(t, err)
	for k, v := range q.Headers {
		req.Header.Set(k, v)
	}
	resp, err := (&http.Client{Transport: r.transport()}).Do(req)
	require.NoError(t, err)
	io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	return resp
}

// enrol gets an app's broker certificate over the API.
func (r *rig) enrol(owner *api.Client) (string, tls.Certificate) {
	t := r.t
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	require.NoError(t, err)
	got, err := owner.Enrol(t.Context(), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})))
	require.NoError(t, err)
	require.True(t, cloud.ValidClient(got.ID))
	cert := tls.Certificate{PrivateKey: key}
	for b, rest := pem.Decode([]byte(got.Chain)); b != nil; b, rest = pem.Decode(rest) {
		cert.Certificate = append(cert.Certificate, b.Bytes)
	}
	return got.ID, cert
}

func (r *rig) transport() *http.Transport {
	return &http.Transport{TLSClientConfig: &tls.Config{RootCAs: r.roots, MinVersion: tls.VersionTLS13}, DisableKeepAlives: true}
}
