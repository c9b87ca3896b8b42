package versions

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/patinadb/patina/changeset"
)

func actor(n int) (a changeset.ActorID) {
	binary.BigEndian.PutUint32(a[12:], uint32(n+1))
	return a
}

func head(n uint64) (h changeset.Hash) {
	binary.BigEndian.PutUint64(h[24:], n)
	return h
}

// randomVector returns a vector of up to eight actors and the sets of versions
// that each was given.
func randomVector(r *rand.Rand) (v *Vector, applied, parked map[changeset.ActorID]dumb) {
	v = NewVector()
	applied, parked = map[changeset.ActorID]dumb{}, map[changeset.ActorID]dumb{}
	for _, n := range r.Perm(8)[:r.IntN(9)] {
		a, da := randomSet(r)
		p, dp := randomSet(r)
		v.Put(actor(n), Entry{a, p, head(r.Uint64())})
		for x := range da {
			delete(dp, x) // what is in both is applied
		}
		applied[actor(n)], parked[actor(n)] = da, dp
	}
	return v, applied, parked
}

// TestAppliedOnly leaves out what is parked, and keeps the digest.
func TestAppliedOnly(t *testing.T) {
	v := NewVector()
	a, b := changeset.ActorID{1}, changeset.ActorID{2}
	v.Put(a, Entry{Applied: SetOf(Range{1, 3}), Head: changeset.Hash{9}})
	if v.AppliedOnly() != v {
		t.Error("a vector without parked versions is copied")
	}
	v.Put(a, Entry{Applied: SetOf(Range{1, 3}), Parked: SetOf(Range{5, 5}), Head: changeset.Hash{9}})
	v.Put(b, Entry{Parked: SetOf(Range{1, 1})})
	got := v.AppliedOnly()
	if got.Digest() != v.Digest() || got.Holds(changeset.ID{Actor: a, Version: 5}) || got.Len() != 1 || !v.Holds(changeset.ID{Actor: b, Version: 1}) {
		t.Errorf("got %v of %v", got, v)
	}
}

func TestVectorBehavesLikeAMap(t *testing.T) {
	for seed := range uint64(500) {
		r := rand.New(rand.NewPCG(seed, 2))
		v, applied, parked := randomVector(r)
		actors := v.Actors()
		if !slices.IsSortedFunc(actors, changeset.ActorID.Compare) || v.Len() != len(actors) {
			t.Fatalf("seed %d: %d actors %v", seed, v.Len(), actors)
		}
		for n := range 8 {
			a := actor(n)
			e := v.Entry(a)
			checkSet(t, seed, "applied", e.Applied, applied[a])
			checkSet(t, seed, "parked", e.Parked, parked[a])
			if listed := slices.Contains(actors, a); listed == e.isEmpty() {
				t.Fatalf("seed %d: actor %d listed %t", seed, n, listed)
			}
			if e.Head.IsZero() != e.Applied.IsEmpty() {
				t.Fatalf("seed %d: actor %d: head %s with applied %s", seed, n, e.Head, e.Applied)
			}
			for x := changeset.Version(0); x < span+8; x++ {
				if want := applied[a][x] || parked[a][x]; v.Holds(changeset.ID{Actor: a, Version: x}) != want {
					t.Fatalf("seed %d: Holds(%d, %d) = %t", seed, n, x, !want)
				}
			}
		}
	}
}

func TestMissingIsWhatOnlyTheOtherHolds(t *testing.T) {
	for seed := range uint64(500) {
		r := rand.New(rand.NewPCG(seed, 3))
		v, _, _ := randomVector(r)
		w, _, _ := randomVector(r)
		if r.IntN(3) == 0 {
			w = v.Clone() // shared entries take the short way
			w.Put(actor(3), Entry{Applied: SetOf(Range{1, 50})})
		}
		needs := Missing(v, w)
		got := map[changeset.ID]bool{}
		for i, n := range needs {
			if i > 0 && needs[i-1].Actor.Compare(n.Actor) >= 0 {
				t.Fatalf("seed %d: needs are not sorted", seed)
			}
			if len(n.Ranges) == 0 || !slices.Equal(SetOf(n.Ranges...).Ranges(), n.Ranges) {
				t.Fatalf("seed %d: need of ranges %v", seed, n.Ranges)
			}
			count := uint64(0)
			for _, x := range n.Ranges {
				for ver := x.First; ver <= x.Last; ver++ {
					got[changeset.ID{Actor: n.Actor, Version: ver}] = true
					count++
				}
			}
			if n.Len() != count {
				t.Fatalf("seed %d: Len %d, want %d", seed, n.Len(), count)
			}
		}
		for n := range 8 {
			for x := changeset.Version(1); x < 60; x++ {
				id := changeset.ID{Actor: actor(n), Version: x}
				if want := w.Holds(id) && !v.Holds(id); got[id] != want {
					t.Fatalf("seed %d: %v needed: %t, want %t", seed, id, got[id], want)
				}
			}
		}
	}
}

func TestDigestIsEqualExactlyForEqualAppliedVersions(t *testing.T) {
	base := func() *Vector {
		v := NewVector()
		v.Put(actor(1), Entry{Applied: SetOf(Range{1, 4}, Range{6, 9}), Head: head(1)})
		v.Put(actor(2), Entry{Applied: SetOf(Range{1, 1}), Head: head(2)})
		return v
	}
	for _, test := range []struct {
		desc        string
		equal, full bool
		make        func(v *Vector)
	}{
		{"nothing done", true, true, func(*Vector) {}},
		{"put again in another order", true, true, func(v *Vector) {
			e := v.Entry(actor(1))
			v.Put(actor(1), Entry{})
			v.Put(actor(1), e)
		}},
		{"an actor with nothing but parked versions", true, false, func(v *Vector) {
			v.Put(actor(0), Entry{Parked: SetOf(Range{1, 3}), Head: head(4)})
		}},
		{"a parked version beside applied ones", true, false, func(v *Vector) {
			e := v.Entry(actor(1))
			e.Parked.Add(Range{11, 11})
			v.Put(actor(1), e)
		}},
		{"an actor less", false, false, func(v *Vector) { v.Put(actor(2), Entry{}) }},
		{"an actor more", false, false, func(v *Vector) { v.Put(actor(3), Entry{Applied: SetOf(Range{1, 1})}) }},
		{"another actor", false, false, func(v *Vector) {
			e := v.Entry(actor(2))
			v.Put(actor(2), Entry{})
			v.Put(actor(3), e)
		}},
		{"another head", false, false, func(v *Vector) {
			e := v.Entry(actor(1))
			e.Head = head(9)
			v.Put(actor(1), e)
		}},
		{"a hole filled", false, false, func(v *Vector) {
			e := v.Entry(actor(1))
			e.Applied.Add(Range{5, 5})
			v.Put(actor(1), e)
		}},
	} {
		t.Run(test.desc, func(t *testing.T) {
			v, w := base(), base()
			before := v.Digest() // remembered: the Put below must forget it
			test.make(v)
			if got := v.Digest() == w.Digest(); got != test.equal {
				t.Errorf("digests equal: %t, want %t", got, test.equal)
			}
			if got := v.FullDigest() == w.FullDigest(); got != test.full {
				t.Errorf("full digests equal: %t, want %t", got, test.full)
			}
			if w.Digest() != before {
				t.Error("the digest of an untouched vector changed")
			}
		})
	}
}

func TestCloneIsIndependent(t *testing.T) {
	v := NewVector()
	for n := range 5 {
		v.Put(actor(n), Entry{Applied: SetOf(Range{1, 3})})
	}
	want := fmt.Sprint(v.Actors(), v.Digest())
	w := v.Clone()
	if !v.Equal(w) || w.Digest() != v.Digest() {
		t.Fatal("a clone differs")
	}
	w.Put(actor(1), Entry{})
	w.Put(actor(2), Entry{Applied: SetOf(Range{1, 9})})
	w.Put(actor(8), Entry{Parked: SetOf(Range{1, 9})})
	if got := fmt.Sprint(v.Actors(), v.Digest()); got != want {
		t.Fatalf("changing a clone changed the original: %s, was %s", got, want)
	}
	if v.Equal(w) || w.Digest() == v.Digest() {
		t.Fatal("a changed clone counts as equal")
	}
}

// A publisher clones and puts one entry after each commit.
func BenchmarkCloneAndPut(b *testing.B) {
	for _, actors := range []int{3, 100, 10_000} {
		b.Run(fmt.Sprint(actors), func(b *testing.B) {
			v := NewVector()
			for n := range actors {
				v.Put(actor(n), Entry{Applied: SetOf(Range{1, changeset.Version(n + 1)}), Head: head(1)})
			}
			b.ReportAllocs()
			for i := range b.N {
				v = v.Clone()
				e := v.Entry(actor(i % actors))
				last := e.Applied.Last() + 1
				e.Applied.Add(Range{last, last})
				v.Put(actor(i%actors), e)
			}
		})
	}
}

func BenchmarkDigest(b *testing.B) {
	v := NewVector()
	for n := range 10_000 {
		v.Put(actor(n), Entry{Applied: SetOf(Range{1, 1000}), Head: head(1)})
	}
	for b.Loop() {
		v.digest.Store(nil)
		v.Digest()
	}
}
