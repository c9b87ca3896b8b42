package main

import (
	"fmt"
	"net"
	"testing"
	"time"
)

// freeUDP returns a port that was free just now.
func freeUDP(t *testing.T, host string) string {
	t.Helper()
	c, err := net.ListenPacket("udp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Skipf("no UDP on %s: %v", host, err)
	}
	defer c.Close()
	_, port, err := net.SplitHostPort(c.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// TestMeshOverIPv6: three nodes that have nothing but IPv6.
func TestMeshOverIPv6(t *testing.T) {
	program(t)
	t.Parallel()
	freeUDP(t, "::1") // or skip
	var agents []*agent
	for i := range 3 {
		a := newAgent(t)
		options := `addr: "[::1]:0", secret: "the secret of the cluster"`
		if i > 0 {
			options += fmt.Sprintf(", bootstrap: [%q]", agents[0].facts["gossip"])
		}
		a.configure("gossip: {"+options+"}", `api: {addr: "[::1]:0"}`)
		a.write("schema/s.sql", apiSchema)
		agents = append(agents, a.start())
	}
	waitAlive(t, 10*time.Second, agents...)
	agents[2].exec("INSERT INTO t VALUES(1, 'x')")
	waitEqual(t, 5*time.Second, agents...)
	agents[0].kill() // the others reach each other without it
	agents[1].exec("INSERT INTO t VALUES(2, 'x')")
	waitEqual(t, 5*time.Second, agents[1:]...)
}

// TestAdvertisedAddressIsDialled: nodes bound to every address of the machine, of
// both families, are reached where they advertise, by a name too.
func TestAdvertisedAddressIsDialled(t *testing.T) {
	program(t)
	t.Parallel()
	freeUDP(t, "::1") // or skip
	var agents []*agent
	for i, c := range []struct{ bind, advertise string }{{"0.0.0.0", "127.0.0.1"}, {"", "localhost"}, {"::", "::1"}} {
		port := freeUDP(t, c.bind)
		a := newAgent(t)
		options := fmt.Sprintf("addr: %q, advertise: %q, secret: \"the secret of the cluster\"", net.JoinHostPort(c.bind, port), net.JoinHostPort(c.advertise, port))
		if i > 0 { // the first is told nobody's: it has to learn them
			options += fmt.Sprintf(", bootstrap: [%q]", net.JoinHostPort("localhost", port0(agents[0])))
		}
		a.configure("gossip: {" + options + "}")
		a.write("schema/s.sql", apiSchema)
		agents = append(agents, a.start())
	}
	waitAlive(t, 20*time.Second, agents...)
	agents[1].exec("INSERT INTO t VALUES(1, 'x')")
	waitEqual(t, 10*time.Second, agents...)
	for _, m := range agents[0].status().Members {
		if m.Addr.Addr().IsUnspecified() || !m.Addr.Addr().IsLoopback() {
			t.Errorf("a member is shown at %v", m.Addr)
		}
	}
}

// port0 is the port of a node's mesh.
func port0(a *agent) string {
	a.t.Helper()
	_, port, err := net.SplitHostPort(a.facts["gossip"])
	if err != nil {
		a.t.Fatal(err)
	}
	return port
}
