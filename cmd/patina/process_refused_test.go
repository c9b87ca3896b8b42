package main

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/patinadb/patina/transport"
)

// expiredTLS makes files as makeTLS does, by the CA in dir, valid until an hour ago.
func expiredTLS(t *testing.T, dir, name string) {
	t.Helper()
	var ca transport.PEMPair
	var err error
	if ca.Cert, err = os.ReadFile(filepath.Join(dir, "ca.crt")); err != nil {
		t.Fatal(err)
	}
	if ca.Key, err = os.ReadFile(filepath.Join(dir, "ca.key")); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	pair, err := transport.NewCertificate(ca, "default", name, transport.Validity{From: now.Add(-time.Hour), Until: now.Add(-time.Minute)})
	if err != nil {
		t.Fatal(err)
	}
	for file, data := range map[string][]byte{name + ".crt": pair.Cert, name + ".key": pair.Key} {
		if err := os.WriteFile(filepath.Join(dir, file), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// flood sends garbage to the addresses until stop is closed, so many packets a
// second in all.
func flood(t *testing.T, rate int, stop <-chan struct{}, addrs ...string) (sent int) {
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Error(err)
		return 0
	}
	defer c.Close()
	var targets []net.Addr
	for _, a := range addrs {
		target, err := net.ResolveUDPAddr("udp", a)
		if err != nil {
			t.Error(err)
			return 0
		}
		targets = append(targets, target)
	}
	r := rand.New(rand.NewPCG(1, 1))
	b := make([]byte, 1400)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	const burst = 100
	ticks := time.NewTicker(time.Second * burst / time.Duration(rate))
	defer ticks.Stop()
	for {
		select {
		case <-stop:
			return sent
		case <-ticks.C:
		}
		for range burst {
			b[0], b[1] = byte(r.Uint32()), byte(r.Uint32()) // of every kind that QUIC knows
			c.WriteTo(b[:50+r.IntN(len(b)-50)], targets[sent%len(targets)])
			sent++
		}
	}
}

// TestEveryStrangerIsRefusedInOneLine: strangers of each kind call again and
// again; each kind is logged once here, by its name, and counted; each stranger's
// own log says why; and the cluster goes on meanwhile.
func TestEveryStrangerIsRefusedInOneLine(t *testing.T) {
	program(t)
	t.Parallel()
	const secret = `secret: "the secret of the cluster"`
	dir := makeTLS(t, "n0")
	expiredTLS(t, dir, "expired")
	both := secret + ", " + tlsIn(dir, "n0")
	agents := identified(t, 2, func(int) string { return both })
	a := agents[0]
	strangers := []struct {
		identity string
		code     transport.Code
	}{
		{`secret: "another secret altogether"`, transport.CodeWrongSecret},
		{secret + ", cluster: other", transport.CodeForeignCluster},
		{tlsIn(makeTLS(t, "n0"), "n0"), transport.CodeWrongCA},
		{tlsIn(dir, "expired"), transport.CodeExpired},
	}
	logs := map[transport.Code]*syncBuffer{}
	for _, s := range strangers {
		x := newAgent(t)
		x.configure(x.gossip(s.identity, a.facts["gossip"]))
		_, logs[s.code] = x.launch()
	}
	stop := make(chan struct{})
	var garbage sync.WaitGroup
	garbage.Go(func() { flood(t, 1000, stop, a.facts["gossip"]) })
	counted := func(min uint64) error {
		s := a.status()
		for _, x := range strangers {
			if n := s.Counters["link."+x.code.Error()]; n < min {
				return fmt.Errorf("%d times %q: %v", n, x.code, s.Counters)
			}
		}
		if s.Counters["link.stray_packets"] < 1000 {
			return fmt.Errorf("no garbage: %v", s.Counters)
		}
		return nil
	}
	wait(t, time.Minute, "refused twice each", func() error { return counted(2) })
	close(stop)
	garbage.Wait()
	warnings := map[string]int{}
	for line := range strings.Lines(a.log.String()) {
		if !strings.Contains(line, "level=WARN") {
			continue
		}
		cause := "packets that belong to no link"
		for _, s := range strangers {
			if strings.Contains(line, s.code.Error()) {
				cause = s.code.Error()
			}
		}
		warnings[cause]++
		t.Log(strings.TrimSpace(line))
	}
	for cause, n := range warnings {
		if n != 1 {
			t.Errorf("%q was logged %d times", cause, n)
		}
	}
	if len(warnings) != len(strangers)+1 {
		t.Errorf("causes logged: %v", warnings)
	}
	for code, log := range logs {
		if !strings.Contains(log.String(), code.Error()) {
			t.Errorf("the stranger does not say %q: %s", code, log)
		}
	}
	a.exec("INSERT INTO t VALUES(1, 'x')")
	waitEqual(t, 5*time.Second, agents...)
	if m := a.status().Members; len(m) != len(agents) {
		t.Errorf("members %v", m)
	}
	a.checkLinks()
}

// checkLinks sees that the status tells of a link to each other member.
func (a *agent) checkLinks() {
	a.t.Helper()
	for _, m := range a.status().Members {
		self := m.Actor.String() == a.facts["actor"]
		if linked := m.Link != nil && m.Link.BytesIn > 1000 && m.Link.BytesOut > 1000 && m.RTT > 0; linked == self {
			a.t.Errorf("member %v, RTT %v ms, link %+v", m.Actor, m.RTT, m.Link)
		}
	}
}

// TestGarbageLeavesLatency: 10,000 packets of garbage a second at the writer and
// at the reader leave the time from commit to visible within twice what it is in
// the calm rounds between.
func TestGarbageLeavesLatency(t *testing.T) {
	const rounds, writes, rate = 5, 40, 10_000
	agents := cluster(t, 3, benchSchema)
	propagate := propagation(t, agents[0], agents[2])
	took := map[bool][]float64{}
	sent := 0
	for i := range 2 * rounds {
		stop, done := make(chan struct{}), make(chan int, 1)
		flooded := i%2 == 1
		if flooded {
			go func() { done <- flood(t, rate, stop, agents[0].facts["gossip"], agents[2].facts["gossip"]) }()
		} else {
			done <- 0
		}
		for j := range writes {
			took[flooded] = append(took[flooded], propagate(i*writes+j))
		}
		close(stop)
		sent += <-done
	}
	for _, list := range took {
		slices.Sort(list)
	}
	calm, busy := took[false], took[true]
	p50, p95 := len(calm)/2, len(calm)*95/100
	t.Logf("p50 %.2f ms calm, %.2f ms under garbage; p95 %.2f and %.2f ms; %d packets, %d counted by the reader",
		calm[p50], busy[p50], calm[p95], busy[p95], sent, agents[2].status().Counters["link.stray_packets"])
	if busy[p50] > 2*calm[p50] {
		t.Errorf("p50 %.2f ms under garbage, %.2f ms without: more than twice", busy[p50], calm[p50])
	}
	if strings.Contains(agents[0].log.String()+agents[2].log.String(), "member is dead") {
		t.Error("somebody was declared dead")
	}
}
