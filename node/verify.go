package node

import (
	"context"
	"time"

	"github.com/patinadb/patina/api"
	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/sync/verify"
)

// newVerify returns what compares our clock sums with those of peers.
func (m *mesh) newVerify() *verify.Loop {
	return verify.New(verify.Config{
		Peers: m.linkedPeers, Log: m.node.log,
		Open: func(ctx context.Context, to changeset.ActorID) (verify.Stream, error) {
			return openStream[verify.Stream](ctx, m.links, to, kindVerify)
		},
		Sums: func() (verify.Sums, bool) {
			before := m.node.store.Filling()
			s := m.node.store.Sums()
			whole := before == nil && m.node.store.Filling() == nil
			return verify.Sums{Vector: s.Vector.Digest(), Schema: s.Schema, Tables: s.Tables}, whole
		},
	})
}

// unequal lists the peers with which rows differ although both hold the same versions.
func (m *mesh) unequal() (out []api.Unequal) {
	for _, u := range m.verify.Unequal() {
		out = append(out, api.Unequal{Peer: u.Peer, Tables: u.Tables, Since: u.Since.UTC().Format(time.RFC3339)})
	}
	return out
}
