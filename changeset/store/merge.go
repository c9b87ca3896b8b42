package store

import (
	"fmt"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/sqlite"
)

// rowMerge merges the changes of one changeset to one table, row by row.
type rowMerge struct {
	writer   *writer
	sql      *tableStatements
	stamp    changeset.Stamp
	ordinals []int          // local data ordinal of each column that the changes name
	same     bool           // they are 0, 1, 2 …: the changes' terms are ours
	values   []sqlite.Value // of the current change, by local data ordinal
	clock    changeset.Clock
	encoded  []byte // key, scratch
}

// newRowMerge returns a merge of changes that name tc's columns.
func newRowMerge(w *writer, s *tableStatements, tc *changeset.TableChanges) *rowMerge {
	m := &rowMerge{writer: w, sql: s, values: make([]sqlite.Value, len(s.table.data)), same: true, ordinals: make([]int, len(tc.Columns))}
	for i, name := range tc.Columns {
		m.ordinals[i] = s.byName[foldName(name)]
		m.same = m.same && m.ordinals[i] == i
	}
	return m
}

// merge decides one change against the row's clock and does what it decided.
func (m *rowMerge) merge(ch *changeset.Change) error {
	w, k := m.writer, &m.clock
	columns, err := m.local(ch)
	if err != nil {
		return err
	}
	m.encoded = m.encoded[:0]
	for i := range ch.Key {
		m.encoded = changeset.AppendValue(m.encoded, ch.Key[i])
	}
	r := rowRef{key: ch.Key, hash: changeset.HashKey(m.encoded)}
	if ch.CausalLength == 1 {
		if made, err := m.tryNew(&r, columns); made || err != nil {
			return err
		}
	}
	at, row, err := m.find(&r)
	if err != nil {
		return err
	}
	before := changeset.Sum{}
	if at == nowhere {
		k.CausalLength, k.Groups = 0, k.Groups[:0]
	} else {
		before = m.sql.summer.Clock(r.hash, k)
	}
	d := k.Merge(ch.CausalLength, columns, m.stamp)
	switch d.Outcome {
	case changeset.Ignored:
		return nil
	case changeset.Created:
		err = m.create(&r, d.Columns, row)
	case changeset.Updated:
		err = m.update(&r, d.Columns)
	case changeset.Deleted:
		if row {
			err = m.run(&m.sql.deleteRow, &r)
		}
	}
	if err != nil {
		return err
	}
	w.addDelta(m.sql, &r, k)
	m.sql.delta.Sub(before)
	return w.putClock(m.sql, &r, k, at)
}

// tryNew writes the clock and the row of a first life without reading: usually
// the row is new. False, and nothing written, if it is not.
func (m *rowMerge) tryNew(r *rowRef, columns changeset.ColumnSet) (made bool, err error) {
	w, k := m.writer, &m.clock
	k.CausalLength, k.Groups = 1, append(k.Groups[:0], changeset.Group{Columns: columns, Stamp: m.stamp})
	if m.sql.table.layout != layoutRowid {
		if made, err = w.newClock(m.sql, r, k); !made || err != nil {
			return false, err
		}
		w.addDelta(m.sql, r, k)
		return true, m.write(&m.sql.createRow, r, columns)
	}
	if m.sql.tombs {
		return false, nil
	}
	before := w.conn.TotalChanges()
	if err := m.write(&m.sql.insertRow, r, columns); err != nil || w.conn.TotalChanges() == before {
		return false, err
	}
	r.rowid = w.conn.LastInsertID()
	w.addDelta(m.sql, r, k)
	return true, w.putClock(m.sql, r, k, nowhere)
}

// find reads the row's clock into m.clock, sets r.rowid where clocks go by it, and
// reports whether there may be a row.
func (m *rowMerge) find(r *rowRef) (at place, row bool, err error) {
	w, s := m.writer, m.sql
	if s.table.layout != layoutRowid {
		at, err = w.readClock(s, r, &m.clock)
		return at, true, err
	}
	st, err := w.use(&s.findRow)
	if err != nil {
		return nowhere, false, err
	}
	if err := bindAll(st, 1, r.key); err != nil {
		return nowhere, false, err
	}
	if row, err = st.Step(); err != nil {
		return nowhere, false, err
	}
	if row {
		r.rowid = st.Integer(0)
		found, err := false, error(nil)
		if st.Kind(1) != changeset.Null {
			found, err = w.openClock(s, st.View(1), r, &m.clock)
		}
		st.Reset()
		if found || err != nil {
			return amongLiving, true, err
		}
	}
	at, err = w.readTomb(s, r, &m.clock)
	return at, row, err
}

// local brings a change into the terms of the table here: m.values by local
// ordinal, and the set of those ordinals. A value that the column's affinity
// would change does not fit.
func (m *rowMerge) local(ch *changeset.Change) (columns changeset.ColumnSet, err error) {
	t := m.sql.table
	for n, i := range t.key {
		if err := fits(t, i, ch.Key[n]); err != nil {
			return columns, err
		}
	}
	n := 0
	for i := range ch.Columns.All {
		d := m.ordinals[i]
		if err := fits(t, t.data[d], ch.Values[n]); err != nil {
			return columns, err
		}
		m.values[d] = ch.Values[n]
		if !m.same {
			columns = columns.With(d)
		}
		n++
	}
	if m.same {
		return ch.Columns, nil
	}
	return columns, nil
}

func fits(t *table, i int, v sqlite.Value) error {
	c := &t.columns[i]
	switch {
	case !stored(c, v).Equal(v):
		return &misfitError{fmt.Sprintf("%v value does not fit %s.%s", v.Kind(), t.name, c.name)}
	case c.keyPos > 0 && t.layout == layoutInteger && v.Kind() != changeset.Integer:
		return &misfitError{fmt.Sprintf("%v key does not fit %s.%s", v.Kind(), t.name, c.name)}
	}
	return nil
}

// create makes the row afresh. A row that is there, from a shorter life or by an
// outside writer, is written over.
func (m *rowMerge) create(r *rowRef, columns changeset.ColumnSet, row bool) error {
	if err := m.write(&m.sql.createRow, r, columns); err != nil {
		return err
	}
	if m.sql.table.layout == layoutRowid && !row {
		r.rowid = m.writer.conn.LastInsertID()
	}
	return nil
}

// write runs a statement that takes the whole row: the given columns from the
// change, every other at its apply default. SQLite never evaluates a DEFAULT here.
func (m *rowMerge) write(p *prepared, r *rowRef, columns changeset.ColumnSet) error {
	st, err := m.writer.use(p)
	if err != nil {
		return err
	}
	if err := bindAll(st, 1, r.key); err != nil {
		return err
	}
	for d, v := range m.sql.defaults {
		if columns.Has(d) {
			v = m.values[d]
		}
		if err := st.Bind(len(r.key)+d+1, v); err != nil {
			return err
		}
	}
	return st.Run()
}

// update sets columns. A row that is not there (an outside writer removed it) is
// made by the rule of create.
func (m *rowMerge) update(r *rowRef, columns changeset.ColumnSet) error {
	if columns.IsEmpty() {
		return nil
	}
	st, err := m.writer.use(m.sql.update(columns))
	if err != nil {
		return err
	}
	if err := m.sql.bindClock(st, r); err != nil {
		return err
	}
	at := m.sql.clockKeys
	for d := range columns.All {
		at++
		if err := st.Bind(at, m.values[d]); err != nil {
			return err
		}
	}
	before := m.writer.conn.TotalChanges()
	if err := st.Run(); err != nil {
		return err
	}
	if m.writer.conn.TotalChanges() == before {
		return m.create(r, columns, false)
	}
	return nil
}

// run executes a statement on the row by its key or rowid.
func (m *rowMerge) run(p *prepared, r *rowRef) error {
	st, err := m.writer.use(p)
	if err != nil {
		return err
	}
	if err := m.sql.bindClock(st, r); err != nil {
		return err
	}
	return st.Run()
}
