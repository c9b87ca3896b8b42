package store

import (
	"slices"
	"strings"
	"testing"

	"github.com/patinadb/patina/changeset/sqlite"
)

// schemaApply runs a plan on a real file in one transaction, as the store does.
func schemaApply(t testing.TB, c *sqlite.Conn, p plan) {
	t.Helper()
	schemaExec(t, c, "BEGIN IMMEDIATE")
	for _, sql := range p.statements {
		schemaExec(t, c, sql)
	}
	schemaExec(t, c, "COMMIT")
}

func TestSchemaPlans(t *testing.T) {
	t.Parallel()
	const base = "CREATE TABLE t(id TEXT PRIMARY KEY, a INT DEFAULT 1)"
	const rows = "; INSERT INTO t(id) VALUES('x')"
	for _, tt := range []struct {
		desc, have, want string
		statements       []string
		created, added   []string
		notes            []string
	}{
		{"everything new", "", base + "; CREATE INDEX i ON t(a)", []string{base, "CREATE INDEX i ON t(a)"}, []string{"t"}, nil, nil},
		{"nothing to do", base + rows, "create table T ( A int default (+1),\n ID text primary key -- key\n)", nil, nil, nil, nil},
		{"index in other words", base + "; CREATE INDEX i ON t(lower(id), A) WHERE a > 0", base + `; create index I on "t" ( Lower( "id" ) /**/, a ASC) where A>0`, nil, nil, nil, nil},
		{"nullable column", base + rows, strings.Replace(base, "a INT", `"b c" VARCHAR(10) COLLATE NOCASE /* why */, a INT`, 1),
			[]string{`ALTER TABLE "t" ADD COLUMN "b c" VARCHAR(10) COLLATE NOCASE`}, nil, []string{"t"}, nil},
		{"NOT NULL with a literal", base + rows, strings.Replace(base, "a INT", "b TEXT NOT NULL DEFAULT 'a,b)', c REAL NOT NULL DEFAULT -1, a INT", 1),
			[]string{`ALTER TABLE "t" ADD COLUMN b TEXT NOT NULL DEFAULT 'a,b)'`, `ALTER TABLE "t" ADD COLUMN c REAL NOT NULL DEFAULT -1`}, nil, []string{"t"}, nil},
		{"reference", base + rows, strings.Replace(base, "a INT", "p TEXT REFERENCES t(id) ON DELETE SET NULL DEFERRABLE INITIALLY DEFERRED, a INT", 1),
			[]string{`ALTER TABLE "t" ADD COLUMN p TEXT REFERENCES t(id) ON DELETE SET NULL DEFERRABLE INITIALLY DEFERRED`}, nil, []string{"t"}, nil},
		{"virtual column", base + rows, strings.Replace(base, "a INT", "g INT AS (a + 1), a INT", 1),
			[]string{`ALTER TABLE "t" ADD COLUMN g INT AS (a + 1)`}, nil, []string{"t"}, nil},
		{"index on an added column", base + rows, "CREATE TABLE t(id TEXT PRIMARY KEY, b, a INT DEFAULT 1); CREATE INDEX i ON t(b)",
			[]string{`ALTER TABLE "t" ADD COLUMN b`, "CREATE INDEX i ON t(b)"}, nil, []string{"t"}, nil},
		{"STRICT column", base + " STRICT", strings.Replace(base, "a INT", "b ANY DEFAULT 'x', a INT", 1) + " STRICT",
			[]string{`ALTER TABLE "t" ADD COLUMN b ANY DEFAULT 'x'`}, nil, []string{"t"}, nil},
		{"WITHOUT ROWID", base + " WITHOUT ROWID" + rows, strings.Replace(base, "a INT", "b BLOB NOT NULL DEFAULT x'', a INT", 1) + " WITHOUT ROWID",
			[]string{`ALTER TABLE "t" ADD COLUMN b BLOB NOT NULL DEFAULT x''`}, nil, []string{"t"}, nil},
		{"what the files do not mention stays", base + "; CREATE TABLE u(id TEXT PRIMARY KEY); CREATE INDEX i ON t(a); ALTER TABLE t ADD COLUMN old TEXT REFERENCES u", base, nil, nil, nil,
			[]string{"column t.old", "index i of table t", "table u"}},
		{"a column with a CHECK that the files do not mention", strings.Replace(base, "a INT", "old INT CHECK (old > 0), a INT", 1), base, nil, nil, nil, []string{"column t.old"}},
		{"CHECK that was there", base[:len(base)-1] + ", CHECK (a > 0))", base[:len(base)-1] + " CHECK (\"A\">0))", nil, nil, nil, nil},
	} {
		t.Run(tt.desc, func(t *testing.T) {
			c := schemaDB(t, tt.have)
			desired := schemaDesired(t, tt.want)
			p, err := planFiles(schemaRead(t, c), desired)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(p.statements, tt.statements) || !slices.Equal(p.created, tt.created) || !slices.Equal(p.extended, tt.added) {
				t.Errorf("plan %+v", p)
			}
			if !slices.EqualFunc(p.notes, tt.notes, strings.HasPrefix) {
				t.Errorf("notes %q, want %q", p.notes, tt.notes)
			}
			schemaApply(t, c, p)
			after := schemaRead(t, c)
			schemaHolds(t, after, desired)
			again, err := planFiles(after, desired)
			if err != nil || len(again.statements) != 0 || !slices.Equal(again.notes, p.notes) {
				t.Errorf("planned again: %+v %v", again, err)
			}
			if len(tt.notes) == 0 && after.digest != desired.digest {
				t.Error("the digest is not that of the files")
			}
		})
	}
}

// schemaHolds requires that after has every table, column and index of desired
// as it is there.
func schemaHolds(t testing.TB, after, desired *schema) {
	t.Helper()
	for _, want := range desired.sorted() {
		have := after.lookup(want.name)
		if have == nil {
			t.Errorf("table %s is missing: %v", want.name, after.local)
			continue
		}
		if refused := compareTable(have, want); refused != nil {
			t.Error(refused)
		}
		for i := range want.columns {
			w := &want.columns[i]
			h := have.column(w.name)
			if h == nil {
				t.Errorf("column %s.%s is missing", want.name, w.name)
			} else if refused := compareColumn(have, h, w); refused != nil {
				t.Error(refused)
			} else if !h.applyDefault.Equal(w.applyDefault) || h.affinity != w.affinity {
				t.Errorf("column %s.%s: apply default %s, want %s", want.name, w.name, h.applyDefault, w.applyDefault)
			}
		}
		for i := range want.indexes {
			if w := &want.indexes[i]; !w.constraint {
				if owner, h := after.findIndex(w.name); owner != have || !h.equal(w) {
					t.Errorf("index %s of %s is %+v, want %+v", w.name, want.name, h, w)
				}
			}
		}
	}
}

func TestSchemaPlansRefuse(t *testing.T) {
	t.Parallel()
	const base = "CREATE TABLE t(id TEXT PRIMARY KEY, a INT DEFAULT 1, b TEXT NOT NULL)"
	with := func(old, new string) string { return strings.Replace(base, old, new, 1) }
	for _, tt := range []struct{ desc, have, want, table, column, reason string }{
		{"type", base, with("a INT", "a BIGINT"), "t", "a", "type is INT and should be BIGINT"},
		{"NOT NULL", base, with(" NOT NULL", ""), "t", "b", "NOT NULL differs"},
		{"default", base, with("DEFAULT 1", "DEFAULT 2"), "t", "a", "default is 1 and should be 2"},
		{"default gone", base, with(" DEFAULT 1", ""), "t", "a", "default is 1 and should be none"},
		{"collation", base, with("b TEXT", "b TEXT COLLATE NOCASE"), "t", "b", "collation is BINARY and should be NOCASE"},
		{"key", base, "CREATE TABLE t(id TEXT, a INT DEFAULT 1, b TEXT NOT NULL, PRIMARY KEY(id, b))", "t", "b", "primary key is (id) and should be (id, b)"},
		{"key order", "CREATE TABLE t(a TEXT, b TEXT, PRIMARY KEY(a, b))", "CREATE TABLE t(a TEXT, b TEXT, PRIMARY KEY(b, a))", "t", "", "primary key is (a, b)"},
		{"new key column", base, "CREATE TABLE t(k TEXT, id TEXT, a INT DEFAULT 1, b TEXT NOT NULL, PRIMARY KEY(id, k))", "t", "k", "primary key"},
		{"STRICT", base, base + " STRICT", "t", "", "should be STRICT"},
		{"WITHOUT ROWID", base, base + " WITHOUT ROWID", "t", "", "WITHOUT ROWID differs"},
		{"AUTOINCREMENT", "CREATE TABLE t(id INTEGER PRIMARY KEY)", "CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT)", "t", "", "AUTOINCREMENT"},
		{"generated", base, with("a INT DEFAULT 1", "a INT AS (1)"), "t", "a", "differs"},
		{"generating expression", with("a INT", "g AS (1), a INT"), with("a INT", "g AS (2), a INT"), "t", "g", "expression differs"},
		{"CHECK of a column", base, with("DEFAULT 1", "DEFAULT 1 CHECK (a > 0)"), "t", "", "CHECK"},
		{"CHECK of the table", base, with("NOT NULL", "NOT NULL, CHECK (a > 0)"), "t", "", "CHECK"},
		{"CHECK gone", with("NOT NULL", "NOT NULL, CHECK (a > 0)"), base, "t", "", "CHECK"},
		{"UNIQUE", base, with("NOT NULL", "NOT NULL, UNIQUE(id, a)"), "t", "", "UNIQUE"},
		{"reference", base, with("DEFAULT 1", "DEFAULT 1 REFERENCES t(id)"), "t", "a", "references"},
		{"reference of the table for an added column", base, with("NOT NULL", "NOT NULL, c TEXT, FOREIGN KEY(c) REFERENCES t(id)"), "t", "c", "references"},
		{"added NOT NULL", base, with("a INT", "c INT NOT NULL, a INT"), "t", "c", "needs a literal default"},
		{"added NOT NULL DEFAULT NULL", base, with("a INT", "c INT NOT NULL DEFAULT NULL, a INT"), "t", "c", "needs a literal default"},
		{"added with a clock", base, with("a INT", "c TEXT DEFAULT CURRENT_TIMESTAMP, a INT"), "t", "c", "not CURRENT_TIMESTAMP"},
		{"added with an expression", base, with("a INT", "c TEXT DEFAULT (1 + 1), a INT"), "t", "c", "not 1 + 1"},
		{"added with a CHECK", base, with("a INT", "c INT CHECK (c > 0), a INT"), "t", "c", "CHECK"},
		{"added STORED", base, with("a INT", "c INT AS (a) STORED, a INT"), "t", "c", "STORED"},
		{"index changed", base + "; CREATE INDEX i ON t(a)", base + "; CREATE INDEX i ON t(b)", "t", "", "index i: it is here with another definition"},
		{"index order", base + "; CREATE INDEX i ON t(a)", base + "; CREATE INDEX i ON t(a DESC)", "t", "", "another definition"},
		{"index WHERE", base + "; CREATE INDEX i ON t(a) WHERE a > 1", base + "; CREATE INDEX i ON t(a) WHERE a > 2", "t", "", "another definition"},
		{"index of another table", base + "; CREATE TABLE u(id TEXT PRIMARY KEY); CREATE INDEX i ON u(id)", base + "; CREATE INDEX i ON t(id)", "t", "", "index of table u"},
		{"table where an index is", base + "; CREATE INDEX x ON t(a)", "CREATE TABLE X(id TEXT PRIMARY KEY)", "X", "", "taken by an index of table t"},
		{"index where a table is", base + "; CREATE TABLE i(id TEXT PRIMARY KEY)", base + "; CREATE INDEX i ON t(a)", "t", "", "taken by a table"},
		{"table where a view is", "CREATE VIEW t AS SELECT 1", base, "t", "", "view"},
		{"table that is not replicated", "CREATE TABLE t(a)", base, "t", "", "no primary key"},
		{"index where a foreign index is", base + "; CREATE TABLE u(a); CREATE INDEX i ON u(a)", base + "; CREATE INDEX i ON t(a)", "t", "", "an index of u"},
	} {
		t.Run(tt.desc, func(t *testing.T) {
			for _, rows := range []string{"", "; INSERT OR IGNORE INTO t DEFAULT VALUES"} {
				if strings.Contains(tt.have, "VIEW") {
					rows = ""
				}
				c := schemaDB(t, tt.have+rows)
				p, err := planFiles(schemaRead(t, c), schemaDesired(t, tt.want))
				schemaRefusal(t, err, tt.table, tt.column, tt.reason)
				if len(p.statements) > 0 {
					t.Errorf("planned all the same: %q", p.statements)
				}
				if !strings.HasPrefix(err.Error(), "s.sql:1: ") {
					t.Errorf("no place: %v", err)
				}
			}
		})
	}
}

// An index of somebody else's that could block a merge stays, and does not
// stand in the way of other changes.
func TestSchemaPlansAroundForeignIndexes(t *testing.T) {
	t.Parallel()
	c := schemaDB(t, "CREATE TABLE t(id TEXT PRIMARY KEY, a INT); CREATE UNIQUE INDEX theirs ON t(a)")
	p, err := planFiles(schemaRead(t, c), schemaDesired(t, "CREATE TABLE t(id TEXT PRIMARY KEY, a INT, b TEXT)"))
	if err != nil {
		t.Fatal(err)
	}
	schemaApply(t, c, p)
	if _, x := schemaRead(t, c).findIndex("theirs"); x == nil || x.harm == "" {
		t.Errorf("index: %+v", x)
	}
}
