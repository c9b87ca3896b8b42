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
	values   []sqlite.Value // of the current change, by local data ordinal
	clock    changeset.Clock
	more     []sqlite.Value // scratch
}

// merge decides one change against the row's clock and does what it decided.
func (m *rowMerge) merge(ch *changeset.Change) error {
	w, k := m.writer, &m.clock
	columns, err := m.local(ch)
	if err != nil {
		return err
	}
	if ch.CausalLength == 1 {
		// Usually the row is new: write its clock and the row without reading.
		k.CausalLength, k.Groups = 1, append(k.Groups[:0], changeset.Group{Columns: columns, Stamp: m.stamp})
		made, err := w.newClock(m.sql, ch.Key, k)
		if err != nil {
			return err
		}
		if made {
			return m.create(ch.Key, columns)
		}
	}
	k.CausalLength, k.Groups = 0, k.Groups[:0]
	if _, err := w.readClock(m.sql, ch.Key, k); err != nil {
		return err
	}
	d := k.Merge(ch.CausalLength, columns, m.stamp)
	switch d.Outcome {
	case changeset.Ignored:
		return nil
	case changeset.Created:
		err = m.create(ch.Key, d.Columns)
	case changeset.Updated:
		err = m.update(ch.Key, d.Columns)
	case changeset.Deleted:
		err = m.run(m.sql.deleteRow, ch.Key, nil)
	}
	if err != nil {
		return err
	}
	return w.putClock(m.sql, ch.Key, k)
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
		columns = columns.With(d)
		n++
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

// create makes the row afresh: the given columns from the change, every other
// at its apply default. SQLite never evaluates a DEFAULT here.
func (m *rowMerge) create(key []sqlite.Value, columns changeset.ColumnSet) error {
	m.more = m.more[:0]
	for d, v := range m.sql.defaults {
		if columns.Has(d) {
			v = m.values[d]
		}
		m.more = append(m.more, v)
	}
	return m.run(m.sql.createRow, key, m.more)
}

// update sets columns. A row that is not there (an outside writer removed it) is
// made by the rule of create.
func (m *rowMerge) update(key []sqlite.Value, columns changeset.ColumnSet) error {
	if columns.IsEmpty() {
		return nil
	}
	m.more = m.more[:0]
	for d := range columns.All {
		m.more = append(m.more, m.values[d])
	}
	before := m.writer.conn.TotalChanges()
	if err := m.run(m.sql.update(columns), key, m.more); err != nil {
		return err
	}
	if m.writer.conn.TotalChanges() == before {
		return m.create(key, columns)
	}
	return nil
}

// run executes a row statement in apply mode, in which triggers do nothing.
func (m *rowMerge) run(sql string, key, more []sqlite.Value) error {
	c := m.writer.conn
	c.SetMode(sqlite.ModeApply)
	defer c.SetMode(sqlite.ModeInternal)
	st, err := m.writer.bound(sql, key, more)
	if err != nil {
		return err
	}
	return st.Run()
}
