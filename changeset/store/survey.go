package store

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/sqlite"
)

// survey is what Adopt finds in a file before it changes anything.
type survey struct {
	journal string // the journal mode: wal, or delete for all others
	objects []Adopted
	resumed bool // an adoption was begun
	// schemaVersion is SQLite's; digest is that of what replicates.
	schemaVersion int64
	digest        [32]byte
}

// Adopted says what became of one table, view or trigger of an adopted file.
type Adopted struct {
	Name string
	Kind string // table, virtual table, view or trigger
	Rows int64  // of a table that replicates
	// Local is why it stays in this file alone; "" for a table that replicates.
	Local string
}

// triggerReason is why a trigger is local.
const triggerReason = "triggers are not replicated yet: it runs for writes on this node alone, and those fail if it writes to a table that is left local"

// maxRowSize bounds the encoded values of one row that can be taken in: it must
// fit into a changeset of its own.
const maxRowSize = changeset.MaxEncodedSize - 1<<20

// surveyFile looks at the file at cfg.Path and changes no byte of it. The plain
// database of somebody else is read whole: every row must be one that we can hold.
func surveyFile(ctx context.Context, cfg Config) (v *survey, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s, err := openOffline(cfg, sqlite.Config{ReadOnly: true, KeepJournal: true})
	if err != nil {
		return nil, err
	}
	stop := s.writer.conn.InterruptOn(ctx)
	v, err = s.writer.survey()
	stop()
	if err != nil {
		err = fmt.Errorf("%s: %w", cfg.Path, err)
	}
	return v, errors.Join(err, s.closeOffline())
}

func (w *writer) survey() (*survey, error) {
	if err := w.conn.Exec("BEGIN"); err != nil {
		return nil, err
	}
	v := &survey{journal: "delete"}
	if ours, _, err := w.whose(); err != nil || ours {
		v.resumed = true
		return v, err // what was begun is on record
	}
	err := w.conn.Each("PRAGMA journal_mode", nil, func(st *sqlite.Stmt) error {
		if mode := string(st.View(0)); mode == "wal" {
			v.journal = mode
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if err := w.quickCheck(); err != nil {
		return nil, err
	}
	s, err := readSchema(w.conn)
	if err != nil {
		return nil, err
	}
	if v.schemaVersion, err = w.conn.SchemaVersion(); err != nil {
		return nil, err
	}
	if v.objects, err = w.listObjects(s); err != nil {
		return nil, err
	}
	for i := range v.objects {
		o := &v.objects[i]
		if o.Local != "" {
			continue
		}
		t := s.lookup(o.Name)
		if o.Local, err = w.cannotAdopt(t); err != nil {
			return nil, fmt.Errorf("table %s: %w", o.Name, err)
		}
		if o.Local != "" {
			s.exclude(t, o.Local)
		}
	}
	v.digest = s.digest
	return v, nil
}

// quickCheck refuses a file that SQLite finds damaged. A row that breaks a CHECK is
// no damage.
func (w *writer) quickCheck() error {
	if err := w.conn.SetIgnoreChecks(true); err != nil {
		return err
	}
	return w.eachDamage(func(line string) error { return fmt.Errorf("%w: %s", sqlite.ErrCorrupt, line) })
}

// eachDamage calls f for each thing that SQLite's quick_check finds. Where the schema
// uses what only somebody else's process has, such as a collation, SQLite checks
// nothing: then each table is looked at by itself, and those go unchecked.
func (w *writer) eachDamage(f func(line string) error) error {
	err := w.damageIn("PRAGMA quick_check", f)
	if !errors.Is(err, sqlite.ErrGeneric) {
		return err
	}
	var names []string
	err = w.conn.Each("SELECT name FROM sqlite_schema WHERE type = 'table'", nil, func(st *sqlite.Stmt) error {
		names = append(names, columnText(st, 0))
		return nil
	})
	for _, name := range append([]string{"sqlite_schema"}, names...) {
		if err != nil {
			break
		}
		if err = w.damageIn("PRAGMA quick_check("+quoteIdent(name)+")", f); errors.Is(err, sqlite.ErrGeneric) {
			err = nil
		}
	}
	return err
}

// damageIn calls f for each line of a quick_check.
func (w *writer) damageIn(check string, f func(line string) error) error {
	return w.conn.Each(check, nil, func(st *sqlite.Stmt) error {
		if line := string(st.View(0)); line != "ok" {
			return f(strings.Join(strings.Fields(line), " "))
		}
		return nil
	})
}

// listObjects lists the tables, views and triggers in the order of their making,
// with why they are local in s.
func (w *writer) listObjects(s *schema) (out []Adopted, err error) {
	r := introspector{c: w.conn}
	objects, err := r.objects()
	if err != nil {
		return nil, err
	}
	kinds, err := r.tableKinds()
	if err != nil {
		return nil, err
	}
	for _, o := range objects {
		a := Adopted{Name: o.name, Kind: o.kind, Local: s.local[foldName(o.name)]}
		switch {
		case o.kind == "index":
			continue
		case o.kind == "trigger":
			a.Local = triggerReason
		case o.kind == "table" && kinds[foldName(o.name)] == "virtual":
			a.Kind = "virtual table"
		}
		out = append(out, a)
	}
	return out, nil
}

// cannotAdopt says why a table whose definition can be replicated is left local all
// the same, "" if it is not: for an index that would be dropped, a definition that
// other nodes would refuse, or a row that no changeset can hold.
func (w *writer) cannotAdopt(t *table) (reason string, err error) {
	for _, x := range t.indexes {
		if x.harm != "" {
			return x.harm, nil
		}
	}
	if _, err := desiredSchema([]SchemaFile{{SQL: schemaSQL(t)}}); err != nil {
		var refused *SchemaError
		if errors.As(err, &refused) {
			return refused.Reason, nil
		}
		return "", err
	}
	if reason := tooLarge(t); reason != "" {
		return reason, nil
	}
	return w.unfitRow(t)
}

// tooLarge says which limit of a changeset the definition exceeds.
func tooLarge(t *table) string {
	names := []string{t.name}
	for _, i := range append(t.key, t.data...) {
		names = append(names, t.columns[i].name)
	}
	if len(names)-1 > changeset.MaxColumns {
		return fmt.Sprintf("it has more than %d columns", changeset.MaxColumns)
	}
	for _, name := range names {
		if len(name) > changeset.MaxNameSize {
			return fmt.Sprintf("a name is longer than %d bytes", changeset.MaxNameSize)
		}
	}
	return ""
}

// errUnfit ends the scan at the first row that does not fit.
var errUnfit = errors.New("row does not fit")

// unfitRow reads every row and says what is wrong with the first that cannot be
// taken in, "" if all can.
func (w *writer) unfitRow(t *table) (reason string, err error) {
	keys := len(t.key)
	sql := "SELECT " + strings.Join(append(keyTerms(t, "t."), quotedData(t)...), ", ") + " FROM " + quoteIdent(t.name) + " t"
	var encoded []byte
	err = w.conn.Each(sql, nil, func(st *sqlite.Stmt) error {
		key := columnValues(st, keys)
		if reason = keyFault(t, key); reason == "" {
			encoded = encoded[:0]
			for d, i := range t.data {
				v := st.Column(keys + d)
				if misfit := fits(t, i, v); misfit != nil {
					reason = misfit.Error()
				}
				encoded = changeset.AppendValue(encoded, v)
			}
			if len(encoded) > maxRowSize {
				reason = fmt.Sprintf("its values take %d bytes, more than a changeset can hold", len(encoded))
			}
		}
		if reason == "" {
			return nil
		}
		reason = "row " + printKey(key) + ": " + reason
		return errUnfit
	})
	switch {
	case errors.Is(err, errUnfit):
		err = nil
	case errors.Is(err, sqlite.ErrTooBig):
		return fmt.Sprintf("a row has more than %d bytes", maxValueSize), nil
	}
	return reason, err
}

// schemaSQL defines a table and its indexes as a schema file does.
func schemaSQL(t *table) string {
	var b strings.Builder
	b.WriteString(t.sql + ";\n")
	for i := range t.indexes {
		if x := &t.indexes[i]; !x.constraint && x.harm == "" {
			b.WriteString(x.sql + ";\n")
		}
	}
	return b.String()
}
