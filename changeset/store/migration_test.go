package store

import (
	"slices"
	"testing"
)

func TestSchemaMigrations(t *testing.T) {
	t.Parallel()
	const base = "CREATE TABLE t(id TEXT PRIMARY KEY, a INT)"
	for _, tt := range []struct {
		desc, have       string
		migration        []string
		statements       []string
		created, widened []string
	}{
		{"a table and its index", "", []string{base, "CREATE INDEX i ON t(a)"}, []string{base, "CREATE INDEX i ON t(a)"}, []string{"t"}, nil},
		{"several in one text", "", []string{" -- first\n" + base + " ;; CREATE INDEX i ON t(a); "}, []string{base, "CREATE INDEX i ON t(a)"}, []string{"t"}, nil},
		{"equal", base, []string{"CREATE TABLE T(A int, ID text PRIMARY KEY)"}, nil, nil, nil},
		{"more columns", base, []string{"CREATE TABLE t(id TEXT PRIMARY KEY, a INT, b, c TEXT DEFAULT 'x')"},
			[]string{`ALTER TABLE "t" ADD COLUMN b`, `ALTER TABLE "t" ADD COLUMN c TEXT DEFAULT 'x'`}, nil, []string{"t"}},
		{"fewer columns", base, []string{"CREATE TABLE t(id TEXT PRIMARY KEY)"}, nil, nil, nil},
		{"later statements see earlier ones", base, []string{"CREATE TABLE t(id TEXT PRIMARY KEY, b)", "CREATE INDEX i ON t(a, b)", "CREATE TABLE t(id TEXT PRIMARY KEY, b, c)", "CREATE INDEX i ON t(a, b)"},
			[]string{`ALTER TABLE "t" ADD COLUMN b`, "CREATE INDEX i ON t(a, b)", `ALTER TABLE "t" ADD COLUMN c`}, nil, []string{"t", "t"}},
		{"IF NOT EXISTS does nothing", base, []string{"CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, b)"}, nil, nil, nil},
		{"IF NOT EXISTS of a view", "CREATE VIEW v AS SELECT 1", []string{"CREATE TABLE IF NOT EXISTS v(id INTEGER PRIMARY KEY)"}, nil, nil, nil},
		{"IF NOT EXISTS of nothing", "", []string{"CREATE TABLE IF NOT EXISTS t(id TEXT PRIMARY KEY, a INT)"}, []string{base}, []string{"t"}, nil},
		{"equal index", base + "; CREATE INDEX i ON t(a)", []string{"CREATE INDEX I ON T(A)"}, nil, nil, nil},
		{"IF NOT EXISTS of an index", base + "; CREATE INDEX i ON t(a)", []string{"CREATE INDEX IF NOT EXISTS i ON t(id)"}, nil, nil, nil},
	} {
		t.Run(tt.desc, func(t *testing.T) {
			c := schemaDB(t, tt.have)
			p, index, err := planMigration(schemaRead(t, c), tt.migration)
			if err != nil || index != -1 {
				t.Fatal(index, err)
			}
			if !slices.Equal(p.statements, tt.statements) || !slices.Equal(p.created, tt.created) || !slices.Equal(p.extended, tt.widened) {
				t.Errorf("plan %+v", p)
			}
			schemaApply(t, c, p)
			again, _, err := planMigration(schemaRead(t, c), tt.migration)
			if err != nil || len(again.statements) != 0 {
				t.Errorf("planned again: %+v %v", again, err)
			}
		})
	}
}

func TestSchemaMigrationsRefuse(t *testing.T) {
	t.Parallel()
	const base = "CREATE TABLE t(id TEXT PRIMARY KEY, a INT); CREATE INDEX i ON t(a); CREATE UNIQUE INDEX theirs ON t(a); CREATE TABLE nokey(a)"
	for _, tt := range []struct {
		desc                  string
		migration             []string
		index                 int
		table, column, reason string
	}{
		{"changed type after a good statement", []string{"CREATE TABLE u(id TEXT PRIMARY KEY)", "CREATE TABLE t(id TEXT PRIMARY KEY, a TEXT)"}, 1, "t", "a", "type is INT and should be TEXT"},
		{"a rule", []string{"CREATE TABLE u(id TEXT)"}, 0, "u", "", "no primary key"},
		{"UNIQUE index", []string{"CREATE UNIQUE INDEX u ON t(a)"}, 0, "t", "a", "use a plain index"},
		{"changed index", []string{"CREATE INDEX i ON t(id)"}, 0, "t", "", "another definition"},
		{"name of a foreign index", []string{"CREATE TABLE t(id TEXT PRIMARY KEY, b)", "CREATE INDEX theirs ON t(b)"}, 1, "t", "", "another definition"},
		{"a table that is not replicated", []string{"CREATE TABLE nokey(id TEXT PRIMARY KEY)"}, 0, "nokey", "", "no primary key"},
		{"its index", []string{"CREATE INDEX n ON nokey(a)"}, 0, "nokey", "", "no primary key"},
		{"drop", []string{"DROP TABLE t"}, 0, "t", "", "DROP TABLE is refused"},
		{"drop as the second of a text", []string{"CREATE TABLE u(id TEXT PRIMARY KEY); DROP TABLE t"}, 0, "t", "", "DROP TABLE is refused"},
		{"alter", []string{"ALTER TABLE t ADD COLUMN b"}, 0, "t", "", "ALTER TABLE is refused"},
		{"syntax", []string{"CREATE TABLE u(id TEXT PRIMARY KEY"}, 0, "", "", "incomplete input"},
		{"no such table", []string{"CREATE INDEX x ON u(id)"}, 0, "", "", "no such table: main.u"},
		{"no such column", []string{"CREATE INDEX x ON t(nope)"}, 0, "", "", "no such column: nope"},
		{"nothing", []string{"-- nothing"}, 0, "", "", "no statement"},
		{"NUL", []string{"CREATE TABLE u(id TEXT PRIMARY KEY)\x00; DROP TABLE t"}, 0, "", "", "NUL"},
		{"a table where its index is", []string{"CREATE TABLE i(id TEXT PRIMARY KEY)"}, 0, "", "", "there is already an index named i"},
	} {
		t.Run(tt.desc, func(t *testing.T) {
			p, index, err := planMigration(schemaRead(t, schemaDB(t, base)), tt.migration)
			schemaRefusal(t, err, tt.table, tt.column, tt.reason)
			if index != tt.index || len(p.statements) > 0 {
				t.Errorf("index %d, plan %+v", index, p)
			}
		})
	}
}
