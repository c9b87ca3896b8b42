package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// smallDisk is a small file system in a mount namespace of its own, which no
// other process sees and which ends with the test.
type smallDisk struct {
	t       *testing.T
	dir     string   // in the namespace
	seen    string   // the same for this process
	command []string // runs a command in the namespace
}

func newSmallDisk(t *testing.T, size string) *smallDisk {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root to mount a small file system")
	}
	for _, name := range []string{"unshare", "nsenter"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("needs %s to mount a small file system where only the node sees it", name)
		}
	}
	d := &smallDisk{t: t, dir: t.TempDir()}
	holder := exec.Command("unshare", "-m", "sh", "-c", `mount -t tmpfs -o size="$1" tmpfs "$2" && echo mounted && exec cat`, "sh", size, d.dir)
	in, err := holder.StdinPipe() // cat ends when it closes
	if err != nil {
		t.Fatal(err)
	}
	out, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); holder.Wait() })
	if b := make([]byte, 8); !readFull(out, b) {
		t.Skip("no file system can be mounted here")
	}
	pid := fmt.Sprint(holder.Process.Pid)
	d.seen = "/proc/" + pid + "/root" + d.dir
	d.command = []string{"nsenter", "-m", "-t", pid, program(t)}
	return d
}

func readFull(r io.Reader, b []byte) bool {
	_, err := io.ReadFull(r, b)
	return err == nil
}

// fill takes all room that is left but spare bytes.
func (d *smallDisk) fill(spare int64) {
	d.t.Helper()
	f, err := os.Create(filepath.Join(d.seen, "filler"))
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	var size int64
	for block := make([]byte, 4096); err == nil; size += int64(len(block)) {
		_, err = f.Write(block)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		d.t.Fatal(err)
	}
	if err := f.Truncate(max(0, size-spare)); err != nil {
		d.t.Fatal(err)
	}
}

func (d *smallDisk) free() {
	d.t.Helper()
	if err := os.Remove(filepath.Join(d.seen, "filler")); err != nil {
		d.t.Fatal(err)
	}
}

// fullDiskWrites sends two-statement transactions from eight clients until each
// was refused three times. It returns how many were acknowledged; every other
// answer must be a 507 with the reason.
func (a *agent) fullDiskWrites(ids *atomic.Int64) (acknowledged int64) {
	var clients sync.WaitGroup
	var done atomic.Int64
	for range 8 {
		clients.Go(func() {
			for refused := 0; refused < 3; {
				id := ids.Add(2)
				r, err := http.Post("http://"+a.facts["api"]+"/v1/transactions", "application/json", strings.NewReader(
					fmt.Sprintf(`["INSERT INTO t VALUES(%d, hex(randomblob(20000)))", "INSERT INTO t VALUES(%d, 'pair')"]`, id, id+1)))
				if err != nil {
					a.t.Error(err)
					return
				}
				body, _ := io.ReadAll(r.Body)
				r.Body.Close()
				switch answer := string(body); {
				case r.StatusCode == 507 && strings.Contains(answer, `"error":`) && strings.Contains(answer, "full"):
					refused++
				case r.StatusCode == 200 && strings.Count(answer, `"rows_affected":1`) == 2:
					done.Add(1)
				default:
					a.t.Errorf("%d %.300s", r.StatusCode, answer)
					return
				}
			}
		})
	}
	clients.Wait()
	return done.Load()
}

// TestFullDiskUnderWritesAndReplication: clients get 507 and readers go on;
// what another node wrote meanwhile comes in once there is room; a stop and a
// start on a full disk lose nothing.
func TestFullDiskUnderWritesAndReplication(t *testing.T) {
	program(t)
	disk := newSmallDisk(t, "16m")
	a := cluster(t, 1, apiSchema)[0]
	b := newAgent(t)
	b.command = disk.command
	options := func(gossip, api string) {
		b.configure(fmt.Sprintf("db: {path: %q, schema_paths: [%q]}", filepath.Join(disk.dir, "patina.db"), filepath.Join(b.dir, "schema")),
			fmt.Sprintf("gossip: {addr: %s, bootstrap: [%s]}", gossip, a.facts["gossip"]), "api: {addr: "+api+"}")
	}
	options("127.0.0.1:0", "127.0.0.1:0")
	b.write("schema/s.sql", apiSchema)
	b.start()
	options(b.facts["gossip"], b.facts["api"])
	a.exec("INSERT INTO t VALUES(0, 'first')")
	waitEqual(t, 10*time.Second, a, b)

	var ids atomic.Int64
	disk.fill(1 << 20)
	acknowledged := b.fullDiskWrites(&ids)
	const each = "INSERT INTO t SELECT value, hex(zeroblob(100000)) FROM json_each('[-1,-2,-3,-4,-5,-6]')"
	a.exec(each) // b has no room for it
	if got := b.query("SELECT count(*) FROM t WHERE id > 0"); got != fmt.Sprint(2*acknowledged) {
		t.Errorf("%s rows on the full disk, acknowledged were %d pairs", got, acknowledged)
	}
	disk.free()
	b.exec("INSERT INTO t VALUES(1, 'room again')")
	waitEqual(t, 20*time.Second, a, b)
	want := fmt.Sprintf("%d|%d", 2*acknowledged+8, acknowledged)
	for i, n := range []*agent{a, b} {
		if got := n.query("SELECT count(*), count(*) FILTER (WHERE a = 'pair') FROM t"); got != want {
			t.Errorf("node %d has %s, want %s", i, got, want)
		}
	}

	disk.fill(0)
	b.fullDiskWrites(&ids)
	before := b.query("SELECT count(*), sum(id) FROM t")
	b.signal(syscall.SIGTERM)
	<-b.ended                          // with an error, if the file beside the database could not be written
	p, log := b.launchIn(disk.command) // starts or refuses; either is fine, a panic or a hang is not
	wait(t, 10*time.Second, "started or refused", func() error {
		if text := log.String(); !strings.Contains(text, "node started") && !strings.Contains(text, "patina: ") {
			return fmt.Errorf("the log: %s", text)
		}
		return nil
	})
	t.Logf("the start on a full disk: %s", strings.TrimSpace(log.String()))
	p.Process.Signal(syscall.SIGTERM)
	p.Wait()
	if strings.Contains(log.String(), "goroutine ") {
		t.Errorf("it panicked: %s", log)
	}
	disk.free()
	if left, _ := filepath.Glob(filepath.Join(disk.seen, "patina.db-id.*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	b.start()
	if got := b.query("SELECT count(*), sum(id) FROM t"); got != before {
		t.Errorf("rows %s, before the stop %s", got, before)
	}
	waitEqual(t, 20*time.Second, a, b)
}
