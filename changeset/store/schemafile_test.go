package store

import (
	"errors"
	"testing"

	"github.com/patinadb/patina/changeset/sqlite"
)

func TestSchemaFileErrorsNameThePlace(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ desc, sql, want string }{
		{"line of the statement", "-- a\n/* b\n */ CREATE TABLE t(id TEXT PRIMARY KEY);\n\nDROP TABLE t;", "two.sql:5: table t: DROP TABLE is refused: " + allowedStatements},
		{"line of the token", "CREATE TABLE t(\n id TEXT PRIMARY KEY,\n a TEXT NOT NUL\n);", `two.sql:3: near "NUL": syntax error`},
		{"line of the table", "\n\nCREATE TABLE t(\n a);", "two.sql:3: table t: no primary key"},
		{"line of the index", "CREATE TABLE t(id TEXT PRIMARY KEY, a);\nCREATE UNIQUE INDEX i ON t(a);", "two.sql:2: table t, column a: index i: UNIQUE"},
		{"semicolons in text and comments", "CREATE TABLE t(id TEXT PRIMARY KEY, a TEXT DEFAULT ';\n', b TEXT DEFAULT 'it''s;' -- ;\n /* ; */);\nSELECT 1", "two.sql:4: SELECT is refused"},
		{"byte order mark and CRLF", "\ufeff-- x\r\nCREATE TABLE t(id TEXT PRIMARY KEY);\r\nVACUUM;", "two.sql:3: VACUUM is refused"},
		{"NUL", "\nCREATE TABLE t(id TEXT PRIMARY KEY);\x00DROP TABLE t", "two.sql:2: a NUL byte"},
		{"text that does not end", "CREATE TABLE t(id TEXT PRIMARY KEY, a DEFAULT '\n)", "two.sql:1: unrecognized token"},
		{"missing semicolon", "CREATE TABLE t(id TEXT PRIMARY KEY)\nCREATE TABLE u(id TEXT PRIMARY KEY)", `two.sql:2: near "CREATE": syntax error`},
		{"unfinished", "CREATE TABLE t(id TEXT PRIMARY KEY);\nCREATE TABLE u(", "two.sql:2: incomplete input"},
		{"again in another file", "\nCREATE TABLE One(id TEXT PRIMARY KEY)", "two.sql:2: table One already exists"},
	} {
		_, err := desiredSchema([]SchemaFile{{"one.sql", "CREATE TABLE one(id TEXT PRIMARY KEY)"}, {"two.sql", tt.sql}})
		if err == nil || len(err.Error()) < len(tt.want) || err.Error()[:len(tt.want)] != tt.want {
			t.Errorf("%s: error %v\nwant %s", tt.desc, err, tt.want)
		}
	}
}

func TestSchemaFileErrorWrapsSQLites(t *testing.T) {
	t.Parallel()
	_, err := desiredSchema(schemaFiles("CREATE TABLE t("))
	if !errors.Is(err, sqlite.ErrGeneric) {
		t.Errorf("%v does not wrap SQLite's error", err)
	}
}

func TestSchemaFilesMayBeEmpty(t *testing.T) {
	t.Parallel()
	for _, sql := range []string{"", " ;; ", "-- nothing", "/* nothing", "\ufeff"} {
		s, err := desiredSchema(schemaFiles(sql))
		if err != nil || len(s.tables) != 0 {
			t.Errorf("%q: %v %v", sql, s, err)
		}
	}
}

func TestSchemaTokens(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ desc, sql, want string }{
		{"names fold, quotes that nothing needs go", `CREATE Table "Ab" ([c d], ` + "`e`" + `)`, `create table ab ( "c d" , e )`},
		{"text stays", `'It''s' "a""b" x'0F'`, `'It''s' "a""b" x'0f'`},
		{"comments go", "a--b\nc/*d*/e", "a c e"},
		{"a comment that does not end", "a /* b", "a"},
		{"numbers", "1.5e-3+0x1F-1_000 .5e+1", "1.5e-3 + 0x1f - 1_000 .5e+1"},
		{"not a blob", "x 'a' xy'b'", "x 'a' xy 'b'"},
		{"other alphabets", "größe ÄÖ", "größe ÄÖ"},
		{"arrow", "a->>'b'", "a - > > 'b'"},
	} {
		if got := normalSQL(tt.sql); got != tt.want {
			t.Errorf("%s: %s\nwant %s", tt.desc, got, tt.want)
		}
	}
}

func TestSchemaQuotedNames(t *testing.T) {
	t.Parallel()
	c := schemaDB(t, "")
	for _, name := range []string{"a", `"`, `a"b`, "select", "a b", "'", "]", "ü", "--"} {
		schemaExec(t, c, "CREATE TABLE "+quoteIdent(name)+"(id TEXT PRIMARY KEY, "+quoteIdent(name)+" INT)")
		if tt := schemaRead(t, c).lookup(name); tt == nil || tt.name != name || tt.column(name) == nil || tt.column(name).clause.text != quoteIdent(name)+" INT" {
			t.Errorf("%q: %+v", name, tt)
		}
	}
}
