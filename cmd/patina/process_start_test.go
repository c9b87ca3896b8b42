package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// oneLineRefusal runs an agent that must end with status 1 and exactly one line on
// standard error, and nothing on standard output.
func (a *agent) oneLineRefusal(args ...string) string {
	a.t.Helper()
	if args == nil {
		args = []string{"-c", a.config}
	}
	var out, errs bytes.Buffer
	c := exec.Command(program(a.t), append([]string{"agent"}, args...)...)
	c.Dir, c.Env, c.Stdout, c.Stderr = a.dir, append(os.Environ(), a.env...), &out, &errs
	timer := time.AfterFunc(20*time.Second, func() { c.Process.Kill() })
	defer timer.Stop()
	err := c.Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 {
		a.t.Errorf("the agent ended with %v, want exit status 1", err)
	}
	if text := errs.String(); strings.Count(text, "\n") != 1 || !strings.HasPrefix(text, "patina: ") || out.Len() > 0 {
		a.t.Errorf("want one line on standard error alone, got %q and %q", out.String(), text)
	}
	return errs.String()
}

// TestRefusedStartPrintsNothingElse: all of startRefusals again, where not even
// a line of the log may stand beside the reason.
func TestRefusedStartPrintsNothingElse(t *testing.T) {
	program(t)
	for _, test := range startRefusals {
		t.Run(test.desc, func(t *testing.T) {
			a := newAgent(t)
			a.oneLineRefusal(test.prepare(t, a)...)
		})
	}
}

var fileRefusals = []struct {
	desc    string
	prepare func(a *agent)
	want    []string
}{
	{"the database is a folder", func(a *agent) { a.write("patina.db/x", "") }, []string{"patina.db"}},
	{"the folder is a file", func(a *agent) {
		a.write("file", "")
		a.configure("db: {path: " + a.dir + "/file/patina.db}")
	}, []string{"file/patina.db"}},
	{"the database is damaged", func(a *agent) {
		a.start().stop()
		b, err := os.ReadFile(a.file())
		if err != nil {
			a.t.Fatal(err)
		}
		copy(b[4096:], bytes.Repeat([]byte{0xaa}, len(b)-4096))
		a.write("patina.db", string(b))
	}, []string{"patina.db", "malformed"}},
	{"the configuration is a folder", func(a *agent) {
		os.Remove(a.config)
		a.write("config.yaml/x", "")
	}, []string{"config.yaml"}},
	{"the schema drops", func(a *agent) {
		a.write("schema/a.sql", "CREATE TABLE a(id INTEGER PRIMARY KEY);\nDROP TABLE a;\n")
	}, []string{"a.sql:2"}},
	{"the schema has UNIQUE", func(a *agent) {
		a.write("schema/a.sql", "\n\nCREATE TABLE a(id INTEGER PRIMARY KEY, b TEXT UNIQUE);\n")
	}, []string{"a.sql:3", "table a", "column b"}},
	{"the schema changes a type", func(a *agent) {
		a.write("schema/a.sql", "CREATE TABLE a(id INTEGER PRIMARY KEY, b TEXT);\n")
		a.start().stop()
		a.write("schema/a.sql", "-- now as a number\nCREATE TABLE a(id INTEGER PRIMARY KEY, b INTEGER);\n")
	}, []string{"a.sql:2", "table a", "column b"}},
	{"every interface without an address to tell", func(a *agent) {
		a.configure("gossip: {addr: \"0.0.0.0:0\", secret: \"a secret that is long enough\"}")
	}, []string{"gossip.advertise"}},
	{"an address of another machine", func(a *agent) {
		a.configure("api: {addr: \"192.0.2.1:80\", insecure: true}")
	}, []string{"api.addr 192.0.2.1:80"}},
}

func TestRefusedFiles(t *testing.T) {
	program(t)
	for _, test := range fileRefusals {
		t.Run(test.desc, func(t *testing.T) {
			a := newAgent(t)
			test.prepare(a)
			line := a.oneLineRefusal()
			for _, want := range test.want {
				if !strings.Contains(line, want) {
					t.Errorf("the line does not say %q: %s", want, line)
				}
			}
		})
	}
}

// Every problem of a configuration is in the one line, each with file, line, key
// and what would be right.
func TestConfigurationProblemsAreNamedExactly(t *testing.T) {
	program(t)
	a := newAgent(t)
	a.write("config.yaml", `db:
  path: ./patina.db
  max_clock_drift: 500
api:
  adr: 127.0.0.1:0
  max_statements: many
gossip:
  addr: 127.0.0.1:99999
  secret: short
  bootstrap: ["nowhere"]
log: {level: verbose}
`)
	line := a.oneLineRefusal()
	for _, want := range []string{
		"config.yaml:3: db.max_clock_drift:", "config.yaml:5: api.adr: unknown key; did you mean api.addr?",
		"config.yaml:6: api.max_statements:", "config.yaml:8: gossip.addr:", "config.yaml:9: gossip.secret:",
		"config.yaml:10: gossip.bootstrap", "config.yaml:11: log.level:",
	} {
		if !strings.Contains(line, want) {
			t.Errorf("the line does not say %q: %s", want, line)
		}
	}
	if strings.Contains(line, "short") && strings.Contains(line, `"short"`) {
		t.Errorf("the secret is shown: %s", line)
	}
	a.write("config.yaml", "api:\n  addr: 127.0.0.1:0\n api: {}\n")
	if line := a.oneLineRefusal(); !strings.Contains(line, "config.yaml:2") && !strings.Contains(line, "config.yaml:3") { // where the parser noticed
		t.Errorf("broken YAML: %s", line)
	}
}

// TestReadOnlyFolderAtTheStart: the file system became read-only (mounted so in
// a namespace of its own).
func TestReadOnlyFolderAtTheStart(t *testing.T) {
	disk := newSmallDisk(t, "16m")
	a := newAgent(t)
	a.command = disk.command
	a.configure(fmt.Sprintf("db: {path: %q}", filepath.Join(disk.dir, "patina.db")))
	for _, desc := range []string{"new", "existing"} {
		if desc == "existing" {
			a.start().stop()
		}
		remount := func(mode string) {
			c := append(append([]string{}, disk.command[:len(disk.command)-1]...), "mount", "-o", "remount,"+mode, disk.dir)
			if out, err := exec.Command(c[0], c[1:]...).CombinedOutput(); err != nil {
				t.Fatalf("remount: %v: %s", err, out)
			}
		}
		remount("ro")
		p, log := a.launchIn(disk.command)
		err := p.Wait()
		remount("rw")
		if text := log.String(); err == nil || strings.Count(text, "\n") != 1 || !strings.Contains(text, filepath.Join(disk.dir, "patina.db")) {
			t.Errorf("%s: ended with %v: %s", desc, err, text)
		}
	}
	a.start()
}
