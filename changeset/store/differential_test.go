package store

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/sqlite"
)

// differentialSchema has each kind of table: integer key with generated columns
// and a CHECK, text key beside a rowid, composite key without one, many columns,
// STRICT, generated columns around a composite key.
func differentialSchema() string {
	var wide []string
	for i := range 70 {
		wide = append(wide, fmt.Sprintf("c%d INTEGER", i))
	}
	return `CREATE TABLE i(id INTEGER PRIMARY KEY, a TEXT, g INTEGER AS (b * 2) STORED, b INTEGER NOT NULL DEFAULT 7 CHECK(b < 90), e TEXT AS (a || 'x') VIRTUAL, c REAL DEFAULT 3);
CREATE TABLE t(v BLOB, x TEXT NOT NULL PRIMARY KEY, n NUMERIC);
CREATE TABLE w(n NUMERIC NOT NULL, v REAL, a TEXT NOT NULL, PRIMARY KEY(a, n)) WITHOUT ROWID;
CREATE TABLE st(id INTEGER PRIMARY KEY, n INT, v INT AS (n + 1) VIRTUAL, r REAL, x ANY) STRICT;
CREATE TABLE gt(u TEXT AS (p || n) VIRTUAL, p TEXT NOT NULL, n INTEGER, s NUMERIC AS (n * 2) STORED, q INTEGER NOT NULL, PRIMARY KEY(q, p));
CREATE TABLE wide(` + strings.Join(wide, ", ") + `, id INTEGER NOT NULL, PRIMARY KEY(id, c69));`
}

// differentialTriggers are made by an outside program: they fire for clients and
// never on apply. They delete the row that is being updated, change it, raise
// what can be raised, fail half-way, nest, and stand for a view.
const differentialTriggers = `CREATE TRIGGER tr1 AFTER UPDATE ON i BEGIN INSERT OR REPLACE INTO t(x, n) VALUES('i' || new.id, old.id); END;
CREATE TRIGGER tr2 BEFORE INSERT ON w WHEN new.v > 40 BEGIN SELECT RAISE(IGNORE); END;
CREATE TRIGGER tr3 AFTER DELETE ON t WHEN old.x < 'c' BEGIN UPDATE OR IGNORE i SET b = b + 1, id = id + 1 WHERE id = 2; INSERT OR FAIL INTO w(a, n) VALUES('x', old.n); END;
CREATE TRIGGER tr4 BEFORE UPDATE ON wide WHEN new.c0 = 3 BEGIN DELETE FROM wide WHERE id = old.id; END;
CREATE TRIGGER tr5 BEFORE UPDATE ON i WHEN old.id IN (1, 3) BEGIN UPDATE i SET a = 'before', c = c + 1 WHERE id = old.id; END;
CREATE TRIGGER tr6 BEFORE DELETE ON gt WHEN old.n = 2 BEGIN INSERT INTO st(x) VALUES(old.p); SELECT RAISE(ABORT, 'kept'); END;
CREATE TRIGGER tr7 AFTER INSERT ON st WHEN new.n = 3 BEGIN UPDATE st SET r = 3; SELECT RAISE(FAIL, 'no three'); END;
CREATE TRIGGER tr8 AFTER UPDATE ON gt WHEN new.n = 41 BEGIN SELECT RAISE(ROLLBACK, 'no more'); END;
CREATE TRIGGER tr9 AFTER INSERT ON gt BEGIN INSERT OR IGNORE INTO st(id, x) VALUES(new.q + 2, new.p); DELETE FROM gt WHERE n = 1 AND q < new.q; END;
CREATE TRIGGER tr10 AFTER DELETE ON st BEGIN UPDATE OR IGNORE gt SET q = q + 1, n = old.n WHERE q = old.id; END;
CREATE VIEW vw AS SELECT q, p, n FROM gt WHERE n IS NOT 5;
CREATE TRIGGER tr11 INSTEAD OF INSERT ON vw BEGIN INSERT OR REPLACE INTO gt(q, p, n) VALUES(new.q, new.p, new.n); END;
CREATE TRIGGER tr12 INSTEAD OF UPDATE ON vw BEGIN UPDATE OR IGNORE gt SET n = new.n, q = new.q WHERE q = old.q AND p = old.p; END;
CREATE TRIGGER tr13 INSTEAD OF DELETE ON vw BEGIN DELETE FROM gt WHERE q = old.q AND p = old.p; END;`

// plain is SQLite without a store around it.
type plain struct {
	t *testing.T
	c *sqlite.Conn
}

func newPlain(t *testing.T, schema string) *plain {
	t.Helper()
	c, err := sqlite.Open(sqlite.Config{Path: filepath.Join(t.TempDir(), "plain.db"), Create: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	p := &plain{t, c}
	p.must(schema)
	return p
}

func (p *plain) must(sql string) {
	p.t.Helper()
	p.c.SetMode(sqlite.ModeInternal)
	if err := p.c.Exec(sql); err != nil {
		p.t.Fatalf("%s: %v", sql, err)
	}
}

// transact runs statements as one transaction that ends at the first error.
func (p *plain) transact(statements []sqlite.Statement) (out []sqlite.Result) {
	p.t.Helper()
	p.must("BEGIN IMMEDIATE")
	p.c.SetLastInsertID(0)
	failed := false
	for _, st := range statements {
		p.c.SetMode(sqlite.ModeWrite)
		res, err := p.run(st)
		if failed = err != nil; failed {
			out = append(out, sqlite.Result{Err: err})
			break
		}
		out = append(out, res)
	}
	switch {
	case p.c.Autocommit():
	case failed:
		p.must("ROLLBACK")
	default:
		p.must("COMMIT")
	}
	return out
}

func (p *plain) run(st sqlite.Statement) (res sqlite.Result, err error) {
	s, _, err := p.c.Prepare(st.SQL)
	if err != nil || s == nil {
		return res, err
	}
	defer s.Finalize()
	if err := s.BindStatement(st); err != nil {
		return res, err
	}
	before := p.c.TotalChanges()
	for {
		row, err := s.Step()
		if err != nil {
			return res, err
		}
		if !row {
			break
		}
		values := make([]sqlite.Value, s.ColumnCount())
		for i := range values {
			values[i] = s.Column(i)
		}
		res.Rows = append(res.Rows, values)
	}
	res.LastInsertID = p.c.LastInsertID()
	if p.c.TotalChanges() != before {
		res.RowsAffected = p.c.Changes()
	}
	return res, nil
}

func (p *plain) query(sql string) string {
	p.t.Helper()
	p.c.SetMode(sqlite.ModeInternal)
	var r rows
	if err := query(p.c, sqlite.Statement{SQL: sql}, &r); err != nil {
		p.t.Fatalf("%s: %v", sql, err)
	}
	return strings.Join(r.lines, "\n")
}

// statements makes random DML on differentialSchema.
type statements struct{ *rand.Rand }

func (r statements) pick(options ...string) string { return options[r.IntN(len(options))] }

func (r statements) value() string {
	return r.pick("NULL", "0", "1", "2", "3", "41", "95", "-5", "2.0", "2.5", "1e300", "'1'", "'2.0'", "'a'", "'b'", "'A'", "'é'", "''", "x'01'", "x'00ff'", "9223372036854775807", "9007199254740993")
}

func (r statements) key() string { return r.pick("0", "1", "2", "3", "4", "5") }

func (r statements) text() string { return r.pick("'a'", "'b'", "'c'", "'A'", "1", "2.0") }

func (r statements) or() string {
	return r.pick("", "", "", " OR IGNORE", " OR REPLACE", " OR FAIL", " OR ABORT", " OR ROLLBACK")
}

func (r statements) insert() string {
	or, row := " INTO", ""
	switch r.IntN(6) {
	case 4:
		row = fmt.Sprintf("st(id, n, r, x) VALUES(%s, %s, %s, %s), (%s, %s, %s, %s)", r.key(), r.key(), r.key(), r.value(), r.pick(r.key(), "NULL"), r.pick(r.key(), r.value()), r.pick(r.key(), r.value()), r.value())
	case 5:
		row = fmt.Sprintf("gt(p, n, q) VALUES(%s, %s, %s), (%s, %s, %s)", r.text(), r.value(), r.key(), r.text(), r.value(), r.pick(r.key(), "NULL", "2.0", "2.5"))
		if r.IntN(3) == 0 {
			row = fmt.Sprintf("gt(rowid, p, n, q) VALUES(%s, %s, %s, %s)", r.key(), r.text(), r.value(), r.key())
		}
	case 0:
		row = fmt.Sprintf("i(id, a, b, c) VALUES(%s, %s, %s, %s), (%s, %s, %s, %s)", r.key(), r.value(), r.value(), r.value(), r.pick(r.key(), "NULL"), r.value(), r.value(), r.value())
	case 1:
		if r.IntN(3) == 0 { // replaces by key and by rowid
			row = fmt.Sprintf("t(rowid, x, v) VALUES(%s, %s, %s)", r.key(), r.text(), r.value())
			break
		}
		row = fmt.Sprintf("t(x, v, n) VALUES(%s, %s, %s), (%s, %s, %s)", r.text(), r.value(), r.value(), r.pick(r.text(), "NULL"), r.value(), r.value())
	case 2:
		row = fmt.Sprintf("w(a, n, v) VALUES(%s, %s, %s)", r.text(), r.pick(r.key(), "'2'", "2.0", "NULL"), r.value())
	default:
		row = fmt.Sprintf("wide(id, c69, c0, c63, c64, c%d) VALUES(%s, %s, %s, %s, %s, %s)", 1+r.IntN(60), r.key(), r.pick("0", "1"), r.value(), r.value(), r.value(), r.value())
	}
	switch r.IntN(4) {
	case 0:
		return "INSERT" + or + " " + row + r.pick(" ON CONFLICT DO NOTHING", " ON CONFLICT DO UPDATE SET "+r.set(row))
	case 1:
		return "INSERT" + r.or() + or + " " + row + " RETURNING *, typeof(" + r.pick("1", "2") + ")"
	}
	return "INSERT" + r.or() + or + " " + row
}

// set is an assignment that fits the table which text begins with.
func (r statements) set(text string) string {
	switch table, _, _ := strings.Cut(text, "("); table {
	case "i":
		return r.pick("a = "+r.value(), "b = "+r.value(), "c = "+r.value()+", a = a", "id = "+r.key(), "b = b + 1, a = c", "id = id + 1")
	case "t":
		return r.pick("v = "+r.value(), "n = "+r.value(), "x = "+r.text(), "x = x || 'z'", "n = n", "rowid = rowid + 1", "rowid = "+r.key()+", x = "+r.text())
	case "st":
		return r.pick("n = "+r.key(), "x = "+r.value(), "r = n, n = id", "id = "+r.key(), "id = id + 1", "x = n, n = "+r.value())
	case "gt":
		return r.pick("n = "+r.value(), "n = s", "q = "+r.key(), "p = "+r.text(), "q = q + 1, p = u", "rowid = "+r.key(), "rowid = -rowid", "rowid = rowid + 1, n = "+r.key())
	case "w":
		return r.pick("v = "+r.value(), "a = "+r.text(), "n = "+r.key(), "n = n + 1", "a = a, v = v")
	}
	return r.pick("c0 = "+r.value(), "c64 = "+r.value()+", c63 = c64", "c69 = 1 - c69", "id = "+r.key(), "c65 = c0, c66 = c0, c1 = 5")
}

func (r statements) where(table string) string {
	return map[string][]string{
		"i":    {"", " WHERE id = " + r.key(), " WHERE b > 3", " WHERE rowid IN (1, 2)", " WHERE a IS NULL"},
		"t":    {"", " WHERE x = " + r.text(), " WHERE n IS NOT NULL"},
		"w":    {"", " WHERE a = " + r.text() + " AND n = " + r.key(), " WHERE a = " + r.text()},
		"st":   {"", " WHERE id = " + r.key(), " WHERE v > 3"},
		"gt":   {"", " WHERE q = " + r.key() + " AND p = " + r.text(), " WHERE s < 9 OR u IS NULL"},
		"wide": {"", " WHERE id = " + r.key() + " AND c69 = 0", " WHERE c0 IS NOT NULL"},
	}[table][r.IntN(3)]
}

func (r statements) statement() string {
	table := r.pick("i", "t", "w", "wide", "st", "gt")
	switch r.IntN(13) {
	case 0, 1, 2, 3, 4:
		return r.insert()
	case 5, 6, 7:
		return "UPDATE" + r.or() + " " + table + " SET " + r.set(table+"(") + r.where(table) + r.pick("", "", " RETURNING *")
	case 8, 9:
		return "DELETE FROM " + table + r.where(table) + r.pick("", "", " RETURNING *")
	case 10:
		return r.pick("INSERT OR IGNORE INTO w(a, n, v) SELECT x, coalesce(n, 1), v FROM t", "INSERT OR REPLACE INTO i(id, a) SELECT b, a FROM i",
			"UPDATE i SET a = t.v FROM t WHERE t.n = i.id", "WITH s AS (SELECT max(id) AS m FROM i) UPDATE i SET b = 1 WHERE id = (SELECT m FROM s)", "REPLACE INTO t(x, n) SELECT a, b FROM i")
	}
	if r.IntN(2) == 0 {
		return r.pick("INSERT INTO vw(q, p, n) VALUES("+r.key()+", "+r.text()+", "+r.value()+")", "UPDATE vw SET n = "+r.key()+", q = "+r.key()+" WHERE p = "+r.text(), "DELETE FROM vw WHERE q = "+r.key())
	}
	return r.pick("", "-- nothing", "SELECT 1", "INSERT INTO i(g) VALUES(1)", "UPDATE nowhere SET a = 1", "INSERT INTO t VALUES(1)", "DELETE FROM i WHERE", "SELECT * FROM i WHERE abs(-9223372036854775807 - 1) > id")
}

// sequence is a statement, or some that let two rows change places.
func (r statements) sequence() []string {
	if r.IntN(10) > 0 {
		return []string{r.statement()}
	}
	x, y := r.key(), r.key()
	table, column := "t", "rowid"
	switch r.IntN(6) {
	case 0:
		table, column = "i", "id"
	case 1:
		table, column = "st", "id"
	case 2:
		table, column = "gt", "q"
	case 3:
		table = "gt"
	case 4:
		table, column, x, y = "t", "x", r.text(), r.text()
	}
	move := func(from, to string) string {
		return fmt.Sprintf("UPDATE %s SET %s = %s WHERE %s = %s", table, column, to, column, from)
	}
	return []string{move(x, "77"), move(y, x), move("77", y)}
}

func describeResult(st sqlite.Statement, r sqlite.Result) string {
	switch {
	case r.Err != nil:
		return "error " + r.Err.Error()
	case strings.HasPrefix(st.SQL, "SELECT") || st.SQL == "" || strings.HasPrefix(st.SQL, "--"):
		return "nothing" // rqlite's own rules, see TestResultsAreAsRqlite
	}
	return fmt.Sprintf("affected %d, last %d, rows %v", r.RowsAffected, r.LastInsertID, r.Rows)
}

// TestStoreDoesWhatSQLiteDoes: the same requests give the same answers and the
// same rows as on a plain connection, and their changesets give a third.
func TestStoreDoesWhatSQLiteDoes(t *testing.T) {
	t.Parallel()
	seeds := 24
	switch {
	case *long:
		seeds = 300
	case testing.Short():
		seeds = 2
	}
	for seed := range seeds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			compareRequests(t, rand.New(rand.NewPCG(uint64(seed), 7)), 80, seed%2 == 1)
		})
	}
}

// compareRequests makes random requests of a store and of SQLite, then replays
// the store's changesets, in their order and in another one in small batches with
// some twice: rows and clocks end the same.
func compareRequests(t *testing.T, r *rand.Rand, requests int, triggers bool) {
	schema := differentialSchema()
	n, p := start(t, Config{Schema: schemaOf(schema)}), newPlain(t, schema)
	if triggers {
		outside(t, n.cfg.Path, differentialTriggers)
		p.must(differentialTriggers)
	}
	for range requests {
		compareRequest(t, statements{r}, n, p)
	}
	checkClocks(t, n)
	straight, shuffled := start(t, Config{Schema: schemaOf(schema)}), start(t, Config{Schema: schemaOf(schema)})
	straight.pull(n)
	choose := shuffledAndDoubled(r)
	for range 10 {
		shuffled.pullSome(n, choose)
	}
	shuffled.pull(n)
	requireEqual(t, n, straight, shuffled)
	checkClocks(t, straight)
	checkClocks(t, shuffled)
}

func compareRequest(t *testing.T, r statements, n *node, p *plain) {
	t.Helper()
	var request []sqlite.Statement
	for range 1 + r.IntN(4) {
		for _, sql := range r.sequence() {
			request = append(request, text(sql))
		}
	}
	got, _, err := n.Transact(t.Context(), request)
	want := p.transact(request)
	if err != nil || len(got) != len(want) {
		t.Fatalf("%+v: %v, %d results, SQLite has %d", request, err, len(got), len(want))
	}
	for i := range want {
		if g, w := describeResult(request[i], got[i]), describeResult(request[i], want[i]); g != w {
			t.Fatalf("%s\nstore  %s\nSQLite %s", request[i].SQL, g, w)
		}
	}
	for table, key := range map[string]string{"i": "id", "t": "x", "w": "a, n", "wide": "id, c69", "st": "id", "gt": "q, p"} {
		sql := "SELECT * FROM " + table + " ORDER BY " + key
		if g, w := n.query(sql), p.query(sql); g != w {
			t.Fatalf("after %+v\n%s in the store\n%s\nin SQLite\n%s", request, table, g, w)
		}
	}
}

// checkClocks sees that every row has a living clock, and every living clock a
// row.
func checkClocks(t *testing.T, n *node) {
	t.Helper()
	for _, table := range n.schema.Load().sorted() {
		living := map[string]bool{}
		n.eachClock(table, func(key []sqlite.Value, k *changeset.Clock) error {
			if k.CausalLength.Alive() {
				living[strings.ReplaceAll(join(key), ",", "|")] = true
			}
			return nil
		})
		var key []string
		for _, i := range table.key {
			key = append(key, quoteIdent(table.columns[i].name))
		}
		for _, line := range strings.Split(n.query("SELECT "+strings.Join(key, ", ")+" FROM "+quoteIdent(table.name)), "\n") {
			if line != "" && !living[line] {
				t.Errorf("row %s of %s has no clock", line, table.name)
			}
			delete(living, line)
		}
		for line := range living {
			t.Errorf("clock %s of %s has no row", line, table.name)
		}
	}
}

// drawn is a source of numbers that are the bytes of a text, and when they have
// run out those of a generator.
type drawn struct {
	rest []byte
	rand.Source
}

func (d *drawn) Uint64() uint64 {
	if len(d.rest) == 0 {
		return d.Source.Uint64()
	}
	b := d.rest[0]
	d.rest = d.rest[1:]
	return uint64(b) * 0x0101010101010101 // a choice is made by the upper bits, or by the lower
}

// FuzzStatements lets the bytes choose the requests, until they run out.
func FuzzStatements(f *testing.F) {
	for seed := range uint64(6) {
		choices := make([]byte, 200)
		r := rand.New(rand.NewPCG(seed, 11))
		for i := range choices {
			choices[i] = byte(r.Uint32())
		}
		f.Add(choices, seed%2 == 0)
	}
	f.Fuzz(func(t *testing.T, choices []byte, triggers bool) {
		compareRequests(t, rand.New(&drawn{choices, rand.NewPCG(1, 2)}), min(1+len(choices)/20, 40), triggers)
	})
}
