package changeset

import (
	"github.com/patinadb/patina/changeset/hlc"
	"github.com/zeebo/blake3"
)

// Sealed is an encoded changeset: what the log keeps and the peers exchange.
type Sealed struct {
	Header
	// Hash is the BLAKE3-256 of Data.
	Hash Hash
	// Data is the canonical encoding, uncompressed, header included (FORMAT.md).
	// Nobody changes it: headers, values and other goroutines share it.
	Data []byte
}

// Open reads the header of an encoded changeset and computes its hash. It keeps
// data and does not copy it. What follows the header is checked by Decode.
func Open(data []byte) (Sealed, error) {
	r := reader{b: data}
	h := r.header()
	if r.err != nil {
		return Sealed{}, r.err
	}
	return Sealed{Header: h, Hash: blake3.Sum256(data), Data: data}, nil
}

// Decode reads the whole changeset. It accepts canonical bytes only, so that
// Seal of the result yields s.Data again. Text and blobs share s.Data. The
// memory used is bounded by a fixed multiple of len(s.Data).
func (s Sealed) Decode() (*Changeset, error) {
	r := reader{b: s.Data}
	c := &Changeset{Header: r.header()}
	n := r.count(minTableSize, "tables")
	if n > 0 {
		c.Tables = make([]TableChanges, n)
	}
	for i := 0; i < n && r.err == nil; i++ {
		at := r.off
		t := &c.Tables[i]
		r.tableChanges(t)
		if r.err == nil && i > 0 && compareTables(&c.Tables[i-1], t) >= 0 {
			r.fail(ErrCorrupt, at, "table is not above the one before it")
		}
	}
	r.table = ""
	if r.err == nil && r.left() > 0 {
		r.fail(ErrCorrupt, r.off, "%d bytes after the end", r.left())
	}
	if r.err != nil {
		return nil, r.err
	}
	return c, nil
}

// minTableSize and minBlockSize are the fewest bytes of each, for bounding
// allocations by the input: the shortest table has a name of one byte,
// generation, one key name of one byte, no columns and one block; the shortest
// block a causal length, a row count, and a key's kind and payload.
const (
	minTableSize = 2 + 1 + 1 + 2 + 1 + 1 + minBlockSize
	minBlockSize = 1 + 1 + 2
)

// header reads and checks FORMAT.md's header.
func (r *reader) header() (h Header) {
	if len(r.b) > MaxEncodedSize {
		r.fail(ErrTooLarge, 0, "%d bytes, at most %d", len(r.b), MaxEncodedSize)
		return h
	}
	if v := r.oneByte("format version"); r.err == nil && v != FormatVersion {
		r.fail(ErrUnsupported, 0, "format version %d, this program reads %d", v, FormatVersion)
		return h
	}
	h.Actor = r.actor()
	h.Version = r.version()
	at := r.off
	h.Time = hlc.Timestamp(r.uint64("time"))
	if r.err == nil && (h.Time == 0 || h.Time > hlc.Max) {
		r.fail(ErrCorrupt, at, "time %d is not between 1 and %d", h.Time, hlc.Max)
	}
	at = r.off
	copy(h.Previous[:], r.take(HashSize, "previous hash"))
	if r.err == nil && h.Version == 1 && !h.Previous.IsZero() {
		r.fail(ErrCorrupt, at, "version 1 has a previous hash")
	}
	h.After = r.after(&h)
	return h
}

func (r *reader) actor() (a ActorID) {
	at := r.off
	copy(a[:], r.take(ActorSize, "actor"))
	if r.err == nil && a.IsZero() {
		r.fail(ErrCorrupt, at, "actor is zero")
	}
	return a
}

func (r *reader) version() Version {
	at := r.off
	v := Version(r.uvarint("version"))
	if r.err == nil && (v == 0 || v > MaxVersion) {
		r.fail(ErrCorrupt, at, "version %d is not between 1 and %d", v, MaxVersion)
	}
	return v
}

func (r *reader) after(h *Header) []ID {
	n := r.count(ActorSize+1, "after entries")
	if n == 0 {
		return nil
	}
	ids := make([]ID, n)
	for i := 0; i < n && r.err == nil; i++ {
		at := r.off
		ids[i] = ID{r.actor(), r.version()}
		switch {
		case r.err != nil:
		case i > 0 && ids[i-1].Actor.Compare(ids[i].Actor) >= 0:
			r.fail(ErrCorrupt, at, "after entry is not above the one before it")
		case ids[i].Actor == h.Actor && ids[i].Version >= h.Version:
			r.fail(ErrCorrupt, at, "after entry %d of the same actor is not below version %d", ids[i].Version, h.Version)
		}
	}
	return ids
}

// tableChanges reads one table: its names, then its blocks.
func (r *reader) tableChanges(t *TableChanges) {
	r.table = ""
	r.names(t)
	at := r.off
	n := r.count(minBlockSize, "blocks")
	if r.err == nil && n == 0 {
		r.fail(ErrCorrupt, at, "table without changes")
	}
	d := blockReader{reader: r, table: t}
	for i := 0; i < n && r.err == nil; i++ {
		d.block()
	}
	if r.err != nil {
		return
	}
	if !d.carried.Equal(FirstColumns(len(t.Columns))) {
		r.fail(ErrCorrupt, at, "a column that no change carries")
		return
	}
	if len(d.starts) > 1 {
		m := keyMerge{order: identity(nil, len(t.Changes)), starts: d.starts}
		if i, found := m.repeated(t.Changes); found {
			r.fail(ErrCorrupt, at, "key %v in two blocks", t.Changes[i].Key)
		}
	}
}

// identity returns 0 … n-1 in b's memory.
func identity(b []int32, n int) []int32 {
	b = b[:0]
	for i := range n {
		b = append(b, int32(i))
	}
	return b
}

// nameSpan is where a name lies in the input.
type nameSpan struct{ from, to int }

// names reads a table's name, generation, key and columns. The names of a table
// are cut from one string: one allocation however many there are.
func (r *reader) names(t *TableChanges) {
	var few [32]nameSpan
	start := r.off
	spans := append(few[:0], r.name("table name"))
	if r.err != nil {
		return
	}
	r.table = string(r.b[spans[0].from:spans[0].to])
	at := r.off
	t.Generation = CausalLength(r.uvarint("generation"))
	if r.err == nil && (!t.Generation.Alive() || t.Generation > MaxCausalLength) {
		r.fail(ErrCorrupt, at, "generation %d is not odd, or above %d", t.Generation, MaxCausalLength)
	}
	keys := r.count(2, "key columns")
	if r.err == nil && keys == 0 {
		r.fail(ErrCorrupt, at, "table without key columns")
	}
	for i := 0; i < keys && r.err == nil; i++ {
		spans = append(spans, r.name("key column name"))
	}
	columns := r.count(2, "columns")
	if keys+columns > MaxColumns {
		r.fail(ErrTooLarge, at, "%d columns, at most %d", keys+columns, MaxColumns)
	}
	for i := 0; i < columns && r.err == nil; i++ {
		spans = append(spans, r.name("column name"))
	}
	if r.err != nil {
		return
	}
	text := string(r.b[start:r.off])
	names := make([]string, len(spans))
	for i, s := range spans {
		names[i] = text[s.from-start : s.to-start]
	}
	t.Name, t.Key = names[0], names[1:1+keys:1+keys]
	if columns > 0 {
		t.Columns = names[1+keys:]
	}
	if name, found := repeatedName(t.Key, t.Columns); found {
		r.fail(ErrCorrupt, at, "column %q twice", name)
	}
}

func (r *reader) name(what string) nameSpan {
	at := r.off
	b := r.view(what)
	if r.err != nil {
		return nameSpan{}
	}
	if len(b) > MaxNameSize {
		r.fail(ErrTooLarge, at, "%s of %d bytes, at most %d", what, len(b), MaxNameSize)
	} else if reason := nameFault(b); reason != "" {
		r.fail(ErrCorrupt, at, "%s %s", what, reason)
	}
	return nameSpan{r.off - len(b), r.off}
}
