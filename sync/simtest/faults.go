package simtest

import (
	"maps"
	"slices"
	"time"

	"github.com/patinadb/patina/sync/antientropy"
	"github.com/patinadb/patina/sync/broadcast"
)

// What membership takes to notice.
const (
	downAfter = 5 * time.Second
	downRange = 7 * time.Second // more, at most
	upWithin  = 2 * time.Second
)

// begin lets a fault befall random nodes, and end.
func (s *sim) begin(f Fault) {
	bit := uint64(1) << (s.faults % 64)
	s.faults++
	var hit []*node
	for _, i := range s.fate.Perm(len(s.nodes))[:min(f.Nodes, len(s.nodes))] {
		if n := s.nodes[i]; f.Kind != Stop || !n.down {
			n.hit = true
			hit = append(hit, n)
		}
	}
	s.note(6, uint64(s.now), uint64(f.Kind), uint64(len(hit)))
	for _, n := range hit {
		switch f.Kind {
		case Partition:
			n.sides ^= bit
		case Deaf:
			n.deaf = true
		case Stop:
			n.stop()
		case Slow:
			n.speed, n.handling = slowSpeed, slowHandling
		case Full:
			n.full = true
		}
	}
	s.relinkAll(hit)
	s.live(f.For, func() {
		for _, n := range hit {
			switch f.Kind {
			case Partition:
				n.sides ^= bit
			case Deaf:
				n.deaf = false
			case Stop:
				n.boot()
			case Slow:
				n.speed, n.handling = lineSpeed, 0
			case Full:
				n.full = false
			}
		}
		s.relinkAll(hit)
	})
}

// stop ends a node's process. What its store has stays.
func (n *node) stop() {
	n.life++
	n.down = true
	n.broadcast, n.repair, n.ends = nil, nil, nil
	clear(n.linked)
}

// relinkAll lets membership notice, in its time, who can be reached and who cannot.
func (s *sim) relinkAll(nodes []*node) {
	for _, n := range nodes {
		for _, p := range s.nodes {
			if p == n {
				continue
			}
			after := downAfter + randTime(s.rand, downRange)
			if s.joined(n, p) {
				after = randTime(s.rand, upWithin)
			}
			s.after(after, func() { s.relink(n, p) })
		}
	}
}

// joined reports whether two nodes can reach each other.
func (s *sim) joined(a, b *node) bool { return s.reaches(a, b) && s.reaches(b, a) }

// relink makes the views of two nodes what is true.
func (s *sim) relink(a, b *node) {
	up := s.joined(a, b)
	if up && a.linked[b.index] && b.linked[a.index] {
		return
	}
	// Of a link that only one end still believes in, the other's process is gone.
	for _, end := range [][2]*node{{a, b}, {b, a}} {
		if end[0].linked[end[1].index] {
			end[0].unlink(end[1])
		}
	}
	if !up {
		return
	}
	a.linked[b.index], b.linked[a.index] = true, true
	s.out.Joined = s.now
	for _, end := range [][2]*node{{a, b}, {b, a}} {
		n, p := end[0], end[1]
		n.push(broadcast.PeerUp{Peer: p.actor, RTT: s.rtt(n, p)})
		if n.repair != nil && slices.Contains(n.peers, p) {
			n.mend(antientropy.PeerUp{Peer: p.actor})
		}
	}
}

// unlink lets a node learn that a peer is gone, and with it their streams.
func (n *node) unlink(p *node) {
	n.linked[p.index] = false
	n.push(broadcast.PeerDown{Peer: p.actor})
	if n.repair == nil {
		return
	}
	n.mend(antientropy.PeerDown{Peer: p.actor})
	for _, id := range slices.Sorted(maps.Keys(n.ends)) {
		if x := n.ends[id]; x.to == p {
			x.breakOff()
		}
	}
}
