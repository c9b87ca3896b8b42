package store

import (
	"path/filepath"
	"testing"

	"github.com/patinadb/patina/changeset/sqlite"
)

// dump makes a new file of what the outside program's .dump says of an old one:
// the definitions, and the rows without their rowids, in order.
func dump(t *testing.T, from, to string) {
	t.Helper()
	c, err := sqlite.Open(sqlite.Config{Path: to, Create: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetMode(sqlite.ModeInternal)
	var statements []string
	run := func(sql string) {
		if err := c.Exec(sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	run("ATTACH '" + from + "' AS old")
	err = c.Each("SELECT type, name, sql FROM old.sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'", nil, func(s *sqlite.Stmt) error {
		name := quoteIdent(string(s.Column(1).Bytes()))
		statements = append(statements, string(s.Column(2).Bytes()))
		if string(s.Column(0).Bytes()) == "table" {
			statements = append(statements, "INSERT INTO main."+name+" SELECT * FROM old."+name+" LIMIT -1") // without LIMIT it copies pages, rowids and all
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, sql := range statements {
		run(sql)
	}
	run("DETACH old")
}

// TestClocksOutliveRenumberedRowids: what an outside program does may give rows
// of tables without an integer key other rowids. Their clocks stay theirs.
func TestClocksOutliveRenumberedRowids(t *testing.T) {
	t.Parallel()
	for desc, renumber := range map[string]func(t *testing.T, n *node) *node{
		"vacuum": func(t *testing.T, n *node) *node {
			outside(t, n.cfg.Path, "VACUUM")
			return n
		},
		"vacuum while closed": func(t *testing.T, n *node) *node { return reopened(t, n, n.cfg.Path, "VACUUM") },
		"vacuum into": func(t *testing.T, n *node) *node {
			path := filepath.Join(t.TempDir(), "other.db")
			return reopened(t, n, path, "VACUUM INTO '"+path+"'")
		},
		"dump": func(t *testing.T, n *node) *node {
			path := filepath.Join(t.TempDir(), "other.db")
			dump(t, n.cfg.Path, path)
			return reopened(t, n, path, "SELECT 1")
		},
	} {
		for _, kind := range keyKinds {
			t.Run(desc+", "+kind.name, func(t *testing.T) {
				t.Parallel()
				schema := schemaOf(kind.spell("t", kind.table) + ";")
				n := start(t, Config{Schema: schema})
				run := func(sql string) { n.exec(kind.spell("t", sql)) }
				run(baseRows)
				run("INSERT INTO T(K, b) VALUES(#4, 4), (#5, 5), (#6, 6), (#7, 7)")
				run("DELETE FROM T WHERE b IN (1, 3, 4)") // leaves holes before the others
				run("UPDATE T SET a = 'x' WHERE b = 5")
				clocks := n.clocks()
				n = renumber(t, n)
				if desc == "dump" && kind.table == keyKinds[1].table {
					if got := n.query("SELECT group_concat(rowid) FROM t"); got != "'1,2,3,4'" {
						t.Fatalf("rowids %s: nothing was renumbered", got)
					}
				}
				if after := n.clocks(); after != clocks {
					t.Errorf("clocks\n%s\nwere\n%s", after, clocks)
				}
				run("UPDATE T SET c = 9 WHERE b IN (2, 5)")
				run("DELETE FROM T WHERE b = 6")
				run("INSERT INTO T(K, b) VALUES(#1, 1), (#9, 9)")
				checkClocks(t, n)
				replica := start(t, Config{Schema: schema})
				replica.pull(n)
				requireEqual(t, n, replica)
			})
		}
	}
}

// reopened stops a store, lets an outside program run sql on its file, and opens
// the file at path.
func reopened(t *testing.T, n *node, path, sql string) *node {
	t.Helper()
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	outside(t, n.cfg.Path, sql)
	return start(t, Config{Path: path, Schema: n.cfg.Schema})
}
