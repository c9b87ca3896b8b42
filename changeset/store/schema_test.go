package store

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/patinadb/patina/changeset/sqlite"
)

// schemaDB opens a database file and makes what sql says.
func schemaDB(t testing.TB, sql string) *sqlite.Conn {
	t.Helper()
	c, err := sqlite.Open(sqlite.Config{Path: filepath.Join(t.TempDir(), "s.db"), Create: true, Synchronous: "OFF"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	schemaExec(t, c, sql)
	return c
}

func schemaExec(t testing.TB, c *sqlite.Conn, sql string) {
	t.Helper()
	if err := c.Exec(sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func schemaRead(t testing.TB, c *sqlite.Conn) *schema {
	t.Helper()
	s, err := readSchema(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func schemaFiles(sql string) []SchemaFile { return []SchemaFile{{Name: "s.sql", SQL: sql}} }

func schemaDesired(t testing.TB, sql string) *schema {
	t.Helper()
	s, err := desiredSchema(schemaFiles(sql))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// schemaRefusal checks an error's place and a part of its reason.
func schemaRefusal(t *testing.T, err error, table, column, reason string) {
	t.Helper()
	var e *SchemaError
	if !errors.As(err, &e) {
		t.Fatalf("error %v, want a *SchemaError", err)
	}
	if e.Table != table || e.Column != column || !strings.Contains(e.Reason, reason) {
		t.Fatalf("refused table %q column %q: %s\nwant table %q column %q: …%s…", e.Table, e.Column, e.Reason, table, column, reason)
	}
}
