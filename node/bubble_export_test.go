package node

import (
	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/sync/members"
	"github.com/patinadb/patina/transport"
)

// Member shows tests an actor as the node's membership sees it.
func (n *Node) Member(actor changeset.ActorID) members.Member {
	for _, m := range n.mesh.Load().members.Members() {
		if m.Actor == actor {
			return m
		}
	}
	return members.Member{}
}

// TransportStats shows tests the counters of the links.
func (n *Node) TransportStats() transport.Stats { return n.mesh.Load().links.Stats() }
