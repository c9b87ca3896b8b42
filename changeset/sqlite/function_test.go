package sqlite

import (
	"bytes"
	"errors"
	"runtime"
	"strings"
	"testing"

	"github.com/patinadb/patina/changeset"
)

func TestFunctionValues(t *testing.T) {
	c := openMemory(t)
	// A closure that only the connection keeps alive.
	calls := 0
	err := c.CreateFunction("echo", 1, func(args []Value) (Value, error) {
		calls++
		return args[0], nil
	})
	if err != nil {
		t.Fatal(err)
	}
	runtime.GC()
	for _, v := range []Value{
		changeset.NullValue(), changeset.IntegerValue(-7), changeset.RealValue(0.5), changeset.TextValue("a\x00b"), changeset.TextValue(""),
		changeset.BlobValue([]byte{}), changeset.BlobValue(bytes.Repeat([]byte{9}, 1<<16)),
	} {
		runtime.GC()
		err := c.Each("SELECT echo(?1)", []Value{v}, func(s *Stmt) error {
			if got := s.Column(0); !got.Equal(v) {
				t.Errorf("%v came back as %v", v, got)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if calls != 7 {
		t.Error(calls)
	}
}

func TestFunctionFails(t *testing.T) {
	c := openMemory(t)
	mustCreate := func(name string, fn func([]Value) (Value, error)) {
		if err := c.CreateFunction(name, -1, fn); err != nil {
			t.Fatal(err)
		}
	}
	mustCreate("fails", func([]Value) (Value, error) { return Value{}, errors.New("out of luck") })
	mustCreate("panics", func(args []Value) (Value, error) { return args[99], nil })
	if err := c.Exec("SELECT fails()"); err == nil || err.Error() != "out of luck" {
		t.Error(err)
	}
	if err := c.Exec("SELECT panics(1)"); err == nil || !strings.Contains(err.Error(), "function panics: panic: runtime error: index out of range") {
		t.Error(err)
	}
	want(t, query(t, c, "SELECT 1"), "1")
	if err := c.CreateFunction("bad", 100000, nil); !errors.Is(err, ErrMisuse) {
		t.Error(err)
	}
}

func TestFunctionsInIndexes(t *testing.T) {
	c := openMemory(t, "CREATE TABLE t(a)")
	twice := func(args []Value) (Value, error) { return changeset.IntegerValue(2 * args[0].Integer()), nil }
	if err := c.CreateFunction("plain", 1, twice); err != nil {
		t.Fatal(err)
	}
	if err := c.CreateDeterministic("twice", 1, twice); err != nil {
		t.Fatal(err)
	}
	if err := c.Exec("CREATE INDEX i ON t(plain(a))"); err == nil {
		t.Error("a function that may change was taken for an index")
	}
	mustExec(t, c, "CREATE INDEX i ON t(twice(a)); INSERT INTO t VALUES(21)")
	want(t, query(t, c, "SELECT a FROM t WHERE twice(a) = 42"), "21")
}
