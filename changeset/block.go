package changeset

import (
	"math/bits"
)

// blockReader reads the blocks of one table into its changes.
type blockReader struct {
	*reader
	table   *TableChanges
	carried ColumnSet // by any block so far
	starts  []int32   // index of each block's first change
	arena   []Value   // not yet given out
}

// block reads one block: the changes of one causal length and one column set.
// Its values lie row by row in one backing slice, although the input has them
// column by column.
func (d *blockReader) block() {
	at := d.off
	row := d.blockHeader()
	keys, carried := len(d.table.Key), row.Columns.Len()
	width := keys + carried
	rows := d.count(1, "rows")
	switch {
	case d.err != nil:
		return
	case rows == 0:
		d.fail(ErrCorrupt, at, "block without rows")
		return
	case d.values+rows*width > MaxValues:
		d.fail(ErrTooLarge, at, "%d values, at most %d", d.values+rows*width, MaxValues)
		return
	case rows > d.left()/width: // every value takes a byte at least
		d.fail(ErrTruncated, at, "%d rows of %d values declared, %d bytes left", rows, width, d.left())
		return
	}
	d.values += rows * width
	cells := d.cells(rows * width)
	for i := 0; i < width && d.err == nil; i++ {
		d.column(columnCells{cells[i:], width, rows}, i < keys)
	}
	if d.err != nil {
		return
	}
	d.carried = d.carried.Union(row.Columns)
	first := len(d.table.Changes)
	d.starts = append(d.starts, int32(first))
	d.table.Changes = growChanges(d.table.Changes, rows)
	for i := range rows {
		c := cells[i*width : (i+1)*width : (i+1)*width]
		row.Key, row.Values = c[:keys:keys], nil
		if carried > 0 {
			row.Values = c[keys:]
		}
		d.table.Changes = append(d.table.Changes, row)
	}
	d.checkKeys(first, at)
}

// blockHeader reads the causal length and the column set. A block must be above
// the one before it.
func (d *blockReader) blockHeader() (row Change) {
	at := d.off
	row.CausalLength = CausalLength(d.uvarint("causal length"))
	if d.err == nil && (row.CausalLength == 0 || row.CausalLength > MaxCausalLength) {
		d.fail(ErrCorrupt, at, "causal length %d is not between 1 and %d", row.CausalLength, MaxCausalLength)
	}
	if row.CausalLength.Alive() {
		row.Columns = d.columnSet(len(d.table.Columns))
	}
	if n := len(d.table.Changes); d.err == nil && n > 0 && compareBlocks(&d.table.Changes[n-1], &row) >= 0 {
		d.fail(ErrCorrupt, at, "block is not above the one before it")
	}
	return row
}

// columnSet reads a bitmap of n columns: ordinal i is bit i%8 of byte i/8.
func (r *reader) columnSet(n int) ColumnSet {
	at := r.off
	b := r.take((n+7)/8, "column set")
	if b == nil {
		return ColumnSet{}
	}
	if n%8 != 0 && b[len(b)-1]>>(n%8) != 0 {
		r.fail(ErrCorrupt, at, "column set has bits above column %d", n)
		return ColumnSet{}
	}
	return columnSetFromBitmap(b)
}

// checkKeys checks the rows of a block: keys in order and not too long.
func (d *blockReader) checkKeys(first, at int) {
	rows := d.table.Changes[first:]
	for i := range rows {
		if n := keySize(rows[i].Key); n > MaxKeySize {
			d.fail(ErrTooLarge, at, "key of %d bytes, at most %d", n, MaxKeySize)
			return
		}
		if i > 0 && compareKeys(rows[i-1].Key, rows[i].Key) >= 0 {
			d.fail(ErrCorrupt, at, "key %v is not above the one before it", rows[i].Key)
			return
		}
	}
}

// keySize counts a key's text and blob bytes.
func keySize(key []Value) int {
	n := 0
	for i := range key {
		n += len(key[i].data)
	}
	return n
}

// arenaSize is how many values are allocated at least, so that many small
// blocks share an allocation.
const arenaSize = 64

// cells gives out n values. The caller has checked n against the bytes left.
func (d *blockReader) cells(n int) []Value {
	if n > len(d.arena) {
		d.arena = make([]Value, max(n, min(arenaSize, d.left())))
	}
	c := d.arena[:n:n]
	d.arena = d.arena[n:]
	return c
}

// growChanges makes room for n more, exactly n for the first block: most tables
// have one.
func growChanges(c []Change, n int) []Change {
	if c == nil {
		return make([]Change, 0, n)
	}
	return c
}

// columnCells are the cells of one column: every stride-th of cells, rows times.
type columnCells struct {
	cells  []Value
	stride int
	rows   int
}

func (c columnCells) at(i int) *Value { return &c.cells[i*c.stride] }

// mixedKinds in the place of a column's kind says that every value has a kind
// byte of its own. A column of NULLs is written so too: every value then takes
// at least a byte, which bounds what a decoder allocates.
const mixedKinds = 0

// column reads the values of one column of a block.
func (r *reader) column(c columnCells, key bool) {
	at := r.off
	kind := Kind(r.oneByte("column kind"))
	switch {
	case r.err != nil:
		return
	case kind == mixedKinds:
		r.mixed(c, key)
	case kind == Integer:
		r.integers(c)
	case kind == Real:
		for i := 0; i < c.rows && r.err == nil; i++ {
			r.payload(c.at(i), kind)
		}
	case kind == Text, kind == Blob:
		r.strings(c, kind)
	default:
		r.fail(ErrCorrupt, at, "column kind %d", kind)
	}
	if !key || kind == Integer || kind == Text || kind == Blob {
		return
	}
	for i := 0; i < c.rows && r.err == nil; i++ {
		if v := c.at(i); v.kind == Real && v.num == negativeZero {
			r.fail(ErrCorrupt, at, "-0.0 in a key")
		}
	}
}

func (r *reader) integers(c columnCells) {
	for i := 0; i < c.rows && r.err == nil; i++ {
		v := c.at(i)
		v.kind = Integer
		v.num = uint64(unzigzag(r.uvarint("integer")))
	}
}

func (r *reader) strings(c columnCells, kind Kind) {
	for i := 0; i < c.rows && r.err == nil; i++ {
		v := c.at(i)
		v.kind = kind
		// Most are short: their length is one byte.
		if b := r.b[r.off:]; len(b) > 0 && b[0] < 0x80 && int(b[0]) < len(b) {
			n := int(b[0]) + 1
			v.data = b[1:n:n]
			r.off += n
			continue
		}
		v.data = r.view("length of a text or blob")
	}
}

// mixed reads a kind for each value, then their payloads.
func (r *reader) mixed(c columnCells, key bool) {
	at := r.off
	kinds := r.take(c.rows, "value kinds")
	seen := uint(0)
	for _, k := range kinds {
		if Kind(k) < Integer || Kind(k) > Null {
			r.fail(ErrCorrupt, at, "value kind %d", k)
			return
		}
		seen |= 1 << k
	}
	if bits.OnesCount(seen) == 1 && seen != 1<<Null {
		r.fail(ErrCorrupt, at, "a kind for each value although all are alike")
		return
	}
	if key && seen&(1<<Null) != 0 {
		r.fail(ErrCorrupt, at, "NULL in a key")
		return
	}
	for i, k := range kinds {
		r.payload(c.at(i), Kind(k))
		if r.err != nil {
			return
		}
	}
}
