package sqlite

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/patinadb/patina/changeset"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func openMemory(t testing.TB, script ...string) *Conn {
	t.Helper()
	return openWith(t, Config{}, script...)
}

func openWith(t testing.TB, cfg Config, script ...string) *Conn {
	t.Helper()
	c, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, sql := range script {
		mustExec(t, c, sql)
	}
	return c
}

func newPath(t testing.TB) string { return filepath.Join(t.TempDir(), "test.db") }

func mustExec(t testing.TB, c *Conn, sql string) {
	t.Helper()
	if err := c.Exec(sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// query returns the result as text: columns joined by spaces, rows by "; ".
func query(t testing.TB, c *Conn, sql string, args ...Value) string {
	t.Helper()
	var rows []string
	err := c.Each(sql, args, func(s *Stmt) error {
		var row []string
		for i := range s.ColumnCount() {
			row = append(row, s.Column(i).String())
		}
		rows = append(rows, strings.Join(row, " "))
		return nil
	})
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return strings.Join(rows, "; ")
}

func want(t testing.TB, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func integers(n ...int64) (v []Value) {
	for _, n := range n {
		v = append(v, changeset.IntegerValue(n))
	}
	return v
}
