package store

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/sqlite"
)

// maxCaptured bounds the capture buffer in bytes. It holds old and new values
// of every step, so it may exceed the largest changeset; what is left as net
// effect may not (changeset.MaxEncodedSize).
const maxCaptured = 4 * changeset.MaxEncodedSize

// captureBuffer records what client statements do to replicated rows, in order.
// The preupdate hook is not undone by a statement's abort or by ROLLBACK TO, so
// whoever undoes must truncate to the mark taken before.
type captureBuffer struct {
	events []rowEvent
	data   []byte // encoded values, see rowEvent
	err    error  // of the hook, which cannot return one; ends the statement
}

// rowEvent is one step of one row. Key updates are split into a deletion and an
// insertion. All spans are sequences of encoded values in captureBuffer.data.
type rowEvent struct {
	table   *table
	op      sqlite.Op
	key     span
	columns changeset.ColumnSet // data columns in old and new; for an insertion and a deletion, all
	old     span                // deletion, update
	new     span                // insertion, update
}

type span struct{ from, to int }

type captureMark struct{ events, data int }

func (b *captureBuffer) mark() captureMark { return captureMark{len(b.events), len(b.data)} }

func (b *captureBuffer) truncate(m captureMark) {
	b.events, b.data, b.err = b.events[:m.events], b.data[:m.data], nil
}

func (b *captureBuffer) reset() {
	if cap(b.data) > 1<<20 {
		b.data = nil // one large transaction must not hold memory for ever
	}
	b.truncate(captureMark{})
}

// onPreupdate is the preupdate hook of the writer's connection.
func (w *writer) onPreupdate(p *sqlite.Preupdate) {
	b := &w.capture
	t := w.schema.lookup(p.Table())
	if b.err != nil || t == nil {
		return
	}
	if len(b.data) > maxCaptured {
		b.err = errTooManyChanges
		return
	}
	m := b.mark()
	if err := b.record(p, t); err != nil {
		b.truncate(m)
		b.err = err
	}
}

var errTooManyChanges = fmt.Errorf("the changes of one request exceed the largest changeset, %d bytes", changeset.MaxEncodedSize)

func (b *captureBuffer) record(p *sqlite.Preupdate, t *table) error {
	all := changeset.FirstColumns(len(t.data))
	switch p.Op() {
	case sqlite.OpInsert:
		return b.add(t, sqlite.OpInsert, all, nil, p.New)
	case sqlite.OpDelete:
		return b.add(t, sqlite.OpDelete, all, p.Old, nil)
	}
	same, err := sameKey(p, t)
	if err != nil {
		return err
	}
	if !same {
		if err := b.add(t, sqlite.OpDelete, all, p.Old, nil); err != nil {
			return err
		}
		return b.add(t, sqlite.OpInsert, all, nil, p.New)
	}
	changed, err := changedColumns(p, t)
	if err != nil || changed.IsEmpty() {
		return err
	}
	return b.add(t, sqlite.OpUpdate, changed, p.Old, p.New)
}

// reader reads column i of the row before or after the step.
type reader func(i int) (sqlite.Value, error)

func (b *captureBuffer) add(t *table, op sqlite.Op, columns changeset.ColumnSet, before, after reader) (err error) {
	e := rowEvent{table: t, op: op, columns: columns}
	keyed := after
	if keyed == nil {
		keyed = before
	}
	e.key.from = len(b.data)
	for _, i := range t.key {
		v, err := keyed(i)
		if err != nil {
			return err
		}
		v = stored(&t.columns[i], v).Canonical()
		if err := checkKeyValue(t, i, v); err != nil {
			return err
		}
		b.data = changeset.AppendValue(b.data, v)
	}
	e.key.to = len(b.data)
	if e.old, err = b.addValues(t, columns, before); err != nil {
		return err
	}
	if e.new, err = b.addValues(t, columns, after); err != nil {
		return err
	}
	b.events = append(b.events, e)
	return nil
}

func (b *captureBuffer) addValues(t *table, columns changeset.ColumnSet, read reader) (span, error) {
	s := span{len(b.data), len(b.data)}
	if read == nil {
		return s, nil
	}
	for d := range columns.All {
		v, err := readStored(t, t.data[d], read)
		if err != nil {
			return s, err
		}
		b.data = changeset.AppendValue(b.data, v)
	}
	s.to = len(b.data)
	return s, nil
}

func readStored(t *table, i int, read reader) (sqlite.Value, error) {
	v, err := read(i)
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

func sameKey(p *sqlite.Preupdate, t *table) (bool, error) {
	for _, i := range t.key {
		same, err := sameValue(p, t, i)
		if err != nil || !same {
			return false, err
		}
	}
	return true, nil
}

func changedColumns(p *sqlite.Preupdate, t *table) (changed changeset.ColumnSet, err error) {
	for d, i := range t.data {
		same, err := sameValue(p, t, i)
		if err != nil {
			return changed, err
		}
		if !same {
			changed = changed.With(d)
		}
	}
	return changed, nil
}

// sameValue compares by storage class and bytes, never by collation.
func sameValue(p *sqlite.Preupdate, t *table, i int) (bool, error) {
	before, err := readStored(t, i, p.Old)
	if err != nil {
		return false, err
	}
	after, err := readStored(t, i, p.New)
	return before.Equal(after), err
}

// netRow is the net effect of a transaction on one row.
type netRow struct {
	table   *table
	key     []sqlite.Value
	effect  sqlite.Op
	columns changeset.ColumnSet // inserted: all data columns; updated: those that differ
	values  []sqlite.Value      // one for each of columns
}

// net folds the recorded events to the net effect on each row: insertion and
// deletion of one key in one transaction is nothing, deletion and insertion an
// update of what differs, an update to the values that were there nothing. Rows
// come sorted by table name and encoded key. The values are views of the buffer.
func (b *captureBuffer) net() ([]netRow, error) {
	order := make([]int, len(b.events))
	for i := range order {
		order[i] = i
	}
	compare := func(i, j int) int {
		x, y := &b.events[i], &b.events[j]
		if x.table != y.table {
			return bytes.Compare([]byte(x.table.name), []byte(y.table.name))
		}
		return bytes.Compare(b.data[x.key.from:x.key.to], b.data[y.key.from:y.key.to])
	}
	if !slices.IsSortedFunc(order, compare) {
		slices.SortStableFunc(order, compare)
	}
	var rows []netRow
	for len(order) > 0 {
		n := 1
		for n < len(order) && compare(order[0], order[n]) == 0 {
			n++
		}
		row, ok, err := b.fold(order[:n])
		if err != nil {
			return nil, err
		}
		if ok {
			rows = append(rows, row)
		}
		order = order[n:]
	}
	return rows, nil
}

// fold computes the net effect of the events of one row; false for none.
func (b *captureBuffer) fold(order []int) (row netRow, ok bool, err error) {
	first, last := &b.events[order[0]], &b.events[order[len(order)-1]]
	row = netRow{table: first.table}
	if row.key, err = b.values(first.key, len(row.table.key)); err != nil {
		return row, false, err
	}
	existed, exists := first.op != sqlite.OpInsert, last.op != sqlite.OpDelete
	switch {
	case !existed && !exists:
		return row, false, nil
	case existed && !exists:
		row.effect = sqlite.OpDelete
		return row, true, nil
	}
	if len(order) == 1 {
		row.effect, row.columns = first.op, first.columns
		row.values, err = b.values(first.new, first.columns.Len())
		return row, true, err
	}
	before, after, err := b.replay(order)
	if err != nil {
		return row, false, err
	}
	row.effect = sqlite.OpUpdate
	if !existed {
		row.effect = sqlite.OpInsert
	}
	for d := range row.table.data {
		if !existed || after[d].known && !(before[d].known && before[d].value.Equal(after[d].value)) {
			row.columns = row.columns.With(d)
			row.values = append(row.values, after[d].value)
		}
	}
	return row, !existed || !row.columns.IsEmpty(), nil
}

// cell is the value of a data column at one end of a transaction, where the
// events tell it: a column that no statement touched is unknown at both ends.
type cell struct {
	value sqlite.Value
	known bool
}

func (b *captureBuffer) replay(order []int) (before, after []cell, err error) {
	width := len(b.events[order[0]].table.data)
	before, after = make([]cell, width), make([]cell, width)
	for _, i := range order {
		e := &b.events[i]
		var old, now []sqlite.Value
		if e.op != sqlite.OpInsert {
			if old, err = b.values(e.old, e.columns.Len()); err != nil {
				return nil, nil, err
			}
		}
		if e.op != sqlite.OpDelete {
			if now, err = b.values(e.new, e.columns.Len()); err != nil {
				return nil, nil, err
			}
		}
		n := 0
		for d := range e.columns.All {
			if old != nil && !before[d].known && !after[d].known {
				before[d] = cell{old[n], true}
			}
			if now != nil {
				after[d] = cell{now[n], true}
			}
			n++
		}
	}
	return before, after, nil
}

// values decodes a span of n values as views of the buffer.
func (b *captureBuffer) values(s span, n int) ([]sqlite.Value, error) {
	out := make([]sqlite.Value, n)
	rest := b.data[s.from:s.to]
	var err error
	for i := range out {
		if out[i], rest, err = changeset.DecodeValue(rest); err != nil {
			return nil, fmt.Errorf("capture buffer: %w", err)
		}
	}
	return out, nil
}
