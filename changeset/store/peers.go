package store

import (
	"sync"
	"time"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/sync/versions"
)

// peerKept is for how long a peer that is not heard of holds the log beyond its bounds.
// Who was away for longer than that and than the log goes back gets the state
// transferred.
const peerKept = 10 * time.Minute

// knownPeers are the nodes that may soon ask for what is in the log: those that are
// here, or were lately. One that did not say what it holds holds everything.
type knownPeers struct {
	mu   sync.Mutex
	byID map[changeset.ActorID]*knownPeer // guarded by mu
}

type knownPeer struct {
	seen  time.Time
	holds *versions.Vector // nil: not heard yet; never changed
}

// KnowPeer tells that a node of this cluster lives: for ten minutes the log is kept for
// it until its vector says that it has no need. It may be called from any goroutine and
// does not block.
func (s *Store) KnowPeer(peer changeset.ActorID) { s.HearVector(peer, nil) }

// HearVector tells what a peer holds, as it said itself; nil if it said nothing.
// The vector must not change afterwards. It may be called from any goroutine and
// does not block.
func (s *Store) HearVector(peer changeset.ActorID, v *versions.Vector) {
	if peer == s.Actor() {
		return
	}
	k := &s.peers
	k.mu.Lock()
	defer k.mu.Unlock()
	p := k.byID[peer]
	if p == nil {
		if k.byID == nil {
			k.byID = map[changeset.ActorID]*knownPeer{}
		}
		p = &knownPeer{}
		k.byID[peer] = p
	}
	p.seen = s.cfg.Now()
	if v != nil {
		p.holds = v
	}
}

// PeerHolds reports whether a peer said that it holds one of these versions. It may be
// called from any goroutine and does not block.
func (s *Store) PeerHolds(peer changeset.ActorID, needs []versions.Need) bool {
	k := &s.peers
	k.mu.Lock()
	defer k.mu.Unlock()
	p := k.byID[peer]
	if p == nil || p.holds == nil {
		return false
	}
	for _, n := range needs {
		if p.holds.Entry(n.Actor).Applied.Intersects(versions.SetOf(n.Ranges...)) {
			return true
		}
	}
	return false
}

// lowest returns up to which version of an actor every known peer holds all, and
// who holds no more. Peers that were not heard of for long count no more.
func (k *knownPeers) lowest(actor changeset.ActorID, now time.Time) (head changeset.Version, peer changeset.ActorID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	head = changeset.MaxVersion
	for id, p := range k.byID {
		if now.Sub(p.seen) > peerKept {
			delete(k.byID, id)
			continue
		}
		n := unbroken(p.holds, actor)
		if n < head || n == head && n < changeset.MaxVersion && id.Compare(peer) < 0 {
			head, peer = n, id
		}
	}
	return head, peer
}

// unbroken returns up to which version of an actor v holds all of them.
func unbroken(v *versions.Vector, actor changeset.ActorID) changeset.Version {
	if v == nil {
		return 0
	}
	e := v.Entry(actor)
	held := e.Applied.Union(e.Parked).Ranges()
	if len(held) == 0 || held[0].First != 1 {
		return 0
	}
	return held[0].Last
}
