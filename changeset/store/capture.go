package store

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"

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

	maxBytes, maxSteps int // of one request
}

func newCaptureBuffer() captureBuffer {
	return captureBuffer{maxBytes: maxCaptured, maxSteps: maxSteps}
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
	t := w.schema.lookup(p.Table())
	if b.err != nil || t == nil {
		return
	}
	if b.full() {
		b.err = errTooManyChanges
		return
	}
	m := b.mark()
	if err := b.record(p, t); err != nil {
		b.truncate(m)
		b.err = err
	}
}

var errTooManyChanges = fmt.Errorf("the changes of one request exceed the largest changeset: %d bytes, %d values", changeset.MaxEncodedSize, changeset.MaxValues)

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
	e.key.from = uint32(len(b.data))
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
	e.key.to = uint32(len(b.data))
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
	s := span{uint32(len(b.data)), uint32(len(b.data))}
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
	s.to = uint32(len(b.data))
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
// come sorted by table name, then in the order of the rowid or of the encoded
// key. The values are views of the buffer. More than a changeset can hold is
// errTooManyChanges, before anything was written for them.
func (b *captureBuffer) net() ([]netRow, error) {
	order := make([]int32, len(b.events))
	for i := range order {
		order[i] = int32(i)
	}
	if !slices.IsSortedFunc(order, b.compare) {
		slices.SortStableFunc(order, b.compare)
	}
	var rows []netRow
	values := 0
	for len(order) > 0 {
		n := 1
		for n < len(order) && b.compare(order[0], order[n]) == 0 {
			n++
		}
		row, ok, err := b.fold(order[:n])
		if err != nil {
			return nil, err
		}
		if ok {
			rows = append(rows, row)
			values += len(row.key) + len(row.values)
		}
		if values > changeset.MaxValues {
			return nil, errTooManyChanges
		}
		order = order[n:]
	}
	return rows, nil
}

// compare orders events by row. Rows of an integer key come in the order of
// their b-tree, so that a million clocks are not written at random.
func (b *captureBuffer) compare(i, j int32) int {
	x, y := &b.events[i], &b.events[j]
	switch {
	case x.table != y.table:
		return strings.Compare(x.table.name, y.table.name)
	case x.table.layout == layoutInteger:
		return cmp.Compare(b.rowid(x), b.rowid(y))
	}
	return bytes.Compare(b.data[x.key.from:x.key.to], b.data[y.key.from:y.key.to])
}

// rowid is the one key value of a row of layoutInteger.
func (b *captureBuffer) rowid(e *rowEvent) int64 {
	v, _, err := changeset.DecodeValue(b.data[e.key.from:e.key.to])
	if err != nil {
		return 0 // fold finds out
	}
	return v.Integer()
}

// fold computes the net effect of the events of one row; false for none.
func (b *captureBuffer) fold(order []int32) (row netRow, ok bool, err error) {
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

func (b *captureBuffer) replay(order []int32) (before, after []cell, err error) {
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
