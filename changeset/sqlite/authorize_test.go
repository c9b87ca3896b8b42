package sqlite

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	lib "modernc.org/sqlite/lib"
)

// secretSchema has tables of ours with a content that must never come out, and
// what an outsider may have left in the file to get at it.
const secretSchema = `
CREATE TABLE u(id INTEGER PRIMARY KEY, a, b);
INSERT INTO u VALUES(1, 'x', '[1,2]');
CREATE TABLE "Odd name"(id INTEGER PRIMARY KEY AUTOINCREMENT, a);
CREATE TABLE __patina_log(k INTEGER PRIMARY KEY, data);
INSERT INTO __patina_log VALUES(1, 'SECRET');
CREATE TABLE __PATINA_upper(k);
CREATE VIEW leak AS SELECT data FROM __patina_log;
CREATE VIEW leak2 AS SELECT * FROM leak;
CREATE VIEW fine AS SELECT a FROM u;
CREATE TABLE bait(id INTEGER PRIMARY KEY, a);
CREATE TRIGGER spy AFTER INSERT ON bait BEGIN INSERT INTO u(a) SELECT data FROM __patina_log; END;
CREATE TABLE bait2(id INTEGER PRIMARY KEY, a);
CREATE TRIGGER wipe AFTER UPDATE OF a ON bait2 BEGIN DELETE FROM __patina_log; END;
CREATE TABLE bait3(id INTEGER PRIMARY KEY, a);
CREATE TRIGGER nested AFTER INSERT ON bait3 BEGIN INSERT INTO bait(a) VALUES(NEW.a); END;
CREATE VIRTUAL TABLE ft USING fts5(x, content='__patina_log', content_rowid='k');
CREATE VIRTUAL TABLE words USING fts5(x);
INSERT INTO words VALUES('hello world');
CREATE VIRTUAL TABLE box USING rtree(id, lo, hi);
`

// attempt prepares and runs sql under a mode and returns its rows.
func attempt(c *Conn, m Mode, sql string) (rows string, err error) {
	c.SetMode(m)
	defer c.SetMode(ModeInternal)
	s, _, err := c.Prepare(sql)
	if err != nil || s == nil {
		return "", err
	}
	defer s.Finalize()
	for {
		row, err := s.Step()
		if err != nil || !row {
			return rows, err
		}
		for i := range s.ColumnCount() {
			rows += s.Column(i).String() + " "
		}
	}
}

func TestClientModesAllow(t *testing.T) {
	read := []string{
		"SELECT * FROM u",
		"SELECT count(*) FROM u",
		"SELECT 1",
		"VALUES(1),(2)",
		`SELECT * FROM "Odd name"`,
		"SELECT a FROM fine",
		"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n LIMIT 3) SELECT sum(i) FROM n",
		"WITH __patina_x(a) AS (SELECT 1) SELECT a FROM __patina_x",
		"SELECT name, sql FROM sqlite_master",
		"SELECT name FROM sqlite_schema",
		"SELECT * FROM sqlite_sequence",
		"SELECT value FROM u, json_each(u.b)",
		"SELECT b ->> 0, b -> '$[1]' FROM u",
		"SELECT key FROM json_tree('{\"a\":1}')",
		"SELECT row_number() OVER (ORDER BY id), lag(a) OVER (ORDER BY id) FROM u",
		"SELECT group_concat(a, ',') FILTER (WHERE id > 0) FROM u",
		"SELECT upper(a), a LIKE 'x%', a GLOB 'x*', length(a), coalesce(a, 1), iif(1, 2, 3) FROM u",
		"SELECT datetime('now'), CURRENT_TIMESTAMP, unixepoch()",
		"SELECT sin(1), pow(2, 3), round(1.5)",
		"SELECT hex(randomblob(4)), quote(a), printf('%d', 1), random() FROM u",
		"PRAGMA table_info(u)", "PRAGMA main.table_xinfo('u')", "PRAGMA table_list", "PRAGMA index_list(u)",
		"PRAGMA user_version", "PRAGMA schema_version", "PRAGMA foreign_keys", "PRAGMA compile_options",
		"PRAGMA quick_check", "PRAGMA database_list",
		"SELECT name FROM pragma_table_info('u')",
		"SELECT * FROM pragma_user_version",
		"SELECT m.name, p.name FROM sqlite_master m, pragma_table_info(m.name) p WHERE m.name = 'u'",
		"EXPLAIN SELECT * FROM u", "EXPLAIN QUERY PLAN SELECT * FROM u",
		"SELECT x FROM words WHERE words MATCH 'hello' ORDER BY rank",
		"SELECT bm25(words), highlight(words, 0, '<', '>') FROM words('hello')",
		"SELECT * FROM box",
		"SELECT id, rowid, oid FROM u NATURAL JOIN (SELECT 1)",
	}
	write := []string{
		"INSERT INTO u(a) VALUES(1)",
		"INSERT INTO u(a) VALUES(1) RETURNING id, a",
		"REPLACE INTO u VALUES(1, 2, 3)",
		"INSERT INTO u(id) VALUES(1) ON CONFLICT DO UPDATE SET b = excluded.b WHERE true",
		"UPDATE u SET a = 1",
		"UPDATE u SET a = x.n FROM (SELECT 2 AS n) AS x",
		"WITH d AS (SELECT 1) DELETE FROM u WHERE id IN d",
		"DELETE FROM u",
		`INSERT INTO "Odd name"(a) VALUES(1)`,
		"INSERT INTO u(a) SELECT a FROM u",
		"EXPLAIN DELETE FROM u",
		"INSERT INTO words VALUES('more')",
	}
	migrate := []string{
		"CREATE TABLE m1(id INTEGER PRIMARY KEY AUTOINCREMENT, a TEXT UNIQUE CHECK(length(a) > 0), b DEFAULT (abs(1)))",
		"CREATE TABLE m2(a TEXT PRIMARY KEY, b REFERENCES u(id)) WITHOUT ROWID, STRICT",
		"CREATE TABLE m2(a TEXT PRIMARY KEY, b INTEGER REFERENCES u(id)) WITHOUT ROWID, STRICT",
		"CREATE TABLE m3(a, b AS (a + 1) STORED, c AS (upper(a)))",
		"CREATE TABLE IF NOT EXISTS u(x)",
		"CREATE INDEX i1 ON u(lower(a), b DESC) WHERE b > 0",
		"CREATE UNIQUE INDEX IF NOT EXISTS i1 ON u(a)",
	}
	c := openMemory(t, secretSchema)
	for _, tt := range []struct {
		modes []Mode
		sql   []string
	}{{[]Mode{ModeRead, ModeWrite}, read}, {[]Mode{ModeWrite}, write}, {[]Mode{ModeMigrate}, migrate}} {
		for _, m := range tt.modes {
			for _, sql := range tt.sql {
				rows, err := attempt(c, m, sql)
				if errors.Is(err, ErrAuth) || strings.Contains(rows, "SECRET") {
					t.Errorf("%v: %s: %v %s", m, sql, err, rows)
				} else if err != nil && !strings.Contains(sql, "STRICT") {
					t.Errorf("%v: %s: %v", m, sql, err)
				}
			}
		}
	}
}

// Whatever a client sends, the secret does not come out, and nothing of ours
// changes.
func FuzzClientSQL(f *testing.F) {
	for _, tt := range deniedToClients {
		f.Add(tt.sql)
	}
	for _, sql := range []string{
		"SELECT * FROM u, json_each(u.b) WHERE u.rowid IN (SELECT k FROM pragma_table_list)",
		"INSERT INTO u(a) VALUES(1) ON CONFLICT(id) DO UPDATE SET a = excluded.a RETURNING *",
		"CREATE TABLE x(a REFERENCES __patina_log(k), b CHECK(b > (1)), c AS (a || b))",
	} {
		f.Add(sql)
	}
	f.Fuzz(func(t *testing.T, sql string) {
		c := openMemory(t, secretSchema)
		k := &clock{step: time.Second}
		for _, m := range []Mode{ModeRead, ModeWrite, ModeMigrate} {
			c.SetDeadline(time.Time{}.Add(50*time.Second), k.Now)
			c.SetLimit(LimitLength, 1<<20)
			if rows, _ := attempt(c, m, sql); strings.Contains(rows, "SECRET") {
				t.Errorf("%v: %q: %s", m, sql, rows)
			}
			k.now = time.Time{}
			c.SetDeadline(time.Time{}, nil)
			want(t, query(t, c, "SELECT k, data FROM __patina_log"), "1 'SECRET'")
			want(t, query(t, c, "SELECT count(*) FROM sqlite_master WHERE name LIKE '~_~_patina~_%' ESCAPE '~' OR type = 'trigger'"), "5")
			if !c.Autocommit() {
				t.Fatalf("%v: %q left a transaction", m, sql)
			}
		}
	})
}

// In every client mode.
var deniedToClients = []struct{ sql, reason string }{
	{"SELECT * FROM __patina_log", "access to table __patina_log is not allowed"},
	{"SELECT count(*) FROM __patina_log AS q", "access to table __patina_log is not allowed"},
	{"SELECT 1 FROM __PATINA_LOG", "access to table __PATINA_LOG is not allowed"},
	{"SELECT k FROM [__patina_upper]", "access to table __PATINA_upper is not allowed"},
	{"SELECT * FROM leak2", "access to table __patina_log is not allowed"},
	{"SELECT (SELECT data FROM __patina_log)", "access to table __patina_log is not allowed"},
	{"SELECT a FROM u WHERE EXISTS (SELECT 1 FROM __patina_log WHERE data LIKE 'S%')", "access to table __patina_log is not allowed"},
	{"WITH u AS (SELECT data AS a FROM __patina_log) SELECT a FROM u", "access to table __patina_log is not allowed"},
	{"WITH __patina_x(a) AS (SELECT data FROM __patina_log) SELECT a FROM __patina_x", "access to table __patina_log is not allowed"},
	{"SELECT a FROM (SELECT data AS a FROM __patina_log LIMIT 5) AS __patina_log", "access to table __patina_log is not allowed"},
	{"EXPLAIN INSERT INTO __patina_log VALUES(2, 3)", ""},
	{"EXPLAIN QUERY PLAN SELECT * FROM __patina_log", "access to table __patina_log is not allowed"},
	{"SELECT * FROM sqlite_dbpage", "access to table sqlite_dbpage is not allowed"},
	{"SELECT data FROM sqlite_dbpage('main')", "access to table sqlite_dbpage is not allowed"},
	{"SELECT * FROM dbstat", "access to virtual table dbstat is not allowed"},
	{"SELECT rtreecheck('__patina_log')", "function rtreecheck is not allowed"},
	{"SELECT load_extension('x')", "function load_extension is not allowed"},
	{"SELECT LOAD_EXTENSION('x')", "function load_extension is not allowed"},
	{"SELECT sqlite_log(1, 'x')", "function sqlite_log is not allowed"},
	{"SELECT fts5_source_id()", "function fts5_source_id is not allowed"},
	{"PRAGMA query_only=0", "PRAGMA query_only is not allowed"},
	{"PRAGMA writable_schema=1", "PRAGMA writable_schema is not allowed"},
	{"PRAGMA journal_mode=DELETE", "PRAGMA journal_mode is not allowed"},
	{"PRAGMA wal_checkpoint(TRUNCATE)", "PRAGMA wal_checkpoint is not allowed"},
	{"PRAGMA main.user_version=5", "PRAGMA user_version may be read, but not set"},
	{"PRAGMA schema_version(99)", "PRAGMA schema_version may be read, but not set"},
	{"PRAGMA foreign_keys=ON", "PRAGMA foreign_keys may be read, but not set"},
	{"PRAGMA foreign_key_check(u)", "PRAGMA foreign_key_check is not allowed"},
	{"SELECT * FROM pragma_foreign_key_check", "PRAGMA foreign_key_check is not allowed"},
	{"SELECT sample FROM sqlite_stat4", "access to table sqlite_stat4 is not allowed"},
	{"PRAGMA optimize", "PRAGMA optimize is not allowed"},
	{"PRAGMA temp_store_directory='/tmp'", "PRAGMA temp_store_directory is not allowed"},
	{"PRAGMA Key='x'", "PRAGMA key is not allowed"},
	{"SELECT * FROM pragma_optimize", "PRAGMA optimize is not allowed"},
	{"SELECT * FROM pragma_synchronous", "PRAGMA synchronous is not allowed"},
	{"BEGIN", "BEGIN is not allowed: every request is one transaction"},
	{"BEGIN IMMEDIATE", "BEGIN is not allowed: every request is one transaction"},
	{"COMMIT", "COMMIT is not allowed: every request is one transaction"},
	{"END", "COMMIT is not allowed: every request is one transaction"},
	{"ROLLBACK", "ROLLBACK is not allowed: every request is one transaction"},
	{"SAVEPOINT s", "SAVEPOINT is not allowed: every request is one transaction"},
	{"RELEASE s", "RELEASE is not allowed: every request is one transaction"},
	{"ROLLBACK TO s", "ROLLBACK is not allowed: every request is one transaction"},
	{"ATTACH ':memory:' AS m", "ATTACH is not allowed"},
	{"DETACH main", "DETACH is not allowed"},
	{"VACUUM", "VACUUM is not allowed"},
	{"REINDEX", "REINDEX is not allowed"},
	{"ANALYZE", ""},
	{"ANALYZE u", ""},
	{"CREATE TEMP TABLE x(a)", ""},
	{"CREATE TABLE temp.x(a)", ""},
	{"CREATE TEMP TRIGGER x AFTER INSERT ON u BEGIN SELECT 1; END", ""},
	{"CREATE VIRTUAL TABLE x USING fts5(a)", ""},
	{"CREATE VIRTUAL TABLE temp.v USING fts5vocab('main', 'words', 'row')", ""},
	{"CREATE TRIGGER x AFTER INSERT ON u BEGIN SELECT 1; END", ""},
	{"CREATE VIEW x AS SELECT 1", ""},
	{"CREATE TABLE x AS SELECT data FROM __patina_log", ""},
	{"CREATE TABLE __Patina_q(a)", ""},
	{"CREATE INDEX i2 ON __patina_log(data)", ""},
	{"ALTER TABLE u ADD COLUMN z", ""},
	{"ALTER TABLE u RENAME TO w", ""},
	{"ALTER TABLE u RENAME a TO z", ""},
	{"ALTER TABLE u DROP COLUMN b", ""},
	{"ALTER TABLE __patina_log RENAME TO w", ""},
	{"DROP TABLE u", ""},
	{"DROP TABLE __patina_log", ""},
	{"DROP VIEW fine", ""},
	{"DROP TRIGGER spy", ""},
	{"DROP TABLE words", ""},
	{"DELETE FROM sqlite_sequence", ""},
	{"INSERT INTO __patina_log VALUES(2, 'x')", ""},
	{"INSERT INTO __PATINA_LOG VALUES(2, 'x')", ""},
	{"UPDATE __patina_log SET data = 1", ""},
	{"DELETE FROM __patina_log", ""},
	{"REPLACE INTO __patina_log VALUES(1, 'x')", ""},
	{"INSERT INTO u(a) SELECT data FROM __patina_log", ""},
	{"INSERT INTO u(a) VALUES(1) RETURNING (SELECT data FROM __patina_log)", ""},
	{"INSERT INTO u(id) VALUES(1) ON CONFLICT DO UPDATE SET a = (SELECT data FROM __patina_log)", ""},
	{"UPDATE u SET a = l.data FROM __patina_log AS l", ""},
	{"WITH x AS (SELECT k FROM __patina_log) DELETE FROM u WHERE id IN x", ""},
	{"INSERT INTO bait(a) VALUES(1)", ""},
	{"INSERT INTO bait3(a) VALUES(1)", ""},
	{"UPDATE bait2 SET a = 1", ""},
	{"INSERT INTO sqlite_dbpage(pgno, data) VALUES(1, x'')", ""},
}

func TestClientModesDeny(t *testing.T) {
	c := openMemory(t, secretSchema, "INSERT INTO bait2(a) VALUES(1); CREATE INDEX iu ON u(a); ANALYZE")
	for _, m := range []Mode{ModeRead, ModeWrite, ModeMigrate} {
		before := c.TotalChanges()
		for _, tt := range append(deniedToClients, struct{ sql, reason string }{"DROP INDEX iu", ""}) {
			rows, err := attempt(c, m, tt.sql)
			var e *Error
			switch {
			case err == nil || rows != "":
				t.Errorf("%v: %s: allowed: %v %s", m, tt.sql, err, rows)
			case !errors.As(err, &e) || e.Code != ErrAuth:
				t.Errorf("%v: %s: another error: %v", m, tt.sql, err)
			case strings.Contains(e.Message, "not authorized") || strings.Contains(e.Message, "prohibited"):
				t.Errorf("%v: %s: no reason: %v", m, tt.sql, err)
			case m != ModeMigrate && tt.reason != "" && e.Message != tt.reason:
				t.Errorf("%v: %s: %q, want %q", m, tt.sql, e.Message, tt.reason)
			}
		}
		if c.TotalChanges() != before || !c.Autocommit() {
			t.Errorf("%v: something was changed", m)
		}
	}
	want(t, query(t, c, "SELECT data FROM __patina_log"), "'SECRET'")
}

// What can be said at prepare is said there: a caller may have answered with
// the columns by the time of the first step.
func TestPragmaFunctionsAreDeniedAtPrepare(t *testing.T) {
	c := openMemory(t)
	c.SetMode(ModeRead)
	for _, sql := range []string{"SELECT * FROM pragma_optimize", "SELECT 1 FROM Pragma_Synchronous"} {
		if _, _, err := c.Prepare(sql); !errors.Is(err, ErrAuth) {
			t.Errorf("%s: %v", sql, err)
		}
	}
}

func TestDenialReasonByMode(t *testing.T) {
	c := openMemory(t, secretSchema)
	for _, tt := range []struct {
		mode        Mode
		sql, reason string
	}{
		{ModeWrite, "CREATE TABLE t(a)", "CREATE TABLE is not allowed here: send schema changes to /v1/migrations"},
		{ModeWrite, "CREATE INDEX i ON u(a)", "CREATE INDEX is not allowed here: send schema changes to /v1/migrations"},
		{ModeWrite, "DROP TABLE u", "DROP TABLE is not allowed here: send schema changes to /v1/migrations"},
		{ModeWrite, "ALTER TABLE u ADD z", "ALTER TABLE is not allowed here: send schema changes to /v1/migrations"},
		{ModeWrite, "CREATE TEMP TABLE t(a)", "CREATE TEMP TABLE is not allowed here: send schema changes to /v1/migrations"},
		{ModeWrite, "ANALYZE", "ANALYZE is not allowed"},
		{ModeRead, "CREATE TABLE t(a)", "CREATE TABLE is not allowed here: send schema changes to /v1/migrations"},
		{ModeRead, "INSERT INTO u VALUES(1,2,3)", "INSERT is not allowed in a query"},
		{ModeRead, "WITH d AS (SELECT 1) DELETE FROM u WHERE id IN d", "DELETE is not allowed in a query"},
		{ModeRead, "UPDATE u SET a=1 RETURNING a", "UPDATE is not allowed in a query"},
		{ModeRead, "EXPLAIN UPDATE u SET a=1", "UPDATE is not allowed in a query"},
		{ModeMigrate, "SELECT 1", "SELECT is not allowed in a migration, nor is CREATE TABLE AS SELECT"},
		{ModeMigrate, "CREATE TABLE t AS SELECT * FROM u", "SELECT is not allowed in a migration, nor is CREATE TABLE AS SELECT"},
		{ModeMigrate, "INSERT INTO u VALUES(1,2,3)", "INSERT is not allowed in a migration: only CREATE TABLE and CREATE INDEX are"},
		{ModeMigrate, "DROP TABLE u", "DROP TABLE is not allowed in a migration: only CREATE TABLE and CREATE INDEX are"},
		{ModeMigrate, "CREATE TABLE x(a CHECK(load_extension(a)))", "function load_extension is not allowed"},
	} {
		_, err := attempt(c, tt.mode, tt.sql)
		if !errors.Is(err, ErrAuth) || err.Error() != tt.reason {
			t.Errorf("%v: %s: %v", tt.mode, tt.sql, err)
		}
	}
	// SQLite refuses by itself.
	for _, sql := range []string{
		"INSERT INTO sqlite_master VALUES('table', 'x', 'x', 2, 'CREATE TABLE x(a)')",
		"UPDATE sqlite_master SET sql = 'x'",
		"DELETE FROM sqlite_schema",
	} {
		for _, m := range []Mode{ModeRead, ModeWrite, ModeMigrate} {
			if _, err := attempt(c, m, sql); err == nil || err.Error() != "table sqlite_master may not be modified" {
				t.Errorf("%v: %s: %v", m, sql, err)
			}
		}
	}
	// The reason of one statement does not stick to the next.
	if _, err := attempt(c, ModeWrite, "nonsense"); err == nil || errors.Is(err, ErrAuth) {
		t.Error(err)
	}
}

// Where SQLite would allow it, we do not.
func TestSchemaTableIsNotWritten(t *testing.T) {
	c := openMemory(t, secretSchema)
	if err := c.setConfig(lib.SQLITE_DBCONFIG_DEFENSIVE, 0); err != nil {
		t.Fatal(err)
	}
	mustExec(t, c, "PRAGMA writable_schema=1")
	for _, m := range []Mode{ModeRead, ModeWrite, ModeMigrate} {
		for _, sql := range []string{"DELETE FROM sqlite_master", "UPDATE sqlite_master SET sql = 'x'", "INSERT INTO sqlite_schema VALUES(1,2,3,4,5)"} {
			if _, err := attempt(c, m, sql); !errors.Is(err, ErrAuth) {
				t.Errorf("%v: %s: %v", m, sql, err)
			}
		}
	}
}

// SQLite authorizes VACUUM INTO as ATTACH, and only at step. The mode is that
// of the statement, whatever the connection's is by then.
func TestModeHoldsAtStep(t *testing.T) {
	c := openWith(t, Config{Path: newPath(t), Create: true}, secretSchema)
	out := filepath.Join(t.TempDir(), "copy.db")
	for _, m := range []Mode{ModeRead, ModeWrite, ModeMigrate} {
		c.SetMode(m)
		s, _, err := c.Prepare("VACUUM INTO '" + out + "'")
		if err != nil {
			t.Fatal(err)
		}
		c.SetMode(ModeInternal)
		if err := s.Run(); !errors.Is(err, ErrAuth) || err.Error() != "VACUUM is not allowed" {
			t.Errorf("%v: %v", m, err)
		}
		s.Finalize()
		if _, err := os.Stat(out); err == nil {
			t.Fatalf("%v: the whole database was written to a file", m)
		}
	}
	mustExec(t, c, "VACUUM INTO '"+out+"'")
	if _, err := os.Stat(out); err != nil {
		t.Error("internal VACUUM INTO:", err)
	}
}

// A schema change makes SQLite prepare a statement again at step.
func TestModeHoldsWhenPreparedAgain(t *testing.T) {
	c := openMemory(t, secretSchema)
	c.SetMode(ModeRead)
	s, _, err := c.Prepare("SELECT a FROM fine")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Finalize()
	c.SetMode(ModeInternal)
	mustExec(t, c, "DROP VIEW fine; CREATE VIEW fine AS SELECT data AS a FROM __patina_log")
	if row, err := s.Step(); row || !errors.Is(err, ErrAuth) {
		t.Error("the view was changed under the statement:", row, err)
	}
}

// An FTS5 table reads its content table at step.
func TestContentTableIsDeniedAtStep(t *testing.T) {
	c := openMemory(t, secretSchema)
	if rows, err := attempt(c, ModeRead, "SELECT * FROM ft"); !errors.Is(err, ErrAuth) || rows != "" {
		t.Error(rows, err)
	}
}

func TestOwnFunctionsAreAllowed(t *testing.T) {
	c := openMemory(t)
	if err := c.CreateFunction("Answer", 0, func([]Value) (Value, error) { return integers(42)[0], nil }); err != nil {
		t.Fatal(err)
	}
	rows, err := attempt(c, ModeRead, "SELECT answer(), ANSWER()")
	if err != nil {
		t.Fatal(err)
	}
	want(t, rows, "42 42 ")
}

func TestInternalFunctionsAreDenied(t *testing.T) {
	c := openMemory(t, "CREATE TABLE t(a); CREATE TABLE u(a); INSERT INTO t VALUES(1)")
	if err := c.CreateInternal("Answer", 0, func([]Value) (Value, error) { return integers(42)[0], nil }); err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{"SELECT answer()", "SELECT a FROM t WHERE ANSWER() = 42"} {
		if rows, err := attempt(c, ModeRead, sql); !errors.Is(err, ErrAuth) || rows != "" {
			t.Errorf("%s: %q, %v", sql, rows, err)
		}
	}
	if _, err := attempt(c, ModeWrite, "UPDATE t SET a = answer()"); !errors.Is(err, ErrAuth) {
		t.Error(err)
	}
	rows, err := attempt(c, ModeInternal, "SELECT answer()")
	if err != nil {
		t.Fatal(err)
	}
	want(t, rows, "42 ")
	if err := c.Exec("CREATE TRIGGER r AFTER INSERT ON u BEGIN UPDATE t SET a = answer(); END"); err != nil {
		t.Fatal(err)
	}
	if err := c.Exec("INSERT INTO u VALUES(1)"); err == nil || !strings.Contains(err.Error(), "unsafe use of answer()") {
		t.Error(err)
	}
}

func TestAccess(t *testing.T) {
	c := openMemory(t, `
		CREATE TABLE t(id INTEGER PRIMARY KEY, a, b, c);
		CREATE TABLE log(w);
		CREATE VIEW v AS SELECT a FROM t;
		CREATE TRIGGER tr AFTER UPDATE OF a ON t BEGIN UPDATE t SET c = 1 WHERE id = NEW.id; INSERT INTO log VALUES(1); END`)
	for _, tt := range []struct{ sql, writes, reads, ddl string }{
		{"SELECT * FROM v", "", "t v", ""},
		{"SELECT count(*) FROM t", "", "t", ""},
		{"INSERT INTO t(a) VALUES(1)", "INSERT t", "", ""},
		{"UPDATE t SET b = 1", "UPDATE t b", "", ""},
		{"UPDATE t SET a = 1, id = 2", "UPDATE t a id c; INSERT log", "t", ""},
		{"UPDATE log SET rowid = 2", "UPDATE log ROWID", "", ""},
		{"DELETE FROM t WHERE a = 1", "DELETE t", "t", ""},
		{"INSERT INTO t(id) VALUES(1) ON CONFLICT DO UPDATE SET b = 2", "INSERT t; UPDATE t b", "", ""},
		{"CREATE TABLE n(id INTEGER PRIMARY KEY AUTOINCREMENT, a UNIQUE)", "", "", "CREATE TABLE n"},
		{"CREATE INDEX i ON t(a)", "", "", "CREATE INDEX i"},
		{"ALTER TABLE t ADD COLUMN d", "", "", "ALTER TABLE t"},
		{"DROP TABLE log", "DELETE log", "", "DROP TABLE log"},
	} {
		s, _, err := c.Prepare(tt.sql)
		if err != nil {
			t.Fatalf("%s: %v", tt.sql, err)
		}
		var writes, reads []string
		for _, w := range s.Access().Writes {
			writes = append(writes, strings.TrimSpace(w.Op.String()+" "+w.Table+" "+strings.Join(w.Columns, " ")))
		}
		for _, r := range s.Access().Reads {
			if !strings.HasPrefix(r, "sqlite_") && tt.ddl == "" {
				reads = append(reads, r)
			}
		}
		if g := strings.Join(writes, "; "); g != tt.writes {
			t.Errorf("%s: writes %q, want %q", tt.sql, g, tt.writes)
		}
		if g := strings.Join(reads, " "); g != tt.reads {
			t.Errorf("%s: reads %q, want %q", tt.sql, g, tt.reads)
		}
		if g := strings.Join(s.Access().DDL, "; "); g != tt.ddl {
			t.Errorf("%s: DDL %q, want %q", tt.sql, g, tt.ddl)
		}
		s.Finalize()
	}
}

// A trigger that came later is in Access once the statement has stepped.
func TestAccessGrowsWhenPreparedAgain(t *testing.T) {
	c := openMemory(t, "CREATE TABLE t(a, b); CREATE TABLE log(w)")
	s, _, err := c.Prepare("UPDATE t SET a = 1")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Finalize()
	mustExec(t, c, "CREATE TRIGGER tr AFTER UPDATE ON t BEGIN INSERT INTO log VALUES(1); END")
	if err := s.Run(); err != nil {
		t.Fatal(err)
	}
	if w := s.Access().Writes; len(w) != 2 || w[1].Table != "log" {
		t.Error(w)
	}
}

func TestFold(t *testing.T) {
	for in, out := range map[string]string{"": "", "abc": "abc", "aBC_É": "abc_É", "ÄZ": "Äz"} {
		if got := fold(in); got != out {
			t.Errorf("%q: %q", in, got)
		}
	}
	if isInternal("__patina") || !isInternal("__PaTiNa_x") || isInternal("x__patina_") {
		t.Error("prefix")
	}
}
