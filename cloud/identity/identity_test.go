package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/cloud"
)

func selfMade(t testing.TB) *Identity {
	t.Helper()
	id, err := NewSelfMade()
	require.NoError(t, err)
	return id
}

func TestSaveAndLoad(t *testing.T) {
	t.Parallel()
	id, dir := selfMade(t), filepath.Join(t.TempDir(), "id")
	_, err := Load(dir)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.NoError(t, id.Save(dir))
	got, err := Load(dir)
	require.NoError(t, err)
	require.Equal(t, id.Serial, got.Serial)
	require.Equal(t, id.Code.Reveal(), got.Code.Reveal())
	require.Equal(t, id.Noise.Private, got.Noise.Private)
	require.True(t, id.Signing.Equal(got.Signing))
	require.Equal(t, id.Chain, got.Chain)
	require.Equal(t, id.TLS.Certificate, got.TLS.Certificate)
	require.ErrorIs(t, selfMade(t).Save(dir), fs.ErrExist, "an identity was replaced")
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, files, 5)
	for _, f := range files {
		st, err := f.Info()
		require.NoError(t, err)
		require.Equal(t, fs.FileMode(0o600), st.Mode().Perm(), f.Name())
	}
}

// Each file missing, damaged, and from another camera: one line that names it.
func TestLoadNamesTheWrongFile(t *testing.T) {
	t.Parallel()
	id, other, dir, otherDir := selfMade(t), selfMade(t), t.TempDir(), t.TempDir()
	require.NoError(t, id.Save(dir))
	require.NoError(t, other.Save(otherDir))
	for _, f := range []string{fileChain, fileTLSKey, fileNoise, fileSigning, fileCode} {
		path := filepath.Join(dir, f)
		good, err := os.ReadFile(path)
		require.NoError(t, err)
		foreign, err := os.ReadFile(filepath.Join(otherDir, f))
		require.NoError(t, err)
		bad := map[string][]byte{"cut": good[:len(good)/2], "empty": nil, "garbage": []byte("garbage\n"), "foreign": foreign}
		if f == fileCode {
			delete(bad, "foreign") // any code is a code
		}
		for what, b := range bad {
			require.NoError(t, os.WriteFile(path, b, 0o600))
			_, err := Load(dir)
			require.Error(t, err, "%s %s", f, what)
			require.NotErrorIs(t, err, fs.ErrNotExist)
			require.NotContains(t, err.Error(), "\n")
			require.NotContains(t, err.Error(), strings.TrimSpace(id.Code.Reveal()))
			if f != fileChain || what != "foreign" { // then the keys are the wrong ones
				require.ErrorContains(t, err, path)
			}
		}
		require.NoError(t, os.Remove(path))
		_, err = Load(dir)
		if f == fileChain {
			require.ErrorIs(t, err, fs.ErrNotExist)
		} else {
			require.ErrorContains(t, err, path+": is missing")
			require.NotErrorIs(t, err, fs.ErrNotExist, "somebody would make a new identity over it")
		}
		require.NoError(t, os.WriteFile(path, good, 0o600))
	}
	// A key of another kind.
	tlsKey, err := os.ReadFile(filepath.Join(dir, fileTLSKey))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, fileNoise), tlsKey, 0o600))
	_, err = Load(dir)
	require.ErrorContains(t, err, "another kind")
}

func TestS8_NothingSecretIsPrinted(t *testing.T) {
	t.Parallel()
	id := selfMade(t)
	text := fmt.Sprintf("%v %+v %#v %s %d %v %+v %x", id, id, id, id, id.Noise, id.Noise, id.Noise, id.Noise)
	b, err := json.Marshal(id)
	require.NoError(t, err)
	text += string(b)
	for _, secret := range []string{
		id.Code.Reveal(), id.Serial.Plain(), fmt.Sprint(id.Noise.Private), fmt.Sprintf("%x", id.Noise.Private), fmt.Sprint([]byte(id.Signing)),
	} {
		require.NotContains(t, text, secret)
	}
	_, err = json.Marshal(id.Noise)
	require.ErrorContains(t, err, "on purpose")
}

func TestFactory(t *testing.T) {
	t.Parallel()
	f, err := NewFactory("Acme")
	require.NoError(t, err)
	dir := filepath.Join(t.TempDir(), "factory")
	_, err = LoadFactory(dir)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.NoError(t, f.Save(dir))
	require.ErrorIs(t, f.Save(dir), fs.ErrExist)
	f, err = LoadFactory(dir)
	require.NoError(t, err)
	id, err := f.Provision()
	require.NoError(t, err)
	dev, err := VerifyChain(id.Chain, f.Roots())
	require.NoError(t, err)
	require.Equal(t, id.Serial, dev.Serial)
	require.Equal(t, id.Noise.Public, dev.NoisePublic)
	require.True(t, dev.Signing.Equal(id.Signing.Public()))

	leaf := id.TLS.Leaf
	require.Equal(t, id.Serial.Plain(), leaf.Subject.CommonName)
	require.Equal(t, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, leaf.ExtKeyUsage)
	require.Equal(t, "9999-12-31T23:59:59Z", leaf.NotAfter.Format(time.RFC3339))
	require.Equal(t, 2020, leaf.NotBefore.Year())
	require.Contains(t, string(leaf.Raw), "99991231235959Z", "not a GeneralizedTime")
	require.Contains(t, f.CertPEM(), "CERTIFICATE")

	require.NoError(t, os.WriteFile(filepath.Join(dir, fileFactoryKey), []byte("x"), 0o600))
	_, err = LoadFactory(dir)
	require.ErrorContains(t, err, fileFactoryKey)
	require.NoError(t, os.WriteFile(filepath.Join(dir, fileFactoryCert), []byte("x"), 0o600))
	_, err = LoadFactory(dir)
	require.ErrorContains(t, err, fileFactoryCert)
	require.NoError(t, os.WriteFile(filepath.Join(dir, fileFactoryCert), []byte(id.Chain), 0o600))
	_, err = LoadFactory(dir)
	require.ErrorContains(t, err, "authority")
	_, err = NewFactory(" ")
	require.ErrorContains(t, err, "1 to 64")
}

func TestP6_VerifyChainRefuses(t *testing.T) {
	t.Parallel()
	f, err := NewFactory("Acme")
	require.NoError(t, err)
	other, err := NewFactory("Acme") // the same name, another key
	require.NoError(t, err)
	id, err := f.Provision()
	require.NoError(t, err)
	leaf, ca, _ := strings.Cut(id.Chain, "-----END CERTIFICATE-----\n")
	leaf += "-----END CERTIFICATE-----\n"
	_, err = VerifyChain(id.Chain, nil)
	require.NoError(t, err)
	for name, c := range map[string]struct {
		chain string
		roots *x509.CertPool
	}{
		"foreign factory":         {id.Chain, other.Roots()},
		"no factory trusted":      {id.Chain, x509.NewCertPool()},
		"foreign authority in it": {leaf + other.CertPEM(), nil},
		"leaf alone":              {leaf, f.Roots()},
		"authority as the camera": {ca + ca, f.Roots()},
		"leaf as its authority":   {leaf + leaf, nil},
		"empty":                   {"", f.Roots()},
		"a key in it":             {id.Chain + "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", f.Roots()},
		"five":                    {leaf + strings.Repeat(ca, 5), f.Roots()},
		"long":                    {strings.Repeat(" ", maxPEM) + id.Chain, f.Roots()},
		"flipped":                 {strings.Replace(id.Chain, "M", "N", 1), f.Roots()},
	} {
		_, err := VerifyChain(c.chain, c.roots)
		require.Error(t, err, name)
	}
}

func TestDeviceFromCertRefuses(t *testing.T) {
	t.Parallel()
	good := selfMade(t).TLS.Leaf
	_, err := DeviceFromCert(good)
	require.NoError(t, err)
	u := func(s string) *url.URL { return &url.URL{Scheme: "iid2", Opaque: s} }
	for want, change := range map[string]func(c *x509.Certificate){
		"not a serial":          func(c *x509.Certificate) { c.Subject = pkix.Name{CommonName: "x"} },
		"the name in it":        func(c *x509.Certificate) { c.Subject.CommonName = strings.ToLower(c.Subject.CommonName) + " " },
		"client authentication": func(c *x509.Certificate) { c.ExtKeyUsage = append(c.ExtKeyUsage, x509.ExtKeyUsageServerAuth) },
		"alone":                 func(c *x509.Certificate) { c.IsCA = true },
		"P-256":                 func(c *x509.Certificate) { c.PublicKey = "x" },
		"no iid2:noise":         func(c *x509.Certificate) { c.URIs = c.URIs[1:] },
		"no iid2:sign":          func(c *x509.Certificate) { c.URIs = c.URIs[:1] },
		"more than one":         func(c *x509.Certificate) { c.URIs = append(c.URIs, c.URIs[0]) },
		"32 bytes in base32":    func(c *x509.Certificate) { c.URIs = []*url.URL{u("noise:AAAA"), c.URIs[1]} },
		"low-order":             func(c *x509.Certificate) { c.URIs = []*url.URL{u("noise:" + strings.Repeat("A", 52)), c.URIs[1]} },
	} {
		c := *good
		c.URIs = append([]*url.URL(nil), good.URIs...)
		change(&c)
		_, err := DeviceFromCert(&c)
		require.ErrorContains(t, err, want)
	}
}

// S9: the device's certificate does not depend on anybody's clock.
func TestS9_ChainVerifiesIn2000(t *testing.T) {
	t.Parallel()
	id := selfMade(t)
	synctest.Test(t, func(t *testing.T) { // bubbles begin in the year 2000
		require.Equal(t, 2000, time.Now().Year())
		_, err := VerifyChain(id.Chain, nil)
		require.NoError(t, err)
	})
}

// A real TLS 1.3 handshake, in which the certificate serves the client and not the server.
func TestP4_CertificateIsForClientsOnly(t *testing.T) {
	t.Parallel()
	f, err := NewFactory("Acme")
	require.NoError(t, err)
	id, err := f.Provision()
	require.NoError(t, err)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"broker"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	broker := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}

	peer, err := shake(t, broker, id.TLS, f.Roots(), roots)
	require.NoError(t, err)
	dev, err := DeviceFromCert(peer)
	require.NoError(t, err)
	require.Equal(t, id.Serial, dev.Serial)
	_, err = shake(t, id.TLS, id.TLS, f.Roots(), f.Roots())
	require.Error(t, err, "a camera can pose as a server")
}

func shake(t *testing.T, server, client tls.Certificate, clientCAs, roots *x509.CertPool) (*x509.Certificate, error) {
	t.Helper()
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	s := tls.Server(a, &tls.Config{
		Certificates: []tls.Certificate{server}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clientCAs, MinVersion: tls.VersionTLS13,
	})
	c := tls.Client(b, &tls.Config{Certificates: []tls.Certificate{client}, RootCAs: roots, ServerName: "broker", MinVersion: tls.VersionTLS13})
	done := make(chan error, 1)
	go func() {
		err := s.Handshake()
		a.Close()
		done <- err
	}()
	if err := c.Handshake(); err != nil {
		b.Close()
		<-done
		return nil, err
	}
	c.Read(make([]byte, 1))
	if err := <-done; err != nil {
		return nil, err
	}
	return s.ConnectionState().PeerCertificates[0], nil
}

func TestM7_QRText(t *testing.T) {
	t.Parallel()
	id := selfMade(t)
	text := QRText(id)
	require.Equal(t, "[redacted]", fmt.Sprint(text))
	require.Regexp(t, `^IID2:[0-9A-Z]{14}:[0-9A-Z]{16}:[A-Z2-7]{26}$`, text.Reveal())
	for _, typed := range []string{
		text.Reveal(), strings.ToLower(text.Reveal()), "  " + strings.ReplaceAll(text.Reveal(), ":", " : ") + "\r\n",
	} {
		q, err := ParseQR(typed)
		require.NoError(t, err)
		require.Equal(t, id.Serial, q.Serial)
		require.Equal(t, id.Code.Reveal(), q.Code.Reveal())
		require.True(t, q.Matches(id.Noise.Public))
		require.False(t, q.Matches(NewKeyPair().Public))
	}
	c := id.Code.Reveal()
	q, err := ManualQR(" "+strings.ToLower(id.Serial.Plain())+" ", strings.ToLower(c[:4]+"-"+c[4:8]+" "+c[8:12]+"-"+c[12:]))
	require.NoError(t, err)
	require.Equal(t, c, q.Code.Reveal())
	require.True(t, q.Matches(NewKeyPair().Public), "by hand the code alone authenticates")
}

func TestS5_WrongQRTexts(t *testing.T) {
	t.Parallel()
	id := selfMade(t)
	p := strings.Split(QRText(id).Reveal(), ":")
	bad := func(i int, s string) string {
		q := append([]string(nil), p...)
		q[i] = s
		return strings.Join(q, ":")
	}
	other := "0"
	if p[1][0] == '0' {
		other = "1"
	}
	for text, want := range map[string]string{
		"":                              "does not begin with IID2:",
		"https://example.org":           "does not begin with IID2:",
		strings.Join(p[:3], ":"):        "3 parts, want 4",
		strings.Join(p, ":") + ":x":     "5 parts, want 4",
		bad(1, p[1][1:]):                "serial: 13 symbols",
		bad(1, other+p[1][1:]):          "check symbol",
		bad(1, "U"+p[1][1:]):            "serial: symbol 1",
		bad(2, p[2][1:]):                "verification code: 15 symbols",
		bad(2, p[2][1:]+"?"):            "verification code: symbol 16",
		bad(3, p[3][1:]):                "fingerprint",
		bad(3, p[3]+"AA"):               "fingerprint",
		bad(3, strings.Repeat("1", 26)): "fingerprint",
		strings.Repeat("A", 300):        "300 bytes",
	} {
		_, err := ParseQR(text)
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), p[2][1:], "the code is repeated")
	}
}

func TestKeyPairs(t *testing.T) {
	t.Parallel()
	k := NewKeyPair()
	same, err := KeyPairFrom(k.Private)
	require.NoError(t, err)
	require.Equal(t, k.Public, same.Public)
	require.NoError(t, CheckPublic(k.Public))
	_, err = KeyPairFrom(k.Private[1:])
	require.ErrorContains(t, err, "want 32")
	require.ErrorContains(t, CheckPublic(make([]byte, 32)), "low-order")
	require.ErrorContains(t, CheckPublic(nil), "want 32")
}

func FuzzParseQR(f *testing.F) {
	id := selfMade(f)
	f.Add(QRText(id).Reveal())
	f.Add(strings.ToLower(QRText(id).Reveal()))
	f.Add("IID2:::")
	f.Add("IID2:" + id.Serial.Plain() + ":ÄÖ:\x00")
	f.Fuzz(func(t *testing.T, text string) {
		q, err := ParseQR(text)
		if err != nil {
			return
		}
		s, err := cloud.ParseSerial(q.Serial.Plain())
		require.NoError(t, err)
		require.Equal(t, q.Serial, s)
		require.Len(t, q.Fingerprint, 16)
		require.Len(t, q.Code.Reveal(), 16)
	})
}

func FuzzVerifyChain(f *testing.F) {
	id := selfMade(f)
	f.Add(id.Chain)
	f.Add(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: id.TLS.Leaf.Raw[:100]})))
	fac, err := NewFactory("Acme")
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, chain string) {
		_, err := VerifyChain(chain, fac.Roots())
		require.Error(t, err)
	})
}
