package store

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/sqlite"
	"github.com/patinadb/patina/sync/versions"
)

// Parked names a changeset that is held durably but cannot be merged yet, and
// why. It blocks no other, is served to peers as a changeset, and is judged
// again whenever the schema moves, and if it fits by its names also from time to
// time (retry.go).
type Parked struct {
	changeset.ID
	Reason string
}

// park stores a changeset that the schema here cannot hold.
func (w *writer) park(s changeset.Sealed, reason string) error {
	ord, err := w.ordinal(s.Actor)
	if err != nil {
		return err
	}
	err = w.conn.Each("INSERT INTO __patina_parked VALUES(?, ?, ?)", []sqlite.Value{
		changeset.IntegerValue(logKey(ord, s.Version)), changeset.BlobValue(changeset.Pack(s.Data)), changeset.TextValue(reason),
	}, nil)
	if err != nil {
		return fmt.Errorf("park version %d of %v: %w", s.Version, s.Actor, err)
	}
	at, _ := slices.BinarySearchFunc(w.parked, s.ID(), func(p Parked, id changeset.ID) int { return compareIDs(p.ID, id) })
	w.parked = slices.Insert(slices.Clip(w.parked), at, Parked{s.ID(), reason})
	e := w.vector.Entry(s.Actor)
	e.Parked = e.Parked.Clone()
	e.Parked.Add(versions.Range{First: s.Version, Last: s.Version})
	w.vector.Put(s.Actor, e)
	w.links.note(&s)
	w.log.Warn("changeset parked", "actor", s.Actor, "version", s.Version, "err", reason)
	return nil
}

func compareIDs(a, b changeset.ID) int {
	if c := a.Actor.Compare(b.Actor); c != 0 {
		return c
	}
	return cmp.Compare(a.Version, b.Version)
}

// loadParked reads the list at open and enters it into the vector.
func (w *writer) loadParked() error {
	var list []Parked
	err := w.conn.Each("SELECT k, reason FROM __patina_parked", nil, func(s *sqlite.Stmt) error {
		id, ok := w.actors.splitKey(s.Integer(0))
		if !ok {
			return fmt.Errorf("key %d: %w", s.Integer(0), changeset.ErrCorrupt)
		}
		list = append(list, Parked{id, string(s.View(1))})
		return nil
	})
	for _, p := range list {
		e := w.vector.Entry(p.Actor)
		e.Parked = e.Parked.Clone()
		e.Parked.Add(versions.Range{First: p.Version, Last: p.Version})
		w.vector.Put(p.Actor, e)
	}
	slices.SortFunc(list, func(a, b Parked) int { return compareIDs(a.ID, b.ID) })
	w.parked = list
	return err
}

// judgeParked merges every parked changeset that the schema can hold now, and
// notes why it cannot hold the others. It runs in the transaction that moved the
// schema. A row that is damaged here keeps its changesets parked, and nobody
// from starting.
func (w *writer) judgeParked() (applied []Committed, err error) {
	kept := make([]Parked, 0, len(w.parked))
	for _, p := range w.parked {
		sealed, c, err := w.readParked(p.ID)
		if err != nil {
			return nil, err
		}
		reason := w.misfit(c)
		if reason == nil {
			if reason = w.unpark(sealed, c); reason != nil {
				w.retries.add(p.ID, w.store.cfg.Now())
			}
		}
		if reason == nil {
			applied = append(applied, Committed{Sealed: sealed})
			continue
		}
		if err := w.keepParked(&p, reason); err != nil {
			return nil, err
		}
		kept = append(kept, p)
	}
	w.parked = kept
	return applied, nil
}

func (w *writer) readParked(id changeset.ID) (s changeset.Sealed, c *changeset.Changeset, err error) {
	if s, err = readSealed(w.conn, w.actors, id, "SELECT data FROM __patina_parked WHERE k = ?"); err != nil {
		return s, nil, err
	}
	if c, err = s.Decode(); err != nil {
		return s, nil, fmt.Errorf("parked version %d of %v: %w", id.Version, id.Actor, err)
	}
	return s, c, nil
}

// keepParked notes why a changeset stays parked. A failure of the disk is no
// such reason and is returned.
func (w *writer) keepParked(p *Parked, reason error) error {
	if errors.Is(reason, errTransactionLost) || !isMisfit(reason) && !errors.Is(reason, errDamaged) {
		return reason
	}
	if reason.Error() == p.Reason {
		return nil
	}
	p.Reason = reason.Error()
	return w.changeParked("UPDATE __patina_parked SET reason = ?2 WHERE k = ?1", p.ID, changeset.TextValue(p.Reason))
}

func (w *writer) changeParked(sql string, id changeset.ID, more ...sqlite.Value) error {
	key, _ := w.actors.key(id)
	if err := w.conn.Each(sql, append([]sqlite.Value{changeset.IntegerValue(key)}, more...), nil); err != nil {
		return fmt.Errorf("parked version %d of %v: %w", id.Version, id.Actor, err)
	}
	return nil
}

// unpark merges one parked changeset in a savepoint; a row that does not fit
// leaves it parked. The caller takes it from the list. After errTransactionLost
// nothing more may run: the next SAVEPOINT would begin a transaction of its own.
func (w *writer) unpark(s changeset.Sealed, c *changeset.Changeset) error {
	if err := w.step("SAVEPOINT unpark"); err != nil {
		return err
	}
	err := w.mergeChangeset(s, c)
	if err == nil {
		err = w.changeParked("DELETE FROM __patina_parked WHERE k = ?1", s.ID())
	}
	if err != nil {
		if undo := w.step("ROLLBACK TO unpark"); undo != nil {
			return errors.Join(errTransactionLost, err, undo)
		}
	} else {
		w.markApplied(s)
	}
	if release := w.step("RELEASE unpark"); release != nil {
		return errors.Join(errTransactionLost, release)
	}
	return err
}
