package sqlite

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/patinadb/patina/changeset"
)

func TestValuesRoundTrip(t *testing.T) {
	big := bytes.Repeat([]byte{0, 1, 0xff}, 1<<20/3)
	for _, tt := range []struct {
		desc string
		in   Value
		want Value
		kind string
	}{
		{"null", changeset.NullValue(), changeset.NullValue(), "null"},
		{"zero value", Value{}, changeset.NullValue(), "null"},
		{"zero", changeset.IntegerValue(0), changeset.IntegerValue(0), "integer"},
		{"least", changeset.IntegerValue(math.MinInt64), changeset.IntegerValue(math.MinInt64), "integer"},
		{"greatest", changeset.IntegerValue(math.MaxInt64), changeset.IntegerValue(math.MaxInt64), "integer"},
		{"2^53+1", changeset.IntegerValue(1<<53 + 1), changeset.IntegerValue(1<<53 + 1), "integer"},
		{"real", changeset.RealValue(1.5), changeset.RealValue(1.5), "real"},
		{"integral real", changeset.RealValue(5), changeset.RealValue(5), "real"},
		{"least real", changeset.RealValue(math.SmallestNonzeroFloat64), changeset.RealValue(math.SmallestNonzeroFloat64), "real"},
		{"+inf", changeset.RealValue(math.Inf(1)), changeset.RealValue(math.Inf(1)), "real"},
		{"-inf", changeset.RealValue(math.Inf(-1)), changeset.RealValue(math.Inf(-1)), "real"},
		{"NaN is NULL", changeset.RealValue(math.NaN()), changeset.NullValue(), "null"},
		{"empty text", changeset.TextValue(""), changeset.TextValue(""), "text"},
		{"text", changeset.TextValue("grün 💚"), changeset.TextValue("grün 💚"), "text"},
		{"text with NUL", changeset.TextValue("a\x00b\x00"), changeset.TextValue("a\x00b\x00"), "text"},
		{"only NUL", changeset.TextValue("\x00"), changeset.TextValue("\x00"), "text"},
		{"invalid UTF-8", changeset.TextValue("a\xff\xc0\x80\xed\xa0\x80"), changeset.TextValue("a\xff\xc0\x80\xed\xa0\x80"), "text"},
		{"empty blob", changeset.BlobValue(nil), changeset.BlobValue([]byte{}), "blob"},
		{"blob", changeset.BlobValue([]byte{0, 1, 0}), changeset.BlobValue([]byte{0, 1, 0}), "blob"},
		{"1 MiB blob", changeset.BlobValue(big), changeset.BlobValue(big), "blob"},
		{"1 MiB text", changeset.TextValue(string(big)), changeset.TextValue(string(big)), "text"},
	} {
		c := openMemory(t, "CREATE TABLE t(a)")
		if err := c.Each("INSERT INTO t VALUES(?)", []Value{tt.in}, nil); err != nil {
			t.Fatalf("%s: %v", tt.desc, err)
		}
		for _, sql := range []string{"SELECT a, typeof(a) FROM t", "SELECT a, typeof(a) FROM t ORDER BY a || ''"} {
			err := c.Each(sql, nil, func(s *Stmt) error {
				if got := s.Column(0); !got.Equal(tt.want) || s.Column(1).Text() != tt.kind || s.Kind(0) != tt.want.Kind() {
					t.Errorf("%s: got %.80s, a %s", tt.desc, got, s.Column(1))
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
}

// -0.0 keeps its sign in memory. In a table without REAL affinity SQLite keeps
// the double; a REAL column stores integral reals as integers, and 0 has no sign.
func TestNegativeZero(t *testing.T) {
	c := openMemory(t, "CREATE TABLE t(any ANY, r REAL) STRICT")
	zero := changeset.RealValue(math.Copysign(0, -1))
	if err := c.Each("INSERT INTO t VALUES(?1, ?1)", []Value{zero}, nil); err != nil {
		t.Fatal(err)
	}
	err := c.Each("SELECT ?1, any, r FROM t", []Value{zero}, func(s *Stmt) error {
		if !s.Column(0).Equal(zero) {
			t.Error("bound -0.0 came back as", s.Column(0))
		}
		for i := 1; i < 3; i++ {
			if v := s.Column(i); v.Kind() != changeset.Real || v.Real() != 0 {
				t.Error("stored -0.0 came back as", v.Kind(), v)
			}
			t.Logf("column %d: sign kept: %v", i, math.Signbit(s.Real(i)))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestViewIsNotCopied(t *testing.T) {
	c := openMemory(t)
	s, err := c.Cached("SELECT 'text' || char(0) || '!', x'00ff', NULL, zeroblob(0), 7")
	if err != nil {
		t.Fatal(err)
	}
	if row, err := s.Step(); !row || err != nil {
		t.Fatal(row, err)
	}
	defer s.Reset()
	if got := string(s.View(0)); got != "text\x00!" {
		t.Errorf("%q", got)
	}
	if got := s.View(1); !bytes.Equal(got, []byte{0, 0xff}) {
		t.Errorf("%x", got)
	}
	if s.View(2) != nil || s.View(3) != nil || s.Kind(2) != changeset.Null || s.Kind(3) != changeset.Blob {
		t.Error("NULL and the empty blob are mixed up")
	}
	if n := s.Integer(4); n != 7 {
		t.Error(n)
	}
	if n := testing.AllocsPerRun(100, func() { s.View(0); s.Integer(4); s.Kind(0) }); n != 0 {
		t.Error("allocations:", n)
	}
}

func TestColumns(t *testing.T) {
	c := openMemory(t, "CREATE TABLE t(id INTEGER PRIMARY KEY, name VARCHAR(10))")
	s, tail, err := c.Prepare("SELECT id, name AS n, 1+1 FROM t; SELECT 2")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Finalize()
	want(t, tail, " SELECT 2")
	want(t, s.SQL(), "SELECT id, name AS n, 1+1 FROM t;")
	var got []string
	for i := range s.ColumnCount() {
		got = append(got, s.ColumnName(i)+":"+s.ColumnDeclType(i))
	}
	want(t, strings.Join(got, " "), "id:INTEGER n:VARCHAR(10) 1+1:")
	if !s.ReadOnly() || s.IsExplain() || s.ParameterCount() != 0 {
		t.Error("wrong about the statement")
	}
}

func TestPrepareText(t *testing.T) {
	c := openMemory(t)
	for _, blank := range []string{"", "  \n", "-- only a comment", "/* a */ -- b", ";"} {
		if s, _, err := c.Prepare(blank); s != nil || err != nil {
			t.Errorf("%q: %v %v", blank, s, err)
		}
		if s, err := c.Cached(blank); s != nil || err != nil {
			t.Errorf("%q: %v %v", blank, s, err)
		}
	}
	if _, _, err := c.Prepare("SELECT 1\x00, 2"); err == nil {
		t.Error("SQL text was cut at NUL")
	}
	if _, err := c.Cached("SELECT 1; SELECT 2"); err == nil || err.Error() != "only one statement is allowed" {
		t.Error(err)
	}
	if _, err := c.Cached("SELECT 1; nonsense"); err == nil || err.Error() != "only one statement is allowed" {
		t.Error(err)
	}
	for _, sql := range []string{"SELECT 1; ; SELECT 2", "SELECT 1; /* a */ ; -- b\n SELECT 2", ";; SELECT 1; SELECT 2"} {
		if _, err := c.Cached(sql); !errors.Is(err, ErrMultipleStatements) {
			t.Errorf("%q: %v", sql, err)
		}
	}
	for _, sql := range []string{"SELECT 1; -- the end", ";; SELECT 1", "SELECT 1 ;; /* a */ ; -- b"} {
		if s, err := c.Cached(sql); s == nil || err != nil {
			t.Errorf("%q: %v %v", sql, s, err)
		}
	}
	mustExec(t, c, ";; CREATE TABLE e(a); ; -- c\n; INSERT INTO e VALUES(1);; INSERT INTO e VALUES(2)")
	want(t, query(t, c, "SELECT count(*) FROM e"), "2")
	mustExec(t, c, "CREATE TABLE t(a); -- between\n INSERT INTO t VALUES(1); INSERT INTO t VALUES(2) ; -- end")
	want(t, query(t, c, "SELECT count(*) FROM t"), "2")
}

func TestErrors(t *testing.T) {
	c := openMemory(t, "CREATE TABLE t(id INTEGER PRIMARY KEY, n NOT NULL, c CHECK(c > 0), s UNIQUE)", "INSERT INTO t VALUES(1,1,1,1)")
	for _, tt := range []struct {
		sql     string
		is, not Code
		message string
		offset  int
	}{
		{"SELEC 1", ErrGeneric, ErrBusy, `near "SELEC": syntax error`, 0},
		{"SELECT nope FROM t", ErrGeneric, ErrBusy, "no such column: nope", 7},
		{"SELECT * FROM nope", ErrGeneric, ErrBusy, "no such table: nope", -1},
		{"INSERT INTO t VALUES(1,1,1,2)", ErrConstraintPrimaryKey, ErrConstraintUnique, "UNIQUE constraint failed: t.id", -1},
		{"INSERT INTO t VALUES(2,1,1,1)", ErrConstraintUnique, ErrConstraintCheck, "UNIQUE constraint failed: t.s", -1},
		{"INSERT INTO t VALUES(2,NULL,1,2)", ErrConstraintNotNull, ErrConstraintCheck, "NOT NULL constraint failed: t.n", -1},
		{"INSERT INTO t VALUES(2,1,-1,2)", ErrConstraint, ErrBusy, "CHECK constraint failed: c > 0", -1},
		{"INSERT INTO t VALUES(2,zeroblob(2000000000),1,2)", ErrTooBig, ErrConstraint, "string or blob too big", -1},
	} {
		err := c.Exec(tt.sql)
		var e *Error
		if !errors.As(err, &e) || !errors.Is(err, tt.is) || !errors.Is(err, tt.is.Primary()) || errors.Is(err, tt.not) {
			t.Errorf("%s: %v", tt.sql, err)
			continue
		}
		if e.Error() != tt.message || e.Offset != tt.offset {
			t.Errorf("%s: %q at %d, want %q at %d", tt.sql, e.Message, e.Offset, tt.message, tt.offset)
		}
	}
	var e *Error
	if err := c.Exec("SELECT 1; SELECT 2; SELEC 3"); !errors.As(err, &e) || e.Offset != 20 {
		t.Errorf("offset in a script: %v", err)
	}
	if ErrFull.Error() != "database or disk is full" {
		t.Error(ErrFull)
	}
}

func TestDiskFull(t *testing.T) {
	c := openMemory(t, "CREATE TABLE t(a)", "PRAGMA max_page_count=10")
	mustExec(t, c, "BEGIN; INSERT INTO t VALUES(1)")
	err := c.Exec("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n LIMIT 1000) INSERT INTO t SELECT randomblob(1000) FROM n")
	if !errors.Is(err, ErrFull) || err.Error() != "database or disk is full" {
		t.Error(err)
	}
	mustExec(t, c, "PRAGMA max_page_count=1000")
	if !c.Autocommit() {
		mustExec(t, c, "ROLLBACK")
	}
	mustExec(t, c, "INSERT INTO t VALUES(randomblob(9000))")
}

func TestBusy(t *testing.T) {
	path := newPath(t)
	a := openWith(t, Config{Path: path, Create: true}, "CREATE TABLE t(a)", "BEGIN IMMEDIATE")
	b := openWith(t, Config{Path: path, BusyTimeout: -1})
	err := b.Exec("BEGIN IMMEDIATE")
	if !errors.Is(err, ErrBusy) || err.Error() != "database is locked" {
		t.Error(err)
	}
	mustExec(t, a, "COMMIT")
	mustExec(t, b, "BEGIN IMMEDIATE; COMMIT")
}
