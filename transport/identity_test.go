package transport

import (
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"
)

// TestDerivedKeyGolden fixes the KDF: nodes of different versions must derive
// the same key. WIRE.md quotes the values.
func TestDerivedKeyGolden(t *testing.T) {
	doc, err := os.ReadFile("WIRE.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ secret, cluster, scalar string }{
		{"correct horse battery staple", "default", "4cc21ee0583f460c7ee61d96592eddb84f9c4a9af71474df8e9e45b34c376a7f"},
		{"", "default", "0c4019c1982aa2e5e078640d6022f9b10f293befe780f4e6a897ea1769177577"},
	} {
		key, err := deriveCA(c.secret, c.cluster)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := key.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		if got := hex.EncodeToString(raw); got != c.scalar {
			t.Errorf("secret %q, cluster %q: scalar %s, want %s", c.secret, c.cluster, got, c.scalar)
		}
		if !strings.Contains(string(doc), c.scalar) {
			t.Errorf("WIRE.md does not quote %s", c.scalar)
		}
	}
}

func TestDerivedKeysDiffer(t *testing.T) {
	seen := map[string]string{}
	for _, c := range [][2]string{{"", "a"}, {"", "b"}, {"0123456789abcdef", "a"}, {"0123456789abcdef", "b"}, {"0123456789abcdeg", "a"}, {"a", "a"}} {
		key, err := deriveCA(c[0], c[1])
		if err != nil {
			t.Fatal(err)
		}
		raw, _ := key.Bytes()
		if other, ok := seen[string(raw)]; ok {
			t.Errorf("%q and %s have the same key", c, other)
		}
		seen[string(raw)] = c[0] + "/" + c[1]
	}
}

func TestScalarSkipsInvalidCandidates(t *testing.T) {
	order := elliptic.P256().Params().N.FillBytes(make([]byte, scalarBytes))
	one := make([]byte, scalarBytes)
	one[scalarBytes-1] = 1
	zero := make([]byte, scalarBytes)
	key, err := firstScalar(append(append(append([]byte{}, zero...), order...), one...))
	if err != nil {
		t.Fatal(err)
	}
	if raw, _ := key.Bytes(); hex.EncodeToString(raw) != hex.EncodeToString(one) {
		t.Errorf("scalar %x", raw)
	}
	if _, err := firstScalar(append(zero, order...)); err == nil {
		t.Error("a key without a valid scalar")
	}
}

func testIdentity(t *testing.T, secret, cluster string, now time.Time) *identity {
	t.Helper()
	id, err := newIdentity(Config{Identity: Identity{Secret: secret}, Cluster: cluster, Name: "a/b c", Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestVerify(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	self := testIdentity(t, testSecret, "one", now)
	for _, c := range []struct {
		desc string
		peer *identity
		want Code
	}{
		{"same secret and cluster", testIdentity(t, testSecret, "one", now), 0},
		{"clock two days behind", testIdentity(t, testSecret, "one", now.Add(-48*time.Hour)), 0},
		{"clock years ahead", testIdentity(t, testSecret, "one", now.AddDate(8, 0, 0)), 0},
		{"started as a board that knows no time", testIdentity(t, testSecret, "one", time.Unix(0, 0)), 0},
		{"other secret", testIdentity(t, testSecret+"x", "one", now), CodeWrongSecret},
		{"other cluster", testIdentity(t, testSecret, "two", now), CodeForeignCluster},
	} {
		leaf, err := x509.ParseCertificate(c.peer.cert.Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		if u := leaf.URIs[0].String(); !strings.HasPrefix(u, "patina://") || !strings.HasSuffix(u, "/node/a/b%20c") {
			t.Errorf("URI %s", u)
		}
		err = self.verify(tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}})
		var got Code
		if v, ok := errors.AsType[*verdict](err); ok {
			got = v.code
		}
		if got != c.want || (err == nil) != (c.want == 0) {
			t.Errorf("%s: %v, want %v", c.desc, err, c.want)
		}
	}
	if err := self.verify(tls.ConnectionState{}); err == nil {
		t.Error("no certificate was accepted")
	}
	leaf, err := x509.ParseCertificate(self.cert.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	for year, accepted := range map[int]bool{1970: true, 2199: true, 2201: false} {
		then := testIdentity(t, testSecret, "one", time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC))
		if err := then.verify(tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}}); (err == nil) != accepted {
			t.Errorf("a clock in %d: %v", year, err)
		}
	}
}

func TestConfigIsChecked(t *testing.T) {
	n := newVnet(1, 0, 0)
	loopback := n.listen(netip.MustParseAddrPort("127.0.0.1:8787"))
	outside := n.listen(netip.MustParseAddrPort("192.0.2.1:8787"))
	any := n.listen(netip.MustParseAddrPort("0.0.0.0:8787"))
	defer loopback.Close()
	defer outside.Close()
	defer any.Close()
	good := Config{Conn: loopback, Cluster: "c", Actor: actor(1), Handler: &testNode{}}
	for _, c := range []struct {
		desc string
		edit func(*Config)
		want string // part of the error, "" for none
	}{
		{"no secret on loopback", func(c *Config) {}, ""},
		{"secret elsewhere", func(c *Config) { c.Conn, c.Secret = outside, testSecret }, ""},
		{"no secret elsewhere", func(c *Config) { c.Conn = outside }, "192.0.2.1:8787 is not a loopback address"},
		{"no secret on all addresses", func(c *Config) { c.Conn = any }, "0.0.0.0:8787 is not a loopback address"},
		{"short secret", func(c *Config) { c.Secret = testSecret[1:] }, "shorter than 16"},
		{"no actor", func(c *Config) { c.Actor = [16]byte{} }, "zero actor"},
		{"no handler", func(c *Config) { c.Handler = nil }, "required"},
		{"no cluster", func(c *Config) { c.Cluster = "" }, "cluster"},
		{"cluster with a slash", func(c *Config) { c.Cluster = "a/b" }, "cluster"},
		{"cluster with two dots", func(c *Config) { c.Cluster = "a..b" }, "cluster"},
		{"cluster that ends with a dot", func(c *Config) { c.Cluster = "a." }, "cluster"},
		{"longest cluster", func(c *Config) { c.Cluster = strings.Repeat("a_B-", 15) + "9.z" }, ""},
		{"cluster too long", func(c *Config) { c.Cluster = strings.Repeat("a", 65) }, "cluster"},
		{"name too long", func(c *Config) { c.Name = strings.Repeat("a", 65) }, "name"},
	} {
		cfg := good
		c.edit(&cfg)
		_, err := New(cfg)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", c.desc, err, c.want)
		}
	}
	cfg := good
	cfg.Conn = outside
	_, err := New(cfg)
	if _, ok := errors.AsType[*InsecureAddrError](err); !ok {
		t.Errorf("error is %T", err)
	}
}
