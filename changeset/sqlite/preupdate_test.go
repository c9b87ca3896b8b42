package sqlite

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/patinadb/patina/changeset"
)

// record appends what the hook sees: "U t 1>1 [1 'x'] [1 'y']". A column that
// cannot be read is "!".
func record(c *Conn, out *[]string) {
	row := func(n int, column func(int) (Value, error)) string {
		var b []string
		for i := range n {
			v, err := column(i)
			switch {
			case errors.Is(err, ErrRange):
				b = append(b, "!")
			case err != nil:
				b = append(b, err.Error())
			case v.Kind() == changeset.Real:
				b = append(b, fmt.Sprintf("%.1f", v.Real()))
			default:
				b = append(b, v.String())
			}
		}
		return " [" + strings.Join(b, " ") + "]"
	}
	c.SetPreupdate(func(p *Preupdate) {
		s := fmt.Sprintf("%.1s %s %d>%d", p.Op(), p.Table(), p.OldRowid(), p.NewRowid())
		if p.Op() != OpInsert {
			s += row(p.Count(), p.Old)
		}
		if p.Op() != OpDelete {
			s += row(p.Count(), p.New)
		}
		if d := p.Depth(); d > 0 {
			s += fmt.Sprintf(" depth %d", d)
		}
		*out = append(*out, s)
	})
}

func TestPreupdate(t *testing.T) {
	for _, tt := range []struct{ desc, schema, sql, want string }{
		{"insert", "t(id INTEGER PRIMARY KEY, a)", "INSERT INTO t VALUES(5, 'x')", "I t 5>5 [5 'x']"},
		{"two rows", "t(id INTEGER PRIMARY KEY, a)", "INSERT INTO t(a) VALUES(1), (2)", "I t 1>1 [1 1]; I t 2>2 [2 2]"},
		{"update", "t(id INTEGER PRIMARY KEY, a); INSERT INTO t VALUES(1, 'x')", "UPDATE t SET a = 'y'", "U t 1>1 [1 'x'] [1 'y']"},
		{"update of the key", "t(id INTEGER PRIMARY KEY, a); INSERT INTO t VALUES(1, 'x')", "UPDATE t SET id = 9", "U t 1>9 [1 'x'] [9 'x']"},
		{"delete", "t(id INTEGER PRIMARY KEY, a); INSERT INTO t VALUES(1, 'x')", "DELETE FROM t WHERE id = 1", "D t 1>1 [1 'x']"},
		{"delete all", "t(id INTEGER PRIMARY KEY, a); INSERT INTO t VALUES(1, 'x'), (2, 'y')", "DELETE FROM t", "D t 1>1 [1 'x']; D t 2>2 [2 'y']"},
		{"replace", "t(id INTEGER PRIMARY KEY, a); INSERT INTO t VALUES(1, 'x')", "REPLACE INTO t VALUES(1, 'y')", "D t 1>1 [1 'x']; I t 1>1 [1 'y']"},
		{"replace of two", "t(id INTEGER PRIMARY KEY, a UNIQUE); INSERT INTO t VALUES(1, 'x'), (2, 'y')", "REPLACE INTO t VALUES(1, 'y')", "D t 1>1 [1 'x']; D t 2>2 [2 'y']; I t 1>1 [1 'y']"},
		{"update or replace", "t(id INTEGER PRIMARY KEY, a UNIQUE); INSERT INTO t VALUES(1, 'x'), (2, 'y')", "UPDATE OR REPLACE t SET a = 'y' WHERE id = 1", "D t 2>2 [2 'y']; U t 1>1 [1 'x'] [1 'y']"},
		{"upsert", "t(id INTEGER PRIMARY KEY, a); INSERT INTO t VALUES(1, 'x')", "INSERT INTO t VALUES(1, 'y') ON CONFLICT DO UPDATE SET a = excluded.a", "U t 1>1 [1 'x'] [1 'y']"},
		{"insert from select", "t(id INTEGER PRIMARY KEY, a); CREATE TABLE s(id INTEGER PRIMARY KEY, a); INSERT INTO s VALUES(1, 2)", "INSERT INTO t SELECT * FROM s", "I t 1>1 [1 2]"},
		{"without rowid insert", "t(b, k PRIMARY KEY) WITHOUT ROWID", "INSERT INTO t VALUES(1, 'k')", "I t 0>0 [1 'k']"},
		{"without rowid update", "t(b, k PRIMARY KEY) WITHOUT ROWID; INSERT INTO t VALUES(1, 'k')", "UPDATE t SET b = 2", "U t 0>0 [1 'k'] [2 'k']"},
		{"without rowid key update", "t(b, k PRIMARY KEY) WITHOUT ROWID; INSERT INTO t VALUES(1, 'k')", "UPDATE t SET k = 'l'", "U t 0>0 [1 'k'] [1 'l']"},
		{"without rowid delete all", "t(b, k PRIMARY KEY) WITHOUT ROWID; INSERT INTO t VALUES(1, 'k')", "DELETE FROM t", "D t 0>0 [1 'k']"},
		{"virtual column insert", "t(id INTEGER PRIMARY KEY, v AS (a+1), a, s AS (a+2) STORED)", "INSERT INTO t(id, a) VALUES(1, 10)", "I t 1>1 [1 ! 10 12]"},
		{"virtual column update", "t(id INTEGER PRIMARY KEY, v AS (a+1), a, s AS (a+2) STORED); INSERT INTO t(id, a) VALUES(1, 10)", "UPDATE t SET a = 20", "U t 1>1 [1 ! 10 12] [1 ! 20 22]"},
		{"virtual column delete", "t(id INTEGER PRIMARY KEY, v AS (a+1), a); INSERT INTO t(id, a) VALUES(1, 10)", "DELETE FROM t", "D t 1>1 [1 ! 10]"},
		{"added column", "t(id INTEGER PRIMARY KEY, a); INSERT INTO t VALUES(1, 'x'); ALTER TABLE t ADD COLUMN n INTEGER DEFAULT 5; ALTER TABLE t ADD COLUMN r REAL DEFAULT 3; ALTER TABLE t ADD COLUMN s TEXT DEFAULT 7; ALTER TABLE t ADD COLUMN z",
			"DELETE FROM t", "D t 1>1 [1 'x' 5 3.0 '7' NULL]"},
		{"affinity", "t(id INTEGER PRIMARY KEY, r REAL, i INTEGER, s TEXT)", "INSERT INTO t VALUES('3', 5, '7', 1.5)", "I t 3>3 [3 5.0 7 '1.5']"},
		{"affinity on update", "t(id INTEGER PRIMARY KEY, r REAL, i INTEGER, s TEXT); INSERT INTO t VALUES(1, 1, 1, 1)", "UPDATE t SET r = 8, i = '9', s = 10", "U t 1>1 [1 1.0 1 '1'] [1 8.0 9 '10']"},
		{"trigger", "t(id INTEGER PRIMARY KEY, a); CREATE TABLE l(w); CREATE TRIGGER tr AFTER INSERT ON t BEGIN INSERT INTO l VALUES(NEW.a); END", "INSERT INTO t VALUES(1, 2)", "I t 1>1 [1 2]; I l 1>1 [2] depth 1"},
		{"failed statement", "t(id INTEGER PRIMARY KEY, a NOT NULL)", "INSERT OR IGNORE INTO t VALUES(1, 2), (2, NULL), (3, 4)", "I t 1>1 [1 2]; I t 3>3 [3 4]"},
		{"text with NUL", "t(id INTEGER PRIMARY KEY, a)", "INSERT INTO t VALUES(1, 'a' || char(0) || 'b')", "I t 1>1 [1 'a\x00b']"},
		{"empty blob", "t(id INTEGER PRIMARY KEY, a)", "INSERT INTO t VALUES(1, x'')", "I t 1>1 [1 x'']"},
		{"zeroblob", "t(id INTEGER PRIMARY KEY, a)", "INSERT INTO t VALUES(1, zeroblob(3))", "I t 1>1 [1 x'000000']"},
		{"temporary table", "t(id INTEGER PRIMARY KEY, a); CREATE TEMP TABLE u(a)", "INSERT INTO u VALUES(1)", ""},
	} {
		c := openMemory(t, "CREATE TABLE "+tt.schema)
		var got []string
		record(c, &got)
		if err := c.Exec(tt.sql); err != nil {
			t.Errorf("%s: %v", tt.desc, err)
		}
		if g := strings.Join(got, "; "); g != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", tt.desc, g, tt.want)
		}
	}
}

// A DELETE without WHERE that was compiled without a hook clears the table as a
// whole and tells nobody.
func TestPreupdateReachesEarlierStatements(t *testing.T) {
	c := openMemory(t, "CREATE TABLE t(id INTEGER PRIMARY KEY); INSERT INTO t VALUES(1), (2)")
	s, _, err := c.Prepare("DELETE FROM t")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Finalize()
	var got []string
	record(c, &got)
	if err := s.Run(); err != nil {
		t.Fatal(err)
	}
	want(t, strings.Join(got, "; "), "D t 1>1 [1]; D t 2>2 [2]")
}

func TestPreupdateMute(t *testing.T) {
	c := openMemory(t, "CREATE TABLE t(id INTEGER PRIMARY KEY)")
	var got []string
	record(c, &got)
	c.MutePreupdate(true)
	mustExec(t, c, "INSERT INTO t VALUES(1), (2)")
	s, err := c.Cached("DELETE FROM t")
	if err != nil {
		t.Fatal(err)
	}
	c.MutePreupdate(false)
	if err := s.Run(); err != nil {
		t.Fatal(err)
	}
	want(t, strings.Join(got, "; "), "D t 1>1 [1]; D t 2>2 [2]")
}

// The hook is not undone: who keeps what it saw must cut it back.
func TestPreupdateIsNotUndone(t *testing.T) {
	c := openMemory(t, "CREATE TABLE t(id INTEGER PRIMARY KEY)")
	n := 0
	c.SetPreupdate(func(*Preupdate) { n++ })
	mustExec(t, c, "BEGIN; SAVEPOINT a; INSERT INTO t VALUES(1); ROLLBACK TO a; COMMIT")
	if err := c.Exec("INSERT INTO t VALUES(7), (7)"); err == nil {
		t.Fatal("no conflict")
	}
	if n != 2 {
		t.Error(n)
	}
	want(t, query(t, c, "SELECT count(*) FROM t"), "0")
}

// What the hook sees is what is stored, with affinity applied.
func TestPreupdateSeesWhatIsStored(t *testing.T) {
	values := []Value{
		changeset.NullValue(), changeset.IntegerValue(7), changeset.RealValue(7), changeset.RealValue(1e16), changeset.RealValue(1e300),
		changeset.RealValue(math.Inf(-1)), changeset.RealValue(math.Copysign(0, -1)), changeset.TextValue("12"), changeset.TextValue("1.0"), changeset.TextValue("x"),
		changeset.TextValue(""), changeset.BlobValue([]byte("12")), changeset.BlobValue(nil), changeset.IntegerValue(math.MaxInt64),
	}
	const columns = 6
	c := openMemory(t, "CREATE TABLE t(id INTEGER PRIMARY KEY, i INTEGER, r REAL, n NUMERIC, s TEXT, b BLOB)")
	var seen [columns]Value
	c.SetPreupdate(func(p *Preupdate) {
		for i := range seen {
			v, err := p.New(i)
			if err != nil {
				t.Fatal(err)
			}
			seen[i] = v.Clone()
		}
	})
	check := func(what string, in Value) {
		err := c.Each("SELECT * FROM t", nil, func(s *Stmt) error {
			for i := range seen {
				if stored := s.Column(i); !stored.Equal(seen[i]) {
					t.Errorf("%s of %v (%v), column %d: the hook saw %v, stored is %v", what, in, in.Kind(), i, seen[i], stored)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, v := range values {
		for _, sql := range []string{"INSERT INTO t VALUES(1, ?1, ?1, ?1, ?1, ?1)", "UPDATE t SET i = ?1, r = ?1, n = ?1, s = ?1, b = ?1"} {
			if strings.HasPrefix(sql, "UPDATE") {
				c.MutePreupdate(true)
				mustExec(t, c, "UPDATE t SET i = NULL, r = NULL, n = NULL, s = NULL, b = NULL")
				c.MutePreupdate(false)
			}
			if err := c.Each(sql, []Value{v}, nil); err != nil {
				t.Fatal(err)
			}
			check(strings.ToLower(sql[:6]), v)
		}
		c.MutePreupdate(true)
		mustExec(t, c, "DELETE FROM t")
		c.MutePreupdate(false)
	}
}

func TestPreupdateAllocatesNothing(t *testing.T) {
	c := openMemory(t, "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT)")
	n := 0
	c.SetPreupdate(func(p *Preupdate) {
		v, err := p.New(1)
		if err != nil {
			t.Fatal(err)
		}
		n += len(v.Bytes()) + len(p.Table()) + p.Count()
	})
	s, err := c.Cached("INSERT INTO t(a) VALUES('text')")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(); err != nil {
		t.Fatal(err)
	}
	if a := testing.AllocsPerRun(100, func() { _ = s.Run() }); a != 0 {
		t.Error("allocations per row:", a)
	}
	if n == 0 {
		t.Error("the hook did not run")
	}
}

func TestPreupdateRefusesTheOtherSide(t *testing.T) {
	c := openMemory(t, "CREATE TABLE t(id INTEGER PRIMARY KEY)")
	c.SetPreupdate(func(p *Preupdate) {
		if p.Op() == OpInsert {
			if _, err := p.Old(0); !errors.Is(err, ErrMisuse) {
				t.Error("old value of an insert:", err)
			}
			if _, err := p.New(99); err == nil {
				t.Error("a column that is not there")
			}
		}
	})
	mustExec(t, c, "INSERT INTO t VALUES(1)")
}
