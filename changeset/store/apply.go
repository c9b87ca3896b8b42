package store

import (
	"errors"
	"fmt"
	"time"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/sqlite"
)

// misfitError says why the schema here cannot hold a changeset.
type misfitError struct{ reason string }

func (e *misfitError) Error() string { return e.reason }

// isMisfit reports whether err is schema skew, which parks, and not a failure
// of the disk, which does not. ErrGeneric is what an index on an expression
// raises that an outside program made.
func isMisfit(err error) bool {
	var m *misfitError
	return errors.As(err, &m) || errors.Is(err, sqlite.ErrConstraint) || errors.Is(err, sqlite.ErrMismatch) ||
		errors.Is(err, sqlite.ErrTooBig) || errors.Is(err, sqlite.ErrGeneric)
}

// releaseWaiting applies whoever need not wait any more, until nobody is left
// that a version just applied set free.
func (w *writer) releaseWaiting() {
	for ready := w.waiting.take(w.vector, time.Now()); len(ready) > 0; ready = w.waiting.take(w.vector, time.Now()) {
		if err := w.applyAll(ready); err != nil {
			break // logged there; anti-entropy brings them again
		}
	}
	w.store.queues.shared.waiting.Store(int64(len(w.waiting.byID)))
	w.store.queues.shared.lost.Store(w.waiting.dropped)
}

// applyAll applies items in as few transactions as it can: all together, or, if
// a row does not fit, in halves until the changeset that is at fault stands
// alone and is settled.
func (w *writer) applyAll(items []incoming) error {
	done, err := w.applyTogether(items)
	switch {
	case err == nil || errors.Is(err, errNoRoom):
		w.announce()
		if len(done) > 0 {
			w.publish()
			w.store.cfg.Committed(done)
		}
		return err
	case len(items) > 1 && (isMisfit(err) || errors.Is(err, errDamaged)):
		half := len(items) / 2
		return errors.Join(w.applyAll(items[:half]), w.applyAll(items[half:]))
	case !isMisfit(err) && !errors.Is(err, errDamaged):
		w.logFailure("apply failed", err)
		return err
	}
	return w.settleAlone(items[0], err)
}

// errNoRoom: the waiting room was full. What was dropped comes again when its
// sender has been told.
var errNoRoom = errors.New("store: waiting room is full")

// applyTogether merges items in one transaction. What is held already is left
// out; what must come after something absent goes to the waiting room, errNoRoom
// if some of it did not fit there; what the schema cannot hold is parked.
func (w *writer) applyTogether(items []incoming) (done []Committed, err error) {
	if w.lost != nil {
		return nil, w.lost // what it holds may be gone with the files
	}
	items, err = w.unheld(items)
	if err != nil || len(items) == 0 {
		return nil, err
	}
	var waiting []incoming
	err = w.transaction(func() error {
		if err := w.refreshSchema(); err != nil {
			return err
		}
		if err := w.meetOwnVersions(items); err != nil {
			return err
		}
		done, waiting, err = w.mergeInOrder(items)
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, in := range waiting {
		if !w.waiting.add(in, time.Now()) {
			err = errNoRoom
		}
	}
	return done, err
}

// unheld leaves out what is held already, but not what contradicts it.
func (w *writer) unheld(items []incoming) (out []incoming, err error) {
	out = make([]incoming, 0, len(items))
	for _, in := range items {
		keep := !w.vector.Holds(in.sealed.ID())
		if !keep {
			if keep, err = w.contradicts(&in.sealed); err != nil {
				return nil, err
			}
		}
		if keep {
			out = append(out, in)
		}
	}
	return out, nil
}

// mergeInOrder merges each item once everything that it comes after is applied,
// and returns those for which that did not happen.
func (w *writer) mergeInOrder(items []incoming) (done []Committed, waiting []incoming, err error) {
	for progress := true; progress && len(items) > 0; {
		progress, waiting = false, nil
		for _, in := range items {
			if w.vector.Holds(in.sealed.ID()) {
				if err := w.checkHeld(&in.sealed); err != nil {
					return nil, nil, err
				}
				continue
			}
			// What does not fit by its names would wait for nothing: it parks.
			if !in.waited && !appliedAll(w.vector, in.sealed.After) && w.misfit(in.decoded) == nil {
				waiting = append(waiting, in)
				continue
			}
			parked, err := w.mergeOrPark(in)
			if err != nil {
				return nil, nil, err
			}
			done = append(done, Committed{Sealed: in.sealed, Parked: parked})
			progress = true
		}
		items = waiting
	}
	return done, waiting, nil
}

func (w *writer) mergeOrPark(in incoming) (parked bool, err error) {
	if err := w.checkChain(&in.sealed); err != nil {
		return false, err
	}
	if misfit := w.misfit(in.decoded); misfit != nil {
		return true, w.park(in.sealed, misfit.Error())
	}
	if err := w.mergeChangeset(in.sealed, in.decoded); err != nil {
		return false, err
	}
	w.markApplied(in.sealed)
	return false, nil
}

// meetOwnVersions looks for versions of our own actor above our head: somebody
// wrote them under our id, so this file was rolled back. We go on as another
// actor, and they apply like anybody's.
func (w *writer) meetOwnVersions(items []incoming) error {
	own := w.actors.self
	head := w.vector.Entry(own).Applied.Last()
	for _, in := range items {
		if in.sealed.Actor == own && in.sealed.Version > head {
			return w.rolledBack(in.sealed.Version)
		}
	}
	return nil
}

// rolledBack takes a new actor id because a peer knows a version of ours that we do
// not.
func (w *writer) rolledBack(known changeset.Version) error {
	w.log.Warn("a peer knows versions of ours that we do not: this database was rolled back", "actor", w.actors.self, "version", known)
	return w.renewActor()
}

// misfit tells why the schema here cannot hold c, nil if by its names it can.
func (w *writer) misfit(c *changeset.Changeset) error {
	for i := range c.Tables {
		tc := &c.Tables[i]
		t := w.schema.lookup(tc.Name)
		switch {
		case t == nil:
			return &misfitError{"no table " + tc.Name}
		case tc.Generation < t.generation:
			continue // void
		case tc.Generation > t.generation:
			return &misfitError{fmt.Sprintf("table %s of generation %d, here %d", tc.Name, tc.Generation, t.generation)}
		}
		if !sameNames(tc.Key, t) {
			return &misfitError{fmt.Sprintf("table %s has another key: %v", tc.Name, tc.Key)}
		}
		for _, name := range tc.Columns {
			if c := t.column(name); c == nil || c.data < 0 {
				return &misfitError{fmt.Sprintf("no column %s.%s", tc.Name, name)}
			}
		}
	}
	return nil
}

func sameNames(key []string, t *table) bool {
	if len(key) != len(t.key) {
		return false
	}
	for n, i := range t.key {
		if foldName(key[n]) != foldName(t.columns[i].name) {
			return false
		}
	}
	return true
}

// mergeChangeset merges every change of c and logs it. It runs inside a
// transaction; the caller marks it applied.
func (w *writer) mergeChangeset(s changeset.Sealed, c *changeset.Changeset) error {
	w.resetDeltas()
	if w.clock.Observe(c.Time) > 0 {
		w.store.drifted.Add(1)
	}
	if _, err := w.ordinal(c.Actor); err != nil {
		return err
	}
	for i := range c.Tables {
		tc := &c.Tables[i]
		t := w.schema.lookup(tc.Name)
		if tc.Generation < t.generation {
			continue
		}
		if err := w.mergeTable(t, tc, c.Stamp()); err != nil {
			return fmt.Errorf("merge into %s: %w", t.name, err)
		}
	}
	return w.writeLog(s)
}

func (w *writer) mergeTable(t *table, tc *changeset.TableChanges, stamp changeset.Stamp) error {
	restore, err := w.muteChecks(t)
	if err != nil {
		return err
	}
	s, err := w.statements(t)
	if err != nil {
		return errors.Join(err, restore())
	}
	m := newRowMerge(w, s, tc)
	m.stamp = stamp
	for i := range tc.Changes {
		if err := m.merge(&tc.Changes[i]); err != nil {
			return errors.Join(err, restore())
		}
	}
	return restore()
}

// muteChecks switches CHECK constraints off while rows of t are merged: they
// held where the row was written. Switching re-prepares every statement, so it
// is done for tables with a CHECK alone.
func (w *writer) muteChecks(t *table) (restore func() error, err error) {
	if !t.hasChecks {
		return func() error { return nil }, nil
	}
	if err := w.conn.SetIgnoreChecks(true); err != nil {
		return nil, err
	}
	return func() error { return w.conn.SetIgnoreChecks(false) }, nil
}
