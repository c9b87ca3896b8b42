package antientropy

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/sync/versions"
)

// When sessions begin and how long they may last.
const (
	// RoundInterval and RoundJitter: the slow round comes every
	// RoundInterval ± RoundJitter.
	RoundInterval = 10 * time.Second
	RoundJitter   = 2 * time.Second
	// MinGap is the least time between the beginnings of two sessions that we
	// have with one peer.
	MinGap = 250 * time.Millisecond
	// SettleFor is how long the digests that a session began with are no reason
	// for another one, if it moved something.
	SettleFor = 2 * time.Second
	// BusyDelay ± a quarter is the wait after a Busy.
	BusyDelay = 500 * time.Millisecond
	// BackoffMin and BackoffMax bound the wait after failures, ± a quarter.
	BackoffMin = 500 * time.Millisecond
	BackoffMax = 30 * time.Second
	// IdleLimit ends a session in which nothing moves.
	IdleLimit = 10 * time.Second
	// SessionLimit ends any session.
	SessionLimit = 5 * time.Minute
	// AbsentFor is how long we remember what our own log does not have.
	AbsentFor = 10 * time.Minute
)

// How much may be under way.
const (
	// MaxInitiated and MaxServed bound the sessions in progress.
	MaxInitiated = 3
	MaxServed    = 8
	// MaxRefusing bounds the streams that are being told Busy; what is beyond is
	// cancelled.
	MaxRefusing = 16
	// NewestFirst is how many answers per actor are taken from the upper end.
	NewestFirst = 32
	// BatchCount and BatchBytes bound an Apply; the last changeset may exceed
	// the bytes. BatchCount bounds a Fetch too.
	BatchCount = 64
	BatchBytes = 1 << 20
	// DepthCount and DepthBytes are what a session may hold in memory before it
	// stops to read; one changeset may exceed the bytes.
	DepthCount = 2 * BatchCount
	DepthBytes = 2 * BatchBytes
	// AbsentFlush is the number of versions not in the log after which the peer
	// is told, so that it sees progress.
	AbsentFlush = 4096
	// MaxAbsentRanges bounds the memory of what our log does not have, and of
	// what each peer's log does not.
	MaxAbsentRanges = 4096
)

// MachineConfig is what a Machine is made of. All fields are required.
type MachineConfig struct {
	Self changeset.ActorID
	// Vector returns what is durable here now: an immutable snapshot. It is
	// called within Handle and must not block.
	Vector func() *versions.Vector
	// Rand spreads rounds and back-offs.
	Rand *rand.Rand
}

// Machine holds the rules of anti-entropy: when sessions begin, and how each
// goes on. It is not for concurrent use.
type Machine struct {
	cfg       MachineConfig
	peers     map[changeset.ActorID]*peer
	sessions  []*session // in the order in which they began; few
	lastID    SessionID
	nextRound time.Time
	nextStart time.Time // when schedule must run, at the latest
	absent    absent
	stats     Stats
	// unservedRevision counts the changes of what Unserved returns.
	unservedRevision uint64
	out              []Effect
}

// absent is what our own log does not have although our vector holds it. Such a
// version never enters the log later.
type absent struct {
	sets  sets
	since time.Time
}

// NewMachine returns a machine that knows no peer.
func NewMachine(cfg MachineConfig, now time.Time) *Machine {
	m := &Machine{cfg: cfg, peers: map[changeset.ActorID]*peer{}}
	m.nextRound = now.Add(m.jitter(RoundInterval, RoundJitter))
	m.nextStart = m.nextRound
	return m
}

// NewSession returns a fresh id for Incoming.
func (m *Machine) NewSession() SessionID {
	m.lastID++
	return m.lastID
}

// jitter returns d ± spread.
func (m *Machine) jitter(d, spread time.Duration) time.Duration {
	return d - spread + time.Duration(m.cfg.Rand.Int64N(int64(2*spread)+1))
}

// Handle takes an event at the time now and returns what is to be done. The
// slice is valid until the next call.
func (m *Machine) Handle(now time.Time, e Event) []Effect {
	m.reset()
	switch e := e.(type) {
	case PeerUp:
		m.peerUp(now, e.Peer)
	case PeerDown:
		m.peerDown(now, e.Peer)
	case Probe:
		m.probe(now, e)
	case Incoming:
		m.incoming(now, e)
	case Opened:
		m.with(e.Session, func(s *session) { m.opened(now, s) })
	case Received:
		m.with(e.Session, func(s *session) { m.received(now, s, e.Message) })
	case Ended:
		m.with(e.Session, func(s *session) { m.ended(now, s, e.Err) })
	case Fetched:
		m.with(e.Session, func(s *session) { m.fetched(now, s, e) })
	case Progressed:
		m.with(e.Session, func(s *session) { s.progress = now })
	case Flushed:
		m.with(e.Session, func(s *session) { m.flushed(now, s) })
	case Applied:
		m.with(e.Session, func(s *session) { m.applied(now, s, e.Err) })
	case SendFailed:
		m.with(e.Session, func(s *session) { m.sendFailed(now, s, e.Err) })
	case Failed:
		m.with(e.Session, func(s *session) { m.fail(now, s, e.Err) })
	}
	m.schedule(now)
	return m.out
}

// Tick does what is due at now. It may be called at any time and is needed at
// Wake.
func (m *Machine) Tick(now time.Time) []Effect {
	m.reset()
	for _, s := range slices.Clone(m.sessions) {
		switch {
		case !now.Before(s.started.Add(SessionLimit)):
			m.fail(now, s, ErrTooLong)
		case !s.applying && !now.Before(s.progress.Add(IdleLimit)):
			m.fail(now, s, ErrIdle)
		}
	}
	m.schedule(now)
	return m.out
}

// Wake returns when Tick is needed next.
func (m *Machine) Wake() time.Time {
	wake := m.nextStart
	for _, s := range m.sessions {
		end := s.started.Add(SessionLimit)
		if idle := s.progress.Add(IdleLimit); !s.applying && idle.Before(end) {
			end = idle
		}
		if end.Before(wake) {
			wake = end
		}
	}
	return wake
}

// Stats returns the counters.
func (m *Machine) Stats() Stats {
	st := m.stats
	for _, s := range m.sessions {
		switch {
		case s.initiator:
			st.Initiated++
		case s.phase != refusing:
			st.Serving++
		}
	}
	return st
}

// Unserved returns what the peers' last sessions left unserved, sorted by peer.
func (m *Machine) Unserved() []Unserved {
	var out []Unserved
	for actor, p := range m.peers {
		if needs, _ := p.unserved.needs(); len(needs) > 0 {
			out = append(out, Unserved{actor, needs})
		}
	}
	slices.SortFunc(out, func(a, b Unserved) int { return a.Peer.Compare(b.Peer) })
	return out
}

// reset empties out and lets go of what it referred to.
func (m *Machine) reset() {
	clear(m.out)
	m.out = m.out[:0]
}

func (m *Machine) emit(e Effect) { m.out = append(m.out, e) }

// with calls f if the session has not been closed.
func (m *Machine) with(id SessionID, f func(*session)) {
	for _, s := range m.sessions {
		if s.id == id {
			f(s)
			return
		}
	}
}

// noteAbsent remembers that ids are not in our log.
func (m *Machine) noteAbsent(now time.Time, ids []changeset.ID) {
	if len(ids) == 0 {
		return
	}
	m.expireAbsent(now)
	if m.absent.sets == nil {
		m.absent = absent{sets{}, now}
	}
	for _, id := range ids {
		m.absent.sets.add(id.Actor, versions.Range{First: id.Version, Last: id.Version})
	}
	ranges := 0
	for _, set := range m.absent.sets {
		ranges += len(set.Ranges())
	}
	if ranges > MaxAbsentRanges {
		m.absent = absent{}
	}
}

func (m *Machine) expireAbsent(now time.Time) {
	if m.absent.sets != nil && now.Sub(m.absent.since) >= AbsentFor {
		m.absent = absent{}
	}
}

// splitAbsent parts what a session asks for into what must be fetched and what
// is known not to be in our log.
func (m *Machine) splitAbsent(now time.Time, needs []versions.Need) (fetch []versions.Need, missing sets) {
	m.expireAbsent(now)
	missing = sets{}
	for _, n := range needs {
		asked := versions.SetOf(n.Ranges...)
		left := asked.Minus(m.absent.sets[n.Actor])
		if gone := asked.Minus(left); !gone.IsEmpty() {
			missing[n.Actor] = gone
		}
		if !left.IsEmpty() {
			fetch = append(fetch, versions.Need{Actor: n.Actor, Ranges: left.Ranges()})
		}
	}
	return fetch, missing
}
