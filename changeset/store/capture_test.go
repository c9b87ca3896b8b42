package store

import (
	"fmt"
	"strings"
	"testing"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/sqlite"
)

const captureSchema = `CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b INTEGER NOT NULL DEFAULT 7, c REAL);
CREATE TABLE s(k TEXT NOT NULL PRIMARY KEY, v);
CREATE TABLE w(x INTEGER NOT NULL, y TEXT NOT NULL, v BLOB, PRIMARY KEY(x, y)) WITHOUT ROWID;
CREATE TABLE g(id INTEGER PRIMARY KEY, n INTEGER, twice INTEGER AS (n * 2) VIRTUAL, thrice INTEGER AS (n * 3) STORED);
CREATE TABLE r(k REAL NOT NULL PRIMARY KEY, v NUMERIC);
CREATE TABLE bk(k BLOB NOT NULL PRIMARY KEY, v);
CREATE TABLE only(a TEXT NOT NULL, b TEXT NOT NULL, PRIMARY KEY(a, b));
CREATE TABLE st(id INTEGER PRIMARY KEY, n INT, x ANY) STRICT;`

// describe prints a changeset's changes, one a line: table, causal length, key,
// columns with values.
func describe(t *testing.T, s changeset.Sealed) string {
	t.Helper()
	c, err := s.Decode()
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, tc := range c.Tables {
		for _, ch := range tc.Changes {
			line := fmt.Sprintf("%s@%d %s", tc.Name, ch.CausalLength, join(ch.Key))
			n := 0
			for i := range ch.Columns.All {
				line += fmt.Sprintf(" %s=%v", tc.Columns[i], ch.Values[n])
				n++
			}
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n")
}

func join(values []sqlite.Value) string {
	var out []string
	for _, v := range values {
		out = append(out, v.String())
	}
	return strings.Join(out, ",")
}

func TestCaptureOfEachStatementKind(t *testing.T) {
	const before = "INSERT INTO t(id, a, b, c) VALUES(1, 'x', 1, 0.5), (2, 'y', 2, NULL); INSERT INTO s VALUES('p', 1), ('q', 2); INSERT INTO w VALUES(1, 'u', x'00'), (2, 'v', NULL)"
	for _, test := range []struct {
		desc, sql, want string // want "" means no version
	}{
		{"insert", "INSERT INTO t(id, a) VALUES(3, 'z')", "t@1 3 a='z' b=7 c=NULL"},
		{"insert two", "INSERT INTO s VALUES('b', 1), ('a', NULL)", "s@1 'a' v=NULL\ns@1 'b' v=1"},
		{"replace", "REPLACE INTO t(id, a, b) VALUES(1, 'x', 5)", "t@1 1 b=5 c=NULL"},
		{"replace, text key", "REPLACE INTO s VALUES('p', 9)", "s@1 'p' v=9"},
		{"replace with equal values", "REPLACE INTO s VALUES('p', 1)", ""},
		{"ignore after one", "INSERT OR IGNORE INTO s VALUES('n', 0), ('p', 5)", "s@1 'n' v=0"},
		{"upsert updates", "INSERT INTO s VALUES('p', 5) ON CONFLICT DO UPDATE SET v = excluded.v", "s@1 'p' v=5"},
		{"upsert does nothing", "INSERT INTO s VALUES('p', 5) ON CONFLICT DO NOTHING", ""},
		{"no-op update", "UPDATE t SET a = a, b = b", ""},
		{"update", "UPDATE t SET b = b + 1 WHERE id = 2", "t@1 2 b=3"},
		{"update of an integer key", "UPDATE t SET id = 10 WHERE id = 1", "t@1 10 a='x' b=1 c=0.5\nt@2 1"},
		{"update of a text key", "UPDATE s SET k = 'z' WHERE k = 'p'", "s@1 'z' v=1\ns@2 'p'"},
		{"update of a composite key", "UPDATE w SET y = 'n' WHERE x = 2", "w@1 2,'n' v=NULL\nw@2 2,'v'"},
		{"swap of two keys", "UPDATE t SET id = -id; UPDATE t SET id = 3 + id", "t@1 1 a='y' b=2 c=NULL\nt@1 2 a='x' b=1 c=0.5"},
		{"delete", "DELETE FROM t WHERE id = 1", "t@2 1"},
		{"delete all", "DELETE FROM w", "w@2 1,'u'\nw@2 2,'v'"},
		{"insert and delete", "INSERT INTO s VALUES('n', 1); DELETE FROM s WHERE k = 'n'", ""},
		{"delete and insert", "DELETE FROM s WHERE k = 'q'; INSERT INTO s VALUES('q', 3)", "s@1 'q' v=3"},
		{"there and back", "UPDATE s SET v = 5 WHERE k = 'p'; UPDATE s SET v = 1 WHERE k = 'p'", ""},
		{"insert then update", "INSERT INTO s VALUES('n', 1); UPDATE s SET v = 2 WHERE k = 'n'", "s@1 'n' v=2"},
		{"update then delete", "UPDATE s SET v = 5 WHERE k = 'p'; DELETE FROM s WHERE k = 'p'", "s@2 'p'"},
		{"returning", "INSERT INTO s VALUES('n', 1) RETURNING v", "s@1 'n' v=1"},
		{"update from", "UPDATE t SET a = s.k FROM s WHERE s.v = t.id", "t@1 1 a='p'\nt@1 2 a='q'"},
		{"insert from select", "INSERT INTO s SELECT 'c' || k, v FROM s WHERE v = 1", "s@1 'cp' v=1"},
		{"recursive cte", "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2) INSERT INTO s SELECT 'n' || i, i FROM n", "s@1 'n1' v=1\ns@1 'n2' v=2"},
		{"generated columns stay out", "INSERT INTO g(id, n) VALUES(1, 4); UPDATE g SET n = 5", "g@1 1 n=5"},
		{"affinity", "INSERT INTO t(id, a, b, c) VALUES('3', 4, '5', 6)", "t@1 3 a='4' b=5 c=6.0"},
		{"negative zero in a key", "INSERT INTO r VALUES(-0.0, -0.0)", "r@1 0.0 v=0"},
		{"infinities and nan", "INSERT INTO t(id, c) VALUES(3, 9e999), (4, -9e999), (5, 9e999 - 9e999)", "t@1 3 a=NULL b=7 c=9e999\nt@1 4 a=NULL b=7 c=-9e999\nt@1 5 a=NULL b=7 c=NULL"},
		{"integer edges", "INSERT INTO t(id, b) VALUES(9223372036854775807, -9223372036854775808)", "t@1 9223372036854775807 a=NULL b=-9223372036854775808 c=NULL"},
		{"empty blob and text", "INSERT INTO s VALUES('', x'')", "s@1 '' v=x''"},
		{"row of nothing but its key", "INSERT INTO only VALUES('a', 'b')", "only@1 'a','b'"},
		{"strict", "INSERT INTO st VALUES(1, 2, 'x')", "st@1 1 n=2 x='x'"},
		{"blob key", "INSERT INTO bk VALUES(x'01', 1)", "bk@1 x'01' v=1"},
	} {
		t.Run(test.desc, func(t *testing.T) {
			n := start(t, Config{Schema: schemaOf(captureSchema)})
			first := n.exec(before)
			id := n.exec(test.sql)
			if test.want == "" {
				if id.Version != 0 || n.Vector().Entry(n.Actor()).Applied.Last() != first.Version {
					t.Fatalf("version %d, want none", id.Version)
				}
				return
			}
			s, err := n.Changeset(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			if got := describe(t, s); got != test.want {
				t.Errorf("changes\n%s\nwant\n%s", got, test.want)
			}
			m := start(t, Config{Schema: schemaOf(captureSchema)})
			m.pull(n)
			requireEqual(t, n, m)
		})
	}
}

func TestFailingStatementsLeaveNothing(t *testing.T) {
	for _, test := range []struct{ desc, sql, want string }{
		{"constraint", "INSERT INTO s VALUES('n', 1), ('p', 2)", "UNIQUE constraint failed: s.k"},
		{"or fail keeps rows in sqlite, not here", "INSERT OR FAIL INTO s VALUES('n', 1), ('p', 2)", "UNIQUE constraint failed: s.k"},
		{"or rollback", "INSERT OR ROLLBACK INTO s VALUES('n', 1), ('p', 2)", "UNIQUE constraint failed: s.k"},
		{"null in a text key", "INSERT INTO nullable VALUES(NULL, 1)", "NOT NULL constraint failed: nullable.k"},
		{"text in a blob key", "INSERT INTO bk VALUES('x', 1)", "key column bk.k holds only blobs, not text"},
		{"second of two texts", "INSERT INTO s VALUES('n', 1); INSERT INTO s VALUES('p', 2)", "UNIQUE constraint failed: s.k"},
	} {
		t.Run(test.desc, func(t *testing.T) {
			n := start(t, Config{Schema: schemaOf(captureSchema + "CREATE TABLE nullable(k TEXT PRIMARY KEY, v);")})
			n.exec("INSERT INTO s VALUES('p', 1)")
			before, clocks := n.content(), n.clocks()
			if got := n.refused(test.sql); got != test.want {
				t.Errorf("error %q, want %q", got, test.want)
			}
			if after := n.content(); after != before {
				t.Errorf("content changed to\n%s", after)
			}
			if after := n.clocks(); after != clocks {
				t.Errorf("clocks changed to\n%s", after)
			}
		})
	}
}
