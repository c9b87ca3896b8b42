package main

import (
	"bufio"
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/patinadb/patina/api/client"
	"github.com/patinadb/patina/changeset"
)

// The real program in processes of its own, on loopback.

var long = flag.Bool("long", false, "run the lengths that the issues name")

// programDir is where built put the program; TestMain removes it.
var programDir string

// built is the program, compiled once for all tests of the package.
var built = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "patina-test-")
	if err != nil {
		return "", err
	}
	programDir = dir
	program := filepath.Join(dir, "patina")
	out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build: %w: %s", err, out)
	}
	return program, nil
})

func program(t testing.TB) string {
	t.Helper()
	if testing.Short() {
		t.Skip("builds the program and runs nodes in processes: not in short mode")
	}
	p, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// agent is one node process.
type agent struct {
	t       testing.TB
	dir     string
	config  string
	env     []string
	command []string // runs the program; empty: the program itself
	process *exec.Cmd
	facts   map[string]string
	log     *syncBuffer
	api     *client.Client
	ended   chan error
}

// syncBuffer is a buffer that a process writes while a test reads.
type syncBuffer struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// newAgent prepares a node in a folder of its own; options are lines of YAML.
func newAgent(t testing.TB, options ...string) *agent {
	t.Helper()
	a := &agent{t: t, dir: t.TempDir(), log: &syncBuffer{}}
	a.config = filepath.Join(a.dir, "config.yaml")
	a.configure(options...)
	t.Cleanup(func() {
		if a.process != nil && a.process.ProcessState == nil {
			a.process.Process.Kill()
			<-a.ended
		}
		if t.Failed() {
			t.Logf("log of %s:\n%s", a.dir, a.log)
		}
	})
	return a
}

// configure writes the configuration: the given sections replace the defaults.
func (a *agent) configure(options ...string) {
	a.t.Helper()
	sections := map[string]string{
		"db":     fmt.Sprintf("db: {path: %q, schema_paths: [%q]}", a.file(), filepath.Join(a.dir, "schema")),
		"api":    "api: {addr: 127.0.0.1:0}",
		"gossip": "gossip: {addr: 127.0.0.1:0}",
	}
	for _, o := range options {
		name, _, _ := strings.Cut(o, ":")
		sections[name] = o
	}
	var lines []string
	for _, s := range sections {
		lines = append(lines, s)
	}
	a.write("config.yaml", strings.Join(lines, "\n")+"\n")
}

func (a *agent) file() string { return filepath.Join(a.dir, "patina.db") }

func (a *agent) write(name, text string) {
	a.t.Helper()
	file := filepath.Join(a.dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		a.t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		a.t.Fatal(err)
	}
}

// start runs the node until it said where it is, and waits until it is ready.
func (a *agent) start() *agent {
	a.t.Helper()
	command := append(slices.Clone(a.command), "agent", "-c", a.config)
	if len(a.command) == 0 {
		command = append([]string{program(a.t)}, command...)
	}
	a.process = exec.Command(command[0], command[1:]...)
	a.process.Env = append(os.Environ(), a.env...)
	a.process.Stderr = a.log
	out, err := a.process.StdoutPipe()
	if err != nil {
		a.t.Fatal(err)
	}
	if err := a.process.Start(); err != nil {
		a.t.Fatal(err)
	}
	a.facts = map[string]string{}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		key, value, _ := strings.Cut(lines.Text(), " ")
		if a.facts[key] = value; key == "db" {
			break
		}
	}
	process, ended := a.process, make(chan error, 1)
	a.ended = ended
	go func() { io.Copy(io.Discard, out); ended <- process.Wait() }()
	if a.facts["db"] == "" {
		a.t.Fatalf("the agent did not start: %v\n%s", <-a.ended, a.log)
	}
	if a.api, err = client.New(a.facts["api"]); err != nil {
		a.t.Fatal(err)
	}
	wait(a.t, 15*time.Second, "ready", func() error { return a.api.Ready(a.t.Context()) })
	return a
}

func (a *agent) signal(s os.Signal) {
	a.t.Helper()
	if err := a.process.Process.Signal(s); err != nil {
		a.t.Fatal(err)
	}
}

// kill ends the process as a power cut would.
func (a *agent) kill() {
	a.t.Helper()
	a.signal(syscall.SIGKILL)
	<-a.ended
}

// stop ends it gracefully and within five seconds.
func (a *agent) stop() {
	a.t.Helper()
	begin := time.Now()
	a.signal(syscall.SIGTERM)
	if err := <-a.ended; err != nil {
		a.t.Errorf("the agent ended with %v", err)
	}
	if d := time.Since(begin); d > 5*time.Second {
		a.t.Errorf("the stop took %v", d)
	}
}

// exec runs statements that must succeed.
func (a *agent) exec(statements ...string) client.Answer {
	a.t.Helper()
	var list []client.Statement
	for _, s := range statements {
		list = append(list, client.Statement{SQL: s})
	}
	answer, err := a.api.Transact(a.t.Context(), list)
	if err == nil {
		err = answer.Err()
	}
	if err != nil {
		a.t.Fatalf("%q: %v", statements, err)
	}
	return answer
}

// query returns all rows, a line each.
func (a *agent) query(sql string) string {
	a.t.Helper()
	rows, err := a.api.Query(a.t.Context(), client.Statement{SQL: sql}, 10*time.Second)
	if err != nil {
		a.t.Fatalf("%q: %v", sql, err)
	}
	defer rows.Close()
	var lines []string
	for rows.Next() {
		lines = append(lines, printRow(rows.Values()))
	}
	if rows.Err() != nil {
		a.t.Fatalf("%q: %v", sql, rows.Err())
	}
	return strings.Join(lines, "\n")
}

func printRow(values []changeset.Value) string {
	var cells []string
	for _, v := range values {
		cells = append(cells, v.String())
	}
	return strings.Join(cells, "|")
}

func (a *agent) status() client.Status {
	a.t.Helper()
	s, err := a.api.Status(a.t.Context())
	if err != nil {
		a.t.Fatal(err)
	}
	return s
}

// wait asks until there is no error, for at most limit.
func wait(t testing.TB, limit time.Duration, what string, condition func() error) {
	t.Helper()
	ticks := time.NewTicker(20 * time.Millisecond)
	defer ticks.Stop()
	for deadline := time.Now().Add(limit); ; <-ticks.C {
		err := condition()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not %s within %v: %v", what, limit, err)
		}
	}
}

// waitEqual waits until all nodes have applied every head that any of them has,
// with equal digests.
func waitEqual(t testing.TB, limit time.Duration, agents ...*agent) {
	t.Helper()
	wait(t, limit, "equal", func() error {
		first := agents[0].status()
		for _, a := range agents[1:] {
			if s := a.status(); s.VectorDigest != first.VectorDigest {
				return fmt.Errorf("heads %v and %v", first.Heads, s.Heads)
			}
		}
		return nil
	})
}

// cluster starts n nodes with the schema that meet at the first.
func cluster(t testing.TB, n int, schema string) []*agent {
	t.Helper()
	var agents []*agent
	for i := range n {
		a := newAgent(t)
		if i > 0 {
			a.configure("gossip: {addr: 127.0.0.1:0, bootstrap: [" + agents[0].facts["gossip"] + "]}")
		}
		a.write("schema/schema.sql", schema)
		agents = append(agents, a.start())
		// The next start of this node is at the same addresses.
		a.configure(fmt.Sprintf("gossip: {addr: %s, bootstrap: [%s]}", a.facts["gossip"], agents[0].facts["gossip"]), "api: {addr: "+a.facts["api"]+"}")
	}
	return agents
}

// fileRows reads a node's file with the stock program, or through the API where
// there is none.
func (a *agent) fileRows(sql string) string {
	a.t.Helper()
	sqlite3, err := exec.LookPath("sqlite3")
	if err != nil {
		return a.query(sql)
	}
	out, err := exec.CommandContext(a.t.Context(), sqlite3, "-cmd", ".timeout 2000", "-quote", "-separator", "|", a.file(), sql).CombinedOutput()
	if err != nil {
		a.t.Fatalf("sqlite3: %v: %s", err, out)
	}
	return strings.TrimSpace(string(out))
}

// writer writes rows one by one until ctx ends, and tells which were
// acknowledged.
func (a *agent) writer(ctx context.Context, name string, acknowledged *sync.Map) error {
	for i := 0; ctx.Err() == nil; i++ {
		id := fmt.Sprintf("%s-%d", name, i)
		answer, err := a.api.Transact(ctx, []client.Statement{{SQL: "INSERT INTO t(id, a) VALUES('" + id + "', 'x')"}})
		if err != nil {
			return err // killed, or the end
		}
		if err := answer.Err(); err != nil {
			return err
		}
		acknowledged.Store(id, true)
	}
	return nil
}

func statement(sql string) client.Statement { return client.Statement{SQL: sql} }
