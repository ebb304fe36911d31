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
	"net/url"
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
)

// patience is how long a test waits for something that must come.
const patience = 10 * time.Second

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
	capture bytes.Buffer
}

func newRig(t *testing.T) *rig {
	t.Helper()
	factory, err := identity.NewFactory("test")
	require.NoError(t, err)
	r := &rig{t: t, dir: t.TempDir(), factory: factory}
	r.start("127.0.0.1:0")
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

func TestM5_DeviceAndAppTalk(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	cam := r.device()
	appID, appCert := r.app("anna")
	r.bind("anna", cam.Serial, 1)
	dev := r.connect(r.options(cam.Serial.Plain(), cam.TLS))
	app := r.connect(r.options(appID, appCert))

	in := r.granted(dev, "cam/1/"+cam.Serial.Plain()+"/in/#", 0)
	out := r.granted(app, cloud.TopicOut(cam.Serial, appID), 0)
	event := r.granted(app, cloud.TopicEvent(cam.Serial), 1)
	big := bytes.Repeat([]byte{0x5a}, cloud.MaxMessage)
	r.wait(app.Publish(cloud.TopicIn(cam.Serial, appID), 0, false, big))
	m := r.next(in)
	require.Equal(t, cloud.TopicIn(cam.Serial, appID), m.Topic())
	require.Equal(t, big, m.Payload())
	r.wait(dev.Publish(cloud.TopicOut(cam.Serial, appID), 0, false, "reply"))
	require.Equal(t, "reply", string(r.next(out).Payload()))
	r.wait(dev.Publish(cloud.TopicEvent(cam.Serial), 1, false, "sealed"))
	require.Equal(t, "sealed", string(r.next(event).Payload()))
	require.True(t, r.broker.Online(cam.Serial))
	require.False(t, r.broker.Online(cloud.NewSerial()))
	require.Contains(t, r.capture.String(), "sealed")
}

func TestP6_DeviceKeepsToItsOwnTopics(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	cam, other := r.device(), r.device()
	appID, appCert := r.app("anna")
	r.bind("anna", cam.Serial, 1)
	r.bind("anna", other.Serial, 1)
	bad := r.connect(r.options(other.Serial.Plain(), other.TLS))
	dev := r.connect(r.options(cam.Serial.Plain(), cam.TLS))
	app := r.connect(r.options(appID, appCert))

	for _, topic := range []string{
		"cam/1/" + cam.Serial.Plain() + "/in/#", "cam/1/" + cam.Serial.Plain() + "/answer", "cam/1/+/in/#", "cam/#", "#", "+/#",
		cloud.TopicStatus(other.Serial), cloud.TopicAsk(other.Serial), "cam/1/" + other.Serial.Plain() + "/#", "$MQTT/#", "$MQTT/sub/#", "$SYS/#", "$JS/#",
	} {
		_, ok := r.subscribe(bad, topic, 0)
		require.False(t, ok, topic)
	}
	status := r.granted(app, cloud.TopicStatus(cam.Serial), 1)
	in := r.granted(dev, "cam/1/"+cam.Serial.Plain()+"/in/#", 1)
	for _, retained := range []bool{false, true} {
		for _, qos := range []byte{0, 1} {
			r.wait(bad.Publish(cloud.TopicStatus(cam.Serial), qos, retained, "forged"))
			r.wait(bad.Publish(cloud.TopicIn(cam.Serial, appID), qos, retained, "forged"))
			r.wait(bad.Publish(cloud.TopicAnswer(cam.Serial), qos, retained, "forged"))
		}
	}
	r.onlyMarker(status, dev, cloud.TopicStatus(cam.Serial))
	r.onlyMarker(in, app, cloud.TopicIn(cam.Serial, appID))
	late := r.connect(r.options(appID+"-late", appCert))
	again := r.granted(late, cloud.TopicStatus(cam.Serial), 1)
	r.onlyMarker(again, dev, cloud.TopicStatus(cam.Serial)) // nothing forged was retained
}

func TestP6_AppKeepsToItsCamerasAndClient(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	mine, theirs := r.device(), r.device()
	annaID, annaCert := r.app("anna")
	bobID, bobCert := r.app("bob")
	r.bind("anna", mine.Serial, 1)
	r.bind("bob", theirs.Serial, 1)
	anna := r.connect(r.options(annaID, annaCert))
	bob := r.connect(r.options(bobID, bobCert))
	dev := r.connect(r.options(mine.Serial.Plain(), mine.TLS))

	for _, topic := range []string{
		cloud.TopicOut(mine.Serial, annaID), cloud.TopicOut(mine.Serial, bobID), cloud.TopicStatus(mine.Serial), cloud.TopicEvent(mine.Serial),
		cloud.TopicOut(theirs.Serial, annaID), cloud.TopicIn(theirs.Serial, bobID), "cam/1/" + theirs.Serial.Plain() + "/#",
		"cam/1/+/event", "#", cloud.TopicAsk(theirs.Serial), cloud.TopicAnswer(theirs.Serial), "$MQTT/#",
	} {
		_, ok := r.subscribe(bob, topic, 1)
		require.False(t, ok, topic)
	}
	in := r.granted(dev, "cam/1/"+mine.Serial.Plain()+"/in/#", 1)
	r.wait(bob.Publish(cloud.TopicIn(mine.Serial, bobID), 1, false, "forged"))
	r.wait(bob.Publish(cloud.TopicIn(mine.Serial, annaID), 1, false, "forged"))
	r.wait(anna.Publish(cloud.TopicIn(mine.Serial, bobID), 1, false, "forged"))
	r.wait(anna.Publish(cloud.TopicAnswer(mine.Serial), 1, false, "forged"))
	r.onlyMarker(in, anna, cloud.TopicIn(mine.Serial, annaID))
}

func TestP6_AppWithoutCamerasMayNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	cam := r.device()
	id, cert := r.app("empty")
	app := r.connect(r.options(id, cert))
	for _, topic := range []string{"#", cloud.TopicStatus(cam.Serial), cloud.TopicOut(cam.Serial, id)} {
		_, ok := r.subscribe(app, topic, 0)
		require.False(t, ok, topic)
	}
	dev := r.connect(r.options(cam.Serial.Plain(), cam.TLS))
	answer := r.granted(dev, cloud.TopicAnswer(cam.Serial), 0)
	r.wait(app.Publish(cloud.TopicAnswer(cam.Serial), 1, false, "forged"))
	r.answer = []byte("marker")
	r.wait(dev.Publish(cloud.TopicAsk(cam.Serial), 1, false, "q"))
	require.Equal(t, "marker", string(r.next(answer).Payload()))
}

func TestM7_ClaimOpensInAndOutAlone(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	cam := r.device()
	id, cert := r.app("anna")
	_, _, err := r.store.Claim("anna", cam.Serial)
	require.NoError(t, err)
	dev := r.connect(r.options(cam.Serial.Plain(), cam.TLS))
	app := r.connect(r.options(id, cert))
	in := r.granted(dev, "cam/1/"+cam.Serial.Plain()+"/in/#", 0)
	out := r.granted(app, cloud.TopicOut(cam.Serial, id), 0)
	for _, topic := range []string{cloud.TopicStatus(cam.Serial), cloud.TopicEvent(cam.Serial)} {
		_, ok := r.subscribe(app, topic, 0)
		require.False(t, ok, "a claim must not show presence or events: %s", topic)
	}
	r.wait(app.Publish(cloud.TopicIn(cam.Serial, id), 0, false, "hello"))
	require.Equal(t, "hello", string(r.next(in).Payload()))
	r.wait(dev.Publish(cloud.TopicOut(cam.Serial, id), 0, false, "hello"))
	r.next(out)
}

func TestP4_OnlyCertificatesOfOursGetIn(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	stranger, err := identity.NewSelfMade()
	require.NoError(t, err)
	r.refused(r.options(stranger.Serial.Plain(), stranger.TLS))
	r.refused(r.options(stranger.Serial.Plain(), tls.Certificate{}))
	cam := r.device()
	old := r.options(cam.Serial.Plain(), cam.TLS)
	old.TLSConfig.MinVersion, old.TLSConfig.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	r.refused(old)
	id, cert := r.app("anna")
	r.connect(r.options(id, cert)).Disconnect(0)
	require.NoError(t, r.store.Accounts.Remove("anna"))
	r.refused(r.options(id, cert)) // its account is gone
}

func TestP6_ClientIDIsTheCertificatesName(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	cam, other := r.device(), r.device()
	victimID, victimCert := r.app("anna")
	badID, badCert := r.app("bob")
	lost := make(chan struct{}, 2)
	gone := func(mqtt.Client, error) { lost <- struct{}{} }
	dev := r.connect(r.options(cam.Serial.Plain(), cam.TLS).SetConnectionLostHandler(gone))
	r.connect(r.options(victimID, victimCert).SetConnectionLostHandler(gone))

	for _, id := range []string{cam.Serial.Plain(), victimID, victimID + "-x", "", other.Serial.Plain() + "-x"} {
		r.refused(r.options(id, other.TLS))
	}
	for _, id := range []string{cam.Serial.Plain(), victimID, victimID + "-x", badID + "x", badID + "-" + string(bytes.Repeat([]byte("a"), suffixSize)), badID + "-A"} {
		r.refused(r.options(id, badCert))
	}
	in := r.granted(dev, "cam/1/"+cam.Serial.Plain()+"/in/#", 0)
	require.Empty(t, in)
	require.Empty(t, lost, "somebody was thrown out by a stranger")

	r.connect(r.options(cam.Serial.Plain(), cam.TLS)) // its own second connection takes over
	select {
	case <-lost:
	case <-time.After(patience):
		t.Fatal("the older connection of the same camera stays")
	}
}

func TestP6_SuffixedClientsAreSeparate(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	cam := r.device()
	id, cert := r.app("anna")
	r.bind("anna", cam.Serial, 1)
	dev := r.connect(r.options(cam.Serial.Plain(), cam.TLS))
	one := r.connect(r.options(id+"-1", cert))
	two := r.connect(r.options(id+"-2", cert))
	out1 := r.granted(one, cloud.TopicOut(cam.Serial, id+"-1"), 0)
	out2 := r.granted(two, cloud.TopicOut(cam.Serial, id+"-2"), 0)
	r.wait(dev.Publish(cloud.TopicOut(cam.Serial, id+"-1"), 0, false, "for one"))
	r.wait(dev.Publish(cloud.TopicOut(cam.Serial, id+"-2"), 0, false, "for two"))
	require.Equal(t, "for one", string(r.next(out1).Payload()))
	require.Equal(t, "for two", string(r.next(out2).Payload()))
}

func TestP6_WillsKeepToTheAccessList(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	cam, other := r.device(), r.device()
	appID, appCert := r.app("anna")
	r.bind("anna", cam.Serial, 1)
	for _, topic := range []string{cloud.TopicStatus(cam.Serial), cloud.TopicIn(cam.Serial, appID), cloud.TopicEvent(other.Serial), "x"} {
		r.refused(r.options(other.Serial.Plain(), other.TLS).SetWill(topic, "forged", 1, true))
		r.refused(r.options(appID, appCert).SetWill(topic, "forged", 1, true))
	}
	r.refused(r.options(other.Serial.Plain(), other.TLS).SetWill(cloud.TopicStatus(other.Serial), "x", 2, true))

	app := r.connect(r.options(appID, appCert))
	status := r.granted(app, cloud.TopicStatus(cam.Serial), 1)
	var raw net.Conn
	o := r.options(cam.Serial.Plain(), cam.TLS).SetWill(cloud.TopicStatus(cam.Serial), "offline", 1, true)
	o.SetCustomOpenConnectionFn(func(_ *url.URL, co mqtt.ClientOptions) (net.Conn, error) {
		var err error
		raw, err = tls.Dial("tcp", r.addr, co.TLSConfig)
		return raw, err
	})
	r.connect(o)
	raw.Close() // without DISCONNECT
	require.Equal(t, "offline", string(r.next(status).Payload()))
	late := r.connect(r.options(appID+"-late", appCert))
	m := r.next(r.granted(late, cloud.TopicStatus(cam.Serial), 1))
	require.True(t, m.Retained())
	require.Equal(t, "offline", string(m.Payload()))
}

func TestS4_OnlyPresenceIsRetained(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	cam := r.device()
	appID, appCert := r.app("anna")
	r.bind("anna", cam.Serial, 1)
	dev := r.connect(r.options(cam.Serial.Plain(), cam.TLS))
	app := r.connect(r.options(appID, appCert))
	r.wait(app.Publish(cloud.TopicIn(cam.Serial, appID), 1, true, "old"))
	r.wait(dev.Publish(cloud.TopicEvent(cam.Serial), 1, true, "old"))
	r.wait(dev.Publish(cloud.TopicOut(cam.Serial, appID), 1, true, "old"))
	in := r.granted(dev, "cam/1/"+cam.Serial.Plain()+"/in/#", 1)
	event := r.granted(app, cloud.TopicEvent(cam.Serial), 1)
	out := r.granted(app, cloud.TopicOut(cam.Serial, appID), 1)
	r.onlyMarker(in, app, cloud.TopicIn(cam.Serial, appID))
	r.onlyMarker(event, dev, cloud.TopicEvent(cam.Serial))
	r.onlyMarker(out, dev, cloud.TopicOut(cam.Serial, appID))
}

func TestS4_OversizedAndForbiddenPacketsEndTheConnection(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	cam := r.device()
	for name, send := range map[string]func(mqtt.Client){
		"message too large": func(c mqtt.Client) {
			c.Publish(cloud.TopicEvent(cam.Serial), 0, false, make([]byte, cloud.MaxMessage+1))
		},
		"packet too large": func(c mqtt.Client) { c.Publish(cloud.TopicEvent(cam.Serial), 0, false, make([]byte, 1<<20)) },
		"QoS 2":            func(c mqtt.Client) { c.Publish(cloud.TopicEvent(cam.Serial), 2, false, "x") },
	} {
		lost := make(chan struct{}, 1)
		c := r.connect(r.options(cam.Serial.Plain(), cam.TLS).SetConnectionLostHandler(func(mqtt.Client, error) { lost <- struct{}{} }))
		send(c)
		select {
		case <-lost:
		case <-time.After(patience):
			t.Fatalf("%s: the connection stays", name)
		}
	}
}

func TestM4_AsksReachTheCloudAndAnswersTheDevice(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	cam := r.device()
	r.answer = bytes.Repeat([]byte("a"), 8000)
	dev := r.connect(r.options(cam.Serial.Plain(), cam.TLS))
	answer := r.granted(dev, cloud.TopicAnswer(cam.Serial), 1)
	question := bytes.Repeat([]byte("q"), 50000)
	r.wait(dev.Publish(cloud.TopicAsk(cam.Serial), 1, false, question))
	require.Equal(t, r.answer, r.next(answer).Payload())
	r.mu.Lock()
	defer r.mu.Unlock()
	require.Equal(t, []ask{{cam.Serial, question}}, r.asks)
}

func TestR8_RestartGoesOnWithItsState(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	cam := r.device()
	appID, appCert := r.app("anna")
	r.bind("anna", cam.Serial, 1)
	dev := r.connect(r.options(cam.Serial.Plain(), cam.TLS))
	r.wait(dev.Publish(cloud.TopicStatus(cam.Serial), 1, true, "online"))
	r.end()
	r.start(r.addr)
	app := r.connect(r.options(appID, appCert))
	m := r.next(r.granted(app, cloud.TopicStatus(cam.Serial), 1))
	require.Equal(t, "online", string(m.Payload()))
	require.True(t, m.Retained())
}

func TestP13_LostCameraEndsTheAppsConnection(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	cam := r.device()
	id, cert := r.app("anna")
	r.bind("anna", cam.Serial, 1)
	lost := make(chan struct{}, 1)
	r.connect(r.options(id, cert).SetConnectionLostHandler(func(mqtt.Client, error) { lost <- struct{}{} }))
	_, _ = r.app("bob")
	r.bind("bob", cam.Serial, 2)
	r.broker.Drop("anna")
	select {
	case <-lost:
	case <-time.After(patience):
		t.Fatal("the former owner's app stays connected")
	}
	again := r.connect(r.options(id, cert))
	_, ok := r.subscribe(again, cloud.TopicStatus(cam.Serial), 0)
	require.False(t, ok)
}
