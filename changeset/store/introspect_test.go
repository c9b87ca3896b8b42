package store

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/sqlite"
)

func TestSchemaLayouts(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		desc, sql string
		layout    layout
		rowid     string
		key       []string
	}{
		{"integer key", "CREATE TABLE t(id INTEGER PRIMARY KEY, a)", layoutInteger, "rowid", []string{"id"}},
		{"integer key of the table", "CREATE TABLE t(a, id integer, PRIMARY KEY(id))", layoutInteger, "rowid", []string{"id"}},
		{"DESC at the table is still the rowid", "CREATE TABLE t(id INTEGER, a, PRIMARY KEY(id DESC))", layoutInteger, "rowid", []string{"id"}},
		{"INT is not INTEGER", "CREATE TABLE t(id INT PRIMARY KEY, a)", layoutRowid, "rowid", []string{"id"}},
		{"text key", "CREATE TABLE t(a, id TEXT PRIMARY KEY)", layoutRowid, "rowid", []string{"id"}},
		{"key in its own order", "CREATE TABLE t(a TEXT, b TEXT, c TEXT, PRIMARY KEY(c, a))", layoutRowid, "rowid", []string{"c", "a"}},
		{"without rowid", "CREATE TABLE t(id INTEGER PRIMARY KEY, a) WITHOUT ROWID", layoutKey, "", []string{"id"}},
		{"a column called rowid", "CREATE TABLE t(RowID TEXT PRIMARY KEY, oid)", layoutRowid, "_rowid_", []string{"rowid"}},
		{"integer key that is unique too", "CREATE TABLE t(id INTEGER PRIMARY KEY UNIQUE, a)", layoutInteger, "rowid", []string{"id"}},
	} {
		s := schemaRead(t, schemaDB(t, tt.sql))
		got := s.lookup("T")
		if got == nil {
			t.Errorf("%s: not replicated: %v", tt.desc, s.local)
			continue
		}
		if got.layout != tt.layout || got.rowid != tt.rowid || !slices.Equal(got.keyNames(), tt.key) {
			t.Errorf("%s: layout %d rowid %q key %v", tt.desc, got.layout, got.rowid, got.keyNames())
		}
	}
}

func TestSchemaColumns(t *testing.T) {
	t.Parallel()
	s := schemaRead(t, schemaDB(t, `CREATE TABLE t(
		id TEXT PRIMARY KEY, a INT DEFAULT '7', g AS (a + 1), b TEXT NOT NULL COLLATE NOCASE, h TEXT AS (upper(b)) STORED, c)`))
	tt := s.lookup("t")
	if want := []int{1, 3, 5}; !slices.Equal(tt.data, want) {
		t.Errorf("data columns %v, want %v", tt.data, want)
	}
	if c := tt.column("B"); c.data != 1 || c.ordinal != 3 || c.collation != "NOCASE" || !c.notNull || c.affinity != affinityText {
		t.Errorf("column b: %+v", c)
	}
	if g, h := tt.column("g"), tt.column("h"); g.generated != generatedVirtual || h.generated != generatedStored || g.data != -1 || h.data != -1 {
		t.Errorf("generated columns: %+v %+v", g, h)
	}
	if k := tt.column("id"); k.keyPos != 1 || k.data != -1 {
		t.Errorf("key column: %+v", k)
	}
}

func TestSchemaApplyDefaults(t *testing.T) {
	t.Parallel()
	text, integer, real := changeset.TextValue, changeset.IntegerValue, changeset.RealValue
	for _, tt := range []struct {
		desc, column string
		literal      bool
		want         changeset.Value
	}{
		{"none", "c TEXT", false, changeset.NullValue()},
		{"NOT NULL text", "c TEXT NOT NULL", false, text("")},
		{"NOT NULL integer", "c INT NOT NULL", false, integer(0)},
		{"NOT NULL real", "c REAL NOT NULL", false, real(0)},
		{"NOT NULL numeric", "c DECIMAL NOT NULL", false, integer(0)},
		{"NOT NULL blob", "c BLOB NOT NULL", false, changeset.BlobValue(nil)},
		{"NOT NULL without a type", "c NOT NULL", false, changeset.BlobValue(nil)},
		{"literal with the column's affinity", "c REAL DEFAULT 3", true, real(3)},
		{"text to integer", "c INT DEFAULT '12'", true, integer(12)},
		{"text that is no number", "c INT DEFAULT 'x'", true, text("x")},
		{"number to text", "c TEXT DEFAULT 1.5", true, text("1.5")},
		{"NULL", "c TEXT DEFAULT NULL", true, changeset.NullValue()},
		{"NULL for a NOT NULL column", "c TEXT NOT NULL DEFAULT NULL", true, text("")},
		{"negative", "c INT DEFAULT -5", true, integer(-5)},
		{"twice negative, in brackets", "c INT DEFAULT (- -5)", true, integer(5)},
		{"brackets", "c INT DEFAULT ((6))", true, integer(6)},
		{"hexadecimal", "c DEFAULT 0x10", true, integer(16)},
		{"TRUE", "c DEFAULT true", true, integer(1)},
		{"a bare word is text", "c DEFAULT hello", true, text("hello")},
		{"a quoted word is text", `c DEFAULT "Hello"`, true, text("Hello")},
		{"a quoted clock is text", `c DEFAULT "CURRENT_TIME"`, true, text("CURRENT_TIME")},
		{"blob", "c DEFAULT x'00ff'", true, changeset.BlobValue([]byte{0, 255})},
		{"comment and quote", "c DEFAULT /* ' */ 'it''s'", true, text("it's")},
		{"infinity", "c REAL DEFAULT 1e999", true, applyAffinity(text("1e999"), affinityReal)},
		{"clock", "c TEXT DEFAULT CURRENT_TIMESTAMP", false, changeset.NullValue()},
		{"clock in brackets", "c TEXT NOT NULL DEFAULT (current_date)", false, text("")},
		{"expression", "c TEXT NOT NULL DEFAULT (lower(hex(randomblob(16))))", false, text("")},
		{"constant expression", "c INT DEFAULT (1 + 1)", false, changeset.NullValue()},
		{"unknown function", "c TEXT DEFAULT (uuid7())", false, changeset.NullValue()},
	} {
		c := schemaRead(t, schemaDB(t, "CREATE TABLE t(id TEXT PRIMARY KEY, "+tt.column+")")).lookup("t").column("c")
		if !c.applyDefault.Equal(tt.want) || c.literalDefault != tt.literal {
			t.Errorf("%s: %s has apply default %s %s (literal %t), want %s %s (literal %t)", tt.desc, tt.column,
				c.applyDefault.Kind(), c.applyDefault, c.literalDefault, tt.want.Kind(), tt.want, tt.literal)
		}
	}
}

// The apply default must be what SQLite itself puts into a row that leaves the
// column out, what it reads from rows that were there before the column, and
// what the preupdate hook and applyAffinity make of those. Where SQLite itself
// disagrees, the default is refused.
func TestSchemaApplyDefaultIsSQLites(t *testing.T) {
	t.Parallel()
	refused := map[string]bool{}
	for _, dflt := range []string{"3", "'3'", "1.5", "1.50", "-1e3", "x'01'", "NULL", "true", "word", "(- -2)", "+7", "0x1f", "9223372036854775808",
		"-9223372036854775808", "-0.0", "'1e5'", "1_000", "'-0.0'", "1e20", "0.1", "''", "' 5 '"} {
		for _, decl := range []string{"", "TEXT", "INT", "REAL", "NUMERIC", "BLOB"} {
			if clause := decl + " DEFAULT " + dflt; !schemaDefaultAgrees(t, clause) {
				refused[clause] = true
			}
		}
	}
	for _, want := range []string{"TEXT DEFAULT 1.50", "TEXT DEFAULT -1e3", "TEXT DEFAULT 9223372036854775808"} {
		if !refused[want] {
			t.Errorf("%s is not refused", want)
		}
		delete(refused, want)
	}
	t.Logf("also refused: %v", slices.Sorted(maps.Keys(refused)))
}

// schemaDefaultAgrees adds a column to a table with a row and compares its value
// in that row, in a new row and in the hook with the apply default. It returns
// false if the table is refused.
func schemaDefaultAgrees(t *testing.T, clause string) bool {
	t.Helper()
	c, err := sqlite.Open(sqlite.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var old changeset.Value
	c.SetPreupdate(func(p *sqlite.Preupdate) {
		if p.Op() != sqlite.OpDelete {
			return
		}
		v, err := p.Old(1)
		if err != nil {
			t.Error(err)
		}
		old = v.Clone()
	})
	schemaExec(t, c, "CREATE TABLE t(id INTEGER PRIMARY KEY); INSERT INTO t VALUES(1); ALTER TABLE t ADD COLUMN c "+clause+"; INSERT INTO t(id) VALUES(2)")
	tt := schemaRead(t, c).lookup("t")
	if tt == nil {
		return false
	}
	col := tt.column("c")
	same := func(what string, got changeset.Value) {
		if want := col.applyDefault; !got.Equal(want) {
			t.Errorf("%s: %s is %s %s, we say %s %s", clause, what, got.Kind(), got, want.Kind(), want)
		}
	}
	err = c.Each("SELECT c FROM t ORDER BY id", nil, func(s *sqlite.Stmt) error {
		same("SQLite's value", s.Column(0))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	schemaExec(t, c, "DELETE FROM t WHERE id = 1")
	same("the hook's value", applyAffinity(old, col.affinity))
	return true
}

func TestSchemaFlags(t *testing.T) {
	t.Parallel()
	s := schemaRead(t, schemaDB(t, `
		CREATE TABLE a(id INTEGER PRIMARY KEY AUTOINCREMENT, n INT CHECK (n > 0));
		CREATE TABLE b(id TEXT PRIMARY KEY ON CONFLICT IGNORE, "check" TEXT DEFAULT 'CHECK (', [on conflict] /* CHECK */ INT) STRICT;
		CREATE TABLE __patina_log(k INTEGER PRIMARY KEY);
		CREATE TRIGGER tr AFTER INSERT ON A BEGIN SELECT 1; END;
		CREATE TRIGGER __patina_tr AFTER INSERT ON b BEGIN SELECT 1; END;
		CREATE VIEW v AS SELECT 1;
		CREATE VIRTUAL TABLE f USING fts5(x);
		CREATE TABLE nokey(a); CREATE INDEX ni ON nokey(a);
		CREATE TABLE foreignfn(id TEXT PRIMARY KEY, a TEXT COLLATE NOCASE)`))
	a, b := s.lookup("a"), s.lookup("b")
	if !a.autoincrement || !a.hasChecks || !a.hasTriggers || a.hasConflictClauses {
		t.Errorf("table a: %+v", a)
	}
	if b.autoincrement || b.hasChecks || b.hasTriggers || !b.hasConflictClauses || !b.strict {
		t.Errorf("table b: %+v", b)
	}
	for name, reason := range map[string]string{"v": "view", "f": "virtual", "f_data": "virtual", "nokey": "primary key", "ni": "index"} {
		if !strings.Contains(s.local[name], reason) {
			t.Errorf("%s is local because %q, want %q", name, s.local[name], reason)
		}
	}
	if len(s.tables) != 3 || s.lookup("__patina_log") != nil || s.local["__patina_log"] != "" {
		t.Errorf("tables: %v, local: %v", s.tables, s.local)
	}
}

func TestSchemaIndexes(t *testing.T) {
	t.Parallel()
	s := schemaRead(t, schemaDB(t, `
		CREATE TABLE t(id TEXT PRIMARY KEY, a TEXT, b INT, UNIQUE(a, id));
		CREATE INDEX i1 ON t(a COLLATE NOCASE DESC, b);
		CREATE UNIQUE INDEX theirs ON t(a);
		CREATE INDEX risky ON t(abs(b)) WHERE b > 0;
		CREATE INDEX fine ON t(lower(a)) WHERE a LIKE 'x%'`))
	tt := s.lookup("t")
	if tt.keyIndex == nil || len(tt.indexes) != 5 {
		t.Fatalf("key index %v, indexes %+v", tt.keyIndex, tt.indexes)
	}
	_, i1 := s.findIndex("I1")
	if want := (indexColumn{"a", false, true, "NOCASE"}); i1 == nil || i1.columns[0] != want || i1.harm != "" {
		t.Errorf("i1: %+v", i1)
	}
	for name, harm := range map[string]string{"theirs": "UNIQUE", "risky": "abs", "fine": ""} {
		_, x := s.findIndex(name)
		if x == nil || (x.harm == "") != (harm == "") || !strings.Contains(x.harm, harm) {
			t.Errorf("index %s: %+v, want harm %q", name, x, harm)
		}
	}
}

func TestSchemaDigest(t *testing.T) {
	t.Parallel()
	const base = "CREATE TABLE t(id TEXT PRIMARY KEY, a INT DEFAULT 1, b TEXT COLLATE NOCASE NOT NULL); CREATE TABLE u(id INTEGER PRIMARY KEY)"
	digest := func(sql string) [32]byte { return schemaRead(t, schemaDB(t, sql)).digest }
	want := digest(base)
	for _, tt := range []struct {
		desc, sql string
		same      bool
	}{
		{"order of tables and columns", "CREATE TABLE U(ID integer primary key); CREATE TABLE T(B text NOT NULL COLLATE nocase, Id TEXT PRIMARY KEY, a  int DEFAULT 1)", true},
		{"indexes", base + "; CREATE INDEX i ON t(a)", true},
		{"CHECK, references, AUTOINCREMENT", strings.Replace(strings.Replace(base, "DEFAULT 1", "DEFAULT +1 CHECK (a > 0) REFERENCES u(id)", 1), "INTEGER PRIMARY KEY", "INTEGER PRIMARY KEY AUTOINCREMENT", 1), true},
		{"what is not replicated", base + "; CREATE TABLE nokey(a); CREATE VIEW v AS SELECT 1", true},
		{"another table", base + "; CREATE TABLE w(id TEXT PRIMARY KEY)", false},
		{"another column", strings.Replace(base, "a INT", "c, a INT", 1), false},
		{"another name", strings.Replace(base, "a INT", "aa INT", 1), false},
		{"another type", strings.Replace(base, "a INT", "a TEXT", 1), false},
		{"another default", strings.Replace(base, "DEFAULT 1", "DEFAULT 2", 1), false},
		{"a default of another class", strings.Replace(base, "a INT DEFAULT 1", "a DEFAULT '1'", 1), false},
		{"another collation", strings.Replace(base, "NOCASE", "RTRIM", 1), false},
		{"another NOT NULL", strings.Replace(base, " NOT NULL", "", 1), false},
		{"another key", strings.Replace(base, "id TEXT PRIMARY KEY, a INT DEFAULT 1", "id TEXT, a INT DEFAULT 1 PRIMARY KEY", 1), false},
		{"STRICT", strings.Replace(base, "NOT NULL)", "NOT NULL) STRICT", 1), false},
		{"a generated column", strings.Replace(base, "a INT", "g AS (1), a INT", 1), false},
	} {
		if got := digest(tt.sql); (got == want) != tt.same {
			t.Errorf("%s: equal digests %t, want %t", tt.desc, got == want, tt.same)
		}
	}
	generated := func(clause string) [32]byte { return digest("CREATE TABLE t(id TEXT PRIMARY KEY, g " + clause + ")") }
	if g := generated("AS (1)"); g == generated("AS (2)") || g == generated("AS (1) STORED") || g != generated("GENERATED ALWAYS AS ( /* one */ 1 )") {
		t.Error("generated columns: the digest must tell kind and expression, and nothing else")
	}
	again := schemaRead(t, schemaDB(t, base))
	again.tables["t"].generation = 3
	if again.seal(); again.digest == want {
		t.Error("the generation is not in the digest")
	}
}
