package broadcast

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/sync/versions"
)

// AppendIDs appends a list of changesets as transport/WIRE.md has it: their order and
// those that are there twice are lost. At most MaxIDs fit.
func AppendIDs(b []byte, ids []changeset.ID) []byte {
	ids = slices.Clone(ids)
	slices.SortFunc(ids, func(a, b changeset.ID) int {
		return cmp.Or(a.Actor.Compare(b.Actor), cmp.Compare(a.Version, b.Version))
	})
	actors := 0
	for i := range ids {
		if i == 0 || ids[i].Actor != ids[i-1].Actor {
			actors++
		}
	}
	b = binary.AppendUvarint(b, uint64(actors))
	for len(ids) > 0 {
		actor, set := ids[0].Actor, versions.Set{}
		for len(ids) > 0 && ids[0].Actor == actor {
			set.Add(versions.Range{First: ids[0].Version, Last: ids[0].Version})
			ids = ids[1:]
		}
		b = append(b, actor[:]...)
		b = set.AppendBinary(b)
	}
	return b
}

// DecodeIDs reads a list of at most MaxIDs changesets that fills b, sorted by actor
// and version. It accepts only what AppendIDs writes. The errors are changeset's.
func DecodeIDs(b []byte) (ids []changeset.ID, err error) {
	fail := func(format string, args ...any) ([]changeset.ID, error) {
		return nil, fmt.Errorf("broadcast: ids: "+format, args...)
	}
	actors, n := binary.Uvarint(b)
	switch {
	case n == 0:
		return fail("number of actors: %w", changeset.ErrTruncated)
	case n < 0 || n > 1 && b[n-1] == 0:
		return fail("number of actors: %w", changeset.ErrCorrupt)
	case actors > MaxIDs:
		return fail("%d actors, at most %d: %w", actors, MaxIDs, changeset.ErrTooLarge)
	}
	b = b[n:]
	var last changeset.ActorID
	for range actors {
		var actor changeset.ActorID
		if len(b) < len(actor) {
			return fail("actor: %w", changeset.ErrTruncated)
		}
		b = b[copy(actor[:], b):]
		if actor.Compare(last) <= 0 {
			return fail("actor %v is not above the one before: %w", actor, changeset.ErrCorrupt)
		}
		last = actor
		set, rest, err := versions.DecodeSet(b)
		switch {
		case err != nil:
			return fail("versions of %v: %w", actor, err)
		case set.IsEmpty():
			return fail("no versions of %v: %w", actor, changeset.ErrCorrupt)
		case set.Len() > uint64(MaxIDs-len(ids)):
			return fail("more than %d versions: %w", MaxIDs, changeset.ErrTooLarge)
		}
		b = rest
		for _, r := range set.Ranges() {
			for v := r.First; v <= r.Last; v++ {
				ids = append(ids, changeset.ID{Actor: actor, Version: v})
			}
		}
	}
	if len(b) > 0 {
		return fail("%d bytes follow: %w", len(b), changeset.ErrCorrupt)
	}
	return ids, nil
}
