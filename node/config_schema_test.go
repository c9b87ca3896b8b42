package node

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func writeFiles(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSchemaFilesComeInOrderAndOnce(t *testing.T) {
	dir := t.TempDir()
	writeFiles(t, dir, map[string]string{
		"s/20-b.sql": "b", "s/10-a.sql": "a", "s/.#10-a.sql": "editor", "s/notes.txt": "no", "s/sub/c.sql": "deeper",
		"extra.sql": "x", "other.ddl": "o",
	})
	at := func(name string) string { return filepath.Join(dir, name) }
	files, missing, err := loadSchema([]string{at("extra.sql"), at("s"), at("none"), dir + "//s/10-a.sql", at("other.ddl")}, at("p.db"))
	if err != nil {
		t.Fatal(err)
	}
	want := []schemaFile{{at("extra.sql"), "x"}, {at("s/10-a.sql"), "a"}, {at("s/20-b.sql"), "b"}, {at("other.ddl"), "o"}}
	if !slices.Equal(files, want) {
		t.Errorf("got  %v\nwant %v", files, want)
	}
	if !slices.Equal(missing, []string{at("none")}) {
		t.Errorf("missing %q", missing)
	}
}

func TestSchemaThatCannotBeReadIsNamed(t *testing.T) {
	dir := t.TempDir()
	writeFiles(t, dir, map[string]string{"p.db": "", "p.db-wal": "", "s/a.sql": "a"})
	for _, link := range [][2]string{{"p.db", "db.sql"}, {"p.db-wal", "wal.sql"}} {
		if err := os.Link(filepath.Join(dir, link[0]), filepath.Join(dir, link[1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "s/folder.sql"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ desc, path, want string }{
		{"a file that does not exist", "no.sql", "no such file or directory"},
		{"the database itself", "p.db", "p.db is the database"},
		{"the database by another name", "db.sql", "db.sql is the database"},
		{"its log by another name", "wal.sql", "wal.sql is the database"},
		{"a folder where a file belongs", "s", "folder.sql is not a file"},
	} {
		_, _, err := loadSchema([]string{filepath.Join(dir, c.path)}, filepath.Join(dir, "p.db"))
		if err == nil || !strings.HasPrefix(err.Error(), "read schema: ") || !strings.HasSuffix(err.Error(), c.want) {
			t.Errorf("%s: got %v, want … %s", c.desc, err, c.want)
		}
	}
	if _, _, err := loadSchema([]string{"no.sql"}, "p.db"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file is %v", err)
	}
}
