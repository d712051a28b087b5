//go:build linux || darwin

package kafkatest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// ClientCertPrincipal is the principal of a client that has no other name than
// the certificate of Certs.
const ClientCertPrincipal = "User:CN=" + clientCertName

const clientCertName = "kafkatest-client"

// Certs are what a client of a TLS listener needs, in PEM.
type Certs struct {
	CA         []byte // the certificate that signed the others
	ClientCert []byte
	ClientKey  []byte // PKCS #8

	ca *signedCert
}

// Issue makes another certificate for the client, which is valid until then, and
// its key, in PEM.
func (c *Certs) Issue(until time.Time) (cert, key []byte, err error) {
	client, err := makeClientCert(c.ca, until)
	if err != nil {
		return nil, nil, err
	}
	return client.certPEM, client.keyPEM, nil
}

func makeClientCert(ca *signedCert, until time.Time) (*signedCert, error) {
	return makeCert(ca, &x509.Certificate{
		Subject:     pkix.Name{CommonName: clientCertName},
		NotBefore:   time.Now().AddDate(0, 0, -1),
		NotAfter:    until,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
}

// tlsConfig trusts the CA and shows the client certificate.
func (c *Certs) tlsConfig() (*tls.Config, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(c.CA) {
		return nil, fmt.Errorf("reading the CA certificate")
	}
	pair, err := tls.X509KeyPair(c.ClientCert, c.ClientKey)
	if err != nil {
		return nil, fmt.Errorf("reading the client certificate: %w", err)
	}
	return &tls.Config{
		MinVersion:   tls.VersionTLS12,
		RootCAs:      pool,
		Certificates: []tls.Certificate{pair},
	}, nil
}

// Names of the files that the client listener reads.
const (
	keystoreFile   = "server.pem"
	truststoreFile = "ca.pem"
)

// makeCerts makes a CA, a client certificate and a server certificate, and
// writes the server's files to dir.
func makeCerts(dir string, expired bool) (*Certs, error) {
	now := time.Now()
	ca, err := makeCert(nil, &x509.Certificate{
		Subject:               pkix.Name{CommonName: "kafkatest-ca"},
		NotBefore:             now.AddDate(0, 0, -30),
		NotAfter:              now.AddDate(0, 0, 30),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
	})
	if err != nil {
		return nil, fmt.Errorf("making the CA certificate: %w", err)
	}
	client, err := makeClientCert(ca, now.AddDate(0, 0, 1))
	if err != nil {
		return nil, fmt.Errorf("making the client certificate: %w", err)
	}
	until := now.AddDate(0, 0, 1)
	if expired {
		until = now.AddDate(0, 0, -1)
	}
	server, err := makeCert(ca, &x509.Certificate{
		Subject:     pkix.Name{CommonName: "localhost"},
		DNSNames:    []string{"localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore:   now.AddDate(0, 0, -2),
		NotAfter:    until,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	if err != nil {
		return nil, fmt.Errorf("making the server certificate: %w", err)
	}
	keystore := bytes.Join([][]byte{server.keyPEM, server.certPEM}, nil)
	if err := os.WriteFile(filepath.Join(dir, keystoreFile), keystore, 0o600); err != nil {
		return nil, fmt.Errorf("writing the keystore: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, truststoreFile), ca.certPEM, 0o600); err != nil {
		return nil, fmt.Errorf("writing the truststore: %w", err)
	}
	return &Certs{CA: ca.certPEM, ClientCert: client.certPEM, ClientKey: client.keyPEM, ca: ca}, nil
}

type signedCert struct {
	cert            *x509.Certificate
	key             *ecdsa.PrivateKey
	certPEM, keyPEM []byte
}

// makeCert makes a key and signs a certificate for it, by itself if there is
// no parent.
func makeCert(parent *signedCert, tmpl *x509.Certificate) (*signedCert, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	tmpl.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	signer := &signedCert{cert: tmpl, key: key}
	if parent != nil {
		signer = parent
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, signer.cert, &key.PublicKey, signer.key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return &signedCert{
		cert:    cert,
		key:     key,
		certPEM: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		keyPEM:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
	}, nil
}
