package store

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/sqlite"
)

// A database that was rolled back and wrote before it met anybody has forked its
// history: two changesets live under one (actor, version). Each changeset carries
// the hash of the one before it, so whoever sees both branches can tell: by a
// version that it holds and that arrives with another hash, by neighbours that do
// not name each other, by the head that a peer reports (meet.go). What is not in the
// log cannot be checked, and says nothing.
//
// The mark is durable and never unset. If the actor is our own, we go on under a new
// id. A marked actor's versions are applied and served like anybody's: that marks
// travel, and that what the branches made of the rows is repaired, is not built yet
// (DESIGN section 6).

// Fork names an actor whose history was written twice, and what showed it.
type Fork struct {
	Actor  changeset.ActorID
	Reason string
}

// Forked lists the actors that this store has seen two histories of, sorted. The
// caller must not change it.
func (s *Store) Forked() []Fork { return *s.forked.Load() }

// Forks counts the actors that were marked as forked since the start.
func (s *Store) Forks() uint64 { return s.forks.Load() }

// loadForks reads the marks at open.
func (w *writer) loadForks() error {
	return w.conn.Each("SELECT id, reason FROM __patina_fork ORDER BY id", nil, func(s *sqlite.Stmt) error {
		id := s.View(0)
		if len(id) != len(changeset.ActorID{}) {
			return fmt.Errorf("fork mark x'%x': %w", id, errDamaged)
		}
		w.forked = append(w.forked, Fork{changeset.ActorID(id), string(s.View(1))})
		return nil
	})
}

func (w *writer) findFork(a changeset.ActorID) (at int, marked bool) { return searchForks(w.forked, a) }

func searchForks(list []Fork, a changeset.ActorID) (at int, marked bool) {
	return slices.BinarySearchFunc(list, a, func(f Fork, a changeset.ActorID) int { return f.Actor.Compare(a) })
}

// markForked marks an actor inside the open transaction; announce tells of it once
// that has committed.
func (w *writer) markForked(a changeset.ActorID, reason string) error {
	at, marked := w.findFork(a)
	if marked {
		return nil
	}
	err := w.conn.Each("INSERT INTO __patina_fork VALUES(?, ?)", []sqlite.Value{changeset.BlobValue(a[:]), changeset.TextValue(reason)}, nil)
	if err != nil {
		return fmt.Errorf("mark %v as forked: %w", a, err)
	}
	w.forked = slices.Insert(slices.Clone(w.forked), at, Fork{a, reason})
	if a == w.actors.self {
		return w.renewActor()
	}
	return nil
}

// announce tells what the transaction that has just committed made of actors: a new
// id for us, marks for whom it may be.
func (w *writer) announce() {
	marked := w.alarmForks()
	w.announceActor()
	if marked {
		w.publish()
	}
}

// alarmForks raises the alarm for actors whose marks are not published yet.
func (w *writer) alarmForks() bool {
	told := w.store.Forked()
	if len(told) == len(w.forked) {
		return false // a mark is never unset
	}
	for _, f := range w.forked {
		if slices.Contains(told, f) {
			continue
		}
		w.store.forks.Add(1)
		w.log.Error("forked history: two databases wrote under one actor id, their rows can differ", "actor", f.Actor, "err", f.Reason)
	}
	return true
}

// link is a version's place in the chain of its actor's hashes.
type link struct{ hash, previous changeset.Hash }

// recentLinks remembers the links of versions that came lately, so that duplicates
// and gaps that fill cost no look at the log. A version's slot goes to whoever
// comes next. What a rollback undid may stay: only versions that are held are
// looked up, and whatever made them held came last.
type recentLinks []recentLink

type recentLink struct {
	id changeset.ID
	link
}

// keptLinks is the number of slots, 88 bytes each.
const keptLinks = 1024

func (r recentLinks) slot(id changeset.ID) *recentLink {
	return &r[(binary.BigEndian.Uint64(id.Actor[8:])+uint64(id.Version))%keptLinks]
}

func (r recentLinks) note(s *changeset.Sealed) {
	*r.slot(s.ID()) = recentLink{s.ID(), link{s.Hash, s.Previous}}
}

// heldLink returns the link of a version; ok is false if it is not held, or not to
// be read.
func (w *writer) heldLink(id changeset.ID) (l link, ok bool, err error) {
	if !w.vector.Holds(id) {
		return l, false, nil
	}
	if r := w.links.slot(id); r.id == id {
		return r.link, true, nil
	}
	s, err := readSealed(w.conn, w.actors, id, selectHeld)
	if err != nil {
		return l, false, unlessUnreadable(err)
	}
	w.links.note(&s)
	return link{s.Hash, s.Previous}, true, nil
}

// heldHash returns the hash of a version, for an actor's head without a look at the
// log.
func (w *writer) heldHash(id changeset.ID) (h changeset.Hash, ok bool, err error) {
	if e := w.vector.Entry(id.Actor); e.Applied.Last() == id.Version && !e.Head.IsZero() {
		return e.Head, true, nil
	}
	l, ok, err := w.heldLink(id)
	return l.hash, ok, err
}

// unlessUnreadable drops the errors of a log entry that is not there or damaged:
// neither proves anything of its actor.
func unlessUnreadable(err error) error {
	for _, class := range []error{ErrNotInLog, changeset.ErrTruncated, changeset.ErrCorrupt, changeset.ErrTooLarge, changeset.ErrUnsupported} {
		if errors.Is(err, class) {
			return nil
		}
	}
	return err
}

// contradicts reports whether s is another changeset than the one that is held
// under its version.
func (w *writer) contradicts(s *changeset.Sealed) (bool, error) {
	if _, marked := w.findFork(s.Actor); marked {
		return false, nil
	}
	hash, ok, err := w.heldHash(s.ID())
	return ok && hash != s.Hash, err
}

// checkHeld marks the actor of a changeset that came under a version that is held
// with another hash. What is held stays.
func (w *writer) checkHeld(s *changeset.Sealed) error {
	other, err := w.contradicts(s)
	if err != nil || !other {
		return err
	}
	hash, _, err := w.heldHash(s.ID())
	if err != nil {
		return err
	}
	return w.markForked(s.Actor, fmt.Sprintf("version %d is %s here, and %s arrived", s.Version, short(hash), short(s.Hash)))
}

// checkChain marks the actor of a changeset that is not held yet if it and the
// versions before and after it do not name each other.
func (w *writer) checkChain(s *changeset.Sealed) error {
	if _, marked := w.findFork(s.Actor); marked {
		return nil
	}
	if s.Version > 1 {
		before := s.Version - 1
		hash, ok, err := w.heldHash(changeset.ID{Actor: s.Actor, Version: before})
		if err != nil {
			return err
		}
		if ok && hash != s.Previous {
			return w.markForked(s.Actor, fmt.Sprintf("version %d is %s here, and version %d arrived that follows %s", before, short(hash), s.Version, short(s.Previous)))
		}
	}
	after := s.Version + 1
	next, ok, err := w.heldLink(changeset.ID{Actor: s.Actor, Version: after})
	if err != nil || !ok || next.previous == s.Hash {
		return err
	}
	return w.markForked(s.Actor, fmt.Sprintf("version %d here follows %s, and version %d arrived as %s", after, short(next.previous), s.Version, short(s.Hash)))
}

// short is enough of a hash to tell two apart by eye.
func short(h changeset.Hash) string { return hex.EncodeToString(h[:6]) }
