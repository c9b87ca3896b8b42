package versions

import "github.com/patinadb/patina/changeset"

// Need is what one node lacks of an actor and another has.
type Need struct {
	Actor  changeset.ActorID
	Ranges []Range // sorted, neither touching nor overlapping, at least one
}

// Len counts the versions needed.
func (n Need) Len() uint64 { return Set{ranges: n.Ranges}.Len() }

// Missing returns what other has, applied or parked, and have has in neither
// set, sorted by actor. It costs one walk over both vectors.
func Missing(have, other *Vector) []Need {
	var needs []Need
	mine := have.items
	for i := range other.items {
		theirs := &other.items[i]
		for len(mine) > 0 && mine[0].actor.Compare(theirs.actor) < 0 {
			mine = mine[1:]
		}
		lacks := theirs.entry.held()
		if len(mine) > 0 && mine[0].actor == theirs.actor {
			if mine[0].entry == theirs.entry {
				continue
			}
			lacks = lacks.Minus(mine[0].entry.Applied).Minus(mine[0].entry.Parked)
		}
		if !lacks.IsEmpty() {
			needs = append(needs, Need{theirs.actor, lacks.ranges})
		}
	}
	return needs
}
