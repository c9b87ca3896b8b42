package main

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// forbidden is SQL that no client may run, neither as a transaction nor as a
// query nor as a migration.
var forbidden = []string{
	"ATTACH DATABASE ':memory:' AS m",
	"/* hidden */ -- twice\n ATTACH ':memory:' AS m",
	"DETACH main",
	"BEGIN", "BEGIN IMMEDIATE", "END", "COMMIT", "ROLLBACK", "ROLLBACK TO request",
	"SAVEPOINT a", "RELEASE request",
	"VACUUM", "VACUUM INTO '/tmp/stolen.db'", "REINDEX", "ANALYZE",
	"PRAGMA user_version=5", "PRAGMA synchronous=OFF", "PRAGMA journal_mode=DELETE", "PRAGMA main.journal_mode(memory)",
	"PRAGMA wal_checkpoint(TRUNCATE)", "PRAGMA query_only=0", "PRAGMA foreign_keys=1", "PRAGMA recursive_triggers=0",
	"PRAGMA ignore_check_constraints=1", "PRAGMA writable_schema=1", "PRAGMA temp_store_directory='/tmp'",
	"PRAGMA mmap_size=1000000", "PRAGMA locking_mode=EXCLUSIVE", "PRAGMA trusted_schema=1", "PRAGMA schema_version=1",
	"SELECT * FROM pragma_journal_mode('delete')",
	"SELECT * FROM sqlite_dbpage", "SELECT * FROM dbstat", "SELECT * FROM bytecode('SELECT 1')", "SELECT * FROM sqlite_stmt",
	"SELECT data FROM __patina_log", "SELECT * FROM main.__PATINA_actor", "SELECT (SELECT count(*) FROM __patina_meta)",
	"SELECT * FROM t WHERE id IN (SELECT k FROM __patina_log)", "WITH x AS (SELECT * FROM __patina_clk_t) SELECT * FROM x",
	"INSERT INTO __patina_meta VALUES('format', 99)", "UPDATE __patina_actor SET id = id", "DELETE FROM __patina_log",
	"REPLACE INTO __patina_clk_t VALUES(1, x'00')", "DROP TABLE __patina_log", "CREATE INDEX x ON __patina_log(data)",
	"UPDATE sqlite_schema SET sql = ''", "DELETE FROM sqlite_master", "INSERT INTO sqlite_schema VALUES('table','x','x',0,'x')",
	"SELECT load_extension('/tmp/x.so')", "SELECT readfile('/etc/passwd')", "SELECT writefile('/tmp/x', 'y')", "SELECT edit('x')",
	"SELECT fts3_tokenizer('simple')", "SELECT * FROM fsdir('/')", "SELECT sqlite_log(1, 'x')",
	"CREATE VIRTUAL TABLE v USING fts5(a)", "CREATE TEMP TABLE v(a)", "CREATE TEMP TRIGGER v AFTER INSERT ON t BEGIN SELECT 1; END",
	"DROP TABLE t", "DROP INDEX t_by_a", "ALTER TABLE t RENAME TO v", "ALTER TABLE t RENAME COLUMN a TO b", "ALTER TABLE t DROP COLUMN a",
	"CREATE TABLE v AS SELECT 1",
}

// onlyMigrations is SQL that a transaction must point to /v1/migrations for.
var onlyMigrations = []string{
	"CREATE TABLE v(id INTEGER PRIMARY KEY)", "CREATE INDEX v ON t(a)", "DROP TABLE t", "ALTER TABLE t ADD COLUMN z",
	"INSERT INTO t VALUES(10, 'x'); CREATE TABLE v(id INTEGER PRIMARY KEY)",
}

var refusedMigrations = []struct{ sql, want string }{
	{"CREATE TABLE v(a TEXT)", "table v: no primary key"},
	{"CREATE TABLE v(id INTEGER PRIMARY KEY DESC)", "table v"},
	{"CREATE TABLE v(id PRIMARY KEY)", "column id"},
	{"CREATE TABLE v(id ANY PRIMARY KEY) STRICT", "column id"},
	{"CREATE TABLE v(id TEXT COLLATE RTRIM PRIMARY KEY)", "column id"},
	{"CREATE TABLE v(id INTEGER PRIMARY KEY, a TEXT UNIQUE)", "column a"},
	{"CREATE TABLE v(id INTEGER PRIMARY KEY, a TEXT, b TEXT, UNIQUE(a, b))", "plain index"},
	{"CREATE UNIQUE INDEX v ON t(a)", "table t"},
	{"CREATE TABLE t(id INTEGER PRIMARY KEY, a INTEGER)", "column a"},
	{"CREATE TABLE t(id TEXT PRIMARY KEY, a TEXT)", "column id"},
	{"CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, z TEXT DEFAULT CURRENT_TIMESTAMP)", "column z"},
	{"CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, z TEXT NOT NULL)", "column z"},
	{"CREATE INDEX v ON t(json_extract(a, '$.x'))", "json_extract"},
	{"CREATE TABLE v(id INTEGER PRIMARY KEY, a INTEGER, b INTEGER AS (abs(a)))", "abs"},
	{"CREATE TABLE __patina_x(id INTEGER PRIMARY KEY)", "__patina_"},
	{"CREATE TABLE sqlite_x(id INTEGER PRIMARY KEY)", "sqlite_x"},
	{"INSERT INTO t VALUES(9, 'x')", "CREATE TABLE"},
	{"CREATE TABLE v(id INTEGER PRIMARY KEY); INSERT INTO v VALUES(1)", "CREATE TABLE"},
	{"CREATE TABLE v(id INTEGER PRIMARY KEY,)", "syntax error"},
	{"-- nothing", "no statement"},
}

// probe sees that nothing changed since it was made.
type probe struct {
	a    *agent
	want string
}

func (a *agent) probe() *probe {
	p := &probe{a: a}
	p.want = p.look()
	return p
}

func (p *probe) look() string {
	s := p.a.status()
	return fmt.Sprint(p.a.query("SELECT * FROM t"), s.VectorDigest, s.SchemaDigest, s.Heads, len(s.Parked),
		p.a.fileRows("SELECT group_concat(name || ifnull(sql, ''), char(10)) FROM (SELECT * FROM sqlite_schema ORDER BY name)"),
		p.a.fileRows("SELECT count(*) FROM __patina_log"))
}

func (p *probe) check(t *testing.T) {
	t.Helper()
	if got := p.look(); got != p.want {
		t.Errorf("changed from\n%s\nto\n%s", p.want, got)
	}
}

func array(sql ...string) string {
	var parts []string
	for _, s := range sql {
		parts = append(parts, jsonText(s))
	}
	return "[" + strings.Join(parts, ",") + "]"
}

func jsonText(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(s) + `"`
}

// TestForbiddenSQL goes through all three doors of a live node; the request's
// other statements leave nothing either.
func TestForbiddenSQL(t *testing.T) {
	program(t)
	a := newAgent(t)
	a.write("schema/s.sql", apiSchema+"CREATE INDEX t_by_a ON t(a); CREATE TABLE k(id TEXT PRIMARY KEY, a TEXT);")
	a.start()
	a.exec("INSERT INTO t VALUES(1, 'first')")
	p := a.probe()
	const insert = "INSERT INTO t VALUES(9, 'x')"
	for _, sql := range forbidden {
		status, answer := a.post("/v1/transactions", array(insert, sql, insert))
		if status != 200 || !strings.Contains(answer, `{"error":"`) || strings.Count(answer, "{") != 3 || !strings.Contains(answer, `"version":null`) {
			t.Errorf("transaction of %q: %d %s", sql, status, answer)
		}
		if status, answer := a.post("/v1/queries", jsonText(sql)); status != 400 || !strings.HasPrefix(answer, `{"error":"`) {
			t.Errorf("query %q: %d %s", sql, status, answer)
		}
		if status, answer := a.post("/v1/migrations", array("CREATE TABLE fine(id INTEGER PRIMARY KEY)", sql)); status != 400 || !strings.HasPrefix(answer, `{"results":[{},{"error":"`) {
			t.Errorf("migration of %q: %d %s", sql, status, answer)
		}
		p.check(t)
	}
	for _, sql := range onlyMigrations {
		if status, answer := a.post("/v1/transactions", array(insert, sql)); status != 200 || !strings.Contains(answer, "/v1/migrations") {
			t.Errorf("transaction of %q: %d %s", sql, status, answer)
		}
		p.check(t)
	}
	for _, test := range refusedMigrations {
		status, answer := a.post("/v1/migrations", array("CREATE TABLE fine(id INTEGER PRIMARY KEY)", test.sql))
		if status != 400 || !strings.Contains(answer, test.want) {
			t.Errorf("migration of %q: %d %s, want %q", test.sql, status, answer, test.want)
		}
		p.check(t)
	}
	if status, answer := a.post("/v1/transactions", array("INSERT INTO k(a) VALUES('no key')")); status != 200 || !strings.Contains(answer, `{"error":"`) {
		t.Errorf("NULL in a key: %d %s", status, answer)
	}
	p.check(t)
	if head := a.exec(insert).Version; head != 2 {
		t.Errorf("the next version is %d, want 2", head)
	}
}

// badBodies are refused before anything runs.
var badBodies = []struct {
	desc, body string
	status     int
	want       string
}{
	{"nothing", "", 400, ""},
	{"null", "null", 400, "array"},
	{"no end", `["DELETE FROM t"`, 400, ""},
	{"more behind", `["DELETE FROM t"] ["DELETE FROM t"]`, 400, ""},
	{"empty statement", `["DELETE FROM t", []]`, 400, "1"},
	{"wrong parameter", `[["DELETE FROM t WHERE id = ?", 1e999]]`, 400, "0"},
	{"unknown key", `[{"query": "DELETE FROM t", "parms": []}]`, 400, "parms"},
	{"invalid UTF-8", "[\"DELETE FROM t -- \xff\"]", 400, ""},
	{"lone surrogate", `["DELETE FROM t", ["DELETE FROM t WHERE a = ?", "\ud800"]]`, 400, "1"},
	{"deep", strings.Repeat("[", 100_000), 400, ""},
	{"too many statements", "[" + strings.Repeat(`"DELETE FROM t",`, 1000) + `"DELETE FROM t"]`, 413, "1001"},
	{"too large", `["DELETE FROM t -- ` + strings.Repeat("x", 5<<20) + `"]`, 413, "4194304"},
	{"as large as is read", `["DELETE FROM t -- ` + strings.Repeat("x", 63<<20) + `"]`, 413, "4194304"},
}

// TestBadBodies sends what is no list of statements, and what is too large; a
// client that sends all before it reads sees the answer.
func TestBadBodies(t *testing.T) {
	program(t)
	a := newAgent(t)
	a.write("schema/s.sql", apiSchema)
	a.start()
	a.exec("INSERT INTO t VALUES(1, 'first')")
	p := a.probe()
	for _, test := range badBodies {
		for _, path := range []string{"/v1/transactions", "/v1/migrations"} {
			status, answer := a.post(path, test.body)
			if status != test.status || !strings.HasPrefix(answer, `{"error":"`) || !strings.Contains(answer, test.want) {
				t.Errorf("%s at %s: %d %.300s, want %d with %q", test.desc, path, status, answer, test.status, test.want)
			}
		}
		p.check(t)
	}
	for _, test := range []struct {
		method, path, header, value string
		status                      int
	}{
		{"GET", "/v1/transactions", "", "", 405},
		{"POST", "/v1/status", "", "", 405},
		{"POST", "/v1/transaction", "", "", 404},
		{"POST", "/v1/transactions", "Content-Encoding", "gzip", 415},
		{"POST", "/v1/transactions", "Origin", "https://evil.example", 403},
		{"POST", "/v1/transactions?a=%zz", "", "", 400},
	} {
		r, err := http.NewRequestWithContext(t.Context(), test.method, "http://"+a.facts["api"]+test.path, strings.NewReader(`["DELETE FROM t"]`))
		if err != nil {
			t.Fatal(err)
		}
		if test.header != "" {
			r.Header.Set(test.header, test.value)
		}
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(answer.Body)
		answer.Body.Close()
		if answer.StatusCode != test.status || !strings.HasPrefix(string(body), `{"error":"`) {
			t.Errorf("%s %s %s: %d %s, want %d", test.method, test.path, test.header, answer.StatusCode, body, test.status)
		}
		p.check(t)
	}
}
