package transport

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"
)

// Identity is how a node proves that it belongs to its cluster, and whom it
// believes. A peer is believed that proves any one of what is set here, and the
// node proves all of it, so that a cluster moves from one secret to another, or
// between a secret and certificates, one node after the other.
type Identity struct {
	Secret    string // ≥ MinSecret bytes; empty: none
	OldSecret string // what Secret replaces; the same bounds
	CA        []byte // PEM: certificates of the authorities that are believed; empty: none
	Cert      []byte // PEM: the node's certificate, first, and those between it and the CA; required with CA
	Key       []byte // PEM: the private key of Cert
}

// Errors of New and PrepareIdentity.
var (
	// ErrShortSecret says that a secret has fewer than MinSecret bytes.
	ErrShortSecret = fmt.Errorf("transport: gossip.secret is shorter than %d characters", MinSecret)
	// ErrTLS is wrapped by what is wrong with CA, Cert or Key.
	ErrTLS = errors.New("transport: gossip.tls")
)

// proven reports whether anything keeps strangers out.
func (i Identity) proven() bool { return i.Secret != "" || len(i.CA) > 0 }

func (i Identity) validate() error {
	for _, secret := range []string{i.Secret, i.OldSecret} {
		if secret != "" && len(secret) < MinSecret {
			return ErrShortSecret
		}
	}
	return nil
}

// identity is an Identity that was read: what the node shows and whom it
// believes. It never changes.
type identity struct {
	cluster  string
	secret   bool // the node has a secret, or needs none
	tls      bool // the node has a CA
	roots    *x509.CertPool
	cert     tls.Certificate
	notAfter time.Time // of Cert; zero without
	now      func() time.Time
}

func newIdentity(cfg Config) (*identity, error) {
	id := &identity{cluster: cfg.Cluster, roots: x509.NewCertPool(), now: cfg.Now}
	if len(cfg.CA) > 0 {
		if err := id.readTLS(cfg.Identity); err != nil {
			return nil, err
		}
	} else {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, fmt.Errorf("transport: make node key: %w", err)
		}
		id.cert.PrivateKey = key
	}
	secrets := []string{cfg.Secret, cfg.OldSecret}
	if !cfg.proven() {
		secrets = []string{""} // the loopback CA
	}
	for i, secret := range secrets {
		if secret == "" && (i > 0 || cfg.proven()) {
			continue
		}
		if err := id.derive(cfg, secret); err != nil {
			return nil, err
		}
	}
	return id, nil
}

// derive adds what a secret stands for: its CA to those believed, and a
// certificate of it for the node's one key to those shown.
func (i *identity) derive(cfg Config, secret string) error {
	ca, err := newDerivedCA(secret, cfg.Cluster)
	if err != nil {
		return err
	}
	public := i.cert.PrivateKey.(crypto.Signer).Public() //nolint:forcetypeassert // as tls.X509KeyPair and ecdsa make them
	der, err := ca.issue(cfg.Cluster, cfg.Name, public)
	if err != nil {
		return err
	}
	i.secret = true
	i.roots.AddCert(ca.cert)
	i.cert.Certificate = append(i.cert.Certificate, der)
	return nil
}

// readTLS reads CA, certificate and key, which must fit each other and the
// cluster; a certificate that is not valid now is taken, since its peers decide.
func (i *identity) readTLS(id Identity) error {
	authorities, err := readCertificates(id.CA)
	if err != nil {
		return fmt.Errorf("%w.ca: %w", ErrTLS, err)
	}
	for _, ca := range authorities {
		if !ca.IsCA {
			return fmt.Errorf("%w.ca: the certificate of %q is not that of an authority", ErrTLS, ca.Subject)
		}
		i.roots.AddCert(ca)
	}
	if _, err := readCertificates(id.Cert); err != nil {
		return fmt.Errorf("%w.cert: %w", ErrTLS, err)
	}
	if i.cert, err = tls.X509KeyPair(id.Cert, id.Key); err != nil {
		return fmt.Errorf("%w.key: %w", ErrTLS, err)
	}
	if len(i.cert.Certificate) >= maxCertificates-2 { // room for those of two secrets
		return fmt.Errorf("%w.cert: %d certificates, at most %d", ErrTLS, len(i.cert.Certificate), maxCertificates-3)
	}
	i.tls, i.notAfter = true, i.cert.Leaf.NotAfter
	shown, err := parseAll(i.cert.Certificate)
	if err != nil {
		return fmt.Errorf("%w.cert: %w", ErrTLS, err)
	}
	then := *i // a moment at which the certificate is valid
	then.now = func() time.Time { return i.cert.Leaf.NotBefore }
	if i.check(shown) == nil {
		return nil
	}
	if err := then.check(shown); err != nil {
		return fmt.Errorf("%w.cert: peers would refuse it: %w", ErrTLS, err)
	}
	return nil
}

// readCertificates reads at least one certificate, and nothing else.
func readCertificates(text []byte) (out []*x509.Certificate, err error) {
	for {
		block, rest := pem.Decode(text)
		if block == nil {
			break
		}
		text = rest
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("holds a %s, not only certificates", block.Type)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		out = append(out, cert)
	}
	if len(out) == 0 {
		return nil, errors.New("holds no certificate in PEM form")
	}
	return out, nil
}

func parseAll(der [][]byte) (out []*x509.Certificate, err error) {
	for _, d := range der {
		cert, err := x509.ParseCertificate(d)
		if err != nil {
			return nil, err
		}
		out = append(out, cert)
	}
	return out, nil
}

// maxCertificates bounds what a peer may show: each may cost a signature check.
const maxCertificates = 8

// check decides whether what a peer showed proves that it belongs here: one of
// the certificates of its key leads to a CA that is believed and names this
// cluster. The others are those between a certificate and its CA. The error is
// a *verdict about one of the peer's.
func (i *identity) check(shown []*x509.Certificate) (err error) {
	if len(shown) == 0 || len(shown) > maxCertificates {
		return untrusted(CodeWrongSecret, "%d certificates", len(shown))
	}
	var own []*x509.Certificate
	between := x509.NewCertPool()
	for _, c := range shown {
		if c == shown[0] || sameKey(c, shown[0]) {
			own = append(own, c)
		} else {
			between.AddCert(c)
		}
	}
	if !i.tls { // what a peer derived comes last, and is what to speak of here
		slices.Reverse(own)
	}
	for _, c := range own {
		refused := i.checkOne(c, between)
		if refused == nil {
			return nil
		}
		if err == nil {
			err = refused
		}
	}
	return err
}

func sameKey(a, b *x509.Certificate) bool {
	key, ok := a.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	return ok && key.Equal(b.PublicKey)
}

// checkOne checks one certificate of a peer's key. One that does not lead to a
// CA of ours is of another secret or authority, unless it says itself, unproven,
// that it is of another cluster.
func (i *identity) checkOne(c *x509.Certificate, between *x509.CertPool) error {
	_, err := c.Verify(x509.VerifyOptions{
		Roots:         i.roots,
		Intermediates: between,
		CurrentTime:   i.now(),
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	})
	if named := i.checkName(c); named != nil {
		return named
	}
	if err == nil {
		return nil
	}
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok && invalid.Reason == x509.Expired {
		return untrusted(CodeExpired, "valid from %s to %s, here it is %s", c.NotBefore.Format(time.RFC3339),
			c.NotAfter.Format(time.RFC3339), i.now().UTC().Format(time.RFC3339))
	}
	switch derived := c.Issuer.CommonName == caName; {
	case derived && !i.secret:
		return untrusted(CodeWrongSecret, "the peer has a gossip.secret, this node has none")
	case derived:
		return untrusted(CodeWrongSecret, "%v", err)
	case !i.tls:
		return untrusted(CodeWrongCA, "the peer has a gossip.tls, this node has none; the issuer is %.64q", c.Issuer)
	}
	return untrusted(CodeWrongCA, "the issuer is %.64q: %v", c.Issuer, err)
}

func (i *identity) checkName(leaf *x509.Certificate) error {
	if len(leaf.URIs) != 1 || leaf.URIs[0].Scheme != uriScheme {
		return untrusted(CodeWrongCA, "the certificate names no node: it needs one URI, %s://%s/node/NAME", uriScheme, i.cluster)
	}
	if c := leaf.URIs[0].Host; c != i.cluster {
		return untrusted(CodeForeignCluster, "peer is of %.64q, this node of %q", c, i.cluster)
	}
	return nil
}

// verify is check for the TLS library.
func (i *identity) verify(cs tls.ConnectionState) error { return i.check(cs.PeerCertificates) }

// Alerts (RFC 8446, section 6) tell the refused peer why.
var alerts = map[Code]tls.AlertError{
	CodeWrongSecret:    42, // bad_certificate
	CodeExpired:        45, // certificate_expired
	CodeWrongCA:        48, // unknown_ca
	CodeForeignCluster: 49, // access_denied
}

// alertCode is the inverse of alerts. Whatever else fails in a handshake counts
// as a wrong secret.
func alertCode(alert tls.AlertError) Code {
	for code, a := range alerts {
		if a == alert {
			return code
		}
	}
	return CodeWrongSecret
}

// untrusted is the verdict about a certificate.
func untrusted(c Code, format string, args ...any) error {
	return &verdict{code: c, detail: fmt.Sprintf(format, args...), cause: alerts[c]}
}

// keyring holds the identity in use, which PrepareIdentity exchanges.
type keyring struct{ atomic.Pointer[identity] }

// tls returns the one configuration for both roles. Names are not checked by
// the library (there are no host names): verify does it all.
func (k *keyring) tls() *tls.Config {
	shown := func() (*tls.Certificate, error) { return &k.Load().cert, nil }
	return &tls.Config{
		GetCertificate:       func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return shown() },
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return shown() },
		ClientAuth:           tls.RequireAnyClientCert,
		InsecureSkipVerify:   true,
		VerifyConnection:     func(cs tls.ConnectionState) error { return k.Load().verify(cs) },
		NextProtos:           []string{alpn},
		MinVersion:           tls.VersionTLS13,
		// The larger hybrid key shares would need a second first packet, which
		// loss makes slow.
		CurvePreferences:       []tls.CurveID{tls.X25519, tls.CurveP256},
		SessionTicketsDisabled: true,
		Time:                   func() time.Time { return k.Load().now() },
	}
}

// PrepareIdentity checks another identity for a transport that may run already.
// Nothing changes until use is called: from then on handshakes are made with it,
// and links are closed, as CodeRevoked, whose peer proved nothing that it
// believes; both ends may dial again at once. Errors are those of New.
func (t *Transport) PrepareIdentity(next Identity) (use func(), err error) {
	cfg := t.cfg
	cfg.Identity = next
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	id, err := newIdentity(cfg)
	if err != nil {
		return nil, err
	}
	return func() {
		t.id.Store(id)
		for _, l := range t.links.all() {
			if err := id.verify(l.conn.ConnectionState().TLS); err != nil {
				l.close(CodeRevoked, err.Error())
			}
		}
	}, nil
}

// CertificateExpiry returns when the certificate of Identity.Cert ends; ok is
// false without one.
func (t *Transport) CertificateExpiry() (at time.Time, ok bool) {
	at = t.id.Load().notAfter
	return at, !at.IsZero()
}
