package store

import (
	"fmt"
	"sync"
	"time"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/sqlite"
	"github.com/patinadb/patina/sync/versions"
)

// peerKept is for how long a peer that is not heard of holds the log: whoever was
// away for longer needs a copy of the database (node/OPERATIONS.md).
const peerKept = 30 * 24 * time.Hour

// peerSeenStep is how far the time that is written down of a peer may lie behind.
const peerSeenStep = time.Hour

// knownPeers are the nodes that may still ask for what is in the log. Who they are
// survives a restart, what they hold does not: a peer that was not heard since
// holds everything.
type knownPeers struct {
	mu   sync.Mutex
	byID map[changeset.ActorID]*knownPeer // guarded by mu
}

type knownPeer struct {
	seen  time.Time
	saved time.Time        // what the file says of seen; zero: nothing
	holds *versions.Vector // nil: not heard yet; never changed
}

// KnowPeer tells that a node of this cluster lives: the log is kept for it until
// its vector says that it has no need. It may be called from any goroutine and
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

// loadPeers reads who was known before the restart.
func (w *writer) loadPeers() error {
	k := &w.store.peers
	k.mu.Lock()
	defer k.mu.Unlock()
	k.byID = map[changeset.ActorID]*knownPeer{}
	return w.conn.Each("SELECT id, seen FROM __patina_peer", nil, func(s *sqlite.Stmt) error {
		var a changeset.ActorID
		if copy(a[:], s.View(0)) != len(a) {
			return fmt.Errorf("peer x'%x': %w", s.View(0), errDamaged)
		}
		seen := time.UnixMilli(s.Integer(1))
		k.byID[a] = &knownPeer{seen: seen, saved: seen}
		return nil
	})
}

// peersMoved reports whether the file does not know who was heard of lately, or
// knows somebody who is forgotten.
func (w *writer) peersMoved(now time.Time) bool {
	k := &w.store.peers
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, p := range k.byID {
		if p.seen.Sub(p.saved) >= peerSeenStep || now.Sub(p.seen) > peerKept {
			return true
		}
	}
	return false
}

// savePeers writes down who was heard of, and forgets whom nobody heard of for
// peerKept. It runs at a tick.
func (w *writer) savePeers(now time.Time) error {
	if !w.peersMoved(now) {
		return nil
	}
	k := &w.store.peers
	k.mu.Lock()
	seen := make(map[changeset.ActorID]time.Time, len(k.byID))
	for id, p := range k.byID {
		if now.Sub(p.seen) > peerKept || id == w.actors.self {
			w.log.Warn("the log is not kept any longer for a peer that was not heard of", "peer", id)
			delete(k.byID, id)
			continue
		}
		seen[id] = p.seen
	}
	k.mu.Unlock()
	err := w.transaction(func() error {
		if err := w.conn.Exec("DELETE FROM __patina_peer"); err != nil {
			return err
		}
		for id, at := range seen {
			row := []sqlite.Value{changeset.BlobValue(id[:]), changeset.IntegerValue(at.UnixMilli())}
			if err := w.conn.Each("INSERT INTO __patina_peer VALUES(?, ?)", row, nil); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("save who the peers are: %w", err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for id, at := range seen {
		if p := k.byID[id]; p != nil {
			p.saved = at
		}
	}
	return nil
}

// lowest returns up to which version of an actor every known peer holds all, and
// who holds no more.
func (k *knownPeers) lowest(actor changeset.ActorID) (head changeset.Version, peer changeset.ActorID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	head = changeset.MaxVersion
	for id, p := range k.byID {
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
