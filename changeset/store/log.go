package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/sqlite"
	"github.com/patinadb/patina/sync/versions"
)

// notInLog is the type of ErrNotInLog; other packages recognise it by method.
type notInLog struct{}

func (notInLog) Error() string { return "store: not in the log" }

// NotInLog reports true: the changeset may be known here, but not as a changeset.
func (notInLog) NotInLog() bool { return true }

// ErrNotInLog is the answer of Changeset for what neither the log nor the
// parked hold.
var ErrNotInLog error = notInLog{}

// writeLog stores an applied changeset under its key, with the share of the
// version in work in the sums.
func (w *writer) writeLog(s changeset.Sealed) error {
	ord, err := w.ordinal(s.Actor)
	if err != nil {
		return err
	}
	st, err := w.conn.Cached("INSERT INTO __patina_log VALUES(?, ?, ?)")
	if err != nil {
		return err
	}
	if err := st.BindInteger(1, logKey(ord, s.Version)); err != nil {
		return err
	}
	w.scratch = w.appendShare(w.scratch[:0])
	if err := st.BindBlob(2, w.scratch); err != nil {
		return err
	}
	data := changeset.Pack(s.Data)
	if err := st.BindBlob(3, data); err != nil {
		return err
	}
	if err := st.Run(); err != nil {
		return fmt.Errorf("log version %d of %v: %w", s.Version, s.Actor, err)
	}
	w.unsaved++
	w.logBytes += int64(len(data))
	return nil
}

// readLog reads one applied changeset on the writer's connection.
func (w *writer) readLog(id changeset.ID) (changeset.Sealed, error) {
	return readSealed(w.conn, w.actors, id, "SELECT data FROM __patina_log WHERE k = ?")
}

// selectHeld finds a version by its key, applied or parked.
const selectHeld = "SELECT data FROM __patina_log WHERE k = ?1 UNION ALL SELECT data FROM __patina_parked WHERE k = ?1"

func readSealed(c *sqlite.Conn, actors *actorTable, id changeset.ID, sql string) (s changeset.Sealed, err error) {
	key, ok := actors.key(id)
	if !ok {
		return s, ErrNotInLog
	}
	found := false
	err = c.Each(sql, []sqlite.Value{changeset.IntegerValue(key)}, func(st *sqlite.Stmt) error {
		found = true
		data, err := changeset.Unpack(st.Column(0).Bytes())
		if err != nil {
			return err
		}
		s, err = changeset.Open(data)
		return err
	})
	switch {
	case err != nil:
		return s, fmt.Errorf("read version %d of %v from the log: %w", id.Version, id.Actor, err)
	case !found:
		return s, ErrNotInLog
	case s.ID() != id:
		return s, fmt.Errorf("log entry of version %d of %v is another changeset: %w", id.Version, id.Actor, changeset.ErrCorrupt)
	}
	return s, nil
}

// Changeset returns an applied or parked changeset as it came, or ErrNotInLog.
func (s *Store) Changeset(ctx context.Context, id changeset.ID) (out changeset.Sealed, err error) {
	err = s.serving.use(ctx, sqlite.ModeInternal, func(c *sqlite.Conn) error {
		out, err = readSealed(c, s.actors.Load(), id, selectHeld)
		return err
	})
	return out, err
}

// markApplied moves a version into the applied set of the writer's vector. The
// transaction that logs it must roll the vector back with it.
func (w *writer) markApplied(s changeset.Sealed) {
	e := w.vector.Entry(s.Actor)
	e.Applied, e.Parked = e.Applied.Clone(), e.Parked.Clone()
	one := versions.Range{First: s.Version, Last: s.Version}
	e.Applied.Add(one)
	e.Parked.Remove(one)
	if e.Applied.Last() == s.Version {
		e.Head = s.Hash
	}
	w.vector.Put(s.Actor, e)
	w.links.note(&s)
}

// transaction runs f between BEGIN IMMEDIATE and COMMIT. If either fails,
// everything is undone: the database, and with it what the writer holds in
// memory of it. But nothing is undone where the files turn out replaced after
// COMMIT: then nobody knows, and nothing follows.
func (w *writer) transaction(f func() error) error {
	switch {
	case w.lost != nil:
		return w.lost
	case w.refused != nil:
		return w.refused
	}
	w.conn.SetMode(sqlite.ModeInternal)
	if len(w.tables) > keptTables {
		w.dropStatements()
	}
	saved := w.save()
	if err := w.step("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	err := f()
	w.conn.SetMode(sqlite.ModeInternal)
	if err == nil && w.conn.Autocommit() {
		err = errTransactionLost
	}
	if err == nil && w.unsaved >= saveEvery {
		err = w.saveState()
	}
	if err == nil && time.Since(w.looked) >= w.lookAge {
		err = w.checkFiles()
	}
	if err == nil {
		err = w.step("COMMIT")
	}
	if err != nil {
		err = w.rollback(err)
		w.restore(saved)
		return err
	}
	if w.checkFiles() != nil {
		return w.unknown()
	}
	return nil
}

// errTransactionLost: SQLite rolled the whole transaction back by itself.
var errTransactionLost = errors.New("store: transaction rolled back")

// memory is the part of the writer's state that mirrors the database.
type memory struct {
	actors        *actorTable
	vector        *versions.Vector
	schema        *schema
	parked        []Parked
	forked        []Fork
	meta          meta
	schemaVersion int64
	saved         *state
	sums          []changeset.Sum
	logBytes      int64
	unsaved       int
}

func (w *writer) save() memory {
	return memory{w.actors, w.vector.Clone(), w.schema, w.parked, w.forked, w.meta, w.schemaVersion, w.saved, slices.Clone(w.sums), w.logBytes, w.unsaved}
}

func (w *writer) restore(m memory) {
	if w.schema != m.schema {
		w.dropStatements()
	}
	w.actors, w.vector, w.schema, w.parked, w.forked, w.meta, w.schemaVersion = m.actors, m.vector, m.schema, m.parked, m.forked, m.meta, m.schemaVersion
	w.saved, w.sums, w.logBytes, w.unsaved = m.saved, m.sums, m.logBytes, m.unsaved
}

// rollback undoes the open transaction, if there still is one, because of err.
func (w *writer) rollback(err error) error {
	w.conn.SetMode(sqlite.ModeInternal)
	w.capture.reset()
	if w.conn.Autocommit() {
		return err
	}
	if undo := w.step("ROLLBACK"); undo != nil {
		return errors.Join(err, fmt.Errorf("roll back: %w", undo))
	}
	return err
}

// step runs one cached statement without parameters.
func (w *writer) step(sql string) error {
	st, err := w.conn.Cached(sql)
	if err != nil {
		return err
	}
	return st.Run()
}
