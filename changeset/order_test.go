package changeset

import (
	"math/rand/v2"
	"slices"
	"testing"
)

func TestKeyMergeFindsAKeyInTwoRuns(t *testing.T) {
	r := rand.New(rand.NewPCG(10, 11))
	repeats := 0
	for range 3000 {
		var changes []Change
		var starts []int32
		seen, want := map[int]int{}, map[int]bool{}
		for range 1 + r.IntN(6) {
			starts = append(starts, int32(len(changes)))
			run := r.Perm(40)[:1+r.IntN(6)]
			slices.Sort(run)
			for _, k := range run {
				if seen[k]++; seen[k] > 1 {
					want[k] = true
				}
				changes = append(changes, Change{Key: []Value{IntegerValue(int64(k))}})
			}
		}
		m := keyMerge{order: identity(nil, len(changes)), starts: slices.Clone(starts)}
		i, found := m.repeated(changes)
		if found != (len(want) > 0) || found && !want[int(changes[i].Key[0].Integer())] {
			t.Fatalf("runs at %v of %v: found %v at %d", starts, changes, found, i)
		}
		if found {
			repeats++
		}
	}
	if repeats < 500 || repeats > 2500 {
		t.Errorf("%d of 3000 had a repeated key: the test says little", repeats)
	}
}

func TestNamesCompareWithoutASCIICase(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"a", "A", 0}, {"a", "b", -1}, {"B", "a", 1}, {"a", "ab", -1}, {"AB", "a", 1}, {"", "", 0},
		{"é", "É", 1}, {"[", "a", -1}, {"_", "Z", -1},
	} {
		if got := compareNames(c.a, c.b); got != c.want {
			t.Errorf("%q and %q: %d", c.a, c.b, got)
		}
	}
}
