package main

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/patinadb/patina/api/client"
)

// The whole program against three agents, as a user runs it, on a part of the
// real index.
func TestThousandPackagesReachEveryFile(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the binary and runs three nodes: not in short mode")
	}
	dir := t.TempDir()
	binary := filepath.Join(dir, "patina")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "../../cmd/patina")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	o := options{writers: 8, rows: 200, wait: time.Minute, index: thousand}
	gossip := freeAddr(t)
	for i := range 3 {
		api, file := freeAddr(t), filepath.Join(dir, string(rune('a'+i))+".db")
		env := []string{"PATINA_DB__PATH=" + file, "PATINA_DB__SCHEMA_PATHS=", "PATINA_API__ADDR=" + api}
		if i == 0 {
			env = append(env, "PATINA_GOSSIP__ADDR="+gossip)
		} else {
			env = append(env, "PATINA_GOSSIP__ADDR=127.0.0.1:0", "PATINA_GOSSIP__BOOTSTRAP="+gossip)
		}
		startAgent(t, binary, env)
		waitReady(ctx, t, api)
		o.nodes, o.files = append(o.nodes, api), append(o.files, file)
	}

	for _, desc := range []string{"first run", "second run, which changes nothing"} {
		var out bytes.Buffer
		if err := run(ctx, o, &out); err != nil {
			t.Fatalf("%s: %v\n%s", desc, err, &out)
		}
		t.Logf("%s:\n%s", desc, &out)
		if got := strings.Count(out.String(), ": 1000 packages, 4603 dependencies\n"); got != 3 {
			t.Errorf("%s: %d of 3 compared:\n%s", desc, got, &out)
		}
	}

	o.files = nil // the same through the API, the nodes found by asking one
	t.Setenv("PATINA_API", o.nodes[2])
	o.nodes = nil
	var out bytes.Buffer
	if err := run(ctx, o, &out); err != nil || strings.Count(out.String(), "identical ") != 3 {
		t.Errorf("through the API: %v\n%s", err, &out)
	}
}

// freeAddr returns a loopback address that nobody listens on.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// startAgent runs a node until the end of the test, which it must reach alive and
// leave without an error.
func startAgent(t *testing.T, binary string, env []string) {
	t.Helper()
	var log bytes.Buffer
	agent := exec.Command(binary, "agent")
	agent.Env = append(os.Environ(), env...)
	agent.Stdout, agent.Stderr = &log, &log
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		signalled := agent.Process.Signal(syscall.SIGTERM)
		if err := agent.Wait(); err != nil || signalled != nil {
			t.Errorf("agent ended with %v, %v", err, signalled)
		}
		if t.Failed() {
			t.Logf("agent of %s:\n%s", env[0], &log)
		}
	})
}

// waitReady asks until the node answers that it is ready.
func waitReady(ctx context.Context, t *testing.T, api string) {
	t.Helper()
	c, err := client.New(api)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := c.Ready(ctx)
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s is not ready: %v", api, err)
		}
	}
}
