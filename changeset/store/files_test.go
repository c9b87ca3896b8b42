package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/sqlite"
)

// swapped is a running store whose files a test changes between the look at them
// before a COMMIT and the COMMIT.
type swapped struct {
	*node
	armed atomic.Bool
	swaps atomic.Int32
}

// startSwapped: swap runs once for each time that armed is set.
func startSwapped(t *testing.T, path string, swap func() error) *swapped {
	t.Helper()
	s := &swapped{}
	last := fileSuffixes[len(fileSuffixes)-1]
	cfg := Config{Path: path, Schema: schemaOf(itemsSchema)}
	cfg.stat = func(name string) (fileState, error) {
		f, err := stateOf(name)
		// The writer asks, whoever has it; a transaction is open before COMMIT alone.
		if strings.HasSuffix(name, last) && s.armed.Load() && !s.writer.conn.Autocommit() {
			s.armed.Store(false)
			s.swaps.Add(1)
			if err := swap(); err != nil {
				t.Error(err)
			}
		}
		return f, err
	}
	n, err := tryStart(t, cfg)
	if err != nil {
		t.Fatal(err)
	}
	s.node = n
	s.onWriter(func(w *writer) { w.lookAge = 0 })
	return s
}

// exchange puts an empty file in the place of the one at path.
func exchange(path string) error {
	return errors.Join(os.Rename(path, path+".away"), os.WriteFile(path, nil, 0o644))
}

// TestReplacedBetweenLookAndCommit: whoever's answer depends on a commit does not
// get it if the files changed after the look before it. What the error says is
// that nobody knows; the next one says that nothing was done.
func TestReplacedBetweenLookAndCommit(t *testing.T) {
	item := sealAll(t, changeset.NewActorID(), testTime(), row("item", 1, 7, "a", "x"))
	for _, test := range []struct {
		name string
		call func(n *node) error
	}{
		{"alone", func(n *node) error {
			_, _, err := n.Transact(t.Context(), []sqlite.Statement{text("INSERT INTO item(id) VALUES(2)")})
			return err
		}},
		{"group", func(n *node) error {
			out := n.together([]sqlite.Statement{text("INSERT INTO item(id) VALUES(2)")}, []sqlite.Statement{text("INSERT INTO item(id) VALUES(3)")})
			if out[0].err == nil {
				t.Error("the first of the group was acknowledged")
			}
			return out[1].err
		}},
		{"apply", func(n *node) error { return n.Apply(t.Context(), item) }},
		{"migrate", func(n *node) error {
			_, _, err := n.Migrate(t.Context(), []sqlite.Statement{text("CREATE TABLE more(id INTEGER PRIMARY KEY)")})
			return err
		}},
		{"reload", func(n *node) error {
			return n.Reload(t.Context(), schemaOf(itemsSchema+"CREATE TABLE more(id INTEGER PRIMARY KEY);"))
		}},
		{"renew", func(n *node) error { return n.RenewActor(t.Context(), n.Actor()) }},
	} {
		for _, suffix := range fileSuffixes {
			t.Run(test.name+suffix, func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "n.db")
				s := startSwapped(t, path, func() error { return exchange(path + suffix) })
				s.t = t
				s.exec("INSERT INTO item(id) VALUES(1)")
				actor, digest, schema := s.Actor(), s.Vector().Digest(), s.SchemaDigest()
				s.mu.Lock()
				told := len(s.committed)
				s.mu.Unlock()
				s.armed.Store(true)
				err := test.call(s.node)
				if errors.Is(err, ErrStopped) {
					t.Skip("the tick of 100 ms looked at the files before the call did: nothing was between look and commit")
				}
				var away interface{ Unavailable() bool }
				if !errors.Is(err, ErrReplaced) || !errors.As(err, &away) || away.Unavailable() || !strings.Contains(err.Error(), "n.db"+suffix+" is another file") || !strings.Contains(err.Error(), "may be kept or lost") {
					t.Errorf("error %v", err)
				}
				_, _, err = s.Transact(t.Context(), []sqlite.Statement{text("INSERT INTO item(id) VALUES(4)")})
				if !errors.Is(err, ErrReplaced) && !errors.Is(err, ErrStopped) || !errors.As(err, &away) || !away.Unavailable() {
					t.Errorf("the next: %v", err)
				}
				if err := s.stop(); !errors.Is(err, ErrReplaced) {
					t.Errorf("Run ended with %v", err)
				}
				if s.swaps.Load() != 1 || len(s.committed) != told || s.Actor() != actor || s.Vector().Digest() != digest || s.SchemaDigest() != schema {
					t.Error("the lost commit was told of")
				}
			})
		}
	}
}

// TestShortenedBetweenLookAndCommit: the COMMIT makes a -wal that was cut short as
// long as it should be, with a hole; and a short database looks like one that has
// yet to get its pages. Neither write is acknowledged.
func TestShortenedBetweenLookAndCommit(t *testing.T) {
	for _, test := range []struct {
		suffix string
		size   int64
	}{{"", 0}, {"", 8192}, {"-wal", 0}, {"-wal", 32}, {"-wal", 4096}} {
		t.Run(fmt.Sprint(test.suffix, test.size), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "n.db")
			s := startSwapped(t, path, func() error { return os.Truncate(path+test.suffix, test.size) })
			s.tampered = true // there is nothing whole to compare with
			s.onWriter(func(w *writer) {
				w.conn.SetMode(sqlite.ModeInternal)
				if _, _, err := w.conn.Checkpoint(false); err != nil && !errors.Is(err, sqlite.ErrBusy) {
					t.Error(err)
				}
			})
			for i := range 10 {
				s.exec(fmt.Sprintf("INSERT INTO item(id, a) VALUES(%d, hex(zeroblob(1000)))", i))
			}
			s.armed.Store(true)
			_, _, err := s.Transact(t.Context(), []sqlite.Statement{text("INSERT INTO item(id) VALUES(99)")})
			var away interface{ Unavailable() bool }
			if !errors.Is(err, ErrReplaced) || !strings.Contains(err.Error(), path+test.suffix+" was cut short") || !errors.As(err, &away) || away.Unavailable() {
				t.Errorf("error %v", err)
			}
			if err := s.stop(); !errors.Is(err, ErrReplaced) {
				t.Errorf("Run ended with %v", err)
			}
			// What is left stays as it is, for whoever has to mend it.
			if _, err := os.Stat(path + "-wal"); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestFilesThatShrinkByRight: another process's VACUUM and its checkpoints make the
// files shorter at any time, and nothing is wrong.
func TestFilesThatShrinkByRight(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "n.db")
	n := start(t, Config{Path: path, Schema: schemaOf(itemsSchema)})
	n.tampered = true // by a table of others, at least
	outside(t, path, "CREATE TABLE theirs(x)")
	done := make(chan struct{})
	var writer sync.WaitGroup
	finish := sync.OnceFunc(func() { close(done); writer.Wait() })
	defer finish()
	writer.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-done:
				return
			default:
			}
			if _, _, err := n.Transact(context.Background(), []sqlite.Statement{text("REPLACE INTO item(id, a) VALUES(?, 'x')", i%50)}); err != nil {
				t.Error(err)
				return
			}
		}
	})
	largest, cut := int64(0), 0
	for range 15 {
		outside(t, path, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300) INSERT INTO theirs SELECT randomblob(2000) FROM n")
		outside(t, path, "PRAGMA wal_checkpoint(PASSIVE)")
		if f, err := stateOf(path); err != nil || f.size < largest {
			cut++
		} else {
			largest = f.size
		}
		outside(t, path, "DELETE FROM theirs")
		outside(t, path, "PRAGMA busy_timeout=5000; VACUUM")
		outside(t, path, "PRAGMA wal_checkpoint(PASSIVE)")
		if f, err := stateOf(path); err != nil || f.size < largest {
			cut++
		}
	}
	finish()
	if cut == 0 {
		t.Error("the file was never cut")
	}
	if err := n.stop(); err != nil {
		t.Error(err)
	}
}
