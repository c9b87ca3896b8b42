package versions

import (
	"encoding/binary"
	"fmt"

	"github.com/patinadb/patina/changeset"
)

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

// minNeedSize is the least number of bytes of an encoded need: one range.
const minNeedSize = changeset.ActorSize + 1 + minRangeSize

// AppendNeeds appends needs, which are sorted by actor and at least one, as
// transport/WIRE.md has them.
func AppendNeeds(b []byte, needs []Need) []byte {
	b = binary.AppendUvarint(b, uint64(len(needs)))
	for _, n := range needs {
		b = append(b, n.Actor[:]...)
		b = Set{ranges: n.Ranges}.AppendBinary(b)
	}
	return b
}

// DecodeNeeds reads needs that fill b. It keeps nothing of b, allocates in proportion
// to it, and accepts only what AppendNeeds writes. The errors are changeset's.
func DecodeNeeds(b []byte) ([]Need, error) {
	n, b, err := decodeUvarint(b)
	switch {
	case err != nil:
		return nil, fmt.Errorf("number of actors: %w", err)
	case n == 0:
		return nil, fmt.Errorf("number of actors: %w", changeset.ErrCorrupt)
	case n > uint64(len(b)/minNeedSize):
		return nil, fmt.Errorf("%d actors in %d bytes: %w", n, len(b), changeset.ErrTruncated)
	}
	out := make([]Need, n)
	var last changeset.ActorID
	for i := range out {
		if len(b) < changeset.ActorSize {
			return nil, fmt.Errorf("actor %d: %w", i, changeset.ErrTruncated)
		}
		out[i].Actor = changeset.ActorID(b)
		set, rest, err := DecodeSet(b[changeset.ActorSize:])
		switch {
		case err != nil:
			return nil, fmt.Errorf("versions of actor %d: %w", i, err)
		case set.IsEmpty() || out[i].Actor.Compare(last) <= 0:
			return nil, fmt.Errorf("actor %d is empty or not above the one before: %w", i, changeset.ErrCorrupt)
		}
		out[i].Ranges, last, b = set.Ranges(), out[i].Actor, rest
	}
	if len(b) > 0 {
		return nil, fmt.Errorf("%d bytes after the end: %w", len(b), changeset.ErrCorrupt)
	}
	return out, nil
}
