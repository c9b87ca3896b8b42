package antientropy

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/sync/versions"
)

func randomNeeds(r *rand.Rand) (needs []versions.Need, all map[changeset.ID]bool) {
	all = map[changeset.ID]bool{}
	for a := range r.IntN(4) {
		var set versions.Set
		for range 1 + r.IntN(6) {
			first := changeset.Version(1 + r.IntN(100))
			set.Add(versions.Range{First: first, Last: first + changeset.Version(r.IntN(30))})
		}
		needs = append(needs, versions.Need{Actor: actor(a + 1), Ranges: set.Ranges()})
		for _, x := range set.Ranges() {
			for v := x.First; v <= x.Last; v++ {
				all[changeset.ID{Actor: actor(a + 1), Version: v}] = true
			}
		}
	}
	return needs, all
}

func TestWalkYieldsEachVersionOnce(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		needs, all := randomNeeds(r)
		w := newWalk(needs)
		for {
			n := 1 + r.IntN(20)
			ids := w.next(n)
			if len(ids) > n || len(ids) < n && len(all) > len(ids) {
				t.Fatalf("seed %d: %d ids for %d, %d left", seed, len(ids), n, len(all))
			}
			for _, id := range ids {
				if !all[id] {
					t.Fatalf("seed %d: %v twice or never asked", seed, id)
				}
				delete(all, id)
			}
			if len(ids) == 0 {
				break
			}
		}
	}
}

func TestWalkAlternatesBetweenNewestAndOldest(t *testing.T) {
	w := newWalk([]versions.Need{
		{Actor: actor(1), Ranges: []versions.Range{{First: 1, Last: 1}, {First: 5, Last: 300}}},
		{Actor: actor(2), Ranges: []versions.Range{{First: 7, Last: 8}}},
	})
	if got, want := printIDs(w.next(8)), "1:300 2:8 1:1 2:7 1:299 1:5 1:298 1:6"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	rest := w.next(1000)
	if upper := rest[len(rest)-1].Version; upper != 300-NewestFirst {
		t.Errorf("the last one is %d, want %d: %d newest ones first, then ascending", upper, 300-NewestFirst, NewestFirst)
	}
}

func TestPendingCutsOnlyWhatIsThere(t *testing.T) {
	for seed := range uint64(500) {
		r := rand.New(rand.NewPCG(seed, 2))
		needs, all := randomNeeds(r)
		p := newPending(needs)
		for range 200 {
			first := changeset.Version(1 + r.IntN(140))
			x := versions.Range{First: first, Last: first + changeset.Version(r.IntN(4))}
			a := actor(1 + r.IntN(4))
			whole := true
			for v := x.First; v <= x.Last; v++ {
				whole = whole && all[changeset.ID{Actor: a, Version: v}]
			}
			if p.cut(a, x) != whole {
				t.Fatalf("seed %d: cut %s of %s is %t", seed, x, name(a), !whole)
			}
			for v := x.First; whole && v <= x.Last; v++ {
				delete(all, changeset.ID{Actor: a, Version: v})
			}
		}
		for id := range all {
			if !p.cut(id.Actor, versions.Range{First: id.Version, Last: id.Version}) {
				t.Fatalf("seed %d: %v is gone", seed, id)
			}
		}
		if len(p) != 0 {
			t.Fatalf("seed %d: left over: %v", seed, p)
		}
		for _, n := range needs { // the needs were only read
			if !slices.Equal(versions.SetOf(n.Ranges...).Ranges(), n.Ranges) {
				t.Fatalf("seed %d: needs changed", seed)
			}
		}
	}
}
