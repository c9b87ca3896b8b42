package store

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/patinadb/patina/changeset/sqlite"
)

// schemaJourney takes an empty database through two schemas. Whatever is
// planned must run, must lead to what was wanted and must be planned once only;
// whatever is refused must be refused by a *SchemaError.
func schemaJourney(t testing.TB, have, want string) (planned bool) {
	t.Helper()
	c, err := sqlite.Open(sqlite.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for i, sql := range []string{have, want} {
		desired, err := desiredSchema(schemaFiles(sql))
		if schemaRefused(t, err) {
			return false
		}
		current := schemaRead(t, c)
		p, err := planFiles(current, desired)
		if schemaRefused(t, err) {
			return false
		}
		if migration, _, err := planMigration(current, []string{sql}); err == nil && len(migration.statements) > len(p.statements) {
			t.Errorf("as a migration: %q\nas files: %q", migration.statements, p.statements)
		}
		schemaApply(t, c, p)
		after := schemaRead(t, c)
		schemaHolds(t, after, desired)
		if again, err := planFiles(after, desired); err != nil || len(again.statements) > 0 {
			t.Errorf("planned again: %q %v", again.statements, err)
		}
		if i == 0 && after.digest != desired.digest {
			t.Error("the digest is not that of the files")
		}
		for name := range after.tables { // ADD COLUMN is to meet rows
			_ = c.Exec("INSERT OR IGNORE INTO " + quoteIdent(name) + " DEFAULT VALUES")
		}
	}
	return true
}

func schemaRefused(t testing.TB, err error) bool {
	var refused *SchemaError
	if err != nil && !errors.As(err, &refused) {
		t.Fatalf("not a *SchemaError: %v", err)
	}
	return err != nil
}

func FuzzSchemaDiff(f *testing.F) {
	for _, sql := range []string{
		"CREATE TABLE t(id TEXT PRIMARY KEY, a INT DEFAULT 1)",
		"CREATE TABLE t(id TEXT PRIMARY KEY, a INT DEFAULT (1), b TEXT COLLATE NOCASE NOT NULL DEFAULT 'x;\n'); CREATE INDEX i ON t(lower(b)) WHERE a > 0",
		"CREATE TABLE \"a b\"([k'] INT, `c` BLOB AS (x'00') STORED, 'd' REAL CHECK (d > 0), PRIMARY KEY([k'] DESC)) WITHOUT ROWID, STRICT;",
		"CREATE TABLE p(id INTEGER PRIMARY KEY AUTOINCREMENT); CREATE TABLE IF NOT EXISTS q(id INT PRIMARY KEY ON CONFLICT ABORT, p REFERENCES p(id) ON DELETE CASCADE, UNIQUE(id))",
		"-- x\nDROP TABLE t", "CREATE TEMP TABLE x(a)", "CREATE VIRTUAL TABLE f USING fts5(a)", "CREATE UNIQUE INDEX i ON t(a COLLATE RTRIM, b DESC)",
		"CREATE TABLE t(id TEXT PRIMARY KEY, g GENERATED ALWAYS AS (CAST(id AS VARCHAR(3)) || 'a') VIRTUAL, d DEFAULT CURRENT_TIMESTAMP)",
	} {
		f.Add(sql, sql+"; CREATE INDEX j ON t(id)")
		f.Add("CREATE TABLE t(id TEXT PRIMARY KEY)", sql)
	}
	f.Fuzz(func(t *testing.T, have, want string) { schemaJourney(t, have, want) })
}

// schemaGenerator writes schemas of a few tables whose definitions meet often.
type schemaGenerator struct{ *rand.Rand }

func (g schemaGenerator) pick(options ...string) string { return options[g.IntN(len(options))] }

func (g schemaGenerator) file() string {
	var b strings.Builder
	for _, name := range []string{"t", `"u v"`, "W"} {
		if g.IntN(4) == 0 {
			continue
		}
		columns := []string{"id TEXT PRIMARY KEY"}
		for _, c := range []string{"a", "b", `"c,"`, "[d)]"} {
			if g.IntN(2) == 0 {
				continue
			}
			columns = append(columns, strings.Join([]string{c, g.pick("", "INT", "TEXT", "REAL", "BLOB", "VARCHAR(4)"),
				g.pick("", "", "NOT NULL", "COLLATE NOCASE", "REFERENCES t(id)"),
				g.pick("", "", "DEFAULT 1", "DEFAULT 'x, ('", "DEFAULT -2.5", "DEFAULT NULL", "DEFAULT (1+1)", "CHECK (1)", "AS (lower(id))")}, " "))
		}
		g.Shuffle(len(columns), func(i, j int) { columns[i], columns[j] = columns[j], columns[i] })
		fmt.Fprintf(&b, "CREATE TABLE %s%s(%s)%s;\n", g.pick("", "IF NOT EXISTS "), name, strings.Join(columns, g.pick(", ", " -- c\n, ", "/*,*/,")), g.pick("", "", "", " WITHOUT ROWID"))
		if g.IntN(2) == 0 {
			fmt.Fprintf(&b, "CREATE INDEX %s ON %s(%s)%s;\n", g.pick("i", "j", "k"), name, g.pick("id", "id DESC", "lower(id), id", "id COLLATE RTRIM"), g.pick("", " WHERE id > 'a'"))
		}
	}
	return b.String()
}

func TestSchemaJourneysOfRandomSchemas(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	g := schemaGenerator{rand.New(rand.NewPCG(seed, 1))}
	planned, journeys := 0, 150
	if testing.Short() {
		journeys = 40
	}
	for range journeys {
		have := g.file()
		want := g.file()
		if g.IntN(2) == 0 { // mostly the same: more gets as far as a plan
			want = strings.Replace(have, "(id", "(n1 INT DEFAULT 3, id", 1)
		}
		if schemaJourney(t, have, want) {
			planned++
		}
		if t.Failed() {
			t.Fatalf("seed %d\nhave %s\nwant %s", seed, have, want)
		}
	}
	if planned < journeys/15 {
		t.Errorf("only %d of %d pairs were planned: the generator tests nothing", planned, journeys)
	}
	t.Logf("%d of %d pairs were planned", planned, journeys)
}
