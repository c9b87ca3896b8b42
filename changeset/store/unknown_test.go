package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/patinadb/patina/changeset/sqlite"
)

// editSchema writes the schema table of a file, so that it tells of what only
// another program has: a collation, a function, a module.
func editSchema(t *testing.T, path, sql string) {
	t.Helper()
	c, err := sqlite.Open(sqlite.Config{Path: path, KeepJournal: true, WritableSchema: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetMode(sqlite.ModeInternal)
	if err := c.Exec("PRAGMA writable_schema = 1; " + sql); err != nil {
		t.Fatal(err)
	}
}

// unknownFile makes a database that uses what this SQLite does not know.
type unknownFile struct {
	desc, script string
	was, is      string // in the schema: what SQLite makes, what is there in the end
	module       string // of a virtual table f4, made besides
	local        string // what is left local, and why
	versions     int64  // of what is not, besides ok
	unpacked     string
}

// make makes the file.
func (u *unknownFile) make(t *testing.T) (path string) {
	path = foreignFile(t, u.script+"; CREATE TABLE ok(id INTEGER PRIMARY KEY, v); INSERT INTO ok VALUES(1, 'x'), (2, 'y')")
	if u.is != "" {
		editSchema(t, path, fmt.Sprintf("UPDATE sqlite_schema SET sql = replace(sql, '%s', '%s')", u.was, u.is))
	}
	if u.module != "" {
		editSchema(t, path, fmt.Sprintf("INSERT INTO sqlite_schema VALUES('table', 'f4', 'f4', 0, 'CREATE VIRTUAL TABLE f4 USING %s(a)')", u.module))
	}
	return path
}

// whole is wholeFile of a copy that SQLite knows all of.
func (u *unknownFile) whole(t *testing.T, path string) string {
	t.Helper()
	known := filepath.Join(t.TempDir(), "known.db")
	copyFile(t, path, known)
	editSchema(t, known, fmt.Sprintf("UPDATE sqlite_schema SET sql = replace(sql, '%s', '%s'); DELETE FROM sqlite_schema WHERE name = 'f4'", u.is, u.was))
	out := wholeFile(t, known)
	if err := os.Remove(known); err != nil {
		t.Fatal(err)
	}
	return out
}

const unknownPart = ": its name is that of a part of the virtual table f4, whose module this SQLite does not know\n"

var unknownFiles = []unknownFile{
	{desc: "collation of a column", script: "CREATE TABLE t(id INTEGER PRIMARY KEY, n TEXT COLLATE nocase); INSERT INTO t VALUES(1, 'a'), (2, 'b')", was: "nocase", is: "mycoll",
		local: "t: no such collation sequence: mycoll\n", unpacked: "no such collation sequence: mycoll"},
	{desc: "collation of an indexed column", script: "CREATE TABLE t(id INTEGER PRIMARY KEY, n TEXT COLLATE nocase); CREATE INDEX x ON t(n); INSERT INTO t VALUES(1, 'a')", was: "nocase", is: "mycoll",
		local: "t: no such collation sequence: mycoll\n", unpacked: "no such collation sequence: mycoll"},
	{desc: "collation of an index", script: "CREATE TABLE t(id INTEGER PRIMARY KEY, n TEXT); CREATE INDEX x ON t(n COLLATE nocase); INSERT INTO t VALUES(1, 'a')", was: "nocase", is: "mycoll",
		local: "t: index x: no such collation sequence: mycoll\n", unpacked: "no such collation sequence: mycoll"},
	{desc: "collation of a key", script: "CREATE TABLE t(k TEXT COLLATE nocase PRIMARY KEY); INSERT INTO t VALUES('a')", was: "nocase", is: "mycoll",
		local: "t: no such collation sequence: mycoll\n", unpacked: "no such collation sequence: mycoll"},
	{desc: "collation of a WITHOUT ROWID key", script: "CREATE TABLE t(k TEXT COLLATE nocase PRIMARY KEY) WITHOUT ROWID; INSERT INTO t VALUES('a')", was: "nocase", is: "mycoll",
		local: "t: no such collation sequence: mycoll\n", unpacked: "no such collation sequence: mycoll"},
	{desc: "collation of a CHECK", script: "CREATE TABLE t(k TEXT PRIMARY KEY CHECK(k >= 'a' COLLATE nocase)); INSERT INTO t VALUES('a')", was: "nocase", is: "mycoll",
		local: "t: no such collation sequence: mycoll\n"},
	{desc: "function of an index", script: "CREATE TABLE t(id INTEGER PRIMARY KEY, n TEXT); CREATE INDEX x ON t(upper(n)); INSERT INTO t VALUES(1, 'a')", was: "upper", is: "myfn",
		local: "t: index x: no such function: myfn\n", unpacked: "no such function: myfn"},
	{desc: "function of a partial index", script: "CREATE TABLE t(id INTEGER PRIMARY KEY, n TEXT); CREATE INDEX x ON t(n) WHERE upper(n) = 'A'; INSERT INTO t VALUES(1, 'a')", was: "upper", is: "myfn",
		local: "t: index x: no such function: myfn\n", unpacked: "no such function: myfn"},
	{desc: "function of a CHECK", script: "CREATE TABLE t(id INTEGER PRIMARY KEY, n TEXT CHECK(upper(n) > '')); INSERT INTO t VALUES(1, 'a')", was: "upper", is: "myfn",
		local: "t: no such function: myfn\n", unpacked: "no such function: myfn"},
	{desc: "function of a generated column", script: "CREATE TABLE t(id INTEGER PRIMARY KEY, n TEXT, g AS (upper(n)), h AS (upper(n)) STORED); INSERT INTO t VALUES(1, 'a')", was: "upper", is: "myfn",
		local: "t: no such function: myfn\n", unpacked: "no such function: myfn"},
	{desc: "function of a default", script: "CREATE TABLE t(id INTEGER PRIMARY KEY, n TEXT DEFAULT (upper('x'))); INSERT INTO t VALUES(1, 'a')", was: "upper", is: "myfn",
		versions: 1},
	{desc: "function of a view and a trigger", script: "CREATE TABLE u(a); CREATE VIEW v AS SELECT upper('x'); CREATE TRIGGER r AFTER INSERT ON u BEGIN SELECT upper(new.a); END", was: "upper", is: "myfn",
		local: "u: no primary key: rows of different nodes could not be told apart; add one, for example id TEXT NOT NULL PRIMARY KEY or id INTEGER PRIMARY KEY\nv: it is a view\nr: " + triggerReason + "\n"},
	{desc: "module", script: `CREATE TABLE f4_content(docid INTEGER PRIMARY KEY, c0a); INSERT INTO f4_content VALUES(1, 'abc'); CREATE TABLE F4_segdir(level INTEGER, idx INTEGER, PRIMARY KEY(level, idx))`,
		module: "fts4", local: "f4_content" + unknownPart + "F4_segdir" + unknownPart + "f4: it is a virtual table\n"},
}

// TestAdoptLeavesLocalWhatThisSQLiteLacks, with the reason, and the rest of the file
// replicates; check and eject work on it, and eject gives it back.
func TestAdoptLeavesLocalWhatThisSQLiteLacks(t *testing.T) {
	t.Parallel()
	for _, u := range unknownFiles {
		t.Run(u.desc, func(t *testing.T) {
			path := u.make(t)
			before := u.whole(t, path)
			a := adopted(t, path)
			var local strings.Builder
			for _, o := range a.Objects {
				if o.Local != "" {
					fmt.Fprintf(&local, "%s: %s\n", o.Name, o.Local)
				}
			}
			if local.String() != u.local || a.Versions != 1+u.versions {
				t.Errorf("%d versions, local\n%s", a.Versions, local.String())
			}
			n := start(t, Config{Path: path, Schema: schemaOf(a.Schema)})
			n.exec("INSERT INTO ok VALUES(3, 'z')", "DELETE FROM ok WHERE id = 3")
			if err := n.stop(); err != nil {
				t.Fatal(err)
			}
			if r := checked(t, path); !r.Clean() || r.Rows != 2+u.versions {
				t.Errorf("%s", found(r))
			}
			out, err := Eject(Config{Path: path})
			if err != nil || out.Unpacked != u.unpacked {
				t.Fatalf("%+v, %v", out, err)
			}
			requirePlain(t, path)
			if after := u.whole(t, path); after != before {
				t.Errorf("ejected\n%s, was\n%s", after, before)
			}
		})
	}
}

// TestAdoptSeesDamageBesideUnknownCollations: SQLite checks nothing of such a file at
// once.
func TestAdoptSeesDamageBesideUnknownCollations(t *testing.T) {
	t.Parallel()
	u := unknownFiles[2]
	u.script += "; CREATE TABLE large(id INTEGER PRIMARY KEY, a); INSERT INTO large SELECT value, zeroblob(500) FROM series(1, 100)"
	path := u.make(t)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[6*4096+7] += 7 // the free bytes that a page counts: reading rows does not look there
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Adopt(t.Context(), Config{Path: path}); !errors.Is(err, sqlite.ErrCorrupt) {
		t.Errorf("a damaged file: %v", err)
	}
}

// TestAdoptLeavesNamelessLocal: changesets name tables and columns.
func TestAdoptLeavesNamelessLocal(t *testing.T) {
	t.Parallel()
	path := foreignFile(t, `CREATE TABLE ""(id INTEGER PRIMARY KEY, v); INSERT INTO "" VALUES(1, 2); CREATE TABLE e(id INTEGER PRIMARY KEY, "" TEXT); INSERT INTO e VALUES(1, 'e');
		CREATE TABLE k("" TEXT PRIMARY KEY); INSERT INTO k VALUES('x'); CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES(1, 2)`)
	before := wholeFile(t, path)
	a := adopted(t, path)
	for i, o := range a.Objects {
		if (o.Local == "a table and its columns need names to replicate") != (i < 3) {
			t.Errorf("%+v", o)
		}
	}
	n := start(t, Config{Path: path})
	if refused := n.refused(`INSERT INTO "" VALUES(3, 4)`); !strings.Contains(refused, "does not replicate: a table and its columns need names") {
		t.Errorf("a write to the table without a name: %s", refused)
	}
	if id := n.exec("INSERT INTO t VALUES(3, 4)", "DELETE FROM t WHERE id = 3"); id.Version != 0 {
		t.Error("no net change made a version")
	}
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := Eject(Config{Path: path}); err != nil {
		t.Fatal(err)
	}
	if after := wholeFile(t, path); after != before {
		t.Errorf("ejected\n%s, was\n%s", after, before)
	}
}
