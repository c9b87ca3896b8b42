package antientropy

import (
	"context"
	"slices"
	"sync"
)

// meetCapacity bounds the peers whose vectors wait for the store. A newer vector of
// a peer replaces its older one; those of more peers are dropped and counted: the
// next session with them brings them again.
const meetCapacity = 32

// meetings are the vectors of peers on their way to the store. Loop.meet takes them:
// the store may wait for its writer, and no session waits for that.
type meetings struct {
	wake chan struct{} // capacity 1: something waits

	mu      sync.Mutex
	waiting []Hear // guarded by mu; one a peer, oldest first
	dropped uint64 // guarded by mu
}

func (q *meetings) add(h Hear) {
	q.mu.Lock()
	defer q.mu.Unlock()
	at := slices.IndexFunc(q.waiting, func(w Hear) bool { return w.Peer == h.Peer })
	switch {
	case at >= 0:
		q.waiting[at] = h
	case len(q.waiting) < meetCapacity:
		q.waiting = append(q.waiting, h)
	default:
		q.dropped++
		return
	}
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// next takes the oldest; false if none waits.
func (q *meetings) next() (h Hear, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == 0 {
		return h, false
	}
	h = q.waiting[0]
	q.waiting = slices.Delete(q.waiting, 0, 1)
	return h, true
}

func (q *meetings) state() Queue {
	q.mu.Lock()
	defer q.mu.Unlock()
	return Queue{"antientropy.meetings", len(q.waiting), meetCapacity, q.dropped}
}

// meet gives the store what waits, one vector after the other, until ctx ends.
func (l *Loop) meet(ctx context.Context) {
	for {
		select {
		case <-l.meetings.wake:
		case <-ctx.Done():
			return
		}
		for h, ok := l.meetings.next(); ok && ctx.Err() == nil; h, ok = l.meetings.next() {
			if err := l.cfg.Store.MeetVector(ctx, h.Peer, h.Vector); err != nil && ctx.Err() == nil {
				l.cfg.Log.Warn("what a peer holds could not be compared with what is here", "peer", h.Peer, "err", err)
			}
		}
	}
}
