package simtest

import (
	"math/rand/v2"
	"time"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/sync/antientropy"
	"github.com/patinadb/patina/sync/broadcast"
	"github.com/patinadb/patina/sync/versions"
)

// applyTime is what the store takes to make a batch durable.
const applyTime = 2 * time.Millisecond

// node is one member: its machines, what stands for its store, and its line.
type node struct {
	sim    *sim
	index  int
	region int
	actor  changeset.ActorID
	seed   uint64

	life      int // how often its process started
	down      bool
	hit       bool // by a fault, at any time
	broadcast *broadcast.Machine
	pushTick  time.Duration // the Tick that is planned; 0: none
	repair    *antientropy.Machine
	repairAt  time.Duration
	peers     []*node // that it has sessions with
	ends      map[antientropy.SessionID]*end
	delivered map[*write]bool  // in this life
	from      map[*write]*node // who sent it first in this life

	// The store: a vector that is copied when somebody else has it.
	vector *versions.Vector
	shared bool
	made   changeset.Version // by this node

	linked   []bool // of each node, whether this one takes it for reachable
	sides    uint64 // bits of the partitions that it is cut off by
	deaf     bool
	full     bool
	line     time.Duration // when its line is free
	speed    int           // of its line, bytes per second
	handling time.Duration // of what comes in
}

func (s *sim) newNode(index, region int) *node {
	return &node{sim: s, index: index, region: region, actor: s.actorOf(index), seed: s.fate.Uint64(), vector: versions.NewVector(), linked: make([]bool, s.cfg.Nodes), speed: lineSpeed}
}

// boot starts the process: new machines, the old store.
func (n *node) boot() {
	n.life++
	n.down, n.line, n.pushTick = false, 0, 0
	n.delivered, n.from = map[*write]bool{}, map[*write]*node{}
	n.broadcast = broadcast.NewMachine(broadcast.MachineConfig{Self: n.actor, Seed: n.seed + uint64(n.life), Held: func(id changeset.ID) bool { return n.vector.Holds(id) }})
	if n.sim.repair {
		n.bootRepair()
	}
}

func (n *node) bootRepair() {
	n.ends, n.repairAt = map[antientropy.SessionID]*end{}, 0
	random := rand.New(rand.NewPCG(n.seed, uint64(n.life)))
	n.repair = antientropy.NewMachine(antientropy.MachineConfig{Self: n.actor, Vector: n.snapshot, Rand: random}, n.sim.time())
}

// snapshot returns the vector, which is not changed from then on.
func (n *node) snapshot() *versions.Vector {
	n.shared = true
	return n.vector
}

// hold makes a changeset durable.
func (n *node) hold(w *write, repaired bool) {
	id := w.item.ID()
	if n.vector.Holds(id) {
		return
	}
	if n.shared {
		n.vector, n.shared = n.vector.Clone(), false
	}
	e := n.vector.Entry(id.Actor)
	e.Applied.Add(versions.Range{First: id.Version, Last: id.Version})
	e.Head = hashOf(changeset.ID{Actor: id.Actor, Version: e.Applied.Last()})
	n.vector.Put(id.Actor, e)
	n.sim.out.Held++
	n.first(w, repaired)
}

// first notes when the node had a changeset.
func (n *node) first(w *write, repaired bool) {
	if w.got[n.index] == 0 {
		w.got[n.index], w.repaired[n.index] = n.sim.now, repaired
	}
}

// push gives broadcast an event and does what it asks for.
func (n *node) push(ev broadcast.Event) {
	s := n.sim
	for _, effect := range n.broadcast.Handle(s.time(), ev) {
		switch effect := effect.(type) {
		case broadcast.Send:
			n.send(effect)
		case broadcast.Deliver:
			n.deliver(effect.Item)
		}
	}
	next := n.broadcast.Next()
	if next.IsZero() {
		return
	}
	at := next.Sub(epoch)
	if ev == (broadcast.Tick{}) && at <= s.now {
		s.breach("node %d wants a tick of broadcast at %v after that one", n.index, at)
	}
	if n.pushTick == 0 || at < n.pushTick {
		n.planTick(max(at, s.now+1))
	}
}

// planTick lets the machine have its Tick; one that was planned for later is void.
func (n *node) planTick(at time.Duration) {
	n.pushTick = at
	n.pushAfter(at-n.sim.now, func() {
		if n.pushTick == at {
			n.pushTick = 0
			n.push(broadcast.Tick{})
		}
	})
}

// deliver is what the store's queue does with a changeset of broadcast.
func (n *node) deliver(item broadcast.Item) {
	s, w := n.sim, n.sim.byID[item.ID()]
	s.note(1, uint64(s.now), uint64(n.index), s.word(item.ID()))
	if n.delivered[w] {
		s.breach("node %d delivers changeset %d twice", n.index, w.index)
	}
	n.delivered[w] = true
	if n.full {
		return
	}
	n.first(w, false)
	n.pushAfter(applyTime, func() { n.hold(w, false) })
}

// send puts a batch on the line. If the peer cannot be reached the batch is lost, and
// every other time the sender learns that.
func (n *node) send(b broadcast.Send) {
	s, to := n.sim, n.sim.of(b.To)
	s.note(2, uint64(s.now), uint64(n.index), uint64(to.index))
	size := 1
	for _, ids := range [][]changeset.ID{b.Want, b.Have} {
		if len(ids) > 0 {
			size += frameOverhead + len(broadcast.AppendIDs(nil, ids))
		}
		for _, id := range ids {
			s.note(s.word(id))
		}
	}
	s.out.Asked += len(b.Want)
	for i := range b.Items {
		s.note(s.word(b.Items[i].ID()))
		size += frameOverhead + len(b.Items[i].Packed)
		n.checkWay(to, &b.Items[i])
	}
	left, ok := s.carry(n, to, size, func() { to.take(n, &b) })
	if !ok && s.rand.IntN(2) == 0 {
		n.pushAfter(giveUp, func() { n.push(broadcast.Failed{To: b.To, Batch: b.Batch}) })
		return
	}
	n.pushAfter(left-s.now, func() { n.push(broadcast.Sent{To: b.To, Batch: b.Batch}) })
}

// checkWay sees that nothing goes back.
func (n *node) checkWay(to *node, item *broadcast.Item) {
	w := n.sim.byID[item.ID()]
	if to.actor == item.Actor || n.from[w] == to {
		n.sim.breach("node %d sends changeset %d back to node %d", n.index, w.index, to.index)
	}
}

// take is what the reader of a stream does with a batch, frame by frame.
func (n *node) take(from *node, b *broadcast.Send) {
	if len(b.Want) > 0 {
		n.push(broadcast.Wanted{From: from.actor, IDs: b.Want})
	}
	if len(b.Have) > 0 {
		n.push(broadcast.Announced{From: from.actor, IDs: b.Have})
	}
	for _, item := range b.Items {
		w := n.sim.byID[item.ID()]
		if n.from[w] == nil {
			n.from[w] = from
		}
		n.sim.out.Copies++
		n.push(broadcast.Received{From: from.actor, Item: item})
	}
}
