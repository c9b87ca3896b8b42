package versions

import (
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/patinadb/patina/changeset"
)

// dumb is the model: a map from version to membership.
type dumb map[changeset.Version]bool

func (d dumb) add(r Range) {
	for v := r.First; v <= r.Last; v++ {
		if v > 0 {
			d[v] = true
		}
	}
}

func (d dumb) remove(r Range) {
	for v := r.First; v <= r.Last; v++ {
		delete(d, v)
	}
}

func (d dumb) ranges() []Range {
	var out []Range
	for _, v := range slices.Sorted(maps.Keys(d)) {
		if n := len(out); n > 0 && out[n-1].Last+1 == v {
			out[n-1].Last = v
		} else {
			out = append(out, Range{v, v})
		}
	}
	return out
}

const span = 40 // versions in the property tests, few enough to collide often

func randomRange(r *rand.Rand) Range {
	first := changeset.Version(r.IntN(span))
	return Range{first, max(first+changeset.Version(r.IntN(6)), 1) - 1} // sometimes empty, sometimes with 0
}

func randomSet(r *rand.Rand) (Set, dumb) {
	var s Set
	d := dumb{}
	for range r.IntN(12) {
		x := randomRange(r)
		if r.IntN(4) == 0 {
			s.Remove(x)
			d.remove(x)
		} else {
			s.Add(x)
			d.add(x)
		}
	}
	return s, d
}

func TestSetBehavesLikeAMap(t *testing.T) {
	for seed := range uint64(3000) {
		r := rand.New(rand.NewPCG(seed, 1))
		s, ds := randomSet(r)
		u, du := randomSet(r)
		checkSet(t, seed, "set", s, ds)

		union, minus := maps.Clone(ds), maps.Clone(ds)
		common := false
		for v := range du {
			union[v] = true
			common = common || ds[v]
			delete(minus, v)
		}
		checkSet(t, seed, "union", s.Union(u), union)
		checkSet(t, seed, "minus", s.Minus(u), minus)
		checkSet(t, seed, "SetOf", SetOf(s.Union(u).Ranges()...), union)
		if s.Intersects(u) != common {
			t.Fatalf("seed %d: Intersects(%s, %s) = %t", seed, s, u, !common)
		}
		checkSet(t, seed, "operand left", s, ds)
		checkSet(t, seed, "operand right", u, du)

		got, rest, err := DecodeSet(append(s.AppendBinary(nil), 7))
		if err != nil || len(rest) != 1 || !got.Equal(s) {
			t.Fatalf("seed %d: %s comes back as %s, %d bytes left, %v", seed, s, got, len(rest), err)
		}
	}
}

func checkSet(t *testing.T, seed uint64, what string, s Set, d dumb) {
	t.Helper()
	want := d.ranges()
	if !slices.Equal(s.Ranges(), want) {
		t.Fatalf("seed %d: %s has ranges %v, want %v", seed, what, s.Ranges(), want)
	}
	if s.Len() != uint64(len(d)) || s.IsEmpty() != (len(d) == 0) || !s.Equal(Set{ranges: want}) {
		t.Fatalf("seed %d: %s %s: Len %d, IsEmpty %t", seed, what, s, s.Len(), s.IsEmpty())
	}
	if len(want) > 0 && s.Last() != want[len(want)-1].Last || len(want) == 0 && s.Last() != 0 {
		t.Fatalf("seed %d: %s %s: Last %d", seed, what, s, s.Last())
	}
	for first := changeset.Version(0); first < span+8; first++ {
		if s.Contains(first) != d[first] {
			t.Fatalf("seed %d: %s %s: Contains(%d) = %t", seed, what, s, first, !d[first])
		}
		all := true
		for last := first; last < first+8; last++ {
			all = all && d[last]
			if s.ContainsRange(Range{first, last}) != all {
				t.Fatalf("seed %d: %s %s: ContainsRange(%d-%d) = %t", seed, what, s, first, last, !all)
			}
		}
	}
}

func TestSetIsAValue(t *testing.T) {
	a := SetOf(Range{1, 5}, Range{9, 9})
	b, c := a, a
	b.Add(Range{6, 6})
	c.Add(Range{10, 10})
	c.Remove(Range{2, 2})
	a.Add(Range{7, 7})
	for _, x := range []struct {
		set  Set
		want string
	}{{a, "1-5,7,9"}, {b, "1-6,9"}, {c, "1,3-5,9-10"}} {
		if x.set.String() != x.want {
			t.Errorf("got %s, want %s", x.set, x.want)
		}
	}
}

func TestSetKeepsToVersionsThatExist(t *testing.T) {
	var s Set
	s.Add(Range{0, 0})
	s.Add(Range{5, 4})
	s.Add(Range{changeset.MaxVersion + 1, ^changeset.Version(0)})
	if !s.IsEmpty() {
		t.Fatalf("got %s, want nothing", s)
	}
	s.Add(Range{0, ^changeset.Version(0)})
	if want := (Range{1, changeset.MaxVersion}); !slices.Equal(s.Ranges(), []Range{want}) {
		t.Fatalf("got %s, want %s", s, want)
	}
	got, _, err := DecodeSet(s.AppendBinary(nil))
	if err != nil || !got.Equal(s) {
		t.Fatalf("all versions come back as %s, %v", got, err)
	}
}
