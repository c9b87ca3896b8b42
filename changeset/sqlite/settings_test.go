package sqlite

import (
	"errors"
	"os"
	"testing"
	"time"
)

func TestDataVersion(t *testing.T) {
	path := newPath(t)
	a := openWith(t, Config{Path: path, Create: true}, "CREATE TABLE t(a)")
	b := openWith(t, Config{Path: path})
	b.SetMode(ModeRead) // which does not matter
	data := func() uint32 {
		v, err := b.DataVersion()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	schema := func() int64 {
		v, err := b.SchemaVersion()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	d, s := data(), schema()
	if data() != d {
		t.Error("moved by itself")
	}
	mustExec(t, a, "INSERT INTO t VALUES(1)")
	if data() == d || schema() != s {
		t.Error("another's commit is not seen")
	}
	d = data()
	mustExec(t, a, "CREATE TABLE u(a)")
	if data() == d || schema() == s {
		t.Error("another's schema change is not seen")
	}
	b.SetMode(ModeInternal)
	d = data()
	mustExec(t, b, "INSERT INTO t VALUES(2)")
	if data() != d {
		t.Error("moved by our own commit")
	}
}

func TestCheckpoint(t *testing.T) {
	path := newPath(t)
	c := openWith(t, Config{Path: path, Create: true, BusyTimeout: -1}, "CREATE TABLE t(a)", "INSERT INTO t VALUES(randomblob(100000))")
	wal := func() int64 {
		// Not a descriptor of the file: Stat opens nothing.
		fi, err := os.Stat(path + "-wal")
		if err != nil {
			t.Fatal(err)
		}
		return fi.Size()
	}
	if wal() < 100000 {
		t.Error("a checkpoint ran by itself")
	}
	frames, moved, err := c.Checkpoint(false)
	if err != nil || frames < 25 || moved != frames {
		t.Error(frames, moved, err)
	}
	r := openWith(t, Config{Path: path, ReadOnly: true}, "BEGIN; SELECT count(*) FROM t")
	mustExec(t, c, "INSERT INTO t VALUES(1)")
	mustExec(t, c, "INSERT INTO t VALUES(2)")
	if frames, moved, err := c.Checkpoint(true); !errors.Is(err, ErrBusy) || frames != 2 || moved != 0 {
		t.Error("a reader pins the WAL:", frames, moved, err)
	}
	mustExec(t, r, "COMMIT")
	if _, _, err := c.Checkpoint(true); err != nil || wal() != 0 {
		t.Error(wal(), err)
	}
}

func TestLimits(t *testing.T) {
	c := openMemory(t)
	if was := c.SetLimit(LimitSQLLength, 50); was < 1000 {
		t.Error(was)
	}
	if got := c.SetLimit(LimitSQLLength, -1); got != 50 {
		t.Error(got)
	}
	err := c.Exec("SELECT 'a statement that is longer than fifty bytes of text'")
	if !errors.Is(err, ErrTooBig) {
		t.Error(err)
	}
}

func TestSetBusyTimeout(t *testing.T) {
	c := openMemory(t)
	c.SetBusyTimeout(250 * time.Millisecond)
	want(t, query(t, c, "PRAGMA busy_timeout"), "250")
}
