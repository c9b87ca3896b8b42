package node

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"slices"
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

// Pauses between attempts to link to a member that is here. They double, and each
// is drawn between half and one and a half of its length.
const (
	firstPause = 500 * time.Millisecond
	lastPause  = 30 * time.Second
)

// redial is what is known of attempts to link to a member.
type redial struct {
	epoch    uint64
	addr     netip.AddrPort
	failures int
	next     time.Time // not before it
}

// redials is by actor. Only keepLinks uses it.
type redials map[changeset.ActorID]*redial

// due reports whether to call a member now. One that restarted or moved is a new
// one.
func (r redials) due(m members.Member, now time.Time) bool {
	d := r[m.Actor]
	if d == nil || d.epoch != m.Epoch || d.addr != m.Addr {
		r[m.Actor] = &redial{epoch: m.Epoch, addr: m.Addr}
		return true
	}
	return !now.Before(d.next)
}

// failed puts the next attempt off.
func (r redials) failed(actor changeset.ActorID, now time.Time) {
	d := r[actor]
	if d == nil {
		return
	}
	pause := min(lastPause, firstPause<<min(d.failures, 16))
	d.failures++
	d.next = now.Add(pause/2 + rand.N(pause))
}

// keep forgets all others.
func (r redials) keep(list []members.Member) {
	for actor := range r {
		if !slices.ContainsFunc(list, func(m members.Member) bool { return m.Actor == actor }) {
			delete(r, actor)
		}
	}
}

// attempt is one dial of keepLinks and how it ended.
type attempt struct {
	actor changeset.ActorID
	err   error
}

// keepLinks sees that there is a link to every member that is here, and tells
// broadcast the round-trip times and the store who is here. Every deadPeriod it also calls one of the dead:
// until somebody does, the other side of a partition that has healed looks dead.
// Membership calls them too, but less often than is wanted here.
func (m *mesh) keepLinks(ctx context.Context) error {
	ticks, deadTicks := time.NewTicker(linkPeriod), time.NewTicker(deadPeriod)
	defer ticks.Stop()
	defer deadTicks.Stop()
	var dials sync.WaitGroup
	defer dials.Wait()
	calls := redials{}
	pending := map[changeset.ActorID]bool{}
	done := make(chan attempt, dialsAtOnce)
	todo := m.unlinked(calls)
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
				_, err := m.links.Dial(dial, member.Addr) // logged there
				done <- attempt{member.Actor, err}
			})
		}
		select {
		case <-ctx.Done():
			return nil
		case a := <-done:
			delete(pending, a.actor)
			if a.err != nil {
				calls.failed(a.actor, time.Now())
			}
		case <-ticks.C:
			m.node.settle(ctx)
			todo = m.unlinked(calls)
		case <-deadTicks.C:
			for _, p := range m.links.Peers() {
				m.broadcast.PeerUp(p.Actor, p.RTT)
				m.node.store.KnowPeer(p.Actor)
			}
			todo = append(m.unlinked(calls), m.oneOfTheDead()...)
		case <-m.wake:
			todo = m.unlinked(calls)
		}
	}
}

// unlinked returns the members that are here, have no link, and are to be called
// now, in random order: some may be out of reach for long.
func (m *mesh) unlinked(calls redials) (due []members.Member) {
	var lacking []members.Member
	for _, member := range m.members.Members() {
		if member.Actor == m.actor || !member.State.Here() {
			continue
		}
		if _, linked := m.links.Peer(member.Actor); !linked {
			lacking = append(lacking, member)
		}
	}
	calls.keep(lacking)
	now := time.Now()
	for _, member := range lacking {
		if calls.due(member, now) {
			due = append(due, member)
		}
	}
	rand.Shuffle(len(due), func(i, j int) { due[i], due[j] = due[j], due[i] })
	return due
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
