package versions

import (
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/patinadb/patina/changeset"
)

// Range is a closed range of versions.
type Range struct{ First, Last changeset.Version }

// Len counts the versions in r.
func (r Range) Len() uint64 { return uint64(r.Last-r.First) + 1 }

// String returns "7" or "3-9".
func (r Range) String() string {
	if r.First == r.Last {
		return fmt.Sprint(uint64(r.First))
	}
	return fmt.Sprintf("%d-%d", uint64(r.First), uint64(r.Last))
}

// clip cuts r to the versions that exist; ok is false if none is left.
func (r Range) clip() (_ Range, ok bool) {
	r.First = max(r.First, 1)
	r.Last = min(r.Last, changeset.MaxVersion)
	return r, r.First <= r.Last
}

// Set is a set of versions. The zero value is empty. A Set is a value: a copy by
// assignment is independent of the original, because Add and Remove replace the
// shared memory and never write to it. So a Set that nobody changes may be read
// by any number of goroutines.
type Set struct {
	// ranges are sorted, disjoint and not adjacent; never written to after they
	// were stored here.
	ranges []Range
}

// SetOf returns the union of ranges.
func SetOf(ranges ...Range) Set {
	sorted := make([]Range, 0, len(ranges))
	for _, r := range ranges {
		if r, ok := r.clip(); ok {
			sorted = append(sorted, r)
		}
	}
	slices.SortFunc(sorted, func(a, b Range) int { return int(int64(a.First) - int64(b.First)) })
	var s Set
	for _, r := range sorted {
		s.ranges = appendRange(s.ranges, r)
	}
	return s
}

// appendRange adds r, which begins no earlier than any of ranges, joining it
// with the last one if they touch.
func appendRange(ranges []Range, r Range) []Range {
	if n := len(ranges); n > 0 && r.First <= ranges[n-1].Last+1 {
		ranges[n-1].Last = max(ranges[n-1].Last, r.Last)
		return ranges
	}
	return append(ranges, r)
}

// search returns the index of the first range that ends at or after v.
func (s Set) search(v changeset.Version) int {
	return sort.Search(len(s.ranges), func(i int) bool { return s.ranges[i].Last >= v })
}

// Add puts the versions of r into s; those that cannot exist (0, above
// changeset.MaxVersion) are left out.
func (s *Set) Add(r Range) {
	r, ok := r.clip()
	if !ok || s.ContainsRange(r) {
		return
	}
	from := s.search(r.First - 1) // the first range that r overlaps or touches
	to := from
	for ; to < len(s.ranges) && s.ranges[to].First <= r.Last+1; to++ {
		r.First = min(r.First, s.ranges[to].First)
		r.Last = max(r.Last, s.ranges[to].Last)
	}
	s.ranges = slices.Concat(s.ranges[:from], []Range{r}, s.ranges[to:])
}

// Remove takes the versions of r out of s.
func (s *Set) Remove(r Range) {
	if r, ok := r.clip(); ok {
		*s = s.Minus(Set{ranges: []Range{r}})
	}
}

// Contains reports whether v is in s.
func (s Set) Contains(v changeset.Version) bool { return s.ContainsRange(Range{v, v}) }

// ContainsRange reports whether every version of r is in s.
func (s Set) ContainsRange(r Range) bool {
	i := s.search(r.Last)
	return i < len(s.ranges) && s.ranges[i].First <= r.First && r.First <= r.Last
}

// Ranges returns the ranges of s in ascending order, neither touching nor
// overlapping. The caller must not change them.
func (s Set) Ranges() []Range { return s.ranges }

// Len counts the versions in s.
func (s Set) Len() uint64 {
	n := uint64(0)
	for _, r := range s.ranges {
		n += r.Len()
	}
	return n
}

// Last returns the highest version in s, 0 if s is empty.
func (s Set) Last() changeset.Version {
	if len(s.ranges) == 0 {
		return 0
	}
	return s.ranges[len(s.ranges)-1].Last
}

// IsEmpty reports whether s has no version.
func (s Set) IsEmpty() bool { return len(s.ranges) == 0 }

// Equal reports whether s and t hold the same versions.
func (s Set) Equal(t Set) bool { return slices.Equal(s.ranges, t.ranges) }

// Clone returns s with memory of its own; assignment is enough for all but
// letting go of a large array.
func (s Set) Clone() Set { return Set{ranges: slices.Clone(s.ranges)} }

// Union returns the versions that are in s or t.
func (s Set) Union(t Set) Set {
	switch {
	case len(t.ranges) == 0:
		return s
	case len(s.ranges) == 0:
		return t
	}
	a, b := s.ranges, t.ranges
	out := make([]Range, 0, len(a)+len(b))
	for len(a) > 0 || len(b) > 0 {
		if len(b) == 0 || len(a) > 0 && a[0].First <= b[0].First {
			out = appendRange(out, a[0])
			a = a[1:]
		} else {
			out = appendRange(out, b[0])
			b = b[1:]
		}
	}
	return Set{ranges: out}
}

// Minus returns the versions of s that are not in t.
func (s Set) Minus(t Set) Set {
	if len(s.ranges) == 0 || len(t.ranges) == 0 {
		return s
	}
	var out []Range
	cut := t.ranges
	for _, r := range s.ranges {
		for len(cut) > 0 && cut[0].Last < r.First {
			cut = cut[1:]
		}
		for _, c := range cut {
			if c.First > r.Last {
				break
			}
			if c.First > r.First {
				out = append(out, Range{r.First, c.First - 1})
			}
			r.First = c.Last + 1
		}
		if r.First <= r.Last {
			out = append(out, r)
		}
	}
	return Set{ranges: out}
}

// Intersects reports whether s and t have a version in common.
func (s Set) Intersects(t Set) bool {
	a, b := s.ranges, t.ranges
	for len(a) > 0 && len(b) > 0 {
		switch {
		case a[0].Last < b[0].First:
			a = a[1:]
		case b[0].Last < a[0].First:
			b = b[1:]
		default:
			return true
		}
	}
	return false
}

// String returns the ranges with commas: "1-5,7".
func (s Set) String() string {
	texts := make([]string, len(s.ranges))
	for i, r := range s.ranges {
		texts[i] = r.String()
	}
	return strings.Join(texts, ",")
}
