package changeset

// CausalLength counts the creations and deletions of one row or table: 0 never
// existed, odd alive, even deleted.
type CausalLength uint64

// Alive reports whether a row of this causal length exists.
func (c CausalLength) Alive() bool { return c&1 == 1 }

// Group is a stamp and the columns that it wrote, by the ordinals of the local
// table. The deletion of a row is a pseudo-column: a group with no columns.
type Group struct {
	Columns ColumnSet
	Stamp   Stamp
}

// Clock is a row's clock. Invariants: the groups' column sets are disjoint and
// no two groups have the same stamp; a dead row has exactly one group, without
// columns; a living row has a group without columns only if it has no other; a
// column in no group is uncovered and has its apply default.
type Clock struct {
	CausalLength CausalLength
	Groups       []Group
}

// Outcome says what a merge asks of the row itself.
type Outcome uint8

// The outcomes of Merge.
const (
	// Ignored: the clock and the row stay as they are.
	Ignored Outcome = iota
	// Updated: the row stays; Decision.Columns take the change's values. The
	// columns may be none, when only the stamp of a group without columns moved.
	Updated
	// Created: the row starts afresh: Decision.Columns take the change's values,
	// every other column its apply default. The row may already be there, from
	// a shorter life.
	Created
	// Deleted: the row goes.
	Deleted
)

// Decision is the result of Merge.
type Decision struct {
	Outcome Outcome
	Columns ColumnSet
}

// Merge decides one change, whose stamp wrote columns at length, against the
// row's clock k, and updates k. A change with an even length is a deletion and
// carries no columns. Merge is commutative, associative and idempotent (DESIGN
// section 2, rules 1 to 3). It reuses the memory of k.Groups, so a copy of a
// Clock that must outlive the call needs its own groups.
func (k *Clock) Merge(length CausalLength, columns ColumnSet, stamp Stamp) Decision {
	switch {
	case length < k.CausalLength || length == 0:
		return Decision{}
	case length > k.CausalLength:
		k.CausalLength = length
		k.Groups = append(k.Groups[:0], Group{columns, stamp})
		if length.Alive() {
			return Decision{Created, columns}
		}
		return Decision{Outcome: Deleted}
	case columns.IsEmpty():
		return k.mergeExistence(stamp)
	}
	won := columns
	for i := range k.Groups {
		if !Wins(stamp, k.Groups[i].Stamp) {
			won = won.Minus(k.Groups[i].Columns)
		}
	}
	if won.IsEmpty() {
		return Decision{}
	}
	k.Cover(won, stamp)
	return Decision{Updated, won}
}

// mergeExistence decides a change without columns of the row's own length: a
// deletion, or a creation with nothing but the key. Existence is one
// pseudo-column, which the first real column replaces.
func (k *Clock) mergeExistence(stamp Stamp) Decision {
	if len(k.Groups) == 0 { // no stamp is left, so any is higher
		k.Groups = append(k.Groups, Group{Stamp: stamp})
		return Decision{Outcome: Updated}
	}
	if g := &k.Groups[0]; g.Columns.IsEmpty() && Wins(stamp, g.Stamp) {
		g.Stamp = stamp
		return Decision{Outcome: Updated}
	}
	return Decision{}
}

// Cover records that stamp wrote columns of a living row, taking them from
// every other group. Capture calls it for local updates, whose stamp is above
// all stamps that it overwrites by construction.
func (k *Clock) Cover(columns ColumnSet, stamp Stamp) {
	kept := k.Groups[:0]
	for _, g := range k.Groups {
		if g.Stamp == stamp {
			columns = columns.Union(g.Columns)
			continue
		}
		g.Columns = g.Columns.Minus(columns)
		if !g.Columns.IsEmpty() {
			kept = append(kept, g)
		}
	}
	k.Groups = append(kept, Group{columns, stamp})
}

// Covered returns the columns that some stamp wrote.
func (k *Clock) Covered() ColumnSet {
	var all ColumnSet
	for _, g := range k.Groups {
		all = all.Union(g.Columns)
	}
	return all
}
