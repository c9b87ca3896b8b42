package store

import (
	"context"
	"fmt"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/sqlite"
)

// loadSchema introspects the database and sees that every replicated table has
// its tables of clocks. It runs in a transaction. Unless the move of the schema
// was ours, rows may have other rowids than their clocks.
func (w *writer) loadSchema(ours bool) error {
	w.conn.SetMode(sqlite.ModeInternal)
	s, err := w.readOwnSchema()
	if err != nil {
		return fmt.Errorf("read the schema: %w", err)
	}
	if err := w.forgetLocal(s); err != nil {
		return err
	}
	left, _, err := w.readValue("schema")
	if err != nil {
		return err
	}
	found, err := w.conn.SchemaVersion()
	if err != nil {
		return err
	}
	if err := w.makeClockTables(s); err != nil {
		return err
	}
	var rekeyed map[*table]bool
	if !ours && (found != left.Integer() || w.meta.copied) {
		if rekeyed, err = w.rekeyAll(s); err != nil {
			return err
		}
	}
	if err := w.settleSums(s, rekeyed); err != nil {
		return fmt.Errorf("clock sums: %w", err)
	}
	w.reportLost(s)
	w.dropStatements()
	w.schema, w.meta.copied = s, false
	if w.schemaVersion, err = w.conn.SchemaVersion(); err != nil || w.schemaVersion == left.Integer() {
		return err
	}
	return w.writeValue("schema", changeset.IntegerValue(w.schemaVersion))
}

// makeClockTables makes what s lacks of them, and excludes tables whose clocks
// are of another key.
func (w *writer) makeClockTables(s *schema) error {
	existing := map[string]string{}
	err := w.conn.Each("SELECT name, sql FROM sqlite_schema WHERE type = 'table'", nil, func(st *sqlite.Stmt) error {
		existing[foldName(string(st.View(0)))] = string(st.View(1))
		return nil
	})
	if err != nil {
		return fmt.Errorf("read the schema: %w", err)
	}
	for _, t := range s.sorted() {
		for name, want := range clockTables(t) {
			switch sql, ok := existing[foldName(name)]; {
			case !ok:
				if err := w.conn.Exec(want); err != nil {
					return fmt.Errorf("make the clock table of %s: %w", t.name, err)
				}
			case foldName(sql) != foldName(want):
				s.lose(t.name, anotherKey+lostAdvice)
			}
		}
	}
	return nil
}

// refreshSchema introspects again if somebody else changed the schema. It runs
// at the begin of each transaction.
func (w *writer) refreshSchema() error {
	v, err := w.conn.SchemaVersion()
	if err != nil || v == w.schemaVersion {
		return err
	}
	w.log.Warn("the schema was changed by another process: introspecting again")
	w.unjudged = true
	w.conn.ClearCache()
	return w.loadSchema(false)
}

// followSchema brings us up to what another process made of the schema, if it
// did, and merges what was parked for want of it. It runs between transactions.
func (w *writer) followSchema(ctx context.Context) error {
	v, err := w.conn.SchemaVersion()
	switch {
	case err != nil:
		return fmt.Errorf("read the schema: %w", err)
	case v != w.schemaVersion || w.unjudged && len(w.parked) > 0:
		return w.moveSchema(ctx, plan{})
	case w.schema != w.store.schema.Load():
		w.publish() // a transaction that changed nothing else saw it first
	}
	return nil
}

// moveSchema runs the statements of a plan and applies what was parked for want
// of them, in one transaction. Only a stop or the end of ctx bounds its time: an
// index on a large table takes what it takes.
func (w *writer) moveSchema(ctx context.Context, p plan) error {
	var unparked []Committed
	err := w.transaction(func() error {
		v, err := w.conn.SchemaVersion()
		if err != nil {
			return err
		}
		ours := v == w.schemaVersion
		if err := w.runPlan(ctx, p); err != nil {
			return err
		}
		w.conn.ClearCache()
		if err := w.loadSchema(ours); err != nil {
			return err
		}
		unparked, err = w.judgeParked()
		return err
	})
	if err != nil {
		return err
	}
	w.unjudged = false
	w.publish()
	if len(unparked) > 0 {
		w.store.cfg.Committed(unparked)
	}
	return nil
}

func (w *writer) runPlan(ctx context.Context, p plan) error {
	defer w.limit(ctx, unlimited)()
	for _, sql := range p.statements {
		if err := w.ended(ctx, w.conn.Exec(sql)); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
	}
	return nil
}

// applySchemaFiles brings the database up to the schema files. Tables, columns
// and indexes that the files do not mention are left alone.
func (w *writer) applySchemaFiles(ctx context.Context, files []SchemaFile) (notes []string, err error) {
	desired, err := desiredSchema(files)
	if err != nil {
		return nil, err
	}
	w.conn.SetMode(sqlite.ModeInternal)
	if err := w.followSchema(ctx); err != nil {
		return nil, err
	}
	p, err := planFiles(w.schema, desired)
	if err != nil {
		return nil, err
	}
	for _, note := range p.notes {
		if w.noted[note] {
			continue
		}
		if w.noted == nil {
			w.noted = map[string]bool{}
		}
		w.noted[note] = true
		w.log.Info("left alone", "err", note)
	}
	if len(p.statements) == 0 {
		return p.notes, nil
	}
	return p.notes, w.moveSchema(ctx, p)
}

// Reload brings the database up to other schema files. On an error, which names
// file and line, the old schema is kept whole.
func (s *Store) Reload(ctx context.Context, files []SchemaFile) (err error) {
	started := context.WithoutCancel(ctx)
	failed := s.do(ctx, func() { _, err = s.writer.applySchemaFiles(started, files) })
	if failed != nil {
		return failed
	}
	return err
}

// Migrate runs CREATE TABLE and CREATE INDEX statements by the rules of DESIGN
// section 7, all or none, on this node. A refused statement's slot, the last,
// holds the error. The id stays zero: the schema is not replicated yet.
func (s *Store) Migrate(ctx context.Context, statements []sqlite.Statement) (results []sqlite.Result, id changeset.ID, err error) {
	texts := make([]string, len(statements))
	for i, st := range statements {
		texts[i] = st.SQL
		if len(st.Params) > 0 || len(st.Named) > 0 {
			refused := fmt.Errorf("a migration takes no parameters")
			return append(make([]sqlite.Result, i), sqlite.Result{Err: refused}), id, nil
		}
	}
	started := context.WithoutCancel(ctx)
	failed := s.do(ctx, func() { results, err = s.writer.migrate(started, texts) })
	if failed != nil {
		return nil, id, failed
	}
	return results, id, err
}

func (w *writer) migrate(ctx context.Context, texts []string) ([]sqlite.Result, error) {
	w.conn.SetMode(sqlite.ModeInternal)
	if err := w.followSchema(ctx); err != nil {
		return nil, err
	}
	p, index, err := planMigration(w.schema, texts)
	if err != nil {
		if index < 0 {
			return nil, err
		}
		return append(make([]sqlite.Result, index), sqlite.Result{Err: err}), nil
	}
	if len(p.statements) > 0 {
		if err := w.moveSchema(ctx, p); err != nil {
			return nil, err
		}
	}
	return make([]sqlite.Result, len(texts)), nil
}
