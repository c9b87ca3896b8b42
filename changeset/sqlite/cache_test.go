package sqlite

import (
	"errors"
	"fmt"
	"testing"

	"github.com/patinadb/patina/changeset"
)

func TestCachedReturnsItClean(t *testing.T) {
	c := openMemory(t)
	a, err := c.Cached("SELECT ?1")
	if err != nil {
		t.Fatal(err)
	}
	if err := a.BindText(1, "left over"); err != nil {
		t.Fatal(err)
	}
	if err := a.Run(); err != nil {
		t.Fatal(err)
	}
	b, err := c.Cached("SELECT ?1")
	if err != nil {
		t.Fatal(err)
	}
	if a != b {
		t.Error("prepared twice")
	}
	if _, err := b.Step(); err != nil {
		t.Fatal(err)
	}
	if b.Kind(0) != changeset.Null {
		t.Error("bindings were left")
	}
	if _, err := c.Cached("SELECT ?1"); !errors.Is(err, ErrMisuse) {
		t.Error("a statement on a row was handed out:", err)
	}
	b.Reset()
}

func TestCacheIsBounded(t *testing.T) {
	c := openMemory(t)
	first, err := c.Cached("SELECT 'first' UNION ALL SELECT 'second'")
	if err != nil {
		t.Fatal(err)
	}
	if row, err := first.Step(); !row || err != nil {
		t.Fatal(err)
	}
	for i := range 3 * cacheSize {
		if err := c.Each(fmt.Sprintf("SELECT %d", i), nil, nil); err != nil {
			t.Fatal(err)
		}
		if err := c.Each("SELECT 'hot'", nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(c.cache.byKey); n != cacheSize || len(c.live) != n {
		t.Errorf("%d statements are cached, %d are live", n, len(c.live))
	}
	// What stands on a row is never evicted, what is used stays.
	if row, err := first.Step(); !row || err != nil || first.Column(0).Text() != "second" {
		t.Error(row, err)
	}
	if c.cache.byKey[key{ModeInternal, "SELECT 'hot'"}] == nil {
		t.Error("a statement in use was evicted")
	}
	first.Reset()
	c.ClearCache()
	if len(c.cache.byKey) != 0 || len(c.live) != 0 || c.cache.root.next != &c.cache.root {
		t.Error("not cleared")
	}
	if _, err := first.Step(); !errors.Is(err, ErrMisuse) {
		t.Error(err)
	}
	want(t, query(t, c, "SELECT 'hot'"), "'hot'")
}

func TestCacheIsKeyedByMode(t *testing.T) {
	c := openMemory(t, "CREATE TABLE __patina_x(a)")
	const sql = "SELECT * FROM __patina_x"
	if err := c.Each(sql, nil, nil); err != nil {
		t.Fatal(err)
	}
	c.SetMode(ModeRead)
	if err := c.Each(sql, nil, nil); !errors.Is(err, ErrAuth) {
		t.Error("a client got the internal statement:", err)
	}
	c.SetMode(ModeInternal)
	if err := c.Each(sql, nil, nil); err != nil {
		t.Error(err)
	}
}

func TestFinalizedLeavesCache(t *testing.T) {
	c := openMemory(t)
	s, err := c.Cached("SELECT 1")
	if err != nil {
		t.Fatal(err)
	}
	s.Finalize()
	s.Finalize()
	want(t, query(t, c, "SELECT 1"), "1")
}

func TestEachEndsOnError(t *testing.T) {
	c := openMemory(t, "CREATE TABLE t(a); INSERT INTO t VALUES(1), (2), (3)")
	stop := errors.New("stop")
	n := 0
	err := c.Each("SELECT a FROM t", nil, func(*Stmt) error {
		if n++; n == 2 {
			return stop
		}
		return nil
	})
	if !errors.Is(err, stop) || n != 2 {
		t.Error(err, n)
	}
	mustExec(t, c, "DROP TABLE t") // which an open cursor would lock
}

func TestPreparedStatementsFollowTheSchema(t *testing.T) {
	c := openMemory(t, "CREATE TABLE t(a); INSERT INTO t VALUES(1)")
	want(t, query(t, c, "SELECT * FROM t"), "1")
	mustExec(t, c, "ALTER TABLE t ADD COLUMN b DEFAULT 2")
	want(t, query(t, c, "SELECT * FROM t"), "1 2")
}
