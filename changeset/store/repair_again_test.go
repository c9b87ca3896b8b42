package store

import (
	"fmt"
	"path/filepath"
	"testing"
)

// renumber makes flag anew in the order of its rowids.
const renumber = "CREATE TABLE x AS SELECT * FROM flag; DELETE FROM flag; INSERT INTO flag SELECT * FROM x ORDER BY rowid; DROP TABLE x"

// rotate exchanges the keys of three rows in a circle.
const rotate = "UPDATE flag SET name = 'x' WHERE name = 'f3'; UPDATE flag SET name = 'f3' WHERE name = 'f4'; UPDATE flag SET name = 'f4' WHERE name = 'f5'; UPDATE flag SET name = 'f5' WHERE name = 'x'"

// TestRepairOfRowsThatCameAgain: a row at another rowid than its clock may have other
// values, which peers have to hear of, however much it looks as if it was renumbered.
func TestRepairOfRowsThatCameAgain(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		desc, sql string
		inserted  int64
	}{
		{"the last", "DELETE FROM flag WHERE name = 'f19'; INSERT INTO flag VALUES('new', 'row'), ('f19', 'again')", 2},
		{"one between", "DELETE FROM flag WHERE name = 'f7'; INSERT INTO flag VALUES('f7', 'again')", 1},
		{"one between, and all renumbered", "DELETE FROM flag WHERE name = 'f7'; INSERT INTO flag VALUES('f7', 'again'); " + renumber, 13},
		{"two keys exchanged", "UPDATE flag SET name = CASE name WHEN 'f3' THEN 'x' ELSE 'f3' END WHERE name IN ('f3', 'f9'); UPDATE flag SET name = 'f9' WHERE name = 'x'", 2},
		{"three keys in a circle", rotate, 3},
		{"three keys in a circle, and an index", "CREATE INDEX i ON flag(value); " + rotate, 3},
		{"the tail with other values, and VACUUM", "CREATE TABLE x AS SELECT * FROM flag WHERE value > 9 ORDER BY name; DELETE FROM flag WHERE value > 9; INSERT INTO flag SELECT name, value || '!' FROM x; DROP TABLE x; VACUUM", 0},
		{"all moved away", "UPDATE flag SET rowid = rowid + 100, value = 'moved'", 20},
		{"made anew with other values", "CREATE TABLE x AS SELECT * FROM flag; DROP TABLE flag; CREATE TABLE flag(name TEXT NOT NULL PRIMARY KEY, value TEXT); INSERT INTO flag SELECT name, value || '!' FROM x ORDER BY name; DROP TABLE x", 18},
	} {
		t.Run(test.desc, func(t *testing.T) {
			t.Parallel()
			cfg := Config{Path: filepath.Join(t.TempDir(), "n.db"), Schema: schemaOf(itemsSchema)}
			n := start(t, cfg)
			for i := range 20 {
				n.exec(fmt.Sprintf("INSERT INTO flag VALUES('f%d', %d)", i, i))
			}
			peer := start(t, Config{Schema: cfg.Schema})
			peer.pull(n)
			n.stop()
			outside(t, cfg.Path, test.sql)
			if done := repaired(t, cfg.Path); done.Inserted != test.inserted && test.inserted > 0 || done.Dropped != 0 {
				t.Errorf("%+v", done)
			}
			requireRepaired(t, cfg, peer, test.inserted < 18 && test.inserted > 0 || test.desc == "all moved away")
		})
	}
}

// requireRepaired sees that the file is whole, and that a second repair does nothing. With
// equal it starts the node: the peer must end with its rows.
func requireRepaired(t *testing.T, cfg Config, peer *node, equal bool) {
	t.Helper()
	if r := checked(t, cfg.Path); !r.Clean() {
		t.Errorf("after the repair:\n%s", found(r))
	}
	if again := repaired(t, cfg.Path); again != (Repaired{}) {
		t.Errorf("a second repair did %+v", again)
	}
	if !equal {
		return // some came again at the rowid of before: see Repair
	}
	n := start(t, cfg)
	peer.pull(n)
	requireEqual(t, n, peer)
}

// TestRepairOfForgottenRows: clocks that are gone with their rows, or of rows that were
// deleted, come back from the log.
func TestRepairOfForgottenRows(t *testing.T) {
	t.Parallel()
	for _, sql := range []string{
		"UPDATE __patina_clk_flag SET m = x'ff' WHERE rid = 1; DELETE FROM flag WHERE name = 'f'",
		"DELETE FROM __patina_clk_flag WHERE rid = 1; DELETE FROM flag WHERE name = 'f'",
		"DELETE FROM __patina_clk_item WHERE id = 1; DELETE FROM item WHERE id = 1",
		"DELETE FROM __patina_clk_service; DELETE FROM service",
		"DELETE FROM __patina_tomb_flag; DELETE FROM __patina_tomb_edge",
		"DELETE FROM __patina_clk_item WHERE id = 3",
		"DELETE FROM __patina_clk_edge; DELETE FROM __patina_tomb_edge; DELETE FROM edge",
	} {
		cfg := lived(t)
		n := start(t, cfg)
		peer := start(t, Config{Schema: cfg.Schema})
		peer.pull(n)
		n.stop()
		outside(t, cfg.Path, sql)
		repaired(t, cfg.Path)
		requireRepaired(t, cfg, peer, true)
	}
}

// TestStartKeepsClocksWithoutRow, so that Check and the sums tell of them, and Repair
// makes deletions of them.
func TestStartKeepsClocksWithoutRow(t *testing.T) {
	t.Parallel()
	for _, sql := range []string{"DROP TABLE flag; CREATE TABLE flag(name TEXT NOT NULL PRIMARY KEY, value TEXT)", "DELETE FROM flag WHERE name = 'g'; " + renumber} {
		cfg := lived(t)
		n := start(t, cfg)
		peer := start(t, Config{Schema: cfg.Schema})
		peer.pull(n)
		n.stop()
		outside(t, cfg.Path, sql)
		n = start(t, cfg)
		n.tampered, n.damaged = true, true
		n.exec("INSERT INTO flag VALUES('later', 1)")
		peer.pull(n)
		if n.Sums().Tables["flag"] == peer.Sums().Tables["flag"] {
			t.Error("the sums say nothing")
		}
		n.stop()
		if r := checked(t, cfg.Path); r.Clean() || r.Findings[0].What != ClockWithoutRow {
			t.Errorf("found\n%s", found(r))
		}
		if done := repaired(t, cfg.Path); done.Deleted == 0 {
			t.Errorf("%+v", done)
		}
		requireRepaired(t, cfg, peer, true)
	}
}

// TestStartWithDamagedClocks of rows that were renumbered, and with damaged sums.
func TestStartWithDamagedClocks(t *testing.T) {
	t.Parallel()
	cfg := lived(t)
	outside(t, cfg.Path, "UPDATE __patina_clk_flag SET m = x'0102' WHERE rid = 1; UPDATE __patina_sum SET sum = x'00' WHERE name = 'edge'; "+renumber)
	n := start(t, cfg)
	n.tampered, n.damaged = true, true
	n.stop()
	if got := found(checked(t, cfg.Path)); got == "" {
		t.Error("nothing was found")
	}
	repaired(t, cfg.Path)
	if r := checked(t, cfg.Path); !r.Clean() {
		t.Errorf("after the repair:\n%s", found(r))
	}
}
