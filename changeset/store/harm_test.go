package store

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/patinadb/patina/changeset"
)

// TestIndexOfAnotherProcessIsDroppedWhereItKeepsChangesOut: exactly the indexes
// that make apply fail go, with an alarm; nothing else parks for it.
func TestIndexOfAnotherProcessIsDroppedWhereItKeepsChangesOut(t *testing.T) {
	t.Parallel()
	const unfit = 2 // which changeset has a NULL for a NOT NULL column
	for _, c := range []struct {
		desc, outside string
		unfit         bool
		left          string // indexes
		dropped       uint64
		rows, parked  int
	}{
		{"unique", "CREATE UNIQUE INDEX x ON item(a)", false, "", 1, 4, 0},
		{"unique, with another column that does not help", "CREATE UNIQUE INDEX x ON item(a, b)", false, "", 1, 4, 0},
		{"partial", "CREATE UNIQUE INDEX x ON item(a) WHERE id > 0", false, "", 1, 4, 0},
		{"partial, elsewhere", "CREATE UNIQUE INDEX x ON item(a) WHERE id > 100", false, "'x'", 0, 4, 0},
		{"unique expression", "CREATE UNIQUE INDEX x ON item(lower(a))", false, "", 1, 4, 0},
		{"expression that fails", "CREATE INDEX x ON item(json_extract(a, '$.x'))", false, "", 1, 4, 0},
		{"condition that fails", "CREATE INDEX x ON item(b) WHERE abs(b - 2 - 9223372036854775807) > 0", false, "", 1, 4, 0},
		{"two that each suffice", "CREATE UNIQUE INDEX x ON item(a); CREATE UNIQUE INDEX y ON item(b)", false, "", 2, 4, 0},
		{"one of two", "CREATE UNIQUE INDEX x ON item(a); CREATE UNIQUE INDEX y ON item(c)", false, "'y'", 1, 4, 0},
		{"one at fault and a plain one", "CREATE UNIQUE INDEX x ON item(a); CREATE INDEX p ON item(a)", false, "'p'", 1, 4, 0},
		{"of another table", "CREATE UNIQUE INDEX x ON flag(value)", false, "'x'", 0, 4, 0},
		{"skew is not an index's fault", "CREATE UNIQUE INDEX y ON item(c)", true, "'y'", 0, 3, 1},
		{"skew and an index", "CREATE UNIQUE INDEX x ON item(a)", true, "", 1, 3, 1},
	} {
		t.Run(c.desc, func(t *testing.T) {
			t.Parallel()
			var log bytes.Buffer
			n := start(t, Config{Schema: schemaOf(itemsSchema), Log: slog.New(slog.NewTextHandler(&log, nil))})
			outside(t, n.cfg.Path, c.outside)
			actor := changeset.NewActorID()
			var list [][]changeset.TableChanges
			for i := range 4 {
				var b any = 1
				if c.unfit && i == unfit {
					b = nil
				}
				list = append(list, row("item", 1, i+1, "a", "same", "b", b, "c", float64(i)))
			}
			apply(t, n, sealAll(t, actor, testTime(), list...)...)
			if got := n.query("SELECT group_concat(name) FROM (SELECT name FROM sqlite_schema WHERE type = 'index' AND name NOT LIKE 'sqlite%' AND name NOT LIKE '\\_%' ESCAPE '\\' ORDER BY name)"); got != c.left && (got != "NULL" || c.left != "") {
				t.Errorf("indexes %s, want %s", got, c.left)
			}
			if got := strings.Count(n.query("SELECT id FROM item"), "\n") + 1; got != c.rows || len(n.Parked()) != c.parked {
				t.Errorf("%d rows, want %d; parked %+v", got, c.rows, n.Parked())
			}
			if n.IndexesDropped() != c.dropped || strings.Count(log.String(), "level=ERROR") != int(c.dropped) {
				t.Errorf("%d dropped, want %d; log %s", n.IndexesDropped(), c.dropped, &log)
			}
			checkClocks(t, n)
		})
	}
}

// TestConstraintOfATableMadeAnewStays: only CREATE INDEX makes what is dropped.
func TestConstraintOfATableMadeAnewStays(t *testing.T) {
	t.Parallel()
	n := start(t, Config{Schema: schemaOf("CREATE TABLE item(id INTEGER PRIMARY KEY, a TEXT, b INTEGER CHECK(b < 5));")})
	outside(t, n.cfg.Path, "DROP TABLE item; CREATE TABLE item(id INTEGER PRIMARY KEY, a TEXT NOT NULL, b INTEGER); CREATE UNIQUE INDEX x ON item(b)")
	apply(t, n, sealAll(t, changeset.NewActorID(), testTime(), row("item", 1, 1, "a", nil, "b", 1))...)
	if p := n.Parked(); len(p) != 1 || n.IndexesDropped() != 0 || !strings.Contains(p[0].Reason, "NOT NULL") {
		t.Errorf("parked %+v, %d dropped", p, n.IndexesDropped())
	}
}
