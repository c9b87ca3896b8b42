package sqlite

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"testing"

	"github.com/patinadb/patina/changeset"
)

// One writer and many readers of one file, with hooks and functions.
func TestConnectionsInParallel(t *testing.T) {
	const readers, rows = 6, 300
	path := newPath(t)
	w := openWith(t, Config{Path: path, Create: true, Synchronous: "OFF"}, "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT)")
	seen := 0
	w.SetPreupdate(func(p *Preupdate) {
		if p.Table() == "t" {
			seen++
		}
	})
	done := make(chan struct{})
	var wg sync.WaitGroup
	for i := range readers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			if err := readUntil(path, i, done); err != nil {
				t.Error(err)
			}
		}()
	}
	for i := range int64(rows) {
		if err := w.Each("INSERT INTO t VALUES(?, ?)", []Value{changeset.IntegerValue(i), changeset.TextValue("text")}, nil); err != nil {
			t.Fatal(err)
		}
	}
	close(done)
	wg.Wait()
	if seen != rows {
		t.Errorf("the hook saw %d rows", seen)
	}
}

func readUntil(path string, i int, done <-chan struct{}) error {
	c, err := Open(Config{Path: path, ReadOnly: true})
	if err != nil {
		return err
	}
	defer c.Close()
	own := int64(i)
	if err := c.CreateFunction("own", 0, func([]Value) (Value, error) { return changeset.IntegerValue(own), nil }); err != nil {
		return err
	}
	c.SetMode(ModeRead)
	last := int64(0)
	for {
		err := c.Each("SELECT count(a), own() FROM t", nil, func(s *Stmt) error {
			if s.Integer(0) < last || s.Integer(1) != own {
				return fmt.Errorf("reader %d saw %d rows after %d, function of %d", i, s.Integer(0), last, s.Integer(1))
			}
			last = s.Integer(0)
			return nil
		})
		if err != nil {
			return err
		}
		select {
		case <-done:
			return nil
		default:
		}
	}
}

func TestNothingLeaks(t *testing.T) {
	descriptors := func() int {
		d, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip("no /proc/self/fd to count descriptors in: ", err)
		}
		return len(d)
	}
	path := newPath(t)
	cycle := func(n int) {
		for i := range n {
			c, err := Open(Config{Path: path, Create: true})
			if err != nil {
				t.Fatal(err)
			}
			mustExec(t, c, "CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, a)")
			c.SetPreupdate(func(*Preupdate) {})
			if err := c.CreateFunction("f", 0, func([]Value) (Value, error) { return Value{}, nil }); err != nil {
				t.Fatal(err)
			}
			for range 3 {
				if _, _, err := c.Prepare("INSERT INTO t(a) VALUES(?)"); err != nil {
					t.Fatal(err)
				}
			}
			s, err := c.Cached("SELECT * FROM t WHERE a IS ?")
			if err != nil {
				t.Fatal(err)
			}
			for _, n := range []int{10, 100 << 10, 200 << 10} {
				if err := s.BindBlob(1, make([]byte, n)); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := s.Step(); err != nil {
				t.Fatal(err)
			}
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			if _, err := Open(Config{Path: path + "/missing"}); !errors.Is(err, ErrCantOpen) {
				t.Fatal(i, err)
			}
		}
	}
	cycle(10)
	before, memory := descriptors(), resident(t)
	cycle(200)
	if n := descriptors(); n > before {
		t.Errorf("%d descriptors are left", n-before)
	}
	if n := resident(t) - memory; n > 16<<20 {
		t.Errorf("%d MiB are left", n>>20)
	}
	open := 0
	for _, c := range *registry.table.Load() {
		if c != nil {
			open++
		}
	}
	if open != 0 {
		t.Errorf("%d connections are registered", open)
	}
}

// resident is the memory of the process, C memory included, in bytes.
func resident(t *testing.T) int {
	runtime.GC()
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Skip("no /proc/self/statm to measure memory with: ", err)
	}
	var size, pages int
	if _, err := fmt.Sscan(string(text), &size, &pages); err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize()
}

func TestRegistry(t *testing.T) {
	a, b := &Conn{}, &Conn{}
	register(a)
	register(b)
	if connection(a.handle) != a || connection(b.handle) != b || connection(0) != nil || connection(1<<40) != nil {
		t.Error("not found")
	}
	h := a.handle
	unregister(a)
	if connection(h) != nil || connection(b.handle) != b {
		t.Error("still there")
	}
	register(a)
	if a.handle != h {
		t.Error("the slot was not used again")
	}
	unregister(a)
	unregister(b)
	unregister(b)
}
