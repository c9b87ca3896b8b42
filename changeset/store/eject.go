package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/patinadb/patina/changeset/sqlite"
)

// Ejection is what Eject did.
type Ejection struct {
	Tables  int    // of ours that were dropped
	Journal string // the journal mode that the file has now
	// Unpacked is why the file was not vacuumed, "" if it was: then it keeps its size,
	// with zeros over our pages, and what SQLite had copied of them elsewhere.
	Unpacked string
}

// Eject makes the patina database at path a plain SQLite file again: internal
// tables, identity file and lock go, the journal mode is that of before Adopt, and
// no byte of ours stays. Tables, rows, indexes, views and triggers are as they are
// now. It fails with ErrInUse while a node runs on the file.
//
// One transaction drops all that is ours. If the process ends after that, calling
// Eject again does the rest.
func Eject(cfg Config) (out *Ejection, err error) {
	s, err := openOffline(cfg, sqlite.Config{KeepJournal: true, WritableSchema: true})
	if err != nil {
		return nil, err
	}
	out, err = s.writer.eject()
	err = errors.Join(err, s.writer.conn.Close())
	if err == nil {
		err = removeBeside(s.cfg.Path)
	}
	if err != nil {
		return out, errors.Join(fmt.Errorf("eject %s: %w", cfg.Path, err), s.lock.discard())
	}
	return out, s.lock.remove()
}

// removeBeside removes the files that only we have beside the database at path, but
// for the lock.
func removeBeside(path string) error {
	for _, name := range []string{sidecarPath(path) + ".new", sidecarPath(path)} {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func (w *writer) eject() (*Ejection, error) {
	ours, _, err := w.whose()
	if err != nil {
		return nil, err
	}
	out := &Ejection{}
	beside := readSidecar(w.store.cfg.Path)
	switch {
	case ours:
		beside.Order, err = w.dropAll(out)
	case len(beside.Order) == 0:
		err = fmt.Errorf("%w: there is nothing of ours in it", ErrForeignFile)
	}
	if err != nil {
		return nil, err
	}
	if out.Journal, err = w.pragma("journal_mode"); err != nil {
		return nil, err
	}
	return out, w.pack(out, beside.Order)
}

// dropAll does what only a file of ours tells how to do. It returns the order in
// which the schema lists what stays, which is also on record beside the file before
// anything is dropped.
func (w *writer) dropAll(out *Ejection) ([]schemaEntry, error) {
	if err := w.checkFormat(); err != nil {
		return nil, err
	}
	order, err := w.schemaOrder()
	if err != nil {
		return nil, err
	}
	beside := readSidecar(w.store.cfg.Path)
	beside.Order = order
	if err := writeSidecar(w.store.cfg.Path, beside); err != nil {
		return nil, err
	}
	mode, _, err := w.readValue("journal")
	if err == nil {
		err = w.setJournal(mode.Text())
	}
	if err == nil {
		out.Tables, err = w.dropOurs()
	}
	return order, err
}

// setJournal leaves WAL mode unless that is the mode of before. It is done before
// anything is dropped: afterwards nothing would tell. A node that starts on the file
// enters WAL mode again.
func (w *writer) setJournal(mode string) error {
	if mode == "wal" {
		return nil
	}
	now, err := w.pragma("journal_mode = delete")
	if err == nil && now != "delete" {
		err = fmt.Errorf("the journal mode stays %s: another process has the file open", now)
	}
	return err
}

// pragma returns the text that a pragma answers with.
func (w *writer) pragma(text string) (answer string, err error) {
	err = w.conn.Each("PRAGMA "+text, nil, func(st *sqlite.Stmt) error { answer = string(st.View(0)); return nil })
	return answer, err
}

// dropOurs drops every guard and every internal table in one transaction, and writes zeros over
// their pages.
func (w *writer) dropOurs() (tables int, err error) {
	if _, err := w.pragma("secure_delete = 1"); err != nil {
		return 0, err
	}
	err = w.exclusively(func() error {
		if err := w.dropGuards(); err != nil {
			return err
		}
		names, err := w.internalNames("table")
		for _, name := range names {
			if err == nil {
				err = w.conn.Exec("DROP TABLE " + quoteIdent(name))
			}
		}
		tables = len(names)
		return err
	})
	return tables, err
}

// exclusively runs f in a transaction.
func (w *writer) exclusively(f func() error) error {
	if err := w.conn.Exec("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	err := f()
	if err == nil {
		err = w.conn.Exec("COMMIT")
	}
	if err != nil {
		err = w.rollback(err)
	}
	return err
}
