package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/sqlite"
)

// foreignScript is the database of somebody who never heard of us: tables of every
// layout that can be adopted, and whatever cannot.
const foreignScript = `PRAGMA user_version = 42; PRAGMA application_id = 77;
CREATE TABLE i(id INTEGER PRIMARY KEY, a TEXT, b REAL DEFAULT 1.5, c);
CREATE TABLE auto(id INTEGER PRIMARY KEY AUTOINCREMENT, a TEXT);
CREATE TABLE t(name TEXT PRIMARY KEY, a INTEGER NOT NULL DEFAULT 7) ;
CREATE TABLE "Two ""Words"""(x TEXT NOT NULL, y INTEGER NOT NULL, "z z" BLOB, PRIMARY KEY(y, x));
CREATE TABLE w(region TEXT, name TEXT, port INTEGER, PRIMARY KEY(region, name DESC)) WITHOUT ROWID;
CREATE TABLE b(k BLOB PRIMARY KEY, v TEXT) STRICT;
CREATE TABLE r(k REAL PRIMARY KEY, g AS (k * 2), s TEXT GENERATED ALWAYS AS (upper(v)) STORED, v TEXT CHECK(v <> 'no'));
CREATE TABLE keyonly(a TEXT NOT NULL, b TEXT NOT NULL, PRIMARY KEY(a, b));
CREATE INDEX i_by_a ON i(a) WHERE a IS NOT NULL;
CREATE TABLE nokey(a, b);
CREATE TABLE uniq(id INTEGER PRIMARY KEY, mail TEXT UNIQUE);
CREATE TABLE uniqindex(id INTEGER PRIMARY KEY, mail TEXT);
CREATE UNIQUE INDEX one_mail ON uniqindex(mail);
CREATE TABLE risky(id INTEGER PRIMARY KEY, j TEXT);
CREATE INDEX by_json ON risky(json_extract(j, '$.a'));
CREATE TABLE nullkey(k TEXT PRIMARY KEY, v);
CREATE TABLE textinblob(k BLOB PRIMARY KEY, v);
CREATE TABLE nocase(k TEXT COLLATE NOCASE PRIMARY KEY);
CREATE TABLE today(k INTEGER PRIMARY KEY, at TEXT DEFAULT CURRENT_TIMESTAMP);
CREATE VIEW seen AS SELECT id, a FROM i;
CREATE TRIGGER tr AFTER INSERT ON i BEGIN INSERT INTO nokey VALUES(new.id, new.a); END;
CREATE VIRTUAL TABLE fts USING fts5(body);
INSERT INTO i SELECT value, 'a' || value, value / 3.0, CASE value % 4 WHEN 0 THEN NULL WHEN 1 THEN x'00ff' WHEN 2 THEN value ELSE 'it''s' END FROM series(-5, 30);
INSERT INTO auto(a) VALUES('x'), ('y'); DELETE FROM auto WHERE id = 2;
INSERT INTO t SELECT 'n' || value, value FROM series(1, 25); DELETE FROM t WHERE a % 5 = 0;
INSERT INTO "Two ""Words""" SELECT 'x' || (value % 3), value, zeroblob(value) FROM series(1, 20);
INSERT INTO w SELECT 'r' || (value % 4), 'n' || value, value FROM series(1, 33);
INSERT INTO b VALUES(x'', 'empty'), (x'00', 'zero'), (x'ff', NULL);
INSERT INTO r(k, v) VALUES(0.5, 'x'), (-1e300, NULL), (1.0, 'y');
INSERT INTO keyonly VALUES('p', 'q'), ('', '');
INSERT INTO nokey VALUES(1, 2); INSERT INTO uniq VALUES(1, 'a@b'); INSERT INTO uniqindex VALUES(1, 'a@b'); INSERT INTO risky VALUES(1, '{}');
INSERT INTO nullkey VALUES('k', 1), (NULL, 2); INSERT INTO textinblob VALUES('text', 1); INSERT INTO nocase VALUES('A'); INSERT INTO today(k) VALUES(1);
INSERT INTO fts VALUES('some words');
ANALYZE;`

// seriesCall is shorthand of scripts: the numbers from the first to the last.
var seriesCall = regexp.MustCompile(`series\((-?\d+), (\d+)\)`)

// foreignFile makes a plain database of a script.
func foreignFile(t *testing.T, script string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "foreign.db")
	c, err := sqlite.Open(sqlite.Config{Path: path, Create: true, KeepJournal: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetMode(sqlite.ModeInternal)
	script = seriesCall.ReplaceAllString(script, "(WITH RECURSIVE s(value) AS (SELECT $1 UNION ALL SELECT value + 1 FROM s WHERE value < $2) SELECT value FROM s)")
	if err := c.Exec(script); err != nil {
		t.Fatal(err)
	}
	return path
}

// wholeFile is a database as .dump sees it without our tables, and what it is told
// by besides: its journal mode and numbers. It leaves the file alone.
func wholeFile(t *testing.T, path string) string {
	t.Helper()
	c, err := sqlite.Open(sqlite.Config{Path: path, ReadOnly: true, KeepJournal: true, KeepWAL: hasWAL(path)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetMode(sqlite.ModeInternal)
	var b strings.Builder
	each := func(sql string) (first []string) {
		err := c.Each(sql, nil, func(st *sqlite.Stmt) error {
			for i := range st.ColumnCount() {
				fmt.Fprintf(&b, "%v|", st.Column(i))
			}
			first = append(first, st.Column(0).Text())
			b.WriteByte('\n')
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return first
	}
	for _, p := range []string{"journal_mode", "user_version", "application_id", "page_size", "auto_vacuum", "encoding"} {
		each("PRAGMA " + p)
	}
	for _, table := range each("SELECT name, sql FROM sqlite_schema WHERE type = 'table' AND sql NOT NULL AND name NOT GLOB '__patina_*' ORDER BY name = 'sqlite_sequence', rowid") {
		each("SELECT * FROM " + quoteIdent(table))
	}
	each("SELECT sql FROM sqlite_schema WHERE type <> 'table' AND sql NOT NULL ORDER BY rowid")
	return b.String()
}

// adopted adopts with small chunks.
func adopted(t *testing.T, path string) *Adoption {
	t.Helper()
	a, err := adopt(t.Context(), Config{Path: path}, smallChunk)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

var smallChunk = chunkLimits{rows: 7, values: 40, bytes: 500}

func TestAdoptEveryLayout(t *testing.T) {
	t.Parallel()
	path := foreignFile(t, foreignScript)
	before := tableRows(t, path)
	a := adopted(t, path)
	var got strings.Builder
	for _, o := range a.Objects {
		fmt.Fprintf(&got, "%s %s %d %s\n", o.Kind, o.Name, o.Rows, o.Local)
	}
	want := `table i 36 
table auto 1 
table t 20 
table Two "Words" 20 
table w 33 
table b 3 
table r 3 
table keyonly 2 
table nokey 0 no primary key: rows of different nodes could not be told apart; add one, for example id TEXT NOT NULL PRIMARY KEY or id INTEGER PRIMARY KEY
table uniq 0 ` + uniqueReason + `
table uniqindex 0 index one_mail: ` + uniqueReason + `
table risky 0 index by_json: a partial or expression index can only use functions that never fail; json_extract is not one
table nullkey 0 row NULL: NOT NULL constraint failed: nullkey.k
table textinblob 0 row 'text': key column textinblob.k holds only blobs, not text
table nocase 0 a key column needs the BINARY collation, not NOCASE: keys that compare equal must be equal bytes
table today 1 
view seen 0 it is a view
trigger tr 0 ` + triggerReason + `
virtual table fts 0 it is a virtual table
table fts_data 0 it is a part of a virtual table
table fts_idx 0 it is a part of a virtual table
table fts_content 0 it is a part of a virtual table
table fts_docsize 0 it is a part of a virtual table
table fts_config 0 it is a part of a virtual table
`
	if got.String() != want {
		t.Errorf("adopted\n%s, want\n%s", got.String(), want)
	}
	r := checked(t, path)
	if !r.Clean() || r.Rows != 119 || r.Clocks != 119 || r.Log != a.Versions || a.Versions < 20 || a.Resumed {
		t.Errorf("%d versions, resumed %v, %+v\n%s", a.Versions, a.Resumed, r, found(r))
	}
	if after := tableRows(t, path); after != before {
		t.Errorf("rows\n%s, before\n%s", after, before)
	}
	// Its schema makes nothing new here, and the same tables elsewhere.
	n := start(t, Config{Path: path, Schema: schemaOf(a.Schema)})
	if n.Actor() != a.Actor {
		t.Error("the open took another actor id")
	}
	peer := start(t, Config{Schema: schemaOf(a.Schema)})
	peer.pull(n)
	requireEqual(t, n, peer)
	for _, sql := range []string{"UPDATE i SET a = 'new' WHERE id = 3", `DELETE FROM "Two ""Words""" WHERE y = 4`, "INSERT INTO t VALUES('own', 1)"} {
		n.exec(sql)
	}
	peer.exec("UPDATE w SET port = 0", "DELETE FROM keyonly")
	peer.pull(n)
	n.pull(peer)
	requireEqual(t, n, peer)
}

// tableRows is wholeFile without the journal mode, which comes first.
func tableRows(t *testing.T, path string) string {
	_, rest, _ := strings.Cut(wholeFile(t, path), "\n")
	return rest
}

// TestAdoptedTablesAreCapturedAndLocalOnesNot, also after another open and after
// somebody removed what had kept a table local.
func TestAdoptedTablesAreCapturedAndLocalOnesNot(t *testing.T) {
	t.Parallel()
	path := foreignFile(t, foreignScript)
	adopted(t, path)
	n := start(t, Config{Path: path})
	for range 2 {
		before := n.Vector()
		for _, sql := range []string{"INSERT INTO nokey VALUES(7, 8)", "INSERT OR REPLACE INTO uniq VALUES(2, 'c@d')", "UPDATE uniqindex SET mail = mail || '.'", "DELETE FROM nullkey WHERE k = 'k'"} {
			if refused := n.refused(sql); !strings.Contains(refused, "does not replicate") {
				t.Errorf("%s: %s", sql, refused)
			}
			outside(t, path, sql)
		}
		if id := n.exec("INSERT INTO auto(a) VALUES('x')"); id.Version == 0 || n.Vector().Entry(id.Actor).Applied.Len() != before.Entry(id.Actor).Applied.Len()+1 {
			t.Error("a write to an adopted table made no version of its own")
		}
		if err := n.stop(); err != nil {
			t.Fatal(err)
		}
		outside(t, path, "DROP INDEX IF EXISTS one_mail; DELETE FROM nullkey")
		n = start(t, Config{Path: path})
	}
	if reason := n.schema.Load().local["uniqindex"]; !strings.HasPrefix(reason, "index one_mail: UNIQUE beyond") {
		t.Errorf("uniqindex is local because %q", reason)
	}
	if _, err := n.applyFiles("CREATE TABLE uniqindex(id INTEGER PRIMARY KEY, mail TEXT)"); err == nil || !strings.Contains(err.Error(), "not replicated: index one_mail") {
		t.Errorf("a schema file that names a local table: %v", err)
	}
	n.stop()
	// Dropped, its name is free.
	outside(t, path, "DROP TABLE uniqindex")
	n = start(t, Config{Path: path})
	if _, err := n.applyFiles("CREATE TABLE uniqindex(id INTEGER PRIMARY KEY, mail TEXT)"); err != nil {
		t.Fatal(err)
	}
	if id := n.exec("INSERT INTO uniqindex VALUES(1, 'x')"); id.Version == 0 {
		t.Error("the table that was made anew is not replicated")
	}
}

func (n *node) applyFiles(sql string) (notes []string, err error) {
	n.onWriter(func(w *writer) { notes, err = w.applySchemaFiles(n.t.Context(), schemaOf(sql)) })
	return notes, err
}

// TestAdoptGoesOn after it ended behind any of its chunks, by an error or a crash.
func TestAdoptGoesOn(t *testing.T) {
	t.Parallel()
	original := foreignFile(t, foreignScript)
	enough := errors.New("enough")
	total := 1 << 30
	for stop := 1; stop <= total; stop++ {
		path := filepath.Join(t.TempDir(), "half.db")
		crashed := filepath.Join(t.TempDir(), "crashed.db")
		copyFile(t, original, path)
		chunks, limits := 0, chunkLimits{rows: 20, values: 60, bytes: 1000}
		limits.done = func() error {
			if chunks++; chunks < stop {
				return nil
			}
			for _, suffix := range []string{"", "-wal", "-id"} {
				copyFile(t, path+suffix, crashed+suffix)
			}
			return enough
		}
		a, err := adopt(t.Context(), Config{Path: path}, limits)
		if err == nil { // there were no more chunks
			total = chunks
			continue
		}
		if !errors.Is(err, enough) {
			t.Fatal(err)
		}
		for _, half := range []string{path, crashed} {
			if _, err := Open(t.Context(), Config{Path: half}); !errors.Is(err, ErrAdopting) || !strings.Contains(err.Error(), "patina adopt") {
				t.Fatalf("open of a file that is half adopted: %v", err)
			}
			b := adopted(t, half)
			r := checked(t, half)
			if !b.Resumed || !r.Clean() || r.Rows != 119 || r.Log != a.Versions+b.Versions || half == path && b.Actor != a.Actor {
				t.Errorf("ended after %d of %d chunks: %+v, %+v\n%s", stop, total, b, r, found(r))
			}
		}
	}
	if total < 12 {
		t.Errorf("only %d chunks", total)
	}
}

func TestAdoptEndsWithItsContext(t *testing.T) {
	t.Parallel()
	path := foreignFile(t, foreignScript)
	ctx, cancel := context.WithCancel(t.Context())
	limits := smallChunk
	limits.done = func() error { cancel(); return nil }
	if _, err := adopt(ctx, Config{Path: path}, limits); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if a := adopted(t, path); !a.Resumed {
		t.Error("not resumed")
	}
}

// TestAdoptRefuses, and leaves the file byte for byte as it is.
func TestAdoptRefuses(t *testing.T) {
	t.Parallel()
	wide := foreignFile(t, "PRAGMA encoding = 'UTF-16le'; CREATE TABLE a(b INTEGER PRIMARY KEY)")
	plain := foreignFile(t, foreignScript)
	linked := foreignFile(t, foreignScript)
	if err := os.Link(linked, linked+"2"); err != nil {
		t.Fatal(err)
	}
	text := filepath.Join(t.TempDir(), "text.db")
	if err := os.WriteFile(text, []byte(strings.Repeat("no database ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	damaged := foreignFile(t, "CREATE TABLE t(id INTEGER PRIMARY KEY, a); INSERT INTO t SELECT value, zeroblob(500) FROM series(1, 100)")
	b, _ := os.ReadFile(damaged)
	copy(b[3*4096:], strings.Repeat("x", 2000))
	if err := os.WriteFile(damaged, b, 0o600); err != nil {
		t.Fatal(err)
	}
	running := start(t, Config{Schema: schemaOf(itemsSchema)})
	for _, test := range []struct {
		desc, path, want string
		is               error
	}{
		{"UTF-16", wide, "encoded in UTF-16le: only UTF-8 is supported", nil},
		{"ours", lived(t).Path, "already", ErrAdopted},
		{"of a running node", running.cfg.Path, "stop that process first", ErrInUse},
		{"two names", linked, "2 hard links", nil},
		{"no database", text, "not a database", sqlite.ErrNotADB},
		{"damaged", damaged, "malformed", sqlite.ErrCorrupt},
		{"a table of our name", foreignFile(t, "CREATE TABLE __Patina_x(id INTEGER PRIMARY KEY)"), "it has the table __Patina_x: names that begin with __patina_ are reserved", ErrForeignFile},
		{"an index of our name", foreignFile(t, "CREATE TABLE t(a INTEGER PRIMARY KEY, b); CREATE INDEX __patina_i ON t(b)"), "it has the index __patina_i", ErrForeignFile},
		{"a table of the name of __patina_meta", foreignFile(t, "CREATE TABLE __patina_meta(id INTEGER PRIMARY KEY, v); INSERT INTO __patina_meta VALUES(1, 2)"), "it has the table __patina_meta", ErrForeignFile},
		{"one with its columns", foreignFile(t, "CREATE TABLE __patina_meta(name TEXT, value TEXT); INSERT INTO __patina_meta VALUES('format', 2)"), "it has the table __patina_meta", ErrForeignFile},
		{"one in capitals", foreignFile(t, "CREATE TABLE __PATINA_META(name TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID; INSERT INTO __patina_meta VALUES('format', 2)"), "it has the table __PATINA_META", ErrForeignFile},
		{"no file", plain + ".none", "no such file", os.ErrNotExist},
	} {
		before := hashFiles(t, test.path)
		_, err := Adopt(t.Context(), Config{Path: test.path})
		if err == nil || !strings.Contains(err.Error(), test.want) || test.is != nil && !errors.Is(err, test.is) {
			t.Errorf("%s: %v, want %q", test.desc, err, test.want)
		}
		if errors.Is(err, ErrForeignFile) { // so do all others
			_, check := Check(t.Context(), Config{Path: test.path})
			_, repair := Repair(t.Context(), Config{Path: test.path})
			_, eject := Eject(Config{Path: test.path})
			_, open := Open(t.Context(), Config{Path: test.path})
			for _, err := range []error{check, repair, eject, open} {
				if !errors.Is(err, ErrForeignFile) {
					t.Errorf("%s: %v", test.desc, err)
				}
			}
		}
		if after := hashFiles(t, test.path); after != before {
			t.Errorf("%s: the file changed", test.desc)
		}
	}
	before := hashFiles(t, plain)
	if _, err := Open(t.Context(), Config{Path: plain}); !errors.Is(err, ErrForeignFile) || !strings.Contains(err.Error(), "patina adopt") {
		t.Errorf("open of a plain file: %v", err)
	}
	if after := hashFiles(t, plain); after != before {
		t.Error("a refused open changed the file")
	}
	busy, err := sqlite.Open(sqlite.Config{Path: plain, KeepJournal: true})
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	if err := busy.Exec("BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	if _, err := Adopt(t.Context(), Config{Path: plain}); !errors.Is(err, sqlite.ErrBusy) {
		t.Errorf("adopt of a file that another process writes: %v", err)
	}
}

// TestAdoptKeepsLargeRowsApart: a chunk ends by bytes, and a row that no changeset
// can hold leaves its table local.
func TestAdoptKeepsLargeRowsApart(t *testing.T) {
	t.Parallel()
	path := foreignFile(t, fmt.Sprintf(`CREATE TABLE large(id INTEGER PRIMARY KEY, a); INSERT INTO large SELECT value, randomblob(3000000) FROM series(1, 5);
		CREATE TABLE huge(id INTEGER PRIMARY KEY, a); INSERT INTO huge VALUES(1, zeroblob(%d));
		CREATE TABLE most(id INTEGER PRIMARY KEY, a); INSERT INTO most VALUES(1, zeroblob(%d))`, changeset.MaxEncodedSize, maxRowSize-100))
	a, err := Adopt(t.Context(), Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	if a.Versions != 4 || !strings.Contains(a.Objects[1].Local, "more than a changeset can hold") || a.Objects[2].Local != "" {
		t.Errorf("%+v", a)
	}
	if r := checked(t, path); !r.Clean() || r.Rows != 6 {
		t.Errorf("%+v", r)
	}
}

// ejectScripts are databases that VACUUM would make look another way, and that it
// would not.
var ejectScripts = []struct {
	desc, script string
	unpacked     bool
}{
	{"everything", foreignScript, false},
	{"tables and indexes", itemsSchema + "CREATE INDEX x ON item(a); INSERT INTO item(id) SELECT value FROM series(1, 500)", false},
	{"in another order", "CREATE TABLE a(b); CREATE VIEW v AS SELECT 1; CREATE TABLE f(k TEXT PRIMARY KEY); CREATE VIRTUAL TABLE u USING fts5(x);" + itemsSchema + "CREATE INDEX x ON item(a); CREATE TABLE z(y); CREATE INDEX w ON a(b)", false},
	{"numbers that a virtual table refers to", "CREATE TABLE a(b); INSERT INTO a VALUES(1), (2); DELETE FROM a WHERE b = 1; CREATE VIRTUAL TABLE u USING fts5(b, content='a')", true},
	{"numbers that nothing refers to", "CREATE TABLE a(b); INSERT INTO a VALUES(1), (2); DELETE FROM a WHERE b = 1", false},
	{"small pages, auto_vacuum", "PRAGMA page_size = 512; PRAGMA auto_vacuum = FULL; " + itemsSchema + "INSERT INTO flag VALUES('a', 'b')", false},
	{"WAL", "PRAGMA journal_mode = WAL; " + itemsSchema + "INSERT INTO flag VALUES('a', 'b')", false},
	{"nothing", "PRAGMA user_version = 3", false},
}

func TestEjectGivesBackWhatWasAdopted(t *testing.T) {
	t.Parallel()
	for _, test := range ejectScripts {
		t.Run(test.desc, func(t *testing.T) {
			path := foreignFile(t, test.script)
			before := wholeFile(t, path)
			adopted(t, path)
			if err := start(t, Config{Path: path}).stop(); err != nil {
				t.Fatal(err)
			}
			out, err := Eject(Config{Path: path})
			if err != nil || (out.Unpacked != "") != test.unpacked || out.Tables < 6 {
				t.Fatalf("%+v, %v", out, err)
			}
			if out.Unpacked == "" {
				requirePlain(t, path)
			}
			if after := wholeFile(t, path); after != before {
				t.Errorf("ejected\n%s, was\n%s", after, before)
			}
			if _, err := Eject(Config{Path: path}); !errors.Is(err, ErrForeignFile) {
				t.Errorf("a second time: %v", err)
			}
		})
	}
}

// requirePlain sees that no file and no byte of ours is left.
func requirePlain(t *testing.T, path string) {
	t.Helper()
	files, err := filepath.Glob(path + "?*")
	if err != nil || len(files) > 0 {
		t.Errorf("left beside the file: %v, %v", files, err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if i := strings.Index(string(b), internalPrefix); i >= 0 {
		t.Errorf("at byte %d: %q", i, b[i:i+20])
	}
}

// TestEjectKeepsWhatWasWritten since, half adopted files included, and the bytes of
// clocks and log go even where the file keeps its size.
func TestEjectKeepsWhatWasWritten(t *testing.T) {
	t.Parallel()
	path := foreignFile(t, foreignScript)
	a := adopted(t, path)
	n := start(t, Config{Path: path})
	n.exec("UPDATE i SET a = 'written since' WHERE id = 1", "DELETE FROM w")
	n.stop()
	if _, err := Eject(Config{Path: path}); err != nil {
		t.Fatal(err)
	}
	requirePlain(t, path)
	if got := wholeFile(t, path); !strings.Contains(got, "1|'written since'|") || strings.Contains(got, "'r1'|") {
		t.Errorf("rows %s", got)
	}
	if b, _ := os.ReadFile(path); strings.Contains(string(b), string(a.Actor[:])) {
		t.Error("the actor id is still in the file")
	}
	half := foreignFile(t, foreignScript)
	before := wholeFile(t, half)
	limits := smallChunk
	limits.done = func() error { return errors.New("enough") }
	if _, err := adopt(t.Context(), Config{Path: half}, limits); err == nil {
		t.Fatal("not stopped")
	}
	if _, err := Eject(Config{Path: half}); err != nil {
		t.Fatal(err)
	}
	if requirePlain(t, half); wholeFile(t, half) != before {
		t.Error("a half adopted file was not given back")
	}
}

// TestEjectGoesOn after it was killed at any step.
func TestEjectGoesOn(t *testing.T) {
	t.Parallel()
	original := foreignFile(t, ejectScripts[2].script)
	for steps := range 4 {
		path := filepath.Join(t.TempDir(), "half.db")
		copyFile(t, original, path)
		adopted(t, path)
		s, err := openOffline(Config{Path: path}, sqlite.Config{KeepJournal: true, WritableSchema: true})
		if err != nil {
			t.Fatal(err)
		}
		for _, step := range []func() error{
			func() error { return s.writer.setJournal("delete") },
			func() error { _, err := s.writer.dropAll(&Ejection{}); return err },
			func() error { s.writer.conn.ClearCache(); return s.writer.conn.Exec("VACUUM") },
		}[:steps] {
			if err := step(); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.closeOffline(); err != nil {
			t.Fatal(err)
		}
		if _, err := Eject(Config{Path: path}); err != nil {
			t.Fatalf("after %d steps: %v", steps, err)
		}
		if requirePlain(t, path); wholeFile(t, path) != wholeFile(t, original) {
			t.Errorf("after %d steps: %s", steps, wholeFile(t, path))
		}
	}
}

func TestEjectRefuses(t *testing.T) {
	t.Parallel()
	running := start(t, Config{Schema: schemaOf(itemsSchema)})
	if _, err := Eject(running.cfg); !errors.Is(err, ErrInUse) {
		t.Errorf("a node runs: %v", err)
	}
	newer := lived(t).Path
	outside(t, newer, fmt.Sprintf("UPDATE __patina_meta SET value = %d WHERE name = 'format'", formatVersion+1))
	if _, err := Eject(Config{Path: newer}); !errors.Is(err, ErrNewerFormat) {
		t.Errorf("a newer format: %v", err)
	}
	held := lived(t).Path
	c, err := sqlite.Open(sqlite.Config{Path: held, ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := Eject(Config{Path: held}); err == nil {
		t.Error("ejected although another process has it open")
	}
	if r := checked(t, held); !r.Clean() {
		t.Errorf("after a refused ejection: %s", found(r))
	}
}
