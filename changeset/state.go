package changeset

import (
	"encoding/binary"
	"slices"

	"github.com/patinadb/patina/changeset/hlc"
)

// stateFormat is the first byte of every encoded StateBlock.
const stateFormat = 1

// RowState is a row as it stands, with its clock: what state transfer sends where no
// log has the changesets any more.
type RowState struct {
	Key []Value
	// Clock is the row's; its groups' columns are ordinals among StateBlock.Columns.
	Clock Clock
	// Values are those of the columns that the groups cover: group by group, in
	// ascending order of the columns within each. A deleted row has none.
	Values []Value
}

// StateBlock is rows of one table. Name, Generation, Key and Columns are as in
// TableChanges, but that no row need cover a column.
type StateBlock struct {
	Name       string
	Generation CausalLength
	Key        []string
	Columns    []string
	Rows       []RowState
}

// StateEncoder encodes a StateBlock row by row (FORMAT.md, State).
type StateEncoder struct {
	b      []byte
	actors map[ActorID]int
}

// NewStateEncoder begins a block of rows of the table that t names; t.Rows are not
// looked at. It fails if the names are not those of a table of changesets.
func NewStateEncoder(t *StateBlock) (*StateEncoder, error) {
	names := &TableChanges{Name: t.Name, Generation: t.Generation, Key: t.Key, Columns: t.Columns}
	if err := checkNames(names); err != nil {
		return nil, err
	}
	e := &StateEncoder{actors: map[ActorID]int{}}
	e.b = appendNames(append(e.b, stateFormat), names, FirstColumns(len(t.Columns)))
	return e, nil
}

// Add appends a row. It is the caller's to give rows that DecodeState accepts.
func (e *StateEncoder) Add(r *RowState) {
	for i := range r.Key {
		e.b = AppendValue(e.b, r.Key[i])
	}
	e.b = binary.AppendUvarint(e.b, uint64(r.Clock.CausalLength))
	e.b = binary.AppendUvarint(e.b, uint64(len(r.Clock.Groups)))
	values := r.Values
	for _, g := range r.Clock.Groups {
		e.b = AppendColumnSet(e.b, g.Columns)
		e.b = binary.BigEndian.AppendUint64(e.b, uint64(g.Stamp.Time))
		e.actor(g.Stamp.Actor)
		e.b = binary.AppendUvarint(e.b, uint64(g.Stamp.Version))
		n := g.Columns.Len()
		for i := range values[:n] {
			e.b = AppendValue(e.b, values[i])
		}
		values = values[n:]
	}
}

// actor appends the place of a in the block's list of actors, which its id follows
// the first time.
func (e *StateEncoder) actor(a ActorID) {
	n, known := e.actors[a]
	if !known {
		n = len(e.actors)
		e.actors[a] = n
	}
	e.b = binary.AppendUvarint(e.b, uint64(n))
	if !known {
		e.b = append(e.b, a[:]...)
	}
}

// Size returns the bytes so far.
func (e *StateEncoder) Size() int { return len(e.b) }

// Bytes returns the block. The encoder must not be used afterwards.
func (e *StateEncoder) Bytes() []byte { return e.b }

// AppendColumnSet appends {0 … n-1} as the uvarint n<<1, any other set as the uvarint
// bytes<<1|1 and a little-endian bitmap whose last byte is not 0.
func AppendColumnSet(b []byte, s ColumnSet) []byte {
	if n, ok := s.Prefix(); ok {
		return binary.AppendUvarint(b, uint64(n)<<1)
	}
	var bitmap []byte
	for i := range s.All {
		for len(bitmap) <= i/8 {
			bitmap = append(bitmap, 0)
		}
		bitmap[i/8] |= 1 << (i % 8)
	}
	b = binary.AppendUvarint(b, uint64(len(bitmap))<<1|1)
	return append(b, bitmap...)
}

// minRowStateSize is the fewest bytes of a row: a key value, a length, a count, a
// group's columns, time, actor and version.
const minRowStateSize = 1 + 1 + 1 + 1 + 8 + 1 + 1

// DecodeState decodes what a StateEncoder wrote, and nothing else. Texts and blobs
// share b. It allocates in proportion to b; the errors are those of Open.
func DecodeState(b []byte) (*StateBlock, error) {
	r := stateReader{reader: reader{b: b}, known: map[ActorID]bool{}}
	if len(b) > MaxEncodedSize {
		r.fail(ErrTooLarge, 0, "%d bytes, at most %d", len(b), MaxEncodedSize)
		return nil, r.err
	}
	if v := r.oneByte("format version"); r.err == nil && v != stateFormat {
		r.fail(ErrUnsupported, 0, "state format %d, this program reads %d", v, stateFormat)
	}
	var names TableChanges
	r.names(&names)
	t := &StateBlock{Name: names.Name, Generation: names.Generation, Key: names.Key, Columns: names.Columns}
	for r.err == nil && r.left() > 0 {
		if t.Rows == nil {
			t.Rows = make([]RowState, 0, min(r.left()/minRowStateSize+1, 1024))
		}
		t.Rows = append(t.Rows, r.row(t))
	}
	if r.err != nil {
		return nil, r.err
	}
	return t, nil
}

// stateReader is a reader with the block's list of actors.
type stateReader struct {
	reader
	actors []ActorID
	known  map[ActorID]bool // of actors
}

func (r *stateReader) row(t *StateBlock) (row RowState) {
	row.Key = make([]Value, len(t.Key))
	for i := range row.Key {
		row.Key[i] = r.value()
		if r.err == nil && row.Key[i].Kind() == Null {
			r.fail(ErrCorrupt, r.off-1, "a key with a NULL")
		}
	}
	at := r.off
	row.Clock.CausalLength = CausalLength(r.uvarint("causal length"))
	if r.err == nil && (row.Clock.CausalLength == 0 || row.Clock.CausalLength > MaxCausalLength) {
		r.fail(ErrCorrupt, at, "causal length %d is not between 1 and %d", row.Clock.CausalLength, MaxCausalLength)
	}
	groups := r.count(minRowStateSize-3, "groups")
	var covered ColumnSet
	for i := 0; i < groups && r.err == nil; i++ {
		at := r.off
		g := Group{Columns: r.columnSet(len(t.Columns)), Stamp: r.stamp()}
		same := func(o Group) bool { return o.Stamp == g.Stamp }
		switch {
		case r.err != nil:
		case !g.Columns.Intersect(covered).IsEmpty(), slices.ContainsFunc(row.Clock.Groups, same):
			r.fail(ErrCorrupt, at, "a clock says something twice")
		case g.Columns.IsEmpty() && groups > 1, !g.Columns.IsEmpty() && !row.Clock.CausalLength.Alive():
			r.fail(ErrCorrupt, at, "a group that no clock has")
		}
		covered = covered.Union(g.Columns)
		row.Clock.Groups = append(row.Clock.Groups, g)
		for range g.Columns.All {
			row.Values = append(row.Values, r.value())
		}
	}
	if r.err == nil && groups == 0 {
		r.fail(ErrCorrupt, at, "a clock without a group")
	}
	return row
}

func (r *stateReader) stamp() (s Stamp) {
	at := r.off
	s.Time = hlc.Timestamp(r.uint64("time"))
	if r.err == nil && (s.Time == 0 || s.Time > hlc.Max) {
		r.fail(ErrCorrupt, at, "time %d is not between 1 and %d", s.Time, hlc.Max)
	}
	at = r.off
	switch n := r.uvarint("actor"); {
	case r.err != nil:
		return s
	case n < uint64(len(r.actors)):
		s.Actor = r.actors[n]
	case n > uint64(len(r.actors)):
		r.fail(ErrCorrupt, at, "actor %d of %d", n, len(r.actors))
	default:
		s.Actor = r.actor()
		if r.err == nil && r.known[s.Actor] {
			r.fail(ErrCorrupt, at, "actor %v twice", s.Actor)
		}
		r.actors, r.known[s.Actor] = append(r.actors, s.Actor), true
	}
	s.Version = r.version()
	return s
}

// columnSet reads what AppendColumnSet wrote of a table with n columns.
func (r *stateReader) columnSet(n int) (s ColumnSet) {
	at := r.off
	x := r.uvarint("columns")
	if x&1 == 0 {
		if x>>1 > uint64(n) {
			r.fail(ErrCorrupt, at, "%d columns of %d", x>>1, n)
			return s
		}
		return FirstColumns(int(x >> 1))
	}
	if x>>1 > uint64(n+7)/8 {
		r.fail(ErrCorrupt, at, "a bitmap of %d bytes for %d columns", x>>1, n)
		return s
	}
	b := r.take(int(x>>1), "bitmap")
	s = columnSetFromBitmap(b)
	if r.err == nil && (len(b) == 0 || b[len(b)-1] == 0 || !s.Minus(FirstColumns(n)).IsEmpty()) {
		r.fail(ErrCorrupt, at, "a bitmap that ends with zeros or names a column that is not there")
	} else if _, prefix := s.Prefix(); prefix {
		r.fail(ErrCorrupt, at, "a bitmap of the first columns")
	}
	return s
}
