package transport

import (
	"github.com/patinadb/patina/changeset"
)

// notifier is the only caller of PeerUp and PeerDown. It compares what was
// announced with what is, so no announcement can be lost or queue up: at most
// one per actor is outstanding, and a link that came and went in between is
// not spoken of.
type notifier struct {
	links     *registry
	handler   Handler
	announced map[changeset.ActorID]uint64 // sessions
}

// run announces until stop is closed, and then once more.
func (n *notifier) run(stop <-chan struct{}) {
	for {
		select {
		case <-n.links.wake:
			n.settle()
		case <-stop:
			n.settle()
			return
		}
	}
}

func (n *notifier) settle() {
	for {
		actor, p, peer, ok := n.links.takeDirty()
		if !ok {
			return
		}
		n.announce(actor, p, peer)
	}
}

// announce tells of one actor; p is nil if there is no link to it.
func (n *notifier) announce(actor changeset.ActorID, p *peerLinks, peer Peer) {
	session, said := n.announced[actor]
	if said && (p == nil || p.session != session) {
		delete(n.announced, actor)
		n.handler.PeerDown(actor)
		said = false
	}
	if p != nil && !said {
		n.announced[actor] = p.session
		n.handler.PeerUp(peer)
		close(p.up)
	}
}

// takeDirty returns one actor whose session may have changed and its present
// state.
func (r *registry) takeDirty() (actor changeset.ActorID, p *peerLinks, peer Peer, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for actor = range r.dirty {
		delete(r.dirty, actor)
		p = r.peers[actor]
		if p != nil {
			peer = p.links[0].describe()
		}
		return actor, p, peer, true
	}
	return actor, nil, Peer{}, false
}
