package transport

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"time"
)

// Identity (WIRE.md, identity): every node derives the same CA key and issues
// its own certificate, whose key lives only in the process.
const (
	alpn = "patina/1"

	saltSecret   = "patina transport ca 1"          // HKDF salt, key material is the secret
	saltLoopback = "patina transport ca loopback 1" // HKDF salt, key material is the cluster name

	scalarBytes      = 32 // of a P-256 private key
	scalarCandidates = 8  // all of them are out of range with probability 2^-256

	uriScheme = "patina"
	caName    = "patina cluster CA"
)

// All certificates are valid as long as any clock that a node can have: clocks
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

// identity is what a node shows and what it trusts.
type identity struct {
	cluster string
	roots   *x509.CertPool
	cert    tls.Certificate
	now     func() time.Time
}

func newIdentity(cfg Config) (*identity, error) {
	caKey, err := deriveCA(cfg.Secret, cfg.Cluster)
	if err != nil {
		return nil, err
	}
	caCert := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: caName},
		NotBefore:             notBefore,
		NotAfter:              notAfter,
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	caDER, err := x509.CreateCertificate(rand.Reader, caCert, caCert, caKey.Public(), caKey)
	if err != nil {
		return nil, fmt.Errorf("transport: make CA certificate: %w", err)
	}
	if caCert, err = x509.ParseCertificate(caDER); err != nil {
		return nil, fmt.Errorf("transport: read CA certificate: %w", err)
	}
	cert, err := issue(cfg, caCert, caKey)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AddCert(caCert)
	return &identity{cluster: cfg.Cluster, roots: roots, cert: cert, now: cfg.Now}, nil
}

// issue makes the node's own certificate with a fresh key.
func issue(cfg Config, caCert *x509.Certificate, caKey *ecdsa.PrivateKey) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("transport: make node key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("transport: make serial number: %w", err)
	}
	leaf := &x509.Certificate{
		SerialNumber: serial,
		NotBefore:    notBefore,
		NotAfter:     notAfter,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		URIs:         []*url.URL{nodeURI(cfg.Cluster, cfg.Name)},
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, caCert, key.Public(), caKey)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("transport: make node certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// nodeURI is the name in a certificate. It has no actor id: that can change.
func nodeURI(cluster, name string) *url.URL {
	return &url.URL{Scheme: uriScheme, Host: cluster, Path: "/node/" + name}
}

// tls returns the one configuration for both roles. Names are not checked by
// the library (there are no host names): verify does it all.
func (i *identity) tls() *tls.Config {
	return &tls.Config{
		Certificates:       []tls.Certificate{i.cert},
		ClientAuth:         tls.RequireAnyClientCert,
		InsecureSkipVerify: true,
		VerifyConnection:   i.verify,
		NextProtos:         []string{alpn},
		MinVersion:         tls.VersionTLS13,
		// The larger hybrid key shares would need a second first packet, which
		// loss makes slow.
		CurvePreferences:       []tls.CurveID{tls.X25519, tls.CurveP256},
		SessionTicketsDisabled: true,
		Time:                   i.now,
	}
}

// verify checks the peer's chain and then its name. A chain that does not lead
// to our CA is a wrong secret, unless the unverified certificate itself says
// that it is of another cluster.
func (i *identity) verify(cs tls.ConnectionState) error {
	if len(cs.PeerCertificates) == 0 {
		return refusal(CodeWrongSecret, "no certificate")
	}
	leaf := cs.PeerCertificates[0]
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots:       i.roots,
		CurrentTime: i.now(),
		KeyUsages:   []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	})
	if named := i.checkName(leaf); named != nil {
		return named
	}
	if err != nil {
		return refusalFor(CodeWrongSecret, err)
	}
	return nil
}

func (i *identity) checkName(leaf *x509.Certificate) error {
	if len(leaf.URIs) != 1 || leaf.URIs[0].Scheme != uriScheme {
		return refusal(CodeWrongSecret, "the certificate names no node")
	}
	if c := leaf.URIs[0].Host; c != i.cluster {
		return refusal(CodeForeignCluster, "peer is of %.64q, this node of %q", c, i.cluster)
	}
	return nil
}
