package store

import (
	"sync/atomic"
	"time"
)

// turnKind is what the writer's time goes to.
type turnKind uint8

const (
	requestTurn turnKind = iota
	applyTurn
)

func (k turnKind) other() turnKind { return 1 - k }

const (
	// turnCredit is how much time a kind that does not ask for turns may keep.
	turnCredit = 10 * time.Millisecond
	// turnLead bounds what one kind owes the other: a statement that ran for its
	// whole 30 s must not keep all other requests waiting for as long again.
	turnLead = time.Second
	// turnShare: a turn may take this many times what the other kind's last one
	// took, so that each keeps a quarter of the time, also one whose callers wait
	// for their answers before they ask again.
	turnShare = 3
	// turnLeast is the shortest time that a turn is cut to.
	turnLeast = time.Millisecond
	// turnMemory is the time after which a kind that had no turn does not count.
	turnMemory = 20 * time.Millisecond
)

// turns shares the writer's time between clients' requests and remote
// changesets: where both wait, the kind that had less goes first. It belongs to
// the writer's goroutine, but for used.
type turns struct {
	used [2]atomic.Int64 // nanoseconds since open
	// lead is how much more time requests had than remote changesets, within
	// ±turnLead.
	lead time.Duration
	// last is the length of each kind's last turn, ago what the other had since.
	last, ago [2]time.Duration
}

// next says whose turn it is if both are wanted. A kind that is not wanted loses
// what it is owed, but for turnCredit.
func (t *turns) next(wanted [2]bool) turnKind {
	if !wanted[applyTurn] {
		t.lead = min(t.lead, turnCredit)
	}
	if !wanted[requestTurn] {
		t.lead = max(t.lead, -turnCredit)
	}
	if t.lead > 0 {
		return applyTurn
	}
	return requestTurn
}

// took accounts for a turn.
func (t *turns) took(kind turnKind, d time.Duration) {
	t.used[kind].Add(int64(d))
	t.last[kind], t.ago[kind] = d, 0
	t.ago[kind.other()] += d
	if kind == applyTurn {
		d = -d
	}
	t.lead = min(max(t.lead+d, -turnLead), turnLead)
}

// allowance returns how long the next turn of a kind may take in more work: at
// most usual, less if the other kind has short turns.
func (t *turns) allowance(kind turnKind, usual time.Duration) time.Duration {
	other := kind.other()
	if t.last[other] == 0 || t.ago[other] > turnMemory {
		return usual
	}
	return min(usual, max(turnLeast, turnShare*t.last[other]))
}

// WriterTime is how long the writer was at work since Open, by what for.
type WriterTime struct{ Requests, Applies time.Duration }

// WriterTime returns what the writer's time went to.
func (s *Store) WriterTime() WriterTime {
	used := &s.writer.turns.used
	return WriterTime{time.Duration(used[requestTurn].Load()), time.Duration(used[applyTurn].Load())}
}
