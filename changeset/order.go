package changeset

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"math"
)

// The canonical order (FORMAT.md, Order). Encoder and decoder share it.

// compareValues orders the values of one key column: by storage class, then
// integers and reals by number, text and blobs by bytes. That is the order of
// SQLite's own b-trees within a class, so that apply inserts in key order.
func compareValues(v, w *Value) int {
	if c := cmp.Compare(v.kind, w.kind); c != 0 {
		return c
	}
	switch v.kind {
	case Integer:
		return cmp.Compare(v.Integer(), w.Integer())
	case Real:
		return cmp.Compare(v.Real(), w.Real())
	}
	return bytes.Compare(v.data, w.data)
}

// compareKeys orders keys of one table, column by column.
func compareKeys(a, b []Value) int {
	if len(a) == 1 && a[0].kind == Integer && b[0].kind == Integer {
		return cmp.Compare(a[0].Integer(), b[0].Integer())
	}
	for i := range a {
		if c := compareValues(&a[i], &b[i]); c != 0 {
			return c
		}
	}
	return 0
}

// compareBlocks orders the blocks that two changes of one table belong to: by
// causal length, then by column set.
func compareBlocks(a, b *Change) int {
	if c := cmp.Compare(a.CausalLength, b.CausalLength); c != 0 {
		return c
	}
	return a.Columns.Compare(b.Columns)
}

// compareChanges is the order of the changes of one table.
func compareChanges(a, b *Change) int {
	if c := compareBlocks(a, b); c != 0 {
		return c
	}
	return compareKeys(a.Key, b.Key)
}

// compareNames orders names without regard to ASCII case, as SQLite matches
// them; letters count as lower-case.
func compareNames(a, b string) int {
	for i := 0; i < len(a) && i < len(b); i++ {
		if x, y := lower(a[i]), lower(b[i]); x != y {
			return cmp.Compare(x, y)
		}
	}
	return cmp.Compare(len(a), len(b))
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

// compareTables is the order of the tables of a changeset.
func compareTables(a, b *TableChanges) int {
	if c := compareNames(a.Name, b.Name); c != 0 {
		return c
	}
	return cmp.Compare(a.Generation, b.Generation)
}

// manyNames is from where on a map finds equal names faster than comparing all.
const manyNames = 16

// repeatedName returns a name that occurs twice among a table's columns. Names
// that differ in ASCII case only are one column to SQLite.
func repeatedName(key, columns []string) (string, bool) {
	n := len(key) + len(columns)
	at := func(i int) string {
		if i < len(key) {
			return key[i]
		}
		return columns[i-len(key)]
	}
	if n > manyNames {
		seen := make(map[string]struct{}, n)
		for i := range n {
			folded := FoldName(at(i))
			if _, dup := seen[folded]; dup {
				return at(i), true
			}
			seen[folded] = struct{}{}
		}
		return "", false
	}
	for i := range n {
		for j := range i {
			if len(at(i)) == len(at(j)) && compareNames(at(i), at(j)) == 0 {
				return at(i), true
			}
		}
	}
	return "", false
}

// FoldName makes the letters A to Z small: SQLite takes two names for one if they are
// equal then, and leaves other letters as they are.
func FoldName(s string) string {
	for i := range len(s) {
		if c := s[i]; 'A' <= c && c <= 'Z' {
			b := []byte(s)
			for ; i < len(b); i++ {
				if 'A' <= b[i] && b[i] <= 'Z' {
					b[i] += 'a' - 'A'
				}
			}
			return string(b)
		}
	}
	return s
}

// keyMerge finds a key that occurs in two blocks of a table. Each block is
// already sorted by key, so merging them pairwise costs n log(blocks) instead
// of a sort, and memory in proportion to the rows.
type keyMerge struct {
	order, spare []int32 // indices into the changes
	starts       []int32 // where each sorted run of order begins
}

// repeated reports the index of a change whose key another one also has. order
// and starts are overwritten.
func (m *keyMerge) repeated(changes []Change) (int, bool) {
	n := len(m.order)
	for len(m.starts) > 1 {
		m.spare = m.spare[:0]
		kept := m.starts[:0]
		for i := 0; i < len(m.starts); i += 2 {
			from, middle, to := int(m.starts[i]), n, n
			if i+1 < len(m.starts) {
				middle = int(m.starts[i+1])
			}
			if i+2 < len(m.starts) {
				to = int(m.starts[i+2])
			}
			kept = append(kept, int32(from))
			if dup, found := m.mergeRuns(changes, m.order[from:middle], m.order[middle:to]); found {
				return dup, true
			}
		}
		m.starts = kept
		m.order, m.spare = m.spare, m.order
	}
	return 0, false
}

func (m *keyMerge) mergeRuns(changes []Change, a, b []int32) (int, bool) {
	for len(a) > 0 && len(b) > 0 {
		switch c := compareKeys(changes[a[0]].Key, changes[b[0]].Key); {
		case c == 0:
			return int(b[0]), true
		case c < 0:
			m.spare, a = append(m.spare, a[0]), a[1:]
		default:
			m.spare, b = append(m.spare, b[0]), b[1:]
		}
	}
	m.spare = append(append(m.spare, a...), b...)
	return 0, false
}

// KeyPrefix is a number that orders keys as far as it tells them apart: of two
// keys, each encoded by AppendValue, the one with the lower prefix comes first in
// the order of a changeset. Of malformed keys it is meaningless.
func KeyPrefix(encoded []byte) uint64 {
	v, _, err := DecodeValue(encoded)
	if err != nil {
		return 0
	}
	kind := uint64(v.Kind()-Integer) << 62
	switch v.Kind() {
	case Integer:
		return kind | (v.num^1<<63)>>2
	case Real:
		if v.num>>63 == 1 { // negative: the larger the bits, the lower the number
			return kind | ^v.num>>2
		}
		return kind | (v.num|1<<63)>>2
	case Text, Blob:
		var b [8]byte
		copy(b[:], v.data)
		return kind | binary.BigEndian.Uint64(b[:])>>2
	}
	return math.MaxUint64
}

// CompareEncodedKeys orders two keys of one table, each value encoded by
// AppendValue, as the changes of a changeset are ordered: -1, 0 or 1.
func CompareEncodedKeys(a, b []byte) int {
	for len(a) > 0 && len(b) > 0 {
		v, restA, errA := DecodeValue(a)
		w, restB, errB := DecodeValue(b)
		if errA != nil || errB != nil {
			break
		}
		if c := compareValues(&v, &w); c != 0 {
			return c
		}
		a, b = restA, restB
	}
	return bytes.Compare(a, b)
}
