package changeset

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"

	"github.com/patinadb/patina/changeset/hlc"
	"github.com/zeebo/blake3"
)

// Seal encodes c and hashes it. It reads c and does not change it: rows, tables
// and After may come in any order, -0.0 in keys is written as 0.0, tables
// without changes and columns that no change carries are left out. Decode of
// the result is the canonical form of c.
//
// The errors are ErrTooLarge if c exceeds a limit of the protocol, and
// ErrInvalid if it breaks a rule of FORMAT.md (a key twice, a NULL in a key).
func Seal(c *Changeset) (Sealed, error) {
	e := encoders.Get().(*encoder)
	defer encoders.Put(e)
	return e.seal(c)
}

func (e *encoder) seal(c *Changeset) (Sealed, error) {
	defer e.reset()
	h, err := e.header(c.Header)
	if err == nil {
		err = e.tables(c.Tables)
	}
	if err != nil {
		return Sealed{}, fmt.Errorf("changeset: seal version %d of %v: %w", c.Version, c.Actor, err)
	}
	data := bytes.Clone(e.b)
	return Sealed{Header: h, Hash: blake3.Sum256(data), Data: data}, nil
}

// encoder is the memory of one Seal; it is reused by later ones.
type encoder struct {
	b      []byte
	order  []int32 // the changes of a table in canonical order
	starts []int32 // where each block of order begins
	merge  keyMerge
	column []*Value // of one block
	rank   []int32  // column ordinal → place among the carried columns
	values int      // of MaxValues
	bytes  int      // of texts and blobs, to refuse before they are copied
}

var encoders = sync.Pool{New: func() any { return new(encoder) }}

// maxKept bounds the buffers that an idle encoder keeps, in elements of each.
const maxKept = 1 << 20

// reset makes e ready for the next Seal.
func (e *encoder) reset() {
	if cap(e.b) > maxKept || cap(e.order) > maxKept {
		*e = encoder{}
	}
	clear(e.column[:cap(e.column)]) // do not pin the caller's values
	e.b, e.values, e.bytes = e.b[:0], 0, 0
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...))
}

func tooLarge(what string, n, limit int) error {
	return fmt.Errorf("%w: %d %s, at most %d", ErrTooLarge, n, what, limit)
}

// header appends the header of h and returns it in canonical form.
func (e *encoder) header(h Header) (Header, error) {
	switch {
	case h.Actor.IsZero():
		return h, invalid("no actor")
	case h.Version == 0 || h.Version > MaxVersion:
		return h, invalid("version is not between 1 and %d", MaxVersion)
	case h.Time == 0 || h.Time > hlc.Max:
		return h, invalid("time %v is not between 1 and %v", h.Time, hlc.Max)
	case h.Version == 1 && !h.Previous.IsZero():
		return h, invalid("version 1 has a previous hash")
	}
	h.After = slices.Clone(h.After)
	slices.SortFunc(h.After, func(a, b ID) int { return a.Actor.Compare(b.Actor) })
	b := append(e.b, FormatVersion)
	b = append(b, h.Actor[:]...)
	b = binary.AppendUvarint(b, uint64(h.Version))
	b = binary.BigEndian.AppendUint64(b, uint64(h.Time))
	b = append(b, h.Previous[:]...)
	b = binary.AppendUvarint(b, uint64(len(h.After)))
	for i, id := range h.After {
		switch {
		case id.Actor.IsZero() || id.Version == 0 || id.Version > MaxVersion:
			return h, invalid("after: version %d of %v", id.Version, id.Actor)
		case i > 0 && h.After[i-1].Actor == id.Actor:
			return h, invalid("after: %v twice", id.Actor)
		case id.Actor == h.Actor && id.Version >= h.Version:
			return h, invalid("after: version %d of its own actor", id.Version)
		}
		b = append(b, id.Actor[:]...)
		b = binary.AppendUvarint(b, uint64(id.Version))
	}
	e.b = b
	return h, nil
}

func (e *encoder) tables(tables []TableChanges) error {
	sorted := make([]*TableChanges, 0, len(tables))
	for i := range tables {
		if len(tables[i].Changes) > 0 {
			sorted = append(sorted, &tables[i])
		}
	}
	slices.SortFunc(sorted, compareTables)
	e.b = binary.AppendUvarint(e.b, uint64(len(sorted)))
	for i, t := range sorted {
		if i > 0 && compareTables(sorted[i-1], t) == 0 {
			return invalid("table %q twice", t.Name)
		}
		if err := e.table(t); err != nil {
			return fmt.Errorf("table %q: %w", t.Name, err)
		}
	}
	if len(e.b) > MaxEncodedSize {
		return tooLarge("bytes", len(e.b), MaxEncodedSize)
	}
	return nil
}

func (e *encoder) table(t *TableChanges) error {
	if err := checkNames(t); err != nil {
		return err
	}
	carried, err := e.checkChanges(t)
	if err != nil {
		return err
	}
	if err := e.arrange(t.Changes); err != nil {
		return err
	}
	e.names(t, carried)
	e.b = binary.AppendUvarint(e.b, uint64(len(e.starts)))
	for i, from := range e.starts {
		to := len(e.order)
		if i+1 < len(e.starts) {
			to = int(e.starts[i+1])
		}
		e.block(t, e.order[from:to], carried.Len())
	}
	return nil
}

// checkChanges checks every change by itself and returns the columns that they
// carry.
func (e *encoder) checkChanges(t *TableChanges) (carried ColumnSet, err error) {
	columns := FirstColumns(len(t.Columns))
	for i := range t.Changes {
		c := &t.Changes[i]
		e.values += len(c.Key) + len(c.Values)
		switch {
		case e.values > MaxValues:
			return carried, tooLarge("values", e.values, MaxValues)
		case c.CausalLength == 0 || c.CausalLength > MaxCausalLength:
			return carried, invalid("causal length %d", c.CausalLength)
		case !c.CausalLength.Alive() && !c.Columns.IsEmpty():
			return carried, invalid("a deletion with columns")
		case c.Columns.Len() != len(c.Values):
			return carried, invalid("%d values for %d columns", len(c.Values), c.Columns.Len())
		case len(c.Key) != len(t.Key):
			return carried, invalid("a key of %d values for %d columns", len(c.Key), len(t.Key))
		}
		if err := e.checkValues(c); err != nil {
			return carried, err
		}
		carried = carried.Union(c.Columns)
	}
	if !carried.Minus(columns).IsEmpty() {
		return carried, invalid("a column above the %d that are named", len(t.Columns))
	}
	return carried, nil
}

func (e *encoder) checkValues(c *Change) error {
	for i := range c.Key {
		if c.Key[i].Kind() == Null {
			return invalid("NULL in a key")
		}
	}
	size := keySize(c.Key)
	if size > MaxKeySize {
		return tooLarge("bytes of key", size, MaxKeySize)
	}
	for i := range c.Values {
		size += len(c.Values[i].data)
	}
	if e.bytes += size; e.bytes > MaxEncodedSize {
		return tooLarge("bytes of values", e.bytes, MaxEncodedSize)
	}
	return nil
}

// arrange puts the changes into canonical order in e.order and finds the
// blocks. Capture mostly delivers them in order already.
func (e *encoder) arrange(changes []Change) error {
	e.order = identity(e.order, len(changes))
	if !e.inOrder(changes) {
		slices.SortFunc(e.order, func(a, b int32) int { return compareChanges(&changes[a], &changes[b]) })
		if !e.inOrder(changes) {
			return invalid("a key twice")
		}
	}
	if len(e.starts) > 1 {
		e.merge.order = append(e.merge.order[:0], e.order...)
		e.merge.starts = append(e.merge.starts[:0], e.starts...)
		if i, found := e.merge.repeated(changes); found {
			return invalid("key %v twice", changes[i].Key)
		}
	}
	return nil
}

// inOrder reports whether e.order is strictly ascending, and then has set
// e.starts.
func (e *encoder) inOrder(changes []Change) bool {
	e.starts = append(e.starts[:0], 0)
	for i := 1; i < len(e.order); i++ {
		a, b := &changes[e.order[i-1]], &changes[e.order[i]]
		switch c := compareBlocks(a, b); {
		case c < 0:
			e.starts = append(e.starts, int32(i))
		case c > 0 || compareKeys(a.Key, b.Key) >= 0:
			return false
		}
	}
	return true
}

func checkNames(t *TableChanges) error {
	if !t.Generation.Alive() || t.Generation > MaxCausalLength {
		return invalid("generation %d is not odd, or above %d", t.Generation, MaxCausalLength)
	}
	if n := len(t.Key) + len(t.Columns); n > MaxColumns {
		return tooLarge("columns", n, MaxColumns)
	}
	if len(t.Key) == 0 {
		return invalid("no key columns")
	}
	if err := checkName(t.Name); err != nil {
		return err
	}
	for _, names := range [2][]string{t.Key, t.Columns} {
		for _, name := range names {
			if err := checkName(name); err != nil {
				return err
			}
		}
	}
	if name, found := repeatedName(t.Key, t.Columns); found {
		return invalid("column %q twice", name)
	}
	return nil
}

func checkName(name string) error {
	if len(name) > MaxNameSize {
		return tooLarge("bytes of name", len(name), MaxNameSize)
	}
	if reason := nameFault(name); reason != "" {
		return invalid("name %q %s", name, reason)
	}
	return nil
}

// names appends what describes the table, with the carried columns only, and
// notes their places in e.rank.
func (e *encoder) names(t *TableChanges, carried ColumnSet) {
	e.b = appendNames(e.b, t, carried)
	e.rank = slices.Grow(e.rank[:0], len(t.Columns))[:len(t.Columns)]
	place := int32(0)
	for i := range carried.All {
		e.rank[i] = place
		place++
	}
}

// appendNames appends what describes the table, with the carried columns only.
func appendNames(b []byte, t *TableChanges, carried ColumnSet) []byte {
	b = appendName(b, t.Name)
	b = binary.AppendUvarint(b, uint64(t.Generation))
	b = binary.AppendUvarint(b, uint64(len(t.Key)))
	for _, name := range t.Key {
		b = appendName(b, name)
	}
	b = binary.AppendUvarint(b, uint64(carried.Len()))
	for i := range carried.All {
		b = appendName(b, t.Columns[i])
	}
	return b
}

func appendName(b []byte, name string) []byte {
	b = binary.AppendUvarint(b, uint64(len(name)))
	return append(b, name...)
}

// block appends the given changes, which have one causal length and column set.
func (e *encoder) block(t *TableChanges, rows []int32, columns int) {
	first := &t.Changes[rows[0]]
	b := binary.AppendUvarint(e.b, uint64(first.CausalLength))
	if first.CausalLength.Alive() {
		at := len(b)
		b = append(b, make([]byte, (columns+7)/8)...)
		for i := range first.Columns.All {
			b[at+int(e.rank[i])/8] |= 1 << (e.rank[i] % 8)
		}
	}
	b = binary.AppendUvarint(b, uint64(len(rows)))
	for i := range t.Key {
		e.column = e.column[:0]
		for _, row := range rows {
			e.column = append(e.column, &t.Changes[row].Key[i])
		}
		b = appendColumn(b, e.column, true)
	}
	for i := range first.Values {
		e.column = e.column[:0]
		for _, row := range rows {
			e.column = append(e.column, &t.Changes[row].Values[i])
		}
		b = appendColumn(b, e.column, false)
	}
	e.b = b
}

// appendColumn appends the values of one column of a block: see FORMAT.md,
// Values.
func appendColumn(b []byte, column []*Value, key bool) []byte {
	kind := column[0].Kind()
	for _, v := range column[1:] {
		if v.Kind() != kind {
			kind = mixedKinds
			break
		}
	}
	switch kind {
	case Integer:
		b = append(b, byte(kind))
		for _, v := range column {
			b = appendInteger(b, v)
		}
	case Real:
		b = append(b, byte(kind))
		for _, v := range column {
			b = appendReal(b, v, key)
		}
	case Text, Blob:
		b = append(b, byte(kind))
		for _, v := range column {
			b = appendBytes(b, v)
		}
	default:
		b = appendMixed(b, column, key)
	}
	return b
}

func appendMixed(b []byte, column []*Value, key bool) []byte {
	b = append(b, mixedKinds)
	for _, v := range column {
		b = append(b, byte(v.Kind()))
	}
	for _, v := range column {
		if v.kind == Real {
			b = appendReal(b, v, key)
		} else {
			b = appendPayload(b, v)
		}
	}
	return b
}
