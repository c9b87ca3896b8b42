package antientropy

import (
	"slices"
	"time"

	"github.com/patinadb/patina/changeset"
)

// peer is what the machine remembers of a peer. One that is down is forgotten
// as soon as its back-off is over.
type peer struct {
	actor     changeset.ActorID
	up        bool
	session   *session  // in progress, nil if none; not one that is being refused
	lastStart time.Time // of the last session in either role
	due       time.Time // when a session of ours is wanted, zero if it is not
	// digests: the session that is due begins with digests, since they may be
	// equal.
	digests   bool
	failures  int       // in a row
	notBefore time.Time // of the next session of ours: back-off
	faulted   bool      // the last failure was its fault: refused until notBefore
	settled   settled
	unserved  sets // by the last session that was done
}

// settled are the applied digests, ours and the peer's, with which a session
// began that was done. While they stand, another would bring nothing new.
type settled struct {
	mine, theirs [32]byte
	valid        bool
	until        time.Time // zero: as long as the digests stand
}

func (m *Machine) peer(actor changeset.ActorID) *peer {
	p := m.peers[actor]
	if p == nil {
		p = &peer{actor: actor}
		m.peers[actor] = p
	}
	return p
}

func (m *Machine) peerUp(now time.Time, actor changeset.ActorID) {
	if actor == m.cfg.Self {
		return
	}
	p := m.peer(actor)
	if !p.up {
		p.up = true
		m.stats.Peers++
	}
	p.settled = settled{}
	m.want(now, p, now, true)
}

func (m *Machine) peerDown(now time.Time, actor changeset.ActorID) {
	p := m.peers[actor]
	if p == nil || !p.up {
		return
	}
	p.up = false
	p.due = time.Time{}
	m.setUnserved(p, nil)
	m.stats.Peers--
	m.nextStart = now
}

func (m *Machine) probe(now time.Time, e Probe) {
	p := m.peers[e.Peer]
	if p == nil || !p.up || p.session != nil {
		return // a new peer's session, or the one in progress, compares more
	}
	vector := m.cfg.Vector()
	mine := vector.Digest()
	if e.Digest == mine {
		m.emit(Hear{e.Peer, vector.AppliedOnly()})
		return
	}
	s := &p.settled
	if s.valid && s.mine == mine && s.theirs == e.Digest && (s.until.IsZero() || now.Before(s.until)) {
		m.stats.Suppressed++
		return
	}
	m.want(now, p, now, false)
}

// want asks for a session with p at the given time or as soon after it as p's
// gap and back-off allow. The earlier wish wins; a known difference wins over
// comparing digests.
func (m *Machine) want(now time.Time, p *peer, at time.Time, digests bool) {
	at = latest(at, p.lastStart.Add(MinGap), p.notBefore)
	if p.due.IsZero() {
		p.due, p.digests = at, digests
	} else {
		p.due = earliest(p.due, at)
		p.digests = p.digests && digests
	}
	m.nextStart = earliest(m.nextStart, latest(p.due, now))
}

func latest(t time.Time, others ...time.Time) time.Time {
	for _, o := range others {
		if o.After(t) {
			t = o
		}
	}
	return t
}

func earliest(t, u time.Time) time.Time {
	if u.Before(t) {
		return u
	}
	return t
}

// schedule begins the sessions that are due and sets nextStart. It walks over
// the peers only when something is due.
func (m *Machine) schedule(now time.Time) {
	if now.Before(m.nextStart) {
		return
	}
	m.round(now)
	for m.initiated() < MaxInitiated {
		p := m.nextDue()
		if p == nil || p.due.After(now) {
			break
		}
		m.start(now, p)
	}
	m.nextStart = m.nextRound
	if m.initiated() < MaxInitiated {
		if p := m.nextDue(); p != nil {
			m.nextStart = earliest(m.nextStart, p.due)
		}
	}
	for actor, p := range m.peers {
		if !p.up && p.session == nil && !now.Before(latest(p.notBefore, p.lastStart.Add(MinGap))) {
			m.setUnserved(p, nil)
			delete(m.peers, actor)
		}
	}
}

// round wants a session with one random peer that has none.
func (m *Machine) round(now time.Time) {
	if now.Before(m.nextRound) {
		return
	}
	m.nextRound = now.Add(m.jitter(RoundInterval, RoundJitter))
	var idle []*peer
	for _, p := range m.peers {
		if p.up && p.session == nil && p.due.IsZero() && !now.Before(p.notBefore) {
			idle = append(idle, p)
		}
	}
	if len(idle) > 0 {
		slices.SortFunc(idle, func(p, q *peer) int { return p.actor.Compare(q.actor) })
		m.want(now, idle[m.cfg.Rand.IntN(len(idle))], now, true)
	}
}

// nextDue returns the peer without a session that is due first, nil if none is.
func (m *Machine) nextDue() (first *peer) {
	for _, p := range m.peers {
		if p.due.IsZero() || p.session != nil {
			continue
		}
		if first == nil || p.due.Before(first.due) || p.due.Equal(first.due) && p.actor.Compare(first.actor) < 0 {
			first = p
		}
	}
	return first
}

func (m *Machine) initiated() int { return m.count(func(s *session) bool { return s.initiator }) }

func (m *Machine) count(which func(*session) bool) (n int) {
	for _, s := range m.sessions {
		if which(s) {
			n++
		}
	}
	return n
}

// start begins a session of ours with p.
func (m *Machine) start(now time.Time, p *peer) {
	s := &session{id: m.NewSession(), peer: p, initiator: true, digests: p.digests}
	m.stats.Started++
	m.begin(now, s)
	m.emit(Open{s.id, p.actor})
}

// begin enters a session of either role into the books.
func (m *Machine) begin(now time.Time, s *session) {
	s.started, s.progress = now, now
	m.sessions = append(m.sessions, s)
	s.peer.session = s
	s.peer.lastStart = now
	s.peer.due = time.Time{}
}

// incoming accepts a peer's session or refuses it. Of two sessions that cross,
// the one of the smaller actor goes on: the other side decides alike.
func (m *Machine) incoming(now time.Time, e Incoming) {
	p := m.peer(e.Peer)
	s := &session{id: e.Session, peer: p, phase: greeting}
	crossing := p.session != nil && p.session.initiator && p.session.phase <= greeting
	serving := m.count(func(s *session) bool { return !s.initiator && s.phase != refusing })
	switch {
	case p.session != nil && !(crossing && e.Peer.Compare(m.cfg.Self) < 0),
		serving >= MaxServed,
		p.faulted && now.Before(p.notBefore):
		m.refuse(now, s)
		return
	case crossing:
		m.stats.Busy++
		m.end(now, p.session, CodeSuperseded, ErrSuperseded)
	}
	m.stats.Served++
	m.begin(now, s)
	m.read(s)
}

// refuse answers Busy within the usual limits of a session that counts for
// nothing else.
func (m *Machine) refuse(now time.Time, s *session) {
	m.stats.Refused++
	s.started, s.progress, s.phase = now, now, refusing
	if m.count(func(s *session) bool { return s.phase == refusing }) >= MaxRefusing {
		m.emit(Close{s.id, CodeBusy, ErrBusy})
		return
	}
	m.sessions = append(m.sessions, s)
	m.emit(Send{s.id, Busy{}})
	m.emit(CloseSend{s.id})
}

// end takes a session out of the books and closes it.
func (m *Machine) end(now time.Time, s *session, code Code, err error) {
	m.sessions = slices.DeleteFunc(m.sessions, func(t *session) bool { return t == s })
	if s.peer.session == s {
		s.peer.session = nil
		m.nextStart = now // a slot is free
	}
	m.emit(Close{s.id, code, err})
}

// backOff keeps p from being tried for a while and wants a session after it.
func (m *Machine) backOff(now time.Time, p *peer) {
	wait := BackoffMin << min(p.failures, 10)
	wait = min(wait, BackoffMax)
	p.failures++
	p.notBefore = now.Add(m.jitter(wait, wait/4))
	if p.up {
		m.want(now, p, p.notBefore, true)
	}
}
