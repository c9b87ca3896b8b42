package versions

import (
	"slices"
	"sort"
	"sync/atomic"

	"github.com/patinadb/patina/changeset"
	"github.com/zeebo/blake3"
)

// Entry is what a node has of one actor.
type Entry struct {
	// Applied versions are merged into the tables.
	Applied Set
	// Parked versions are kept durably and not merged; disjoint from Applied.
	Parked Set
	// Head is the hash of the changeset Applied.Last(), zero if there is none.
	Head changeset.Hash
}

// isEmpty reports whether e says nothing.
func (e *Entry) isEmpty() bool { return e.Applied.IsEmpty() && e.Parked.IsEmpty() }

// held returns applied and parked versions together.
func (e *Entry) held() Set { return e.Applied.Union(e.Parked) }

// Vector is what a node has: an Entry for each actor it knows versions of. A
// vector that nobody changes may be read and cloned by any number of
// goroutines.
type Vector struct {
	// items are sorted by actor, each once, none empty. The entries are shared
	// between clones and never written to.
	items []item
	// digest remembers Digest until the next Put.
	digest atomic.Pointer[[32]byte]
}

type item struct {
	actor changeset.ActorID
	entry *Entry
}

// NewVector returns a vector without actors.
func NewVector() *Vector { return &Vector{} }

// search returns the index of actor, or where it would be.
func (v *Vector) search(actor changeset.ActorID) (i int, found bool) {
	i = sort.Search(len(v.items), func(i int) bool { return v.items[i].actor.Compare(actor) >= 0 })
	return i, i < len(v.items) && v.items[i].actor == actor
}

// Entry returns what v has of actor, the zero Entry if nothing.
func (v *Vector) Entry(actor changeset.ActorID) Entry {
	if i, ok := v.search(actor); ok {
		return *v.items[i].entry
	}
	return Entry{}
}

// Actors returns the actors that v has versions of, in ascending order.
func (v *Vector) Actors() []changeset.ActorID {
	out := make([]changeset.ActorID, len(v.items))
	for i := range v.items {
		out[i] = v.items[i].actor
	}
	return out
}

// Len counts the actors.
func (v *Vector) Len() int { return len(v.items) }

// Put replaces what v has of actor. What contradicts Entry's rules is mended: a
// version in both sets is applied, the head of no version is none; an entry
// without versions removes the actor.
func (v *Vector) Put(actor changeset.ActorID, e Entry) {
	v.digest.Store(nil)
	e.Parked = e.Parked.Minus(e.Applied)
	if e.Applied.IsEmpty() {
		e.Head = changeset.Hash{}
	}
	i, found := v.search(actor)
	switch {
	case e.isEmpty() && found:
		v.items = slices.Delete(v.items, i, i+1)
	case e.isEmpty():
	case found:
		v.items[i].entry = &e
	default:
		v.items = slices.Insert(v.items, i, item{actor, &e})
	}
}

// Clone returns a vector that may be changed without touching v. It costs one
// copy of 24 bytes for each actor.
func (v *Vector) Clone() *Vector {
	c := &Vector{items: slices.Clone(v.items)}
	c.digest.Store(v.digest.Load())
	return c
}

// AppliedOnly returns v without what is parked: what two nodes whose Digest is
// equal have in common.
func (v *Vector) AppliedOnly() *Vector {
	if !slices.ContainsFunc(v.items, func(it item) bool { return !it.entry.Parked.IsEmpty() }) {
		return v
	}
	out := v.Clone()
	for _, it := range v.items {
		out.Put(it.actor, Entry{Applied: it.entry.Applied, Head: it.entry.Head})
	}
	return out
}

// Holds reports whether v has the changeset, applied or parked.
func (v *Vector) Holds(id changeset.ID) bool {
	i, ok := v.search(id.Actor)
	if !ok {
		return false
	}
	e := v.items[i].entry
	return e.Applied.Contains(id.Version) || e.Parked.Contains(id.Version)
}

// Equal reports whether v and w are the same, parked versions included. (Equal
// applied sets and heads alone: compare the digests.)
func (v *Vector) Equal(w *Vector) bool {
	return slices.EqualFunc(v.items, w.items, func(a, b item) bool {
		return a.actor == b.actor && (a.entry == b.entry || a.entry.Head == b.entry.Head &&
			a.entry.Applied.Equal(b.entry.Applied) && a.entry.Parked.Equal(b.entry.Parked))
	})
}

// Digest returns the BLAKE3-256 of what v has applied: equal digests mean equal
// applied versions and equal heads. Parked versions, and actors that have
// nothing else, do not enter. It is computed once after each Put.
func (v *Vector) Digest() [32]byte {
	if d := v.digest.Load(); d != nil {
		return *d
	}
	d := v.hash(false)
	v.digest.Store(&d)
	return d
}

// FullDigest is a digest that covers parked versions too: of two vectors with
// equal full digests neither has anything that the other is missing.
func (v *Vector) FullDigest() [32]byte { return v.hash(true) }

func (v *Vector) hash(parked bool) (d [32]byte) {
	h := blake3.New()
	b := []byte{formatVersion}
	for i := range v.items {
		e := v.items[i].entry
		if e.Applied.IsEmpty() && !parked {
			continue
		}
		b = append(b, v.items[i].actor[:]...)
		b = e.Applied.AppendBinary(b)
		if parked {
			b = e.Parked.AppendBinary(b)
		}
		b = append(b, e.Head[:]...)
		h.Write(b)
		b = b[:0]
	}
	h.Write(b)
	h.Sum(d[:0])
	return d
}
