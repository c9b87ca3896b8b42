package store

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/sqlite"
)

// Between the chunks of an adoption, and between one that was killed and its
// repetition, other programs can write. A row that was taken in and changed after
// that would differ from its version for good, and nothing would tell. So the
// transaction that begins an adoption gives each table that is to replicate three
// triggers, which refuse every write of any program, and the one that ends it takes
// them away. Readers notice nothing. Of a table whose triggers are gone at the end, or
// of a schema that moved, nobody knows what was written meanwhile.
//
// No trigger runs for sqlite3_blob_write, nor for a program that switched triggers
// off.

// ErrDisturbed: somebody changed tables while they were adopted.
var ErrDisturbed = errors.New("store: another program changed tables that were being adopted")

// guardRefusal is what another program is told.
const guardRefusal = "patina adopt is at work on this database: repeat it until it ends, or give it up with patina eject"

// guardEvents are the writes that a table is guarded against.
var guardEvents = [...]string{"INSERT", "UPDATE", "DELETE"}

// guardTrigger names the trigger of a table that refuses a kind of write.
func guardTrigger(event, table string) string { return internalPrefix + foldName(event) + "_" + table }

// checkSurvey sees that a fresh file has the schema that was surveyed. It runs in the
// transaction that begins an adoption, before that changes anything.
func (w *writer) checkSurvey() error {
	v := w.store.cfg.adopt
	if v == nil {
		return nil
	}
	found, err := w.conn.SchemaVersion()
	if err == nil && found != v.schemaVersion {
		err = fmt.Errorf("%w: run it again", ErrDisturbed)
	}
	return err
}

// makeGuards gives the tables that v does not leave local their guards, and records
// what replicates. It runs in the transaction that begins an adoption.
func (w *writer) makeGuards(v *survey) error {
	for _, o := range v.objects {
		if o.Local != "" {
			continue
		}
		for _, event := range guardEvents {
			err := w.conn.Exec("CREATE TRIGGER " + quoteIdent(guardTrigger(event, o.Name)) + " BEFORE " + event + " ON " + quoteIdent(o.Name) +
				" BEGIN SELECT RAISE(ABORT, '" + guardRefusal + "'); END")
			if err != nil {
				return fmt.Errorf("guard table %s: %w", o.Name, err)
			}
		}
	}
	return w.writeValue("adopting", changeset.BlobValue(v.digest[:]))
}

// checkGuards sees that the guards stand, and that what replicates is what it was
// when they were made.
func (w *writer) checkGuards() error {
	digest, _, err := w.readValue("adopting")
	if err != nil {
		return err
	}
	const giveUp = "give the adoption up with patina eject, then adopt again"
	if !bytes.Equal(digest.Bytes(), w.schema.digest[:]) {
		return fmt.Errorf("%w: their schema is not what it was; %s", ErrDisturbed, giveUp)
	}
	for _, t := range w.schema.sorted() {
		for _, event := range guardEvents {
			there := false
			err := w.conn.Each("SELECT 1 FROM sqlite_schema WHERE type = 'trigger' AND name = ? COLLATE NOCASE AND tbl_name = ? COLLATE NOCASE",
				textArgs(guardTrigger(event, t.name), t.name), func(*sqlite.Stmt) error { there = true; return nil })
			if err == nil && !there {
				err = fmt.Errorf("%w: table %s has lost what guarded it; %s", ErrDisturbed, t.name, giveUp)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// dropGuards takes all guards away.
func (w *writer) dropGuards() error {
	names, err := w.internalNames("trigger")
	for _, name := range names {
		if err == nil {
			err = w.conn.Exec("DROP TRIGGER " + quoteIdent(name))
		}
	}
	return err
}

// internalNames lists what of a kind has a name of ours.
func (w *writer) internalNames(kind string) (names []string, err error) {
	err = w.conn.Each("SELECT name FROM sqlite_schema WHERE type = ?", textArgs(kind), func(st *sqlite.Stmt) error {
		if name := columnText(st, 0); hasPrefixFold(name, internalPrefix) {
			names = append(names, name)
		}
		return nil
	})
	return names, err
}
