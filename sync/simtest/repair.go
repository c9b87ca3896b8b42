package simtest

import (
	"errors"
	"io"
	"slices"
	"time"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/sync/antientropy"
	"github.com/patinadb/patina/sync/versions"
)

const (
	// sessionPeers is the number of peers that a node has sessions with, in a cluster of
	// more than allPeers; each node begins one with each of them when it starts.
	sessionPeers = 24
	allPeers     = 50
	probePeriod  = time.Second
	// backlog is how far a Fetch goes ahead of the line.
	backlog = 100 * time.Millisecond
)

var errBroken = errors.New("simtest: stream broken")

// startRepair starts anti-entropy at every node.
func (s *sim) startRepair() {
	s.repair = true
	for i, n := range s.nodes {
		n.peers = nil
		for d := 1; d < len(s.nodes); d++ {
			// Beside neighbours in the list, whoever is a power of two away: few steps
			// lead from everybody to everybody.
			back := len(s.nodes) - d
			if len(s.nodes) <= allPeers || d <= sessionPeers/4 || back <= sessionPeers/4 || d&(d-1) == 0 || back&(back-1) == 0 {
				n.peers = append(n.peers, s.nodes[(i+d)%len(s.nodes)])
			}
		}
	}
	for _, n := range s.nodes {
		if n.down {
			continue
		}
		n.bootRepair()
		for _, p := range n.peers {
			if n.linked[p.index] {
				n.mend(antientropy.PeerUp{Peer: p.actor})
			}
		}
	}
	for _, n := range s.nodes {
		s.after(randTime(s.rand, probePeriod), func() { n.probe() })
	}
}

// probe asks one peer for the digest of its vector, each second.
func (n *node) probe() {
	s := n.sim
	s.after(probePeriod, n.probe)
	p, life := n.peers[s.rand.IntN(len(n.peers))], n.life
	if n.down || !n.linked[p.index] || !s.reaches(n, p) || s.rand.Float64() < s.cfg.Loss || s.rand.Float64() < s.cfg.Loss {
		return
	}
	s.after(s.oneWay(n, p), func() {
		if p.down {
			return
		}
		digest := p.snapshot().Digest()
		s.after(s.oneWay(p, n), func() {
			if n.life == life && s.reaches(p, n) {
				n.mend(antientropy.Probe{Peer: p.actor, Digest: digest})
			}
		})
	})
}

// mend gives anti-entropy an event and does what it asks for.
func (n *node) mend(ev antientropy.Event) { n.mendAll(n.repair.Handle(n.sim.time(), ev)) }

func (n *node) mendAll(effects []antientropy.Effect) {
	for _, effect := range slices.Clone(effects) {
		n.mendOne(effect)
	}
	at := max(n.repair.Wake().Sub(epoch), n.sim.now+1)
	if n.repairAt > n.sim.now && n.repairAt <= at {
		return
	}
	life := n.life
	n.repairAt = at
	n.sim.after(at-n.sim.now, func() {
		if n.life == life && n.repairAt == at {
			n.repairAt = 0
			effects := n.repair.Tick(n.sim.time())
			if wake := n.repair.Wake(); !wake.After(n.sim.time()) {
				n.sim.breach("node %d wants a tick of anti-entropy at %v after that one", n.index, wake.Sub(epoch))
			}
			n.mendAll(effects)
		}
	})
}

func (n *node) mendOne(effect antientropy.Effect) {
	switch e := effect.(type) {
	case antientropy.Open:
		n.open(e)
	case antientropy.Send:
		n.ends[e.Session].send(e.Message)
	case antientropy.CloseSend:
		x := n.ends[e.Session]
		x.tell(x.send(nil)-n.sim.now, antientropy.Flushed{Session: x.id})
	case antientropy.Fetch:
		n.ends[e.Session].fetch(e.IDs)
	case antientropy.Read:
		x := n.ends[e.Session]
		x.reading = true
		n.sim.after(0, x.deliver)
	case antientropy.Apply:
		n.ends[e.Session].apply(e.Batch)
	case antientropy.Hear:
		if p := n.sim.of(e.Peer); len(versions.Missing(p.vector, e.Vector)) > 0 {
			n.sim.breach("node %d heard that node %d has what it has not", n.index, p.index)
		}
	case antientropy.Close:
		n.close(e)
	}
}

// end is one node's end of a session's stream.
type end struct {
	node, to *node
	life     int // of node
	id       antientropy.SessionID
	other    *end
	closed   bool
	broken   bool // and this end learns it
	mute     bool // what it says from now on does not arrive
	inbox    []antientropy.Message
	reading  bool
	last     time.Duration // when the last of what it said arrives
}

func (n *node) open(e antientropy.Open) {
	p := n.sim.of(e.Peer)
	x := &end{node: n, to: p, life: n.life, id: e.Session}
	y := &end{node: p, to: n, life: p.life, other: x}
	x.other, n.ends[x.id] = y, x
	n.sim.note(3, uint64(n.sim.now), uint64(n.index), uint64(p.index))
	x.ship(1, func() {
		y.id = p.repair.NewSession()
		p.ends[y.id] = y
		p.mend(antientropy.Incoming{Session: y.id, Peer: n.actor})
	})
	x.tell(0, antientropy.Opened{Session: x.id})
}

// tell gives the node an event of the session after a while, if it goes on then.
func (x *end) tell(after time.Duration, ev antientropy.Event) {
	x.node.sim.after(after, func() {
		if !x.closed && x.node.life == x.life {
			x.node.mend(ev)
		}
	})
}

// ship does something at the other end when that many bytes are there, in order, and
// says when they will have left.
func (x *end) ship(size int, do func()) time.Duration {
	s, y := x.node.sim, x.other
	left, arrives, ok := s.transfer(x.node, x.to, size)
	if x.mute = x.mute || !ok; x.mute {
		return left
	}
	x.last = max(x.last, arrives)
	s.after(x.last-s.now, func() {
		x.mute = x.mute || y.node.life != y.life || !s.reaches(x.node, y.node) || !y.node.linked[x.node.index]
		if !x.mute && !y.closed {
			do()
		}
	})
	return left
}

// send ships a message, nil for the end of this direction.
func (x *end) send(m antientropy.Message) time.Duration {
	size := frameOverhead
	switch m := m.(type) {
	case antientropy.Digest:
		size += len(m)
	case antientropy.Vector:
		encoded, err := m.Vector.AppendBinary(nil)
		if err != nil {
			x.node.sim.breach("node %d has a vector that nobody takes: %v", x.node.index, err)
		}
		size += len(encoded)
	case antientropy.NotInLog:
		x.node.sim.breach("node %d has no log of something", x.node.index)
	}
	return x.say(size, m)
}

// say ships messages that leave one right after the other, and says when they will have
// left. Loss delays them together: what follows a lost packet lets QUIC know of it.
func (x *end) say(size int, messages ...antientropy.Message) time.Duration {
	if x.broken {
		x.tell(0, antientropy.SendFailed{Session: x.id, Err: errBroken})
		return x.node.sim.now
	}
	return x.ship(size, func() {
		x.other.inbox = append(x.other.inbox, messages...)
		x.other.deliver()
	})
}

// fetch sends as many changesets as the line takes without a long queue.
func (x *end) fetch(ids []changeset.ID) {
	s, n := x.node.sim, x.node
	room := int(int64(backlog-max(0, n.line-s.now)) * int64(n.speed) / int64(time.Second))
	size, messages := 0, []antientropy.Message(nil)
	for _, id := range ids {
		if size >= max(room, 1) {
			break
		}
		if !n.vector.Holds(id) {
			s.breach("node %d is to send what it has not", n.index)
		}
		item := s.byID[id].item
		size += frameOverhead + len(item.Packed)
		messages = append(messages, antientropy.Changeset{Sealed: item.Sealed})
	}
	left := x.say(size, messages...)
	if !x.broken {
		x.tell(left-s.now, antientropy.Fetched{Session: x.id, Count: len(messages)})
	}
}

// deliver gives the reader one message, if it wants one and one is there.
func (x *end) deliver() {
	if !x.reading || x.closed || x.node.life != x.life || len(x.inbox) == 0 && !x.broken {
		return
	}
	x.reading = false
	if len(x.inbox) == 0 {
		x.node.mend(antientropy.Ended{Session: x.id, Err: errBroken})
		return
	}
	m := x.inbox[0]
	x.inbox = x.inbox[1:]
	switch m := m.(type) {
	case nil:
		x.node.mend(antientropy.Ended{Session: x.id, Err: io.EOF})
		return
	case antientropy.Changeset:
		x.node.sim.note(4, uint64(x.node.sim.now), uint64(x.node.index), x.node.sim.word(m.ID()))
		x.node.sim.out.Fetched++
	}
	x.node.mend(antientropy.Received{Session: x.id, Message: m})
}

func (x *end) apply(batch []changeset.Sealed) {
	n := x.node
	n.sim.after(applyTime, func() {
		if n.life != x.life {
			return
		}
		for i := range batch {
			n.hold(n.sim.byID[batch[i].ID()], true)
		}
		if !x.closed {
			n.mend(antientropy.Applied{Session: x.id})
		}
	})
}

func (n *node) close(e antientropy.Close) {
	x := n.ends[e.Session]
	var fault *antientropy.PeerFault
	if errors.As(e.Err, &fault) {
		n.sim.breach("node %d blames node %d: %v", n.index, x.to.index, e.Err)
	}
	n.sim.note(5, uint64(n.sim.now), uint64(n.index), uint64(e.Session), uint64(e.Code))
	x.closed = true
	delete(n.ends, e.Session)
	if e.Code != antientropy.CodeNone {
		x.ship(1, x.other.breakOff)
	}
}

// breakOff lets an end learn that its stream is gone.
func (x *end) breakOff() {
	x.broken = true
	x.node.sim.after(0, x.deliver)
}
