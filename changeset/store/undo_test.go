package store

import (
	"testing"

	"github.com/patinadb/patina/changeset/sqlite"
)

// TestFailingStatementLeavesNothingInItsGroup: a request of one statement has no
// savepoint where SQLite or we can undo it otherwise. Each of these fails after it
// has written a row.
func TestFailingStatementLeavesNothingInItsGroup(t *testing.T) {
	t.Parallel()
	schema := schemaOf(`CREATE TABLE item(id INTEGER PRIMARY KEY, a TEXT);
		CREATE TABLE plain(id INTEGER PRIMARY KEY, a TEXT);
		CREATE TABLE flag(name TEXT PRIMARY KEY, v TEXT);
		CREATE TABLE strict(id INTEGER PRIMARY KEY, v TEXT NOT NULL ON CONFLICT FAIL);`)
	for _, test := range []struct{ desc, sql string }{
		{"abort", "INSERT INTO plain VALUES(50, 'x'), (1, 'x')"},
		{"or fail", "INSERT OR FAIL INTO plain VALUES(50, 'x'), (1, 'x')"},
		{"conflict clause", "INSERT INTO strict VALUES(50, 'x'), (51, NULL)"},
		{"trigger that fails", "INSERT INTO item VALUES(50, 'x'), (60, 'boom')"},
		{"key that we refuse", "INSERT INTO flag VALUES('ok', 'x'), (NULL, 'x')"},
		{"returning too much", "INSERT INTO plain WITH RECURSIVE n(i) AS (SELECT 50 UNION ALL SELECT i + 1 FROM n LIMIT 200) SELECT i, 'x' FROM n RETURNING zeroblob(300000)"},
	} {
		t.Run(test.desc, func(t *testing.T) {
			n := start(t, Config{Schema: schema})
			outside(t, n.cfg.Path, "CREATE TRIGGER fails AFTER INSERT ON item WHEN new.a = 'boom' BEGIN SELECT RAISE(FAIL, 'boom'); END")
			n.exec("INSERT INTO item VALUES(1, 'x')")
			n.exec("INSERT INTO plain VALUES(1, 'x')")
			bad := []sqlite.Statement{text(test.sql)}
			good := func(id int) []sqlite.Statement {
				return []sqlite.Statement{text("INSERT INTO strict VALUES(?, 'x')", id)}
			}
			// First alone, then behind another, then before another.
			for i, out := range n.together(bad, good(1), bad, good(2), bad) {
				if failed := out.failure() != ""; failed != (i%2 == 0) {
					t.Errorf("request %d: %q", i, out.failure())
				}
			}
			if got := n.query("SELECT (SELECT count(*) FROM item), (SELECT count(*) FROM plain), (SELECT count(*) FROM flag), (SELECT count(*) FROM strict)"); got != "1|1|0|2" {
				t.Errorf("rows of item, plain, flag, strict: %s", got)
			}
			checkClocks(t, n)
		})
	}
}

// TestFailingRequestKeepsWhatItsTransactionLearned: the first request of a group
// is undone with the whole transaction, but not where that was the one which gave
// renumbered rows their clocks back.
func TestFailingRequestKeepsWhatItsTransactionLearned(t *testing.T) {
	t.Parallel()
	n := start(t, Config{Schema: schemaOf("CREATE TABLE flag(name TEXT PRIMARY KEY, v TEXT);")})
	n.exec("INSERT INTO flag VALUES('a', 'x'), ('b', 'x'), ('c', 'x')")
	n.exec("DELETE FROM flag WHERE name = 'a'")
	before := n.clocks()
	if err := n.do(t.Context(), func() { outside(t, n.cfg.Path, "UPDATE flag SET rowid = rowid + 10; CREATE VIEW moved AS SELECT 1") }); err != nil {
		t.Fatal(err)
	}
	results, _, err := n.Transact(t.Context(), []sqlite.Statement{text("INSERT INTO flag VALUES('d', 'x'), ('b', 'x')")})
	if err != nil || results[0].Err == nil {
		t.Fatalf("error %v, results %+v", err, results)
	}
	if after := n.clocks(); after != before {
		t.Errorf("clocks\n%s\nwere\n%s", after, before)
	}
}
