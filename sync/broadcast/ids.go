package broadcast

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/sync/versions"
)

// maxIDsSize is more bytes than MaxIDs take in any grouping: 24 each, and their number.
const maxIDsSize = 32 * MaxIDs

// AppendIDs appends a list of changesets, at least one and at most MaxIDs, as
// transport/WIRE.md has it: their order and those that are there twice are lost.
func AppendIDs(b []byte, ids []changeset.ID) []byte {
	ids = slices.Clone(ids)
	slices.SortFunc(ids, func(a, b changeset.ID) int {
		return cmp.Or(a.Actor.Compare(b.Actor), cmp.Compare(a.Version, b.Version))
	})
	var needs []versions.Need
	for len(ids) > 0 {
		actor, set := ids[0].Actor, versions.Set{}
		for len(ids) > 0 && ids[0].Actor == actor {
			set.Add(versions.Range{First: ids[0].Version, Last: ids[0].Version})
			ids = ids[1:]
		}
		needs = append(needs, versions.Need{Actor: actor, Ranges: set.Ranges()})
	}
	return versions.AppendNeeds(b, needs)
}

// DecodeIDs reads a list of at most MaxIDs changesets that fills b, sorted by actor
// and version. It accepts only what AppendIDs writes. The errors are changeset's.
func DecodeIDs(b []byte) (ids []changeset.ID, err error) {
	if len(b) > maxIDsSize {
		return nil, fmt.Errorf("broadcast: ids of %d bytes, at most %d: %w", len(b), maxIDsSize, changeset.ErrTooLarge)
	}
	needs, err := versions.DecodeNeeds(b)
	if err != nil {
		return nil, fmt.Errorf("broadcast: ids: %w", err)
	}
	for _, n := range needs {
		if n.Len() > uint64(MaxIDs-len(ids)) {
			return nil, fmt.Errorf("broadcast: more than %d ids: %w", MaxIDs, changeset.ErrTooLarge)
		}
		for _, r := range n.Ranges {
			for v := r.First; v <= r.Last; v++ {
				ids = append(ids, changeset.ID{Actor: n.Actor, Version: v})
			}
		}
	}
	return ids, nil
}
