package sqlite

import (
	"errors"
	"testing"

	"github.com/patinadb/patina/changeset"
)

func TestBindStatement(t *testing.T) {
	n := func(i int64) Value { return changeset.IntegerValue(i) }
	for _, tt := range []struct {
		desc string
		st   Statement
		want string // the row
		err  string
	}{
		{"positional", Statement{SQL: "SELECT ?, ?", Params: integers(1, 2)}, "1 2", ""},
		{"numbered", Statement{SQL: "SELECT ?2, ?1, ?2", Params: integers(1, 2)}, "2 1 2", ""},
		{"none", Statement{SQL: "SELECT 1"}, "1", ""},
		{"too many are ignored", Statement{SQL: "SELECT ?", Params: integers(1, 2, 3)}, "1", ""},
		{"too few", Statement{SQL: "SELECT ?, ?", Params: integers(1)}, "", "not enough args to execute query: want 2 got 1"},
		{"none at all", Statement{SQL: "SELECT ?"}, "", "not enough args to execute query: want 1 got 0"},
		{"a gap counts", Statement{SQL: "SELECT ?5", Params: integers(1)}, "", "not enough args to execute query: want 5 got 1"},
		{"colon", Statement{SQL: "SELECT :a", Named: map[string]Value{"a": n(1)}}, "1", ""},
		{"at", Statement{SQL: "SELECT @a", Named: map[string]Value{"a": n(1)}}, "1", ""},
		{"dollar", Statement{SQL: "SELECT $a", Named: map[string]Value{"a": n(1)}}, "1", ""},
		{"all three", Statement{SQL: "SELECT :a, @a, $a", Named: map[string]Value{"a": n(1), "x": n(2), "y": n(3)}}, "1 1 1", ""},
		{"with prefix", Statement{SQL: "SELECT :a, @a", Named: map[string]Value{":a": n(1), "@a": n(2)}}, "1 2", ""},
		{"used twice", Statement{SQL: "SELECT :a, :a", Named: map[string]Value{"a": n(1)}}, "1 1", ""},
		{"mixed", Statement{SQL: "SELECT ?, :a", Params: integers(1), Named: map[string]Value{"a": n(2)}}, "1 2", ""},
		{"too few names", Statement{SQL: "SELECT :a, :b", Named: map[string]Value{"a": n(1)}}, "", "not enough args to execute query: want 2 got 1"},
		{"another name", Statement{SQL: "SELECT :a", Named: map[string]Value{"b": n(1)}}, "NULL", ""},
		{"names have case", Statement{SQL: "SELECT :A", Named: map[string]Value{"a": n(1)}}, "NULL", ""},
	} {
		c := openMemory(t)
		s, err := c.Cached(tt.st.SQL)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.BindStatement(tt.st); err != nil {
			if err.Error() != tt.err {
				t.Errorf("%s: %v", tt.desc, err)
			}
			continue
		}
		if tt.err != "" {
			t.Errorf("%s: no error", tt.desc)
		}
		if _, err := s.Step(); err != nil {
			t.Fatal(err)
		}
		row := ""
		for i := range s.ColumnCount() {
			row += " " + s.Column(i).String()
		}
		if row != " "+tt.want {
			t.Errorf("%s: %s", tt.desc, row)
		}
		s.Reset()
	}
}

// Each parameter has memory of its own: binding one again leaves others alone.
func TestBindAgain(t *testing.T) {
	c := openMemory(t)
	s, _, err := c.Prepare("SELECT ?1, ?2, typeof(?2)")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Finalize()
	row := func() string {
		if _, err := s.Step(); err != nil {
			t.Fatal(err)
		}
		defer s.Reset()
		return s.Column(0).String() + " " + s.Column(1).String() + " " + s.Column(2).Text()
	}
	bind := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	bind(s.BindText(1, "first"))
	bind(s.BindBlob(2, []byte{1, 2}))
	want(t, row(), "'first' x'0102' blob")
	bind(s.BindText(2, "second, and longer than all of what was there before, so that memory grows"))
	want(t, row(), "'first' 'second, and longer than all of what was there before, so that memory grows' text")
	bind(s.BindBlob(2, nil))
	want(t, row(), "'first' x'' blob")
	bind(s.BindInteger(1, 7))
	want(t, row(), "7 x'' blob")
	s.ClearBindings()
	want(t, row(), "NULL NULL null")
	b := []byte("mutable")
	bind(s.Bind(1, changeset.TextBytes(b)))
	copy(b, "XXXXXXX")
	want(t, row(), "'mutable' NULL null")
}

func TestBindErrors(t *testing.T) {
	c := openMemory(t)
	s, _, err := c.Prepare("SELECT ?1 UNION ALL SELECT 2")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Finalize()
	for _, i := range []int{-1, 0, 2} {
		for _, v := range []Value{changeset.NullValue(), changeset.IntegerValue(1), changeset.RealValue(1), changeset.TextValue("x"), changeset.BlobValue(nil)} {
			if err := s.Bind(i, v); !errors.Is(err, ErrRange) {
				t.Errorf("parameter %d, %v: %v", i, v, err)
			}
		}
	}
	if err := s.BindText(1, "kept"); err != nil {
		t.Fatal(err)
	}
	if row, err := s.Step(); !row || err != nil {
		t.Fatal(err)
	}
	if err := s.BindText(1, "other"); !errors.Is(err, ErrMisuse) {
		t.Error("bound to a running statement:", err)
	}
	want(t, s.Column(0).String(), "'kept'")
	s.Reset()
	c.SetLimit(LimitLength, 100)
	if err := s.BindText(1, string(make([]byte, 101))); !errors.Is(err, ErrTooBig) {
		t.Error(err)
	}
}

func TestBindAllocatesNothing(t *testing.T) {
	c := openMemory(t)
	s, err := c.Cached("SELECT ?1, ?2, ?3")
	if err != nil {
		t.Fatal(err)
	}
	text, blob := changeset.TextValue("some text"), changeset.BlobValue([]byte("bytes"))
	n := testing.AllocsPerRun(100, func() {
		if s.Bind(1, text) != nil || s.Bind(2, blob) != nil || s.BindInteger(3, 7) != nil || s.Run() != nil {
			t.Error("failed")
		}
	})
	if n != 0 {
		t.Error("allocations:", n)
	}
}
