package changeset

import (
	"encoding/binary"

	"github.com/zeebo/xxh3"
)

// Sum is an order-independent sum of row clocks: two lanes of 64 bits, each
// modulo 2^64. Nodes with equal applied vectors and equal schemas have equal sums
// (DESIGN section 6, Verification). It finds accidents, and is no defence against
// somebody who looks for two clocks with one hash. The zero Sum is that of an
// empty table.
type Sum struct{ Low, High uint64 }

// Add adds t to s.
func (s *Sum) Add(t Sum) { s.Low, s.High = s.Low+t.Low, s.High+t.High }

// Sub takes t from s.
func (s *Sum) Sub(t Sum) { s.Low, s.High = s.Low-t.Low, s.High-t.High }

// IsZero reports whether s is the zero Sum.
func (s Sum) IsZero() bool { return s == Sum{} }

// AppendSum appends the 16 bytes of s, big-endian, Low first.
func AppendSum(b []byte, s Sum) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(b, s.Low), s.High)
}

// SumSize is the length of what AppendSum appends, in bytes.
const SumSize = 16

// DecodeSum reads what AppendSum appended; b has SumSize bytes.
func DecodeSum(b []byte) Sum {
	return Sum{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])}
}

// KeyHash is the XXH3-128 of a primary key: its values in order, each as
// AppendValue writes it in canonical form.
type KeyHash struct{ Low, High uint64 }

// HashKey hashes an encoded key.
func HashKey(encoded []byte) KeyHash {
	h := xxh3.Hash128(encoded)
	return KeyHash{h.Lo, h.Hi}
}

// Summer computes what the clocks of one table add to its sum. It holds what all
// rows have in common, and is for one goroutine.
type Summer struct {
	columns []uint64 // XXH3-64 of the folded name of each data column
	buf     [sumInput]byte
	// The last column set and its hash: rows mostly have the same.
	set  ColumnSet
	hash uint64
}

// sumInput is the layout of FORMAT.md, Sums: table, key, causal length, time,
// actor, version, columns.
const sumInput = 8 + 16 + 8 + 8 + ActorSize + 8 + 8

// NewSummer returns the Summer of a table with these data columns, by the
// ordinals that clocks use.
func NewSummer(table string, generation CausalLength, columns []string) *Summer {
	s := &Summer{columns: make([]uint64, len(columns))}
	for i, name := range columns {
		s.columns[i] = xxh3.HashString(FoldName(name))
	}
	name := binary.BigEndian.AppendUint64([]byte(FoldName(table)), uint64(generation))
	binary.BigEndian.PutUint64(s.buf[:], xxh3.Hash(name))
	return s
}

// Clock returns the sum of the clock's groups: of each H(table, generation, key,
// causal length, time, actor, version, set of column names), never of local
// ordinals or values. The clock of a row that never was has no groups and the
// zero Sum.
func (s *Summer) Clock(key KeyHash, k *Clock) (sum Sum) {
	b := s.buf[8:]
	binary.BigEndian.PutUint64(b, key.Low)
	binary.BigEndian.PutUint64(b[8:], key.High)
	binary.BigEndian.PutUint64(b[16:], uint64(k.CausalLength))
	for i := range k.Groups {
		g := &k.Groups[i]
		binary.BigEndian.PutUint64(b[24:], uint64(g.Stamp.Time))
		copy(b[32:], g.Stamp.Actor[:])
		binary.BigEndian.PutUint64(b[32+ActorSize:], uint64(g.Stamp.Version))
		binary.BigEndian.PutUint64(b[40+ActorSize:], s.columnSet(g.Columns))
		h := xxh3.Hash128(s.buf[:])
		sum.Add(Sum{h.Lo, h.Hi})
	}
	return sum
}

// columnSet is the sum of the hashes of the names, 0 for none. A damaged clock, or
// one of before another process dropped a column, may name a column that is not
// there: it counts as nothing.
func (s *Summer) columnSet(set ColumnSet) (hash uint64) {
	if set.Equal(s.set) {
		return s.hash
	}
	for i := range set.All {
		if i >= len(s.columns) {
			break
		}
		hash += s.columns[i]
	}
	s.set, s.hash = set, hash
	return hash
}
