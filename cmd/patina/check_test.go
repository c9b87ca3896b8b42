package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/patinadb/patina/changeset/sqlite"
	"github.com/patinadb/patina/changeset/store"
)

// stopped makes the database of a node that is stopped.
func stopped(t *testing.T, schema string) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "patina.db")
	s, err := store.Open(t.Context(), store.Config{Path: file, Schema: []store.SchemaFile{{Name: "s.sql", SQL: schema}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return file
}

// edit writes to a database as any program can.
func edit(t *testing.T, file, sql string) {
	t.Helper()
	c, err := sqlite.Open(sqlite.Config{Path: file, Create: true, KeepJournal: true})
	if err != nil {
		t.Fatal(err)
	}
	c.SetMode(sqlite.ModeInternal)
	if err := c.Exec(sql); err != nil {
		t.Error(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestCheck(t *testing.T) {
	file := stopped(t, "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT)")
	status, out, errs := patina(t, "", "check", file)
	if status != 0 || errs != "" || !strings.Contains(out, "\ntables 1, rows 0, clocks 0, log entries 0, parked 0\nnothing differs\n") {
		t.Errorf("%d, %s%s", status, out, errs)
	}
	edit(t, file, "INSERT INTO t VALUES(7, 'x'), (8, 'y')")
	status, out, errs = patina(t, "", "check", file)
	if status != 1 || errs != "patina: the database disagrees with itself\n" || !strings.HasSuffix(out, "\ntable t: rows without a clock: 2: 7; 8\n") {
		t.Errorf("%d, %s%s", status, out, errs)
	}
	status, out, _ = patina(t, "", "check", "--json", file)
	var r store.Report
	if err := json.Unmarshal([]byte(out), &r); err != nil || status != 1 || len(r.Findings) != 1 || r.Findings[0].Count != 2 || r.Findings[0].Table != "t" {
		t.Errorf("%d, %v: %s", status, err, out)
	}
	status, out, errs = patina(t, "", "check", "--repair", file)
	if status != 0 || errs != "" || !strings.HasPrefix(out, "repaired: rows inserted 2, deleted 0; clocks dropped 0, made anew 0; versions 1\nactor ") || !strings.HasSuffix(out, "\ntables 1, rows 2, clocks 2, log entries 1, parked 0\nnothing differs\n") {
		t.Errorf("%d, %s%s", status, out, errs)
	}
	for _, test := range []struct{ args, want string }{
		{"", "patina: check takes one database file\n"},
		{file + ".none", "patina: stat " + file + ".none: no such file or directory\n"},
		{file + "|--json", "patina: --json comes after an argument; flags come first: patina check --json …\n"},
	} {
		args := append([]string{"check"}, strings.FieldsFunc(test.args, func(r rune) bool { return r == '|' })...)
		if status, _, errs := patina(t, "", args...); status != 1 || errs != test.want {
			t.Errorf("%s: %d, %q, want %q", test.args, status, errs, test.want)
		}
	}
}

func TestAdoptAndEject(t *testing.T) {
	file := filepath.Join(t.TempDir(), "app.db")
	edit(t, file, "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT); INSERT INTO t VALUES(1, 'x'), (2, 'y'); CREATE INDEX by_a ON t(a); CREATE TABLE u(a)")
	schema := filepath.Join(t.TempDir(), "app.sql")
	if err := os.WriteFile(schema, nil, 0o600); err != nil { // as an adoption that was killed leaves it
		t.Fatal(err)
	}
	const tables = "table t: 2 rows\ntable u: left local: no primary key: rows of different nodes could not be told apart; "
	const definition = "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT);\nCREATE INDEX by_a ON t(a);\n"
	for _, test := range []struct {
		args         []string
		status       int
		begins, ends string // of what is printed
	}{
		{[]string{"agent", "--config", configFor(t, file)}, 1, "patina: ", "it has tables already; patina adopt makes it one, or start with a new file\n"},
		{[]string{"adopt", "--cluster", "a b", file}, 1, `patina: "a b" is no cluster name: `, ""},
		{[]string{"adopt", "--schema-out", file, file}, 1, "patina: " + file + " is there already", ""},
		{[]string{"adopt", "--schema-out", filepath.Join(schema, "none.sql"), file}, 1, "patina: open " + schema, "not a directory\n"},
		{[]string{"adopt", "--schema-out", file + ".sql", file + ".none"}, 1, "patina: stat ", "no such file or directory\n"},
		{[]string{"adopt", "--schema-out", file + ".none", file + ".none"}, 1, "patina: " + file + ".none is the database itself\n", ""},
		{[]string{"inspect", "schema", file}, 1, "patina: " + file + ": store: not a patina database", "\n"},
		{[]string{"adopt", "--schema-out", schema, file}, 0, tables, "\nversions 1\nschema " + schema + ", for db.schema_paths of every node\n"},
		{[]string{"adopt", file}, 1, "patina: ", "store: a patina database already\n"},
		{[]string{"inspect", "schema", file}, 0, definition, "by_a ON t(a);\n"},
		{[]string{"inspect", "schema"}, 1, "patina: schema takes one database file\n", ""},
		{[]string{"check", file}, 0, "actor ", "\ntables 1, rows 2, clocks 2, log entries 1, parked 0\nnothing differs\n"},
		{[]string{"eject", file}, 0, "internal tables dropped ", "\njournal mode delete\n"},
		{[]string{"eject", file}, 1, "patina: ", "there is nothing of ours in it\n"},
		{[]string{"adopt", "--cluster", "other", file}, 0, tables, "every node:\n\n" + definition},
		{[]string{"agent", "--config", configFor(t, file)}, 1, "patina: ", "it belongs to cluster \"other\", this node to \"default\"\n"},
	} {
		status, out, errs := patina(t, "", test.args...)
		if out += errs; status != test.status || !strings.HasPrefix(out, test.begins) || !strings.HasSuffix(out, test.ends) {
			t.Errorf("%q: status %d, %s", test.args, status, out)
		}
	}
	if left, err := filepath.Glob(file + ".*"); err != nil || len(left) > 0 {
		t.Errorf("refused adoptions left %v, %v", left, err)
	}
	if b, err := os.ReadFile(schema); err != nil || string(b) != definition {
		t.Errorf("%v: %s", err, b)
	}
}

// configFor writes a configuration of a node on file.
func configFor(t *testing.T, file string) (name string) {
	t.Helper()
	name = filepath.Join(t.TempDir(), "config.yaml")
	text := fmt.Sprintf("db: {path: %q}\napi: {addr: 127.0.0.1:0}\ngossip: {addr: 127.0.0.1:0}\n", file)
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}
