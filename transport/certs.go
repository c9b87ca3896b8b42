package transport

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"
)

// Validity is from when to when a certificate is valid, to the second.
type Validity struct{ From, Until time.Time }

// PEMPair is a certificate and its private key (PKCS #8), each as PEM.
type PEMPair struct{ Cert, Key []byte }

// authorityName is the subject of the CAs that NewAuthority makes. It is not
// caName, by which derived certificates are known.
const authorityName = "patina CA"

// NewAuthority makes a CA with a fresh P-256 key, for Identity.CA of every node
// of a cluster and for NewCertificate.
func NewAuthority(v Validity) (PEMPair, error) {
	serial, err := newSerial()
	if err != nil {
		return PEMPair{}, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: authorityName},
		NotBefore:             v.From,
		NotAfter:              v.Until,
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	return makePair(template, template, nil)
}

// NewCertificate makes the certificate of one node with a fresh P-256 key,
// signed by a CA. It names cluster and node as WIRE.md, identity, says. It begins
// no earlier than the CA, and a request to end later is refused.
func NewCertificate(ca PEMPair, cluster, name string, v Validity) (PEMPair, error) {
	if !validCluster(cluster) {
		return PEMPair{}, clusterError(cluster)
	}
	if name == "" || len(name) > maxNameBytes || !utf8.ValidString(name) {
		return PEMPair{}, nameError(name)
	}
	authority, err := tls.X509KeyPair(ca.Cert, ca.Key)
	if err != nil {
		return PEMPair{}, fmt.Errorf("transport: read CA: %w", err)
	}
	signer, ok := authority.PrivateKey.(crypto.Signer)
	if !ok || !authority.Leaf.IsCA {
		return PEMPair{}, errors.New("transport: read CA: the certificate is not that of an authority")
	}
	if v.Until.After(authority.Leaf.NotAfter) {
		return PEMPair{}, fmt.Errorf("transport: make certificate: it would be valid until %s, the CA only until %s",
			v.Until.Format(time.RFC3339), authority.Leaf.NotAfter.Format(time.RFC3339))
	}
	if v.From.Before(authority.Leaf.NotBefore) {
		v.From = authority.Leaf.NotBefore
	}
	serial, err := newSerial()
	if err != nil {
		return PEMPair{}, err
	}
	template := nodeTemplate(cluster, name)
	template.SerialNumber, template.Subject = serial, pkix.Name{CommonName: name}
	template.NotBefore, template.NotAfter = v.From, v.Until
	return makePair(template, authority.Leaf, signer)
}

// makePair signs a certificate for a fresh key, with that key itself if signer
// is nil.
func makePair(template, parent *x509.Certificate, signer crypto.Signer) (PEMPair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return PEMPair{}, fmt.Errorf("transport: make key: %w", err)
	}
	if signer == nil {
		signer = key
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		return PEMPair{}, fmt.Errorf("transport: make certificate: %w", err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return PEMPair{}, fmt.Errorf("transport: encode key: %w", err)
	}
	return PEMPair{
		Cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}),
		Key:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}),
	}, nil
}
