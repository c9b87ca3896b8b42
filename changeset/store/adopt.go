package store

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/sqlite"
)

// Errors of Adopt, and of Open on a file that Adopt did not finish.
var (
	// ErrAdopted: the file is a patina database already.
	ErrAdopted = errors.New("store: a patina database already")
	// ErrAdopting: an adoption was begun and not finished.
	ErrAdopting = errors.New("store: adoption is not finished")
)

// Adoption is what Adopt made of a file.
type Adoption struct {
	Actor    changeset.ActorID
	Resumed  bool  // it had been begun before
	Versions int64 // made now
	// Objects are the tables, views and triggers, in the order of their making.
	Objects []Adopted
	// Schema defines what replicates, for db.schema_paths: other nodes need the
	// tables before they can merge the rows.
	Schema string
}

// Adopt makes the plain SQLite database at cfg.Path a patina database of
// cfg.Cluster, in place: internal tables, an actor id, and for every row of the
// tables that can replicate a clock and a place in a version of ours. What cannot
// replicate is left local, with the reason, and stays so (local.go). The file can
// be read by any program all along, and is in WAL mode from then on; Eject undoes
// it.
//
// Each chunk of rows is one transaction. An Adopt that was killed goes on where it
// was when it is called again; until it has finished, Open refuses the file with
// ErrAdopting, and writes of other programs to the tables that replicate are refused
// (guard.go). It fails with ErrDisturbed if they were changed all the same. cfg.Schema is
// not used.
func Adopt(ctx context.Context, cfg Config) (*Adoption, error) {
	return adopt(ctx, cfg, defaultChunk)
}

func adopt(ctx context.Context, cfg Config, limits chunkLimits) (a *Adoption, err error) {
	cfg.Schema = nil
	if cfg.adopt, err = surveyFile(ctx, cfg); err != nil {
		return nil, err
	}
	s, err := Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	a, err = s.writer.adoptAll(ctx, limits)
	return a, errors.Join(err, s.Close())
}

func (w *writer) adoptAll(ctx context.Context, limits chunkLimits) (*Adoption, error) {
	a := &Adoption{Actor: w.actors.self, Resumed: w.store.cfg.adopt.resumed}
	path := w.store.cfg.Path
	if err := w.transaction(w.checkGuards); err != nil {
		return a, fmt.Errorf("adopt %s: %w", path, err)
	}
	for done := false; !done; {
		version := w.schemaVersion
		for _, t := range w.schema.sorted() {
			_, versions, err := w.takeRows(ctx, t.name, rowTaking{chunkLimits: limits})
			a.Versions += versions
			if err != nil {
				return a, fmt.Errorf("adopt %s: %w; run it again to go on, or give it up with patina eject", path, err)
			}
		}
		var err error
		if done, err = w.endAdoption(version); err != nil {
			return a, fmt.Errorf("adopt %s: %w", path, err)
		}
	}
	return a, w.describeAdoption(a)
}

// endAdoption makes the file a node's. It does nothing if the schema has moved since
// it had the given version: a VACUUM gives rows other rowids, by which a scan in
// chunks can miss some.
func (w *writer) endAdoption(version int64) (done bool, err error) {
	err = w.transaction(func() error {
		if err := w.refreshSchema(); err != nil {
			return err
		}
		if err := w.checkGuards(); err != nil {
			return err
		}
		if done = w.schemaVersion == version; !done {
			return nil
		}
		if err := w.dropGuards(); err != nil {
			return err
		}
		if err := w.conn.Each("DELETE FROM __patina_meta WHERE name = 'adopting'", nil, nil); err != nil {
			return err
		}
		if err := w.loadSchema(true); err != nil {
			return err
		}
		return w.saveState()
	})
	return done, err
}

// describeAdoption fills in what the file holds now.
func (w *writer) describeAdoption(a *Adoption) (err error) {
	if a.Objects, err = w.listObjects(w.schema); err != nil {
		return err
	}
	for i := range a.Objects {
		o := &a.Objects[i]
		if o.Local != "" {
			continue
		}
		err := w.conn.Each("SELECT count(*) FROM "+quoteIdent(o.Name), nil, func(st *sqlite.Stmt) error { o.Rows = st.Integer(0); return nil })
		if err != nil {
			return err
		}
	}
	a.Schema = w.schema.definition(a.Objects)
	return nil
}

// definition defines those of the objects that replicate, as a schema file does.
func (s *schema) definition(objects []Adopted) string {
	var b strings.Builder
	for _, o := range objects {
		if o.Local == "" {
			b.WriteString(schemaSQL(s.lookup(o.Name)))
		}
	}
	return b.String()
}

// DumpSchema returns what defines the tables that replicate in the patina database at
// cfg.Path, for db.schema_paths of other nodes. It only reads, and a node may run on
// the file.
func DumpSchema(ctx context.Context, cfg Config) (sql string, err error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	cfg = cfg.withDefaults()
	if err := checkThere(cfg); err != nil {
		return "", err
	}
	s, err := openUnlocked(cfg, sqlite.Config{ReadOnly: true, KeepJournal: true})
	if err != nil {
		return "", err
	}
	stop := s.writer.conn.InterruptOn(ctx)
	sql, err = s.writer.dumpSchema()
	stop()
	if err != nil {
		err = fmt.Errorf("%s: %w", cfg.Path, err)
	}
	return sql, errors.Join(err, s.writer.conn.Close())
}

func (w *writer) dumpSchema() (string, error) {
	if err := w.conn.Exec("BEGIN"); err != nil { // one snapshot for all
		return "", err
	}
	if err := w.readOurs(); err != nil {
		return "", err
	}
	objects, err := w.listObjects(w.schema)
	if err != nil {
		return "", err
	}
	return w.schema.definition(objects), nil
}

// beginAdoption records in the transaction that makes the internal tables what the
// file was and what of it stays local. It does nothing for a fresh file.
func (w *writer) beginAdoption() error {
	v := w.store.cfg.adopt
	if v == nil {
		return nil
	}
	if err := w.makeGuards(v); err != nil {
		return err
	}
	if err := w.writeValue("journal", changeset.TextValue(v.journal)); err != nil {
		return err
	}
	for _, o := range v.objects {
		if o.Local == "" || !strings.HasSuffix(o.Kind, "table") {
			continue
		}
		if err := w.writeLocal(o.Name, o.Local); err != nil {
			return err
		}
	}
	return nil
}

// checkAdopting lets nobody but Adopt at a file whose adoption is not finished,
// and Adopt at no other file of ours.
func (w *writer) checkAdopting() error {
	_, adopting, err := w.readValue("adopting")
	switch {
	case err != nil:
		return err
	case adopting && w.store.cfg.adopt == nil:
		return fmt.Errorf("%w: run patina adopt again, or patina eject to give it up", ErrAdopting)
	case !adopting && w.store.cfg.adopt != nil:
		return ErrAdopted
	}
	return nil
}
