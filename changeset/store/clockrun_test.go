package store

import (
	"slices"
	"strings"
	"testing"

	"github.com/patinadb/patina/changeset/sqlite"
)

// TestRunsOfClocks: clocks of neighbours are moved together, and what holds one of
// them up holds up no other: a row without a clock, the clock of another row, a gap.
func TestRunsOfClocks(t *testing.T) {
	t.Parallel()
	fill := []string{
		"INSERT INTO item(id) VALUES(1), (2), (3), (4), (6), (7)",
		"INSERT INTO flag VALUES('a', 'x'), ('b', 'x'), ('c', 'x')",
	}
	for _, test := range []struct{ desc, harm, sql, want string }{
		{"update", "", "UPDATE item SET a = 'y'", "item@1 1 a='y'\nitem@1 2 a='y'\nitem@1 3 a='y'\nitem@1 4 a='y'\nitem@1 6 a='y'\nitem@1 7 a='y'"},
		{"delete", "", "DELETE FROM item WHERE id > 1", "item@2 2\nitem@2 3\nitem@2 4\nitem@2 6\nitem@2 7"},
		{"update where a clock lacks", "DELETE FROM __patina_clk_item WHERE id = 2", "UPDATE item SET a = 'y' WHERE id < 4",
			"item@1 1 a='y'\nitem@1 2 a='y' b=7 c=NULL\nitem@1 3 a='y'"},
		{"update where all clocks lack", "DELETE FROM __patina_clk_item", "UPDATE item SET a = 'y' WHERE id < 3",
			"item@1 1 a='y' b=7 c=NULL\nitem@1 2 a='y' b=7 c=NULL"},
		{"delete where clocks lack at the ends", "DELETE FROM __patina_clk_item WHERE id IN (1, 4)", "DELETE FROM item WHERE id < 5",
			"item@2 1\nitem@2 2\nitem@2 3\nitem@2 4"},
		{"update and delete of one key after another's", "", "UPDATE item SET a = 'y' WHERE id IN (1, 3); DELETE FROM item WHERE id = 2; INSERT INTO item(id) VALUES(5)",
			"item@1 1 a='y'\nitem@2 2\nitem@1 3 a='y'\nitem@1 5 a=NULL b=7 c=NULL"},
		{"update of rows that came back outside", "UPDATE __patina_clk_item SET m = (SELECT m FROM __patina_clk_item WHERE id = 9) WHERE id = 2", "UPDATE item SET a = 'y' WHERE id < 4",
			"item@1 1 a='y'\nitem@3 2 a='y' b=7 c=NULL\nitem@1 3 a='y'"},
		{"update by rowid", "", "UPDATE flag SET value = 'y'", "flag@1 'a' value='y'\nflag@1 'b' value='y'\nflag@1 'c' value='y'"},
		{"update by rowid where a clock is another row's", "UPDATE __patina_clk_flag SET m = (SELECT m FROM __patina_clk_flag WHERE rid = 1) WHERE rid = 2", "UPDATE flag SET value = 'y'",
			"flag@1 'a' value='y'\nflag@1 'b' value='y'\nflag@1 'c' value='y'"},
	} {
		t.Run(test.desc, func(t *testing.T) {
			t.Parallel()
			n := start(t, Config{Schema: schemaOf(itemsSchema)})
			n.exec(fill...)
			n.exec("INSERT INTO item(id) VALUES(9)")
			n.exec("DELETE FROM item WHERE id = 9")
			if test.harm != "" {
				n.tampered = true
				outside(t, n.cfg.Path, test.harm)
			}
			id := n.exec(strings.Split(test.sql, "; ")...)
			sealed, err := n.Changeset(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			got, want := sortedStrings(strings.Split(describe(t, sealed), "\n")), sortedStrings(strings.Split(test.want, "\n"))
			if !slices.Equal(got, want) {
				t.Errorf("changes\n%s\nnot\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
			if test.harm == "" {
				checkClocks(t, n)
			}
			other := start(t, Config{Schema: schemaOf(itemsSchema)})
			other.pull(n)
			if a, b := other.clocks(), n.clocks(); test.harm == "" && a != b {
				t.Errorf("clocks\n%s\nand\n%s", a, b)
			}
		})
	}
}

// TestDamagedClockOfARun fails its request with the reason, and nothing is done.
func TestDamagedClockOfARun(t *testing.T) {
	t.Parallel()
	n := start(t, Config{Schema: schemaOf(itemsSchema)})
	n.tampered, n.damaged = true, true
	n.exec("INSERT INTO item(id) VALUES(1), (2), (3)")
	outside(t, n.cfg.Path, "UPDATE __patina_clk_item SET m = x'ff' WHERE id = 2")
	stored := "SELECT group_concat(id || ' ' || hex(m)) FROM __patina_clk_item"
	before := n.internal(stored)
	if got := n.refused("UPDATE item SET a = 'y'"); !strings.Contains(got, "clock of a row of item") || !strings.Contains(got, errDamaged.Error()) {
		t.Errorf("%q", got)
	}
	if got := n.internal(stored); got != before {
		t.Errorf("clocks %s, before %s", got, before)
	}
	n.onWriter(func(w *writer) {
		w.conn.SetMode(sqlite.ModeInternal)
		if err := w.conn.Exec("SELECT " + moveFunction + "(1, x'00')"); err == nil {
			t.Error("clocks move outside a run")
		}
	})
}
