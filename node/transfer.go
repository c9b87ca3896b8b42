package node

import (
	"context"
	"fmt"
	"slices"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/store"
	"github.com/patinadb/patina/sync/transfer"
	"github.com/patinadb/patina/sync/versions"
)

// newTransfer returns what brings this node the state of a peer, and gives ours.
func (m *mesh) newTransfer() *transfer.Loop {
	return transfer.New(transfer.Config{
		Store: stateStore{m.node.store}, Sources: m.stateSources, Held: m.anyHolds, Log: m.node.log,
		Open: func(ctx context.Context, to changeset.ActorID) (transfer.Stream, error) {
			return openStream[transfer.Stream](ctx, m.links, to, kindState)
		},
	})
}

// stateStore gives the store the types of package transfer.
type stateStore struct{ *store.Store }

func (s stateStore) ReadState(ctx context.Context, cursor []byte, held *versions.Vector) (transfer.Part, error) {
	p, err := s.Store.ReadState(ctx, cursor, held)
	return transfer.Part(p), err
}

func (s stateStore) Filling() *transfer.Fill { return (*transfer.Fill)(s.Store.Filling()) }

func (s stateStore) FillPart(ctx context.Context, p transfer.Part) error {
	return s.Store.FillPart(ctx, store.StatePart(p))
}

// stateSources returns what no log that was asked has, and the linked peers that hold
// some of it.
func (m *mesh) stateSources() (out transfer.Lacking) {
	v := m.node.store.Vector()
	for _, missing := range m.node.missing(m, v) {
		out.Versions += missing.Count
	}
	if out.Versions == 0 {
		return out
	}
	var held uint64
	for _, actor := range v.Actors() {
		held += v.Entry(actor).Applied.Len()
	}
	out.Most = out.Versions > held
	linked := m.linkedPeers()
	for _, u := range m.antientropy.Unserved() {
		if slices.Contains(linked, u.Peer) && len(u.Needs) > 0 {
			out.Peers = append(out.Peers, u.Peer)
		}
	}
	return out
}

// anyHolds reports whether a linked peer said that it holds one of these versions.
func (m *mesh) anyHolds(needs []versions.Need) bool {
	return slices.ContainsFunc(m.linkedPeers(), func(peer changeset.ActorID) bool { return m.node.store.PeerHolds(peer, needs) })
}

func (m *mesh) linkedPeers() (actors []changeset.ActorID) {
	for _, p := range m.links.Peers() {
		actors = append(actors, p.Actor)
	}
	return actors
}

// lastFailure says why the last attempt to transfer state failed, "" if it did not.
func (n *Node) lastFailure() string {
	if why := n.mesh.Load().transfer.Failure(); why != "" {
		return "; the last attempt failed: " + why
	}
	return ""
}

// filling says how far the transfer of state into this node is, "" without one.
func (n *Node) filling() string {
	f := n.store.Filling()
	switch {
	case f == nil:
		return ""
	case !f.Complete:
		return fmt.Sprintf("being filled with the state of %v: %d rows so far", f.Source, f.Rows) + n.lastFailure()
	}
	var lacks uint64
	for _, need := range versions.Missing(n.store.Vector().AppliedOnly(), f.Goal) {
		lacks += need.Len()
	}
	return fmt.Sprintf("being filled with the state of %v: %d rows came, %d versions that they show a part of are on their way", f.Source, f.Rows, lacks)
}
