package nodetest

import (
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/patinadb/patina/changeset/sqlite"
)

func TestMain(m *testing.M) {
	os.Setenv("QUIC_GO_DISABLE_RECEIVE_BUFFER_WARNING", "true")
	goleak.VerifyTestMain(m)
}

func TestContentShowsRowsAndClocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(t, Config{Nodes: 1, Schema: Schema})
		m := c.Member(0)
		m.Exec("INSERT INTO item(id, a, c) VALUES(1, NULL, 1)", "INSERT INTO flag VALUES('1', x'00')")
		time.Sleep(time.Second)
		m.Exec("UPDATE item SET b = 8, c = 2 WHERE id = 1", "DELETE FROM flag")
		got := m.Content()
		if rows := strings.Join(got.Rows["item"], "\n"); rows != "\"a\"|\"b\"|\"c\"|\"id\"\nNULL|8|2.0|1" {
			t.Errorf("rows %s", rows)
		}
		clocks := got.Clocks["item"]
		if len(clocks) != 1 || !strings.HasPrefix(clocks[0], "1 length 1 [2000-01-01T00:00:00.000Z+") ||
			!strings.Contains(clocks[0], m.Actor().String()+" 1 [a]") || !strings.Contains(clocks[0], m.Actor().String()+" 2 [b c]") {
			t.Errorf("clocks %q", clocks)
		}
		if clocks := got.Clocks["flag"]; len(clocks) != 1 || !strings.HasPrefix(clocks[0], "'1' length 2 [") {
			t.Errorf("tombstone %q", clocks)
		}
	})
}

// Whoever breaks rows or clocks alone must be found out.
func TestDiffFindsWhatDiffers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(t, Config{Nodes: 2, Schema: Schema})
		a, b := c.Member(0), c.Member(1)
		a.Exec("INSERT INTO item(id, a) VALUES(1, '7')", "INSERT INTO flag VALUES('f', 'x')")
		c.AwaitEqual(5 * time.Second)
		b.Stop()
		want := a.Content()
		if d := want.Diff(b.Content()); d != "" {
			t.Fatalf("equal contents differ: %s", d)
		}
		for sql, says := range map[string]string{
			"UPDATE flag SET value = CAST(value AS BLOB)": "row of flag: 'f'|x'78'",
			"DELETE FROM item":                            "only the first has row of item",
			"UPDATE __patina_clk_flag SET m = CAST(substr(m, 1, 8) || x'03' || substr(m, 10) AS BLOB)": "clock of flag: 'f' length 3",
			"UPDATE __patina_clk_item SET m = substr(m, 1, 1) || x'0302' || substr(m, 3)":              "[b]",
			"CREATE TABLE other(id INTEGER PRIMARY KEY); CREATE TABLE __patina_clk_other(id)":          "row of other",
		} {
			broken := c.Copy(b)
			damage(t, broken, sql)
			if d := want.Diff(broken.Content()); !strings.Contains(d, says) {
				t.Errorf("after %s: %q, want %q in it", sql, d, says)
			}
		}
	})
}

func damage(t *testing.T, m *Member, sql string) {
	t.Helper()
	conn, err := sqlite.Open(sqlite.Config{Path: m.Path()})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.Exec(sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}
