package store

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/sqlite"
)

// TestTableMadeAnewOutside with another key: its clocks are of the old key, so it
// is out, with the reason, and its writers cost others nothing.
func TestTableMadeAnewOutside(t *testing.T) {
	n := start(t, Config{Schema: schemaOf(itemsSchema)})
	n.damaged = true
	n.exec("INSERT INTO flag VALUES('a', 'b')")
	release := n.holdWriter()
	outside(t, n.cfg.Path, "DROP TABLE flag; CREATE TABLE flag(name INTEGER PRIMARY KEY, value TEXT)")
	release()
	out := n.together(
		[]sqlite.Statement{text("INSERT INTO item(id) VALUES(1)")},
		[]sqlite.Statement{text("INSERT INTO flag(value) VALUES('x')")},
		[]sqlite.Statement{text("INSERT INTO item(id) VALUES(2)")},
	)
	if out[0].failure() != "" || out[2].failure() != "" || out[1].err != nil || !strings.Contains(out[1].failure(), "made it anew with another key") {
		t.Errorf("%q, %q, %q", out[0].failure(), out[1].failure(), out[2].failure())
	}
	apply(t, n, sealAll(t, changeset.NewActorID(), testTime(), row("flag", 1, 1, "value", "x"), row("item", 1, 3, "a", "x"))...)
	if p := n.Parked(); len(p) != 1 || p[0].Reason != "no table flag" {
		t.Errorf("parked %+v", p)
	}
}

// TestIdentityFileIsWrittenInOnePlace: a crash while it is written leaves at most
// one other file, which the next write takes.
func TestIdentityFileIsWrittenInOnePlace(t *testing.T) {
	cfg := Config{Path: filepath.Join(t.TempDir(), "n.db"), Schema: schemaOf(itemsSchema)}
	n := start(t, cfg)
	actor := n.Actor()
	n.stop()
	if err := os.WriteFile(sidecarPath(cfg.Path)+".new", []byte("half of someth"), 0o600); err != nil {
		t.Fatal(err)
	}
	n = start(t, cfg)
	if n.Actor() != actor {
		t.Error("another actor")
	}
	files, err := filepath.Glob(cfg.Path + "-id*")
	if err != nil || len(files) != 1 {
		t.Errorf("files %v, %v", files, err)
	}
}

// TestUnreadableIdentityFileIsANewActor, and a crash between the commit of an
// open and its identity file too: an actor id too many is cheap, one too few is
// not. The rows stay.
func TestUnreadableIdentityFileIsANewActor(t *testing.T) {
	for _, test := range []struct {
		desc   string
		damage func(path string, old []byte) error
	}{
		{"no JSON", func(path string, _ []byte) error { return os.WriteFile(path, []byte("{"), 0o600) }},
		{"gone", func(path string, _ []byte) error { return os.Remove(path) }},
		{"a folder", func(path string, _ []byte) error {
			if err := os.Remove(path); err != nil {
				return err
			}
			return os.Mkdir(path, 0o700)
		}},
		{"of the open before", func(path string, old []byte) error { return os.WriteFile(path, old, 0o600) }},
	} {
		t.Run(test.desc, func(t *testing.T) {
			cfg := Config{Path: filepath.Join(t.TempDir(), "n.db"), Schema: schemaOf(itemsSchema)}
			n := start(t, cfg)
			n.exec("INSERT INTO item(id) VALUES(1)")
			n.stop()
			old, err := os.ReadFile(sidecarPath(cfg.Path))
			if err != nil {
				t.Fatal(err)
			}
			n = start(t, cfg)
			actor := n.Actor()
			n.stop()
			if err := test.damage(sidecarPath(cfg.Path), old); err != nil {
				t.Fatal(err)
			}
			n, err = tryStart(t, cfg)
			if test.desc == "a folder" { // it cannot be written either
				if err == nil || !strings.Contains(err.Error(), sidecarPath(cfg.Path)) {
					t.Errorf("error %v, want one that names the file", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if n.Actor() == actor {
				t.Error("the actor stayed")
			}
			if id := n.exec("UPDATE item SET a = 'x'"); id.Version != 1 || n.query("SELECT count(*) FROM item") != "1" {
				t.Errorf("version %d", id.Version)
			}
		})
	}
}

// TestRefusedFileKeepsItsFolderClean: what is no database gets no files of ours.
func TestRefusedFileKeepsItsFolderClean(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notes.txt")
	if err := os.WriteFile(path, []byte(strings.Repeat("not a database ", 100)), 0o644); err != nil {
		t.Fatal(err)
	}
	if s, err := Open(t.Context(), Config{Path: path}); err == nil {
		s.Close()
		t.Fatal("opened")
	}
	if files, err := filepath.Glob(path + "*"); err != nil || len(files) != 1 {
		t.Errorf("files %v, %v", files, err)
	}
}

// TestClockIsNotTakenForAnotherRows: a clock by rowid says whose it is. A row that
// an outside program put at the rowid of one that it removed begins a life of its
// own.
func TestClockIsNotTakenForAnotherRows(t *testing.T) {
	n := start(t, Config{Schema: schemaOf("CREATE TABLE t(id TEXT PRIMARY KEY, v TEXT);")})
	n.exec("INSERT INTO t VALUES('old', 'x')")
	n.tampered = true // the sum keeps the clock of the row that is gone
	for range 3 {
		n.exec("UPDATE t SET v = v || 'y'")
	}
	outside(t, n.cfg.Path, "DELETE FROM t; INSERT INTO t(rowid, id, v) VALUES(1, 'new', 'z')")
	id := n.exec("UPDATE t SET v = 'w'")
	sealed, err := n.Changeset(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	c, err := sealed.Decode()
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Tables[0].Changes[0]; got.Key[0].Text() != "new" || got.CausalLength != 1 || got.Columns.Len() != 1 || len(c.After) != 0 {
		t.Errorf("change %+v after %v", got, c.After)
	}
}
