package sqlite

import (
	"errors"
	"testing"

	lib "modernc.org/sqlite/lib"
)

// Every kind of trigger body, each of which would do harm on apply: what the
// origin's triggers did arrives as changes of its own.
const triggerSchema = `
CREATE TABLE t(id INTEGER PRIMARY KEY, a);
CREATE TABLE aud(w);
INSERT INTO aud VALUES('keep');
CREATE TRIGGER t1 BEFORE INSERT ON t BEGIN INSERT INTO aud VALUES(NEW.id); END;
CREATE TRIGGER t2 AFTER INSERT ON t WHEN NEW.a IS NOT NULL BEGIN DELETE FROM aud; END;
CREATE TRIGGER t3 AFTER INSERT ON t BEGIN DELETE FROM aud WHERE w IS NULL; END;
CREATE TRIGGER t4 AFTER INSERT ON t BEGIN UPDATE aud SET w = 'changed'; END;
CREATE TRIGGER t5 BEFORE INSERT ON t WHEN NEW.a = 'bad' BEGIN SELECT RAISE(ABORT, 'no'); END;
CREATE TRIGGER t6 AFTER UPDATE ON t BEGIN SELECT RAISE(ROLLBACK, 'no'); END;
CREATE TRIGGER t7 BEFORE DELETE ON t BEGIN SELECT RAISE(IGNORE); END;
`

func TestApplyRunsNoTriggers(t *testing.T) {
	c := openMemory(t, triggerSchema)
	var seen []string
	c.SetPreupdate(func(p *Preupdate) { seen = append(seen, p.Op().String()+" "+p.Table()) })
	c.SetMode(ModeApply)
	for _, sql := range []string{
		"INSERT INTO t VALUES(1, 'bad')",
		"INSERT INTO t VALUES(1, 'x') ON CONFLICT DO UPDATE SET a = excluded.a",
		"REPLACE INTO t VALUES(1, 'y')",
		"UPDATE t SET a = 'z' WHERE id = 1",
		"DELETE FROM t WHERE id = 1",
	} {
		if err := c.Each(sql, nil, nil); err != nil {
			t.Errorf("%s: %v", sql, err)
		}
	}
	c.SetMode(ModeInternal)
	want(t, query(t, c, "SELECT w FROM aud"), "'keep'")
	want(t, query(t, c, "SELECT count(*) FROM t"), "0")
	for _, s := range seen {
		if s != "INSERT t" && s != "UPDATE t" && s != "DELETE t" {
			t.Error("the hook saw", s)
		}
	}
	// Triggers are as they were for everybody else.
	if err := c.Exec("INSERT INTO t VALUES(2, 'bad')"); err == nil || err.Error() != "no" {
		t.Error(err)
	}
	mustExec(t, c, "INSERT INTO t VALUES(2, 'good')")
	want(t, query(t, c, "SELECT count(*) FROM aud"), "0")
}

// A statement that SQLite prepares again at step, in the mode of another.
func TestApplyRunsNoTriggersWhenPreparedAgain(t *testing.T) {
	c := openMemory(t, "CREATE TABLE t(id INTEGER PRIMARY KEY, a); CREATE TABLE aud(w)")
	c.SetMode(ModeApply)
	s, _, err := c.Prepare("INSERT INTO t(a) VALUES(1)")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Finalize()
	c.SetMode(ModeInternal)
	mustExec(t, c, "CREATE TRIGGER tr AFTER INSERT ON t BEGIN INSERT INTO aud VALUES(1); END")
	if err := s.Run(); err != nil {
		t.Fatal(err)
	}
	want(t, query(t, c, "SELECT count(*) FROM aud"), "0")
	mustExec(t, c, "INSERT INTO t(a) VALUES(1)")
	want(t, query(t, c, "SELECT count(*) FROM aud"), "1")
}

// Changing between the modes prepares nothing again.
func TestApplyExpiresNothing(t *testing.T) {
	c := openMemory(t, triggerSchema)
	c.SetMode(ModeWrite)
	client, err := c.Cached("INSERT INTO t VALUES(?, ?)")
	if err != nil {
		t.Fatal(err)
	}
	c.SetMode(ModeApply)
	apply, err := c.Cached("INSERT INTO t VALUES(?, ?)")
	if err != nil {
		t.Fatal(err)
	}
	if client == apply {
		t.Fatal("the cache mixes the modes")
	}
	for i := range int64(10) {
		s := client
		if i%2 == 1 {
			s = apply
		}
		if err := s.BindInteger(1, i); err != nil {
			t.Fatal(err)
		}
		if err := s.Run(); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range []*Stmt{client, apply} {
		if n := lib.Xsqlite3_stmt_status(c.tls, s.p, lib.SQLITE_STMTSTATUS_REPREPARE, 0); n != 0 {
			t.Errorf("%v: prepared again %d times", s.mode, n)
		}
	}
}

func TestSetTriggers(t *testing.T) {
	c := openMemory(t, triggerSchema)
	if err := c.SetTriggers(false); err != nil {
		t.Fatal(err)
	}
	mustExec(t, c, "INSERT INTO t VALUES(1, 'bad')")
	c.SetMode(ModeApply)
	mustExec(t, c, "INSERT INTO t VALUES(2, 'bad')")
	c.SetMode(ModeInternal)
	mustExec(t, c, "INSERT INTO t VALUES(3, 'bad')") // apply did not switch them on
	if err := c.SetTriggers(true); err != nil {
		t.Fatal(err)
	}
	if err := c.Exec("INSERT INTO t VALUES(4, 'bad')"); !errors.Is(err, ErrConstraintTrigger) {
		t.Error(err)
	}
}

// The triggers that record the writes of other processes do nothing in ours.
func TestOwnTriggersAreIgnored(t *testing.T) {
	c := openMemory(t, `
		CREATE TABLE p(id INTEGER PRIMARY KEY);
		CREATE TABLE aud(w);
		CREATE TABLE __patina_cap(k);
		CREATE TRIGGER usr AFTER INSERT ON p BEGIN INSERT INTO aud VALUES(NEW.id); END;
		CREATE TRIGGER __Patina_p_i AFTER INSERT ON p BEGIN INSERT INTO __patina_cap VALUES(NEW.id); END`)
	for i, m := range []Mode{ModeInternal, ModeWrite, ModeApply} {
		c.SetMode(m)
		if err := c.Each("INSERT INTO p VALUES(?)", integers(int64(i)), nil); err != nil {
			t.Errorf("%v: %v", m, err)
		}
	}
	c.SetMode(ModeInternal)
	want(t, query(t, c, "SELECT count(*) FROM __patina_cap"), "0")
	want(t, query(t, c, "SELECT w FROM aud"), "0; 1")
}

func TestSetIgnoreChecks(t *testing.T) {
	c := openMemory(t, "CREATE TABLE t(a CHECK(a > 0), n NOT NULL)")
	c.SetMode(ModeApply)
	if err := c.SetIgnoreChecks(true); err != nil {
		t.Fatal(err)
	}
	mustExec(t, c, "INSERT INTO t VALUES(-1, 1)")
	if err := c.Exec("INSERT INTO t VALUES(-1, NULL)"); !errors.Is(err, ErrConstraintNotNull) {
		t.Error("NOT NULL is off too:", err)
	}
	if err := c.SetIgnoreChecks(false); err != nil {
		t.Fatal(err)
	}
	if err := c.Exec("INSERT INTO t VALUES(-1, 1)"); !errors.Is(err, ErrConstraintCheck) {
		t.Error(err)
	}
}

// What ends a whole transaction, with the savepoints that were released in it.
func TestAutocommitTellsOfALostTransaction(t *testing.T) {
	c := openMemory(t, `
		CREATE TABLE t(id INTEGER PRIMARY KEY, a);
		INSERT INTO t VALUES(1, 'x');
		CREATE TABLE r(id INTEGER PRIMARY KEY);
		CREATE TRIGGER tr BEFORE INSERT ON r BEGIN SELECT RAISE(ROLLBACK, 'boom'); END`)
	for _, tt := range []struct {
		sql  string
		lost bool
	}{
		{"INSERT INTO t VALUES(1, 'dup')", false},
		{"INSERT OR FAIL INTO t VALUES(1, 'dup')", false},
		{"INSERT OR ROLLBACK INTO t VALUES(1, 'dup')", true},
		{"UPDATE OR ROLLBACK t SET id = 1", true},
		{"INSERT INTO r VALUES(1)", true},
	} {
		mustExec(t, c, "BEGIN IMMEDIATE; SAVEPOINT a; INSERT INTO t VALUES(50, 'first'); RELEASE a; SAVEPOINT b")
		if err := c.Exec(tt.sql); !errors.Is(err, ErrConstraint) {
			t.Errorf("%s: %v", tt.sql, err)
		}
		if c.Autocommit() != tt.lost {
			t.Errorf("%s: autocommit %v", tt.sql, c.Autocommit())
		}
		if !c.Autocommit() {
			mustExec(t, c, "ROLLBACK")
		}
	}
	if !c.Autocommit() {
		t.Error("a transaction is open")
	}
}

func TestCountersAndRowid(t *testing.T) {
	c := openMemory(t, "CREATE TABLE t(id INTEGER PRIMARY KEY, a); CREATE TABLE aud(w); CREATE TRIGGER tr AFTER INSERT ON t BEGIN INSERT INTO aud VALUES(1),(2); END")
	mustExec(t, c, "INSERT INTO t VALUES(7, 1), (8, 1)")
	if c.Changes() != 2 || c.TotalChanges() != 6 || c.LastInsertID() != 8 {
		t.Error(c.Changes(), c.TotalChanges(), c.LastInsertID())
	}
	mustExec(t, c, "SELECT 1")
	if c.Changes() != 2 || c.TotalChanges() != 6 {
		t.Error("a SELECT changed the counters")
	}
	// The rowid outlives a rollback.
	mustExec(t, c, "BEGIN; INSERT INTO aud(rowid, w) VALUES(777, 1); ROLLBACK")
	if c.LastInsertID() != 777 {
		t.Error(c.LastInsertID())
	}
	c.SetLastInsertID(0)
	want(t, query(t, c, "SELECT last_insert_rowid()"), "0")
}
