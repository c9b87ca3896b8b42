package store

import (
	"errors"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/sqlite"
)

// Each version's share in the sums of the tables (DESIGN section 6, Verification)
// is gathered while its clocks are written: addDelta for each clock that is
// written, subDelta for each that it takes the place of.

// resetDeltas begins the deltas of a version.
func (w *writer) resetDeltas() {
	for _, s := range w.summed {
		s.delta = changeset.Sum{}
	}
	w.summed = w.summed[:0]
}

func (w *writer) addDelta(s *tableStatements, r *rowRef, k *changeset.Clock) {
	w.note(s)
	s.delta.Add(s.summer.Clock(r.hash, k))
}

func (w *writer) subDelta(s *tableStatements, r *rowRef, k *changeset.Clock) {
	if len(k.Groups) == 0 {
		return
	}
	w.note(s)
	s.delta.Sub(s.summer.Clock(r.hash, k))
}

// note lists s among the tables that the version touched.
func (w *writer) note(s *tableStatements) {
	if n := len(w.summed); n > 0 && w.summed[n-1] == s {
		return
	}
	for _, other := range w.summed {
		if other == s {
			return
		}
	}
	w.summed = append(w.summed, s)
}

// sumClocks computes the sum of a table from its clocks. Clocks after a damaged
// one are left out, with an error in the log: that keeps nobody from starting.
func (w *writer) sumClocks(t *table) (sum changeset.Sum, err error) {
	summer := newSummer(t)
	err = eachClock(w.conn, w.actors, t, func(key []sqlite.Value, k *changeset.Clock) error {
		sum.Add(summer.Clock(hashKey(key), k))
		return nil
	})
	if errors.Is(err, errDamaged) {
		w.log.Error("row clocks are damaged: the table's sum is incomplete", "table", t.name, "err", err)
		err = nil
	}
	return sum, err
}

func newSummer(t *table) *changeset.Summer {
	names := make([]string, len(t.data))
	for d, i := range t.data {
		names[d] = t.columns[i].name
	}
	return changeset.NewSummer(t.name, t.generation, names)
}

func hashKey(key []sqlite.Value) changeset.KeyHash {
	var buf [64]byte
	encoded := buf[:0]
	for _, v := range key {
		encoded = changeset.AppendValue(encoded, v.Canonical())
	}
	return changeset.HashKey(encoded)
}
