package store

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"testing"
)

const (
	anyTable     = "CREATE TABLE T(id INTEGER PRIMARY KEY, i INTEGER, r REAL, t TEXT, n NUMERIC, x BLOB)"
	strictTable  = "CREATE TABLE T(id INTEGER PRIMARY KEY, i INT, r REAL, t TEXT, x ANY) STRICT"
	madeTable    = "CREATE TABLE T(v INTEGER AS (n * 2) VIRTUAL, id INTEGER PRIMARY KEY, s INTEGER AS (n * 3) STORED, n INTEGER, u TEXT AS (a || '!') VIRTUAL, a TEXT)"
	madeTextKey  = "CREATE TABLE T(v INTEGER AS (n * 2) STORED, n INTEGER, p TEXT NOT NULL, q TEXT NOT NULL, u TEXT AS (q || p) VIRTUAL, PRIMARY KEY(q, p))"
	realKey      = "CREATE TABLE T(p REAL NOT NULL PRIMARY KEY, v)"
	realKeyAlone = "CREATE TABLE T(p REAL NOT NULL PRIMARY KEY, v REAL) WITHOUT ROWID"
	numericKey   = "CREATE TABLE T(p NUMERIC NOT NULL, q TEXT NOT NULL, v, PRIMARY KEY(p, q)) WITHOUT ROWID"
	integerKey   = "CREATE TABLE T(p INTEGER NOT NULL, q INTEGER NOT NULL, v, PRIMARY KEY(p, q))"
	blobKey      = "CREATE TABLE T(p BLOB NOT NULL PRIMARY KEY, v)"
	textKey      = "CREATE TABLE T(p TEXT NOT NULL PRIMARY KEY, v TEXT COLLATE NOCASE)"
	nullableKey  = "CREATE TABLE T(p TEXT, q INTEGER, v, PRIMARY KEY(p, q))"
	onlyKey      = "CREATE TABLE T(p TEXT NOT NULL, q TEXT NOT NULL, PRIMARY KEY(p, q))"
	onlyKeyClock = "CREATE TABLE T(p TEXT NOT NULL PRIMARY KEY) WITHOUT ROWID"
	onlyRowid    = "CREATE TABLE T(id INTEGER PRIMARY KEY)"
	checkedTable = "CREATE TABLE T(id INTEGER PRIMARY KEY AUTOINCREMENT, v INTEGER DEFAULT (1 + 1) CHECK(v < 10), w TEXT DEFAULT 'it''s')"
)

// wideTable has 140 data columns and a key among them.
func wideTable(tail string) string {
	var columns []string
	for i := range 140 {
		columns = append(columns, fmt.Sprintf("c%d INTEGER", i))
	}
	return "CREATE TABLE T(" + strings.Join(columns[:70], ", ") + ", p TEXT NOT NULL PRIMARY KEY, " + strings.Join(columns[70:], ", ") + ")" + tail
}

var (
	mebibyte     = bytes.Repeat([]byte{0xa5}, 1<<20)
	nearMebibyte = append(bytes.Repeat([]byte{0xa5}, 1<<20-1), 0xa4)
	negativeZero = math.Copysign(0, -1)
)

var valueCases = []captureCase{
	// affinity
	{desc: "affinity turns values", table: anyTable, request: "INSERT INTO T VALUES('3', '5', 6, 4, '1e3', '7')", changes: "3@1 i=5 r=6.0 t='4' n=1000 x='7'", clocks: "3@1 new[i r t n x]"},
	{desc: "affinity leaves values", table: anyTable, request: "INSERT INTO T VALUES(1, '5x', 'six', x'04', 'one', 7.0)", changes: "1@1 i='5x' r='six' t=x'04' n='one' x=7.0", clocks: "1@1 new[i r t n x]"},
	{desc: "affinity of fractions", table: anyTable, request: "INSERT INTO T VALUES(1, 5.5, '6.5', 4.5, 7.0, 7)", changes: "1@1 i=5.5 r=6.5 t='4.5' n=7 x=7", clocks: "1@1 new[i r t n x]"},
	{desc: "the same by affinity is no change", table: anyTable, setup: []string{"INSERT INTO T VALUES(1, 5, 6, '4', 7, 8)"}, request: "UPDATE T SET i = '5', r = '6', t = 4, n = 7.0, x = 8; UPDATE T SET i = 5.0, r = 6, n = '7e0'"},
	{desc: "another storage class is a change", table: anyTable, setup: []string{"INSERT INTO T VALUES(1, 5, 6, '4', 7, 8)"}, request: "UPDATE T SET i = x'35', t = x'34', x = 8.0", changes: "1@1 i=x'35' t=x'34' x=8.0", clocks: "1@1 s1[r n] new[i t x]"},
	{desc: "case under a collation is a change", table: textKey, setup: []string{"INSERT INTO T VALUES('a', 'x')"}, request: "UPDATE T SET v = 'X'", changes: "'a'@1 v='X'", clocks: "'a'@1 new[v]"},
	{desc: "case in a key is another key", table: textKey, setup: []string{"INSERT INTO T VALUES('a', 'x')"}, request: "UPDATE T SET p = 'A'", changes: "'a'@2\n'A'@1 v='x'", clocks: "'a'@2 new[]\n'A'@1 new[v]"},
	// numbers
	{desc: "infinities", table: anyTable, request: "INSERT INTO T(id, i, r, n, x) VALUES(1, 9e999, 9e999, -9e999, -9e999)", changes: "1@1 i=9e999 r=9e999 t=NULL n=-9e999 x=-9e999", clocks: "1@1 new[i r t n x]"},
	{desc: "not a number is NULL", table: anyTable, last: text("INSERT INTO T(id, r, x) VALUES(1, ?, 9e999 - 9e999)", math.NaN()), changes: "1@1 i=NULL r=NULL t=NULL n=NULL x=NULL", clocks: "1@1 new[i r t n x]"},
	{desc: "infinity to the other", table: anyTable, setup: []string{"INSERT INTO T(id, r) VALUES(1, 9e999)"}, request: "UPDATE T SET r = -r", changes: "1@1 r=-9e999", clocks: "1@1 s1[i t n x] new[r]"},
	{desc: "negative zero", table: anyTable, last: text("INSERT INTO T VALUES(1, ?1, ?1, ?1, ?1, ?1)", negativeZero), changes: "1@1 i=0 r=0.0 t='0.0' n=0 x=-0.0", clocks: "1@1 new[i r t n x]"},
	{desc: "zero to negative zero", table: anyTable, setup: []string{"INSERT INTO T(id, r, n) VALUES(1, 0.0, 0)"}, last: text("UPDATE T SET r = ?1, n = ?1", negativeZero)},
	{desc: "integer edges", table: anyTable, request: "INSERT INTO T VALUES(9223372036854775807, -9223372036854775808, 9223372036854775807, 9223372036854775807, 9223372036854775807, -9223372036854775808), (-9223372036854775808, 0, 0, 0, 0, 0)",
		changes: "-9223372036854775808@1 i=0 r=0.0 t='0' n=0 x=0\n9223372036854775807@1 i=-9223372036854775808 r=9.223372036854776e+18 t='9223372036854775807' n=9223372036854775807 x=-9223372036854775808",
		clocks:  "-9223372036854775808@1 new[i r t n x]\n9223372036854775807@1 new[i r t n x]"},
	{desc: "beyond the integers", table: anyTable, request: "INSERT INTO T(id, i, n, x) VALUES(1, 9223372036854775808, '9223372036854775808', -9223372036854775809)", changes: "1@1 i=9.223372036854776e+18 r=NULL t=NULL n=9.223372036854776e+18 x=-9.223372036854776e+18", clocks: "1@1 new[i r t n x]"},
	{desc: "beyond the rowids", table: anyTable, request: "INSERT INTO T(id) VALUES(9223372036854775808)", fails: "datatype mismatch"},
	{desc: "a step at the edge is a change", table: anyTable, setup: []string{"INSERT INTO T(id, n) VALUES(1, 9223372036854775806)"}, request: "UPDATE T SET n = n + 1", changes: "1@1 n=9223372036854775807", clocks: "1@1 s1[i r t x] new[n]"},
	{desc: "a step of 2^53 is a change", table: anyTable, setup: []string{"INSERT INTO T(id, i, r) VALUES(1, 9007199254740992, 9007199254740992)"}, request: "UPDATE T SET i = i + 1, r = 9007199254740993", changes: "1@1 i=9007199254740993", clocks: "1@1 s1[r t n x] new[i]"},
	// text and blobs
	{desc: "text with NUL", table: textKey, last: text("INSERT INTO T VALUES(?, ?)", "a\x00b", "\x00"), changes: "'a\x00b'@1 v='\x00'", clocks: "'a\x00b'@1 new[v]"},
	{desc: "text behind a NUL", table: textKey, setup: []string{"INSERT INTO T VALUES(CAST(x'610062' AS TEXT), CAST(x'610062' AS TEXT))"}, last: text("UPDATE T SET v = ?", "a\x00c"), changes: "'a\x00b'@1 v='a\x00c'", clocks: "'a\x00b'@1 new[v]"},
	{desc: "key behind a NUL", table: textKey, setup: []string{"INSERT INTO T VALUES(CAST(x'610062' AS TEXT), 'v')"}, last: text("INSERT INTO T VALUES(?, 'w')", "a\x00c"), changes: "'a\x00c'@1 v='w'", clocks: "'a\x00c'@1 new[v]"},
	{desc: "invalid UTF-8", table: textKey, last: text("INSERT INTO T VALUES(?, ?)", "\xff\xfe", "\xc3"), changes: "'\xff\xfe'@1 v='\xc3'", clocks: "'\xff\xfe'@1 new[v]"},
	{desc: "invalid UTF-8 to other", table: textKey, setup: []string{"INSERT INTO T VALUES('a', CAST(x'ff' AS TEXT))"}, last: text("UPDATE T SET v = ?", "\xfe"), changes: "'a'@1 v='\xfe'", clocks: "'a'@1 new[v]"},
	{desc: "text to the same bytes as a blob", table: anyTable, setup: []string{"INSERT INTO T(id, x) VALUES(1, 'a')"}, request: "UPDATE T SET x = CAST(x AS BLOB)", changes: "1@1 x=x'61'", clocks: "1@1 s1[i r t n] new[x]"},
	{desc: "empty text and blob", table: anyTable, request: "INSERT INTO T(id, t, x) VALUES(1, '', x'')", changes: "1@1 i=NULL r=NULL t='' n=NULL x=x''", clocks: "1@1 new[i r t n x]"},
	{desc: "empty, NULL and empty again", table: anyTable, setup: []string{"INSERT INTO T(id, t, x) VALUES(1, '', x'')"}, request: "UPDATE T SET t = NULL, x = ''", changes: "1@1 t=NULL x=''", clocks: "1@1 s1[i r n] new[t x]"},
	{desc: "empty keys", table: textKey, request: "INSERT INTO T VALUES('', '')", changes: "''@1 v=''", clocks: "''@1 new[v]"},
	{desc: "empty blob key", table: blobKey, request: "INSERT INTO T VALUES(x'', zeroblob(0)), (x'00', zeroblob(2))", changes: "x''@1 v=x''\nx'00'@1 v=x'0000'", clocks: "x''@1 new[v]\nx'00'@1 new[v]"},
	{desc: "a blob of 1 MiB", table: anyTable, last: text("INSERT INTO T(id, x) VALUES(1, ?)", mebibyte), changes: "1@1 i=NULL r=NULL t=NULL n=NULL x=blob of 1048576", clocks: "1@1 new[i r t n x]"},
	{desc: "zeroblob of 1 MiB", table: anyTable, setup: []string{"INSERT INTO T(id) VALUES(1)"}, request: "UPDATE T SET x = zeroblob(1048576)", changes: "1@1 x=blob of 1048576", clocks: "1@1 s1[i r t n] new[x]"},
	{desc: "the last byte of 1 MiB", table: anyTable, setup: []string{"INSERT INTO T(id, x) VALUES(1, CAST(replace(hex(zeroblob(524288)), '0', x'a5') AS BLOB))"}, last: text("UPDATE T SET x = ?", nearMebibyte), changes: "1@1 x=blob of 1048576", clocks: "1@1 s1[i r t n] new[x]"},
	{desc: "all bytes of 1 MiB the same", table: anyTable, setup: []string{"INSERT INTO T(id, x) VALUES(1, CAST(replace(hex(zeroblob(524288)), '0', CAST(x'a5' AS TEXT)) AS BLOB))"}, last: text("UPDATE T SET x = ?", mebibyte)},
	// STRICT
	{desc: "strict", table: strictTable, request: "INSERT INTO T VALUES(1, '2', 3, 4, '5')", changes: "1@1 i=2 r=3.0 t='4' x='5'", clocks: "1@1 new[i r t x]"},
	{desc: "strict keeps classes of ANY apart", table: strictTable, setup: []string{"INSERT INTO T(id, x) VALUES(1, 5)"}, request: "UPDATE T SET x = '5'", changes: "1@1 x='5'", clocks: "1@1 s1[i r t] new[x]"},
	{desc: "strict refuses after one row", table: strictTable, request: "INSERT INTO T(id, i) VALUES(1, 1), (2, 'two')", fails: "cannot store TEXT value in INT column T.i"},
	{desc: "strict or ignore does not skip", table: strictTable, request: "INSERT OR IGNORE INTO T(id, i) VALUES(1, 1), (2, 'two'), (3, 3)", fails: "cannot store TEXT value in INT column T.i"},
	// generated columns
	{desc: "generated columns stay out", table: madeTable, request: "INSERT INTO T(id, n, a) VALUES(1, 4, 'x')", changes: "1@1 n=4 a='x'", clocks: "1@1 new[n a]"},
	{desc: "generated columns follow", table: madeTable, setup: []string{"INSERT INTO T(id, n, a) VALUES(1, 4, 'x')"}, request: "UPDATE T SET n = v WHERE s = 12", changes: "1@1 n=8", clocks: "1@1 s1[a] new[n]"},
	{desc: "generated columns, replace and delete", table: madeTable, setup: []string{"INSERT INTO T(id, n, a) VALUES(1, 4, 'x'), (2, 5, 'y')"}, request: "REPLACE INTO T(id, n, a) VALUES(1, 4, 'z'); DELETE FROM T WHERE s = 15", changes: "1@1 a='z'\n2@2", clocks: "1@1 s1[n] new[a]\n2@2 new[]"},
	{desc: "generated columns, key moves", table: madeTable, setup: []string{"INSERT INTO T(id, n, a) VALUES(1, 4, 'x')"}, request: "UPDATE T SET id = v", changes: "1@2\n8@1 n=4 a='x'", clocks: "1@2 new[]\n8@1 new[n a]"},
	{desc: "generated columns cannot be set", table: madeTable, request: "INSERT INTO T(id, v) VALUES(1, 4)", fails: `cannot INSERT into generated column "v"`},
	{desc: "generated columns beside a text key", table: madeTextKey, setup: []string{"INSERT INTO T(n, p, q) VALUES(4, 'p', 'q')"}, request: "UPDATE T SET n = v, p = u", changes: "'q','p'@2\n'q','qp'@1 n=8", clocks: "'q','p'@2 new[]\n'q','qp'@1 new[n]"},
	// keys that are equal
	{desc: "1 is 1.0 in a REAL key", table: realKey, setup: []string{"INSERT INTO T VALUES(1, 'a')"}, request: "REPLACE INTO T VALUES(1.0, 'b'); UPDATE T SET p = '1'", changes: "1.0@1 v='b'", clocks: "1.0@1 new[v]"},
	{desc: "0.0 is -0.0 in a REAL key", table: realKey, setup: []string{"INSERT INTO T VALUES(0.0, 'a')"}, last: text("UPDATE T SET p = ?", negativeZero)},
	{desc: "-0.0 in a key is written as 0.0", table: realKey, last: text("INSERT INTO T VALUES(?1, ?1)", negativeZero), changes: "0.0@1 v=-0.0", clocks: "0.0@1 new[v]"},
	{desc: "-0.0 in the key replaces 0.0", table: realKey, setup: []string{"INSERT INTO T VALUES(0, 'a')"}, last: text("REPLACE INTO T VALUES(?, 'b')", negativeZero), changes: "0.0@1 v='b'", clocks: "0.0@1 new[v]"},
	{desc: "-0.0 in a REAL key without rowid", table: realKeyAlone, setup: []string{"INSERT INTO T VALUES(0, 1), (1, 1)"}, last: text("REPLACE INTO T VALUES(?1, ?1)", negativeZero), changes: "0.0@1 v=0.0", clocks: "0.0@1 new[v]"},
	{desc: "a key moves to -0.0 without rowid", table: realKeyAlone, setup: []string{"INSERT INTO T VALUES(1, 1)"}, last: text("UPDATE T SET p = ?1", negativeZero), changes: "0.0@1 v=1.0\n1.0@2", clocks: "0.0@1 new[v]\n1.0@2 new[]"},
	{desc: "-0.0 in a NUMERIC key", table: numericKey, setup: []string{"INSERT INTO T VALUES(0, 'a', 1)"}, last: text("REPLACE INTO T VALUES(?, 'a', 2)", negativeZero), changes: "0,'a'@1 v=2", clocks: "0,'a'@1 new[v]"},
	{desc: "1, '1' and 1.0 in a NUMERIC key", table: numericKey, setup: []string{"INSERT INTO T VALUES(1, 'a', 1)"}, request: "REPLACE INTO T VALUES('1', 'a', 2); REPLACE INTO T VALUES(1.0, 'a', 3); UPDATE T SET p = '1e0'", changes: "1,'a'@1 v=3", clocks: "1,'a'@1 new[v]"},
	{desc: "2^53 + 1 in a NUMERIC key", table: numericKey, setup: []string{"INSERT INTO T VALUES(9007199254740992, 'a', 1)"}, request: "INSERT INTO T VALUES(9007199254740993, 'a', 2)", changes: "9007199254740993,'a'@1 v=2", clocks: "9007199254740993,'a'@1 new[v]"},
	{desc: "2^63 in a NUMERIC key", table: numericKey, setup: []string{"INSERT INTO T VALUES(9223372036854775807, 'a', 1)"}, request: "INSERT INTO T VALUES(9223372036854775808, 'a', 2)", changes: "9.223372036854776e+18,'a'@1 v=2", clocks: "9.223372036854776e+18,'a'@1 new[v]"},
	{desc: "2 and '2' in an INTEGER key of two columns", table: integerKey, setup: []string{"INSERT INTO T VALUES(2, 3, 1)"}, request: "DELETE FROM T WHERE p = '2'; INSERT INTO T VALUES('2', 3.0, 1)"},
	{desc: "2.5 in an INTEGER key of two columns", table: integerKey, request: "INSERT INTO T VALUES(2.5, 'x', 1)", changes: "2.5,'x'@1 v=1", clocks: "2.5,'x'@1 new[v]"},
	{desc: "update of half a key", table: integerKey, setup: []string{"INSERT INTO T VALUES(2, 3, 1), (2, 4, 5)"}, request: "UPDATE T SET q = 5 WHERE q = 3", changes: "2,3@2\n2,5@1 v=1", clocks: "2,3@2 new[]\n2,5@1 new[v]"},
	{desc: "halves of two keys swap", table: integerKey, setup: []string{"INSERT INTO T VALUES(2, 3, 1), (2, 4, 5)"}, request: "UPDATE T SET q = -q; UPDATE T SET q = 7 + q", changes: "2,3@1 v=5\n2,4@1 v=1", clocks: "2,3@1 new[v]\n2,4@1 new[v]"},
	{desc: "1 and 1.0 are two texts", table: textKey, request: "INSERT INTO T VALUES(1, 'a'), (1.0, 'b')", changes: "'1'@1 v='a'\n'1.0'@1 v='b'", clocks: "'1'@1 new[v]\n'1.0'@1 new[v]"},
	{desc: "text in a BLOB key", table: blobKey, request: "INSERT INTO T VALUES('x', 1)", fails: "key column T.p holds only blobs, not text", ours: true},
	{desc: "update to text in a BLOB key", table: blobKey, setup: []string{"INSERT INTO T VALUES(x'01', 1)"}, request: "UPDATE T SET p = 5", fails: "key column T.p holds only blobs, not integer", ours: true},
	{desc: "NULL in a key", table: nullableKey, request: "INSERT INTO T VALUES('a', 1, 1); INSERT INTO T VALUES('a', NULL, 1)", fails: "NOT NULL constraint failed: T.q", ours: true},
	{desc: "update to NULL in a key", table: nullableKey, setup: []string{"INSERT INTO T VALUES('a', 1, 1)"}, request: "UPDATE T SET p = NULL", fails: "NOT NULL constraint failed: T.p", ours: true},
	// rows of a key alone
	{desc: "nothing but its key", table: onlyKey, request: "INSERT INTO T VALUES('a', 'b')", changes: "'a','b'@1", clocks: "'a','b'@1 new[]"},
	{desc: "nothing but its key, replaced", table: onlyKey, setup: []string{"INSERT INTO T VALUES('a', 'b')"}, request: "REPLACE INTO T VALUES('a', 'b'); UPDATE T SET q = q; DELETE FROM T; INSERT INTO T VALUES('a', 'b')"},
	{desc: "nothing but its key, swapped", table: onlyKey, setup: []string{"INSERT INTO T VALUES('a', 'b')"}, request: "UPDATE T SET p = q, q = p", changes: "'a','b'@2\n'b','a'@1", clocks: "'a','b'@2 new[]\n'b','a'@1 new[]"},
	{desc: "nothing but its key without rowid", table: onlyKeyClock, setup: []string{"INSERT INTO T VALUES('a')", "DELETE FROM T"}, request: "INSERT INTO T VALUES('a')", changes: "'a'@3", clocks: "'a'@3 new[]"},
	{desc: "nothing but its rowid", table: onlyRowid, setup: []string{"INSERT INTO T VALUES(1), (2)"}, request: "UPDATE T SET rowid = 4 WHERE oid = 2; INSERT INTO T DEFAULT VALUES", changes: "2@2\n4@1\n5@1", clocks: "2@2 new[]\n4@1 new[]\n5@1 new[]"},
	// defaults and checks
	{desc: "defaults travel as values", table: checkedTable, request: "INSERT INTO T DEFAULT VALUES", changes: "1@1 v=2 w='it''s'", clocks: "1@1 new[v w]"},
	{desc: "an automatic number is not used again", table: checkedTable, setup: []string{"INSERT INTO T DEFAULT VALUES", "DELETE FROM T"}, request: "INSERT INTO T(v) VALUES(3)", changes: "2@1 v=3 w='it''s'", clocks: "2@1 new[v w]"},
	{desc: "check fails after one row", table: checkedTable, request: "INSERT INTO T(v) VALUES(3), (30)", fails: "CHECK constraint failed: v < 10"},
	{desc: "check or ignore", table: checkedTable, request: "INSERT OR IGNORE INTO T(id, v) VALUES(1, 3), (2, 30), (3, 4)", changes: "1@1 v=3 w='it''s'\n3@1 v=4 w='it''s'", clocks: "1@1 new[v w]\n3@1 new[v w]"},
	// what does not replicate (that it is refused in schemas too: TestSchemaRulesRefuse)
	{desc: "FTS5", table: onlyRowid, outside: "CREATE VIRTUAL TABLE U USING fts5(x)", request: "INSERT INTO T VALUES(1); INSERT INTO U VALUES('x')", fails: "table U does not replicate: it is a virtual table", ours: true},
	{desc: "R*Tree", table: onlyRowid, outside: "CREATE VIRTUAL TABLE U USING rtree(id, a, b)", request: "INSERT INTO T VALUES(1); INSERT INTO U VALUES(1, 2, 3)", fails: "table U does not replicate: it is a virtual table", ours: true},
	{desc: "FTS5 by a trigger", table: onlyRowid, outside: `CREATE VIRTUAL TABLE U USING fts5(x); CREATE TRIGGER "T 1" AFTER INSERT ON T BEGIN INSERT INTO U VALUES(new.id); END`, request: "INSERT INTO T VALUES(1)", fails: "table U does not replicate: it is a virtual table", ours: true},
	// many columns
	{desc: "columns 0, 63, 64, 69, 70 and 139", table: wideTable(""), setup: []string{"INSERT INTO T(p) VALUES('a')"}, request: "UPDATE T SET c0 = 1, c63 = 2, c64 = 3, c69 = 4, c70 = 5, c139 = 6, c100 = c101", changes: "'a'@1 c0=1 c63=2 c64=3 c69=4 c70=5 c139=6", clocks: "'a'@1 s1" + wideExcept(0, 63, 64, 69, 70, 139) + " new[c0 c63 c64 c69 c70 c139]"},
	{desc: "columns 64 and 128 without rowid", table: wideTable(" WITHOUT ROWID"), setup: []string{"INSERT INTO T(p) VALUES('a')", "UPDATE T SET c128 = 1"}, request: "UPDATE T SET c64 = 3, p = 'b'", changes: "'a'@2\n'b'@1" + wideValues(64, 3, 128, 1), clocks: "'a'@2 new[]\n'b'@1 new" + wideExcept()},
	{desc: "columns 64 and 65 there and back", table: wideTable(""), setup: []string{"INSERT INTO T(p, c64, c65) VALUES('a', 1, 2)"}, request: "UPDATE T SET c64 = c65, c65 = c64; UPDATE T SET c64 = c65, c65 = c64; UPDATE T SET c66 = 5; UPDATE T SET c66 = NULL"},
}

// wideExcept lists the columns of wideTable without some.
func wideExcept(not ...int) string {
	var names []string
	for i := range 140 {
		if len(not) > 0 && not[0] == i {
			not = not[1:]
			continue
		}
		names = append(names, fmt.Sprint("c", i))
	}
	return "[" + strings.Join(names, " ") + "]"
}

// wideValues lists all columns of wideTable with values, NULL but for two.
func wideValues(i, v, j, u int) (out string) {
	for c := range 140 {
		value := "NULL"
		switch c {
		case i:
			value = fmt.Sprint(v)
		case j:
			value = fmt.Sprint(u)
		}
		out += fmt.Sprintf(" c%d=%s", c, value)
	}
	return out
}

func TestCaptureOfValuesKeysAndColumns(t *testing.T) { runCaptureCases(t, keyKind{}, valueCases) }

// TestCaptureOfAnAddedColumn: the preupdate hook shows the default of rows that
// were there before without the column's affinity.
func TestCaptureOfAnAddedColumn(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ desc, sql, want string }{
		{"to the same", "UPDATE t SET r = 3, s = '5', n = 4", ""},
		{"to the same as a real", "UPDATE t SET r = 3.0", ""},
		{"negative zero to zero", "UPDATE t SET z = 0.0", ""},
		{"another column", "UPDATE t SET a = 'y' WHERE id = 1", "t@1 1 a='y'"},
		{"to other values", "UPDATE t SET r = 4 WHERE id = 1", "t@1 1 r=4.0"},
		{"deleted and inserted", "DELETE FROM t WHERE id = 1; INSERT INTO t(id, a) VALUES(1, 'x')", ""},
		{"replaced", "REPLACE INTO t(id, a, n) VALUES(1, 'x', 9)", "t@1 1 n=9"},
		{"moved", "UPDATE t SET id = 9 WHERE id = 1", "t@1 9 a='x' r=3.0 s='5' n=4 z=0.0\nt@2 1"},
		{"moved and back", "UPDATE t SET id = 9 WHERE id = 1; UPDATE t SET id = 1 WHERE id = 9", ""},
	} {
		t.Run(test.desc, func(t *testing.T) {
			t.Parallel()
			n := start(t, Config{Schema: schemaOf("CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT);")})
			first := n.exec("INSERT INTO t VALUES(1, 'x'), (2, 'z')")
			grown := schemaOf("CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, r REAL DEFAULT 3, s TEXT DEFAULT 5, n NUMERIC DEFAULT '4', z REAL DEFAULT -0.0);")
			if err := n.Reload(t.Context(), grown); err != nil {
				t.Fatal(err)
			}
			id := n.exec(strings.Split(test.sql, "; ")...)
			if (id.Version == 0) != (test.want == "") || n.Vector().Entry(n.Actor()).Applied.Last() != max(first.Version, id.Version) {
				t.Fatalf("version %d", id.Version)
			}
			if id.Version == 0 {
				return
			}
			s, err := n.Changeset(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			if got := describe(t, s); got != test.want {
				t.Errorf("changes\n%s\nwant\n%s", got, test.want)
			}
			m := start(t, Config{Schema: grown})
			m.pull(n)
			requireEqual(t, n, m)
		})
	}
}
