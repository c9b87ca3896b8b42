package main

import (
	"encoding/json"
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
