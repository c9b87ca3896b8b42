package node

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/sync/members"
)

// dialsAtOnce bounds the links that keepLinks is making.
const dialsAtOnce = 8

// connect asks keepLinks to look now.
func (m *mesh) connect() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// keepLinks sees that there is a link to every member that is here, and tells
// broadcast the round-trip times. At each tick it also calls one of the dead:
// until somebody does, the other side of a partition that has healed looks dead.
// Membership calls them too, but less often than is wanted here.
func (m *mesh) keepLinks(ctx context.Context) error {
	ticks := time.NewTicker(linkPeriod)
	defer ticks.Stop()
	var dials sync.WaitGroup
	defer dials.Wait()
	pending := map[changeset.ActorID]bool{}
	done := make(chan changeset.ActorID, dialsAtOnce)
	todo := m.unlinked()
	for {
		for ; len(todo) > 0 && len(pending) < dialsAtOnce; todo = todo[1:] {
			member := todo[0]
			if pending[member.Actor] {
				continue
			}
			pending[member.Actor] = true
			dials.Go(func() {
				dial, cancel := context.WithTimeout(ctx, dialTime)
				defer cancel()
				m.links.Dial(dial, member.Addr) // failures are logged there, and tried again
				done <- member.Actor
			})
		}
		select {
		case <-ctx.Done():
			return nil
		case actor := <-done:
			delete(pending, actor)
		case <-ticks.C:
			for _, peer := range m.linkedPeers() {
				m.node.store.KnowPeer(peer)
			}
			todo = append(m.unlinked(), m.oneOfTheDead()...)
		case <-m.wake:
			todo = m.unlinked()
		}
	}
}

// unlinked returns the members that are here and have no link.
func (m *mesh) unlinked() (out []members.Member) {
	for _, member := range m.members.Members() {
		if member.Actor == m.actor || !member.State.Here() {
			continue
		}
		if p, ok := m.links.Peer(member.Actor); ok {
			m.broadcast.PeerUp(p.Actor, p.RTT)
		} else {
			out = append(out, member)
		}
	}
	return out
}

// oneOfTheDead returns a dead member without a link, if there is one, chosen at
// random.
func (m *mesh) oneOfTheDead() []members.Member {
	var dead []members.Member
	for _, member := range m.members.Members() {
		if _, linked := m.links.Peer(member.Actor); !linked && member.State == members.Dead {
			dead = append(dead, member)
		}
	}
	if len(dead) == 0 {
		return nil
	}
	return []members.Member{dead[rand.IntN(len(dead))]}
}
