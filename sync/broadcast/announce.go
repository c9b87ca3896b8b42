package broadcast

import (
	"slices"
	"time"

	"github.com/patinadb/patina/changeset"
)

// Digests. What does not go to everybody at once is announced to a few peers more,
// some of whom the eager copies missed; those pull it. Numbers: DESIGN section 6.
const (
	digestPeriod = 100 * time.Millisecond
	digestLarge  = 20 * time.Millisecond // to the next digest after a large changeset
	digestPeers  = 4
	digestRounds = 2 // digests in which each changeset is
	// pullDelay is how long an announced changeset may still come by itself.
	pullDelay = 50 * time.Millisecond
	// pullPatience is how long an answer may take beyond two round trips before
	// another announcer is asked.
	pullPatience = 100 * time.Millisecond
	// maxAnnouncers bounds the peers that are remembered for one changeset.
	maxAnnouncers = 4
)

// digests are when and how often digests go out.
type digests struct {
	next  time.Time // zero: there is nothing to announce
	count uint64    // those that went out
}

// soon sees to it that a new changeset is announced.
func (d *digests) soon(now time.Time, item Item) {
	at := now.Add(digestPeriod)
	if len(item.Packed) > largeItem {
		at = now.Add(digestLarge)
	}
	if d.next.IsZero() || at.Before(d.next) {
		d.next = at
	}
}

// tick does what is due.
func (m *Machine) tick(now time.Time) (out []Effect) {
	if !m.digests.next.IsZero() && !now.Before(m.digests.next) {
		out = m.digest(now)
	}
	out = m.pull(now, out)
	m.recent.expire(now)
	return m.flushDue(now, out)
}

// digest announces what is recent to random peers.
func (m *Machine) digest(now time.Time) (out []Effect) {
	m.digests.count++
	ids, more := m.recent.announce()
	m.digests.next = time.Time{}
	if more {
		m.digests.next = now.Add(digestPeriod)
	}
	for _, p := range m.randomPeers(m.digests.count) {
		p.wait(now)
		for _, id := range ids {
			if id.Actor != p.actor {
				p.have = append(p.have, id)
				m.count.Announced++
			}
		}
		p.have = newest(p.have)
		out = m.start(now, p, out)
	}
	return out
}

// randomPeers returns the peers of one digest, in order.
func (m *Machine) randomPeers(digest uint64) []*peer {
	ranks := rankingOf(m.cfg.Seed, changeset.ID{Version: changeset.Version(digest)})
	var best []candidate
	for _, p := range m.peers {
		best = insert(best, candidate{p, ranks.of(p.actor)}, digestPeers)
	}
	return inOrder(best)
}

// newest leaves out the oldest of more ids than may wait.
func newest(ids []changeset.ID) []changeset.ID { return ids[max(0, len(ids)-MaxIDs):] }

// announced notes what a peer has and this node has not.
func (m *Machine) announced(now time.Time, e Announced) {
	i, ok := m.find(e.From)
	if !ok {
		return
	}
	for _, id := range newest(e.IDs) {
		if !m.known(id) {
			m.missing.add(now, id, m.peers[i])
		}
	}
}

func (m *Machine) known(id changeset.ID) bool {
	return id.Actor == m.cfg.Self || m.seen.has(id) || m.cfg.Held(id)
}

// wanted queues what a peer asks for.
func (m *Machine) wanted(now time.Time, e Wanted) (out []Effect) {
	i, ok := m.find(e.From)
	if !ok {
		return nil
	}
	for _, id := range newest(e.IDs) {
		item, ok := m.recent.get(id)
		if !ok {
			m.count.Gone++
			continue
		}
		m.count.Answered++
		m.queue(now, m.peers[i], item)
	}
	return m.start(now, m.peers[i], out)
}

// pull asks for what is due of what is missing.
func (m *Machine) pull(now time.Time, out []Effect) []Effect {
	var asked []*peer
	m.missing.due(now, func(w *wish) (again time.Time) {
		if m.known(w.id) {
			return time.Time{}
		}
		p := m.nextAnnouncer(w)
		if p == nil {
			m.count.GivenUp++
			return time.Time{}
		}
		m.count.Asked++
		p.wait(now)
		p.want = newest(append(p.want, w.id))
		if !slices.Contains(asked, p) {
			asked = append(asked, p)
		}
		return now.Add(2*p.rtt + pullPatience)
	}, m.forget)
	for _, p := range asked {
		out = m.start(now, p, out)
	}
	return out
}

// nextAnnouncer takes the next peer to ask out of a wish, nil if none is left.
func (m *Machine) nextAnnouncer(w *wish) *peer {
	for len(w.from) > 0 {
		w.asked, w.from = w.from[0], w.from[1:]
		if i, ok := m.find(w.asked); ok {
			return m.peers[i]
		}
	}
	return nil
}

// forget ends what a wish costs the peer that announced it first.
func (m *Machine) forget(w *wish) {
	if i, ok := m.find(w.first); ok && m.peers[i].missing > 0 {
		m.peers[i].missing--
	}
}

// wish is a changeset that is announced and not here.
type wish struct {
	id    changeset.ID
	first changeset.ActorID   // who announced it first
	from  []changeset.ActorID // who announced it and was not asked yet
	asked changeset.ActorID   // who was asked last
	due   time.Time
}

// missing holds the wishes in the order in which they were made.
type missing struct {
	byID    map[changeset.ID]*wish
	list    []*wish
	soonest time.Time // not after the first due; zero: there is none
}

func newMissing() missing { return missing{byID: map[changeset.ID]*wish{}} }

func (s *missing) add(now time.Time, id changeset.ID, p *peer) {
	if w := s.byID[id]; w != nil {
		if len(w.from) < maxAnnouncers && w.asked != p.actor && !slices.Contains(w.from, p.actor) {
			w.from = append(w.from, p.actor)
		}
		return
	}
	if len(s.list) >= MissingItems || p.missing >= PeerMissing {
		return
	}
	p.missing++
	w := &wish{id: id, first: p.actor, from: []changeset.ActorID{p.actor}, due: now.Add(pullDelay)}
	s.byID[id] = w
	s.list = append(s.list, w)
	s.wake(w.due)
}

func (s *missing) wake(at time.Time) {
	if s.soonest.IsZero() || at.Before(s.soonest) {
		s.soonest = at
	}
}

// asked reports whether somebody was asked for the changeset.
func (s *missing) asked(id changeset.ID) bool {
	w := s.byID[id]
	return w != nil && w.asked != (changeset.ActorID{})
}

func (s *missing) next() time.Time { return s.soonest }

// due calls ask for each wish that is due, and forget for those that end since ask
// returned no time for another try.
func (s *missing) due(now time.Time, ask func(*wish) time.Time, forget func(*wish)) {
	if s.soonest.IsZero() || now.Before(s.soonest) {
		return
	}
	s.soonest = time.Time{}
	s.list = slices.DeleteFunc(s.list, func(w *wish) bool {
		if !now.Before(w.due) {
			if w.due = ask(w); w.due.IsZero() {
				delete(s.byID, w.id)
				forget(w)
				return true
			}
		}
		s.wake(w.due)
		return false
	})
}

// hurry makes due what a peer was asked for that will not answer.
func (s *missing) hurry(asked changeset.ActorID, now time.Time) {
	for _, w := range s.list {
		if w.asked == asked && now.Before(w.due) {
			w.due = now
			s.wake(now)
		}
	}
}
