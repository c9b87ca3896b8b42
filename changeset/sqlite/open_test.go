package sqlite

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	lib "modernc.org/sqlite/lib"
)

func TestOpenSettings(t *testing.T) {
	c := openWith(t, Config{Path: newPath(t), Create: true, CacheBytes: 1 << 20})
	for _, tt := range []struct{ pragma, want string }{
		{"busy_timeout", "5000"},
		{"journal_mode", "'wal'"},
		{"synchronous", "2"},
		{"fullfsync", "1"}, {"checkpoint_fullfsync", "1"},
		{"wal_autocheckpoint", "0"},
		{"journal_size_limit", "8388608"},
		{"foreign_keys", "0"},
		{"recursive_triggers", "0"},
		{"temp_store", "2"},
		{"mmap_size", "0"},
		{"trusted_schema", "0"},
		{"cell_size_check", "1"},
		{"cache_size", "-1024"},
		{"encoding", "'UTF-8'"},
		{"query_only", "0"},
		{"writable_schema", "0"},
	} {
		if got := query(t, c, "PRAGMA "+tt.pragma); got != tt.want {
			t.Errorf("%s is %s, want %s", tt.pragma, got, tt.want)
		}
	}
}

func TestOpenDefensive(t *testing.T) {
	c := openMemory(t, "CREATE TABLE t(a)", "PRAGMA writable_schema=1")
	err := c.Exec("UPDATE sqlite_master SET sql='x'")
	if err == nil || err.Error() != "table sqlite_master may not be modified" {
		t.Error("the schema table can be written:", err)
	}
	if err := c.Exec("SELECT load_extension('x')"); err == nil || err.Error() != "not authorized" {
		t.Error("extensions can be loaded:", err)
	}
	want(t, query(t, c, `SELECT "double quoted"`), "'double quoted'")
}

func TestOpenErrorsNamePath(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	for _, tt := range []struct {
		desc string
		cfg  Config
		want error
		text string
	}{
		{"missing directory", Config{Path: filepath.Join(dir, "no", "x.db"), Create: true}, ErrCantOpen, "no such file or directory"},
		{"missing file", Config{Path: filepath.Join(dir, "x.db")}, ErrCantOpen, "no such file or directory"},
		{"reader never creates", Config{Path: filepath.Join(dir, "x.db"), Create: true, ReadOnly: true}, ErrCantOpen, "no such file or directory"},
		{"directory", Config{Path: dir, Create: true}, ErrCantOpen, "unable to open database file"},
		{"not a database", Config{Path: write("text", strings.Repeat("hello", 1000))}, ErrNotADB, "file is not a database"},
		{"NUL in the path", Config{Path: dir + "/a\x00b"}, ErrMisuse, "NUL"},
	} {
		c, err := Open(tt.cfg)
		if err == nil {
			c.Close()
			t.Errorf("%s: opened", tt.desc)
			continue
		}
		if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.cfg.Path) || !strings.Contains(err.Error(), tt.text) {
			t.Errorf("%s: %q", tt.desc, err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "x.db")); err == nil {
		t.Error("a failed open made the file")
	}
}

func TestOpenRefusesOtherEncodings(t *testing.T) {
	path := newPath(t)
	// Open sees to UTF-8, so such a file is made with the engine alone.
	raw, err := Open(Config{})
	if err != nil {
		t.Fatal(err)
	}
	mustExec(t, raw, "PRAGMA encoding='UTF-16le'; CREATE TABLE t(a); VACUUM INTO '"+path+"'")
	if err := raw.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Config{Path: path}); err == nil || !strings.Contains(err.Error(), "UTF-16le") {
		t.Error("a UTF-16 database was opened:", err)
	}
}

func TestOpenReadOnly(t *testing.T) {
	path := newPath(t)
	w := openWith(t, Config{Path: path, Create: true}, "CREATE TABLE t(a); INSERT INTO t VALUES(1)")
	r := openWith(t, Config{Path: path, ReadOnly: true})
	want(t, query(t, r, "SELECT a FROM t"), "1")
	mustExec(t, w, "INSERT INTO t VALUES(2)")
	want(t, query(t, r, "SELECT count(*) FROM t"), "2")
	if err := r.Exec("INSERT INTO t VALUES(3)"); !errors.Is(err, ErrReadOnly) {
		t.Error("a reader wrote:", err)
	}
}

// TestOpenKeepsWhatItShall: the journal mode, and the WAL that the last close would
// move into the file.
func TestOpenKeepsWhatItShall(t *testing.T) {
	path := newPath(t)
	plain := openWith(t, Config{Path: path, Create: true, KeepJournal: true}, "CREATE TABLE t(a)", "INSERT INTO t VALUES(1)")
	want(t, query(t, plain, "PRAGMA journal_mode"), "'delete'")
	plain.Close()
	c := openWith(t, Config{Path: path, KeepWAL: true}, "INSERT INTO t VALUES(2)")
	want(t, query(t, c, "PRAGMA journal_mode"), "'wal'")
	c.Close()
	before, err := os.ReadFile(path + "-wal")
	if err != nil || len(before) == 0 {
		t.Fatalf("the WAL is gone: %v", err)
	}
	c = openWith(t, Config{Path: path, ReadOnly: true, KeepWAL: true})
	want(t, query(t, c, "SELECT sum(a) FROM t"), "3")
	c.Close()
	if after, err := os.ReadFile(path + "-wal"); err != nil || string(after) != string(before) {
		t.Errorf("a reader changed the WAL: %v", err)
	}
	c = openWith(t, Config{Path: path, KeepJournal: true})
	want(t, query(t, c, "PRAGMA journal_mode"), "'wal'")
	c.Close()
	if _, err := os.Stat(path + "-wal"); !os.IsNotExist(err) {
		t.Errorf("the last close left the WAL: %v", err)
	}
}

func TestVersionIsChecked(t *testing.T) {
	if checkVersion(3051002) == nil || checkVersion(MinVersion) != nil || checkVersion(lib.SQLITE_VERSION_NUMBER) != nil {
		t.Error("wrong bound")
	}
}

// The transpiled engine works only with the libc that it was made with.
func TestLibcIsPinned(t *testing.T) {
	list := func(format, module string) string {
		out, err := exec.Command("go", "list", "-m", "-f", format, module).Output()
		if err != nil {
			t.Skip("the go command is not there to ask: ", err)
		}
		return strings.TrimSpace(string(out))
	}
	mod, err := os.ReadFile(filepath.Join(list("{{.Dir}}", "modernc.org/sqlite"), "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`modernc\.org/libc (v\S+)`).FindSubmatch(mod)
	if m == nil || string(m[1]) != list("{{.Version}}", "modernc.org/libc") {
		t.Errorf("modernc.org/sqlite wants libc %s", m[1])
	}
}

// Closing a descriptor of the database file drops SQLite's locks, so nothing
// here may open files.
func TestNothingOpensFiles(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	forbidden := regexp.MustCompile(`"os"|"io/fs"|"io/ioutil"|"os/exec"|syscall\.(Open|Creat|Close|Mmap)`)
	for _, f := range files {
		if strings.HasSuffix(f, "_test.go") {
			continue
		}
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if m := forbidden.Find(text); m != nil {
			t.Errorf("%s uses %s", f, m)
		}
	}
}

func TestCloseFinalizesWhatWasForgotten(t *testing.T) {
	c, err := Open(Config{Path: newPath(t), Create: true})
	if err != nil {
		t.Fatal(err)
	}
	s, _, err := c.Prepare("SELECT 1 UNION ALL SELECT 2")
	if err != nil {
		t.Fatal(err)
	}
	if row, err := s.Step(); !row || err != nil {
		t.Fatal(row, err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if err := c.Close(); err != nil {
		t.Error("closing twice:", err)
	}
	if _, err := s.Step(); !errors.Is(err, ErrMisuse) {
		t.Error("a statement outlived its connection:", err)
	}
	if err := s.BindText(1, "x"); err == nil {
		t.Error("bound to a finalized statement")
	}
	s.Reset()
	s.Finalize()
	s.ClearBindings()
	if _, _, err := c.Prepare("SELECT 1"); !errors.Is(err, ErrMisuse) {
		t.Error("prepared on a closed connection:", err)
	}
	if err := c.Exec("SELECT 1"); !errors.Is(err, ErrMisuse) {
		t.Error("ran on a closed connection:", err)
	}
}
