package store

import (
	"fmt"
	"time"
)

// The WAL cannot start over while somebody reads a snapshot in it. Our own reads
// are known with their begin. Of another process's read SQLite tells one thing:
// a checkpoint moves no frame beyond its snapshot. A read that keeps frame m+1
// from being moved began before that frame was committed; if none of ours did,
// it is an outside one, and that is its least age. (SQLite has five places for
// readers. While all are taken, a read shares one and pins what is pinned there,
// for about as long as a short read lasts.)
//
// At Config.MaxWALBytes our reads end, the oldest first, if they can be what pins
// the log. If it is pinned still, or cannot be moved for another reason, writes
// are refused until it is not: the writer tries at each of its ticks. The bound is
// looked at between two transactions, so one of them may pass it by what it writes.
const (
	// outsideAge is the age from which an outside read is told of. Many short ones
	// that overlap pin the log too, and none of them is to blame.
	outsideAge = time.Second
	// endingTime is how long the writer waits for reads that it ended.
	endingTime = time.Second
)

// walFullError refuses writes because the WAL is at its bound.
type walFullError struct {
	bytes, most int64
	reason      string
	since       time.Time // of the reason; zero: not known
	cause       error     // nil unless checkpoints fail
}

func (e *walFullError) Error() string {
	s := fmt.Sprintf("writes are refused for now: the write-ahead log has %d bytes (db.max_wal_bytes is %d) and cannot be reset: %s", e.bytes, e.most, e.reason)
	if !e.since.IsZero() {
		s += fmt.Sprintf(", for %v at least", time.Since(e.since).Round(time.Millisecond))
	}
	if e.cause != nil {
		s += ": " + e.cause.Error()
	}
	return s
}

func (e *walFullError) Unwrap() error { return e.cause }

// Unavailable reports true: nothing ran, and another attempt may succeed.
func (*walFullError) Unavailable() bool { return true }

// pinningError ends a read that keeps the WAL above its bound.
type pinningError struct {
	age         time.Duration
	bytes, most int64
}

func (e *pinningError) Error() string {
	return fmt.Sprintf("the read was ended after %v: it can be what keeps the write-ahead log, %d bytes, from being reset (db.max_wal_bytes is %d)",
		e.age.Round(time.Millisecond), e.bytes, e.most)
}

// Unavailable reports true: another attempt may succeed.
func (*pinningError) Unavailable() bool { return true }

// WAL is the state of SQLite's write-ahead log.
type WAL struct {
	Bytes int64 // since it last started over
	// OutsideSince is the latest time at which another process can have begun the
	// read that keeps the log from starting over; zero: none does for long.
	OutsideSince time.Time
	Refused      error // why writes are refused; nil: they are not
	Failure      error // of the last checkpoint
}

// WAL returns the state of the write-ahead log.
func (s *Store) WAL() WAL {
	state := *s.wal.state.Load()
	if err := s.wal.failure.Load(); err != nil {
		state.Failure = *err
	}
	return state
}

// ReadsEnded counts reads that ended because they kept the WAL above its bound.
func (s *Store) ReadsEnded() uint64 { return s.wal.ended.Load() }

// walPin is what keeps the WAL from starting over.
type walPin struct {
	holds bool
	// before is when the read that pins it had begun at the latest, or since when
	// another process's checkpoint is in the way.
	before    time.Time
	outside   bool // it is a read, and none of ours
	elsewhere bool // it is a checkpoint
}

// pinned notes that the log could not start over although a checkpoint that
// began at the given time tried to: moved frames are in the file, -1 if another
// checkpoint was in the way.
func (k *walKeeper) pinned(w *writer, moved int, began time.Time) {
	if moved < 0 {
		if !k.pin.elsewhere {
			k.pin = walPin{holds: true, before: began, elsewhere: true}
		}
		return
	}
	before := k.marks.firstAbove(moved)
	if before.IsZero() {
		before = began // a read of all that is there pins it as well
	}
	k.pin = walPin{holds: true, before: before}
	k.pin.outside = w.store.oldestRead(before) == nil && time.Since(before) >= k.outsideAge
	if k.pin.outside && !k.alarmed {
		k.alarmed = true
		k.log.Warn("a read of another process keeps the write-ahead log from being reset", "bytes", k.size(), "dur", time.Since(before))
	}
	k.describe(w, k.size())
}

// unpinned notes that the log has started over.
func (k *walKeeper) unpinned(w *writer) {
	if k.alarmed || w.refused != nil {
		k.log.Info("the write-ahead log is reset again")
	}
	k.pin, k.alarmed, w.refused = walPin{}, false, nil
	k.describe(w, 0)
}

func (k *walKeeper) size() int64 { return k.state.Load().Bytes }

// describe publishes the state.
func (k *walKeeper) describe(w *writer, size int64) {
	s := &WAL{Bytes: size, Refused: w.refused}
	if k.pin.outside {
		s.OutsideSince = k.pin.before
	}
	k.state.Store(s)
}

// enforce starts the log over, and ends reads of ours for it. If that does not
// help it refuses writes.
func (k *walKeeper) enforce(w *writer) {
	k.startOver(w, walPatience)
	for end := time.Now().Add(endingTime); k.pin.holds && time.Now().Before(end); {
		r := k.endOldest(w)
		if r == nil {
			break
		}
		left := time.NewTimer(time.Until(end))
		select {
		case <-r.done:
		case <-left.C:
		}
		left.Stop()
		k.startOver(w, walPatience)
	}
	k.refuse(w)
}

// refuse refuses writes if the log is at its bound, and says why.
func (k *walKeeper) refuse(w *writer) {
	e := &walFullError{bytes: k.size(), most: k.limit, since: k.pin.before}
	failure := k.failure.Load()
	switch {
	case failure != nil:
		e.reason, e.since, e.cause = "checkpoints fail", time.Time{}, *failure
	case k.pin.elsewhere && time.Since(k.pin.before) < outsideAge, !k.pin.holds:
		return // it was our keeper's checkpoint, which ends
	case k.pin.elsewhere:
		e.reason = "another process runs a checkpoint of its own"
	case w.store.oldestRead(k.pin.before) != nil:
		e.reason = "a read that was ended has not stopped yet"
	default:
		e.reason = "another process reads an old state of the database file"
	}
	if w.refused == nil {
		k.log.Error("writes are refused", "err", e)
	}
	w.refused = e
	k.describe(w, e.bytes)
}

// logFailure logs why a transaction failed, unless it is that writes are refused,
// which was logged once.
func (w *writer) logFailure(what string, err error) {
	if w.refused == nil {
		w.log.Error(what, "err", err)
	}
}

// endOldest ends the oldest of our reads that can be what pins the log, and
// returns it; nil if there is none.
func (k *walKeeper) endOldest(w *writer) *reading {
	if k.pin.elsewhere {
		return nil
	}
	before := k.pin.before
	if old := time.Now().Add(-outsideAge); before.Before(old) {
		before = old // it may share the place of one that began earlier
	}
	r := w.store.oldestRead(before)
	if r == nil || r.ended {
		return r
	}
	age := time.Since(r.since)
	r.ended = true
	r.end(&pinningError{age, k.size(), k.limit})
	k.ended.Add(1)
	k.log.Warn("a read was ended, since it can be what keeps the write-ahead log from being reset", "bytes", k.size(), "dur", age)
	return r
}

// tick tries again to start over a log that could not.
func (k *walKeeper) tick(w *writer) {
	if !k.pin.holds && w.refused == nil && (k.failure.Load() == nil || !k.large.Load()) {
		return
	}
	k.startOver(w, 0)
	if w.refused != nil {
		k.endOldest(w)
		k.refuse(w)
	}
}

// walMarks is when the log had how many frames. It is thinned as it grows:
// firstAbove errs by its spacing, to a later time.
type walMarks struct {
	list    []walMark
	spacing time.Duration
}

type walMark struct {
	frames int
	at     time.Time
}

const (
	marksMost    = 256
	marksSpacing = 50 * time.Millisecond
)

func (m *walMarks) clear() { *m = walMarks{list: m.list[:0]} }

// add notes that a commit has made the log as long as frames.
func (m *walMarks) add(frames int, now time.Time) {
	n := len(m.list)
	if n > 0 && now.Sub(m.list[n-1].at) < max(m.spacing, marksSpacing) {
		return
	}
	if n == marksMost {
		for i := range n / 2 {
			m.list[i] = m.list[2*i]
		}
		m.list = m.list[:n/2]
		m.spacing = 2 * max(m.spacing, marksSpacing)
	}
	m.list = append(m.list, walMark{frames, now})
}

// firstAbove returns a time at which more than the given number of frames were
// there, the earliest that is known; zero if none is.
func (m *walMarks) firstAbove(frames int) time.Time {
	for _, mark := range m.list {
		if mark.frames > frames {
			return mark.at
		}
	}
	return time.Time{}
}
