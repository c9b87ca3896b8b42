package store

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/hlc"
	"github.com/patinadb/patina/changeset/sqlite"
)

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if errors.Is(err, os.ErrNotExist) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

// copyNode copies a stopped store's directory file by file.
func copyNode(t *testing.T, path string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy.db")
	for _, suffix := range []string{"", "-wal", "-id"} {
		copyFile(t, path+suffix, to+suffix)
	}
	return to
}

func TestActorAndDataSurviveRestart(t *testing.T) {
	cfg := Config{Path: filepath.Join(t.TempDir(), "n.db"), Schema: schemaOf(itemsSchema)}
	n := start(t, cfg)
	n.exec("INSERT INTO item(id, a) VALUES(1, 'x')")
	actor, epoch, secret, digest := n.Actor(), n.Epoch(), n.Secret(), n.Vector().Digest()
	n.stop()
	n = start(t, cfg)
	if n.Actor() != actor || n.Secret() != secret || n.Vector().Digest() != digest {
		t.Error("actor, secret or vector changed")
	}
	if n.Epoch() <= epoch {
		t.Errorf("epoch %d after %d", n.Epoch(), epoch)
	}
	if id := n.exec("UPDATE item SET a = 'y'"); id.Version != 2 {
		t.Errorf("version %d, want 2", id.Version)
	}
}

func TestCopyTakesANewActor(t *testing.T) {
	path := filepath.Join(t.TempDir(), "n.db")
	n := start(t, Config{Path: path, Schema: schemaOf(itemsSchema)})
	n.exec("INSERT INTO item(id, a) VALUES(1, 'x')")
	n.stop()
	c := start(t, Config{Path: copyNode(t, path), Schema: schemaOf(itemsSchema)})
	n = start(t, Config{Path: path, Schema: schemaOf(itemsSchema)})
	if c.Actor() == n.Actor() || c.Secret() == n.Secret() {
		t.Fatal("the copy kept the identity")
	}
	n.exec("INSERT INTO item(id, a) VALUES(2, 'original')")
	c.exec("INSERT INTO item(id, a) VALUES(3, 'copy')")
	n.pull(c)
	c.pull(n)
	requireEqual(t, n, c)
}

func TestRestoredBackupTakesANewActor(t *testing.T) {
	path := filepath.Join(t.TempDir(), "n.db")
	cfg := Config{Path: path, Schema: schemaOf(itemsSchema)}
	n := start(t, cfg)
	n.exec("INSERT INTO item(id, a) VALUES(1, 'x')")
	n.stop()
	backup := filepath.Join(t.TempDir(), "backup")
	copyFile(t, path, backup)
	n = start(t, cfg)
	n.exec("INSERT INTO item(id, a) VALUES(2, 'y')")
	actor := n.Actor()
	n.stop()
	copyFile(t, backup, path) // over the same inode
	if n = start(t, cfg); n.Actor() == actor {
		t.Error("a restored backup kept its actor id")
	}
}

func TestClockStaysAboveItsMarkWhenTheWallIsSetBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "n.db")
	cfg := Config{Path: path, Schema: schemaOf(itemsSchema)}
	cfg.Now = func() time.Time { return time.Now().Add(time.Hour) }
	n := start(t, cfg)
	first := n.exec("INSERT INTO item(id, a) VALUES(1, 'x')")
	n.stop()
	cfg.Now = time.Now
	n = start(t, cfg)
	second := n.exec("INSERT INTO item(id, a) VALUES(2, 'y')")
	x, _ := n.Changeset(t.Context(), first)
	y, _ := n.Changeset(t.Context(), second)
	if y.Time <= x.Time {
		t.Errorf("time ran backwards: %v after %v", y.Time, x.Time)
	}
}

// TestForcedTimeDoesNotDragTheClockAfterRestart: a version stamped far ahead, to
// beat a stamp from a fast clock, is no mark.
func TestForcedTimeDoesNotDragTheClockAfterRestart(t *testing.T) {
	cfg := Config{Path: filepath.Join(t.TempDir(), "n.db"), Schema: schemaOf(itemsSchema)}
	n := start(t, cfg)
	ahead := hlc.At(time.Now().Add(time.Hour), 0)
	apply(t, n, sealAll(t, changeset.NewActorID(), ahead, row("item", 1, 1, "a", "future"))...)
	n.exec("UPDATE item SET a = 'mine'")
	n.stop()
	n = start(t, cfg)
	id := n.exec("INSERT INTO item(id) VALUES(2)")
	s, err := n.Changeset(t.Context(), id)
	if err != nil || s.Time > hlc.At(time.Now().Add(time.Minute), 0) {
		t.Errorf("time %v (%v)", s.Time, err)
	}
}

func TestOpenRefuses(t *testing.T) {
	for _, test := range []struct {
		desc, want string
		is         error
		prepare    func(t *testing.T, path string)
	}{
		{"not a database", "node.db", sqlite.ErrNotADB, func(t *testing.T, path string) {
			if err := os.WriteFile(path, []byte(strings.Repeat("not a database ", 100)), 0o644); err != nil {
				t.Fatal(err)
			}
		}},
		{"missing folder", "missing", sqlite.ErrCantOpen, nil},
		{"another cluster", `cluster "other"`, ErrForeignCluster, func(t *testing.T, path string) {
			start(t, Config{Path: path, Cluster: "other"}).stop()
		}},
		{"newer format", "format 99", ErrNewerFormat, func(t *testing.T, path string) {
			start(t, Config{Path: path}).stop()
			outside(t, path, "UPDATE __patina_meta SET value = 99 WHERE name = 'format'")
		}},
		{"older format", "format 1", ErrOlderFormat, func(t *testing.T, path string) {
			start(t, Config{Path: path}).stop()
			outside(t, path, "UPDATE __patina_meta SET value = 1 WHERE name = 'format'")
		}},
		{"somebody's tables", "has tables already", ErrForeignFile, func(t *testing.T, path string) {
			outside(t, path, "CREATE TABLE mine(id INTEGER PRIMARY KEY)")
		}},
		{"broken schema", "test.sql:2", nil, nil},
	} {
		t.Run(test.desc, func(t *testing.T) {
			cfg := Config{Path: filepath.Join(t.TempDir(), "node.db")}
			switch test.desc {
			case "missing folder":
				cfg.Path = filepath.Join(t.TempDir(), "missing", "node.db")
			case "broken schema":
				cfg.Schema = schemaOf("CREATE TABLE ok(id INTEGER PRIMARY KEY);\nCREATE TABLE broken(id INTEGER PRIMARY KEY;")
			}
			if test.prepare != nil {
				test.prepare(t, cfg.Path)
			}
			s, err := Open(t.Context(), cfg)
			if err == nil {
				s.Close()
				t.Fatal("opened")
			}
			if !strings.Contains(err.Error(), test.want) || test.is != nil && !errors.Is(err, test.is) {
				t.Errorf("error %v, want %q and %v", err, test.want, test.is)
			}
		})
	}
}

// outside runs SQL with a connection that is not the store's.
func outside(t *testing.T, path, sql string) {
	t.Helper()
	c, err := sqlite.Open(sqlite.Config{Path: path, Create: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetMode(sqlite.ModeInternal)
	if err := c.Exec(sql); err != nil {
		t.Fatal(err)
	}
}

// TestReplacedFileStopsTheStore: nothing is acknowledged into a file that is no
// longer the one at the path.
func TestReplacedFileStopsTheStore(t *testing.T) {
	for _, suffix := range []string{"", "-wal"} {
		t.Run("file"+suffix, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "n.db")
			n, err := tryStart(t, Config{Path: path, Schema: schemaOf(itemsSchema)})
			if err != nil {
				t.Fatal(err)
			}
			n.exec("INSERT INTO item(id) VALUES(1)")
			if err := os.Rename(path+suffix, path+".away"); err != nil {
				t.Fatal(err)
			}
			_, _, err = n.Transact(t.Context(), []sqlite.Statement{text("INSERT INTO item(id) VALUES(2)")})
			if !errors.Is(err, ErrReplaced) && !errors.Is(err, ErrStopped) {
				t.Errorf("write into a replaced file: %v", err)
			}
			<-n.stopped
			os.Rename(path+".away", path+suffix)
			if err := n.stop(); !errors.Is(err, ErrReplaced) {
				t.Errorf("Run ended with %v, want ErrReplaced", err)
			}
		})
	}
}

func TestSecondNodeOnAFileIsRefused(t *testing.T) {
	cfg := Config{Path: filepath.Join(t.TempDir(), "n.db"), Schema: schemaOf(itemsSchema)}
	n := start(t, cfg)
	actor := n.Actor()
	if s, err := Open(t.Context(), cfg); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), cfg.Path) {
		if err == nil {
			s.Close()
		}
		t.Fatalf("error %v, want ErrInUse with the file's name", err)
	}
	n.exec("INSERT INTO item(id) VALUES(1)")
	n.stop()
	if n = start(t, cfg); n.Actor() != actor {
		t.Error("the refused node cost the file its actor id")
	}
}

func TestHardLinkedFileIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "n.db")
	n := start(t, Config{Path: path})
	other := filepath.Join(filepath.Dir(path), "other.db")
	if err := os.Link(path, other); err != nil {
		t.Skipf("no hard links here: %v", err)
	}
	if s, err := Open(t.Context(), Config{Path: other}); err == nil || !strings.Contains(err.Error(), "2 hard links") {
		if err == nil {
			s.Close()
		}
		t.Errorf("error %v, want one that names the links", err)
	}
	if err := os.Remove(other); err != nil {
		t.Fatal(err)
	}
	n.exec("SELECT 1")
}

func TestOutsideSchemaChangeIsNoticed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "n.db")
	n := start(t, Config{Path: path, Schema: schemaOf(itemsSchema)})
	n.exec("INSERT INTO item(id) VALUES(1)")
	outside(t, path, "ALTER TABLE item ADD COLUMN extra TEXT; DROP TABLE flag")
	id := n.exec("UPDATE item SET extra = 'e'")
	s, err := n.Changeset(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if got := describe(t, s); got != "item@1 1 extra='e'" {
		t.Errorf("changes %s", got)
	}
	if got := n.refused("INSERT INTO flag VALUES('a', 'b')"); !strings.Contains(got, "no such table: flag") {
		t.Errorf("error %q", got)
	}
}

// TestWALStaysSmallUnderOutsideReaders: the stock program opens, reads and
// closes the file all the time while the writer is saturated. It needs a timeout
// because of its own kind: who closes asks for the exclusive lock for a moment.
func TestWALStaysSmallUnderOutsideReaders(t *testing.T) {
	program, err := exec.LookPath("sqlite3")
	if err != nil {
		t.Skip("the stock sqlite3 program is not installed")
	}
	length := 2 * time.Second
	if *long {
		length = 10 * time.Second
	}
	path := filepath.Join(t.TempDir(), "n.db")
	n := start(t, Config{Path: path, Schema: schemaOf("CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT);")})
	end := time.Now().Add(length)
	readers := make(chan error, 2)
	for range cap(readers) {
		go func() {
			for time.Now().Before(end) {
				if out, err := exec.Command(program, "-cmd", ".timeout 2000", path, "SELECT count(*), max(length(a)) FROM t").CombinedOutput(); err != nil {
					readers <- errors.New(string(out))
					return
				}
			}
			readers <- nil
		}()
	}
	var rows, largest int64
	for time.Now().Before(end) {
		var batch []sqlite.Statement
		for range 100 {
			rows++
			batch = append(batch, text("INSERT INTO t(id, a) VALUES(?, hex(randomblob(200)))", int(rows)))
		}
		if o := n.transact(batch); o.failure() != "" {
			t.Fatal(o.failure())
		}
		if info, err := os.Stat(path + "-wal"); err == nil {
			largest = max(largest, info.Size())
		}
	}
	for range cap(readers) {
		if err := <-readers; err != nil {
			t.Error(err)
		}
	}
	out, err := exec.Command(program, path, "SELECT count(*) FROM t; PRAGMA integrity_check").CombinedOutput()
	if want := strconv.FormatInt(rows, 10) + "\nok\n"; err != nil || string(out) != want {
		t.Errorf("sqlite3 says %q (%v), want %q", out, err, want)
	}
	t.Logf("%d rows, largest -wal %d KiB", rows, largest>>10)
	if largest > 32<<20 {
		t.Errorf("-wal grew to %d MiB, bound 32", largest>>20)
	}
}

// transact runs one request and returns its outcome.
func (n *node) transact(statements []sqlite.Statement) (o outcome) {
	o.results, o.id, o.err = n.Transact(n.t.Context(), statements)
	return o
}

func TestCloseTwice(t *testing.T) {
	n := start(t, Config{Schema: schemaOf(itemsSchema)})
	n.exec("INSERT INTO item(id) VALUES(1)")
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	m := start(t, Config{Path: n.cfg.Path, Schema: schemaOf(itemsSchema)})
	m.exec("INSERT INTO item(id) VALUES(2)")
	if err := n.Close(); err != nil {
		t.Errorf("closed twice: %v", err)
	}
	m.stop()
	if again := start(t, Config{Path: n.cfg.Path, Schema: schemaOf(itemsSchema)}); again.Actor() != n.Actor() {
		t.Error("the second Close touched what another store had written")
	}
}

func TestReloadSeesWhatAnOutsideProgramChanged(t *testing.T) {
	n := start(t, Config{Schema: schemaOf(itemsSchema)})
	outside(t, n.cfg.Path, "ALTER TABLE item ADD COLUMN d TEXT")
	wanted := strings.Replace(itemsSchema, "c REAL)", "c REAL, d TEXT)", 1)
	if err := n.Reload(t.Context(), schemaOf(wanted)); err != nil {
		t.Errorf("reload: %v", err)
	}
	n.exec("INSERT INTO item(id, d) VALUES(1, 'x')")
}

// TestParkedFollowOutsideSchemaChanges: whoever brings the schema, what waits for
// it applies, also if nobody ran when it came.
func TestParkedFollowOutsideSchemaChanges(t *testing.T) {
	n := start(t, Config{Schema: schemaOf(itemsSchema)})
	s := sealAll(t, changeset.NewActorID(), testTime(), row("item", 1, 1, "d", "x"), row("item", 1, 2, "e", "y"))
	apply(t, n, s...)
	if len(n.Parked()) != 2 {
		t.Fatalf("parked %+v, want both", n.Parked())
	}
	outside(t, n.cfg.Path, "ALTER TABLE item ADD COLUMN d TEXT")
	n.exec("INSERT INTO item(id) VALUES(9)") // sees the new schema first
	eventually(t, "the first leaves the parked", func() bool { return n.query("SELECT count(*) FROM item WHERE d = 'x'") == "1" })
	n.stop()
	outside(t, n.cfg.Path, "ALTER TABLE item ADD COLUMN e TEXT")
	n = start(t, Config{Path: n.cfg.Path, Schema: schemaOf(itemsSchema)})
	eventually(t, "the second leaves the parked", func() bool { return len(n.Parked()) == 0 })
	if got := n.query("SELECT e FROM item WHERE id = 2"); got != "'y'" {
		t.Errorf("e is %s", got)
	}
}
