package link

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
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/scripts/port"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	camera = cloud.Serial("7K3MV9Q2T6XB4Z")
	other  = cloud.Serial("8K3MV9Q2T6XB4Z")
)

// authority makes certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return &authority{cert, key}
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// issue makes a certificate; name is the common name, and the host name of a server.
func (a *authority) issue(t *testing.T, name string, until time.Time) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: until, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, DNSNames: []string{name},
	}
	if ip := net.ParseIP(name); ip != nil {
		tmpl.DNSNames, tmpl.IPAddresses = nil, []net.IP{ip}
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, &key.PublicKey, a.key)
	require.NoError(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func soon() time.Time { return time.Now().Add(time.Hour) }

func writePEM(t *testing.T, path, kind string, der []byte) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o644))
}

// mosquitto is a running broker with the configuration that is shipped.
type mosquitto struct {
	devices, apps string // addresses
	server        *authority
	factory       *authority // of cameras
	members       *authority // of apps
	dir           string
	log           *bytes.Buffer
	stop          func()
}

func startMosquitto(t *testing.T) *mosquitto {
	t.Helper()
	m := &mosquitto{server: newAuthority(t), factory: newAuthority(t), members: newAuthority(t), dir: t.TempDir()}
	require.NoError(t, os.Chmod(m.dir, 0o755))
	cert := m.server.issue(t, "127.0.0.1", soon())
	key, err := x509.MarshalECPrivateKey(cert.PrivateKey.(*ecdsa.PrivateKey))
	require.NoError(t, err)
	writePEM(t, filepath.Join(m.dir, "server.pem"), "CERTIFICATE", cert.Certificate[0])
	writePEM(t, filepath.Join(m.dir, "server.key"), "EC PRIVATE KEY", key)
	writePEM(t, filepath.Join(m.dir, "cameras-ca.pem"), "CERTIFICATE", m.factory.cert.Raw)
	writePEM(t, filepath.Join(m.dir, "apps-ca.pem"), "CERTIFICATE", m.members.cert.Raw)
	m.copyScript(t, "mosquitto-cameras.acl", nil)
	m.copyScript(t, "mosquitto-apps.acl", []string{"#user", "user", "#topic", "topic"})
	for range 5 {
		m.devices, m.apps = freeAddr(t), freeAddr(t)
		if m.run(t) {
			t.Cleanup(func() { m.stop() })
			return m
		}
	}
	t.Fatalf("mosquitto does not start: %s", m.log)
	return nil
}

// copyScript fills a shipped file in; rest are further replacements.
func (m *mosquitto) copyScript(t *testing.T, name string, rest []string) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("..", "..", "scripts", name))
	require.NoError(t, err)
	rest = append(rest, "per_listener_settings true", "per_listener_settings true\nuser root") // a test's folders are its own
	text := strings.NewReplacer(append([]string{"/etc/mosquitto/camagent", m.dir}, rest...)...).Replace(string(raw))
	require.NoError(t, os.WriteFile(filepath.Join(m.dir, name), []byte(text), 0o644))
}

func freeAddr(t *testing.T) string {
	t.Helper()
	addr, err := port.Free()
	require.NoError(t, err)
	return addr
}

// run starts the broker at m's addresses and waits until it takes connections;
// false: somebody else took a port meanwhile.
func (m *mosquitto) run(t *testing.T) bool {
	t.Helper()
	bin, err := exec.LookPath("mosquitto")
	if err != nil {
		bin = "/usr/sbin/mosquitto"
	}
	if _, err := os.Stat(bin); err != nil {
		t.Fatal("mosquitto is not installed: apt install mosquitto")
	}
	port := func(addr string) string { return "listener " + strings.TrimPrefix(addr, "127.0.0.1:") + " 127.0.0.1" }
	m.copyScript(t, "mosquitto.conf", []string{"listener 8883", port(m.devices), "listener 8884", port(m.apps)})
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, bin, "-c", filepath.Join(m.dir, "mosquitto.conf"))
	m.log = &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr = m.log, m.log
	require.NoError(t, cmd.Start())
	done := make(chan struct{})
	go func() { cmd.Wait(); close(done) }()
	m.stop = func() { cancel(); <-done }
	for {
		c, err := net.Dial("tcp", m.apps)
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

func (m *mosquitto) deviceTLS(t *testing.T, serial cloud.Serial) *tls.Config {
	return &tls.Config{RootCAs: m.server.pool(), Certificates: []tls.Certificate{m.factory.issue(t, serial.Plain(), soon())}}
}

func (m *mosquitto) appTLS(t *testing.T, client string) *tls.Config {
	return &tls.Config{RootCAs: m.server.pool(), Certificates: []tls.Certificate{m.members.issue(t, client, soon())}}
}

// startDevice runs a camera until the test ends, and waits until it is online.
func (m *mosquitto) startDevice(t *testing.T, serial cloud.Serial, change func(*DeviceConfig)) *Device {
	t.Helper()
	cfg := DeviceConfig{Broker: m.devices, TLS: m.deviceTLS(t, serial), Serial: serial}
	if change != nil {
		change(&cfg)
	}
	d, _ := runDevice(t, cfg)
	eventually(t, d.Online)
	return d
}

// runDevice runs a camera until the test ends, or stop.
func runDevice(t *testing.T, cfg DeviceConfig) (d *Device, stop func()) {
	t.Helper()
	d, err := NewDevice(cfg)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx); close(done) }()
	stop = func() { cancel(); require.NoError(t, <-done) }
	t.Cleanup(stop)
	return d, stop
}

func (m *mosquitto) dialApp(t *testing.T, client string) *App {
	t.Helper()
	a, err := DialApp(limit(t), AppConfig{Broker: m.apps, TLS: m.appTLS(t, client), ClientID: client})
	require.NoError(t, err)
	t.Cleanup(func() { a.Close() })
	return a
}

func limit(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	require.Eventually(t, ok, 10*time.Second, 2*time.Millisecond)
}

// rawBroker is a hostile broker: script gets the connection after the TLS
// handshake, once per connection.
func rawBroker(t *testing.T, ca *authority, change func(*tls.Config), script func(c net.Conn)) string {
	t.Helper()
	cfg := &tls.Config{Certificates: []tls.Certificate{ca.issue(t, "127.0.0.1", soon())}, MinVersion: tls.VersionTLS12}
	if change != nil {
		change(cfg)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { c.Close() })
			go func() {
				defer c.Close()
				s := tls.Server(c, cfg)
				if s.Handshake() == nil {
					script(s)
				}
			}()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return l.Addr().String()
}

// readPacket reads one MQTT packet of a client.
func readPacket(c net.Conn) (kind byte, body []byte, err error) {
	var b [1]byte
	if _, err := io.ReadFull(c, b[:]); err != nil {
		return 0, nil, err
	}
	kind = b[0] >> 4
	n, shift := 0, 0
	for {
		if _, err := io.ReadFull(c, b[:]); err != nil {
			return 0, nil, err
		}
		n |= int(b[0]&0x7f) << shift
		shift += 7
		if b[0]&0x80 == 0 {
			break
		}
	}
	body = make([]byte, n)
	_, err = io.ReadFull(c, body)
	return kind, body, err
}

// greet answers CONNECT and both subscriptions as a broker should.
func greet(c net.Conn) error {
	for i := range 3 {
		_, body, err := readPacket(c)
		if err != nil {
			return err
		}
		answer := []byte{0x20, 2, 0, 0}
		if i > 0 {
			answer = []byte{0x90, 3, body[0], body[1], 1}
		}
		if _, err := c.Write(answer); err != nil {
			return err
		}
	}
	return nil
}

// publishPacket is a PUBLISH of a broker.
func publishPacket(flags byte, topic string, payload []byte) []byte {
	body := append([]byte{byte(len(topic) >> 8), byte(len(topic))}, topic...)
	if flags>>1&3 > 0 {
		body = append(body, 0, 7)
	}
	body = append(body, payload...)
	out := []byte{0x30 | flags}
	for n := len(body); ; n >>= 7 {
		if n < 128 {
			out = append(out, byte(n))
			break
		}
		out = append(out, byte(n&0x7f|0x80))
	}
	return append(out, body...)
}
