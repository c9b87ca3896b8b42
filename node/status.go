package node

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/patinadb/patina/api"
	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/store"
	"github.com/patinadb/patina/sync/versions"
	"github.com/patinadb/patina/transport"
)

// Status returns the node's state as the API shows it; the handler adds its own
// queues and the readiness.
func (n *Node) Status() api.Status {
	v := n.store.Vector()
	m := n.mesh.Load()
	s := api.Status{
		Actor: n.store.Actor(), Cluster: n.cfg.Gossip.Cluster, Version: Version, Uptime: time.Since(n.started).Seconds(),
		Heads: map[changeset.ActorID]changeset.Version{}, VectorDigest: v.Digest(), SchemaDigest: n.store.SchemaDigest(),
	}
	for _, actor := range v.Actors() {
		if head := v.Entry(actor).Applied.Last(); head > 0 {
			s.Heads[actor] = head
		}
	}
	s.Members = m.status()
	for _, p := range n.store.Parked() {
		s.Parked = append(s.Parked, api.Parked{Actor: p.Actor, Version: p.Version, Reason: p.Reason})
	}
	for _, f := range n.store.Forked() {
		s.Forked = append(s.Forked, api.Forked(f))
	}
	s.Missing = n.missing(m, v)
	s.Filling = n.filling()
	s.Unequal = m.unequal()
	s.WAL = walStatus(n.store.WAL())
	s.Log = api.Log(n.store.Log())
	s.Queues = n.queues(m)
	s.Counters = n.counters(m)
	return s
}

// status lists the members; what a link measures of the round trip goes before
// what membership's probes did.
func (m *mesh) status() (out []api.Member) {
	linked := map[changeset.ActorID]transport.PeerStats{}
	for _, p := range m.links.Stats().Peers {
		linked[p.Actor] = p
	}
	for _, member := range m.members.Members() {
		row := api.Member{Actor: member.Actor, Addr: member.Addr, APIAddr: member.APIAddr, State: string(member.State)}
		rtt := member.RTT
		if p, ok := linked[member.Actor]; ok {
			row.Link = &api.Link{Loss: p.Loss, BytesIn: p.BytesIn, BytesOut: p.BytesOut}
			rtt = cmp.Or(p.RTT, rtt)
		}
		row.RTT = float64(rtt) / float64(time.Millisecond)
		out = append(out, row)
	}
	return out
}

// missing lists the versions that peers said are not in their logs and that nobody
// else brought: only a copy of a peer's file holds what they did.
func (n *Node) missing(m *mesh, v *versions.Vector) (out []api.Missing) {
	lacks := map[changeset.ActorID]versions.Set{}
	for _, u := range m.antientropy.Unserved() {
		for _, need := range u.Needs {
			e := v.Entry(need.Actor)
			lacks[need.Actor] = lacks[need.Actor].Union(versions.SetOf(need.Ranges...).Minus(e.Applied).Minus(e.Parked))
		}
	}
	for _, actor := range slices.SortedFunc(maps.Keys(lacks), changeset.ActorID.Compare) {
		if set := lacks[actor]; !set.IsEmpty() {
			out = append(out, api.Missing{Actor: actor, Versions: set.String(), Count: set.Len()})
		}
	}
	return out
}

func walStatus(w store.WAL) api.WAL {
	s := api.WAL{Bytes: w.Bytes}
	if !w.OutsideSince.IsZero() {
		s.OutsideRead = time.Since(w.OutsideSince).Seconds()
	}
	if w.Refused != nil {
		s.Refused = w.Refused.Error()
	}
	if w.Failure != nil {
		s.Failure = w.Failure.Error()
	}
	return s
}

// counters collects what whoever runs the node should look at when it moves.
func (n *Node) counters(m *mesh) map[string]uint64 {
	out := map[string]uint64{}
	for _, e := range m.links.Stats().Ended {
		out["link."+e.Code.Error()] += e.Count
	}
	for name, count := range map[string]uint64{
		"transfer.rows_given":     m.transfer.Given(),
		"verify.unequal":          m.verify.Stats().Unequal,
		"members.refused_packets": m.members.Refused().Packets,
		"members.refused_streams": m.members.Refused().Streams,
		"members.too_many":        m.members.Refused().Members,
		"link.stray_packets":      m.links.Stats().StrayPackets,
		"store.forked":            n.store.Forks(),
		"store.new_actor":         n.store.Renewals(),
		"store.time_beyond_drift": n.store.Drifted(),
		"store.index_dropped":     n.store.IndexesDropped(),
		"store.rerun":             n.store.Reruns(),
		"store.read_ended":        n.store.ReadsEnded(),
	} {
		if count > 0 {
			out[name] = count
		}
	}
	return out
}

// queues lists the bounded queues of every part.
func (n *Node) queues(m *mesh) (out []api.Queue) {
	for _, q := range n.store.Queues() {
		out = append(out, api.Queue(q))
	}
	for _, q := range m.links.Queues() {
		out = append(out, api.Queue(q))
	}
	for _, q := range m.members.Queues() {
		out = append(out, api.Queue(q))
	}
	for _, q := range m.broadcast.Queues() {
		out = append(out, api.Queue(q))
	}
	for _, q := range m.antientropy.Queues() {
		out = append(out, api.Queue(q))
	}
	return out
}
