package transport

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

var trustTime = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func days(n int) time.Duration { return time.Duration(n) * 24 * time.Hour }

// authority makes a CA that is valid for years before and after trustTime.
func authority(t *testing.T) PEMPair {
	t.Helper()
	ca, err := NewAuthority(Validity{trustTime.Add(-days(3650)), trustTime.Add(days(3650))})
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

// certified is the identity of a node of testCluster by a CA, valid for a year.
func certified(t *testing.T, ca PEMPair) Identity {
	t.Helper()
	return certifiedFor(t, ca, testCluster, Validity{trustTime.Add(-days(1)), trustTime.Add(days(365))})
}

func certifiedFor(t *testing.T, ca PEMPair, cluster string, v Validity) Identity {
	t.Helper()
	pair, err := NewCertificate(ca, cluster, "a node", v)
	if err != nil {
		t.Fatal(err)
	}
	return Identity{CA: ca.Cert, Cert: pair.Cert, Key: pair.Key}
}

func trusting(t *testing.T, i Identity, cluster string) *identity {
	t.Helper()
	id, err := newIdentity(Config{Identity: i, Cluster: cluster, Name: "n", Now: func() time.Time { return trustTime }})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// verdictOn returns the code with which a node refuses what another shows, 0 if
// it does not.
func verdictOn(t *testing.T, node, peer *identity) Code {
	t.Helper()
	shown, err := parseAll(peer.cert.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	err = node.verify(tls.ConnectionState{PeerCertificates: shown})
	v, ok := errors.AsType[*verdict](err)
	switch {
	case err == nil:
		return 0
	case !ok:
		t.Fatalf("refused with %v", err)
	}
	return v.code
}

func TestWhoIsTrusted(t *testing.T) {
	const old, next = "the old secret, long", "the new secret, long"
	ca, other := authority(t), authority(t)
	both := certified(t, ca)
	both.Secret = old
	bundle := certified(t, other)
	bundle.CA = slices.Concat(ca.Cert, other.Cert)
	expired := certifiedFor(t, ca, testCluster, Validity{trustTime.Add(-days(9)), trustTime.Add(-days(1))})
	early := certifiedFor(t, ca, testCluster, Validity{trustTime.Add(days(1)), trustTime.Add(days(9))})
	for _, c := range []struct {
		desc       string
		node, peer Identity
		want, back Code // the node's verdict on the peer, and the peer's on the node
	}{
		{"one CA", certified(t, ca), certified(t, ca), 0, 0},
		{"two CAs", certified(t, ca), certified(t, other), CodeWrongCA, CodeWrongCA},
		{"a CA exchanged", bundle, certified(t, ca), 0, CodeWrongCA},
		{"expired", certified(t, ca), expired, CodeExpired, 0},
		{"not valid yet", certified(t, ca), early, CodeExpired, 0},
		{"certificate against secret", certified(t, ca), Identity{Secret: old}, CodeWrongSecret, CodeWrongCA},
		{"certificate against nothing", certified(t, ca), Identity{}, CodeWrongSecret, CodeWrongCA},
		{"both against secret", both, Identity{Secret: old}, 0, 0},
		{"both against certificate", both, certified(t, ca), 0, 0},
		{"both against another secret", both, Identity{Secret: next}, CodeWrongSecret, CodeWrongSecret},
		{"both against another CA", both, certified(t, other), CodeWrongCA, CodeWrongCA},
		{"rotating against old", Identity{Secret: next, OldSecret: old}, Identity{Secret: old}, 0, 0},
		{"rotating against new", Identity{Secret: next, OldSecret: old}, Identity{Secret: next}, 0, 0},
		{"rotating against a third", Identity{Secret: next, OldSecret: old}, Identity{Secret: "a third secret, long"}, CodeWrongSecret, CodeWrongSecret},
		{"new against old", Identity{Secret: next}, Identity{Secret: old}, CodeWrongSecret, CodeWrongSecret},
	} {
		node, peer := trusting(t, c.node, testCluster), trusting(t, c.peer, testCluster)
		if got, back := verdictOn(t, node, peer), verdictOn(t, peer, node); got != c.want || back != c.back {
			t.Errorf("%s: %v and back %v, want %v and %v", c.desc, got, back, c.want, c.back)
		}
	}
	foreign := trusting(t, certifiedFor(t, ca, "other", Validity{trustTime, trustTime.Add(days(9))}), "other")
	if got := verdictOn(t, trusting(t, certified(t, ca), testCluster), foreign); got != CodeForeignCluster {
		t.Errorf("another cluster under one CA: %v", got)
	}
}

// A certificate is proven by the key that signed the handshake, which is the
// first's: a stranger's own key proves nothing of certificates shown beside it.
func TestStolenCertificateProvesNothing(t *testing.T) {
	node := trusting(t, Identity{Secret: testSecret}, testCluster)
	friend := trusting(t, Identity{Secret: testSecret}, testCluster)
	thief := trusting(t, Identity{Secret: "another secret of 16"}, testCluster)
	thief.cert.Certificate = append(thief.cert.Certificate, friend.cert.Certificate...)
	if got := verdictOn(t, node, thief); got != CodeWrongSecret {
		t.Errorf("verdict %v", got)
	}
	for range maxCertificates {
		thief.cert.Certificate = append(thief.cert.Certificate, friend.cert.Certificate...)
	}
	if got := verdictOn(t, node, thief); got != CodeWrongSecret {
		t.Errorf("on too many certificates: %v", got)
	}
}

func TestTLSFilesAreChecked(t *testing.T) {
	ca, other := authority(t), authority(t)
	good, strange := certified(t, ca), certified(t, other)
	for _, c := range []struct {
		desc string
		edit func(*Identity)
		want string
	}{
		{"CA is no PEM", func(i *Identity) { i.CA = []byte("x") }, "gossip.tls.ca: holds no certificate"},
		{"CA is a key", func(i *Identity) { i.CA = i.Key }, "gossip.tls.ca: holds a PRIVATE KEY"},
		{"CA is a node's certificate", func(i *Identity) { i.CA = i.Cert }, "gossip.tls.ca: the certificate of"},
		{"no certificate", func(i *Identity) { i.Cert = nil }, "gossip.tls.cert: holds no certificate"},
		{"another's key", func(i *Identity) { i.Key = strange.Key }, "gossip.tls.key: tls: private key does not match"},
		{"another CA's certificate", func(i *Identity) { i.Cert, i.Key = strange.Cert, strange.Key }, "gossip.tls.cert: peers would refuse it: wrong certificate authority"},
		{"another cluster's certificate", func(i *Identity) {
			foreign := certifiedFor(t, ca, "other", Validity{trustTime, trustTime.Add(days(1))})
			i.Cert, i.Key = foreign.Cert, foreign.Key
		}, "gossip.tls.cert: peers would refuse it: foreign cluster"},
		{"too many certificates", func(i *Identity) { i.Cert = slices.Repeat(i.Cert, maxCertificates) }, "at most 5"},
	} {
		id := good
		c.edit(&id)
		_, err := newIdentity(Config{Identity: id, Cluster: testCluster, Now: func() time.Time { return trustTime }})
		if err == nil || !errors.Is(err, ErrTLS) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.desc, err, c.want)
		}
	}
}

// TestCertificatesBetween: a CA may sign another that signs the node's.
func TestCertificatesBetween(t *testing.T) {
	template := func() *x509.Certificate {
		serial, err := newSerial()
		if err != nil {
			t.Fatal(err)
		}
		return &x509.Certificate{
			SerialNumber: serial, Subject: pkix.Name{CommonName: serial.String()}, IsCA: true, BasicConstraintsValid: true,
			KeyUsage: x509.KeyUsageCertSign, NotBefore: trustTime.Add(-days(1)), NotAfter: trustTime.Add(days(365)),
		}
	}
	self := template()
	root, err := makePair(self, self, nil)
	if err != nil {
		t.Fatal(err)
	}
	parent, err := tls.X509KeyPair(root.Cert, root.Key)
	if err != nil {
		t.Fatal(err)
	}
	between, err := makePair(template(), parent.Leaf, parent.PrivateKey.(crypto.Signer))
	if err != nil {
		t.Fatal(err)
	}
	id := certified(t, between)
	id.CA, id.Cert = root.Cert, slices.Concat(id.Cert, between.Cert)
	peer := trusting(t, id, testCluster)
	if got := verdictOn(t, trusting(t, id, testCluster), peer); got != 0 {
		t.Errorf("with the certificate between: %v", got)
	}
	peer.cert.Certificate = peer.cert.Certificate[:1]
	if got := verdictOn(t, trusting(t, id, testCluster), peer); got != CodeWrongCA {
		t.Errorf("without it: %v", got)
	}
}

// TestIdentityChangesWhileLinked: a link ends when its peer proved nothing that
// is believed any more, and no other does; what was refused changes nothing.
func TestIdentityChangesWhileLinked(t *testing.T) {
	const next = "the next secret, long"
	bubble(t, 10*time.Millisecond, 0, func(t *testing.T, n *vnet) {
		a, b, c := n.start(t, 1), n.start(t, 2), n.start(t, 3)
		defer stopAll([]*testNode{a, b, c})
		change := func(x *testNode, i Identity) {
			t.Helper()
			use, err := x.PrepareIdentity(i)
			if err != nil {
				t.Fatal(err)
			}
			use()
			time.Sleep(time.Second)
		}
		a.dial(b)
		a.dial(c)
		time.Sleep(time.Second)
		if _, err := a.PrepareIdentity(Identity{Secret: "short"}); !errors.Is(err, ErrShortSecret) {
			t.Errorf("short secret: %v", err)
		}
		var open *InsecureAddrError
		if _, err := a.PrepareIdentity(Identity{}); !errors.As(err, &open) {
			t.Errorf("no secret off loopback: %v", err)
		}
		change(a, Identity{Secret: next, OldSecret: testSecret})
		change(b, Identity{Secret: next, OldSecret: testSecret})
		a.wantEvents("up 2", "up 3")
		change(a, Identity{Secret: next}) // both proved the old one alone
		if down := a.seen(); len(down) != 4 || !slices.Contains(down, "down 2") || !slices.Contains(down, "down 3") {
			t.Errorf("events %q", down)
		}
		a.wantEnded(CodeRevoked, false, 2)
		b.wantEnded(CodeRevoked, true, 1)
		b.dial(a)
		if _, err := c.Dial(t.Context(), a.LocalAddr()); !errors.Is(err, CodeWrongSecret) {
			t.Errorf("one that knows the old secret alone: %v", err)
		}
		change(b, Identity{Secret: next})
		time.Sleep(time.Second)
		b.wantEvents("up 1", "down 1", "up 1")
		if err := b.say(actor(1), "x"); err != nil {
			t.Error(err)
		}
	})
}
