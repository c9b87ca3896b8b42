package changeset

import (
	"cmp"
	"math/bits"
	"slices"
)

// ColumnSet is a set of column ordinals: positions in some table's column list.
// The first 64 need no allocation. The zero value is the empty set. A ColumnSet
// is a value: no method changes its receiver's shared memory.
type ColumnSet struct {
	low  uint64
	high []uint64 // ordinals 64, 65 …; no trailing zero words
}

// FirstColumns returns {0 … n-1}.
func FirstColumns(n int) ColumnSet {
	if n < 64 {
		return ColumnSet{low: 1<<n - 1}
	}
	s := ColumnSet{low: ^uint64(0)}
	for n -= 64; n >= 64; n -= 64 {
		s.high = append(s.high, ^uint64(0))
	}
	if n > 0 {
		s.high = append(s.high, 1<<n-1)
	}
	return s
}

// Columns returns the set of the given ordinals.
func Columns(ordinals ...int) ColumnSet {
	var s ColumnSet
	for _, i := range ordinals {
		s = s.With(i)
	}
	return s
}

// columnSetFromBitmap returns the set whose member i is bit i%8 of byte i/8.
func columnSetFromBitmap(b []byte) ColumnSet {
	var s ColumnSet
	for i := 0; i < len(b) && i < 8; i++ {
		s.low |= uint64(b[i]) << (8 * i)
	}
	for len(b) > 8 && b[len(b)-1] == 0 {
		b = b[:len(b)-1]
	}
	if len(b) > 8 {
		s.high = make([]uint64, (len(b)-1)/8)
		for i, c := range b[8:] {
			s.high[i/8] |= uint64(c) << (i % 8 * 8)
		}
	}
	return s
}

// IsEmpty reports whether s has no member.
func (s ColumnSet) IsEmpty() bool { return s.low == 0 && len(s.high) == 0 }

// Len counts the members.
func (s ColumnSet) Len() int {
	n := bits.OnesCount64(s.low)
	for _, w := range s.high {
		n += bits.OnesCount64(w)
	}
	return n
}

// Has reports whether ordinal i is in s.
func (s ColumnSet) Has(i int) bool {
	if i < 64 {
		return s.low>>i&1 != 0
	}
	w := i/64 - 1
	return w < len(s.high) && s.high[w]>>(i%64)&1 != 0
}

// With returns s and ordinal i.
func (s ColumnSet) With(i int) ColumnSet {
	if i < 64 {
		s.low |= 1 << i
		return s
	}
	w := i/64 - 1
	high := make([]uint64, max(w+1, len(s.high)))
	copy(high, s.high)
	high[w] |= 1 << (i % 64)
	s.high = high
	return s
}

// Union returns the members of s or t.
func (s ColumnSet) Union(t ColumnSet) ColumnSet {
	if s.high == nil && t.high == nil {
		return ColumnSet{low: s.low | t.low}
	}
	return s.combine(t, func(a, b uint64) uint64 { return a | b })
}

// Intersect returns the members of both s and t.
func (s ColumnSet) Intersect(t ColumnSet) ColumnSet {
	if s.high == nil || t.high == nil {
		return ColumnSet{low: s.low & t.low}
	}
	return s.combine(t, func(a, b uint64) uint64 { return a & b })
}

// Minus returns the members of s that are not in t.
func (s ColumnSet) Minus(t ColumnSet) ColumnSet {
	if s.high == nil {
		return ColumnSet{low: s.low &^ t.low}
	}
	return s.combine(t, func(a, b uint64) uint64 { return a &^ b })
}

// Equal reports whether s and t have the same members.
func (s ColumnSet) Equal(t ColumnSet) bool { return s.low == t.low && slices.Equal(s.high, t.high) }

// Compare orders sets as the unsigned numbers whose bits are their members: -1,
// 0 or 1. Leaving out ordinals that neither set has does not change the order.
func (s ColumnSet) Compare(t ColumnSet) int {
	if s.high == nil && t.high == nil {
		return cmp.Compare(s.low, t.low)
	}
	if c := cmp.Compare(len(s.high), len(t.high)); c != 0 {
		return c
	}
	for i := len(s.high) - 1; i >= 0; i-- {
		if c := cmp.Compare(s.high[i], t.high[i]); c != 0 {
			return c
		}
	}
	return cmp.Compare(s.low, t.low)
}

// Prefix reports whether s is {0 … n-1}, and n. The stored clock may write such
// a set as its length (DESIGN section 2: never as "all", since a column added
// later is covered by no earlier stamp).
func (s ColumnSet) Prefix() (n int, ok bool) {
	n = s.Len()
	return n, s.Equal(FirstColumns(n))
}

// All yields the ordinals in ascending order.
func (s ColumnSet) All(yield func(int) bool) {
	for w := -1; w < len(s.high); w++ {
		word := s.low
		if w >= 0 {
			word = s.high[w]
		}
		for ; word != 0; word &= word - 1 {
			if !yield((w+1)*64 + bits.TrailingZeros64(word)) {
				return
			}
		}
	}
}

func (s ColumnSet) combine(t ColumnSet, op func(a, b uint64) uint64) ColumnSet {
	out := ColumnSet{low: op(s.low, t.low)}
	n := max(len(s.high), len(t.high))
	high := make([]uint64, n)
	for i := range high {
		var a, b uint64
		if i < len(s.high) {
			a = s.high[i]
		}
		if i < len(t.high) {
			b = t.high[i]
		}
		high[i] = op(a, b)
	}
	for n > 0 && high[n-1] == 0 {
		n--
	}
	if n > 0 {
		out.high = high[:n]
	}
	return out
}
