package store

import (
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/sqlite"
)

// The log serves peers that were away. An entry goes when the log has more bytes
// than Config.LogMaxBytes or the entry is older than Config.LogMaxAge, the oldest
// of all actors first, and never
//   - the newest of an actor: it carries the head's hash and the clock's mark;
//   - what a known peer lacks (peers.go): until a node can be filled by other means,
//     it would never get it;
//   - what the saved state does not cover: both are in one transaction.
//
// Parked changesets are not in the log.

// Times of pruning.
const (
	// pruneAfterStart is how long the members have to come up first: whom the store
	// does not know yet holds nothing back.
	pruneAfterStart = time.Minute
	prunePeriod     = 5 * time.Second // between looks whether something must go
	pruneHeldPeriod = time.Minute     // after one that found nothing that may go
	// pruneAgeError is how much longer than Config.LogMaxAge, as a part of it, an
	// entry may stay that came in old.
	pruneAgeError = 10
)

// pruneEntries is how many entries one transaction takes out of the log.
const pruneEntries = 500

// Log is the state of the log of changesets.
type Log struct {
	Bytes  int64  // of the changesets in it, as they are stored
	Pruned uint64 // changesets taken out since the start
	// Held says why the log is beyond its bounds; empty if it is not, or is being
	// brought there.
	Held string
}

// logState is what the writer tells of the log.
type logState struct {
	bytes  atomic.Int64
	pruned atomic.Uint64
	held   atomic.Pointer[string]
}

// Log returns the state of the log as of the last commit.
func (s *Store) Log() Log {
	out := Log{Bytes: s.logState.bytes.Load(), Pruned: s.logState.pruned.Load()}
	if held := s.logState.held.Load(); held != nil {
		out.Held = *held
	}
	return out
}

// pruning is one pass over the log.
type pruning struct {
	*writer
	now    time.Time
	oldest []logEntry          // of each actor that has an entry to take out
	limits []changeset.Version // by ordinal: nobody needs what is not above it
	held   string              // see Log.Held
}

// logEntry is the oldest entry of an actor.
type logEntry struct {
	ord     int
	version changeset.Version
	size    int64 // as it is stored
	time    time.Time
}

// pruneLog takes what is too much and too old out of the log, a bounded part of it
// at a time. It runs at a tick.
func (w *writer) pruneLog(now time.Time) error {
	if now.Before(w.nextPrune) {
		return nil
	}
	w.nextPrune = now.Add(prunePeriod)
	p := &pruning{writer: w, now: now}
	if !p.tooMuch() && (w.store.cfg.LogMaxAge == 0 || now.Before(w.nextAged)) {
		w.store.logState.held.Store(&p.held)
		return nil
	}
	if err := p.look(); err != nil {
		return fmt.Errorf("look for the oldest entries of the log: %w", err)
	}
	pruned := 0
	if len(p.oldest) > 0 {
		err := w.transaction(func() (err error) {
			if pruned, err = p.prune(); err != nil {
				return err
			}
			return w.saveState()
		})
		if err != nil {
			return fmt.Errorf("prune the log: %w", err)
		}
	}
	w.store.logState.held.Store(&p.held)
	w.store.logState.bytes.Store(w.logBytes)
	w.store.logState.pruned.Add(uint64(pruned))
	switch pruned {
	case pruneEntries:
		w.nextPrune = now // there is more: go on at the next tick
	case 0:
		w.nextPrune = now.Add(pruneHeldPeriod)
	}
	return nil
}

// look finds the oldest entry of each actor that is to go and may, and who holds
// those that may not.
func (p *pruning) look() error {
	p.limits = make([]changeset.Version, len(p.actors.ids))
	maxAge := p.store.cfg.LogMaxAge
	p.nextAged = p.now.Add(maxAge / pruneAgeError)
	for ord, actor := range p.actors.ids {
		e, ok, err := p.next(ord, 0)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		if aged := e.time.Add(maxAge); aged.Before(p.nextAged) {
			p.nextAged = aged
		}
		if !p.overdue(&e) {
			continue
		}
		floor, _ := p.store.peers.lowest(actor, p.now)
		p.limits[ord] = min(floor, p.vector.Entry(actor).Applied.Last()-1)
		if !p.stays(&e) {
			p.oldest = append(p.oldest, e)
		}
	}
	return nil
}

// stays reports whether an entry that is overdue must not go, and notes whose
// sake that is for.
func (p *pruning) stays(e *logEntry) bool {
	if e.version <= p.limits[e.ord] {
		return false
	}
	actor := p.actors.ids[e.ord]
	if p.held == "" && e.version < p.vector.Entry(actor).Applied.Last() {
		floor, peer := p.store.peers.lowest(actor, p.now)
		p.held = fmt.Sprintf("peer %v has not said that it holds versions of %v above %d", peer, actor, floor)
	}
	return true
}

// tooMuch reports whether the log has more bytes than it may.
func (p *pruning) tooMuch() bool {
	most := p.store.cfg.LogMaxBytes
	return most > 0 && p.logBytes > most
}

// overdue reports whether an entry is to go, if nobody needs it.
func (p *pruning) overdue(e *logEntry) bool {
	maxAge := p.store.cfg.LogMaxAge
	return p.tooMuch() || maxAge > 0 && p.now.Sub(e.time) > maxAge
}

// next reads the first entry of an actor after a version.
func (p *pruning) next(ord int, after changeset.Version) (e logEntry, found bool, err error) {
	bounds := []sqlite.Value{changeset.IntegerValue(logKey(ord, after)), changeset.IntegerValue(logKey(ord, changeset.MaxVersion))}
	err = p.conn.Each("SELECT k, data FROM __patina_log WHERE k > ? AND k <= ? ORDER BY k LIMIT 1", bounds, func(s *sqlite.Stmt) error {
		b := s.View(1)
		found, e = true, logEntry{ord: ord, version: changeset.Version(s.Integer(0)) & changeset.MaxVersion, size: int64(len(b))}
		data, err := changeset.Unpack(b)
		if err != nil {
			return fmt.Errorf("version %d of %v: %w", e.version, p.actors.ids[ord], err)
		}
		sealed, err := changeset.Open(data)
		if err != nil {
			return fmt.Errorf("version %d of %v: %w", e.version, p.actors.ids[ord], err)
		}
		e.time = sealed.Time.Time()
		return nil
	})
	return e, found, err
}

// prune deletes the oldest entries, and those that follow them, until the log is
// within its bounds or enough is done for one transaction.
func (p *pruning) prune() (pruned int, err error) {
	for len(p.oldest) > 0 && pruned < pruneEntries {
		i := 0
		for j := range p.oldest {
			if p.oldest[j].time.Before(p.oldest[i].time) {
				i = j
			}
		}
		e := &p.oldest[i]
		if !p.overdue(e) {
			break // nor is a younger one
		}
		if err := p.conn.Each("DELETE FROM __patina_log WHERE k = ?", []sqlite.Value{changeset.IntegerValue(logKey(e.ord, e.version))}, nil); err != nil {
			return 0, err
		}
		pruned++
		p.logBytes -= e.size
		next, ok, err := p.next(e.ord, e.version)
		if err != nil {
			return 0, err
		}
		*e = next
		if !ok || p.overdue(e) && p.stays(e) {
			p.oldest = slices.Delete(p.oldest, i, i+1)
		}
	}
	return pruned, nil
}
