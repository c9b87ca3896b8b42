package changeset

import (
	"encoding/hex"

	"github.com/patinadb/patina/changeset/hlc"
)

// HashSize is the length of a Hash in bytes.
const HashSize = 32

// Hash is the BLAKE3-256 of a changeset's canonical bytes, header included.
type Hash [HashSize]byte

// String returns lower-case hexadecimal.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// IsZero reports whether h is the zero hash: "none", as of the version before 1.
func (h Hash) IsZero() bool { return h == Hash{} }

// ID names a changeset: the version of an actor.
type ID struct {
	Actor   ActorID
	Version Version
}

// Header is what a changeset says of itself.
type Header struct {
	Actor   ActorID
	Version Version       // 1 … MaxVersion
	Time    hlc.Timestamp // of the commit group, by the origin's clock
	// Previous is the hash of the same actor's changeset Version-1, zero for
	// version 1. It chains an actor's history, so that a fork is seen.
	Previous Hash
	// After lists, for each actor, the origin's own included, the highest
	// version among the stamps in the clocks of the rows that this changeset
	// touched, as they were before it; so its own entry is below Version. Sorted
	// by actor, each once.
	After []ID
}

// ID returns the changeset's name.
func (h Header) ID() ID { return ID{h.Actor, h.Version} }

// Stamp returns the stamp that all changes of the changeset carry.
func (h Header) Stamp() Stamp { return Stamp{h.Time, h.Actor, h.Version} }

// Changeset is all changes of one version: the unit of replication and of
// atomicity.
type Changeset struct {
	Header
	Tables []TableChanges // sorted by name without regard to ASCII case, then generation; each pair once
}

// TableChanges is the part of a changeset that belongs to one table.
type TableChanges struct {
	// Name as in the origin's schema; tables match without regard to ASCII case.
	Name string
	// Generation is the causal length of the table itself: 1 for a table that
	// was never dropped, always odd.
	Generation CausalLength
	// Key and Columns name the key columns and the other columns that the
	// changes refer to by position, each in the origin's order. Decode returns
	// in Columns only those that some change carries.
	Key     []string
	Columns []string
	// Changes are sorted by causal length, columns and key in what Decode
	// returns; in what Seal takes they may have any order. Each key once.
	Changes []Change
}

// Change is one row's event.
type Change struct {
	// Key holds one value for each of TableChanges.Key.
	Key []Value
	// CausalLength is the row's after the change; even is a deletion.
	CausalLength CausalLength
	// Columns are the positions in TableChanges.Columns that changed. Empty for
	// a deletion, and for a row that was made with nothing but its key.
	Columns ColumnSet
	// Values holds one value for each member of Columns, ascending.
	Values []Value
}

// Rows counts the changes of all tables.
func (c *Changeset) Rows() int {
	n := 0
	for i := range c.Tables {
		n += len(c.Tables[i].Changes)
	}
	return n
}
