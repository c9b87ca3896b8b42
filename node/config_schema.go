package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/patinadb/patina/changeset/store"
)

// maxSchemaBytes bounds one schema file.
const maxSchemaBytes = 16 << 20

// schemaFile is one .sql file of db.schema_paths.
type schemaFile struct {
	Name string // path as configured, for errors
	SQL  string
}

// loadSchema reads the schema files that paths name: .sql files, and folders,
// of which it takes the .sql files directly in them in order of name. A file
// named twice is read once. A folder that does not exist counts as empty and is
// returned in missing; a file that does not exist is an error.
//
// The database at db, its -wal and its -shm are refused without being opened,
// whatever name leads to them: opening and closing them here would drop
// SQLite's locks (DESIGN section 3).
func loadSchema(paths []string, db string) (files []schemaFile, missing []string, err error) {
	seen := map[string]bool{}
	for _, path := range paths {
		names, err := schemaNames(path)
		if errors.Is(err, fs.ErrNotExist) && filepath.Ext(path) != ".sql" {
			missing = append(missing, path)
			continue
		}
		if err != nil {
			return nil, nil, fmt.Errorf("read schema: %w", err)
		}
		for _, name := range names {
			if clean := filepath.Clean(name); seen[clean] {
				continue
			} else {
				seen[clean] = true
			}
			f, err := readSchemaFile(name, db)
			if err != nil {
				return nil, nil, fmt.Errorf("read schema: %w", err)
			}
			files = append(files, f)
		}
	}
	return files, missing, nil
}

// schemaNames lists the files that one path names. Hidden ones in a folder are
// what editors leave behind, not schema.
func schemaNames(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if filepath.Ext(e.Name()) == ".sql" && !strings.HasPrefix(e.Name(), ".") {
			names = append(names, filepath.Join(path, e.Name()))
		}
	}
	slices.Sort(names)
	return names, nil
}

func readSchemaFile(name, db string) (schemaFile, error) {
	data, err := readBeside(name, db, maxSchemaBytes)
	if err != nil {
		return schemaFile{}, err
	}
	return schemaFile{Name: name, SQL: string(data)}, nil
}

// readBeside reads a file that a setting names and that is none of the database's.
func readBeside(name, db string, limit int64) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a file", name)
	}
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if other, err := os.Stat(store.RealPath(db) + suffix); err == nil && os.SameFile(info, other) {
			return nil, fmt.Errorf("%s is the database", name)
		}
	}
	return readBounded(name, limit)
}
