package broadcast

import (
	"slices"
	"time"

	"github.com/patinadb/patina/changeset"
)

// largeItem is the packed size in bytes above which a changeset goes eagerly to
// fewer peers, see fewPlaces; digests are small and let the others pull it.
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
	// MaxFlights bounds the batches in flight to one peer. The second is for what
	// would wait behind a large or stuck one, see Coalesce.
	MaxFlights = 2
	// Coalesce is how long what comes while a batch is in flight is gathered before it
	// leaves beside that one; BatchBytes leave at once.
	Coalesce = 10 * time.Millisecond
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

// Sent says that the Send to To with that number was written.
type Sent struct {
	To    changeset.ActorID
	Batch uint64
}

// Failed says that it failed. Its items are not sent again.
type Failed struct {
	To    changeset.ActorID
	Batch uint64
}

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
// it, and changesets. Exactly one Sent or Failed with its number must follow, unless
// PeerDown comes first.
type Send struct {
	To         changeset.ActorID
	Batch      uint64         // unique in one Machine
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
	batches uint64    // that were handed out
	flush   time.Time // not after the first batch that leaves beside another; zero: none
	count   Counters
}

type peer struct {
	actor      changeset.ActorID
	rtt        time.Duration
	queue      queue
	want, have []changeset.ID // that wait, oldest first
	since      time.Time      // what waits, waits since then
	flights    []flight       // at most MaxFlights
	dropped    uint64         // of this peer's queue
	missing    int            // entries of Machine.missing that it announced first
}

// flight is a batch of which neither Sent nor Failed was heard.
type flight struct {
	batch uint64
	items int
}

// waits reports whether there is something to send.
func (p *peer) waits() bool { return p.queue.len() > 0 || len(p.want) > 0 || len(p.have) > 0 }

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
			for _, f := range m.peers[i].flights {
				m.count.Failed += uint64(f.items)
			}
			m.count.Dropped += uint64(m.peers[i].queue.len())
			m.peers = slices.Delete(m.peers, i, i+1)
			m.missing.hurry(e.Peer, now)
		}
	case Local:
		if m.seen.add(e.Item.ID(), e.Item.Hash) {
			m.count.Local++
			return m.push(now, e.Item, m.cfg.Self, placesOf(e.Item))
		}
	case Received:
		if !m.seen.add(e.Item.ID(), e.Item.Hash) {
			m.count.Duplicates++
			return nil
		}
		m.count.Received++
		places := placesOf(e.Item)
		if m.missing.asked(e.Item.ID()) {
			places = fewPlaces // most others have it by now
		}
		return append(m.push(now, e.Item, e.From, places), Deliver{e.Item})
	case Announced:
		m.announced(now, e)
	case Wanted:
		return m.wanted(now, e)
	case Tick:
		return m.tick(now)
	case Sent:
		return m.finished(now, e, &m.count.Sent)
	case Failed:
		m.missing.hurry(e.To, now)
		return m.finished(now, Sent(e), &m.count.Failed)
	}
	return nil
}

// push queues the item for the peers chosen for it and starts what can start. If
// others are left out, they will hear that it is here.
func (m *Machine) push(now time.Time, item Item, from changeset.ActorID, left places) []Effect {
	var out []Effect
	chosen, everybody := m.choose(item.ID(), from, left)
	if !everybody {
		m.recent.add(now, item)
		m.digests.soon(now, item)
	}
	for _, p := range chosen {
		m.queue(now, p, item)
		out = m.start(now, p, out)
	}
	return out
}

func (m *Machine) queue(now time.Time, p *peer, item Item) {
	p.wait(now)
	lost := p.queue.push(item)
	p.dropped += uint64(lost)
	m.count.Dropped += uint64(lost)
	m.count.Queued++
}

// wait notes that something is about to wait.
func (p *peer) wait(now time.Time) {
	if !p.waits() {
		p.since = now
	}
}

// finished ends a batch in flight to a peer and starts the next one, which is
// what came in the meantime.
func (m *Machine) finished(now time.Time, e Sent, counter *uint64) []Effect {
	i, ok := m.find(e.To)
	if !ok {
		return nil
	}
	p := m.peers[i]
	p.flights = slices.DeleteFunc(p.flights, func(f flight) bool {
		if f.batch == e.Batch {
			*counter += uint64(f.items)
		}
		return f.batch == e.Batch
	})
	return m.start(now, p, nil)
}

// start sends what waits for p: at once if nothing is in flight to p, so that an item
// is never held while the peer is idle; beside what is in flight when a batch is full or
// has waited for Coalesce.
func (m *Machine) start(now time.Time, p *peer, out []Effect) []Effect {
	for p.waits() && len(p.flights) < MaxFlights {
		if due := p.since.Add(Coalesce); len(p.flights) > 0 && p.queue.bytes < BatchBytes && now.Before(due) {
			if m.flush.IsZero() || due.Before(m.flush) {
				m.flush = due
			}
			break
		}
		out = append(out, m.batch(now, p))
	}
	return out
}

// batch takes the next batch to p.
func (m *Machine) batch(now time.Time, p *peer) Send {
	m.batches++
	send := Send{To: p.actor, Batch: m.batches, Want: p.want, Have: p.have, Items: p.queue.take(BatchBytes)}
	p.want, p.have, p.since = nil, nil, now
	p.flights = append(p.flights, flight{send.Batch, len(send.Items)})
	if len(send.Items) > 0 {
		m.count.Batches++
	}
	return send
}

// flushDue starts the batches that have gathered for long enough.
func (m *Machine) flushDue(now time.Time, out []Effect) []Effect {
	if m.flush.IsZero() || now.Before(m.flush) {
		return out
	}
	m.flush = time.Time{}
	for _, p := range m.peers {
		out = m.start(now, p, out)
	}
	return out
}

func (m *Machine) find(actor changeset.ActorID) (int, bool) {
	return slices.BinarySearchFunc(m.peers, actor, func(p *peer, a changeset.ActorID) int { return p.actor.Compare(a) })
}

// Next returns when a Tick is due; zero: not before another event.
func (m *Machine) Next() time.Time {
	next := m.digests.next
	for _, at := range []time.Time{m.missing.next(), m.recent.next(), m.flush} {
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
