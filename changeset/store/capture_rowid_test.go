package store

import "testing"

// rowidCases play with the rowids of tables that have another key. A rowid does
// not replicate: a row that only moved has not changed, and keeps its clock. The
// rows of baseRows have the rowids 1, 2, 3.
var rowidCases = []captureCase{
	{desc: "a row moves", request: "UPDATE T SET rowid = 9 WHERE rowid = 1"},
	{desc: "a row moves and changes", request: "UPDATE T SET rowid = 9, b = 8 WHERE rowid = 1", changes: "#1@1 b=8", clocks: "#1@1 base[a c] new[b]"},
	{desc: "a row moves and gets another key", request: "UPDATE T SET rowid = 9, (K) = (#4) WHERE rowid = 1", changes: "#1@2\n#4@1 a='a1' b=1 c=1.5", clocks: "#1@2 new[]\n#4@1 new[a b c]"},
	{desc: "a row moves and another comes to its place", request: "UPDATE T SET rowid = 9 WHERE rowid = 1; INSERT INTO T(rowid, K) VALUES(1, #4)", changes: "#4@1 a=NULL b=7 c=NULL", clocks: "#4@1 new[a b c]"},
	{desc: "a row moves to a place that a deletion left", request: "DELETE FROM T WHERE rowid = 1; UPDATE T SET rowid = 1 WHERE rowid = 2", changes: "#1@2", clocks: "#1@2 new[]"},
	{desc: "a row moves there and back", request: "UPDATE T SET rowid = 9 WHERE rowid = 1; UPDATE T SET rowid = 1 WHERE rowid = 9"},
	{desc: "moved before, then changed", setup: []string{"UPDATE T SET rowid = 9 WHERE rowid = 1"}, request: "UPDATE T SET b = 8 WHERE (K) = (#1)", changes: "#1@1 b=8", clocks: "#1@1 base[a c] new[b]"},
	{desc: "moved before, then deleted", setup: []string{"UPDATE T SET rowid = 9 WHERE rowid = 1"}, request: "DELETE FROM T WHERE (K) = (#1)", changes: "#1@2", clocks: "#1@2 new[]"},
	{desc: "moved before, its place taken since", setup: []string{"UPDATE T SET rowid = 9 WHERE rowid = 1", "INSERT INTO T(rowid, K) VALUES(1, #4)"}, request: "UPDATE T SET a = 'x' WHERE rowid IN (1, 9)",
		changes: "#1@1 a='x'\n#4@1 a='x'", clocks: "#1@1 base[b c] new[a]\n#4@1 s2[b c] new[a]"},
	{desc: "all rows move up", request: "UPDATE T SET rowid = rowid + 100"},
	{desc: "all rows move to the other side", request: "UPDATE T SET rowid = -rowid"},
	{desc: "rows move by one, from the last", request: "UPDATE T SET rowid = 4 WHERE rowid = 3; UPDATE T SET rowid = 3 WHERE rowid = 2; UPDATE T SET rowid = 2 WHERE rowid = 1; INSERT INTO T(rowid, K) VALUES(1, #4)", changes: "#4@1 a=NULL b=7 c=NULL", clocks: "#4@1 new[a b c]"},
	{desc: "rows move by one fails", request: "UPDATE T SET rowid = rowid + 1", fails: "UNIQUE constraint failed: T.rowid"},
	{desc: "rows move by one or replace", request: "UPDATE OR REPLACE T SET rowid = rowid + 1 WHERE rowid < 3", changes: "#2@2\n#3@2", clocks: "#2@2 new[]\n#3@2 new[]"},
	{desc: "rows move by one or ignore", request: "UPDATE OR IGNORE T SET rowid = rowid + 1"},
	{desc: "swap of two rowids", request: "UPDATE T SET rowid = 9 WHERE rowid = 1; UPDATE T SET rowid = 1 WHERE rowid = 2; UPDATE T SET rowid = 2 WHERE rowid = 9"},
	{desc: "swap of two rowids, one row changed", request: "UPDATE T SET rowid = 9 WHERE rowid = 1; UPDATE T SET rowid = 1, b = 8 WHERE rowid = 2; UPDATE T SET rowid = 2 WHERE rowid = 9", changes: "#2@1 b=8", clocks: "#2@1 base[a c] new[b]"},
	{desc: "swap of two rowids, one row deleted", request: "UPDATE T SET rowid = 9 WHERE rowid = 1; UPDATE T SET rowid = 1 WHERE rowid = 2; UPDATE T SET rowid = 2 WHERE rowid = 9; DELETE FROM T WHERE rowid = 1", changes: "#2@2", clocks: "#2@2 new[]"},
	{desc: "swap of two rowids and of their keys", request: "UPDATE T SET rowid = 9, (K) = (#9) WHERE rowid = 1; UPDATE T SET rowid = 1, (K) = (#1) WHERE rowid = 2; UPDATE T SET rowid = 2, (K) = (#2) WHERE rowid = 9",
		changes: "#1@1 a='a2' b=2 c=NULL\n#2@1 a='a1' b=1 c=1.5", clocks: "#1@1 new[a b c]\n#2@1 new[a b c]"},
	{desc: "swapped before, then both changed", setup: []string{"UPDATE T SET rowid = 9 WHERE rowid = 1; UPDATE T SET rowid = 1 WHERE rowid = 2; UPDATE T SET rowid = 2 WHERE rowid = 9", "UPDATE T SET b = 8 WHERE (K) = (#1)"}, request: "UPDATE T SET a = 'x' WHERE b IN (2, 8)",
		changes: "#1@1 a='x'\n#2@1 a='x'", clocks: "#1@1 base[c] s2[b] new[a]\n#2@1 base[b c] new[a]"},
	{desc: "three rowids go round", request: "UPDATE T SET rowid = 9 WHERE rowid = 1; UPDATE T SET rowid = 1 WHERE rowid = 2; UPDATE T SET rowid = 2 WHERE rowid = 3; UPDATE T SET rowid = 3 WHERE rowid = 9"},
	{desc: "a rowid is used again", request: "DELETE FROM T WHERE rowid = 3; INSERT INTO T(K) VALUES(#4)", changes: "#3@2\n#4@1 a=NULL b=7 c=NULL", clocks: "#3@2 new[]\n#4@1 new[a b c]"},
	{desc: "a rowid is used again later", setup: []string{"DELETE FROM T WHERE rowid = 3"}, request: "INSERT INTO T(K) VALUES(#4)", changes: "#4@1 a=NULL b=7 c=NULL", clocks: "#4@1 new[a b c]"},
	{desc: "a rowid is used again, its first row comes back elsewhere", setup: []string{"DELETE FROM T WHERE rowid = 3", "INSERT INTO T(K) VALUES(#4)"}, request: "INSERT INTO T(K) VALUES(#3)", changes: "#3@3 a=NULL b=7 c=NULL", clocks: "#3@3 new[a b c]"},
	{desc: "two rows deleted, inserted in the other order", request: "DELETE FROM T WHERE rowid < 3; INSERT INTO T(rowid, K, a, b, c) VALUES(1, #2, 'a2', 2, NULL), (2, #1, 'a1', 1, 1.5)"},
	{desc: "deleted and inserted the same elsewhere", request: "DELETE FROM T WHERE rowid = 1; INSERT INTO T(K, a, b, c) VALUES(#1, 'a1', 1, 1.5)"},
	{desc: "deleted and inserted the same elsewhere before, then changed", setup: []string{"DELETE FROM T WHERE rowid = 1; INSERT INTO T(K, a, b, c) VALUES(#1, 'a1', 1, 1.5)"}, request: "UPDATE T SET b = 8 WHERE (K) = (#1)", changes: "#1@1 b=8", clocks: "#1@1 base[a c] new[b]"},
	{desc: "deleted and inserted elsewhere, its place taken", request: "DELETE FROM T WHERE rowid = 1; INSERT INTO T(rowid, K) VALUES(1, #4); INSERT INTO T(K, a, b, c) VALUES(#1, 'a1', 1, 2.5)", changes: "#1@1 c=2.5\n#4@1 a=NULL b=7 c=NULL", clocks: "#1@1 base[a b] new[c]\n#4@1 new[a b c]"},
	{desc: "delete all, insert all turned round", request: "DELETE FROM T; INSERT INTO T(K, a, b, c) VALUES(#3, NULL, 3, 3.0), (#2, 'a2', 2, NULL), (#1, 'a1', 1, 1.5)"},
	{desc: "replace moves the row", request: "REPLACE INTO T(K, a, b) VALUES(#1, 'a1', 5)", changes: "#1@1 b=5 c=NULL", clocks: "#1@1 base[a] new[b c]"},
	{desc: "replace moves the row and changes nothing", request: "REPLACE INTO T(K, a, b, c) VALUES(#1, 'a1', 1, 1.5)"},
	{desc: "replace moved the row before, then changed", setup: []string{"REPLACE INTO T(K, a, b, c) VALUES(#1, 'a1', 1, 1.5)"}, request: "UPDATE T SET b = 8 WHERE (K) = (#1)", changes: "#1@1 b=8", clocks: "#1@1 base[a c] new[b]"},
	{desc: "replace by rowid", request: "REPLACE INTO T(rowid, K) VALUES(1, #4)", changes: "#1@2\n#4@1 a=NULL b=7 c=NULL", clocks: "#1@2 new[]\n#4@1 new[a b c]"},
	{desc: "replace by rowid and by key", request: "REPLACE INTO T(rowid, K, a, b) VALUES(1, #2, 'x', 2)", changes: "#1@2\n#2@1 a='x'", clocks: "#1@2 new[]\n#2@1 base[b c] new[a]"},
	{desc: "replace by rowid and by key and back", request: "REPLACE INTO T(rowid, K) VALUES(1, #2); REPLACE INTO T(rowid, K, a, b, c) VALUES(1, #1, 'a1', 1, 1.5), (2, #2, 'a2', 2, NULL)"},
	{desc: "update or replace by rowid and by key", request: "UPDATE OR REPLACE T SET rowid = 2, (K) = (#3) WHERE rowid = 1", changes: "#1@2\n#2@2\n#3@1 a='a1' b=1 c=1.5", clocks: "#1@2 new[]\n#2@2 new[]\n#3@1 new[a b c]"},
	{desc: "insert of a taken rowid", request: "INSERT INTO T(rowid, K) VALUES(1, #4)", fails: "UNIQUE constraint failed: T.rowid"},
	{desc: "insert or ignore of a taken rowid", request: "INSERT OR IGNORE INTO T(rowid, K) VALUES(1, #4), (8, #5)", changes: "#5@1 a=NULL b=7 c=NULL", clocks: "#5@1 new[a b c]"},
	{desc: "insert at the edges of the rowid", request: "INSERT INTO T(rowid, K) VALUES(9223372036854775807, #4), (-9223372036854775808, #5), (0, #6)",
		changes: "#4@1 a=NULL b=7 c=NULL\n#5@1 a=NULL b=7 c=NULL\n#6@1 a=NULL b=7 c=NULL", clocks: "#4@1 new[a b c]\n#5@1 new[a b c]\n#6@1 new[a b c]"},
	{desc: "insert after the last rowid", setup: []string{"INSERT INTO T(rowid, K) VALUES(9223372036854775807, #4)", "DELETE FROM T WHERE (K) = (#4)"}, request: "INSERT INTO T(rowid, K) VALUES(9223372036854775807, #5)", changes: "#5@1 a=NULL b=7 c=NULL", clocks: "#5@1 new[a b c]"},
	{desc: "upsert moves the row to a rowid", request: "INSERT INTO T(K) VALUES(#1) ON CONFLICT(K) DO UPDATE SET rowid = 77"},
	{desc: "upsert moves the row to a rowid and changes it", request: "INSERT INTO T(K) VALUES(#1) ON CONFLICT(K) DO UPDATE SET rowid = 77, b = 8", changes: "#1@1 b=8", clocks: "#1@1 base[a c] new[b]"},
	{desc: "a guest at a moved row's place", request: "UPDATE T SET rowid = 9 WHERE rowid = 1; INSERT INTO T(rowid, K) VALUES(1, #4); DELETE FROM T WHERE (K) = (#4); UPDATE T SET rowid = 1 WHERE rowid = 9"},
	{desc: "moves, then the request fails", request: "UPDATE T SET rowid = 9 WHERE rowid = 1; UPDATE T SET rowid = 1 WHERE rowid = 2; INSERT INTO T(K) VALUES(#3)", fails: "UNIQUE constraint failed: T.K"},
	{desc: "all moved before, then back and some changed", setup: []string{"UPDATE T SET rowid = rowid + 10"}, request: "UPDATE T SET rowid = rowid - 10, b = b + 10 WHERE b < 3", changes: "#1@1 b=11\n#2@1 b=12", clocks: "#1@1 base[a c] new[b]\n#2@1 base[a c] new[b]"},
}

func TestCaptureOfRowidGames(t *testing.T) {
	t.Parallel()
	runCaptureCasesOn(t, keyKinds[1:3], rowidCases)
}
