package store

import (
	"slices"
	"time"

	"github.com/patinadb/patina/changeset"
)

// What is parked for its names (unknown table or column, another key or
// generation) waits for the schema to move. Whatever else keeps a changeset out,
// a row that is damaged here or a value that is refused, may be put right without
// that: those are tried again, each time after twice as long, on the writer's tick.
const (
	retryFirst  = time.Second
	retryDelays = 10                   // 1 s, 2 s … 512 s, and then every 512 s
	retryCount  = 8                    // of one tick
	retryTime   = 5 * time.Millisecond // of one tick, and the attempt that passes it
)

// retries is when which parked changeset is tried again. Each delay has a queue of
// its own, so that its first entry is always due first. An entry whose changeset
// is no longer parked is dropped when its time comes. It is in memory alone: at
// open all that is parked is judged.
type retries struct {
	queues [retryDelays][]retry
	listed map[changeset.ID]bool
}

type retry struct {
	id  changeset.ID
	due time.Time
}

// add lists a changeset for its first retry, if it is not listed.
func (r *retries) add(id changeset.ID, now time.Time) {
	if !r.listed[id] {
		r.push(id, 0, now)
	}
}

func (r *retries) push(id changeset.ID, delay int, now time.Time) {
	if r.listed == nil {
		r.listed = map[changeset.ID]bool{}
	}
	r.listed[id] = true
	r.queues[delay] = append(r.queues[delay], retry{id, now.Add(retryFirst << delay)})
}

// isDue reports whether pop would return something.
func (r *retries) isDue(now time.Time) bool { return r.first(now) < retryDelays }

// first returns the delay whose first entry is due, retryDelays if none is.
func (r *retries) first(now time.Time) int {
	for d, q := range r.queues {
		if len(q) > 0 && !now.Before(q[0].due) {
			return d
		}
	}
	return retryDelays
}

// pop takes out an entry that is due, with the delay that it had.
func (r *retries) pop(now time.Time) (id changeset.ID, delay int, ok bool) {
	d := r.first(now)
	if d == retryDelays {
		return id, 0, false
	}
	id = r.queues[d][0].id
	r.queues[d] = r.queues[d][1:]
	delete(r.listed, id)
	return id, d, true
}

// retryParked tries what is due, within the bounds of one tick.
func (w *writer) retryParked(now time.Time) {
	end := time.Now().Add(retryTime)
	for n := 0; n < retryCount && time.Now().Before(end); n++ {
		id, delay, ok := w.retries.pop(now)
		if !ok {
			return
		}
		again, err := w.retry(id)
		if err != nil {
			w.log.Error("parked changeset could not be tried again", "actor", id.Actor, "version", id.Version, "err", err)
		}
		if again {
			w.retries.push(id, min(delay+1, retryDelays-1), now)
		}
	}
}

// retry tries one parked changeset in a transaction of its own. again says that
// it stays parked for a reason that is not the schema's.
func (w *writer) retry(id changeset.ID) (again bool, err error) {
	at, parked := slices.BinarySearchFunc(w.parked, id, func(p Parked, id changeset.ID) int { return compareIDs(p.ID, id) })
	if !parked {
		return false, nil
	}
	var dropped []harmfulIndex
	var applied []Committed
	err = w.transaction(func() error {
		if err := w.refreshSchema(); err != nil {
			return err
		}
		sealed, c, err := w.readParked(id)
		if err != nil {
			return err
		}
		reason := w.misfit(c)
		if again = reason == nil; again {
			reason = w.unpark(sealed, c)
		}
		if again && isMisfit(reason) {
			if dropped, err = w.dropHarmful(sealed, c, reason); err != nil {
				return err
			}
			if len(dropped) > 0 {
				reason = w.unpark(sealed, c)
			}
		}
		if reason == nil {
			again, applied = false, []Committed{{Sealed: sealed}}
			w.parked = slices.Delete(slices.Clone(w.parked), at, at+1)
			return nil
		}
		w.parked = slices.Clone(w.parked)
		return w.keepParked(&w.parked[at], reason)
	})
	if err != nil {
		return true, err
	}
	w.tellDropped(dropped)
	w.publish()
	if len(applied) > 0 {
		w.store.cfg.Committed(applied)
	}
	return again, nil
}
