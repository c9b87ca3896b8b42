package store

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
)

// beside lists what is beside a database, by what its name has more.
func beside(t *testing.T, path string) string {
	t.Helper()
	files, err := filepath.Glob(path + "?*")
	if err != nil {
		t.Fatal(err)
	}
	for i := range files {
		files[i] = strings.TrimPrefix(files[i], path)
	}
	return strings.Join(files, " ")
}

// TestRefusedFilesKeepNothingBeside them, whatever refuses them.
func TestRefusedFilesKeepNothingBeside(t *testing.T) {
	t.Parallel()
	text := filepath.Join(t.TempDir(), "text.db")
	if err := os.WriteFile(text, []byte(strings.Repeat("no database ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	loop := filepath.Join(t.TempDir(), "loop.db")
	if err := os.Symlink("loop.db", loop); err != nil {
		t.Fatal(err)
	}
	other := lived(t)
	other.Cluster = "another"
	if err := os.Remove(lockPath(other.Path)); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		desc string
		cfg  Config
		left string
	}{
		{"no database", Config{Path: text}, ""},
		{"UTF-16", Config{Path: foreignFile(t, "PRAGMA encoding = 'UTF-16le'; CREATE TABLE a(b INTEGER PRIMARY KEY)")}, ""},
		{"a name of ours", Config{Path: foreignFile(t, "CREATE TABLE __patina_meta(a)")}, ""},
		{"a link to itself", Config{Path: loop}, ""},
		{"another cluster", other, "-id"},
	} {
		path := test.cfg.Path
		if _, err := Open(t.Context(), test.cfg); err == nil || beside(t, path) != test.left {
			t.Errorf("%s: open: %v, beside it %q", test.desc, err, beside(t, path))
		}
		if _, err := Adopt(t.Context(), test.cfg); err == nil || beside(t, path) != test.left {
			t.Errorf("%s: adopt: %v, beside it %q", test.desc, err, beside(t, path))
		}
		if test.left != "" {
			if _, err := Check(t.Context(), test.cfg); err != nil || beside(t, path) != test.left {
				t.Errorf("%s: check: %v, beside it %q", test.desc, err, beside(t, path))
			}
			continue
		}
		_, check := Check(t.Context(), test.cfg)
		_, repair := Repair(t.Context(), test.cfg)
		_, eject := Eject(test.cfg)
		_, dump := DumpSchema(t.Context(), test.cfg)
		if check == nil || repair == nil || eject == nil || dump == nil || beside(t, path) != "" {
			t.Errorf("%s: %v, %v, %v, %v, beside it %q", test.desc, check, repair, eject, dump, beside(t, path))
		}
	}
	ours := lived(t).Path
	if checked(t, ours); beside(t, ours) != "-id -lock" {
		t.Errorf("after a check of a node's file: %q", beside(t, ours))
	}
}

// TestLockExcludesAlsoWhenItsFileIsRemoved: who opened the file before its holder
// removed it must not take it for the lock.
func TestLockExcludesAlsoWhenItsFileIsRemoved(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "n.db")
	held, err := lockDatabase(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lockDatabase(path); !errors.Is(err, ErrInUse) {
		t.Fatalf("a second lock: %v", err)
	}
	late, err := openLock(lockPath(path))
	if err != nil || late.made {
		t.Fatalf("%+v, %v", late, err)
	}
	defer late.Close()
	if err := held.remove(); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Flock(int(late.file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		t.Fatal(err)
	}
	if there, err := late.isThere(); there || err != nil {
		t.Errorf("the removed file counts as the lock: %v", err)
	}
	next, err := lockDatabase(path)
	if err != nil || !next.made {
		t.Fatalf("%+v, %v", next, err)
	}
	if there, err := late.isThere(); there || err != nil {
		t.Errorf("the removed file counts as the lock beside another: %v", err)
	}
	if err := next.discard(); err != nil || beside(t, path) != "" {
		t.Errorf("%v, left %q", err, beside(t, path))
	}

	var holders, taken atomic.Int64
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			for taken.Load() < 2000 {
				l, err := lockDatabase(path)
				if errors.Is(err, ErrInUse) {
					runtime.Gosched()
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				if holders.Add(1) != 1 {
					t.Error("two hold the lock")
				}
				n := taken.Add(1)
				holders.Add(-1)
				if end := []func() error{l.discard, l.remove, l.Close}[(int(n)+i)%3]; end() != nil {
					t.Error("the lock was not let go")
				}
			}
		})
	}
	group.Wait()
}

func TestLockFileThatCannotBe(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "n.db")
	if err := os.Symlink("nowhere", lockPath(path)); err != nil {
		t.Fatal(err)
	}
	if _, err := lockDatabase(path); err == nil || !strings.Contains(err.Error(), lockPath(path)) {
		t.Errorf("a link to nothing: %v", err)
	}
	if _, err := lockDatabase(filepath.Join(t.TempDir(), "none", "n.db")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no folder: %v", err)
	}
}

// TestLinkedDatabase: what belongs to a database is beside the file itself, by
// whatever link it is opened, also if the link was there first.
func TestLinkedDatabase(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "data"), 0o700); err != nil {
		t.Fatal(err)
	}
	real, link, second := filepath.Join(dir, "data", "real.db"), filepath.Join(dir, "link.db"), filepath.Join(dir, "data", "second.db")
	for at, to := range map[string]string{second: "real.db", link: filepath.Join("data", "second.db")} {
		if err := os.Symlink(to, at); err != nil {
			t.Fatal(err)
		}
	}
	n := start(t, Config{Path: link, Schema: schemaOf(itemsSchema)})
	n.exec("INSERT INTO item(id) VALUES(1)")
	if got := beside(t, real); got != "-id -lock -shm -wal" || beside(t, link) != "" || beside(t, second) != "" {
		t.Errorf("beside the file %q, the links %q and %q", got, beside(t, link), beside(t, second))
	}
	if _, err := Open(t.Context(), Config{Path: real}); !errors.Is(err, ErrInUse) {
		t.Errorf("a second node on the file: %v", err)
	}
	if sql, err := DumpSchema(t.Context(), Config{Path: second}); err != nil || !strings.Contains(sql, "CREATE TABLE item(") {
		t.Errorf("the schema of a file that a node runs on: %v: %s", err, sql)
	}
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	again := start(t, Config{Path: real})
	if again.Actor() != n.Actor() {
		t.Error("another actor by another name")
	}
	if err := again.stop(); err != nil {
		t.Fatal(err)
	}
	if r := checked(t, second); !r.Clean() || r.Rows != 1 {
		t.Errorf("%+v", r)
	}
	for _, name := range []string{link, real} {
		if _, err := Eject(Config{Path: second}); err != nil {
			t.Fatal(err)
		}
		if requirePlain(t, real); beside(t, link) != "" || beside(t, second) != "" {
			t.Errorf("left beside the links: %q, %q", beside(t, link), beside(t, second))
		}
		adopted(t, name)
	}
}

// TestDumpSchema prints what Adopt did, and what came since.
func TestDumpSchema(t *testing.T) {
	t.Parallel()
	path := foreignFile(t, foreignScript)
	a := adopted(t, path)
	before := hashFiles(t, path)
	sql, err := DumpSchema(t.Context(), Config{Path: path})
	if err != nil || sql != a.Schema {
		t.Errorf("%v\n%s, was\n%s", err, sql, a.Schema)
	}
	if hashFiles(t, path) != before || beside(t, path) != "-id -lock" {
		t.Errorf("the file changed, or what is beside it: %s", beside(t, path))
	}
	const more = "CREATE TABLE more(id INTEGER PRIMARY KEY, a);\nCREATE INDEX by_a ON more(a);\n"
	n := start(t, Config{Path: path, Schema: schemaOf(more)})
	for range 2 {
		if sql, err := DumpSchema(t.Context(), Config{Path: path}); err != nil || sql != a.Schema+more {
			t.Errorf("%v\n%s", err, sql)
		}
		n.stop()
	}
	start(t, Config{Schema: schemaOf(sql)})
	if _, err := DumpSchema(t.Context(), Config{Path: path + ".none"}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}
