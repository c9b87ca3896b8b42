package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/patinadb/patina/changeset/sqlite"
)

// harmToFile is something that somebody does to a file of a running store.
type harmToFile struct {
	name string
	do   func(path string) error
	mend func(path string) error // after the store has stopped; nil: the data is gone
	cuts bool                    // in place
}

var fileHarms = func() (out []harmToFile) {
	asItIs := func(string) error { return nil }
	back := func(path string) error { return os.Rename(path+".away", path) }
	for _, suffix := range fileSuffixes {
		gone := harmToFile{"removed" + suffix, func(p string) error { return os.Remove(p + suffix) }, asItIs, false}
		if suffix == "" {
			gone.mend = nil
		}
		out = append(out, gone,
			harmToFile{"moved" + suffix, func(p string) error { return os.Rename(p+suffix, p+suffix+".away") }, func(p string) error { return back(p + suffix) }, false},
			harmToFile{"exchanged" + suffix, func(p string) error { return exchange(p + suffix) }, func(p string) error { return back(p + suffix) }, false})
		if suffix != "-shm" { // see TestShortenedShm
			out = append(out, harmToFile{"emptied" + suffix, func(p string) error { return os.Truncate(p+suffix, 0) }, nil, true},
				harmToFile{"shortened" + suffix, func(p string) error { return os.Truncate(p+suffix, 4096) }, nil, true})
		}
	}
	return out
}()

// TestFilesHarmedWhileWriting: whatever is done to the files of a store that writes
// at full speed, and when: no write that begins after it is acknowledged, the store
// stops and says which file it was, and what it acknowledged is all in the files
// that it had, as far as they are left. Only where nothing was lost with what was cut
// off does it go on.
func TestFilesHarmedWhileWriting(t *testing.T) {
	rounds := 2
	switch {
	case *long:
		rounds = 100
	case testing.Short():
		rounds = 1
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for _, harm := range fileHarms {
		t.Run(harm.name, func(t *testing.T) {
			stops := 0
			for range rounds {
				if harmFile(t, harm, 20+r.IntN(200), time.Duration(r.IntN(3000))*time.Microsecond) {
					stops++
				}
			}
			if t.Logf("stopped %d times of %d", stops, rounds); rounds >= 100 && stops < rounds/2 {
				t.Error("too few")
			}
		})
	}
}

// harmedWrites are clients that write until they are refused or told to end.
type harmedWrites struct {
	n       *node
	after   int
	enough  chan struct{} // closed when so many writes were acknowledged
	clients sync.WaitGroup
	next    atomic.Int64
	harmed  atomic.Bool
	end     atomic.Bool

	mu    sync.Mutex // guards the rest
	acked []int
	late  []int // of these, those that began after the harm
}

func (h *harmedWrites) client() {
	for !h.end.Load() {
		late := h.harmed.Load()
		id := int(h.next.Add(1))
		results, _, err := h.n.Transact(context.Background(), []sqlite.Statement{text("INSERT INTO item(id, a) VALUES(?, ?)", id, strings.Repeat("x", id%7*100))})
		if err != nil || results[0].Err != nil {
			return
		}
		h.mu.Lock()
		if h.acked = append(h.acked, id); len(h.acked) == h.after {
			close(h.enough)
		}
		if late {
			h.late = append(h.late, id)
		}
		h.mu.Unlock()
	}
}

// harmFile does the harm a while after so many writes were acknowledged, and
// reports whether the store stopped.
func harmFile(t *testing.T, harm harmToFile, after int, then time.Duration) (stopped bool) {
	path := filepath.Join(t.TempDir(), "n.db")
	n := start(t, Config{Path: path, Schema: schemaOf(itemsSchema)})
	n.tampered = true
	h := &harmedWrites{n: n, after: after, enough: make(chan struct{})}
	for range 4 {
		h.clients.Go(h.client)
	}
	<-h.enough
	n.onWriter(func(w *writer) { // so that not all of the database is in the WAL
		w.conn.SetMode(sqlite.ModeInternal)
		if _, _, err := w.conn.Checkpoint(false); err != nil && !errors.Is(err, sqlite.ErrBusy) {
			t.Error(err)
		}
	})
	<-time.After(then)
	if err := harm.do(path); err != nil {
		t.Error(err)
	}
	h.harmed.Store(true)
	patience := 10 * time.Second
	if harm.cuts {
		patience = time.Second // it may have no reason to stop
	}
	select {
	case <-n.stopped:
		stopped = true
	case <-time.After(patience):
	}
	h.end.Store(true)
	h.clients.Wait()
	err := n.stop()
	if !stopped && harm.cuts && err == nil {
		// What was cut off was of no use any more: it had been moved, or was still to be.
		checkItems(t, path, h.acked)
		return false
	}
	_, suffix, found := strings.Cut(harm.name, "-")
	if found {
		suffix = "-" + suffix
	}
	if !errors.Is(err, ErrReplaced) || !strings.Contains(err.Error(), path+suffix+" ") && !strings.Contains(err.Error(), path+suffix+":") {
		t.Errorf("Run ended with %v", err)
	}
	if len(h.late) > 0 {
		t.Errorf("writes %v began after the file was %s and were acknowledged", h.late, harm.name)
	}
	if harm.mend == nil {
		return stopped
	}
	if err := harm.mend(path); err != nil {
		t.Fatal(err)
	}
	checkItems(t, path, h.acked)
	return stopped
}

// checkItems opens the database again: it has all that was acknowledged, and is whole.
func checkItems(t *testing.T, path string, acked []int) {
	t.Helper()
	n := start(t, Config{Path: path, Schema: schemaOf(itemsSchema)})
	there := map[string]bool{}
	for _, id := range strings.Fields(n.query("SELECT id FROM item")) {
		there[id] = true
	}
	for _, id := range acked {
		if !there[fmt.Sprint(id)] {
			t.Errorf("write %d was acknowledged and is gone", id)
		}
	}
	if got := n.query("PRAGMA integrity_check"); got != "'ok'" {
		t.Errorf("integrity: %s", got)
	}
	if err := n.stop(); err != nil {
		t.Error(err)
	}
}

// TestShortenedShm: the memory of a -shm that was cut short is gone, and who looks
// there dies: better than to go on without the index. The file is whole after that.
func TestShortenedShm(t *testing.T) {
	rounds := 2
	if *long {
		rounds = 50
	}
	for range rounds {
		path := filepath.Join(t.TempDir(), "n.db")
		child, lines := startCrashWriter(t, path)
		hung := time.AfterFunc(10*time.Second, func() { child.Process.Kill() })
		var done []int
		for lines.Scan() {
			var id int
			if _, err := fmt.Sscanf(lines.Text(), "done %d", &id); err != nil {
				continue // the actor, or how it ends
			}
			if done = append(done, id); len(done) == 100 {
				if err := os.Truncate(path+"-shm", 0); err != nil {
					t.Fatal(err)
				}
			}
		}
		if child.Wait(); !hung.Stop() {
			t.Fatal("the child lived on")
		}
		n := start(t, Config{Path: path, Schema: schemaOf(crashSchema)})
		checkCrashed(t, n, done)
		if err := n.stop(); err != nil {
			t.Fatal(err)
		}
	}
}
