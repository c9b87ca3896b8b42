package store

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/sqlite"
)

// Rows beside their clocks, as Check, Repair and Adopt read them.

// clockState is what a row has for a clock.
type clockState uint8

const (
	clockFits    clockState = iota
	clockMissing            // none, and nothing knows the key
	clockDead               // its key counts as deleted
	clockOfOther            // at its rowid is the clock of another key
	clockDamaged            // its clock cannot be read
)

// clockJoin is the condition under which clock c belongs to row t.
func clockJoin(t *table) string {
	switch t.layout {
	case layoutInteger:
		return "c.id = t." + t.rowid
	case layoutRowid:
		return "c.rid = t." + t.rowid
	}
	return keyJoin(t, "c")
}

// keyJoin compares the key columns of t with those of a table by key.
func keyJoin(t *table, other string) string {
	var terms []string
	for n, name := range keyTerms(t, "t.") {
		terms = append(terms, fmt.Sprintf("%s.k%d = %s", other, n+1, name))
	}
	return strings.Join(terms, " AND ")
}

// rowClockSQL selects of each row its key, its clock, its tombstone, its rowid,
// and more; in the order of the key that the clock goes by, if where has
// something to say.
func rowClockSQL(t *table, more []string, where string) string {
	tomb, rowid := "NULL", "0"
	if t.layout == layoutRowid {
		tomb = "(SELECT d.m FROM " + quoteIdent(tombTable(t)) + " d WHERE " + keyJoin(t, "d") + ")"
	}
	if t.rowid != "" {
		rowid = "t." + t.rowid
	}
	terms := append(keyTerms(t, "t."), "c.m", tomb, rowid)
	sql := "SELECT " + joinTerms(append(terms, more...)) + " FROM " + quoteIdent(t.name) + " t LEFT JOIN " + quoteIdent(clockTable(t)) + " c ON " + clockJoin(t)
	if where != "" {
		sql += " WHERE " + where + " ORDER BY " + joinTerms(cursorTerms(t))
	}
	return sql
}

func joinTerms(terms []string) string { return strings.Join(terms, ", ") }

// cursorTerms are what a scan of t in parts goes by.
func cursorTerms(t *table) []string {
	if t.withoutRowid {
		return keyTerms(t, "t.")
	}
	return []string{"t." + t.rowid}
}

// columnValues copies the first n columns of the current row.
func columnValues(st *sqlite.Stmt, n int) []sqlite.Value {
	out := make([]sqlite.Value, n)
	for i := range out {
		out[i] = st.Column(i)
	}
	return out
}

// clockOfRow looks at the clock in a row of rowClockSQL, and reads it into k if
// it fits. A row of layoutRowid whose tombstone is of a longer life than its clock
// counts as deleted everywhere else.
func (w *writer) clockOfRow(t *table, st *sqlite.Stmt, k *changeset.Clock) clockState {
	keys := len(t.key)
	var dead changeset.Clock
	if st.Kind(keys+1) != changeset.Null && w.readStored(t, st.View(keys+1), &dead) != nil {
		return clockDamaged
	}
	if st.Kind(keys) == changeset.Null {
		if dead.CausalLength > 0 {
			return clockDead
		}
		return clockMissing
	}
	m := st.View(keys)
	if t.layout == layoutRowid {
		if len(m) < 8 {
			return clockDamaged
		}
		if binary.BigEndian.Uint64(m) != hashColumns(st, keys).Low {
			return clockOfOther
		}
		m = m[8:]
	}
	switch err := w.readStored(t, m, k); {
	case err != nil:
		return clockDamaged
	case dead.CausalLength > 0:
		return clockDead
	case !k.CausalLength.Alive() && t.layout == layoutRowid:
		return clockDamaged
	case !k.CausalLength.Alive():
		return clockDead
	}
	return clockFits
}

// readStored decodes a stored clock and checks the invariants of changeset.Clock
// and that it names no column that the table does not have.
func (w *writer) readStored(t *table, m []byte, k *changeset.Clock) error {
	if err := w.actors.decodeClock(m, k); err != nil {
		return err
	}
	deny := func(what string) error { return fmt.Errorf("row clock x'%x' %s: %w", m, what, errDamaged) }
	var covered changeset.ColumnSet
	for i, g := range k.Groups {
		same := func(o changeset.Group) bool { return o.Stamp == g.Stamp }
		switch {
		case !g.Columns.Minus(t.all).IsEmpty():
			return deny("names a column that is not there")
		case !g.Columns.Minus(covered).Equal(g.Columns), slices.ContainsFunc(k.Groups[:i], same):
			return deny("says something twice")
		case g.Columns.IsEmpty() && len(k.Groups) > 1, !g.Columns.IsEmpty() && !k.CausalLength.Alive():
			return deny("is no clock")
		case g.Stamp.Version == 0 || g.Stamp.Version > changeset.MaxVersion:
			return deny("has no version")
		}
		covered = covered.Union(g.Columns)
	}
	return nil
}

// keyFault says why a key cannot identify a row on every node, "" if it can.
func keyFault(t *table, key []sqlite.Value) string {
	size := 0
	for n, i := range t.key {
		if err := checkKeyValue(t, i, key[n]); err != nil {
			return err.Error()
		}
		size += len(key[n].Bytes())
	}
	if size > changeset.MaxKeySize {
		return fmt.Sprintf("the key has %d bytes, more than %d", size, changeset.MaxKeySize)
	}
	return ""
}
