package store

import (
	"fmt"
	"slices"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/sqlite"
)

// What one request may put into the capture buffer, in bytes and in steps. The
// buffer holds old and new values of every step, so it may exceed the largest
// changeset; what is left as net effect may not (changeset.MaxEncodedSize,
// MaxValues).
const (
	maxCaptured = 4 * changeset.MaxEncodedSize
	maxSteps    = changeset.MaxValues
)

// captureBuffer records what client statements do to replicated rows, in order.
// The preupdate hook is not undone by a statement's abort or by ROLLBACK TO, so
// whoever undoes must truncate to the mark taken before.
type captureBuffer struct {
	events []rowEvent
	data   []byte      // encoded values, see rowEvent
	begin  captureMark // of the request that is running
	err    error       // of the hook, which cannot return one; ends the statement

	last  *table      // of the last event: most come in runs
	name  string      // of last, as the hook gives it
	touch *touchedSet // of the statement that is running; nil for all columns

	maxBytes, maxSteps int // of one request
	folded             netEffect
}

func newCaptureBuffer() captureBuffer {
	return captureBuffer{maxBytes: maxCaptured, maxSteps: maxSteps}
}

// rowEvent is one step of one row. Key updates are split into a deletion and an
// insertion, and so is an update that moves the row to another rowid. All spans
// are sequences of encoded values in captureBuffer.data.
type rowEvent struct {
	table   *table
	rowid   int64 // before a deletion or update, after an insertion; not of WITHOUT ROWID tables
	op      sqlite.Op
	key     span
	columns changeset.ColumnSet // data columns in old and new; for an insertion and a deletion, all
	old     span                // deletion, update
	new     span                // insertion, update
}

// span is a part of captureBuffer.data, which its bounds keep below 4 GiB. A
// request can make millions of them.
type span struct{ from, to uint32 }

type captureMark struct{ events, data int }

func (b *captureBuffer) mark() captureMark { return captureMark{len(b.events), len(b.data)} }

// start begins the part of a request, which undo removes.
func (b *captureBuffer) start() { b.begin = b.mark() }

func (b *captureBuffer) undo() {
	b.truncate(b.begin)
	b.err = nil
}

func (b *captureBuffer) truncate(m captureMark) {
	b.events, b.data = b.events[:m.events], b.data[:m.data]
}

// reset empties the buffer. One large transaction does not hold memory for ever.
func (b *captureBuffer) reset() {
	if cap(b.data) > 1<<20 {
		b.data = nil
	}
	if cap(b.events) > 1<<14 {
		b.events = nil
	}
	b.truncate(captureMark{})
	b.begin, b.err = captureMark{}, nil
}

// full reports that the request which is running has passed its bounds.
func (b *captureBuffer) full() bool {
	return len(b.data)-b.begin.data > b.maxBytes || len(b.events)-b.begin.events > b.maxSteps
}

// onPreupdate is the preupdate hook of the writer's connection.
func (w *writer) onPreupdate(p *sqlite.Preupdate) {
	b := &w.capture
	if name := p.Table(); b.last == nil || name != b.name {
		b.last, b.name = w.schema.lookup(name), name
	}
	if b.err != nil || b.last == nil {
		return
	}
	if b.full() {
		b.err = errTooManyChanges
		return
	}
	m := b.mark()
	if err := b.record(p, b.last); err != nil {
		b.truncate(m)
		b.err = err
	}
}

var errTooManyChanges = fmt.Errorf("the changes of one request exceed the largest changeset: %d bytes, %d values", changeset.MaxEncodedSize, changeset.MaxValues)

func (b *captureBuffer) record(p *sqlite.Preupdate, t *table) error {
	switch p.Op() {
	case sqlite.OpInsert:
		return b.insertion(p, t)
	case sqlite.OpDelete:
		return b.deletion(p, t)
	}
	touched := b.touch.of(t)
	same, err := sameRow(p, t, touched.key)
	if err != nil {
		return err
	}
	if !same {
		if err := b.deletion(p, t); err != nil {
			return err
		}
		return b.insertion(p, t)
	}
	return b.update(p, t, touched.data)
}

func (b *captureBuffer) insertion(p *sqlite.Preupdate, t *table) (err error) {
	e := rowEvent{table: t, op: sqlite.OpInsert, columns: t.all, rowid: p.NewRowid()}
	if err := b.addKey(&e, p, false); err != nil {
		return err
	}
	e.new.from = e.key.to
	for _, i := range t.data {
		v, err := readNew(p, t, i)
		if err != nil {
			return err
		}
		b.data = changeset.AppendValue(b.data, v)
	}
	e.new.to = uint32(len(b.data))
	b.events = append(b.events, e)
	return nil
}

func (b *captureBuffer) deletion(p *sqlite.Preupdate, t *table) (err error) {
	e := rowEvent{table: t, op: sqlite.OpDelete, columns: t.all, rowid: p.OldRowid()}
	if err := b.addKey(&e, p, true); err != nil {
		return err
	}
	e.old.from = e.key.to
	for _, i := range t.data {
		v, err := readOld(p, t, i)
		if err != nil {
			return err
		}
		b.data = changeset.AppendValue(b.data, v)
	}
	e.old.to = uint32(len(b.data))
	b.events = append(b.events, e)
	return nil
}

// update records those of the columns that changed, compared by storage class and
// bytes, never by collation. Nothing changed is no event.
func (b *captureBuffer) update(p *sqlite.Preupdate, t *table, columns changeset.ColumnSet) error {
	e := rowEvent{table: t, op: sqlite.OpUpdate, rowid: p.OldRowid()}
	if err := b.addKey(&e, p, true); err != nil {
		return err
	}
	e.old.from = e.key.to
	for d := range columns.All {
		before, err := readOld(p, t, t.data[d])
		if err != nil {
			return err
		}
		after, err := readNew(p, t, t.data[d])
		if err != nil {
			return err
		}
		if !before.Equal(after) {
			e.columns = e.columns.With(d)
			b.data = changeset.AppendValue(b.data, before)
		}
	}
	if e.columns.IsEmpty() {
		b.data = b.data[:e.key.from]
		return nil
	}
	e.old.to = uint32(len(b.data))
	e.new.from = e.old.to
	for d := range e.columns.All {
		v, err := readNew(p, t, t.data[d])
		if err != nil {
			return err
		}
		b.data = changeset.AppendValue(b.data, v)
	}
	e.new.to = uint32(len(b.data))
	b.events = append(b.events, e)
	return nil
}

func (b *captureBuffer) addKey(e *rowEvent, p *sqlite.Preupdate, old bool) error {
	t := e.table
	e.key.from = uint32(len(b.data))
	if t.layout == layoutInteger {
		b.data = changeset.AppendValue(b.data, changeset.IntegerValue(e.rowid))
		e.key.to = uint32(len(b.data))
		return nil
	}
	for _, i := range t.key {
		read := readNew
		if old {
			read = readOld
		}
		v, err := read(p, t, i)
		if err != nil {
			return err
		}
		v = v.Canonical()
		if err := checkKeyValue(t, i, v); err != nil {
			return err
		}
		b.data = changeset.AppendValue(b.data, v)
	}
	e.key.to = uint32(len(b.data))
	return nil
}

func readOld(p *sqlite.Preupdate, t *table, i int) (sqlite.Value, error) {
	v, err := p.Old(i)
	return readStored(t, i, v, err)
}

func readNew(p *sqlite.Preupdate, t *table, i int) (sqlite.Value, error) {
	v, err := p.New(i)
	return readStored(t, i, v, err)
}

func readStored(t *table, i int, v sqlite.Value, err error) (sqlite.Value, error) {
	if err != nil {
		return v, fmt.Errorf("read %s.%s: %w", t.name, t.columns[i].name, err)
	}
	return stored(&t.columns[i], v), nil
}

// stored returns v as SQLite keeps it in column c. The preupdate calls show two
// things otherwise: integral numbers of a REAL column as integers, and the
// default of an added column without the column's affinity.
func stored(c *column, v sqlite.Value) sqlite.Value { return applyAffinity(v, c.affinity) }

// checkKeyValue refuses what cannot identify a row on every node (DESIGN
// section 7): NULL, and in a BLOB key anything but a blob.
func checkKeyValue(t *table, i int, v sqlite.Value) error {
	c := &t.columns[i]
	switch {
	case v.Kind() == changeset.Null:
		return fmt.Errorf("NOT NULL constraint failed: %s.%s", t.name, c.name)
	case c.affinity == affinityBlob && v.Kind() != changeset.Blob:
		return fmt.Errorf("key column %s.%s holds only blobs, not %v", t.name, c.name, v.Kind())
	}
	return nil
}

// sameRow reports whether an update leaves the row its key, and its rowid where
// the clock goes by that. keyed tells that the statement can touch either.
func sameRow(p *sqlite.Preupdate, t *table, keyed bool) (bool, error) {
	switch {
	case t.layout == layoutInteger:
		return p.OldRowid() == p.NewRowid(), nil
	case t.layout == layoutRowid && p.OldRowid() != p.NewRowid():
		return false, nil
	case !keyed:
		return true, nil
	}
	for _, i := range t.key {
		before, err := readOld(p, t, i)
		if err != nil {
			return false, err
		}
		if after, err := readNew(p, t, i); err != nil || !before.Equal(after) {
			return false, err
		}
	}
	return true, nil
}

// touchedSet is what one statement, its triggers included, can change by UPDATE.
// SQLite's authorizer told it when the statement was prepared.
type touchedSet struct {
	known  int  // columns in the statement's Access when this was made
	aborts bool // see undoesItself
	tables map[*table]touched
}

// touched are the columns of one table that a statement can update.
type touched struct {
	data changeset.ColumnSet
	key  bool // some key column, or the rowid
}

// of returns what the statement can update in t, everything for a nil set.
func (s *touchedSet) of(t *table) touched {
	if s != nil {
		if c, ok := s.tables[t]; ok {
			return c
		}
	}
	return touched{t.all, true}
}

// abortsOnly reports whether a statement has no word that makes it fail, or end,
// otherwise than whole.
func abortsOnly(sql string) bool {
	return !slices.ContainsFunc(tokens(sql), func(t token) bool { return t.is("or") || t.is("replace") || t.is("returning") })
}

// maxTouchedSets bounds the statements whose sets are kept.
const maxTouchedSets = 512

// touchedBy returns the set of a statement. SQLite adds to its Access when it
// prepares the statement again; the number of columns tells.
func (w *writer) touchedBy(st *sqlite.Stmt) *touchedSet {
	a := st.Access()
	known := len(a.Writes)
	for i := range a.Writes {
		known += len(a.Writes[i].Columns)
	}
	if s := w.touched[a]; s != nil && s.known == known {
		return s
	}
	s := &touchedSet{known: known, tables: map[*table]touched{}}
	for i := range a.Writes {
		t := w.schema.lookup(a.Writes[i].Table)
		if t == nil || a.Writes[i].Op != sqlite.OpUpdate {
			continue
		}
		c := s.tables[t]
		for _, name := range a.Writes[i].Columns {
			if column := t.column(name); column != nil && column.data >= 0 {
				c.data = c.data.With(column.data)
			} else {
				c.key = true
			}
		}
		s.tables[t] = c
	}
	if len(a.Writes) == 1 {
		t := w.schema.lookup(a.Writes[0].Table)
		s.aborts = t != nil && !t.hasTriggers && !t.hasConflictClauses && abortsOnly(st.SQL())
	}
	if len(w.touched) >= maxTouchedSets || w.touched == nil {
		w.touched = map[*sqlite.Access]*touchedSet{}
	}
	w.touched[a] = s
	return s
}
