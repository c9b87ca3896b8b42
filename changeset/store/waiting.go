package store

import (
	"time"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/sync/versions"
)

// Bounds of the waiting room; bytes are those in memory, which one changeset may
// pass if nobody else waits. What does not fit is dropped: it counts as neither
// held nor parked, so anti-entropy brings it again.
const (
	waitLimit    = 2 * time.Second // after that it applies by the merge rule alone
	waitingCount = 1024
	waitingBytes = 64 << 20
)

// waitingRoom keeps changesets that arrived before something that they must come
// after: an update must not be seen before the insert that it follows.
// Convergence never depends on it.
type waitingRoom struct {
	byID    map[changeset.ID]*waiter
	bytes   int
	dropped uint64
}

type waiter struct {
	incoming
	until time.Time
}

func newWaitingRoom() *waitingRoom { return &waitingRoom{byID: map[changeset.ID]*waiter{}} }

// add takes in, or drops it and returns false if the room is full.
func (r *waitingRoom) add(in incoming, now time.Time) bool {
	if _, ok := r.byID[in.sealed.ID()]; ok {
		return true
	}
	if len(r.byID) >= waitingCount || len(r.byID) > 0 && r.bytes+in.size > waitingBytes {
		r.dropped++
		return false
	}
	r.byID[in.sealed.ID()] = &waiter{in, now.Add(waitLimit)}
	r.bytes += in.size
	return true
}

// take removes and returns everyone who need not wait any more: all that they
// come after is applied, or their time is up.
func (r *waitingRoom) take(v *versions.Vector, now time.Time) []incoming {
	var ready []incoming
	for id, w := range r.byID {
		if now.Before(w.until) && !appliedAll(v, w.sealed.After) {
			continue
		}
		w.waited = true
		ready = append(ready, w.incoming)
		delete(r.byID, id)
		r.bytes -= w.size
	}
	return ready
}

// appliedAll reports whether every version in after is applied in v.
func appliedAll(v *versions.Vector, after []changeset.ID) bool {
	for _, id := range after {
		if !v.Entry(id.Actor).Applied.Contains(id.Version) {
			return false
		}
	}
	return true
}
