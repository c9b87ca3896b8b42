package store

import (
	"slices"
	"strings"
	"testing"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/sqlite"
)

// statementCases runs on every kind of key.
var statementCases = []captureCase{
	// INSERT
	{desc: "insert", request: "INSERT INTO T(K, a) VALUES(#4, 'z')", changes: "#4@1 a='z' b=7 c=NULL", clocks: "#4@1 new[a b c]"},
	{desc: "insert two", request: "INSERT INTO T(K, a) VALUES(#5, 'z'), (#4, NULL)", changes: "#4@1 a=NULL b=7 c=NULL\n#5@1 a='z' b=7 c=NULL", clocks: "#4@1 new[a b c]\n#5@1 new[a b c]"},
	{desc: "insert a key that was deleted", setup: []string{"DELETE FROM T WHERE (K) = (#1)"}, request: "INSERT INTO T(K) VALUES(#1)", changes: "#1@3 a=NULL b=7 c=NULL", clocks: "#1@3 new[a b c]"},
	{desc: "insert then update", request: "INSERT INTO T(K) VALUES(#4); UPDATE T SET b = 8 WHERE (K) = (#4)", changes: "#4@1 a=NULL b=8 c=NULL", clocks: "#4@1 new[a b c]"},
	{desc: "insert from select", request: "INSERT INTO T(K, a) SELECT #4, a FROM T WHERE b = 2", changes: "#4@1 a='a2' b=7 c=NULL", clocks: "#4@1 new[a b c]"},
	{desc: "recursive cte", request: "WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < 3) UPDATE T SET b = b + 10 * (SELECT max(i) FROM n) WHERE b > 2", changes: "#3@1 b=33", clocks: "#3@1 base[a c] new[b]"},
	{desc: "insert that fails", request: "INSERT INTO T(K) VALUES(#1)", fails: "UNIQUE constraint failed: T.K"},
	{desc: "insert that fails after one row", request: "INSERT INTO T(K) VALUES(#4), (#1)", fails: "UNIQUE constraint failed: T.K"},
	{desc: "null after one row", request: "INSERT INTO T(K, b) VALUES(#4, 4), (#5, NULL)", fails: "NOT NULL constraint failed: T.b"},
	// OR
	{desc: "replace", request: "REPLACE INTO T(K, a, b) VALUES(#1, 'a1', 5)", changes: "#1@1 b=5 c=NULL", clocks: "#1@1 base[a] new[b c]"},
	{desc: "replace with equal values", request: "REPLACE INTO T(K, a, b, c) VALUES(#1, 'a1', 1, 1.5)"},
	{desc: "replace an absent row", request: "REPLACE INTO T(K, b) VALUES(#4, 4)", changes: "#4@1 a=NULL b=4 c=NULL", clocks: "#4@1 new[a b c]"},
	{desc: "replace twice", request: "REPLACE INTO T(K, b) VALUES(#1, 4), (#1, 5)", changes: "#1@1 a=NULL b=5 c=NULL", clocks: "#1@1 new[a b c]"},
	{desc: "replace twice and back", request: "REPLACE INTO T(K, b) VALUES(#1, 4); REPLACE INTO T(K, a, b, c) VALUES(#1, 'a1', 1, 1.5)"},
	{desc: "replace puts the default for null", request: "REPLACE INTO T(K, a, b, c) VALUES(#1, 'a1', NULL, 1.5)", changes: "#1@1 b=7", clocks: "#1@1 base[a c] new[b]"},
	{desc: "or ignore after one row", request: "INSERT OR IGNORE INTO T(K, b) VALUES(#4, 4), (#1, 9), (#5, NULL), (#6, 6)", changes: "#4@1 a=NULL b=4 c=NULL\n#6@1 a=NULL b=6 c=NULL", clocks: "#4@1 new[a b c]\n#6@1 new[a b c]"},
	{desc: "or fail after one row", request: "INSERT OR FAIL INTO T(K) VALUES(#4), (#1)", fails: "UNIQUE constraint failed: T.K"},
	{desc: "or abort after one row", request: "INSERT OR ABORT INTO T(K) VALUES(#4), (#1)", fails: "UNIQUE constraint failed: T.K"},
	{desc: "or rollback after one row", request: "INSERT INTO T(K) VALUES(#5); INSERT OR ROLLBACK INTO T(K) VALUES(#4), (#1)", fails: "UNIQUE constraint failed: T.K"},
	{desc: "update or fail after one row", request: "UPDATE OR FAIL T SET b = CASE b WHEN 3 THEN NULL ELSE 9 END", fails: "NOT NULL constraint failed: T.b"},
	{desc: "update or rollback after one row", request: "UPDATE OR ROLLBACK T SET b = CASE b WHEN 3 THEN NULL ELSE 9 END", fails: "NOT NULL constraint failed: T.b"},
	{desc: "update or ignore", request: "UPDATE OR IGNORE T SET b = CASE b WHEN 2 THEN NULL ELSE b + 9 END", changes: "#1@1 b=10\n#3@1 b=12", clocks: "#1@1 base[a c] new[b]\n#3@1 base[a c] new[b]"},
	{desc: "update or replace of null", request: "UPDATE OR REPLACE T SET b = NULL WHERE b = 2", changes: "#2@1 b=7", clocks: "#2@1 base[a c] new[b]"},
	// UPSERT
	{desc: "upsert updates", request: "INSERT INTO T(K, b) VALUES(#1, 5) ON CONFLICT DO UPDATE SET b = excluded.b", changes: "#1@1 b=5", clocks: "#1@1 base[a c] new[b]"},
	{desc: "upsert inserts", request: "INSERT INTO T(K, b) VALUES(#4, 5) ON CONFLICT(K) DO UPDATE SET b = excluded.b", changes: "#4@1 a=NULL b=5 c=NULL", clocks: "#4@1 new[a b c]"},
	{desc: "upsert does nothing", request: "INSERT INTO T(K, b) VALUES(#1, 5) ON CONFLICT DO NOTHING"},
	{desc: "upsert whose where is false", request: "INSERT INTO T(K, b) VALUES(#1, 5) ON CONFLICT(K) DO UPDATE SET b = excluded.b WHERE excluded.b > 5"},
	{desc: "upsert to the same", request: "INSERT INTO T(K, b) VALUES(#1, 5) ON CONFLICT(K) DO UPDATE SET a = a"},
	{desc: "upsert meets its own row", request: "INSERT INTO T(K, b) VALUES(#4, 1), (#4, 2) ON CONFLICT(K) DO UPDATE SET b = b + excluded.b", changes: "#4@1 a=NULL b=3 c=NULL", clocks: "#4@1 new[a b c]"},
	{desc: "upsert moves the row", request: "INSERT INTO T(K) VALUES(#1) ON CONFLICT(K) DO UPDATE SET (K) = (#4)", changes: "#1@2\n#4@1 a='a1' b=1 c=1.5", clocks: "#1@2 new[]\n#4@1 new[a b c]"},
	{desc: "upsert moves the row onto another", request: "INSERT INTO T(K) VALUES(#4), (#1) ON CONFLICT(K) DO UPDATE SET (K) = (#2)", fails: "UNIQUE constraint failed: T.K"},
	// UPDATE
	{desc: "update", request: "UPDATE T SET b = b + 1 WHERE (K) = (#2)", changes: "#2@1 b=3", clocks: "#2@1 base[a c] new[b]"},
	{desc: "update all", request: "UPDATE T SET a = 'x'", changes: "#1@1 a='x'\n#2@1 a='x'\n#3@1 a='x'", clocks: "#1@1 base[b c] new[a]\n#2@1 base[b c] new[a]\n#3@1 base[b c] new[a]"},
	{desc: "update of columns that two versions wrote", setup: []string{"UPDATE T SET b = 8 WHERE (K) = (#1)"}, request: "UPDATE T SET c = 2 WHERE (K) = (#1)", changes: "#1@1 c=2.0", clocks: "#1@1 base[a] s1[b] new[c]"},
	{desc: "two updates of a row", request: "UPDATE T SET a = 'x' WHERE (K) = (#1); UPDATE T SET b = 8, a = 'y' WHERE (K) = (#1)", changes: "#1@1 a='y' b=8", clocks: "#1@1 base[c] new[a b]"},
	{desc: "there and back", request: "UPDATE T SET b = 5, a = 'x' WHERE (K) = (#1); UPDATE T SET b = 1, a = 'a1' WHERE (K) = (#1)"},
	{desc: "partly back", request: "UPDATE T SET b = 5, a = 'x' WHERE (K) = (#1); UPDATE T SET b = 1 WHERE (K) = (#1)", changes: "#1@1 a='x'", clocks: "#1@1 base[b c] new[a]"},
	{desc: "no-op update", request: "UPDATE T SET a = a, b = b, c = c, (K) = (K)"},
	{desc: "update to what affinity makes the same", request: "UPDATE T SET b = '3', c = 3 WHERE (K) = (#3)"},
	{desc: "update of no row", request: "UPDATE T SET a = 'x' WHERE b > 100"},
	{desc: "update from", request: "UPDATE T SET a = s.v FROM (SELECT 2 AS n, 'f' AS v UNION ALL SELECT 3, 'g') AS s WHERE T.b = s.n", changes: "#2@1 a='f'\n#3@1 a='g'", clocks: "#2@1 base[b c] new[a]\n#3@1 base[b c] new[a]"},
	{desc: "update of a row and its neighbour fails", request: "UPDATE T SET a = 'x'; UPDATE T SET b = NULL", fails: "NOT NULL constraint failed: T.b"},
	// keys
	{desc: "update of the key", request: "UPDATE T SET (K) = (#4) WHERE (K) = (#1)", changes: "#1@2\n#4@1 a='a1' b=1 c=1.5", clocks: "#1@2 new[]\n#4@1 new[a b c]"},
	{desc: "update of key and value", request: "UPDATE T SET (K) = (#4), b = 9 WHERE (K) = (#1)", changes: "#1@2\n#4@1 a='a1' b=9 c=1.5", clocks: "#1@2 new[]\n#4@1 new[a b c]"},
	{desc: "update of the key and back", request: "UPDATE T SET (K) = (#4) WHERE (K) = (#1); UPDATE T SET (K) = (#1) WHERE (K) = (#4)"},
	{desc: "update of the key and back with another value", request: "UPDATE T SET (K) = (#4), b = 9 WHERE (K) = (#1); UPDATE T SET (K) = (#1) WHERE (K) = (#4)", changes: "#1@1 b=9", clocks: "#1@1 base[a c] new[b]"},
	{desc: "update of the key to a deleted one", setup: []string{"DELETE FROM T WHERE (K) = (#2)"}, request: "UPDATE T SET (K) = (#2) WHERE (K) = (#1)", changes: "#1@2\n#2@3 a='a1' b=1 c=1.5", clocks: "#1@2 new[]\n#2@3 new[a b c]"},
	{desc: "update of the key to a taken one", request: "UPDATE T SET (K) = (#2) WHERE (K) = (#1)", fails: "UNIQUE constraint failed: T.K"},
	{desc: "update or ignore of the key to a taken one", request: "UPDATE OR IGNORE T SET (K) = (#2), b = 9 WHERE (K) = (#1)"},
	{desc: "update or replace of the key to a taken one", request: "UPDATE OR REPLACE T SET (K) = (#2) WHERE (K) = (#1)", changes: "#1@2\n#2@1 a='a1' b=1 c=1.5", clocks: "#1@2 new[]\n#2@1 new[a b c]"},
	{desc: "update or replace of all keys to one", request: "UPDATE OR REPLACE T SET (K) = (#4), a = 'x', b = 0, c = 0", changes: "#1@2\n#2@2\n#3@2\n#4@1 a='x' b=0 c=0.0", clocks: "#1@2 new[]\n#2@2 new[]\n#3@2 new[]\n#4@1 new[a b c]"},
	{desc: "swap of two keys", request: "UPDATE T SET (K) = (#9) WHERE (K) = (#1); UPDATE T SET (K) = (#1) WHERE (K) = (#2); UPDATE T SET (K) = (#2) WHERE (K) = (#9)",
		changes: "#1@1 a='a2' b=2 c=NULL\n#2@1 a='a1' b=1 c=1.5", clocks: "#1@1 new[a b c]\n#2@1 new[a b c]"},
	{desc: "swap of two keys with a value that is the same", setup: []string{"UPDATE T SET b = 5"}, request: "UPDATE T SET (K) = (#9) WHERE (K) = (#1); UPDATE T SET (K) = (#1) WHERE (K) = (#2); UPDATE T SET (K) = (#2) WHERE (K) = (#9)",
		changes: "#1@1 a='a2' c=NULL\n#2@1 a='a1' c=1.5", clocks: "#1@1 s1[b] new[a c]\n#2@1 s1[b] new[a c]"},
	{desc: "three keys go round", request: "UPDATE T SET (K) = (#9) WHERE (K) = (#1); UPDATE T SET (K) = (#1) WHERE (K) = (#2); UPDATE T SET (K) = (#2) WHERE (K) = (#3); UPDATE T SET (K) = (#3) WHERE (K) = (#9)",
		changes: "#1@1 a='a2' b=2 c=NULL\n#2@1 a=NULL b=3 c=3.0\n#3@1 a='a1' b=1 c=1.5", clocks: "#1@1 new[a b c]\n#2@1 new[a b c]\n#3@1 new[a b c]"},
	{desc: "swap of two keys and back", request: "UPDATE T SET (K) = (#9) WHERE (K) = (#1); UPDATE T SET (K) = (#1) WHERE (K) = (#2); UPDATE T SET (K) = (#2) WHERE (K) = (#9); UPDATE T SET (K) = (#9) WHERE (K) = (#1); UPDATE T SET (K) = (#1) WHERE (K) = (#2); UPDATE T SET (K) = (#2) WHERE (K) = (#9)"},
	{desc: "key moves, another takes its place", request: "UPDATE T SET (K) = (#4) WHERE (K) = (#1); INSERT INTO T(K) VALUES(#1)", changes: "#1@1 a=NULL b=7 c=NULL\n#4@1 a='a1' b=1 c=1.5", clocks: "#1@1 new[a b c]\n#4@1 new[a b c]"},
	// DELETE
	{desc: "delete", request: "DELETE FROM T WHERE (K) = (#1)", changes: "#1@2", clocks: "#1@2 new[]"},
	{desc: "delete all", request: "DELETE FROM T", changes: "#1@2\n#2@2\n#3@2", clocks: "#1@2 new[]\n#2@2 new[]\n#3@2 new[]"},
	{desc: "delete nothing", request: "DELETE FROM T WHERE b > 100"},
	{desc: "delete what is deleted", setup: []string{"DELETE FROM T"}, request: "DELETE FROM T"},
	{desc: "delete a second time", setup: []string{"DELETE FROM T WHERE (K) = (#1)", "INSERT INTO T(K) VALUES(#1)"}, request: "DELETE FROM T WHERE (K) = (#1)", changes: "#1@4", clocks: "#1@4 new[]"},
	{desc: "update then delete", request: "UPDATE T SET b = 5; DELETE FROM T WHERE (K) = (#1); UPDATE T SET b = 2 WHERE (K) = (#2); UPDATE T SET b = 3 WHERE (K) = (#3)", changes: "#1@2", clocks: "#1@2 new[]"},
	{desc: "insert and delete", request: "INSERT INTO T(K) VALUES(#4); DELETE FROM T WHERE (K) = (#4)"},
	{desc: "insert and delete all", request: "INSERT INTO T(K) VALUES(#4); DELETE FROM T", changes: "#1@2\n#2@2\n#3@2", clocks: "#1@2 new[]\n#2@2 new[]\n#3@2 new[]"},
	{desc: "insert and delete of a deleted key", setup: []string{"DELETE FROM T WHERE (K) = (#1)"}, request: "INSERT INTO T(K) VALUES(#1); DELETE FROM T WHERE (K) = (#1)"},
	{desc: "insert, delete, insert", request: "INSERT INTO T(K) VALUES(#4); DELETE FROM T WHERE (K) = (#4); INSERT INTO T(K, b) VALUES(#4, 8)", changes: "#4@1 a=NULL b=8 c=NULL", clocks: "#4@1 new[a b c]"},
	{desc: "delete and insert", request: "DELETE FROM T WHERE (K) = (#1); INSERT INTO T(K, a, b) VALUES(#1, 'a1', 9)", changes: "#1@1 b=9 c=NULL", clocks: "#1@1 base[a] new[b c]"},
	{desc: "delete and insert the same", request: "DELETE FROM T WHERE (K) = (#1); INSERT INTO T(K, a, b, c) VALUES(#1, 'a1', 1, 1.5)"},
	{desc: "delete all and insert one the same", request: "DELETE FROM T; INSERT INTO T(K, a, b, c) VALUES(#2, 'a2', 2, NULL)", changes: "#1@2\n#3@2", clocks: "#1@2 new[]\n#3@2 new[]"},
	{desc: "delete, insert, delete", request: "DELETE FROM T WHERE (K) = (#1); INSERT INTO T(K) VALUES(#1); DELETE FROM T WHERE (K) = (#1)", changes: "#1@2", clocks: "#1@2 new[]"},
	{desc: "update, delete and insert what was there", request: "UPDATE T SET a = 'x' WHERE (K) = (#1); DELETE FROM T WHERE (K) = (#1); INSERT INTO T(K, a, b, c) VALUES(#1, 'a1', 1, 1.5)"},
	{desc: "delete, insert and update", request: "DELETE FROM T WHERE (K) = (#1); INSERT INTO T(K, a, b, c) VALUES(#1, 'x', 1, 1.5); UPDATE T SET a = 'y' WHERE (K) = (#1)", changes: "#1@1 a='y'", clocks: "#1@1 base[b c] new[a]"},
	// RETURNING
	{desc: "insert returning", request: "INSERT INTO T(K) VALUES(#4), (#5) RETURNING K, b", changes: "#4@1 a=NULL b=7 c=NULL\n#5@1 a=NULL b=7 c=NULL", clocks: "#4@1 new[a b c]\n#5@1 new[a b c]"},
	{desc: "update returning", request: "UPDATE T SET b = 8 WHERE b < 3 RETURNING *", changes: "#1@1 b=8\n#2@1 b=8", clocks: "#1@1 base[a c] new[b]\n#2@1 base[a c] new[b]"},
	{desc: "delete returning", request: "DELETE FROM T RETURNING a", changes: "#1@2\n#2@2\n#3@2", clocks: "#1@2 new[]\n#2@2 new[]\n#3@2 new[]"},
	{desc: "returning abandoned after its first row", request: "DELETE FROM T RETURNING zeroblob(33554432)", fails: "RETURNING yields more than 33554432 bytes", ours: true},
	{desc: "insert returning abandoned after its first row", request: "INSERT INTO T(K) VALUES(#4), (#5) RETURNING zeroblob(33554432)", fails: "RETURNING yields more than 33554432 bytes", ours: true},
	{desc: "update returning abandoned after its second row", request: "UPDATE T SET b = 8 RETURNING zeroblob(20000000)", fails: "RETURNING yields more than 33554432 bytes", ours: true},
	{desc: "or fail returning", request: "INSERT OR FAIL INTO T(K) VALUES(#4), (#1) RETURNING a", fails: "UNIQUE constraint failed: T.K"},
	// requests
	{desc: "failing statement in the middle", request: "INSERT INTO T(K) VALUES(#4); DELETE FROM T WHERE (K) = (#3); INSERT INTO T(K) VALUES(#5), (#1); INSERT INTO T(K) VALUES(#6)", fails: "UNIQUE constraint failed: T.K"},
	{desc: "syntax error after writes", request: "DELETE FROM T; DELETE FROM T WHERE", fails: "incomplete input"},
	{desc: "savepoint", request: "DELETE FROM T; SAVEPOINT x", fails: "SAVEPOINT is not allowed: every request is one transaction", ours: true},
	{desc: "rollback", request: "DELETE FROM T; ROLLBACK", fails: "ROLLBACK is not allowed: every request is one transaction", ours: true},
	{desc: "commit", request: "DELETE FROM T; COMMIT", fails: "COMMIT is not allowed: every request is one transaction", ours: true},
}

func TestCaptureOfStatementsOnEachKindOfKey(t *testing.T) {
	t.Parallel()
	runCaptureCasesOn(t, keyKinds, statementCases)
}

// TestFailedRequestsLeaveNothingInTheirGroup: the hook is not undone by ROLLBACK
// TO. What a failing request of a group captured is in no changeset, nor does it
// hide what the others do to the same rows.
func TestFailedRequestsLeaveNothingInTheirGroup(t *testing.T) {
	t.Parallel()
	for _, kind := range keyKinds {
		for _, bad := range []string{
			"INSERT INTO T(K) VALUES(#5), (#1)",
			"INSERT OR FAIL INTO T(K) VALUES(#5), (#1)",
			"UPDATE OR FAIL T SET b = CASE b WHEN 3 THEN NULL ELSE 9 END",
			"INSERT OR ROLLBACK INTO T(K) VALUES(#5), (#1)",
			"DELETE FROM T RETURNING zeroblob(33554432)",
		} {
			t.Run(kind.name+", "+bad, func(t *testing.T) {
				t.Parallel()
				n := start(t, Config{Schema: schemaOf(kind.spell("t", kind.table) + ";")})
				sql := func(texts ...string) (out []sqlite.Statement) {
					for _, s := range texts {
						out = append(out, text(kind.spell("t", s)))
					}
					return out
				}
				n.exec(kind.spell("t", baseRows))
				out := n.together(
					sql("INSERT INTO T(K) VALUES(#4)", "UPDATE T SET a = 'x' WHERE (K) = (#1)"),
					sql("UPDATE T SET a = 'bad', b = 8 WHERE (K) = (#1)", "DELETE FROM T WHERE (K) IN (VALUES(#2), (#4))", bad),
					sql("UPDATE T SET c = 9 WHERE (K) = (#2)", "DELETE FROM T WHERE (K) = (#4)"),
				)
				if out[0].failure() != "" || out[1].failure() == "" || out[2].failure() != "" {
					t.Fatalf("outcomes %+v", out)
				}
				var got []string // of one version, or two where the group took too long
				for version := out[0].id.Version; version <= out[2].id.Version; version++ {
					s, err := n.Changeset(t.Context(), changeset.ID{Actor: n.Actor(), Version: version})
					if err != nil {
						t.Fatal(err)
					}
					got = append(got, strings.Split(describe(t, s), "\n")...)
				}
				got = slices.DeleteFunc(got, func(line string) bool { return strings.Contains(line, kind.spell("t", "#4")) })
				if got, want := strings.Join(got, "\n"), kind.spell("t", "T@1 #1 a='x'\nT@1 #2 c=9.0"); got != want {
					t.Errorf("changes\n%s\nwant\n%s", got, want)
				}
				checkClocks(t, n)
				replica := start(t, Config{Schema: n.cfg.Schema})
				replica.pull(n)
				requireEqual(t, n, replica)
			})
		}
	}
}
