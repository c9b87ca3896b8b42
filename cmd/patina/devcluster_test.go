package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// nodeLine finds the API addresses in what devcluster prints.
var nodeLine = regexp.MustCompile(`(?m)^node\d+  api (\S+)`)

// devcluster runs the verb as its own process until stop, and returns what it
// printed.
func devcluster(t *testing.T, dir string) (printed string, stop func()) {
	t.Helper()
	var out, errs syncBuffer
	c := exec.Command(program(t), "devcluster", "--dir", dir)
	c.Stdout, c.Stderr = &out, &errs
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		c.Process.Signal(syscall.SIGINT)
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("devcluster ended with %v: %s", err, &errs)
			}
		case <-time.After(10 * time.Second):
			c.Process.Kill()
			t.Error("devcluster did not end")
		}
	}
	t.Cleanup(stop)
	wait(t, 30*time.Second, "printed", func() error {
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("devcluster ended with %v: %s", err, &errs)
		default:
		}
		if !strings.Contains(out.String(), "Ctrl-C") {
			return fmt.Errorf("so far: %s", &out)
		}
		return nil
	})
	return out.String(), stop
}

// TestEveryLineOfDevclusterWorks pastes what it prints, with the program in the
// place of "go run ./cmd/patina".
func TestEveryLineOfDevclusterWorks(t *testing.T) {
	program(t)
	dir := t.TempDir()
	printed, stop := devcluster(t, dir)
	ran := 0
	for _, line := range strings.Split(printed, "\n") {
		line = strings.TrimSpace(line)
		name, _, _ := strings.Cut(line, " ")
		switch {
		case strings.HasPrefix(line, "go run ./cmd/patina "):
			line = strings.Replace(line, "go run ./cmd/patina", program(t), 1)
		case name != "sqlite3" && name != "curl":
			continue // the example has a test of its own
		}
		if _, err := exec.LookPath(strings.Fields(line)[0]); err != nil {
			t.Logf("not run here: %s", line)
			continue
		}
		ran++
		want := ""
		if strings.Contains(line, "SELECT") {
			want = "web-1"
		}
		wait(t, 5*time.Second, line, func() error { // a read may be ahead of the write's way to that node
			out, err := exec.CommandContext(t.Context(), "sh", "-c", line).CombinedOutput()
			if err != nil || !strings.Contains(string(out), want) || strings.Contains(string(out), `"error"`) {
				return fmt.Errorf("%w: %s", err, out)
			}
			return nil
		})
	}
	if ran < 7 {
		t.Errorf("only %d lines were found in\n%s", ran, printed)
	}
	addresses := nodeLine.FindAllStringSubmatch(printed, -1)
	if len(addresses) != 3 {
		t.Fatalf("%d nodes in\n%s", len(addresses), printed)
	}
	stop()
	for _, a := range addresses {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		r, _ := http.NewRequestWithContext(ctx, "GET", "http://"+a[1]+"/readyz", nil)
		if _, err := http.DefaultClient.Do(r); err == nil {
			t.Errorf("%s still answers", a[1])
		}
		cancel()
	}

	// The same folder again: the data is there, the nodes meet at new addresses.
	printed, stop = devcluster(t, dir)
	defer stop()
	for _, a := range nodeLine.FindAllStringSubmatch(printed, -1) {
		out, err := exec.Command(program(t), "query", "--api", a[1], "SELECT id FROM services").CombinedOutput()
		if err != nil || !bytes.Contains(out, []byte("web-1")) {
			t.Errorf("%s after a restart: %v: %s", a[1], err, out)
		}
	}
	first := nodeLine.FindStringSubmatch(printed)[1]
	wait(t, 20*time.Second, "met again", func() error {
		out, err := exec.Command(program(t), "members", "--api", first).CombinedOutput()
		if n := bytes.Count(out, []byte(" alive ")); err != nil || n != 3 {
			return fmt.Errorf("%d alive: %s", n, out)
		}
		return nil
	})
}

func TestDevclusterWithoutDirLeavesNothing(t *testing.T) {
	program(t)
	temp := t.TempDir()
	var out syncBuffer
	c := exec.Command(program(t), "devcluster", "-n", "1")
	c.Env, c.Stdout = append(os.Environ(), "TMPDIR="+temp), &out
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	wait(t, 30*time.Second, "printed", func() error {
		if !strings.Contains(out.String(), "Ctrl-C") {
			return fmt.Errorf("so far: %s", &out)
		}
		return nil
	})
	c.Process.Signal(syscall.SIGINT)
	if err := c.Wait(); err != nil {
		t.Error(err)
	}
	if left, _ := filepath.Glob(filepath.Join(temp, "*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
