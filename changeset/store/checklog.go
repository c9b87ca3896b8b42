package store

import (
	"errors"
	"fmt"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/sqlite"
	"github.com/patinadb/patina/sync/versions"
)

// checkLog reads every entry of the log and everything that is parked, and
// compares the log with what is recorded as applied.
func (w *writer) checkLog(r *Report) error {
	if err := w.readForks(); err != nil {
		return err
	}
	heads := map[changeset.ID]changeset.Hash{} // of the newest version of each actor in the log
	var before changeset.Sealed
	err := w.conn.Each("SELECT k, data, sums FROM __patina_log ORDER BY k", nil, func(st *sqlite.Stmt) error {
		r.Log++
		s, err := w.openStored(st)
		if err == nil {
			err = w.checkShare(st.View(2))
		}
		if err != nil {
			before = changeset.Sealed{}
			r.add("", DamagedLog, fmt.Sprintf("key %d: %v", st.Integer(0), err))
			return nil
		}
		if _, marked := w.findFork(s.Actor); !marked && before.Actor == s.Actor && before.Version == s.Version-1 && s.Previous != before.Hash {
			r.add("", BrokenChain, printID(s.ID()))
		}
		if before.Actor == s.Actor {
			delete(heads, before.ID())
		}
		before = s
		heads[s.ID()] = s.Hash
		return nil
	})
	if err != nil {
		return fmt.Errorf("log: %w", err)
	}
	if err := w.checkParked(r); err != nil {
		return fmt.Errorf("parked: %w", err)
	}
	if w.vector != nil {
		w.checkVector(r, heads)
	}
	return nil
}

// readForks reads whose chain is known to be broken. A file that was not opened
// since there are marks has no table for them.
func (w *writer) readForks() error {
	there := false
	err := w.conn.Each("SELECT 1 FROM sqlite_schema WHERE name = '__patina_fork'", nil, func(*sqlite.Stmt) error { there = true; return nil })
	if err != nil || !there {
		return err
	}
	return w.loadForks()
}

// checkVector compares the heads, and our own versions, of which none may lack.
// That a version below an actor's newest is not in the log proves nothing: the log
// is pruned.
func (w *writer) checkVector(r *Report, heads map[changeset.ID]changeset.Hash) {
	given, err := w.readGiven()
	if err != nil {
		r.add("", WrongVector, err.Error())
		given = versions.NewVector()
	}
	for _, actor := range w.vector.Actors() {
		e := w.vector.Entry(actor)
		if e.Applied.IsEmpty() {
			continue
		}
		last := changeset.ID{Actor: actor, Version: e.Applied.Last()}
		switch hash, ok := heads[last]; {
		case !ok && given.Holds(last):
		case !ok:
			r.add("", WrongVector, "the log lacks the newest, "+printID(last))
		case hash != e.Head:
			r.add("", WrongVector, "another hash is recorded of "+printID(last))
		}
		if actor == w.meta.actor && e.Applied.Len() != uint64(last.Version) {
			r.add("", WrongVector, fmt.Sprintf("our own versions have holes: %v", e.Applied))
		}
		if e.Applied.Intersects(e.Parked) {
			r.add("", WrongVector, fmt.Sprintf("versions of %v are applied and parked", actor))
		}
	}
}

func (w *writer) checkParked(r *Report) error {
	return w.conn.Each("SELECT k, data FROM __patina_parked ORDER BY k", nil, func(st *sqlite.Stmt) error {
		r.Parked++
		if _, err := w.openStored(st); err != nil {
			r.add("", DamagedParked, fmt.Sprintf("key %d: %v", st.Integer(0), err))
		}
		return nil
	})
}

// openStored decodes the changeset in the second column whole, and compares it
// with the key in the first.
func (w *writer) openStored(st *sqlite.Stmt) (s changeset.Sealed, err error) {
	id, ok := w.actors.splitKey(st.Integer(0))
	if !ok {
		return s, errors.New("nobody has this ordinal")
	}
	data, err := changeset.Unpack(st.Column(1).Bytes())
	if err != nil {
		return s, err
	}
	if s, err = changeset.Open(data); err != nil {
		return s, err
	}
	if s.ID() != id {
		return s, fmt.Errorf("it is %s", printID(s.ID()))
	}
	_, err = s.Decode()
	return s, err
}

// checkShare reads a log entry's share in the sums without adding it.
func (w *writer) checkShare(share []byte) error {
	if w.sums == nil {
		return nil // how many there are was not to be read
	}
	trial := writer{sums: make([]changeset.Sum, len(w.sums))}
	return trial.addLogged(share)
}

func printID(id changeset.ID) string {
	return fmt.Sprintf("version %d of %v", id.Version, id.Actor)
}
