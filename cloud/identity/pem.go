package identity

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	"iid2secure.nl/camagent/cloud/durable"
)

// maxPEM bounds what is read as PEM: a chain of two is under 2 KiB.
const maxPEM = 16 << 10

func writeKey(path string, key any) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return durable.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// readKey reads a PKCS #8 key of one kind. No error repeats what b holds.
func readKey[K any](b []byte) (K, error) {
	var none K
	block, _ := pem.Decode(b)
	if block == nil || block.Type != "PRIVATE KEY" {
		return none, errors.New("no PEM block PRIVATE KEY in it")
	}
	k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return none, errors.New("damaged: not a PKCS #8 key")
	}
	key, ok := k.(K)
	if !ok {
		return none, fmt.Errorf("holds a key of another kind, want %T", none)
	}
	return key, nil
}

func certPEM(der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// parseChain reads PEM certificates and nothing else.
func parseChain(text string) ([]*x509.Certificate, error) {
	if len(text) > maxPEM {
		return nil, fmt.Errorf("certificate chain: %d bytes, at most %d", len(text), maxPEM)
	}
	var certs []*x509.Certificate
	for rest := []byte(text); ; {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		if block == nil {
			break
		}
		if block.Type != "CERTIFICATE" || len(certs) == 4 {
			return nil, errors.New("certificate chain: want at most four PEM blocks CERTIFICATE, and no others")
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate chain: certificate %d is damaged: %w", len(certs)+1, err)
		}
		certs = append(certs, c)
	}
	if len(certs) < 2 {
		return nil, fmt.Errorf("certificate chain: %d certificates, want the device's and the factory's", len(certs))
	}
	return certs, nil
}
