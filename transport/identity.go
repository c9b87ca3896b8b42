package transport

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"time"
)

// Derived identity (WIRE.md, identity): every node derives the same CA key and
// issues its own certificate, whose key lives only in the process.
const (
	alpn = "patina/1"

	saltSecret   = "patina transport ca 1"          // HKDF salt, key material is the secret
	saltLoopback = "patina transport ca loopback 1" // HKDF salt, key material is the cluster name

	scalarBytes      = 32 // of a P-256 private key
	scalarCandidates = 8  // all of them are out of range with probability 2^-256

	uriScheme = "patina"
	caName    = "patina cluster CA"
)

// Derived certificates are valid as long as any clock that a node can have: clocks
// may differ by hours, and a board without a battery starts in 1970, makes its
// certificate, and learns the time later. The times are fixed, so that CA
// certificates made at different times differ in the signature only.
var (
	notBefore = time.Unix(0, 0).UTC()
	notAfter  = time.Date(2199, 12, 31, 0, 0, 0, 0, time.UTC)
)

// deriveCA derives the cluster's CA key: HKDF-SHA256 with the cluster name as
// info; the first 32-byte block that is a valid scalar is the key.
func deriveCA(secret, cluster string) (*ecdsa.PrivateKey, error) {
	salt, material := saltSecret, secret
	if secret == "" {
		salt, material = saltLoopback, cluster
	}
	blocks, err := hkdf.Key(sha256.New, []byte(material), []byte(salt), cluster, scalarBytes*scalarCandidates)
	if err != nil {
		return nil, fmt.Errorf("transport: derive CA key: %w", err)
	}
	return firstScalar(blocks)
}

// firstScalar returns the first 32-byte block d of blocks with 0 < d < n, big
// endian, as a P-256 key.
func firstScalar(blocks []byte) (*ecdsa.PrivateKey, error) {
	for ; len(blocks) >= scalarBytes; blocks = blocks[scalarBytes:] {
		if key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), blocks[:scalarBytes]); err == nil {
			return key, nil
		}
	}
	return nil, errors.New("transport: derive CA key: no candidate is a valid scalar")
}

// derivedCA is the CA that a secret stands for (empty: the loopback one).
type derivedCA struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newDerivedCA(secret, cluster string) (*derivedCA, error) {
	key, err := deriveCA(secret, cluster)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: caName},
		NotBefore:             notBefore,
		NotAfter:              notAfter,
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("transport: make CA certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("transport: read CA certificate: %w", err)
	}
	return &derivedCA{key, cert}, nil
}

// issue certifies a node's key.
func (c *derivedCA) issue(cluster, name string, key crypto.PublicKey) ([]byte, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	leaf := nodeTemplate(cluster, name)
	leaf.SerialNumber, leaf.NotBefore, leaf.NotAfter = serial, notBefore, notAfter
	der, err := x509.CreateCertificate(rand.Reader, leaf, c.cert, key, c.key)
	if err != nil {
		return nil, fmt.Errorf("transport: make node certificate: %w", err)
	}
	return der, nil
}

func newSerial() (*big.Int, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, fmt.Errorf("transport: make serial number: %w", err)
	}
	return serial, nil
}

// nodeTemplate is what all certificates of nodes have alike.
func nodeTemplate(cluster, name string) *x509.Certificate {
	return &x509.Certificate{
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		URIs:        []*url.URL{nodeURI(cluster, name)},
	}
}

// nodeURI is the name in a certificate. It has no actor id: that can change.
func nodeURI(cluster, name string) *url.URL {
	return &url.URL{Scheme: uriScheme, Host: cluster, Path: "/node/" + name}
}
