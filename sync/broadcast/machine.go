package broadcast

import (
	"slices"
	"time"

	"github.com/patinadb/patina/changeset"
)

// largeItem is the packed size in bytes above which a changeset goes eagerly to
// fewer peers, see largePlaces; digests are small and let the others pull it.
const largeItem = 8 << 10

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
	// MaxIDs bounds the changesets that one Have or Want names, and of each kind what
	// waits for one peer: of more, the oldest are dropped.
	MaxIDs = 1024
	// RecentItems, RecentBytes and RecentFor bound what is kept for peers that ask for
	// it: the newest, the last whatever its size.
	RecentItems = 4096
	RecentBytes = 8 << 20
	RecentFor   = 5 * time.Second
	// MissingItems bounds the changesets that peers announced and that are not here,
	// PeerMissing those that one peer was the first to announce. Of more, nothing is
	// remembered: anti-entropy brings them.
	MissingItems = 8192
	PeerMissing  = 1024
)

// Item is a changeset with its packed form, which is made once at the origin and
// forwarded byte for byte. Nobody may modify it.
type Item struct {
	changeset.Sealed
	Packed []byte
}

// Event is what happens to a Machine: PeerUp, PeerDown, Local, Received, Announced,
// Wanted, Sent, Failed or Tick.
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

// Announced says which changesets a peer has; at most MaxIDs count.
type Announced struct {
	From changeset.ActorID
	IDs  []changeset.ID
}

// Wanted says which changesets a peer asks for; at most MaxIDs count.
type Wanted struct {
	From changeset.ActorID
	IDs  []changeset.ID
}

// Tick says that the time of Next has come.
type Tick struct{}

// Sent says that the last Send to To was written.
type Sent struct{ To changeset.ActorID }

// Failed says that the last Send to To failed. Its items are not sent again.
type Failed struct{ To changeset.ActorID }

func (PeerUp) event()    {}
func (PeerDown) event()  {}
func (Local) event()     {}
func (Received) event()  {}
func (Announced) event() {}
func (Wanted) event()    {}
func (Tick) event()      {}
func (Sent) event()      {}
func (Failed) event()    {}

// Effect is what a Machine asks for: Send or Deliver.
type Effect interface{ effect() }

// Send asks for one batch to be sent to To: what is asked of it, what is announced to
// it, and changesets. Exactly one Sent or Failed must follow, unless PeerDown comes
// first.
type Send struct {
	To         changeset.ActorID
	Want, Have []changeset.ID // at most MaxIDs each
	Items      []Item
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
	Announced  uint64 // changesets announced, counted for each peer
	Asked      uint64 // changesets asked of peers that announced them
	Answered   uint64 // copies that peers asked for and that were queued for them
	Gone       uint64 // changesets that peers asked for and that are not kept any more
	GivenUp    uint64 // changesets that no announcer brought
}

// MachineConfig is what a Machine is made of.
type MachineConfig struct {
	Self changeset.ActorID
	// Seed decides, together with a changeset's id, which peers beyond the first seven
	// members get it.
	Seed uint64
	// Held reports whether the store has a changeset, so that it is not asked for. It
	// must not block. Nil: only what came by broadcast is known.
	Held func(changeset.ID) bool
}

// Machine decides who gets which changeset. It is not safe for concurrent use;
// everything is a function of its configuration and of the events in their order.
type Machine struct {
	cfg     MachineConfig
	peers   []*peer // sorted by actor, so that effects have one order
	seen    seenSet
	recent  recent
	missing missing
	digests digests
	count   Counters
}

type peer struct {
	actor      changeset.ActorID
	rtt        time.Duration
	queue      queue
	want, have []changeset.ID // that wait, oldest first
	busy       bool           // a batch is in flight
	flight     int            // items in it
	dropped    uint64         // of this peer's queue
	missing    int            // entries of Machine.missing that it announced first
}

// NewMachine returns a Machine that knows no peer.
func NewMachine(cfg MachineConfig) *Machine {
	if cfg.Held == nil {
		cfg.Held = func(changeset.ID) bool { return false }
	}
	return &Machine{cfg: cfg, seen: newSeenSet(SeenItems), recent: newRecent(), missing: newMissing()}
}

// Handle takes one event at the time now, which never goes back, and returns what is
// to be done, in order.
func (m *Machine) Handle(now time.Time, ev Event) []Effect {
	switch e := ev.(type) {
	case PeerUp:
		if i, ok := m.find(e.Peer); ok {
			m.peers[i].rtt = e.RTT
		} else if e.Peer != m.cfg.Self {
			m.peers = slices.Insert(m.peers, i, &peer{actor: e.Peer, rtt: e.RTT})
		}
	case PeerDown:
		if i, ok := m.find(e.Peer); ok {
			m.count.Failed += uint64(m.peers[i].flight)
			m.count.Dropped += uint64(m.peers[i].queue.len())
			m.peers = slices.Delete(m.peers, i, i+1)
			m.missing.hurry(e.Peer, now)
		}
	case Local:
		if m.seen.add(e.Item.ID(), e.Item.Hash) {
			m.count.Local++
			return m.push(now, e.Item, m.cfg.Self)
		}
	case Received:
		if !m.seen.add(e.Item.ID(), e.Item.Hash) {
			m.count.Duplicates++
			return nil
		}
		m.count.Received++
		return append(m.push(now, e.Item, e.From), Deliver{e.Item})
	case Announced:
		m.announced(now, e)
	case Wanted:
		return m.wanted(e)
	case Tick:
		return m.tick(now)
	case Sent:
		return m.finished(e.To, &m.count.Sent)
	case Failed:
		m.missing.hurry(e.To, now)
		return m.finished(e.To, &m.count.Failed)
	}
	return nil
}

// push queues the item for the peers chosen for it and starts what can start. If
// others are left out, they will hear that it is here.
func (m *Machine) push(now time.Time, item Item, from changeset.ActorID) []Effect {
	var out []Effect
	chosen, everybody := m.choose(item, from)
	if !everybody {
		m.recent.add(now, item)
		m.digests.soon(now, item)
	}
	for _, p := range chosen {
		out = m.queue(p, item, out)
	}
	return out
}

func (m *Machine) queue(p *peer, item Item, out []Effect) []Effect {
	lost := p.queue.push(item)
	p.dropped += uint64(lost)
	m.count.Dropped += uint64(lost)
	m.count.Queued++
	return m.start(p, out)
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
	p.busy, p.flight = false, 0
	return m.start(p, nil)
}

// start sends what waits for p if nothing is in flight to p. So an item is never held
// while the peer is idle, and at most one batch is in flight to it.
func (m *Machine) start(p *peer, out []Effect) []Effect {
	if p.busy || p.queue.len() == 0 && len(p.want) == 0 && len(p.have) == 0 {
		return out
	}
	send := Send{To: p.actor, Want: p.want, Have: p.have, Items: p.queue.take(BatchBytes)}
	p.want, p.have = nil, nil
	p.busy, p.flight = true, len(send.Items)
	if p.flight > 0 {
		m.count.Batches++
	}
	return append(out, send)
}

func (m *Machine) find(actor changeset.ActorID) (int, bool) {
	return slices.BinarySearchFunc(m.peers, actor, func(p *peer, a changeset.ActorID) int { return p.actor.Compare(a) })
}

// Next returns when a Tick is due; zero: not before another event.
func (m *Machine) Next() time.Time {
	next := m.digests.next
	for _, at := range []time.Time{m.missing.next(), m.recent.next()} {
		if next.IsZero() || !at.IsZero() && at.Before(next) {
			next = at
		}
	}
	return next
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
