package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/patinadb/patina/api/client"
)

// endless is a statement that only a limit ends.
const endless = "INSERT INTO t(id) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n WHERE i < 0"

// dialRaw opens a connection to the API and writes text to it.
func (a *agent) dialRaw(text string) net.Conn {
	a.t.Helper()
	c, err := net.Dial("tcp", a.facts["api"])
	if err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(func() { c.Close() })
	if _, err := c.Write([]byte(text)); err != nil {
		a.t.Fatal(err)
	}
	return c
}

// TestStopUnderEverythingThatHoldsOn: SIGTERM ends the node within five seconds
// although a statement runs without end, a body never comes, and a client does
// not read its rows; what was acknowledged meanwhile is there after a restart.
func TestStopUnderEverythingThatHoldsOn(t *testing.T) {
	program(t)
	a := newAgent(t)
	a.write("schema/s.sql", apiSchema)
	a.start()
	a.exec("INSERT INTO t WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000) SELECT i, hex(zeroblob(1000)) FROM n")
	var acknowledged sync.Map
	var clients sync.WaitGroup
	defer clients.Wait()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for w := range 2 {
		clients.Go(func() { a.counter(ctx, 10_000+w, &acknowledged) })
	}
	wait(t, 10*time.Second, "written to", func() error {
		if _, ok := acknowledged.Load(10_001); !ok {
			return fmt.Errorf("nothing acknowledged")
		}
		return nil
	})
	a.dialRaw("POST /v1/transactions HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n[")
	reader := a.dialRaw("POST /v1/queries HTTP/1.1\r\nHost: x\r\nContent-Length: 17\r\n\r\n\"SELECT * FROM t\"")
	if line, err := bufio.NewReader(reader).ReadString('\n'); err != nil || !strings.Contains(line, "200") {
		t.Fatal(line, err)
	}
	refused := make(chan error, 1)
	clients.Go(func() {
		_, err := a.api.Transact(ctx, []client.Statement{statement(endless)})
		refused <- err
	})
	wait(t, 10*time.Second, "held up", func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if _, err := a.api.Transact(ctx, []client.Statement{statement("DELETE FROM t WHERE id = 0")}); err == nil {
			return fmt.Errorf("it still writes")
		}
		return nil
	})
	a.signal(syscall.SIGHUP) // waits for the writer too
	a.stop()
	// The statement was cut off, or its request was still waiting when the store stopped.
	if err := <-refused; err == nil || !strings.Contains(err.Error(), "shutting down") && !strings.Contains(err.Error(), "stopped") {
		t.Errorf("the endless statement was answered with %v", err)
	}
	cancel()
	clients.Wait()
	a.start()
	a.checkCounters(&acknowledged)
}

// TestSecondSignalDuringTheStart: signals count from the first moment on, also
// while the start waits for a lock that somebody else holds on the file.
func TestSecondSignalDuringTheStart(t *testing.T) {
	program(t)
	for _, test := range []struct {
		desc    string
		signals []os.Signal
		limit   time.Duration // the wait for the lock is five seconds
	}{
		{"one", []os.Signal{syscall.SIGTERM}, 7 * time.Second},
		{"two", []os.Signal{syscall.SIGTERM, syscall.SIGINT}, 2 * time.Second},
	} {
		t.Run(test.desc, func(t *testing.T) {
			t.Parallel()
			a := newAgent(t)
			a.write("schema/s.sql", apiSchema)
			a.start().stop()
			unlock := lockFile(t, a.file())
			defer unlock()
			p, log := a.launch()
			wait(t, 10*time.Second, "at the lock", func() error { return holdsOpen(p.Process.Pid, a.file()) })
			begin := time.Now()
			for _, s := range test.signals {
				p.Process.Signal(s)
			}
			p.Wait()
			if d := time.Since(begin); d > test.limit {
				t.Errorf("it took %v, bound %v: %s", d, test.limit, log)
			}
		})
	}
}

// TestReloadTakesOverWhatCanChange: SIGHUP takes over the log level, the schema
// paths and the bootstrap peers, and says which keys need a restart.
func TestReloadTakesOverWhatCanChange(t *testing.T) {
	program(t)
	a, b := newAgent(t), newAgent(t)
	a.start()
	b.start()
	more := filepath.Join(a.dir, "more")
	a.write("more/m.sql", "CREATE TABLE m(id INTEGER PRIMARY KEY);")
	b.write("schema/m.sql", "CREATE TABLE m(id INTEGER PRIMARY KEY);")
	b.signal(syscall.SIGHUP)
	a.configure("log: {level: debug}", fmt.Sprintf("db: {path: %q, schema_paths: [%q]}", a.file(), more),
		"gossip: {addr: 127.0.0.1:0, cluster: other, bootstrap: ["+b.facts["gossip"]+"]}")
	a.signal(syscall.SIGHUP)
	wait(t, 10*time.Second, "met through the new bootstrap peer", func() error {
		if m := b.status().Members; len(m) != 2 {
			return fmt.Errorf("members %v", m)
		}
		return nil
	})
	a.exec("INSERT INTO m VALUES(1)")
	waitEqual(t, 10*time.Second, a, b)
	a.waitLog("level=DEBUG")
	a.waitLog("a changed key needs a restart", "gossip.cluster")
	a.configure("log: {levle: debug}")
	if _, err := a.api.Reload(t.Context()); err == nil || !strings.Contains(err.Error(), "did you mean log.level") {
		t.Errorf("reload of a broken configuration: %v", err)
	}
	a.waitLog("level=ERROR", "config.yaml:", "log.levle")
	a.exec("INSERT INTO m VALUES(2)")
}

// TestReplacedFileStopsTheNode: somebody moves another file into the place of
// the database; the node refuses writes and ends with one line.
func TestReplacedFileStopsTheNode(t *testing.T) {
	program(t)
	a := newAgent(t)
	a.write("schema/s.sql", apiSchema)
	a.start()
	a.exec("INSERT INTO t VALUES(1, 'x')")
	if err := os.Rename(a.file(), a.file()+".moved"); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-a.ended:
		if err == nil || !strings.Contains(a.log.String(), "patina: store: store: the database was replaced under the running node: ") {
			t.Errorf("ended with %v: %s", err, a.log)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the node runs on")
	}
}
