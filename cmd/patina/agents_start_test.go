package main

import (
	"bytes"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/sqlite"
)

// refusal runs the agent, which must end with status 1 and one line on standard
// error, and returns that line.
func (a *agent) refusal(args ...string) string {
	a.t.Helper()
	var errs bytes.Buffer
	if args == nil {
		args = []string{"-c", a.config}
	}
	c := exec.Command(program(a.t), append([]string{"agent"}, args...)...)
	c.Dir, c.Env, c.Stderr = a.dir, append(os.Environ(), a.env...), &errs
	timer := time.AfterFunc(20*time.Second, func() { c.Process.Kill() })
	defer timer.Stop()
	err := c.Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 {
		a.t.Fatalf("the agent ended with %v, want exit status 1:\n%s", err, &errs)
	}
	var last []string
	for _, line := range strings.Split(strings.TrimSpace(errs.String()), "\n") {
		if !strings.HasPrefix(line, "time=") { // a log line of what came before
			last = append(last, line)
		}
	}
	if len(last) != 1 {
		a.t.Errorf("%d lines on standard error, want one:\n%s", len(last), &errs)
	}
	return strings.Join(last, "\n")
}

func taken(t *testing.T, network string) string {
	t.Helper()
	if network == "tcp" {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		return l.Addr().String()
	}
	l, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.LocalAddr().String()
}

// outside runs SQL on a database file with a connection of our own.
func outside(t *testing.T, file, sql string) {
	t.Helper()
	c, err := sqlite.Open(sqlite.Config{Path: file, Create: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetMode(sqlite.ModeInternal)
	if err := c.Exec(sql); err != nil {
		t.Fatal(err)
	}
}

var startRefusals = []struct {
	desc    string
	prepare func(t *testing.T, a *agent) []string // returns arguments, nil for -c FILE
	want    []string                              // all in the line
}{
	{"api port taken", func(t *testing.T, a *agent) []string {
		a.configure("api: {addr: " + taken(t, "tcp") + "}")
		return nil
	}, []string{"api.addr 127.0.0.1:", "address already in use"}},
	{"gossip port taken", func(t *testing.T, a *agent) []string {
		a.configure("gossip: {addr: " + taken(t, "udp") + "}")
		return nil
	}, []string{"gossip.addr 127.0.0.1:", "address already in use"}},
	{"missing configuration", func(t *testing.T, a *agent) []string { return []string{"-c", "none.yaml"} }, []string{"none.yaml"}},
	{"missing folder", func(t *testing.T, a *agent) []string {
		a.configure("db: {path: ./no/such/folder/p.db}")
		return nil
	}, []string{"no/such/folder"}},
	{"not a database", func(t *testing.T, a *agent) []string {
		a.write("patina.db", strings.Repeat("this is no database ", 300))
		return nil
	}, []string{"patina.db", "not a database"}},
	{"somebody's database", func(t *testing.T, a *agent) []string {
		outside(t, a.file(), "CREATE TABLE mine(id INTEGER PRIMARY KEY)")
		return nil
	}, []string{"patina.db", "has tables already"}},
	{"database of another cluster", func(t *testing.T, a *agent) []string {
		a.configure("gossip: {addr: 127.0.0.1:0, cluster: one}")
		a.start().stop()
		a.configure("gossip: {addr: 127.0.0.1:0, cluster: two}")
		return nil
	}, []string{"patina.db", `"one"`, `"two"`}},
	{"newer format", func(t *testing.T, a *agent) []string {
		a.start().stop()
		outside(t, a.file(), "UPDATE __patina_meta SET value = 99 WHERE name = 'format'")
		return nil
	}, []string{"patina.db", "format 99"}},
	{"broken schema file", func(t *testing.T, a *agent) []string {
		a.write("schema/a.sql", "CREATE TABLE a(id INTEGER PRIMARY KEY);\n\nCREATE TABLE b(id INTEGER PRIMARY KEY,);\n")
		return nil
	}, []string{"a.sql:3"}},
	{"unknown key", func(t *testing.T, a *agent) []string {
		a.configure("log: {levle: info}")
		return nil
	}, []string{"config.yaml:", "log.levle", "did you mean log.level"}},
	{"wrong type", func(t *testing.T, a *agent) []string {
		a.configure("api: {addr: 127.0.0.1:0, max_statements: many}")
		return nil
	}, []string{"config.yaml:", "api.max_statements"}},
	{"api off loopback", func(t *testing.T, a *agent) []string {
		a.configure("api: {addr: 0.0.0.0:0}")
		return nil
	}, []string{"api.addr", "api.insecure"}},
	{"gossip off loopback without a secret", func(t *testing.T, a *agent) []string {
		a.configure("gossip: {addr: 0.0.0.0:0}")
		return nil
	}, []string{"gossip.addr", "gossip.secret"}},
	{"wrong environment", func(t *testing.T, a *agent) []string {
		a.env = []string{"PATINA_DB__PAHT=x"}
		return nil
	}, []string{"PATINA_DB__PAHT", "PATINA_DB__PATH"}},
	{"second agent on a file", func(t *testing.T, a *agent) []string {
		a.start() // ends with the test
		return nil
	}, []string{"patina.db", "in use by another node"}},
	{"arguments", func(t *testing.T, a *agent) []string { return []string{"now"} }, []string{`"now"`}},
}

func TestStartIsRefusedInOneLine(t *testing.T) {
	program(t)
	for _, test := range startRefusals {
		t.Run(test.desc, func(t *testing.T) {
			a := newAgent(t)
			args := test.prepare(t, a)
			line := a.refusal(args...)
			for _, want := range test.want {
				if !strings.Contains(line, want) {
					t.Errorf("the line does not say %q: %s", want, line)
				}
			}
		})
	}
}

func TestReadOnlyFileIsRefused(t *testing.T) {
	program(t)
	if os.Getuid() == 0 {
		if _, err := exec.LookPath("unshare"); err != nil {
			t.Skip("root may write everywhere, and there is no unshare to make a read-only file system")
		}
	}
	a := newAgent(t)
	a.start().stop()
	folder := filepath.Join(a.dir, "db")
	if err := os.Mkdir(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(a.file(), filepath.Join(folder, "patina.db")); err != nil {
		t.Fatal(err)
	}
	a.configure("db: {path: " + filepath.Join(folder, "patina.db") + "}")
	var c *exec.Cmd
	if os.Getuid() == 0 {
		c = exec.Command("unshare", "-m", "sh", "-c", "mount --bind -o ro "+folder+" "+folder+" && mount -o remount,ro,bind "+folder+" && exec "+program(t)+" agent -c "+a.config)
	} else {
		if err := os.Chmod(folder, 0o555); err != nil {
			t.Fatal(err)
		}
		defer os.Chmod(folder, 0o755)
		c = exec.Command(program(t), "agent", "-c", a.config)
	}
	reason := "read-only file system"
	if os.Getuid() != 0 {
		reason = "permission denied"
	}
	out, err := c.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "patina: open "+filepath.Join(folder, "patina.db")) || !strings.Contains(string(out), reason) {
		t.Errorf("ended with %v: %s", err, out)
	}
}

func TestCopyOfADataFolderBecomesAnotherActor(t *testing.T) {
	program(t)
	agents := cluster(t, 2, "CREATE TABLE t(id TEXT NOT NULL PRIMARY KEY, a TEXT);")
	original, other := agents[0], agents[1]
	original.exec("INSERT INTO t VALUES('before', 'x')")
	waitEqual(t, 10*time.Second, agents...)
	original.stop()
	twin := newAgent(t)
	for _, name := range []string{"patina.db", "patina.db-id"} {
		b, err := os.ReadFile(filepath.Join(original.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		twin.write(name, string(b))
	}
	twin.write("schema/schema.sql", "CREATE TABLE t(id TEXT NOT NULL PRIMARY KEY, a TEXT);")
	twin.configure("gossip: {addr: 127.0.0.1:0, bootstrap: [" + other.facts["gossip"] + "]}")
	original.start()
	twin.start()
	if twin.facts["actor"] == original.facts["actor"] {
		t.Fatal("the copy kept the actor id")
	}
	if !strings.Contains(twin.log.String(), "copy") {
		t.Errorf("the copy does not say so:\n%s", twin.log)
	}
	original.exec("INSERT INTO t VALUES('original', 'x')")
	twin.exec("INSERT INTO t VALUES('twin', 'x')")
	other.exec("INSERT INTO t VALUES('other', 'x')")
	agents = append(agents, twin)
	waitEqual(t, 15*time.Second, agents...)
	for i, a := range agents {
		if got := a.query("SELECT id FROM t ORDER BY id"); got != "'before'\n'original'\n'other'\n'twin'" {
			t.Errorf("node %d has %s", i, got)
		}
	}
}

func TestSignals(t *testing.T) {
	program(t)
	a := newAgent(t)
	a.write("schema/a.sql", "CREATE TABLE a(id INTEGER PRIMARY KEY);")
	a.start()
	a.write("schema/b.sql", "CREATE TABLE b(id INTEGER PRIMARY KEY);")
	a.signal(syscall.SIGHUP)
	wait(t, 10*time.Second, "reloaded", func() error {
		_, err := a.api.Query(t.Context(), statement("SELECT * FROM b"), time.Second)
		return err
	})
	a.write("schema/b.sql", "CREATE TABLE b(id INTEGER PRIMARY KEY);\nCREATE TABLE c(id INTEGER PRIMARY KEY")
	if _, err := a.api.Reload(t.Context()); err == nil || !strings.Contains(err.Error(), "b.sql:2") {
		t.Errorf("reload of a broken schema: %v", err)
	}
	a.exec("INSERT INTO b VALUES(1)")
	a.write("schema/b.sql", "CREATE TABLE b(id INTEGER PRIMARY KEY);")
	a.configure("api: {addr: 127.0.0.1:0, max_statements: 5}")
	notes, err := a.api.Reload(t.Context())
	if err != nil || !strings.Contains(strings.Join(notes, "\n"), "api.max_statements changed: needs a restart") {
		t.Errorf("notes %q, %v", notes, err)
	}
	a.signal(syscall.SIGTERM) // twice within a moment, as timeout(1) does, is once
	a.stop()

	a.start()
	a.signal(syscall.SIGSTOP) // so that both signals are there when it goes on
	a.signal(syscall.SIGINT)
	a.signal(syscall.SIGTERM)
	a.signal(syscall.SIGCONT)
	if err := <-a.ended; err == nil || !strings.Contains(a.log.String(), errSecondSignal.Error()) {
		t.Errorf("two signals ended the agent with %v:\n%s", err, a.log)
	}
	if id, err := changeset.ParseActorID(a.facts["actor"]); err != nil || id.IsZero() {
		t.Errorf("actor %q", a.facts["actor"])
	}
}
