package store

import (
	"errors"
	"fmt"
	"slices"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/sqlite"
)

// VACUUM makes a file without a byte of what was dropped, but it lists all indexes
// behind all tables, and views, triggers and virtual tables behind these: a dump of
// the file would look another way. So Eject puts the rows of the schema table into
// the order in which they were.

// schemaEntry names a row of the schema table.
type schemaEntry struct{ Kind, Name string }

// schemaOrder lists what is not ours.
func (w *writer) schemaOrder() (order []schemaEntry, err error) {
	err = w.conn.Each("SELECT type, name, tbl_name FROM sqlite_schema ORDER BY rowid", nil, func(st *sqlite.Stmt) error {
		e := schemaEntry{columnText(st, 0), columnText(st, 1)}
		if !hasPrefixFold(e.Name, internalPrefix) && !hasPrefixFold(columnText(st, 2), internalPrefix) {
			order = append(order, e)
		}
		return nil
	})
	if len(order) == 0 {
		order = []schemaEntry{{"none", ""}} // so that there is one on record
	}
	return order, err
}

// pack gives the pages back that were ours, unless that would change more than the
// file's size, and empties the WAL.
func (w *writer) pack(out *Ejection, order []schemaEntry) (err error) {
	w.conn.ClearCache() // VACUUM wants no statement to be under way
	if out.Unpacked, err = w.unpackable(); err != nil {
		return err
	}
	if out.Unpacked == "" {
		// VACUUM makes every table and index anew, also those that use what only
		// somebody else's process has.
		if err = w.conn.Exec("VACUUM"); errors.Is(err, sqlite.ErrGeneric) {
			out.Unpacked, err = err.Error(), nil
		} else if err != nil {
			return err
		}
	}
	if out.Unpacked == "" {
		if err := w.reorder(order); err != nil {
			return fmt.Errorf("put the schema into its order: %w", err)
		}
	}
	if out.Journal == "wal" {
		_, _, err = w.conn.Checkpoint(true)
	}
	return err
}

// unpackable says why VACUUM would do harm, "" if it would not: it numbers the rows
// of a table without any key or index anew, and a virtual table may refer to them by
// their numbers.
func (w *writer) unpackable() (reason string, err error) {
	var virtual string
	var loose []string
	err = w.conn.Each(`SELECT name, coalesce(rootpage, 0) = 0, CASE coalesce(rootpage, 0) WHEN 0 THEN 0 ELSE NOT EXISTS(SELECT 1 FROM sqlite_schema i WHERE i.type = 'index' AND i.tbl_name = s.name)
		AND NOT EXISTS(SELECT 1 FROM pragma_table_xinfo(s.name) WHERE pk > 0) END FROM sqlite_schema s WHERE type = 'table' AND name NOT LIKE 'sqlite_%'`, nil, func(st *sqlite.Stmt) error {
		switch name := columnText(st, 0); {
		case st.Integer(1) != 0:
			virtual = name
		case st.Integer(2) != 0:
			loose = append(loose, name)
		}
		return nil
	})
	if err != nil || virtual == "" {
		return "", err
	}
	for _, name := range loose {
		t := table{name: name}
		r := introspector{c: w.conn}
		if err := r.readColumns(&t); err != nil {
			return "", err
		}
		t.arrange()
		moves := t.rowid == ""
		if !moves {
			err = w.conn.Each("SELECT count(*) > 0 AND (min("+t.rowid+") <> 1 OR max("+t.rowid+") <> count(*)) FROM "+quoteIdent(name), nil, func(st *sqlite.Stmt) error {
				moves = st.Integer(0) != 0
				return nil
			})
		}
		if moves || err != nil {
			return "the rows of " + name + " would get other numbers, by which " + virtual + " may refer to them", err
		}
	}
	return "", nil
}

// reorder gives the rows of the schema table the given order; what it does not
// name comes last. SQLite's own check of the result decides whether it is kept.
func (w *writer) reorder(order []schemaEntry) error {
	now, err := w.schemaOrder()
	if err != nil {
		return err
	}
	want := slices.DeleteFunc(slices.Clone(order), func(e schemaEntry) bool { return !slices.Contains(now, e) })
	for _, e := range now {
		if !slices.Contains(want, e) {
			want = append(want, e)
		}
	}
	if slices.Equal(now, want) {
		return nil
	}
	if _, err := w.pragma("writable_schema = 1"); err != nil {
		return err
	}
	err = w.exclusively(func() error { return w.renumberSchema(want) })
	_, off := w.pragma("writable_schema = 0")
	return errors.Join(err, off)
}

func (w *writer) renumberSchema(want []schemaEntry) error {
	var last int64
	err := w.conn.Each("SELECT max(rowid) FROM sqlite_schema", nil, func(st *sqlite.Stmt) error { last = st.Integer(0); return nil })
	if err != nil {
		return err
	}
	for i, e := range want {
		err := w.conn.Each("UPDATE sqlite_schema SET rowid = ? WHERE type = ? AND name = ?", []sqlite.Value{
			changeset.IntegerValue(last + 1 + int64(i)), changeset.TextValue(e.Kind), changeset.TextValue(e.Name),
		}, nil)
		if err != nil {
			return err
		}
	}
	version, err := w.conn.SchemaVersion()
	if err != nil {
		return err
	}
	for _, sql := range []string{
		fmt.Sprintf("UPDATE sqlite_schema SET rowid = rowid - %d", last),
		fmt.Sprintf("PRAGMA schema_version = %d", version+1), // whoever has the file open reads it again
	} {
		if err := w.conn.Exec(sql); err != nil {
			return err
		}
	}
	return w.quickCheck()
}
