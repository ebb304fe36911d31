package remote

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/bind"
	"iid2secure.nl/camagent/cloud/channel"
	"iid2secure.nl/camagent/cloud/identity"
	"iid2secure.nl/camagent/cloud/link"
	"iid2secure.nl/camagent/cloud/local"

	"iid2secure.nl/camagent/cmd/camctl/internal/home"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must come.
const patience = 30 * time.Second

// authority makes certificates for broker, camera and app.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{}
	a.cert, a.key = a.issue(t, "test CA")
	return a
}

func (a *authority) issue(t *testing.T, name string) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	c := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: a.cert == nil, BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	parent, by := c, key
	if a.cert != nil {
		parent, by = a.cert, a.key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, by)
	require.NoError(t, err)
	c, err = x509.ParseCertificate(der)
	require.NoError(t, err)
	return c, key
}

// pair is a certificate and its key, both PEM.
func (a *authority) pair(t *testing.T, name string) (cert, key []byte) {
	t.Helper()
	c, k := a.issue(t, name)
	der, err := x509.MarshalPKCS8PrivateKey(k)
	require.NoError(t, err)
	return text("CERTIFICATE", c.Raw), text("PRIVATE KEY", der)
}

func text(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func (a *authority) roots() []byte { return text("CERTIFICATE", a.cert.Raw) }

// startBroker runs mosquitto until stop, or the end of the test.
func startBroker(t *testing.T, a *authority) (address string, stop func()) {
	t.Helper()
	bin, err := exec.LookPath("mosquitto")
	if err != nil {
		bin = "/usr/sbin/mosquitto"
	}
	if _, err := os.Stat(bin); err != nil {
		t.Fatal("mosquitto is not installed: apt install mosquitto")
	}
	dir := t.TempDir()
	cert, key := a.pair(t, "127.0.0.1")
	write := func(name string, b []byte) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, b, 0o600))
		return path
	}
	for range 5 {
		address = freeAddress(t)
		_, port, _ := net.SplitHostPort(address)
		conf := write("conf", []byte("user root\nlistener "+port+" 127.0.0.1\nallow_anonymous true\ntls_version tlsv1.3\nrequire_certificate true\ncafile "+
			write("ca", a.roots())+"\ncertfile "+write("cert", cert)+"\nkeyfile "+write("key", key)+"\n"))
		c := exec.Command(bin, "-c", conf)
		var log bytes.Buffer
		c.Stdout, c.Stderr = &log, &log
		require.NoError(t, c.Start())
		done := make(chan struct{})
		go func() {
			defer close(done)
			c.Wait()
		}()
		stop = sync.OnceFunc(func() {
			c.Process.Kill()
			<-done
		})
		t.Cleanup(stop)
		if answers(address, done) {
			return address, stop
		}
	}
	t.Fatal("mosquitto does not start")
	return "", nil
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}

func answers(address string, done <-chan struct{}) bool {
	for {
		c, err := net.Dial("tcp", address)
		if err == nil {
			c.Close()
			return true
		}
		select {
		case <-done:
			return false
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// camera is the camera's side on both carriers, with what it carried out.
type camera struct {
	t      *testing.T
	local  *local.Server
	link   *link.Device
	serial cloud.Serial
	static identity.KeyPair
	bindID string
	ann    identity.KeyPair
	during func(name string) // while a command is carried out

	sessions *channel.Server
	mu       sync.Mutex
	ran      []string
	presence []byte
}

// newCamera is one that belongs to ann; broker may be "".
func newCamera(t *testing.T, a *authority, broker string) *camera {
	t.Helper()
	return newCameraAt(t, a, broker, "127.0.0.1:0")
}

func newCameraAt(t *testing.T, a *authority, broker, address string) *camera {
	t.Helper()
	c := &camera{t: t, serial: cloud.NewSerial(), static: identity.NewKeyPair(), ann: identity.NewKeyPair(), bindID: cloud.Token(16),
		local: local.NewServer(local.Config{Address: address, Proves: channel.IsSession}), during: func(string) {}}
	c.sessions = channel.NewServer(channel.ServerConfig{
		Serial: c.serial, Static: c.static, Uptime: func() time.Duration { return time.Minute },
		Binding: func() (uint64, string, bool) { return 1, c.bindID, true },
		Member:  func(key []byte) (string, bool) { return "ann", bytes.Equal(key, c.ann.Public) },
		Execute: c.execute, Send: c.send,
	})
	inbox := (<-chan link.Message)(nil)
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	if broker != "" {
		cert, key := a.pair(t, c.serial.Plain())
		own, err := tls.X509KeyPair(cert, key)
		require.NoError(t, err)
		pool := x509.NewCertPool()
		pool.AddCert(a.cert)
		c.link, err = link.NewDevice(link.DeviceConfig{Broker: broker, Serial: c.serial,
			TLS: &tls.Config{Certificates: []tls.Certificate{own}, RootCAs: pool}, Log: zap.NewNop(), Presence: c.status})
		require.NoError(t, err)
		inbox = c.link.Inbox()
		work.Go(func() { c.link.Run(ctx) })
	}
	work.Go(func() { c.sessions.Run(ctx) })
	work.Go(func() {
		for {
			select {
			case m := <-inbox:
				c.sessions.Receive(m.Client, m.Payload)
			case m := <-c.local.Inbox():
				c.sessions.Receive(m.Client, m.Payload)
			case <-ctx.Done():
				return
			}
		}
	})
	t.Cleanup(func() {
		cancel()
		work.Wait()
	})
	return c
}

// listen serves the local network, until stop or the end of the test.
func (c *camera) listen() (address string, stop func()) {
	c.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		c.local.Run(ctx, func() { close(ready) })
	}()
	stop = func() {
		cancel()
		<-done
	}
	c.t.Cleanup(stop)
	<-ready
	return c.local.Addr().String(), stop
}

func (c *camera) online() {
	c.t.Helper()
	require.Eventually(c.t, c.link.Online, patience, 5*time.Millisecond)
}

func (c *camera) send(client string, msg []byte) {
	if local.IsClient(client) {
		c.local.Send(client, msg)
	} else if c.link != nil {
		c.link.Send(client, msg)
	}
}

func (c *camera) execute(_ context.Context, _ string, cmd cloud.Command) cloud.Reply {
	c.mu.Lock()
	c.ran = append(c.ran, cmd.Name)
	c.mu.Unlock()
	c.during(cmd.Name)
	return cloud.Reply{Result: cmd.Args}
}

func (c *camera) status(bool) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.presence
}

func (c *camera) log() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string(nil), c.ran...)
}

// target is the camera as its owner knows it.
func (c *camera) target(a *authority, broker string, places ...string) Target {
	c.t.Helper()
	t := Target{Home: home.New(c.t.TempDir()), Owner: home.Owner{Noise: c.ann}, Timeout: patience, Find: finds(places...),
		Camera: home.Camera{Camera: bind.Camera{Serial: c.serial, Epoch: 1, BindID: c.bindID, NoisePublic: c.static.Public}}}
	if a != nil {
		cert, key := a.pair(c.t, "app-1")
		t.Account = home.Account{Broker: broker, ClientID: "app-1", Roots: string(a.roots()), Chain: string(cert), Key: cloud.NewSecret(string(key))}
	}
	return t
}

// finds is a local network on which the camera is said to be at those places.
func finds(places ...string) func(context.Context, string) ([]string, error) {
	return func(context.Context, string) ([]string, error) {
		if len(places) == 0 {
			return nil, local.ErrNotFound
		}
		return places, nil
	}
}
