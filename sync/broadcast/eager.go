package broadcast

import (
	"cmp"
	"encoding/binary"
	"slices"
	"time"

	"github.com/patinadb/patina/changeset"
)

// Buckets of peers by round-trip time.
const (
	nearRTT = 15 * time.Millisecond
	midRTT  = 100 * time.Millisecond
)

// places are how many near, mid and far peers get a changeset at once, if there are
// more of them in all; unfilled places are taken from the other buckets. Each is at
// least one, so that the successor always has a place in its own bucket.
type places [3]int

var (
	eagerPlaces = places{4, 1, 1} // the way through a region is what takes time
	fewPlaces   = places{1, 1, 1} // of what is large, or had to be asked for
)

func placesOf(item Item) places {
	if len(item.Packed) > largeItem {
		return fewPlaces
	}
	return eagerPlaces
}

func (p places) total() int { return p[0] + p[1] + p[2] }

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
// it was made here), and whether that is everybody: neither the sender nor the origin
// counts. The choice depends on the changeset, the seed and the peers only, and
// differs from changeset to changeset, so that no edge carries everything.
//
// One of them is the successor in a ring that all nodes draw alike for this
// changeset. Six random edges alone would leave out each node with a probability
// of e^-6; with the ring everybody is reached when views agree and nothing is lost.
func (m *Machine) choose(id changeset.ID, from changeset.ActorID, left places) (chosen []*peer, everybody bool) {
	total := left.total()
	ranks := rankingOf(m.cfg.Seed, id)
	var next *peer
	if len(m.peers) > total {
		next = m.successor(id)
	}
	var best [len(left)][]candidate // of each bucket, the lowest ranks first
	others := 0
	for _, p := range m.peers {
		if p.actor == from || p.actor == id.Actor {
			continue
		}
		others++
		c := candidate{p, ranks.of(p.actor)}
		if p == next {
			c.rank = 0
		}
		b := bucket(p.rtt)
		best[b] = insert(best[b], c, total)
	}
	var taken, rest []candidate
	for b := range best {
		n := min(left[b], len(best[b]))
		taken = append(taken, best[b][:n]...)
		rest = append(rest, best[b][n:]...)
	}
	slices.SortFunc(rest, func(a, b candidate) int { return cmp.Compare(a.rank, b.rank) })
	if others <= total {
		return inOrder(append(taken, rest...)), true
	}
	return inOrder(append(taken, rest[:total-len(taken)]...)), false
}

// insert adds a candidate to a list of at most n in the order of their ranks.
func insert(list []candidate, c candidate, n int) []candidate {
	i := len(list)
	for i > 0 && c.rank < list[i-1].rank {
		i--
	}
	if i == n {
		return list
	}
	return slices.Insert(list[:min(len(list), n-1)], i, c)
}

// successor returns the peer that follows this node in the changeset's ring: the
// order of all actors by a rank that does not depend on the node.
func (m *Machine) successor(id changeset.ID) *peer {
	const common = 0 // the ring's seed; a part of the protocol
	ranks := rankingOf(common, id)
	own := ranks.of(m.cfg.Self)
	var first, next *peer
	var firstRank, nextRank uint64
	for _, p := range m.peers {
		r := ranks.of(p.actor)
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

// ranking gives actors numbers that look random but depend on the actor, a changeset and
// a seed only: transport/WIRE.md, "rank". What does not depend on the actor is folded once.
type ranking uint64

func rankingOf(seed uint64, id changeset.ID) ranking {
	h := mix(seed ^ binary.LittleEndian.Uint64(id.Actor[:8]))
	h = mix(h ^ binary.LittleEndian.Uint64(id.Actor[8:]))
	return ranking(mix(h ^ uint64(id.Version)))
}

// of returns an actor's number, which is never 0.
func (r ranking) of(actor changeset.ActorID) uint64 {
	h := mix(uint64(r) ^ binary.LittleEndian.Uint64(actor[:8]))
	return mix(h^binary.LittleEndian.Uint64(actor[8:])) | 1
}

// mix is the finalizer of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
func mix(h uint64) uint64 {
	h += 0x9e3779b97f4a7c15
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}
