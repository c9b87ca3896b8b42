package changeset

import (
	"math/rand/v2"
	"testing"
)

// dumbSet is the oracle for ColumnSet.
type dumbSet map[int]bool

func (d dumbSet) check(t *testing.T, s ColumnSet) {
	t.Helper()
	var members []int
	last := -1
	for i := range s.All {
		if i <= last {
			t.Fatalf("%d after %d", i, last)
		}
		last = i
		members = append(members, i)
		if !d[i] {
			t.Fatalf("%d is not in %v", i, d)
		}
	}
	if len(members) != len(d) || s.Len() != len(d) || s.IsEmpty() != (len(d) == 0) {
		t.Fatalf("members %v, len %d, want %v", members, s.Len(), d)
	}
	for i := range 260 {
		if s.Has(i) != d[i] {
			t.Fatalf("has %d: %v", i, s.Has(i))
		}
	}
	if n := len(s.high); n > 0 && s.high[n-1] == 0 {
		t.Fatal("a trailing zero word")
	}
	prefix := len(d)
	for i := range prefix {
		if !d[i] {
			prefix = -1
			break
		}
	}
	if n, ok := s.Prefix(); ok != (prefix >= 0) || ok && n != prefix {
		t.Fatalf("prefix %d %v of %v", n, ok, d)
	}
}

func (d dumbSet) filter(keep func(int) bool) dumbSet {
	out := dumbSet{}
	for i := range 260 {
		if keep(i) {
			out[i] = true
		}
	}
	return out
}

// randomSet draws ordinals below a limit that often stays within one word.
func randomSet(r *rand.Rand) (ColumnSet, dumbSet) {
	limit := []int{1, 8, 63, 64, 65, 128, 129, 250}[r.IntN(8)]
	s, d := ColumnSet{}, dumbSet{}
	if r.IntN(4) == 0 {
		for i := range limit {
			d[i] = true
		}
		return FirstColumns(limit), d
	}
	for range r.IntN(12) {
		i := r.IntN(limit)
		s = s.With(i)
		d[i] = true
	}
	return s, d
}

func TestColumnSetIsASet(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 3000 {
		s, d := randomSet(r)
		u, e := randomSet(r)
		d.check(t, s)
		e.check(t, u)
		d.filter(func(i int) bool { return d[i] || e[i] }).check(t, s.Union(u))
		d.filter(func(i int) bool { return d[i] && e[i] }).check(t, s.Intersect(u))
		d.filter(func(i int) bool { return d[i] && !e[i] }).check(t, s.Minus(u))
		same := len(d) == len(e)
		for i := range d {
			same = same && e[i]
		}
		if s.Equal(u) != same || (s.Compare(u) == 0) != same || s.Compare(u) != -u.Compare(s) {
			t.Fatalf("%v and %v: equal %v, compare %d", d, e, s.Equal(u), s.Compare(u))
		}
		top := -1 // the highest ordinal that only one has decides the order
		for i := range 260 {
			if d[i] != e[i] {
				top = i
			}
		}
		if top >= 0 && (s.Compare(u) > 0) != d[top] {
			t.Fatalf("%v and %v: compare %d", d, e, s.Compare(u))
		}
		d.check(t, s) // operands are as they were
		e.check(t, u)
	}
}

func TestWithDoesNotChangeItsReceiver(t *testing.T) {
	s := Columns(70)
	a, b := s.With(71), s.With(72)
	dumbSet{70: true}.check(t, s)
	dumbSet{70: true, 71: true}.check(t, a)
	dumbSet{70: true, 72: true}.check(t, b)
	dumbSet{}.check(t, FirstColumns(0))
}

func TestColumnSetStopsWhenAsked(t *testing.T) {
	n := 0
	for range Columns(1, 2, 100).All {
		if n++; n == 2 {
			break
		}
	}
	if n != 2 {
		t.Error(n)
	}
}

func TestColumnSetUpTo64DoesNotAllocate(t *testing.T) {
	a, b := FirstColumns(64), Columns(3, 63)
	sink := 0
	if n := testing.AllocsPerRun(100, func() {
		sink += a.Union(b).Len() + a.Minus(b).Len() + a.Intersect(b).Len() + b.With(5).Len() + a.Compare(b)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
