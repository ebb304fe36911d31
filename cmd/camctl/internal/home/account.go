package home

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/durable"
)

const fileAccount = "account.json"

// Account is where the owner is signed in. Token and Key print as [redacted].
type Account struct {
	URL      string
	Token    cloud.Secret
	Roots    string // PEM of the certificates that are trusted; empty: the system's
	Broker   string // host:port
	ClientID string
	Chain    string       // PEM of the broker client certificate and its CA
	Key      cloud.Secret // PEM of its key
	Expires  time.Time    // of the certificate
}

type accountFile struct {
	V        int    `json:"v"`
	URL      string `json:"url"`
	Token    string `json:"token"`
	Roots    string `json:"roots,omitempty"`
	Broker   string `json:"broker"`
	ClientID string `json:"client_id"`
	Chain    string `json:"chain"`
	Key      string `json:"key"`
	Expires  int64  `json:"expires"`
}

// ErrNoAccount is a folder that is signed in nowhere.
var ErrNoAccount = errors.New("not signed in: run camctl sign-in URL")

// Account reads the account; ErrNoAccount if there is none.
func (h *Home) Account() (Account, error) {
	var f accountFile
	found, err := durable.ReadJSON(h.path(fileAccount), &f)
	if err != nil {
		return Account{}, fmt.Errorf("account: %w", err)
	}
	if !found {
		return Account{}, ErrNoAccount
	}
	return Account{
		URL: f.URL, Token: cloud.NewSecret(f.Token), Roots: f.Roots, Broker: f.Broker, ClientID: f.ClientID,
		Chain: f.Chain, Key: cloud.NewSecret(f.Key), Expires: time.Unix(f.Expires, 0),
	}, nil
}

// SaveAccount stores the account; its secrets are needed again at every call.
func (h *Home) SaveAccount(a Account) error {
	if err := h.make(); err != nil {
		return err
	}
	return durable.WriteJSON(h.path(fileAccount), accountFile{
		V: 1, URL: a.URL, Token: a.Token.Reveal(), Roots: a.Roots, Broker: a.Broker, ClientID: a.ClientID,
		Chain: a.Chain, Key: a.Key.Reveal(), Expires: a.Expires.Unix(),
	})
}

// Pool makes a pool of PEM roots; nil, which is the system's, of an empty text.
func Pool(roots string) (*x509.CertPool, error) {
	if roots == "" {
		return nil, nil
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(roots)) {
		return nil, errors.New("no PEM certificate in it")
	}
	return pool, nil
}

// TLS is the configuration for the broker: TLS 1.3, our certificate, the roots. P4.
func (a Account) TLS() (*tls.Config, error) {
	cert, err := tls.X509KeyPair([]byte(a.Chain), []byte(a.Key.Reveal()))
	if err != nil {
		return nil, errors.New("account: the broker certificate is damaged: run camctl sign-in again")
	}
	pool, err := Pool(a.Roots)
	if err == nil && pool == nil {
		pool, err = x509.SystemCertPool()
	}
	if err != nil {
		return nil, fmt.Errorf("account: roots: %w", err)
	}
	return &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert}, RootCAs: pool}, nil
}

// NewClientKey makes a P-256 key and asks for a certificate with it (PKCS #10);
// both PEM.
func NewClientKey() (key cloud.Secret, csr string, err error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return key, "", err
	}
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		return key, "", err
	}
	req, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, k)
	if err != nil {
		return key, "", err
	}
	return cloud.NewSecret(pemText("PRIVATE KEY", der)), pemText("CERTIFICATE REQUEST", req), nil
}

func pemText(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}
