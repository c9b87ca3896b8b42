package store

import (
	"testing"

	"github.com/patinadb/patina/changeset/sqlite"
)

// A reader compiles by the schema that its connection knows, and SQLite compiles
// again at the first step if that moved: only then are the columns known.
func TestQueryShowsColumnsAddedSinceItsConnectionLooked(t *testing.T) {
	const narrow = "CREATE TABLE t(id INTEGER PRIMARY KEY, x TEXT);"
	const wide = "CREATE TABLE t(id INTEGER PRIMARY KEY, x TEXT, y INTEGER DEFAULT 3);"
	n := start(t, Config{Schema: schemaOf(narrow), Readers: 1})
	n.exec("INSERT INTO t VALUES(1, 'one')")
	for _, sql := range []string{"SELECT * FROM t", "SELECT * FROM t WHERE id = 2"} {
		n.query(sql) // now it is in the cache
	}
	if err := n.Reload(t.Context(), schemaOf(wide)); err != nil {
		t.Fatal(err)
	}
	for sql, want := range map[string]string{
		"SELECT * FROM t":              "1|'one'|3",
		"SELECT * FROM t WHERE id = 2": "",
		"SELECT *, 'new' FROM t":       "1|'one'|3|'new'",
	} {
		var r rows
		if err := n.Query(t.Context(), sqlite.Statement{SQL: sql}, &r); err != nil {
			t.Fatal(err)
		}
		got := ""
		if len(r.lines) > 0 {
			got = r.lines[0]
		}
		if got != want || len(r.columns) < 3 || r.columns[2] != "y" {
			t.Errorf("%s is %q under columns %v, want %q", sql, got, r.columns, want)
		}
	}
}
