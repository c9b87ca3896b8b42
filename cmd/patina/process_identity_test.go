package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// gossip returns the section of a node that keeps its address, with an identity.
func (a *agent) gossip(identity string, bootstrap ...string) string {
	addr := a.facts["gossip"]
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	return fmt.Sprintf("gossip: {addr: %q, bootstrap: [%s], %s}", addr, strings.Join(bootstrap, ", "), identity)
}

// tlsIn is an identity by the files that makeTLS made, or nodes were given since.
func tlsIn(dir, name string) string {
	return fmt.Sprintf("tls: {ca: %q, cert: %q, key: %q}", filepath.Join(dir, "ca.crt"), filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key"))
}

// reconfigure changes the node's identity while it runs.
func (a *agent) reconfigure(identity string, bootstrap ...string) {
	a.t.Helper()
	a.configure(a.gossip(identity, bootstrap...))
	if _, err := a.api.Reload(a.t.Context()); err != nil {
		a.t.Fatal(err)
	}
}

// waitAlive waits until every node sees every other alive.
func waitAlive(t testing.TB, limit time.Duration, agents ...*agent) {
	t.Helper()
	wait(t, limit, "all alive", func() error {
		for _, a := range agents {
			alive := 0
			for _, m := range a.status().Members {
				if m.State == "alive" {
					alive++
				}
			}
			if alive != len(agents) {
				return fmt.Errorf("%s sees %d alive of %d", a.dir, alive, len(agents))
			}
		}
		return nil
	})
}

// identified starts nodes, each with the identity that the function gives it.
func identified(t *testing.T, n int, identity func(i int) string) (agents []*agent) {
	t.Helper()
	for i := range n {
		var first []string
		if i > 0 {
			first = []string{agents[0].facts["gossip"]}
		}
		a := newAgent(t)
		a.configure(a.gossip(identity(i), first...))
		a.write("schema/s.sql", apiSchema)
		agents = append(agents, a.start())
	}
	waitAlive(t, 10*time.Second, agents...)
	return agents
}

// TestClusterByCertificates: three nodes know each other by certificates, change
// them and their CA while they run, and keep what they have when a reload finds
// broken files.
func TestClusterByCertificates(t *testing.T) {
	program(t)
	t.Parallel()
	dir := makeTLS(t, "n0")
	cert := func(name string) {
		mustPatina(t, "tls", "cert", "--dir", dir, "--ca", filepath.Join(dir, "ca.crt"), "--ca-key", filepath.Join(dir, "ca.key"), name)
	}
	cert("n1")
	cert("n2")
	agents := identified(t, 3, func(i int) string { return tlsIn(dir, fmt.Sprint("n", i)) })
	agents[1].exec("INSERT INTO t VALUES(1, 'x')")
	waitEqual(t, 5*time.Second, agents...)

	a := agents[0]
	a.write("broken.crt", "no certificate")
	a.configure(a.gossip(fmt.Sprintf("tls: {ca: %q, cert: %q, key: %q}", a.dir+"/broken.crt", dir+"/n0.crt", dir+"/n0.key")))
	if _, err := a.api.Reload(t.Context()); err == nil || !strings.Contains(err.Error(), "gossip.tls.ca: holds no certificate") {
		t.Errorf("a broken CA: %v", err)
	}
	a.configure(a.gossip(fmt.Sprintf("tls: {ca: %q, cert: %q, key: %q}", a.file(), dir+"/n0.crt", dir+"/n0.key")))
	if _, err := a.api.Reload(t.Context()); err == nil || !strings.Contains(err.Error(), "is the database") {
		t.Errorf("the database as the CA: %v", err)
	}
	a.exec("INSERT INTO t VALUES(2, 'x')")
	waitEqual(t, 5*time.Second, agents...)

	// Another CA: believed by all, then shown by all, then believed alone.
	next := makeTLS(t, "n0")
	both := filepath.Join(next, "both.crt")
	var bundle []byte
	for _, file := range []string{filepath.Join(dir, "ca.crt"), filepath.Join(next, "ca.crt")} {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		bundle = append(bundle, b...)
	}
	if err := os.WriteFile(both, bundle, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"n1", "n2"} {
		mustPatina(t, "tls", "cert", "--dir", next, "--ca", filepath.Join(next, "ca.crt"), "--ca-key", filepath.Join(next, "ca.key"), name)
	}
	for i, step := range []struct{ ca, shown string }{{both, dir}, {both, next}, {filepath.Join(next, "ca.crt"), next}} {
		for j, a := range agents {
			a.reconfigure(fmt.Sprintf("tls: {ca: %q, cert: %q, key: %q}", step.ca,
				fmt.Sprintf("%s/n%d.crt", step.shown, j), fmt.Sprintf("%s/n%d.key", step.shown, j)), agents[(j+1)%3].facts["gossip"])
			agents[(j+1)%3].exec(fmt.Sprintf("INSERT INTO t VALUES(%d, 'x')", 10+10*i+j))
			waitEqual(t, 10*time.Second, agents...)
		}
	}
	if stranger := a.status(); stranger.Counters["link.wrong certificate authority"] != 0 {
		t.Errorf("refused meanwhile: %v", stranger.Counters)
	}
	late := newAgent(t)
	late.configure(late.gossip(tlsIn(dir, "n0"), a.facts["gossip"]))
	late.launch()
	a.waitLog("level=WARN", "wrong certificate authority")
}

// TestSecretIsRotatedUnderWrites: three nodes get a new secret one after the
// other, and then lose the old one, while each is written to. No write fails, none
// is lost, nobody is declared dead.
func TestSecretIsRotatedUnderWrites(t *testing.T) {
	program(t)
	t.Parallel()
	const old, next = `secret: "the secret of last year"`, `secret: "the secret of this year"`
	agents := identified(t, 3, func(int) string { return old })
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var writers sync.WaitGroup
	acknowledged := make([]sync.Map, len(agents))
	for i, a := range agents {
		writers.Go(func() { a.counter(ctx, 1000+i, &acknowledged[i]) })
	}
	reach := func(step int) {
		t.Helper()
		for i, a := range agents {
			a.exec(fmt.Sprintf("INSERT INTO t VALUES(%d, 'x')", 10*step+i))
		}
		wait(t, 10*time.Second, "with each other's rows", func() error {
			for _, a := range agents {
				if n := a.query(fmt.Sprintf("SELECT count(*) FROM t WHERE id BETWEEN %d AND %d", 10*step, 10*step+9)); n != fmt.Sprint(len(agents)) {
					return fmt.Errorf("%s has %s rows", a.dir, n)
				}
			}
			return nil
		})
	}
	for step, identity := range []string{next + `, old_secret: "the secret of last year"`, next} {
		for i, a := range agents {
			a.configure(a.gossip(identity, agents[(i+1)%3].facts["gossip"]))
			a.signal(syscall.SIGHUP)
			wait(t, 10*time.Second, "reloaded", func() error {
				// The answer comes after the signal's reload or does the same.
				_, err := a.api.Reload(t.Context())
				return err
			})
			reach(3*step + i + 1)
			if step == 0 && i == 0 { // who changed meets who did not, and who knows the new one alone
				for _, identity := range []string{old, next} {
					guest(t, a, identity)
				}
			}
		}
	}
	stop()
	writers.Wait()
	waitEqual(t, 10*time.Second, agents...)
	waitAlive(t, 5*time.Second, agents...)
	for i, a := range agents {
		for j := range agents {
			a.checkCounters(&acknowledged[j])
		}
		if strings.Contains(a.log.String(), "member is dead") {
			t.Errorf("node %d declared somebody dead", i)
		}
		if strings.Contains(a.log.String(), "the secret of") {
			t.Errorf("node %d logged a secret", i)
		}
	}
	stranger := newAgent(t)
	stranger.configure(stranger.gossip(old, agents[0].facts["gossip"]))
	p, _ := stranger.launch()
	agents[0].waitLog("level=WARN", "wrong secret or cluster")
	p.Process.Kill()
	waitAlive(t, 5*time.Second, agents...)
}

// guest starts a node that knows host, waits until it has the first row of the
// test above, and stops it.
func guest(t *testing.T, host *agent, identity string) {
	t.Helper()
	late := newAgent(t)
	late.configure(late.gossip(identity, host.facts["gossip"]))
	late.write("schema/s.sql", apiSchema)
	late.start()
	wait(t, 10*time.Second, "told the first row", func() error {
		if late.query("SELECT count(*) FROM t WHERE id = 10") != "1" {
			return fmt.Errorf("it lacks it")
		}
		return nil
	})
	late.stop()
}

// TestCertificateIsReadAgain: a certificate that is replaced under its name counts
// from the next reload on; one that has ended, or ends soon, is told of, and the
// node goes on.
func TestCertificateIsReadAgain(t *testing.T) {
	program(t)
	t.Parallel()
	dir := makeTLS(t, "n0")
	expiredTLS(t, dir, "expired")
	mustPatina(t, "tls", "cert", "--dir", dir, "--ca", filepath.Join(dir, "ca.crt"), "--ca-key", filepath.Join(dir, "ca.key"), "--days", "3", "soon")
	use := func(name string) {
		t.Helper()
		for _, suffix := range []string{".crt", ".key"} {
			b, err := os.ReadFile(filepath.Join(dir, name+suffix))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "own"+suffix), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	use("n0")
	a := newAgent(t)
	a.configure(a.gossip(tlsIn(dir, "own")))
	a.write("schema/s.sql", apiSchema)
	a.start()
	if strings.Contains(a.log.String(), "expire") {
		t.Errorf("told of a certificate that is valid for a year: %s", a.log)
	}
	use("soon")
	a.signal(syscall.SIGHUP)
	a.waitLog("level=WARN", "expires soon")
	use("expired")
	a.signal(syscall.SIGHUP)
	a.waitLog("level=ERROR", "has expired")
	a.exec("INSERT INTO t VALUES(1, 'x')")
	a.stop()
	a.start()
	if got := a.query("SELECT count(*) FROM t"); got != "1" {
		t.Errorf("%s rows", got)
	}
}
