package store

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/patinadb/patina/changeset/sqlite"
)

// repaired repairs with small chunks.
func repaired(t *testing.T, path string) Repaired {
	t.Helper()
	s, err := openOffline(Config{Path: path}, sqlite.Config{})
	if err != nil {
		t.Fatal(err)
	}
	r := &repair{w: s.writer, limits: smallChunk, keys: 2}
	if err := errors.Join(r.run(t.Context()), s.closeOffline()); err != nil {
		t.Fatal(err)
	}
	return r.done
}

// TestRepair of everything that damages does: what Check calls repairable is whole
// afterwards, here and at a peer that knew the node before; the rest is as it was.
func TestRepair(t *testing.T) {
	t.Parallel()
	for _, test := range damages {
		t.Run(test.desc, func(t *testing.T) {
			t.Parallel()
			cfg := lived(t)
			n := start(t, cfg)
			actor := n.Actor()
			peer := start(t, Config{Schema: cfg.Schema})
			peer.pull(n)
			n.stop()
			outside(t, cfg.Path, test.sql)
			var left []string
			whole := true
			for _, f := range checked(t, cfg.Path).Findings {
				if !f.Repairable() {
					left = append(left, fmt.Sprint(f))
					whole = false
				}
			}
			before := tableRows(t, cfg.Path)
			_, err := Repair(t.Context(), cfg)
			if err != nil && whole {
				t.Fatal(err)
			}
			if after := tableRows(t, cfg.Path); after != before {
				t.Errorf("repair changed rows:\n%s, before\n%s", after, before)
			}
			var still []string
			for _, f := range checked(t, cfg.Path).Findings {
				if f.What != WrongSum || whole {
					still = append(still, fmt.Sprint(f))
				}
			}
			if fmt.Sprint(still) != fmt.Sprint(left) {
				t.Fatalf("after the repair\n%s, want\n%s", still, left)
			}
			if !whole {
				return
			}
			n = start(t, cfg)
			if n.Actor() != actor {
				t.Error("another actor id")
			}
			n.damaged = true // the log, by some
			if strings.Contains(test.desc, "older log entry") {
				return // which the peer has
			}
			peer.pull(n)
			if strings.HasPrefix(test.desc, "clock of another time") {
				if n.Sums().Tables["item"] == peer.Sums().Tables["item"] {
					t.Error("a changed clock does not show in the sums")
				}
				return
			}
			requireEqual(t, n, peer)
		})
	}
}

// TestRepairAfterAnotherProgram did many things at once, in chunks.
func TestRepairAfterAnotherProgram(t *testing.T) {
	t.Parallel()
	cfg := Config{Path: filepath.Join(t.TempDir(), "n.db"), Schema: schemaOf(itemsSchema)}
	n := start(t, cfg)
	for i := range 60 {
		n.exec(fmt.Sprintf("INSERT INTO item(id, a) VALUES(%d, 'x')", i), fmt.Sprintf("INSERT INTO flag VALUES('f%d', %d)", i, i),
			fmt.Sprintf("INSERT INTO service(region, name) VALUES('r%d', 'n%d')", i%7, i), fmt.Sprintf("INSERT INTO edge VALUES('a%d', 'b')", i))
	}
	n.exec("DELETE FROM flag WHERE value % 5 = 0", "DELETE FROM item WHERE id % 5 = 0")
	peer := start(t, Config{Schema: cfg.Schema})
	peer.pull(n)
	n.stop()
	outside(t, cfg.Path, `DELETE FROM item WHERE id % 3 = 1; INSERT INTO item(id) VALUES(0), (5), (100), (101);
		DELETE FROM flag WHERE value % 4 = 1; INSERT INTO flag VALUES('f0', 'back'), ('new', 'row');
		UPDATE edge SET b = 'c' WHERE rowid < 20; DELETE FROM service WHERE region = 'r1'; INSERT INTO service(region, name) VALUES('new', 'row'); `+renumber)
	if r := checked(t, cfg.Path); r.Clean() {
		t.Fatal("nothing to repair")
	}
	done := repaired(t, cfg.Path)
	if done.Inserted < 20 || done.Deleted < 30 || done.Dropped != 0 || done.Versions < 10 {
		t.Errorf("%+v", done)
	}
	if r := checked(t, cfg.Path); !r.Clean() {
		t.Errorf("after the repair:\n%s", found(r))
	}
	if again := repaired(t, cfg.Path); again != (Repaired{}) {
		t.Errorf("a second repair did %+v", again)
	}
	n = start(t, cfg)
	peer.pull(n)
	requireEqual(t, n, peer)
	n.exec("UPDATE edge SET b = 'd'", "DELETE FROM flag")
	peer.exec("UPDATE item SET a = 'peer'")
	peer.pull(n)
	n.pull(peer)
	requireEqual(t, n, peer)
}

// TestRepairOfManyDamagedClocks in one run, of the living and the dead.
func TestRepairOfManyDamagedClocks(t *testing.T) {
	t.Parallel()
	cfg := lived(t)
	n := start(t, cfg)
	peer := start(t, Config{Schema: cfg.Schema})
	peer.pull(n)
	n.stop()
	damage := ""
	for _, table := range []string{"clk_item", "clk_flag", "clk_service", "clk_edge", "tomb_flag", "tomb_edge"} {
		damage += "UPDATE __patina_" + table + " SET m = zeroblob(length(m));"
	}
	outside(t, cfg.Path, damage)
	done := repaired(t, cfg.Path)
	if done.Damaged != 13 || done.Inserted != 9 || done.Deleted != 0 || done.Dropped != 0 {
		t.Errorf("%+v", done)
	}
	if r := checked(t, cfg.Path); !r.Clean() {
		t.Errorf("after the repair:\n%s", found(r))
	}
	n = start(t, cfg)
	peer.pull(n)
	requireEqual(t, n, peer)
}

// TestRepairRaisesLives: a clock that was lost must not begin below what peers know.
func TestRepairRaisesLives(t *testing.T) {
	t.Parallel()
	cfg := lived(t)
	n := start(t, cfg)
	for range 3 {
		n.exec("DELETE FROM item WHERE id = 1", "DELETE FROM flag WHERE name = 'f'", "DELETE FROM service WHERE name = 'db'")
		n.exec("INSERT INTO item(id, a) VALUES(1, 'again')", "INSERT INTO flag VALUES('f', 'again')", "INSERT INTO service(region, name) VALUES('eu', 'db')")
	}
	peer := start(t, Config{Schema: cfg.Schema})
	peer.pull(n)
	n.stop()
	outside(t, cfg.Path, "DELETE FROM __patina_clk_item; DELETE FROM __patina_clk_flag; DELETE FROM __patina_tomb_flag; DELETE FROM __patina_clk_service; UPDATE item SET a = 'here'; UPDATE flag SET value = 'here'; UPDATE service SET note = 'here'")
	repaired(t, cfg.Path)
	n = start(t, cfg)
	n.tampered = true // tombstones are lost
	peer.pull(n)
	if a, b := n.content(), peer.content(); a != b || !strings.Contains(a, "'f'|'here'") {
		t.Errorf("content\n%s, at the peer\n%s", a, b)
	}
}

// TestRepairOfAShorterTombstone beside a row in a longer life: the next is above both.
func TestRepairOfAShorterTombstone(t *testing.T) {
	t.Parallel()
	cfg := lived(t)
	n := start(t, cfg)
	for range 3 {
		n.exec("DELETE FROM flag WHERE name = 'f'")
		n.exec("INSERT INTO flag VALUES('f', 'again')")
	}
	peer := start(t, Config{Schema: cfg.Schema})
	peer.pull(n)
	n.stop()
	outside(t, cfg.Path, "INSERT INTO __patina_tomb_flag SELECT 'f', m FROM __patina_tomb_flag WHERE k1 = 'h'; UPDATE flag SET value = 'here' WHERE name = 'f'")
	if done := repaired(t, cfg.Path); done.Inserted != 1 || done.Versions != 1 {
		t.Errorf("%+v", done)
	}
	n = start(t, cfg)
	peer.pull(n)
	requireEqual(t, n, peer)
	if got := peer.query("SELECT value FROM flag WHERE name = 'f'"); got != "'here'" {
		t.Errorf("at the peer %s", got)
	}
}

// TestRepairDropsASecondClock of a row that has its own: nothing is deleted for it.
func TestRepairDropsASecondClock(t *testing.T) {
	t.Parallel()
	cfg := lived(t)
	outside(t, cfg.Path, "INSERT INTO __patina_clk_flag SELECT 77, m FROM __patina_clk_flag WHERE rid = 1")
	if done := repaired(t, cfg.Path); done != (Repaired{Dropped: 1}) {
		t.Errorf("%+v", done)
	}
	if r := checked(t, cfg.Path); !r.Clean() {
		t.Errorf("after the repair:\n%s", found(r))
	}
}

// TestRepairDropsWhatNobodyKnows: a clock under another row whose key is in no log.
func TestRepairDropsWhatNobodyKnows(t *testing.T) {
	t.Parallel()
	cfg := lived(t)
	outside(t, cfg.Path, "UPDATE flag SET name = 'other' WHERE name = 'f'; DELETE FROM flag WHERE name = 'g'; DELETE FROM __patina_log WHERE k < (SELECT max(k) FROM __patina_log WHERE k < 1 << 40)")
	if done := repaired(t, cfg.Path); done.Dropped != 1 || done.Inserted != 1 || done.Deleted != 0 {
		t.Errorf("%+v", done)
	}
	// That of the row that is gone has no other in its place, and stays to be named.
	if got := found(checked(t, cfg.Path)); got != "flag: clocks of living rows without a row: 1 rowid 2\n" {
		t.Errorf("found %s", got)
	}
}

func TestRepairRefuses(t *testing.T) {
	t.Parallel()
	cfg := lived(t)
	outside(t, cfg.Path, "INSERT INTO item(id) VALUES(7)")
	moved := filepath.Join(t.TempDir(), "moved.db")
	for _, suffix := range []string{"", "-id"} {
		copyFile(t, cfg.Path+suffix, moved+suffix)
	}
	before := hashFiles(t, moved)
	if _, err := Repair(t.Context(), Config{Path: moved}); !errors.Is(err, ErrCopy) || !strings.Contains(err.Error(), "start a node on it first") {
		t.Errorf("a copy: %v", err)
	}
	if hashFiles(t, moved) != before {
		t.Error("a refused repair changed the copy")
	}
	// A node that starts on it makes it a database of its own, which can be repaired.
	n := start(t, Config{Path: moved})
	n.tampered = true
	n.stop()
	if done := repaired(t, moved); done.Inserted != 1 {
		t.Errorf("%+v", done)
	}
	running := start(t, Config{Schema: schemaOf(itemsSchema)})
	if _, err := Repair(t.Context(), running.cfg); !errors.Is(err, ErrInUse) {
		t.Errorf("a node runs: %v", err)
	}
	outside(t, cfg.Path, "INSERT INTO edge VALUES('a', '"+strings.Repeat("x", 65537)+"')")
	if _, err := Repair(t.Context(), cfg); err != nil {
		t.Error(err)
	}
	if got := found(checked(t, cfg.Path)); !strings.HasPrefix(got, "edge: rows whose key cannot replicate: 1 ") || strings.Count(got, "\n") != 1 {
		t.Errorf("left: %s", got)
	}
}
