package transport

import (
	"cmp"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/patinadb/patina/changeset"
)

// Peer is a linked peer.
type Peer struct {
	Actor        changeset.ActorID
	Name         string
	Addr         netip.AddrPort // as the peer advertises it, else where its packets come from
	Epoch        uint64
	RTT          time.Duration // smoothed
	SchemaDigest [32]byte      // as of the hello
}

// Stats are counters since New, and the state of each linked peer.
type Stats struct {
	Ended             []Ended // by code
	LogsSuppressed    uint64  // lines not written because one was written in the last minute
	DatagramsIn       uint64  // delivered
	DatagramsDropped  uint64  // queue full
	DatagramsUnknown  uint64  // received, of an unknown type
	StrayPackets      uint64  // that are not QUIC or belong to no link
	BytesIn, BytesOut uint64  // UDP payload, all links
	Peers             []PeerStats
}

// Ended counts links and attempts that ended with Code.
type Ended struct {
	Code   Code
	Remote bool // decided by the peer
	Count  uint64
}

// PeerStats is the state of one linked peer.
type PeerStats struct {
	Actor             changeset.ActorID
	RTT               time.Duration
	Loss              float64   // share of packets lost of those sent in about the last minute, 0 to 1
	BytesIn, BytesOut uint64    // UDP payload since PeerUp
	Received          time.Time // last packet, to the second
	Links             int       // more than one while a superseded link drains
}

// Queue is the state of a bounded queue.
type Queue struct {
	Name            string
	Depth, Capacity int
	Dropped         uint64
}

type counters struct {
	datagramsIn, datagramsDropped, datagramsUnknown atomic.Uint64
}

// describe returns what peers are told about; RTT is of now.
func (l *link) describe() Peer {
	addr := l.peer.advertise
	if !addr.IsValid() || addr.Addr().IsUnspecified() || addr.Port() == 0 {
		addr = l.addr
	}
	return Peer{
		Actor: l.peer.actor, Name: l.peer.name, Addr: addr, Epoch: l.peer.epoch,
		RTT: l.conn.ConnectionStats().SmoothedRTT, SchemaDigest: l.peer.schema,
	}
}

// Peers returns the linked peers sorted by actor id.
func (t *Transport) Peers() []Peer {
	t.links.mu.Lock()
	defer t.links.mu.Unlock()
	out := make([]Peer, 0, len(t.links.peers))
	for _, p := range t.links.peers {
		if l := p.best(); l != nil {
			out = append(out, l.describe())
		}
	}
	slices.SortFunc(out, func(a, b Peer) int { return a.Actor.Compare(b.Actor) })
	return out
}

// Peer returns one linked peer.
func (t *Transport) Peer(actor changeset.ActorID) (Peer, bool) {
	l := t.links.best(actor)
	if l == nil {
		return Peer{}, false
	}
	return l.describe(), true
}

// LastReceived returns when the last packet of a linked peer arrived, to the
// second. It is a sign of life of the peer's process: QUIC acknowledges for it.
func (t *Transport) LastReceived(actor changeset.ActorID) (at time.Time, ok bool) {
	now := time.Now()
	t.links.mu.Lock()
	defer t.links.mu.Unlock()
	p := t.links.peers[actor]
	if p == nil || p.best() == nil {
		return time.Time{}, false
	}
	for _, l := range p.links {
		p.sample(l, now)
	}
	return p.received, true
}

// Stats returns a consistent copy of all counters.
func (t *Transport) Stats() Stats {
	s := Stats{
		DatagramsIn:      t.count.datagramsIn.Load(),
		DatagramsDropped: t.count.datagramsDropped.Load(),
		DatagramsUnknown: t.count.datagramsUnknown.Load(),
		StrayPackets:     t.strays.total(),
	}
	t.fail.mu.Lock()
	s.LogsSuppressed = t.fail.suppressed
	for k, n := range t.fail.counts {
		s.Ended = append(s.Ended, Ended{k.code, k.remote, n})
	}
	t.fail.mu.Unlock()
	slices.SortFunc(s.Ended, func(a, b Ended) int {
		return cmp.Or(cmp.Compare(a.Code, b.Code), cmpBool(a.Remote, b.Remote))
	})
	t.links.stats(&s)
	return s
}

func cmpBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

func (r *registry) stats(s *Stats) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s.BytesIn, s.BytesOut = r.past.in, r.past.out
	for _, p := range r.peers {
		ps := PeerStats{Actor: p.actor, Loss: p.loss.share(), Received: p.received, Links: len(p.links), BytesIn: p.past.in, BytesOut: p.past.out}
		for _, l := range p.links {
			c := l.conn.ConnectionStats()
			ps.BytesIn += c.BytesReceived
			ps.BytesOut += c.BytesSent
			s.BytesIn += c.BytesReceived
			s.BytesOut += c.BytesSent
		}
		ps.RTT = p.links[0].conn.ConnectionStats().SmoothedRTT
		s.Peers = append(s.Peers, ps)
	}
	slices.SortFunc(s.Peers, func(a, b PeerStats) int { return a.Actor.Compare(b.Actor) })
}

// Count returns how often links ended with a code, whoever decided.
func (s Stats) Count(c Code) uint64 {
	var n uint64
	for _, e := range s.Ended {
		if e.Code == c {
			n += e.Count
		}
	}
	return n
}

// Queues returns the datagram queues of all links as one.
func (t *Transport) Queues() []Queue {
	q := Queue{Name: "transport.datagrams", Dropped: t.count.datagramsDropped.Load()}
	t.links.mu.Lock()
	defer t.links.mu.Unlock()
	for _, p := range t.links.peers {
		for _, l := range p.links {
			q.Depth += len(l.queue)
			q.Capacity += cap(l.queue)
		}
	}
	return []Queue{q}
}
