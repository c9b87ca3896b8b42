package api

import "sync/atomic"

// limiter bounds the requests of one class that run at once. There is no
// waiting: who finds no room is refused and counted, so that overload is seen
// at once and by the client that can wait (drop policy: the newest).
type limiter struct {
	name     string
	capacity int64
	running  atomic.Int64
	refused  atomic.Uint64
}

func newLimiter(name string, capacity int) *limiter {
	return &limiter{name: name, capacity: int64(capacity)}
}

// enter takes a slot; a nil limiter has room without end.
func (l *limiter) enter() bool {
	if l == nil {
		return true
	}
	if l.running.Add(1) > l.capacity {
		l.running.Add(-1)
		l.refused.Add(1)
		return false
	}
	return true
}

func (l *limiter) leave() {
	if l != nil {
		l.running.Add(-1)
	}
}

func (l *limiter) refusal() error { return &busyError{l.name, l.capacity} }

func (l *limiter) queue() Queue {
	return Queue{
		Name:     l.name,
		Depth:    int(min(l.running.Load(), l.capacity)),
		Capacity: int(l.capacity),
		Dropped:  l.refused.Load(),
	}
}
