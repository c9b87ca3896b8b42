package store

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/patinadb/patina/changeset/sqlite"
)

// guardedScript has a table of each layout, whose rows have rowids that VACUUM
// moves, and one that is left local, to which one of these refers.
const guardedScript = `CREATE TABLE i(id INTEGER PRIMARY KEY, a);
CREATE TABLE t(name TEXT PRIMARY KEY, a INTEGER);
CREATE TABLE w(region TEXT, name TEXT, PRIMARY KEY(region, name)) WITHOUT ROWID;
CREATE TABLE local(id INTEGER PRIMARY KEY, mail TEXT UNIQUE);
CREATE TABLE child(id INTEGER PRIMARY KEY, of INTEGER REFERENCES local(id) ON DELETE CASCADE ON UPDATE CASCADE);
INSERT INTO i SELECT value, 'a' || value FROM series(1, 40);
INSERT INTO t SELECT 'n' || value, value FROM series(1, 90); DELETE FROM t WHERE a % 3 = 0;
INSERT INTO w SELECT 'r', 'n' || value FROM series(1, 20);
INSERT INTO local SELECT value, 'm' || value FROM series(1, 30);
INSERT INTO child SELECT value, value FROM series(1, 30);`

// guardedWrites are refused while an adoption is not finished.
var guardedWrites = []string{
	"INSERT INTO i VALUES(1000, 'x')", "INSERT OR IGNORE INTO i VALUES(1, 'x')", "INSERT OR REPLACE INTO i VALUES(1, 'x')", "REPLACE INTO t VALUES('n1', 0)",
	"INSERT INTO i VALUES(1, 'x') ON CONFLICT DO UPDATE SET a = excluded.a", "INSERT INTO t SELECT 'x' || id, 1 FROM local",
	"UPDATE i SET a = 'x'", "UPDATE OR IGNORE t SET a = 7 WHERE name = 'n1'", "UPDATE w SET name = 'x' || name", "UPDATE t SET rowid = rowid + 1000",
	"DELETE FROM i", "DELETE FROM t WHERE a = 1", "DELETE FROM w",
	"DELETE FROM local WHERE id = 3", "UPDATE local SET id = 1000 WHERE id = 3",
}

// refusedOutside runs statements as another program does, with the settings that
// SQLite has of itself, and sees that each is refused for the adoption.
func refusedOutside(t *testing.T, path string, statements []string) {
	t.Helper()
	c, err := sqlite.Open(sqlite.Config{Path: path, KeepJournal: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetMode(sqlite.ModeInternal)
	if err := c.Exec("PRAGMA recursive_triggers = 0; PRAGMA foreign_keys = 1"); err != nil {
		t.Fatal(err)
	}
	for _, sql := range statements {
		if err := c.Exec(sql); err == nil || !strings.Contains(err.Error(), guardRefusal) {
			t.Errorf("%s: %v", sql, err)
		}
	}
}

// TestAdoptKeepsOtherProgramsFromWriting to what it takes in, between its chunks and
// after it was ended, while they read, and write to what it leaves local.
func TestAdoptKeepsOtherProgramsFromWriting(t *testing.T) {
	t.Parallel()
	path := foreignFile(t, guardedScript)
	want := strings.ReplaceAll(tableRows(t, path), "'m1'", "'written'")
	enough := errors.New("enough")
	chunks, limits := 0, smallChunk
	limits.done = func() error {
		if chunks++; chunks%10 == 0 {
			return enough
		}
		refusedOutside(t, path, guardedWrites)
		outside(t, path, "SELECT count(*) FROM i; UPDATE local SET mail = 'written' WHERE id = 1")
		return nil
	}
	for {
		_, err := adopt(t.Context(), Config{Path: path}, limits)
		if err == nil {
			break
		}
		if !errors.Is(err, enough) {
			t.Fatal(err)
		}
		refusedOutside(t, path, guardedWrites) // nobody is there to see it
	}
	if chunks < 20 {
		t.Errorf("only %d chunks", chunks)
	}
	if r := checked(t, path); !r.Clean() || r.Rows != 150 {
		t.Errorf("%d rows\n%s", r.Rows, found(r))
	}
	if got := tableRows(t, path); got != want {
		t.Errorf("rows\n%s, want\n%s", got, want)
	}
	outside(t, path, strings.Join(guardedWrites[1:], ";"))
}

// TestAdoptFollowsRenumberedRows: VACUUM may give rows of a table without an INTEGER
// PRIMARY KEY other rowids, in the midst of a scan that goes by them. Today's leaves
// those of tables with an index alone, so the test moves them itself.
func TestAdoptFollowsRenumberedRows(t *testing.T) {
	t.Parallel()
	path := foreignFile(t, guardedScript)
	want := tableRows(t, path)
	chunks, limits := 0, smallChunk
	limits.done = func() error {
		if chunks++; chunks == 15 {
			outside(t, path, "VACUUM; DROP TRIGGER __patina_update_t; UPDATE t SET rowid = a - a / 3; CREATE TRIGGER __patina_update_t BEFORE UPDATE ON t BEGIN SELECT RAISE(ABORT, '"+guardRefusal+"'); END")
		}
		return nil
	}
	a, err := adopt(t.Context(), Config{Path: path}, limits)
	if err != nil {
		t.Fatal(err)
	}
	if r := checked(t, path); !r.Clean() || r.Rows != 150 || r.Log != a.Versions {
		t.Errorf("%+v, %d rows\n%s", a, r.Rows, found(r))
	}
	if got := tableRows(t, path); got != want {
		t.Errorf("rows\n%s, want\n%s", got, want)
	}
}

// TestAdoptNoticesWhatGuardsDoNotRefuse, while it runs and when it is repeated:
// then nobody knows what was written, and only an ejection helps.
func TestAdoptNoticesWhatGuardsDoNotRefuse(t *testing.T) {
	t.Parallel()
	enough := errors.New("enough")
	for _, sql := range []string{
		"DROP TABLE t; CREATE TABLE t(name TEXT PRIMARY KEY, a INTEGER); INSERT INTO t VALUES('n1', 'another')",
		"DROP TABLE i", "ALTER TABLE i DROP COLUMN a", "ALTER TABLE i ADD COLUMN b", "ALTER TABLE w RENAME TO w2", "ALTER TABLE t RENAME COLUMN a TO b",
		"CREATE TABLE more(id INTEGER PRIMARY KEY)", "DROP TRIGGER __patina_update_i",
	} {
		for _, during := range []bool{true, false} {
			path := foreignFile(t, guardedScript)
			chunks, limits := 0, smallChunk
			limits.done = func() error {
				if chunks++; chunks == 15 && during {
					outside(t, path, sql)
				} else if chunks == 15 {
					return enough
				}
				return nil
			}
			if _, err := adopt(t.Context(), Config{Path: path}, limits); err == nil {
				t.Errorf("%s: adopted", sql)
			}
			if !during {
				outside(t, path, sql)
			}
			for range 2 {
				if _, err := adopt(t.Context(), Config{Path: path}, smallChunk); !errors.Is(err, ErrDisturbed) || !strings.Contains(err.Error(), "patina eject") {
					t.Errorf("%s: adopted again: %v", sql, err)
				}
			}
			want := wholeFile(t, path)
			if _, err := Eject(Config{Path: path}); err != nil {
				t.Fatal(err)
			}
			requirePlain(t, path)
			if got, _, _ := strings.Cut(wholeFile(t, path), "CREATE TRIGGER"); !strings.HasPrefix(tail(want), tail(got)) {
				t.Errorf("%s: ejected\n%s, was\n%s", sql, got, want)
			}
			adopted(t, path)
		}
	}
}

// tail is a whole file without its journal mode.
func tail(file string) string {
	_, rest, _ := strings.Cut(file, "\n")
	return rest
}

// TestAdoptRefusesWhatMovedUnderItsSurvey: what it looked at is not what it would
// take in.
func TestAdoptRefusesWhatMovedUnderItsSurvey(t *testing.T) {
	t.Parallel()
	path := foreignFile(t, guardedScript)
	cfg := Config{Path: path}
	var err error
	if cfg.adopt, err = surveyFile(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	outside(t, path, "PRAGMA journal_mode = DELETE; CREATE TABLE more(id INTEGER PRIMARY KEY)")
	if _, err := Open(t.Context(), cfg); !errors.Is(err, ErrDisturbed) || !strings.Contains(err.Error(), "run it again") {
		t.Fatal(err)
	}
	if a := adopted(t, path); a.Resumed || len(a.Objects) != 6 {
		t.Errorf("%+v", a)
	}
}

// TestAdoptOfManyTables: guards and schema cost no more than the tables do.
func TestAdoptOfManyTables(t *testing.T) {
	t.Parallel()
	var script strings.Builder
	for i := range 300 {
		fmt.Fprintf(&script, "CREATE TABLE \"t \"\"%d\"(id INTEGER PRIMARY KEY, a); INSERT INTO \"t \"\"%d\" VALUES(1, %d);", i, i, i)
	}
	path := foreignFile(t, script.String())
	if a := adopted(t, path); len(a.Objects) != 300 || a.Versions != 300 {
		t.Errorf("%d objects, %d versions", len(a.Objects), a.Versions)
	}
	if r := checked(t, path); !r.Clean() || r.Rows != 300 {
		t.Errorf("%d rows\n%s", r.Rows, found(r))
	}
}
