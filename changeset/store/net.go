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

// netEffect is what a transaction did to rows in the end, with the memory that
// the next one uses again.
type netEffect struct {
	tables  []netTable
	order   []eventOrder
	rows    []netRow
	changes []changeset.Change
	values  []sqlite.Value
}

// netTable is the net effect on one table. The rows come in canonical order of
// their keys, changes beside them without causal lengths yet.
type netTable struct {
	table   *table
	rows    []netRow
	changes []changeset.Change
	moved   []movedRow
}

// netRow says what happened to a row.
type netRow struct {
	effect  sqlite.Op
	hash    changeset.KeyHash
	was, is int64 // rowid before and after, where there was and is a row
}

// movedRow is a row with a new rowid and nothing else: its clock moves along, and
// no peer hears of it.
type movedRow struct {
	netRow
	key []sqlite.Value
}

// eventOrder is an event with what its key begins with, see keyPrefix.
type eventOrder struct {
	prefix uint64
	event  int32
}

// keptNet bounds the memory that stays for the next transaction, in rows.
const keptNet = 1 << 14

// fold computes the net effect on each row: insertion and deletion of one key in
// one transaction is nothing, deletion and insertion an update of what differs,
// an update to the values that were there nothing. The values are views of the
// buffer. More than a changeset can hold is errTooManyChanges, before anything
// was written for them.
func (b *captureBuffer) fold() ([]netTable, error) {
	n := &b.folded
	if cap(n.order) > keptNet {
		*n = netEffect{}
	}
	clear(n.tables)
	n.tables, n.rows, n.changes = n.tables[:0], n.rows[:0], n.changes[:0]
	n.values = slices.Grow(n.values[:0], min(b.countValues(), changeset.MaxValues))
	n.order = slices.Grow(n.order[:0], len(b.events))
	for i := range b.events {
		n.order = append(n.order, eventOrder{b.keyPrefix(&b.events[i]), int32(i)})
	}
	if !slices.IsSortedFunc(n.order, b.compare) {
		slices.SortStableFunc(n.order, b.compare)
	}
	n.rows, n.changes = slices.Grow(n.rows, len(n.order)), slices.Grow(n.changes, len(n.order))
	for rest := n.order; len(rest) > 0; {
		t := b.events[rest[0].event].table
		k := 1
		for k < len(rest) && b.events[rest[k].event].table == t {
			k++
		}
		if err := b.foldTable(t, rest[:k]); err != nil {
			return nil, err
		}
		rest = rest[k:]
	}
	return n.tables, nil
}

// countValues bounds the values that fold will hand out.
func (b *captureBuffer) countValues() (n int) {
	for i := range b.events {
		n += len(b.events[i].table.key) + b.events[i].columns.Len()
	}
	return n
}

func (b *captureBuffer) foldTable(t *table, order []eventOrder) error {
	n := &b.folded
	out := netTable{table: t}
	first := len(n.rows)
	for len(order) > 0 {
		k := 1
		for k < len(order) && b.sameKey(order[0], order[k]) {
			k++
		}
		if err := b.foldRow(&out, order[:k]); err != nil {
			return err
		}
		if len(n.values) > changeset.MaxValues {
			return errTooManyChanges
		}
		order = order[k:]
	}
	out.rows, out.changes = n.rows[first:], n.changes[first:]
	n.tables = append(n.tables, out)
	return nil
}

// foldRow appends the net effect of the events of one row, if there is one.
func (b *captureBuffer) foldRow(out *netTable, order []eventOrder) (err error) {
	n := &b.folded
	first, last := &b.events[order[0].event], &b.events[order[len(order)-1].event]
	existed, exists := first.op != sqlite.OpInsert, last.op != sqlite.OpDelete
	if !existed && !exists {
		return nil
	}
	row := netRow{hash: changeset.HashKey(b.data[first.key.from:first.key.to]), was: first.rowid, is: last.rowid}
	ch := changeset.Change{}
	if ch.Key, err = b.decode(first.key, len(out.table.key)); err != nil {
		return err
	}
	switch {
	case !exists:
		row.effect = sqlite.OpDelete
	case len(order) == 1:
		row.effect, ch.Columns = first.op, first.columns
		ch.Values, err = b.decode(first.new, first.columns.Len())
	default:
		row.effect = sqlite.OpUpdate
		if !existed {
			row.effect = sqlite.OpInsert
		}
		err = b.replay(&ch, order, existed)
	}
	if err != nil {
		return err
	}
	if row.effect == sqlite.OpUpdate && ch.Columns.IsEmpty() {
		if out.table.layout == layoutRowid && row.was != row.is {
			out.moved = append(out.moved, movedRow{row, ch.Key})
		}
		return nil
	}
	n.rows, n.changes = append(n.rows, row), append(n.changes, ch)
	return nil
}

// cell is the value of a data column at one end of a transaction, where the
// events tell it: a column that no statement touched is unknown at both ends.
type cell struct {
	value sqlite.Value
	known bool
}

// replay fills in what several events of one row come to.
func (b *captureBuffer) replay(ch *changeset.Change, order []eventOrder, existed bool) (err error) {
	width := len(b.events[order[0].event].table.data)
	before, after := make([]cell, width), make([]cell, width)
	mark := len(b.folded.values)
	for _, o := range order {
		b.folded.values = b.folded.values[:mark] // the steps' own values are of no more use
		e := &b.events[o.event]
		var old, now []sqlite.Value
		if e.op != sqlite.OpInsert {
			if old, err = b.decode(e.old, e.columns.Len()); err != nil {
				return err
			}
		}
		if e.op != sqlite.OpDelete {
			if now, err = b.decode(e.new, e.columns.Len()); err != nil {
				return err
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
	b.folded.values = b.folded.values[:mark]
	for d := range width {
		if !existed || after[d].known && !(before[d].known && before[d].value.Equal(after[d].value)) {
			ch.Columns = ch.Columns.With(d)
			b.folded.values = append(b.folded.values, after[d].value)
		}
	}
	ch.Values = b.folded.values[mark:len(b.folded.values):len(b.folded.values)]
	return nil
}

// decode reads a span of n values as views of the buffer.
func (b *captureBuffer) decode(s span, n int) (out []sqlite.Value, err error) {
	if n == 0 {
		return nil, nil
	}
	from := len(b.folded.values)
	for rest := b.data[s.from:s.to]; n > 0; n-- {
		var v sqlite.Value
		if v, rest, err = changeset.DecodeValue(rest); err != nil {
			return nil, fmt.Errorf("capture buffer: %w", err)
		}
		b.folded.values = append(b.folded.values, v)
	}
	return b.folded.values[from:len(b.folded.values):len(b.folded.values)], nil
}

// keyPrefix begins the order of the event's key: kind, then the number or the
// first bytes. Equal prefixes decide nothing.
func (b *captureBuffer) keyPrefix(e *rowEvent) uint64 {
	if e.table.layout == layoutInteger {
		return uint64(e.rowid) ^ 1<<63
	}
	return changeset.KeyPrefix(b.data[e.key.from:e.key.to])
}

// compare orders events by row, as Seal orders changes: it then has nothing to
// sort, and clocks are written in the order of their b-tree.
func (b *captureBuffer) compare(i, j eventOrder) int {
	x, y := &b.events[i.event], &b.events[j.event]
	switch {
	case x.table != y.table:
		return strings.Compare(x.table.name, y.table.name)
	case i.prefix != j.prefix:
		return cmp.Compare(i.prefix, j.prefix)
	case x.table.layout == layoutInteger:
		return 0
	}
	return changeset.CompareEncodedKeys(b.data[x.key.from:x.key.to], b.data[y.key.from:y.key.to])
}

func (b *captureBuffer) sameKey(i, j eventOrder) bool {
	x, y := &b.events[i.event], &b.events[j.event]
	return i.prefix == j.prefix && bytes.Equal(b.data[x.key.from:x.key.to], b.data[y.key.from:y.key.to])
}
