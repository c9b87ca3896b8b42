package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/patinadb/patina/api/client"
	"github.com/patinadb/patina/changeset/sqlite"
)

// What the tests of whole processes share beyond agents_test.go.

// chaosBuilt is the program with the clock that tests can set wrong.
var chaosBuilt = sync.OnceValues(func() (string, error) {
	p, err := built()
	if err != nil {
		return "", err
	}
	p += "-chaos"
	out, err := exec.Command("go", "build", "-tags", "chaos", "-o", p, ".").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build -tags chaos: %w: %s", err, out)
	}
	return p, nil
})

// launch starts the node and waits for nothing. The process is killed at the end
// of the test if it runs still.
func (a *agent) launch() (*exec.Cmd, *syncBuffer) { return a.launchIn([]string{program(a.t)}) }

// launchIn is launch with the program run by command.
func (a *agent) launchIn(command []string) (*exec.Cmd, *syncBuffer) {
	a.t.Helper()
	args := append(slices.Clone(command), "agent", "-c", a.config)
	c, log := exec.Command(args[0], args[1:]...), &syncBuffer{}
	c.Env, c.Stderr = append(os.Environ(), a.env...), log
	if err := c.Start(); err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(func() { c.Process.Kill(); c.Wait() })
	return c, log
}

// holdsOpen returns nil if the process has the file open.
func holdsOpen(pid int, file string) error {
	open, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil {
		return err
	}
	for _, fd := range open {
		if target, err := os.Readlink(fd); err == nil && target == file {
			return nil
		}
	}
	return fmt.Errorf("%s is not open in process %d", file, pid)
}

// waitLog waits for a line of the log that holds all of want.
func (a *agent) waitLog(want ...string) {
	a.t.Helper()
	wait(a.t, 10*time.Second, "logged", func() error {
		for line := range strings.Lines(a.log.String()) {
			if !slices.ContainsFunc(want, func(w string) bool { return !strings.Contains(line, w) }) {
				return nil
			}
		}
		return fmt.Errorf("no line with %q", want)
	})
}

// lockFile keeps everybody else from writing to a database.
func lockFile(t *testing.T, file string) (unlock func()) {
	t.Helper()
	c, err := sqlite.Open(sqlite.Config{Path: file})
	if err != nil {
		t.Fatal(err)
	}
	c.SetMode(sqlite.ModeInternal)
	if err := c.Exec("BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	return func() { c.Close() }
}

// counter raises the number in row id by one, again and again, until ctx or the
// node ends. acknowledged maps id to the last number whose write was answered.
// The row belongs to this writer alone, so the number never falls.
func (a *agent) counter(ctx context.Context, id int, acknowledged *sync.Map) {
	for i := 1; ctx.Err() == nil; i++ {
		sql := fmt.Sprintf("INSERT INTO t(id, a) VALUES(%d, '%d') ON CONFLICT(id) DO UPDATE SET a = excluded.a", id, i)
		answer, err := a.api.Transact(ctx, []client.Statement{statement(sql)})
		if err != nil {
			return // killed, stopped, or the end
		}
		if err := answer.Err(); err != nil {
			a.t.Errorf("counter %d: %v", id, err)
			return
		}
		acknowledged.Store(id, i)
	}
}

// checkCounters sees that every counter is at least where it was acknowledged:
// one write more may have been done without an answer.
func (a *agent) checkCounters(acknowledged *sync.Map) (sum int) {
	a.t.Helper()
	acknowledged.Range(func(id, last any) bool {
		text := strings.Trim(a.fileRows(fmt.Sprintf("SELECT a FROM t WHERE id = %d", id)), "'")
		if n, err := strconv.Atoi(text); err != nil || n < last.(int) || n > last.(int)+1 {
			a.t.Errorf("%s: counter %d is at %q, acknowledged was %d", a.dir, id, text, last)
		}
		sum += last.(int)
		return true
	})
	return sum
}

// checkFile runs SQLite's own check on a node's file.
func (a *agent) checkFile() {
	a.t.Helper()
	c, err := sqlite.Open(sqlite.Config{Path: a.file(), ReadOnly: true})
	if err != nil {
		a.t.Fatal(err)
	}
	defer c.Close()
	c.SetMode(sqlite.ModeInternal)
	err = c.Each("PRAGMA integrity_check", nil, func(s *sqlite.Stmt) error {
		if text := string(s.View(0)); text != "ok" {
			return fmt.Errorf("integrity_check: %s", text)
		}
		return nil
	})
	if err != nil {
		a.t.Errorf("%s: %v", a.file(), err)
	}
}
