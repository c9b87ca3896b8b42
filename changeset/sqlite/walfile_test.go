package sqlite

import (
	"os"
	"path/filepath"
	"testing"
)

func openWAL(t *testing.T, path string) *Conn {
	t.Helper()
	c, err := Open(Config{Path: path, Create: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func mustIndex(t *testing.T, c *Conn) WALIndex {
	t.Helper()
	x, ok := c.WALIndex()
	if !ok {
		t.Fatal("no index")
	}
	return x
}

func sizeOf(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// TestWALIndex tells of commits, also of another connection, of checkpoints and of
// logs that start over.
func TestWALIndex(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	c, other := openWAL(t, path), openWAL(t, path)
	if err := c.Exec("CREATE TABLE t(a); INSERT INTO t VALUES(zeroblob(40000))"); err != nil {
		t.Fatal(err)
	}
	first := mustIndex(t, c)
	if first.PageSize != 4096 || first.Frames != c.WALFrames() || first.Pages < 11 || first.Moved != 0 || first.Size() != sizeOf(t, path+"-wal") {
		t.Errorf("%+v, %d frames, -wal of %d bytes", first, c.WALFrames(), sizeOf(t, path+"-wal"))
	}
	if err := other.Exec("INSERT INTO t VALUES(1)"); err != nil {
		t.Fatal(err)
	}
	second := mustIndex(t, c)
	if second.Frames <= first.Frames || second.Salts != first.Salts || second.Same(first) {
		t.Errorf("%+v after %+v", second, first)
	}
	if _, moved, err := c.Checkpoint(false); err != nil || moved != second.Frames {
		t.Fatal(moved, err)
	}
	if x := mustIndex(t, c); x.Moved != second.Frames || !x.Same(second) {
		t.Errorf("%+v after a checkpoint of %+v", x, second)
	}
	if _, _, err := c.Checkpoint(true); err != nil {
		t.Fatal(err)
	}
	if x := mustIndex(t, c); x.Frames != 0 || x.Size() != 0 || x.Salts == second.Salts {
		t.Errorf("%+v after the log started over", x)
	}
}

// TestWALKeptAndHeld: holes in the log are seen, and whether it has the pages that a
// database lacks.
func TestWALKeptAndHeld(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	c := openWAL(t, path)
	if err := c.Exec("CREATE TABLE t(a); INSERT INTO t VALUES(zeroblob(40000))"); err != nil {
		t.Fatal(err)
	}
	x := mustIndex(t, c)
	if !c.WALKept(x, 0) || !c.WALKept(x, 1) || !c.WALKept(x, x.Frames) || c.WALKept(x, x.Frames+1) {
		t.Error("a whole log is not")
	}
	if !c.WALHolds(x, 0) {
		t.Error("a log that has all pages has not")
	}
	reader := openWAL(t, path)
	if err := reader.Exec("BEGIN; SELECT count(*) FROM t"); err != nil { // so that the log does not start over
		t.Fatal(err)
	}
	if _, _, err := c.Checkpoint(false); err != nil {
		t.Fatal(err)
	}
	if err := c.Exec("INSERT INTO t VALUES(zeroblob(40000))"); err != nil {
		t.Fatal(err)
	}
	y := mustIndex(t, c)
	if y.Moved != x.Frames || c.WALHolds(y, 1) || !c.WALHolds(y, x.Pages) {
		t.Errorf("%+v after %+v: the pages that were moved are not to be moved again", y, x)
	}
	if err := os.Truncate(path+"-wal", 100); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path+"-wal", y.Size()); err != nil {
		t.Fatal(err)
	}
	if z := mustIndex(t, c); !c.WALKept(z, 0) || c.WALKept(z, z.Frames) {
		t.Error("a hole is not seen")
	}
}

// TestKeepFiles: the last connection to close leaves the log, with or without
// moving it.
func TestKeepFiles(t *testing.T) {
	for _, checkpoint := range []bool{true, false} {
		path := filepath.Join(t.TempDir(), "a.db")
		c := openWAL(t, path)
		if err := c.Exec("CREATE TABLE t(a); INSERT INTO t VALUES(zeroblob(40000))"); err != nil {
			t.Fatal(err)
		}
		if err := c.KeepFiles(checkpoint); err != nil {
			t.Fatal(err)
		}
		before := sizeOf(t, path)
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		if sizeOf(t, path+"-shm") == 0 || (sizeOf(t, path) > before) != checkpoint || (sizeOf(t, path+"-wal") == 0) != checkpoint {
			t.Errorf("checkpoint %v: file of %d bytes after %d, -wal of %d", checkpoint, sizeOf(t, path), before, sizeOf(t, path+"-wal"))
		}
	}
}
