package store

import (
	"errors"
	"slices"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/sqlite"
)

// Schemas cannot define an index that makes a merge fail (checkIndex), but
// another process can make one: UNIQUE beyond the key, or an expression that
// raises an error. Such an index is dropped when it does make a merge fail, with
// an alarm. A table's own constraints stay: what they refuse is schema skew.

// harmfulIndex is an index that could make a merge fail, with the reason.
type harmfulIndex struct{ name, table, harm string }

// settleAlone deals with one changeset that fits by its names and whose merge
// failed with reason: it is merged without the indexes that are at fault, or
// parked.
func (w *writer) settleAlone(in incoming, reason error) error {
	var dropped []harmfulIndex
	parked := false
	err := w.transaction(func() (err error) {
		if err := w.refreshSchema(); err != nil {
			return err
		}
		if err := w.meetOwnVersions([]incoming{in}); err != nil {
			return err
		}
		if dropped, err = w.dropHarmful(in.sealed, in.decoded, reason); err != nil {
			return err
		}
		if len(dropped) > 0 {
			parked, err = w.mergeOrPark(in)
			return err
		}
		if err := w.checkChain(&in.sealed); err != nil {
			return err
		}
		parked = true
		w.retries.add(in.sealed.ID(), w.store.cfg.Now())
		return w.park(in.sealed, reason.Error())
	})
	if err != nil {
		w.log.Error("apply failed", "actor", in.sealed.Actor, "version", in.sealed.Version, "err", err)
		return err
	}
	w.tellDropped(dropped)
	w.announce()
	w.publish()
	w.store.cfg.Committed([]Committed{{Sealed: in.sealed, Parked: parked}})
	return nil
}

func (w *writer) tellDropped(dropped []harmfulIndex) {
	w.store.dropped.Add(uint64(len(dropped)))
	for _, x := range dropped {
		w.log.Error("an index that another process made kept changes of peers out: dropped", "table", x.table, "err", x.harm)
	}
}

// dropHarmful drops the indexes without which c can be merged, none if it is not
// for them that the merge failed with reason. An index is at fault if the merge
// fails with it and without the other suspects. It runs inside a transaction.
func (w *writer) dropHarmful(s changeset.Sealed, c *changeset.Changeset, reason error) (dropped []harmfulIndex, err error) {
	suspects := w.suspects(c, reason)
	if len(suspects) == 0 {
		return nil, nil
	}
	if _, err := w.ordinal(s.Actor); err != nil { // it stays, whatever the trials undo
		return nil, err
	}
	if failed, err := w.trial(suspects, s, c); failed != nil || err != nil {
		return nil, err
	}
	for i := range suspects {
		failed := reason
		if len(suspects) > 1 {
			if failed, err = w.trial(slices.Delete(slices.Clone(suspects), i, i+1), s, c); err != nil {
				return nil, err
			}
		}
		if failed != nil {
			dropped = append(dropped, suspects[i])
		}
	}
	for _, x := range dropped {
		if err := w.conn.Exec("DROP INDEX " + quoteIdent(x.name)); err != nil {
			return nil, err
		}
	}
	w.unjudged = true // what is parked may fit too
	w.conn.ClearCache()
	return dropped, w.loadSchema(true)
}

// suspects lists the indexes of c's tables that the rules for schemas refuse: only
// CREATE INDEX makes those, since a table with such a constraint is not replicated.
func (w *writer) suspects(c *changeset.Changeset, reason error) (out []harmfulIndex) {
	if !errors.Is(reason, sqlite.ErrConstraint) && !errors.Is(reason, sqlite.ErrGeneric) && !errors.Is(reason, sqlite.ErrTooBig) && !errors.Is(reason, sqlite.ErrMismatch) {
		return nil
	}
	for i := range c.Tables {
		t := w.schema.lookup(c.Tables[i].Name)
		if t == nil || c.Tables[i].Generation < t.generation {
			continue
		}
		for _, x := range t.indexes {
			if x.harm != "" {
				out = append(out, harmfulIndex{x.name, t.name, x.harm})
			}
		}
	}
	return out
}

// trial tells how the merge of c fails without the given indexes, and undoes it.
func (w *writer) trial(without []harmfulIndex, s changeset.Sealed, c *changeset.Changeset) (failed, err error) {
	saved := w.save()
	if err := w.step("SAVEPOINT trial"); err != nil {
		return nil, err
	}
	for _, x := range without {
		if failed == nil {
			failed = w.conn.Exec("DROP INDEX " + quoteIdent(x.name))
		}
	}
	if failed == nil {
		failed = w.mergeChangeset(s, c)
	}
	w.conn.SetMode(sqlite.ModeInternal)
	err = errors.Join(w.step("ROLLBACK TO trial"), w.step("RELEASE trial"))
	w.restore(saved)
	switch {
	case err != nil:
		return nil, errors.Join(errTransactionLost, failed, err)
	case failed != nil && !isMisfit(failed) && !errors.Is(failed, errDamaged):
		return nil, failed
	}
	return failed, nil
}
