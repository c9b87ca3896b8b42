package store

import (
	"errors"
	"strings"
	"testing"

	"github.com/patinadb/patina/changeset/sqlite"
)

// lostCases are what another program does to a table whose rows replicate, and how
// its reason begins.
var lostCases = []struct{ desc, table, sql, reason string }{
	{"dropped", "item", "DROP TABLE item", "another program dropped it"},
	{"dropped, text key", "flag", "DROP TABLE flag", "another program dropped it"},
	{"dropped, without rowid", "service", "DROP TABLE service", "another program dropped it"},
	{"column dropped", "item", "ALTER TABLE item DROP COLUMN b", "another program removed or renamed its column b"},
	{"column dropped, text key", "flag", "ALTER TABLE flag DROP COLUMN value", "another program removed or renamed its column value"},
	{"last column dropped", "service", "ALTER TABLE service DROP COLUMN note", "another program removed or renamed its column note"},
	{"column renamed", "item", "ALTER TABLE item RENAME COLUMN c TO d", "another program removed or renamed its column c"},
	{"columns in another order", "item", "DROP TABLE item; CREATE TABLE item(id INTEGER PRIMARY KEY, c REAL, a TEXT, b INTEGER NOT NULL DEFAULT 7)", "another program put its columns in another order"},
	{"made anew without a key", "flag", "DROP TABLE flag; CREATE TABLE flag(name, value)", "another program changed it: no primary key"},
	{"made anew with another key", "flag", "DROP TABLE flag; CREATE TABLE flag(name INTEGER PRIMARY KEY, value TEXT)", "another process made it anew with another key"},
}

// TestLostTable: nobody makes it again, nothing of it travels, and Check and the
// schema digest say so, before and after a start and a repair.
func TestLostTable(t *testing.T) {
	t.Parallel()
	for _, test := range lostCases {
		t.Run(test.desc, func(t *testing.T) {
			t.Parallel()
			cfg := lived(t)
			peer := start(t, Config{Schema: cfg.Schema})
			n := start(t, cfg)
			peer.pull(n)
			n.stop()
			before := peer.query("SELECT * FROM " + test.table)
			outside(t, cfg.Path, test.sql)
			lost := func() {
				t.Helper()
				want := test.table + ": " + string(LostTable) + ": 1 " + test.reason
				if got := found(checked(t, cfg.Path)); !strings.HasPrefix(got, want) || strings.Count(got, "\n") != 1 {
					t.Errorf("found\n%s, want\n%s", got, want)
				}
			}
			lost()
			var refused *SchemaError
			if _, err := Open(t.Context(), cfg); !errors.As(err, &refused) || !strings.Contains(err.Error(), test.reason) {
				t.Errorf("start with the schema: %v", err)
			}
			lost()
			if done := repaired(t, cfg.Path); done != (Repaired{}) {
				t.Errorf("repaired %+v", done)
			}
			lost()
			n = start(t, Config{Path: cfg.Path})
			n.tampered, n.damaged = true, true
			if n.Sums().Schema == peer.Sums().Schema {
				t.Error("the schema digest is that of the peer")
			}
			if got := n.refused("INSERT INTO " + test.table + " DEFAULT VALUES"); !strings.Contains(got, test.reason) {
				t.Errorf("a write: %s", got)
			}
			n.exec("INSERT INTO edge VALUES('still', 'here')")
			peer.pull(n)
			if after := peer.query("SELECT * FROM " + test.table); after != before || !strings.Contains(peer.query("SELECT a FROM edge"), "still") {
				t.Errorf("the peer has\n%s, had\n%s", after, before)
			}
			n.stop()
			lost()
		})
	}
}

// TestEmptyTableIsNotLost: what has no living row says nothing wrong when it is made
// again, whoever dropped it.
func TestEmptyTableIsNotLost(t *testing.T) {
	t.Parallel()
	for _, table := range []string{"item", "flag", "service"} {
		cfg := lived(t)
		n := start(t, cfg)
		n.exec("DELETE FROM " + table)
		n.stop()
		outside(t, cfg.Path, "DROP TABLE "+table)
		peer := start(t, Config{Schema: cfg.Schema})
		n = start(t, cfg)
		peer.pull(n)
		requireEqual(t, n, peer)
	}
}

// TestTableLostWhileRunning: the others of a group get their rows.
func TestTableLostWhileRunning(t *testing.T) {
	t.Parallel()
	n := start(t, Config{Schema: schemaOf(itemsSchema)})
	n.exec("INSERT INTO item(id, a) VALUES(1, 'x')", "INSERT INTO flag VALUES('a', 'b')")
	release := n.holdWriter()
	outside(t, n.cfg.Path, "DROP TABLE flag; ALTER TABLE item DROP COLUMN a")
	release()
	n.tampered, n.damaged = true, true
	out := n.together(
		[]sqlite.Statement{text("INSERT INTO edge VALUES('a', 'b')")},
		[]sqlite.Statement{text("INSERT INTO flag VALUES('x', 1)")},
		[]sqlite.Statement{text("UPDATE item SET b = 1")},
	)
	if out[0].failure() != "" || !strings.Contains(out[1].failure(), "no such table: flag: it does not replicate any more: another program dropped it") ||
		!strings.Contains(out[2].failure(), "table item does not replicate: another program removed or renamed its column a") {
		t.Errorf("%q, %q, %q", out[0].failure(), out[1].failure(), out[2].failure())
	}
	if got := n.query("SELECT id, b FROM item"); got != "1|7" {
		t.Errorf("item %s", got)
	}
}
