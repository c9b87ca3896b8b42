package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// processesOf lists the processes that have text in their command line.
func processesOf(t *testing.T, text string) (list []string) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("reads /proc to see which processes are left")
	}
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if b, err := os.ReadFile(f); err == nil && bytes.Contains(b, []byte(text)) {
			list = append(list, filepath.Base(filepath.Dir(f)))
		}
	}
	return list
}

// startDevcluster runs the verb and returns at once.
func startDevcluster(t *testing.T, args ...string) (c *exec.Cmd, out, errs *syncBuffer) {
	t.Helper()
	out, errs = &syncBuffer{}, &syncBuffer{}
	c = exec.Command(program(t), append([]string{"devcluster"}, args...)...)
	c.Stdout, c.Stderr = out, errs
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Process.Kill(); c.Wait() })
	return c, out, errs
}

func waitPrinted(t *testing.T, out, errs *syncBuffer) {
	t.Helper()
	wait(t, 30*time.Second, "printed", func() error {
		if !strings.Contains(out.String(), "Ctrl-C") {
			return fmt.Errorf("%s%s", out, errs)
		}
		return nil
	})
}

// patinaAPI runs a verb against one node of a devcluster.
func patinaAPI(t *testing.T, args ...string) (string, error) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), program(t), args...).CombinedOutput()
	return string(out), err
}

// TestDevclusterConvergesAgainAtOtherPorts: what was written after a restart,
// when every address that a node remembers is stale, reaches all; a folder whose
// name a shell would take apart can be pasted.
func TestDevclusterConvergesAgainAtOtherPorts(t *testing.T) {
	program(t)
	dir := filepath.Join(t.TempDir(), "it's my cluster")
	for round := range 2 {
		c, out, errs := startDevcluster(t, "--dir", dir)
		waitPrinted(t, out, errs)
		if len(processesOf(t, dir)) != 4 {
			t.Errorf("processes %v", processesOf(t, dir))
		}
		nodes := nodeLine.FindAllStringSubmatch(out.String(), -1)
		for i, n := range nodes {
			sql := fmt.Sprintf("INSERT INTO flags VALUES('r%d-n%d', 'x')", round, i)
			if out, err := patinaAPI(t, "exec", "--api", n[1], sql); err != nil {
				t.Fatal(out, err)
			}
		}
		for _, n := range nodes {
			wait(t, 10*time.Second, "the same everywhere", func() error {
				out, err := patinaAPI(t, "query", "--api", n[1], "SELECT count(*) AS n FROM flags")
				if err != nil || out != fmt.Sprintf("n\n%d\n", 3*(round+1)) {
					return fmt.Errorf("%w: %s", err, out)
				}
				return nil
			})
		}
		for line := range strings.Lines(out.String()) {
			if line = strings.TrimSpace(line); !strings.HasPrefix(line, "sqlite3 ") {
				continue
			}
			if _, err := exec.LookPath("sqlite3"); err != nil {
				t.Log("not run, there is no sqlite3 here:", line)
			} else if out, err := exec.Command("sh", "-c", line).CombinedOutput(); err != nil {
				t.Errorf("%s: %v: %s", line, err, out)
			}
		}
		if round == 0 { // a second one on the same folder is refused and disturbs nothing
			second, _, errs := startDevcluster(t, "--dir", dir)
			if err := second.Wait(); err == nil || strings.Count(errs.String(), "\n") != 1 || !strings.Contains(errs.String(), "in use by another node") {
				t.Errorf("a second devcluster ended with %v: %s", err, errs)
			}
		}
		begin := time.Now()
		c.Process.Signal(syscall.SIGINT)
		if err := c.Wait(); err != nil || errs.String() != "" {
			t.Errorf("ended with %v: %s", err, errs)
		}
		if left := processesOf(t, dir); len(left) > 0 || time.Since(begin) > 6*time.Second {
			t.Errorf("after %v there are still %v", time.Since(begin), left)
		}
	}
}

// TestDevclusterLeavesNoProcess however it ends: by kill -9, by Ctrl-C during
// its start, by the end of one of its nodes.
func TestDevclusterLeavesNoProcess(t *testing.T) {
	program(t)
	gone := func(dir string) {
		t.Helper()
		wait(t, 10*time.Second, "gone", func() error {
			if left := processesOf(t, dir); len(left) > 0 {
				return fmt.Errorf("processes %v", left)
			}
			return nil
		})
	}
	t.Run("killed", func(t *testing.T) {
		dir := t.TempDir()
		c, out, errs := startDevcluster(t, "--dir", dir, "-n", "2")
		waitPrinted(t, out, errs)
		c.Process.Kill()
		c.Wait()
		gone(dir)
	})
	t.Run("interrupted during the start", func(t *testing.T) {
		dir := t.TempDir()
		c, out, errs := startDevcluster(t, "--dir", dir, "-n", "20")
		wait(t, 10*time.Second, "starting", func() error {
			if n := len(processesOf(t, dir)); n < 3 {
				return fmt.Errorf("%d processes", n)
			}
			return nil
		})
		c.Process.Signal(syscall.SIGINT)
		if err := c.Wait(); err != nil || strings.Contains(out.String(), "Ctrl-C") || errs.String() != "" {
			t.Errorf("ended with %v: %s", err, errs)
		}
		gone(dir)
	})
	t.Run("a node ends", func(t *testing.T) {
		dir := t.TempDir()
		c, out, errs := startDevcluster(t, "--dir", dir, "-n", "2")
		waitPrinted(t, out, errs)
		if err := os.Remove(filepath.Join(dir, "node2", "patina.db")); err != nil {
			t.Fatal(err)
		}
		if err := c.Wait(); err == nil || strings.Count(errs.String(), "\n") != 1 || !strings.Contains(errs.String(), "node2 ended: ") || !strings.Contains(errs.String(), "replaced") {
			t.Errorf("ended with %v: %s", err, errs)
		}
		gone(dir)
	})
	if _, errs, status := (&agent{t: t}).verb("", "devcluster", "here"); status != 1 || !strings.Contains(errs, `"here"`) {
		t.Errorf("an argument: %d %s", status, errs)
	}
}
