package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/patinadb/patina/changeset/sqlite"
)

// chinookTables are the tables of testdata/chinook.sql that replicate, with their
// rows, in the order of their making.
var chinookTables = []struct {
	name string
	rows int
}{
	{"django_session", 0}, {"chinook_album", 347}, {"chinook_artist", 275}, {"chinook_customer", 59}, {"chinook_employee", 8}, {"chinook_genre", 25},
	{"chinook_invoice", 412}, {"chinook_invoiceline", 522}, {"chinook_mediatype", 5}, {"chinook_playlist", 18}, {"chinook_track", 800},
}

// chinook makes the sample database at path.
func chinook(t *testing.T, path string) {
	t.Helper()
	script, err := os.ReadFile(filepath.Join("..", "..", "testdata", "chinook.sql"))
	if err != nil {
		t.Fatal(err)
	}
	edit(t, path, string(script))
}

// dumpOf is what .dump of the stock program prints, or, where there is none, the
// schema and all rows in the same order.
func dumpOf(t *testing.T, path string) string {
	t.Helper()
	if sqlite3, err := exec.LookPath("sqlite3"); err == nil {
		out, err := exec.CommandContext(t.Context(), sqlite3, path, ".dump").CombinedOutput()
		if err != nil {
			t.Fatalf("sqlite3 .dump: %v: %s", err, out)
		}
		return string(out)
	}
	t.Log("there is no sqlite3 here: the test dumps the file itself")
	c, err := sqlite.Open(sqlite.Config{Path: path, ReadOnly: true, KeepJournal: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetMode(sqlite.ModeInternal)
	var b strings.Builder
	list := func(sql string) (first []string) {
		err := c.Each(sql, nil, func(s *sqlite.Stmt) error {
			for i := range s.ColumnCount() {
				fmt.Fprintf(&b, "%v|", s.Column(i))
			}
			b.WriteByte('\n')
			first = append(first, s.Column(0).Text())
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return first
	}
	for _, table := range list("SELECT name, sql FROM sqlite_schema WHERE type = 'table' AND sql NOT NULL ORDER BY name = 'sqlite_sequence', rowid") {
		list(`SELECT * FROM "` + table + `"`)
	}
	list("SELECT sql FROM sqlite_schema WHERE type <> 'table' AND sql NOT NULL ORDER BY rowid")
	return b.String()
}

// adopt runs patina adopt on the node's file and returns what it says of the tables.
func (a *agent) adopt() string {
	a.t.Helper()
	if err := os.MkdirAll(filepath.Join(a.dir, "schema"), 0o755); err != nil {
		a.t.Fatal(err)
	}
	out, errs, status := a.verb("", "adopt", "--schema-out", a.schema(), a.file())
	if status != 0 || errs != "" {
		a.t.Fatalf("adopt: %d, %s%s", status, out, errs)
	}
	tables, rest, _ := strings.Cut(out, "actor ")
	if !strings.Contains(rest, "\nschema "+a.schema()+", for ") {
		a.t.Errorf("adopt printed %s", out)
	}
	return tables
}

func (a *agent) schema() string { return filepath.Join(a.dir, "schema", "chinook.sql") }

// checkClean runs patina check on the file of a node that is stopped.
func (a *agent) checkClean() {
	a.t.Helper()
	out, errs, status := a.verb("", "check", a.file())
	if status != 0 || errs != "" || !strings.HasSuffix(out, "\nnothing differs\n") {
		a.t.Errorf("%s: check: %d, %s%s", a.dir, status, out, errs)
	}
}

// sameTables compares the tables that replicate, row by row.
func sameTables(t *testing.T, a, b *agent) {
	t.Helper()
	for _, table := range chinookTables {
		sql := "SELECT * FROM " + table.name + " ORDER BY 1"
		if x, y := a.query(sql), b.query(sql); x != y {
			t.Errorf("%s differs: %d and %d bytes of rows", table.name, len(x), len(y))
		}
	}
}

// TestAdoptedSampleReplicates: a sample database from elsewhere, whose table with a
// UNIQUE that we cannot hold is named and left local, on two nodes that both write.
func TestAdoptedSampleReplicates(t *testing.T) {
	program(t)
	a := newAgent(t)
	chinook(t, a.file())
	var want strings.Builder
	for _, table := range chinookTables {
		if table.name == "chinook_track" {
			want.WriteString("table chinook_playlisttrack: left local: UNIQUE beyond the primary key cannot hold when several nodes write at once, and would block the merge of their rows; use a plain index\n")
		}
		fmt.Fprintf(&want, "table %s: %d rows\n", table.name, table.rows)
	}
	if got := a.adopt(); got != want.String() {
		t.Errorf("adopted\n%s, want\n%s", got, want.String())
	}
	a.start()
	b := newAgent(t, "gossip: {addr: 127.0.0.1:0, bootstrap: ["+a.facts["gossip"]+"]}")
	schema, err := os.ReadFile(a.schema())
	if err != nil {
		t.Fatal(err)
	}
	if out, errs, status := a.verb("", "inspect", "schema", a.file()); status != 0 || errs != "" || out != string(schema) {
		t.Errorf("inspect schema of a running node's file: %d, %s, %d bytes", status, errs, len(out))
	}
	b.write("schema/chinook.sql", string(schema))
	b.start()
	waitEqual(t, 20*time.Second, a, b)
	if got := b.query("SELECT count(*), sum(length(name)) FROM chinook_track"); got != a.query("SELECT count(*), sum(length(name)) FROM chinook_track") || !strings.HasPrefix(got, "800|") {
		t.Errorf("tracks on the second node: %s", got)
	}
	sameTables(t, a, b)

	a.exec("UPDATE chinook_track SET unit_price = 1.29 WHERE genre_id = 1", "INSERT INTO chinook_artist VALUES(1000, 'of the first node')")
	b.exec("UPDATE chinook_track SET composer = 'unknown' WHERE composer IS NULL", "DELETE FROM chinook_invoiceline WHERE invoice_id < 50", "INSERT INTO django_session VALUES('s', 'd', '2026-01-01')")
	waitEqual(t, 20*time.Second, a, b)
	sameTables(t, a, b)
	if got := a.query("SELECT count(*) FROM chinook_track WHERE composer = 'unknown' AND unit_price = 1.29"); got == "0" {
		t.Error("no track has what both nodes wrote")
	}
	// The local table is where it was, readable, and no node writes to it.
	if got := a.query("SELECT count(*) FROM chinook_playlisttrack"); got != "628" {
		t.Errorf("%s playlist entries", got)
	}
	if _, errs, status := a.verb("", "exec", "DELETE FROM chinook_playlisttrack"); status != 1 || !strings.Contains(errs, "does not replicate: UNIQUE beyond") {
		t.Errorf("a write to the local table: %d, %s", status, errs)
	}
	for _, n := range []*agent{a, b} {
		out, errs, status := n.verb("", "check", n.file())
		if status != 1 || !strings.Contains(errs, "in use by another node: stop that process first") {
			t.Errorf("check while the node runs: %d, %s%s", status, out, errs)
		}
		n.stop()
		n.checkClean()
	}
}

// TestEjectedSampleIsTheOriginal: its dump is that of the file before it was
// adopted, although a node ran on it.
func TestEjectedSampleIsTheOriginal(t *testing.T) {
	program(t)
	a := newAgent(t)
	chinook(t, a.file())
	original := dumpOf(t, a.file())
	if !strings.Contains(original, "Ullevålsveien 14") || len(original) < 200_000 {
		t.Fatalf("the sample dumps as %d bytes", len(original))
	}
	a.adopt()
	a.start()
	if out, errs, status := a.verb("", "eject", a.file()); status != 1 || !strings.Contains(errs, "stop that process first") {
		t.Errorf("eject while the node runs: %d, %s%s", status, out, errs)
	}
	a.stop()
	if dumpOf(t, a.file()) == original {
		t.Error("the adopted file dumps like the original: nothing is shown")
	}
	out, errs, status := a.verb("", "eject", a.file())
	if status != 0 || errs != "" || !strings.HasSuffix(out, "\njournal mode delete\n") {
		t.Fatalf("eject: %d, %s%s", status, out, errs)
	}
	if ejected := dumpOf(t, a.file()); ejected != original {
		t.Errorf("the dump has %d bytes, the original's %d", len(ejected), len(original))
	}
	if left, err := filepath.Glob(a.file() + "?*"); err != nil || len(left) > 0 {
		t.Errorf("left beside the file: %v, %v", left, err)
	}
	if b, err := os.ReadFile(a.file()); err != nil || strings.Contains(string(b), "__patina_") || strings.Contains(string(b), "patina") {
		t.Errorf("the file still knows of patina: %v", err)
	}
	if _, errs := a.refusedStart(); !strings.Contains(errs, "patina adopt") {
		t.Errorf("a node on the plain file says %s", errs)
	}
}

// refusedStart runs a node that must end by itself with status 1.
func (a *agent) refusedStart() (out, errs string) {
	a.t.Helper()
	out, errs, status := a.verb("", "agent", "-c", a.config)
	if status != 1 {
		a.t.Errorf("status %d, %s%s", status, out, errs)
	}
	return out, errs
}

// foreignProgram has the file open and knows nothing of patina.
type foreignProgram struct {
	t       *testing.T
	c       *sqlite.Conn
	written int // rows, from 1
}

func newForeignProgram(t *testing.T, file string) *foreignProgram {
	t.Helper()
	c, err := sqlite.Open(sqlite.Config{Path: file, KeepJournal: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetMode(sqlite.ModeInternal)
	return &foreignProgram{t: t, c: c}
}

// write changes one row more, and reports whether it was refused because the file is
// being adopted.
func (p *foreignProgram) write() (refused bool) {
	p.t.Helper()
	err := p.c.Exec(fmt.Sprintf("UPDATE a SET t = 'written' WHERE id = %d", p.written+1))
	if err == nil {
		p.written++
		return false
	}
	if !errors.Is(err, sqlite.ErrConstraintTrigger) || !strings.Contains(err.Error(), "patina adopt is at work on this database") {
		p.t.Fatal(err)
	}
	return true
}

// adopting reports whether an adoption has taken rows in; it can read all along.
func (p *foreignProgram) adopting() (yes bool) {
	p.t.Helper()
	err := p.c.Each("SELECT 1 FROM sqlite_schema WHERE name = '__patina_log'", nil, func(*sqlite.Stmt) error { yes = true; return nil })
	if err == nil && yes {
		err = p.c.Each("SELECT count(*) > 1 FROM __patina_log, (SELECT count(*) FROM a)", nil, func(s *sqlite.Stmt) error { yes = s.Integer(0) != 0; return nil })
	}
	if err != nil {
		p.t.Fatal(err)
	}
	return yes
}

// TestWritesDuringAdoptReplicateOrFail: another program writes until the file is
// adopted, and again after that was killed half-way. What it was let to write is on
// the second node too.
func TestWritesDuringAdoptReplicateOrFail(t *testing.T) {
	program(t)
	a := newAgent(t)
	edit(t, a.file(), `PRAGMA journal_mode = WAL; CREATE TABLE a(id INTEGER PRIMARY KEY, t TEXT);
		INSERT INTO a WITH RECURSIVE s(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < 300000) SELECT i, 'text ' || i FROM s`)
	other := newForeignProgram(t, a.file())
	for range 10 {
		other.write()
	}
	process := exec.Command(program(t), "adopt", a.file())
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	wait(t, 30*time.Second, "half adopted", func() error {
		if !other.adopting() {
			return errors.New("no row is taken in")
		}
		return nil
	})
	process.Process.Kill()
	process.Wait()
	if _, errs, status := a.verb("", "check", a.file()); status != 1 || !strings.Contains(errs, "adoption is not finished") {
		t.Fatalf("the adoption was over before it was killed: %d, %s", status, errs)
	}
	if !other.write() {
		t.Error("another program wrote between the two runs")
	}
	if got, want := a.adopt(), "table a: 300000 rows\n"; got != want {
		t.Errorf("adopted %s", got)
	}
	a.checkClean()
	a.start()
	b := newAgent(t, "gossip: {addr: 127.0.0.1:0, bootstrap: ["+a.facts["gossip"]+"]}")
	schema, err := os.ReadFile(a.schema())
	if err != nil {
		t.Fatal(err)
	}
	b.write("schema/chinook.sql", string(schema))
	b.start()
	waitEqual(t, 30*time.Second, a, b)
	for _, n := range []*agent{a, b} {
		if got := n.query("SELECT count(*) FROM a WHERE t = 'written'"); got != fmt.Sprint(other.written) {
			t.Errorf("%s rows that another program wrote, it was let to write %d", got, other.written)
		}
	}
}
