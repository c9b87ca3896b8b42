package broadcast

import (
	"slices"
	"time"

	"github.com/patinadb/patina/changeset"
)

// Limits of one Machine. They are not settings: a peer that is slower than this
// is served by anti-entropy.
const (
	// BatchBytes bounds the packed bytes of one batch. A larger item travels alone.
	BatchBytes = 64 << 10
	// QueueItems and QueueBytes bound what waits for one peer. An item larger than
	// QueueBytes may wait if it is the only one.
	QueueItems = 1024
	QueueBytes = 1 << 20
	// SeenItems is how many changesets are remembered as seen.
	SeenItems = 8192
)

// Item is a changeset with its packed form, which is made once at the origin and
// forwarded byte for byte. Nobody may modify it.
type Item struct {
	changeset.Sealed
	Packed []byte
}

// Event is what happens to a Machine: PeerUp, PeerDown, Local, Received, Sent or
// Failed.
type Event interface{ event() }

// PeerUp says that a link to Peer is there, or that its round-trip time is
// another. 0 is "unknown" and counts as near.
type PeerUp struct {
	Peer changeset.ActorID
	RTT  time.Duration
}

// PeerDown says that the link is gone, and with it what was queued or in flight.
type PeerDown struct{ Peer changeset.ActorID }

// Local is a changeset that was committed here. It must be durable.
type Local struct{ Item Item }

// Received is a changeset that a peer sent.
type Received struct {
	From changeset.ActorID
	Item Item
}

// Sent says that the last Send to To was written.
type Sent struct{ To changeset.ActorID }

// Failed says that the last Send to To failed. Its items are not sent again.
type Failed struct{ To changeset.ActorID }

func (PeerUp) event()   {}
func (PeerDown) event() {}
func (Local) event()    {}
func (Received) event() {}
func (Sent) event()     {}
func (Failed) event()   {}

// Effect is what a Machine asks for: Send or Deliver.
type Effect interface{ effect() }

// Send asks for one batch to be sent to To. Exactly one Sent or Failed must
// follow, unless PeerDown comes first.
type Send struct {
	To    changeset.ActorID
	Items []Item
}

// Deliver hands a changeset of another node to the store. It comes after the
// Sends of the same event: forwarding does not wait for applying.
type Deliver struct{ Item Item }

func (Send) effect()    {}
func (Deliver) effect() {}

// Counters are totals since the Machine was made.
type Counters struct {
	Local      uint64 // changesets made here
	Received   uint64 // changesets that came for the first time
	Duplicates uint64 // changesets that came again
	Queued     uint64 // copies put into peers' queues
	Batches    uint64 // batches handed out
	Sent       uint64 // copies whose batch was written
	Failed     uint64 // copies whose batch failed, or whose peer went with them in flight
	Dropped    uint64 // copies that a full queue or a lost peer threw away
}

// Machine decides who gets which changeset. It is not safe for concurrent use;
// everything is a function of its configuration and of the events in their order.
type Machine struct {
	self  changeset.ActorID
	seed  uint64
	peers []*peer // sorted by actor, so that effects have one order
	seen  seenSet
	count Counters
}

type peer struct {
	actor   changeset.ActorID
	rtt     time.Duration
	queue   queue
	flight  int    // items in flight; 0: nothing is in flight
	dropped uint64 // of this peer's queue
}

// NewMachine returns a Machine of the node self. seed decides, together with a
// changeset's id, which peers beyond the first seven members get it.
func NewMachine(self changeset.ActorID, seed uint64) *Machine {
	return &Machine{self: self, seed: seed, seen: newSeenSet(SeenItems)}
}

// Handle takes one event and returns what is to be done, in order.
func (m *Machine) Handle(ev Event) []Effect {
	switch e := ev.(type) {
	case PeerUp:
		if i, ok := m.find(e.Peer); ok {
			m.peers[i].rtt = e.RTT
		} else if e.Peer != m.self {
			m.peers = slices.Insert(m.peers, i, &peer{actor: e.Peer, rtt: e.RTT})
		}
	case PeerDown:
		if i, ok := m.find(e.Peer); ok {
			m.count.Failed += uint64(m.peers[i].flight)
			m.count.Dropped += uint64(m.peers[i].queue.len())
			m.peers = slices.Delete(m.peers, i, i+1)
		}
	case Local:
		if m.seen.add(e.Item.ID(), e.Item.Hash) {
			m.count.Local++
			return m.push(e.Item, m.self)
		}
	case Received:
		if !m.seen.add(e.Item.ID(), e.Item.Hash) {
			m.count.Duplicates++
			return nil
		}
		m.count.Received++
		return append(m.push(e.Item, e.From), Deliver{e.Item})
	case Sent:
		return m.finished(e.To, &m.count.Sent)
	case Failed:
		return m.finished(e.To, &m.count.Failed)
	}
	return nil
}

// push queues the item for the peers chosen for it and starts what can start.
func (m *Machine) push(item Item, from changeset.ActorID) []Effect {
	var out []Effect
	for _, p := range m.choose(item.ID(), from) {
		lost := p.queue.push(item)
		p.dropped += uint64(lost)
		m.count.Dropped += uint64(lost)
		m.count.Queued++
		out = m.start(p, out)
	}
	return out
}

// finished ends the batch in flight to a peer and starts the next one, which is
// everything that came in the meantime.
func (m *Machine) finished(to changeset.ActorID, counter *uint64) []Effect {
	i, ok := m.find(to)
	if !ok {
		return nil
	}
	p := m.peers[i]
	*counter += uint64(p.flight)
	p.flight = 0
	return m.start(p, nil)
}

// start sends the head of p's queue if nothing is in flight to p. So an item is
// never held while the peer is idle, and at most one batch is in flight to it.
func (m *Machine) start(p *peer, out []Effect) []Effect {
	if p.flight > 0 || p.queue.len() == 0 {
		return out
	}
	batch := p.queue.take(BatchBytes)
	p.flight = len(batch)
	m.count.Batches++
	return append(out, Send{p.actor, batch})
}

func (m *Machine) find(actor changeset.ActorID) (int, bool) {
	return slices.BinarySearchFunc(m.peers, actor, func(p *peer, a changeset.ActorID) int { return p.actor.Compare(a) })
}

// Counters returns the totals.
func (m *Machine) Counters() Counters { return m.count }

// QueueState is the state of one peer's queue.
type QueueState struct {
	Peer    changeset.ActorID
	Depth   int // items that wait; those in flight do not count
	Bytes   int
	Dropped uint64 // since the peer came up
}

// Queues returns the state of every peer's queue, sorted by peer.
func (m *Machine) Queues() []QueueState {
	out := make([]QueueState, len(m.peers))
	for i, p := range m.peers {
		out[i] = QueueState{p.actor, p.queue.len(), p.queue.bytes, p.dropped}
	}
	return out
}
