package store

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/patinadb/patina/changeset"
)

// checkSums compares the sums that were kept with those of the clocks. It runs at
// the end of every store of every test, while nobody has the writer.
func (n *node) checkSums() {
	n.t.Helper()
	w := n.writer
	if n.tampered || n.t.Failed() {
		return
	}
	for _, t := range w.schema.sorted() {
		sum, err := w.sumClocks(t)
		if err == nil && sum != w.sums[t.sum] {
			n.t.Errorf("the sum of %s is %x, its clocks' is %x", t.name, w.sums[t.sum], sum)
		}
	}
}

// snapshotOf copies the database as a crash leaves it, without the identity file.
func snapshotOf(t *testing.T, n *node) (path string) {
	t.Helper()
	path = t.TempDir() + "/crashed.db"
	n.onWriter(func(*writer) {
		copyFile(t, n.cfg.Path, path)
		copyFile(t, n.cfg.Path+"-wal", path+"-wal")
	})
	return path
}

// TestStateIsReadFromTheLog after a crash, as far as it was not saved.
func TestStateIsReadFromTheLog(t *testing.T) {
	t.Parallel()
	n := start(t, Config{Schema: schemaOf(itemsSchema)})
	peer := sealAll(t, changeset.NewActorID(), testTime(), row("item", 1, -1, "a", "x"), row("item", 1, -2, "a", "y"), row("flag", 1, "f", "value", "z"), row("item", 2, -1))
	for i := range 2*saveEvery + 100 {
		n.exec(fmt.Sprintf("REPLACE INTO item(id, b) VALUES(%d, %d)", i%50, i))
		switch i {
		case 10:
			apply(t, n, peer[1], peer[3]) // leaves gaps
		case saveEvery + 10:
			apply(t, n, peer[0])
		}
	}
	apply(t, n, peer[2])
	crashed := start(t, Config{Path: snapshotOf(t, n), Schema: n.cfg.Schema})
	if a, b := n.Sums(), crashed.Sums(); !a.Vector.Equal(b.Vector) || !maps.Equal(a.Tables, b.Tables) || len(a.Tables) != 4 {
		t.Errorf("after the crash %+v, before %+v", b, a)
	}
	for _, s := range []*node{n, crashed} {
		s.onWriter(func(w *writer) {
			if w.unsaved == 0 || w.unsaved >= saveEvery {
				t.Errorf("%d versions are not saved", w.unsaved)
			}
			if got := n.internal("SELECT sum(length(data)) FROM __patina_log"); got != fmt.Sprint(w.logBytes) {
				t.Errorf("log of %s bytes, counted %d", got, w.logBytes)
			}
		})
	}
}

// TestSavedVersionsAreNotReadAgain at open, however many there are.
func TestSavedVersionsAreNotReadAgain(t *testing.T) {
	t.Parallel()
	n := start(t, Config{Schema: schemaOf(itemsSchema)})
	for i := range 20 {
		n.exec(fmt.Sprintf("INSERT INTO item(id) VALUES(%d)", i))
	}
	apply(t, n, sealAll(t, changeset.NewActorID(), testTime(), row("item", 1, -1))[0])
	before := n.Sums()
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	outside(t, n.cfg.Path, "UPDATE __patina_log SET sums = x'ff'; UPDATE __patina_log SET data = x'' WHERE k & 1099511627775 <> 20")
	n = start(t, n.cfg)
	n.damaged = true
	if after := n.Sums(); !after.Vector.Equal(before.Vector) || !maps.Equal(after.Tables, before.Tables) {
		t.Errorf("after a restart %+v, before %+v", after, before)
	}
	n.onWriter(func(w *writer) {
		if w.unsaved != 0 {
			t.Errorf("%d versions were read", w.unsaved)
		}
	})
}

// TestFailedTransactionLeavesTheSums as they were.
func TestFailedTransactionLeavesTheSums(t *testing.T) {
	t.Parallel()
	n := start(t, Config{Schema: schemaOf(itemsSchema)})
	n.exec("INSERT INTO item(id) VALUES(1)")
	n.onWriter(func(w *writer) {
		sums, unsaved, size := n.Sums().Tables, w.unsaved, w.logBytes
		err := w.transaction(func() error {
			w.summed = append(w.summed[:0], w.tables["item"])
			w.tables["item"].delta = changeset.Sum{Low: 1, High: 2}
			sealed := sealAll(t, changeset.NewActorID(), testTime(), row("item", 1, -1))[0]
			if err := w.writeLog(sealed); err != nil {
				t.Error(err)
			}
			if err := w.saveState(); err != nil {
				t.Error(err)
			}
			return fmt.Errorf("on purpose")
		})
		w.publish()
		if err == nil || w.unsaved != unsaved || w.logBytes != size || !maps.Equal(n.Sums().Tables, sums) {
			t.Errorf("%v; %d unsaved versions, %d bytes, sums %v; before %d, %d, %v", err, w.unsaved, w.logBytes, n.Sums().Tables, unsaved, size, sums)
		}
		if err := w.transaction(w.saveState); err != nil {
			t.Error(err)
		}
	})
	crashed := start(t, Config{Path: snapshotOf(t, n), Schema: n.cfg.Schema})
	crashed.onWriter(func(w *writer) {
		if w.unsaved != 0 || !maps.Equal(crashed.Sums().Tables, n.Sums().Tables) {
			t.Errorf("what was saved after the failure lacks %d versions; sums %v", w.unsaved, crashed.Sums().Tables)
		}
	})
}

// TestSumsFollowTheSchema that another process moves.
func TestSumsFollowTheSchema(t *testing.T) {
	t.Parallel()
	for _, sql := range []string{
		"ALTER TABLE item ADD COLUMN d TEXT",
		"DROP TABLE edge",
		"DROP TABLE flag; CREATE TABLE flag(name TEXT NOT NULL PRIMARY KEY, value TEXT)",
		"VACUUM",
	} {
		for _, running := range []bool{true, false} {
			t.Run(fmt.Sprint(sql, ", running ", running), func(t *testing.T) {
				t.Parallel()
				n := start(t, Config{Schema: schemaOf(itemsSchema)})
				n.exec("INSERT INTO item(id, a) VALUES(1, 'x'), (2, 'y')", "INSERT INTO flag VALUES('f', 1), ('g', 2)")
				n.exec("DELETE FROM flag WHERE name = 'f'", "UPDATE item SET c = 1")
				gone := strings.HasPrefix(sql, "DROP TABLE flag") // its clocks are still there
				n.damaged = gone
				if running {
					outside(t, n.cfg.Path, sql)
					n.exec("INSERT INTO service(region, name) VALUES('eu', 'web')")
				} else {
					n = reopened(t, n, n.cfg.Path, sql)
				}
				crashed := start(t, Config{Path: snapshotOf(t, n), Schema: n.cfg.Schema})
				n.damaged, crashed.damaged = gone, gone
				if a, b := n.Sums(), crashed.Sums(); running && !maps.Equal(a.Tables, b.Tables) && len(a.Tables) == len(b.Tables) {
					t.Errorf("after a crash %v, before %v", b.Tables, a.Tables)
				}
			})
		}
	}
}
