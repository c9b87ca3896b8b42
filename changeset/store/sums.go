package store

import "github.com/patinadb/patina/changeset"

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
