package sqlite
import ("testing";"fmt";"sort")
func TestProbe(t *testing.T) {
	c, err := Open(Config{})
	if err != nil { t.Fatal(err) }
	defer c.Close()
	var missing []string
	seen := map[string]bool{}
	c.eachRow("PRAGMA function_list", func(s *Stmt) { n := fold(s.Column(0).Text()); if !functions[n] && !seen[n] { seen[n]=true; missing = append(missing, n) }; seen[n]=true })
	sort.Strings(missing)
	fmt.Println("not allowed:", missing)
	for f := range functions { if !seen[f] { fmt.Println("absent:", f) } }
	fmt.Println(c.modules)
	probe := func(m Mode, sql string) {
		c.SetMode(m)
		s, tail, err := c.Prepare(sql)
		fmt.Printf("%v %q: err=%v tail=%q", m, sql, err, tail)
		if s != nil {
			fmt.Printf(" access=%+v", *s.Access())
			row, err := s.Step()
			fmt.Print(" step ", row, err)
			s.Finalize()
		}
		fmt.Println()
		c.SetMode(ModeInternal)
	}
	c.Exec("CREATE TABLE u(id INTEGER PRIMARY KEY, a, b); CREATE TABLE __patina_log(k INTEGER PRIMARY KEY, data); INSERT INTO __patina_log VALUES(1,'secret'); CREATE VIEW vl AS SELECT * FROM __patina_log; CREATE VIRTUAL TABLE ft USING fts5(x); CREATE VIRTUAL TABLE rt USING rtree(id,a,b)")
	for _, q := range []string{"CREATE TABLE t1(id INTEGER PRIMARY KEY AUTOINCREMENT, a TEXT UNIQUE CHECK(length(a)>0), b DEFAULT (abs(1)))", "CREATE INDEX i1 ON t1(lower(a)) WHERE b>0","CREATE UNIQUE INDEX IF NOT EXISTS i1 ON t1(a)", "CREATE TABLE t2 AS SELECT * FROM u", "CREATE TABLE IF NOT EXISTS u(x)", "CREATE TABLE __Patina_q(a)", "CREATE INDEX i2 ON __patina_log(data)", "INSERT INTO sqlite_master VALUES(1,2,3,4,5)", "UPDATE sqlite_master SET sql='x'", "DELETE FROM sqlite_master", "CREATE TEMP TABLE x(a)", "CREATE VIRTUAL TABLE x USING fts5(a)", "CREATE TRIGGER x AFTER INSERT ON u BEGIN SELECT 1; END", "CREATE VIEW x AS SELECT 1", "DROP TABLE u", "DROP INDEX i1", "ALTER TABLE u ADD COLUMN z", "ALTER TABLE u RENAME TO w", "ALTER TABLE u DROP COLUMN b", "INSERT INTO u VALUES(1,2,3)", "SELECT 1", "PRAGMA user_version=3", "VACUUM", "CREATE TABLE t9(a, FOREIGN KEY(a) REFERENCES u(id))", "CREATE TABLE g(id INTEGER PRIMARY KEY, a, b AS (a+1) STORED, c AS (upper(a)))", "CREATE TABLE gw(a TEXT PRIMARY KEY, b) WITHOUT ROWID", "CREATE TABLE gs(a TEXT PRIMARY KEY, b ANY) STRICT", "CREATE TABLE bad(a CHECK(load_extension(a)))"} { probe(ModeMigrate, q) }
	for _, q := range []string{"CREATE TABLE t3(a)", "CREATE INDEX i3 ON u(a)", "DROP TABLE u", "DROP INDEX i1", "DROP VIEW vl", "ALTER TABLE u ADD COLUMN z", "CREATE TRIGGER x AFTER INSERT ON u BEGIN SELECT 1; END", "VACUUM", "VACUUM INTO '/tmp/zz.db'", "REINDEX", "ANALYZE", "ATTACH 'x' AS y", "DETACH y", "BEGIN", "SAVEPOINT s", "RELEASE s","END", "ROLLBACK TO s", "PRAGMA user_version", "PRAGMA user_version=3", "SELECT * FROM pragma_table_info('u')", "SELECT * FROM vl", "SELECT count(*) FROM __patina_log AS q", "EXPLAIN INSERT INTO __patina_log VALUES(1,2)", "EXPLAIN SELECT 1", "INSERT INTO ft VALUES('abc')", "SELECT * FROM ft WHERE ft MATCH 'abc'", "INSERT INTO rt VALUES(1,2,3)", "SELECT * FROM rt", "INSERT INTO u(a) VALUES(1) RETURNING id", "INSERT INTO u(a) SELECT data FROM __patina_log", "UPDATE u SET a=1 FROM (SELECT 1) x", "WITH d AS (SELECT 1) DELETE FROM u WHERE id IN d", "SELECT * FROM sqlite_dbpage", "SELECT rtreecheck('u')", "DELETE FROM sqlite_sequence", "SELECT * FROM sqlite_stmt", "SELECT 'a' REGEXP 'b'", "SELECT * FROM u LEFT JOIN json_each(u.a)", "PRAGMA journal_mode", "PRAGMA writable_schema=1", "WITH __patina_x(a) AS (SELECT 1) SELECT * FROM __patina_x", "WITH __patina_x(a) AS (SELECT data FROM __patina_log) SELECT * FROM __patina_x", "SELECT \"dqs\"", "INSERT INTO u(id) VALUES(1) ON CONFLICT DO UPDATE SET b=excluded.b", "SELECT raise(abort,'x')", "INSERT INTO sqlite_stat1 VALUES(1,2,3)", "REPLACE INTO u VALUES(1,2,3)", "SELECT * FROM sqlite_temp_master", "SELECT fts5_source_id()"} { probe(ModeWrite, q) }
}
