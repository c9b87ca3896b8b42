package broadcast

import (
	"cmp"
	"encoding/binary"
	"slices"
	"time"

	"github.com/patinadb/patina/changeset"
)

// Eager peers per changeset once the cluster has more than seven members: by
// round-trip time, with unfilled places taken from the other buckets.
const (
	eagerPeers = 6
	nearRTT    = 15 * time.Millisecond
	midRTT     = 100 * time.Millisecond
)

// eagerPlaces are the places of the near, mid and far buckets. Each is at least
// one, so that the successor always has a place in its own bucket.
var eagerPlaces = [...]int{3, 2, 1}

func bucket(rtt time.Duration) int {
	switch {
	case rtt < nearRTT:
		return 0
	case rtt < midRTT:
		return 1
	}
	return 2
}

// candidate is a peer with its rank for one changeset: the lowest ranks win.
type candidate struct {
	*peer
	rank uint64
}

// choose returns the peers that get a changeset which came from `from` (self, if
// it was made here): neither the sender nor the origin. The choice depends on the
// changeset, the seed and the peers only, and differs from changeset to changeset,
// so that no edge carries everything.
//
// One of them is the successor in a ring that all nodes draw alike for this
// changeset. Six random edges alone would leave out each node with a probability
// of e^-6; with the ring everybody is reached when views agree and nothing is lost.
func (m *Machine) choose(id changeset.ID, from changeset.ActorID) []*peer {
	all := make([]candidate, 0, len(m.peers))
	for _, p := range m.peers {
		if p.actor != from && p.actor != id.Actor {
			all = append(all, candidate{p, rank(m.seed, id, p.actor)})
		}
	}
	if len(m.peers) <= eagerPeers || len(all) <= eagerPeers {
		return inOrder(all)
	}
	next := m.successor(id)
	for i := range all {
		if all[i].peer == next {
			all[i].rank = 0
		}
	}
	slices.SortFunc(all, func(a, b candidate) int { return cmp.Compare(a.rank, b.rank) })
	places := eagerPlaces
	var chosen, rest []candidate
	for _, c := range all {
		if b := bucket(c.rtt); places[b] > 0 {
			places[b]--
			chosen = append(chosen, c)
		} else {
			rest = append(rest, c)
		}
	}
	missing := eagerPeers - len(chosen)
	return inOrder(append(chosen, rest[:missing]...))
}

// successor returns the peer that follows this node in the changeset's ring: the
// order of all actors by a rank that does not depend on the node.
func (m *Machine) successor(id changeset.ID) *peer {
	const common = 0 // the ring's seed; a part of the protocol
	own := rank(common, id, m.self)
	var first, next *peer
	var firstRank, nextRank uint64
	for _, p := range m.peers {
		r := rank(common, id, p.actor)
		if first == nil || r < firstRank {
			first, firstRank = p, r
		}
		if r > own && (next == nil || r < nextRank) {
			next, nextRank = p, r
		}
	}
	if next == nil {
		return first
	}
	return next
}

func inOrder(chosen []candidate) []*peer {
	out := make([]*peer, len(chosen))
	for i, c := range chosen {
		out[i] = c.peer
	}
	slices.SortFunc(out, func(a, b *peer) int { return a.actor.Compare(b.actor) })
	return out
}

// rank is a number that looks random but depends on its arguments only, never 0.
func rank(seed uint64, id changeset.ID, peer changeset.ActorID) uint64 {
	h := seed
	for _, w := range [...]uint64{
		binary.LittleEndian.Uint64(id.Actor[:8]), binary.LittleEndian.Uint64(id.Actor[8:]), uint64(id.Version),
		binary.LittleEndian.Uint64(peer[:8]), binary.LittleEndian.Uint64(peer[8:]),
	} {
		h = mix(h ^ w)
	}
	return h | 1
}

// mix is the finalizer of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
func mix(h uint64) uint64 {
	h += 0x9e3779b97f4a7c15
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}
