package store

import (
	"testing"
)

func TestSchemaRulesAccept(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ desc, sql string }{
		{"every kind of key", `CREATE TABLE a(k INTEGER PRIMARY KEY); CREATE TABLE b(k INT PRIMARY KEY); CREATE TABLE c(k TEXT NOT NULL PRIMARY KEY);
			CREATE TABLE d(k REAL PRIMARY KEY); CREATE TABLE e(k NUMERIC PRIMARY KEY); CREATE TABLE f(k BLOB PRIMARY KEY) WITHOUT ROWID;
			CREATE TABLE g(k VARCHAR(20), l DATETIME, PRIMARY KEY(k, l DESC))`},
		{"AUTOINCREMENT", "CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT)"},
		{"other collations beside the key", "CREATE TABLE t(id TEXT COLLATE BINARY PRIMARY KEY, a TEXT COLLATE NOCASE)"},
		{"a collation that an integer key never uses", "CREATE TABLE t(id INTEGER COLLATE NOCASE PRIMARY KEY)"},
		{"UNIQUE that the key implies", "CREATE TABLE t(id TEXT PRIMARY KEY, a INT, UNIQUE(a, id)); CREATE UNIQUE INDEX i ON t(id, a)"},
		{"UNIQUE over an integer key", "CREATE TABLE t(id INTEGER PRIMARY KEY, a, UNIQUE(id)); CREATE UNIQUE INDEX i ON t(a, id)"},
		{"CHECK with anything", "CREATE TABLE t(id TEXT PRIMARY KEY, j TEXT CHECK (json_valid(j)), n INT CHECK (abs(n) < 9))"},
		{"any default in a new table", "CREATE TABLE t(id TEXT PRIMARY KEY DEFAULT (lower(hex(randomblob(16)))), at TEXT DEFAULT CURRENT_TIMESTAMP)"},
		{"references", "CREATE TABLE p(id TEXT PRIMARY KEY); CREATE TABLE t(id TEXT PRIMARY KEY, p TEXT REFERENCES p ON DELETE CASCADE)"},
		{"generated columns", "CREATE TABLE t(id TEXT PRIMARY KEY, a TEXT, b AS (upper(trim(a))) STORED, c INT GENERATED ALWAYS AS (length(a) * 2 IN (1, 2)) VIRTUAL)"},
		{"expression and partial indexes", `CREATE TABLE t(id TEXT PRIMARY KEY, a TEXT, b INT); CREATE INDEX i ON t(lower(a), b % 3) WHERE b BETWEEN (1) AND (2) AND NOT (a IS NULL);
			CREATE INDEX j ON t(CAST(b AS VARCHAR(10))) WHERE a LIKE 'x%' OR a GLOB 'y*' OR a IN ('p', 'q') OR CASE WHEN (b) THEN (1) ELSE (0) END`},
		{"generated column of a STRICT table", "CREATE TABLE t(id TEXT PRIMARY KEY, a INT, b INT AS (a + 1), c ANY AS (a + 1) STORED) STRICT"},
		{"names that need quotes", `CREATE TABLE "a ""b"(id TEXT PRIMARY KEY, "on conflict rollback" TEXT, [group] INT, 'x''y' REAL, ` + "`check (`" + ` INT); CREATE INDEX "i)(" ON "a ""b"("group", 'x''y')`},
		{"ON CONFLICT of other kinds", "CREATE TABLE t(id TEXT PRIMARY KEY ON CONFLICT REPLACE, a TEXT NOT NULL ON CONFLICT IGNORE)"},
		{"schema name and IF NOT EXISTS", "CREATE TABLE IF NOT EXISTS main.t(id TEXT PRIMARY KEY); CREATE INDEX IF NOT EXISTS main.i ON t(id)"},
	} {
		if _, err := desiredSchema(schemaFiles(tt.sql)); err != nil {
			t.Errorf("%s: %v", tt.desc, err)
		}
	}
}

func TestSchemaRulesRefuse(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ desc, sql, table, column, reason string }{
		{"no key", "CREATE TABLE t(a)", "t", "", "no primary key"},
		{"untyped key", "CREATE TABLE t(id PRIMARY KEY)", "t", "id", "declared type"},
		{"ANY key", "CREATE TABLE t(id ANY PRIMARY KEY)", "t", "id", "ANY"},
		{"ANY key in STRICT", "CREATE TABLE t(id ANY PRIMARY KEY) STRICT", "t", "id", "ANY"},
		{"second of two keys", "CREATE TABLE t(a TEXT, b, PRIMARY KEY(a, b))", "t", "b", "declared type"},
		{"collation of the column", "CREATE TABLE t(id TEXT COLLATE NOCASE PRIMARY KEY)", "t", "id", "NOCASE"},
		{"collation of the key", "CREATE TABLE t(id TEXT, PRIMARY KEY(id COLLATE RTRIM)) WITHOUT ROWID", "t", "id", "RTRIM"},
		{"a column of another collation than its key", "CREATE TABLE t(id TEXT COLLATE NOCASE, PRIMARY KEY(id COLLATE BINARY))", "t", "id", "NOCASE"},
		{"INTEGER PRIMARY KEY DESC", "CREATE TABLE t(id INTEGER PRIMARY KEY DESC)", "t", "id", "DESC"},
		{"UNIQUE column", "CREATE TABLE t(id TEXT PRIMARY KEY, a TEXT UNIQUE)", "t", "a", "use a plain index"},
		{"UNIQUE constraint", "CREATE TABLE t(x TEXT, y TEXT, a TEXT, PRIMARY KEY(x, y), UNIQUE(x, a))", "t", "x", "use a plain index"},
		{"UNIQUE over the key by another collation", "CREATE TABLE t(id TEXT PRIMARY KEY, UNIQUE(id COLLATE NOCASE))", "t", "id", "use a plain index"},
		{"UNIQUE index", "CREATE TABLE t(id TEXT PRIMARY KEY, a TEXT); CREATE UNIQUE INDEX i ON t(a)", "t", "a", "use a plain index"},
		{"UNIQUE index on an expression", "CREATE TABLE t(id TEXT PRIMARY KEY, a TEXT); CREATE UNIQUE INDEX i ON t(lower(id))", "t", "", "use a plain index"},
		{"ON CONFLICT ROLLBACK", "CREATE TABLE t(id TEXT PRIMARY KEY, a INT NOT NULL ON /* x */ CONFLICT\nRollback)", "t", "", "ON CONFLICT ROLLBACK"},
		{"hidden rowid", "CREATE TABLE t(rowid TEXT PRIMARY KEY, OID, _rowid_)", "t", "rowid", "hide the rowid"},
		{"generated with a function that fails", "CREATE TABLE t(id TEXT PRIMARY KEY, j TEXT, g AS (json_extract(j, '$.a')))", "t", "g", "json_extract"},
		{"generated with an operator that fails", "CREATE TABLE t(id TEXT PRIMARY KEY, j TEXT, g TEXT GENERATED ALWAYS AS (j ->> 'a') STORED)", "t", "g", "->>"},
		{"generated with abs in quotes", `CREATE TABLE t(id TEXT PRIMARY KEY, j INT, g AS ("abs"(j)))`, "t", "g", "abs"},
		{"generated NOT NULL", "CREATE TABLE t(id TEXT PRIMARY KEY, a, g NOT NULL AS (a))", "t", "g", "NOT NULL"},
		{"generated STORED in STRICT", "CREATE TABLE t(id TEXT PRIMARY KEY, a INT, g INT AS (a) STORED) STRICT", "t", "g", "VIRTUAL"},
		{"expression index", "CREATE TABLE t(id TEXT PRIMARY KEY, a INT); CREATE INDEX i ON t(abs(a))", "t", "", "abs"},
		{"partial index", "CREATE TABLE t(id TEXT PRIMARY KEY, a INT); CREATE INDEX i ON t(a) WHERE json_type(id) = 'x'", "t", "", "json_type"},
		{"LIKE with a pattern from the row", "CREATE TABLE t(id TEXT PRIMARY KEY, a TEXT); CREATE INDEX i ON t(a) WHERE id LIKE a", "t", "", "pattern"},
		{"ESCAPE", "CREATE TABLE t(id TEXT PRIMARY KEY, a TEXT); CREATE INDEX i ON t(a) WHERE id LIKE 'a' ESCAPE a", "t", "", "escape"},
		{"a call after a cast", "CREATE TABLE t(id TEXT PRIMARY KEY, a TEXT); CREATE INDEX i ON t(CAST(a AS VARCHAR(3)) || printf(a))", "t", "", "printf"},
		{"default that STRICT refuses", "CREATE TABLE t(id TEXT PRIMARY KEY, a INT DEFAULT 'x') STRICT", "t", "a", "does not fit"},
		{"default that SQLite reads in two ways", "CREATE TABLE t(id TEXT PRIMARY KEY, a TEXT DEFAULT 1.50)", "t", "a", "in quotes, as '1.5'"},
		{"temporary table", "CREATE TEMP TABLE t(id TEXT PRIMARY KEY)", "t", "", "temporary"},
		{"table in temp", "CREATE TABLE temp.t(id TEXT PRIMARY KEY)", "t", "", "temporary"},
		{"another database", "CREATE TABLE other.t(id TEXT PRIMARY KEY)", "t", "", "database other"},
		{"as select", "CREATE TABLE IF NOT EXISTS t AS SELECT 1", "t", "", "AS SELECT"},
		{"FTS5", "CREATE VIRTUAL TABLE f USING fts5(x)", "f", "", "virtual tables"},
		{"R*Tree", "CREATE VIRTUAL TABLE IF NOT EXISTS r USING rtree(id, a, b)", "r", "", "virtual tables"},
		{"our prefix", "CREATE TABLE __Patina_x(id TEXT PRIMARY KEY)", "__Patina_x", "", "reserved"},
		{"our prefix for an index", "CREATE TABLE t(id TEXT PRIMARY KEY); CREATE INDEX __patina_i ON t(id)", "t", "", "reserved"},
		{"SQLite's prefix", "CREATE TABLE SQLITE_x(id TEXT PRIMARY KEY)", "SQLITE_x", "", "reserved"},
		{"view", "CREATE VIEW v AS SELECT 1", "", "", "CREATE VIEW v is refused"},
		{"trigger", "CREATE TABLE t(id TEXT PRIMARY KEY); CREATE TRIGGER tr AFTER INSERT ON t BEGIN SELECT 1; END", "t", "", "CREATE TRIGGER tr is refused"},
		{"insert", "CREATE TABLE t(id TEXT PRIMARY KEY); INSERT OR IGNORE INTO t VALUES(1)", "t", "", "INSERT OR IGNORE INTO is refused"},
		{"update", "UPDATE t SET a = 1", "t", "", "UPDATE is refused"},
		{"delete", "DELETE FROM t", "t", "", "DELETE FROM is refused"},
		{"drop table", "DROP TABLE IF EXISTS main.t", "t", "", "DROP TABLE is refused"},
		{"drop index", "DROP INDEX i", "", "", "DROP INDEX i is refused"},
		{"alter", "ALTER TABLE t ADD COLUMN a", "t", "", "ALTER TABLE is refused"},
		{"pragma", "PRAGMA journal_mode=DELETE", "", "", "PRAGMA"},
		{"attach", "ATTACH 'x' AS y", "", "", "ATTACH"},
		{"transaction", "BEGIN; CREATE TABLE t(id TEXT PRIMARY KEY); COMMIT", "", "", "BEGIN"},
		{"explain", "EXPLAIN CREATE TABLE t(id TEXT PRIMARY KEY)", "", "", "EXPLAIN"},
		{"select", "WITH x AS (SELECT 1) SELECT * FROM x", "", "", "WITH"},
		{"misspelled", "CREAT TABLE t(id TEXT PRIMARY KEY)", "", "", `near "CREAT": syntax error`},
		{"misspelled object", "CREATE TABEL t(id TEXT PRIMARY KEY)", "", "", `near "TABEL": syntax error`},
		{"twice", "CREATE TABLE t(id TEXT PRIMARY KEY); CREATE TABLE T(id TEXT PRIMARY KEY)", "", "", "table T already exists"},
		{"index without a table", "CREATE INDEX i ON t(a)", "", "", "no such table: main.t"},
		{"unknown collation", "CREATE TABLE t(id TEXT PRIMARY KEY, a TEXT COLLATE unknown)", "", "", "no such collation sequence: unknown"},
		{"duplicate column", "CREATE TABLE t(id TEXT PRIMARY KEY, a, A)", "", "", "duplicate column name"},
	} {
		t.Run(tt.desc, func(t *testing.T) {
			_, err := desiredSchema(schemaFiles(tt.sql))
			schemaRefusal(t, err, tt.table, tt.column, tt.reason)
		})
	}
}

// What somebody else made in the file is not an error: it is only not
// replicated, or, if an index, remembered as a possible cause of trouble.
func TestSchemaRulesToleratePeers(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ desc, sql string }{
		{"UNIQUE constraint", "CREATE TABLE t(id TEXT PRIMARY KEY, a TEXT UNIQUE)"},
		{"key collation", "CREATE TABLE t(id TEXT COLLATE NOCASE PRIMARY KEY)"},
		{"ON CONFLICT ROLLBACK", "CREATE TABLE t(id TEXT PRIMARY KEY, a INT NOT NULL ON CONFLICT ROLLBACK)"},
	} {
		s := schemaRead(t, schemaDB(t, tt.sql))
		if s.lookup("t") != nil || s.local["t"] == "" {
			t.Errorf("%s: replicated, local %v", tt.desc, s.local)
		}
	}
}
