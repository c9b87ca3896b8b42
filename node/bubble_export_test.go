package node

import "github.com/patinadb/patina/transport"

// TransportStats shows tests the counters of the links.
func (n *Node) TransportStats() transport.Stats { return n.mesh.Load().links.Stats() }
