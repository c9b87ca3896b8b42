package store

import (
	"fmt"
	"slices"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/sqlite"
	"github.com/patinadb/patina/sync/versions"
)

// Parked names a changeset that is held durably but cannot be merged yet, and
// why. It blocks no other, is served to peers as a changeset, and is judged
// again whenever the schema moves.
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
	w.setParked(append(slices.Clip(w.parked), Parked{s.ID(), reason}))
	e := w.vector.Entry(s.Actor)
	e.Parked = e.Parked.Clone()
	e.Parked.Add(versions.Range{First: s.Version, Last: s.Version})
	w.vector.Put(s.Actor, e)
	w.log.Warn("changeset parked", "actor", s.Actor, "version", s.Version, "err", reason)
	return nil
}

func (w *writer) setParked(p []Parked) {
	slices.SortFunc(p, func(a, b Parked) int {
		if c := a.Actor.Compare(b.Actor); c != 0 {
			return c
		}
		return int(int64(a.Version) - int64(b.Version))
	})
	w.parked = p
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
	w.setParked(list)
	return err
}

// judgeParked merges every parked changeset that the schema can hold now. It
// runs in the transaction that moved the schema.
func (w *writer) judgeParked() ([]Committed, error) {
	var applied []Committed
	for _, p := range slices.Clone(w.parked) {
		sealed, err := readSealed(w.conn, w.actors, p.ID, "SELECT data FROM __patina_parked WHERE k = ?")
		if err != nil {
			return nil, err
		}
		c, err := sealed.Decode()
		if err != nil {
			return nil, fmt.Errorf("parked version %d of %v: %w", p.Version, p.Actor, err)
		}
		if w.misfit(c) != nil {
			continue
		}
		if err := w.unpark(sealed, c); err != nil {
			if !isMisfit(err) {
				return nil, err
			}
			continue
		}
		applied = append(applied, Committed{Sealed: sealed})
	}
	return applied, nil
}

// unpark merges one parked changeset in a savepoint; a row that does not fit
// leaves it parked.
func (w *writer) unpark(s changeset.Sealed, c *changeset.Changeset) error {
	if err := w.step("SAVEPOINT unpark"); err != nil {
		return err
	}
	err := w.mergeChangeset(s, c)
	if err == nil {
		key, _ := w.actors.key(s.ID())
		err = w.conn.Each("DELETE FROM __patina_parked WHERE k = ?", []sqlite.Value{changeset.IntegerValue(key)}, nil)
	}
	if err != nil {
		if undo := w.step("ROLLBACK TO unpark"); undo != nil {
			return undo
		}
	} else {
		w.markApplied(s)
		w.setParked(slices.DeleteFunc(slices.Clone(w.parked), func(p Parked) bool { return p.ID == s.ID() }))
	}
	if release := w.step("RELEASE unpark"); release != nil {
		return release
	}
	return err
}
