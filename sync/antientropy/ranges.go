package antientropy

import (
	"slices"
	"sort"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/sync/versions"
)

// walk yields the versions that one side of a session answers, in the order of
// the package comment.
type walk struct {
	actors []actorWalk
	turn   int // index of the actor whose turn it is
}

type actorWalk struct {
	actor  changeset.ActorID
	ranges []versions.Range // what is left; own memory
	newest int              // how many more may be taken from the upper end
	upper  bool             // the next is taken from the upper end
}

func newWalk(needs []versions.Need) *walk {
	w := &walk{actors: make([]actorWalk, len(needs))}
	for i, n := range needs {
		w.actors[i] = actorWalk{n.Actor, slices.Clone(n.Ranges), NewestFirst, true}
	}
	return w
}

// next returns up to n ids, none if all were yielded.
func (w *walk) next(n int) []changeset.ID {
	var ids []changeset.ID
	for len(ids) < n && len(w.actors) > 0 {
		if w.turn >= len(w.actors) {
			w.turn = 0
		}
		a := &w.actors[w.turn]
		ids = append(ids, changeset.ID{Actor: a.actor, Version: a.take()})
		if len(a.ranges) > 0 {
			w.turn++
		} else {
			w.actors = slices.Delete(w.actors, w.turn, w.turn+1)
		}
	}
	return ids
}

func (a *actorWalk) take() changeset.Version {
	first, last := &a.ranges[0], &a.ranges[len(a.ranges)-1]
	upper := a.upper && a.newest > 0
	a.upper = !a.upper
	if upper {
		a.newest--
		v := last.Last
		if last.Last--; last.Last < last.First {
			a.ranges = a.ranges[:len(a.ranges)-1]
		}
		return v
	}
	v := first.First
	if first.First++; first.First > first.Last {
		a.ranges = a.ranges[1:]
	}
	return v
}

// pending is what the peer has still to answer in a session.
type pending map[changeset.ActorID][]versions.Range

func newPending(needs []versions.Need) pending {
	p := make(pending, len(needs))
	for _, n := range needs {
		p[n.Actor] = slices.Clone(n.Ranges)
	}
	return p
}

// cut takes the versions of r out; false, and nothing is cut, if one of them is
// not there. Answers come from either end, where the cost is constant.
func (p pending) cut(actor changeset.ActorID, r versions.Range) bool {
	ranges := p[actor]
	i := 0
	if n := len(ranges); n > 0 && ranges[n-1].First <= r.First {
		i = n - 1
	} else if n > 0 && ranges[0].Last < r.First {
		i = sort.Search(n, func(i int) bool { return ranges[i].Last >= r.First })
	}
	if i >= len(ranges) || r.First < ranges[i].First || r.Last > ranges[i].Last {
		return false
	}
	hit := ranges[i]
	switch {
	case hit == r && i == 0:
		ranges = ranges[1:]
	case hit == r:
		ranges = slices.Delete(ranges, i, i+1)
	case r.First == hit.First:
		ranges[i].First = r.Last + 1
	case r.Last == hit.Last:
		ranges[i].Last = r.First - 1
	default:
		ranges[i].Last = r.First - 1
		ranges = slices.Insert(ranges, i+1, versions.Range{First: r.Last + 1, Last: hit.Last})
	}
	if p[actor] = ranges; len(ranges) == 0 {
		delete(p, actor)
	}
	return true
}

// sets gathers versions by actor.
type sets map[changeset.ActorID]versions.Set

func (s sets) add(actor changeset.ActorID, r versions.Range) {
	set := s[actor]
	set.Add(r)
	s[actor] = set
}

// needs returns what was gathered, sorted by actor, and counts its ranges.
func (s sets) needs() (out []versions.Need, ranges int) {
	for actor, set := range s {
		out = append(out, versions.Need{Actor: actor, Ranges: set.Ranges()})
		ranges += len(set.Ranges())
	}
	slices.SortFunc(out, func(a, b versions.Need) int { return a.Actor.Compare(b.Actor) })
	return out, ranges
}

// count returns the number of versions.
func (s sets) count() (n uint64) {
	for _, set := range s {
		n += set.Len()
	}
	return n
}
