package changeset

import (
	"cmp"

	"github.com/patinadb/patina/changeset/hlc"
)

// Version numbers the local transactions of one actor: 1, 2, 3 … without holes
// at the origin. 0 is "none".
type Version uint64

// MaxVersion bounds versions: the log's key keeps 40 bits for them.
const MaxVersion Version = 1<<40 - 1

// Stamp is the total order that decides a column: time, then actor, then
// version. Two different changesets never have equal stamps.
type Stamp struct {
	Time    hlc.Timestamp
	Actor   ActorID
	Version Version
}

// Compare orders stamps: -1, 0 or 1.
func (s Stamp) Compare(t Stamp) int {
	if c := cmp.Compare(s.Time, t.Time); c != 0 {
		return c
	}
	if c := s.Actor.Compare(t.Actor); c != 0 {
		return c
	}
	return cmp.Compare(s.Version, t.Version)
}

// Wins reports whether s decides a column over t. It is the one place where the
// stamps of two writers are compared; values never take part (DESIGN section 2,
// rule 2: two transactions of one millisecond must not mix into a row that
// nobody wrote).
func Wins(s, t Stamp) bool { return s.Compare(t) > 0 }
