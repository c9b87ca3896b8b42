package simtest

import (
	"fmt"
	"slices"
	"time"
)

// Result is what a run came to. A pair is a changeset and a node that did not make it.
type Result struct {
	Config Config // of the run, with defaults
	Writes int    // fewer than planned if there was a moment when nobody was up
	// P50, P99 and Max are the time from the commit to the arrival, over all pairs whose
	// nodes no fault befell and that broadcast served; if anti-entropy ran from the
	// beginning, over all those.
	P50, P99, Max time.Duration
	Copies        int // changesets that came by broadcast, each time
	Fetched       int // changesets that came by anti-entropy
	Asked         int // changesets asked for after a digest
	Bytes         int // that left the nodes, those of lost packets among them
	// MissedByBroadcast are the pairs that broadcast did not serve, or later than
	// anti-entropy; Missed those that nobody served.
	MissedByBroadcast, Missed int
	Held                      int           // pairs that are durable, and changesets at their origin
	Calm                      time.Duration // virtual time of the last write or end of a fault
	Joined                    time.Duration // virtual time at which the last link came back; 0: none was gone
	Equal                     time.Duration // virtual time at which all were equal
	Ended                     time.Duration // virtual time
	Trace                     uint64        // hash of every effect of every machine
	// Breaches are the first ten breaches of these rules: a changeset is delivered once
	// in the life of a process, never sent to its origin or to who sent it first; no
	// honest node is blamed, said to have what it has not, or without what it said it has;
	// queues are empty in the end, and no machine wants another tick of broadcast then, nor
	// ever one for a time that is over. With the tenth the run ends.
	Breaches []string
}

// judge fills in the figures.
func (s *sim) judge() {
	r := &s.out
	r.Writes, r.Ended, r.Trace = len(s.writes), s.now, s.trace
	var times []time.Duration
	for _, w := range s.writes {
		for i, got := range w.got {
			switch {
			case s.nodes[i].actor == w.item.Actor:
				continue
			case got == 0:
				r.Missed++
				r.MissedByBroadcast++
				continue
			case w.repaired[i]:
				r.MissedByBroadcast++
				if s.cfg.Repair == AtEnd {
					continue
				}
			}
			if !s.nodes[i].hit && !s.of(w.item.Actor).hit {
				times = append(times, got-w.at)
			}
		}
	}
	if slices.Sort(times); len(times) > 0 {
		r.P50, r.P99, r.Max = times[len(times)/2], times[len(times)*99/100], times[len(times)-1]
	}
	for _, n := range s.nodes {
		if n.down {
			s.breach("node %d is still down", n.index)
			continue
		}
		n.judge()
	}
}

// judge sees that nothing is left to do.
func (n *node) judge() {
	for _, q := range n.broadcast.Queues() {
		if q.Depth > 0 || q.Bytes > 0 {
			n.sim.breach("node %d still has %d items for node %d", n.index, q.Depth, n.sim.of(q.Peer).index)
		}
	}
	if next := n.broadcast.Next(); !next.IsZero() {
		n.sim.breach("node %d wants a tick at %v", n.index, next.Sub(epoch))
	}
	if n.repair == nil {
		return
	}
	if st := n.repair.Stats(); st.Initiated > len(n.ends) {
		n.sim.breach("node %d has %d streams for %+v", n.index, len(n.ends), st)
	}
}

// CopiesPerNode is how often broadcast brought one changeset to a node, on average.
func (r *Result) CopiesPerNode() float64 { return r.perNode(r.Copies) }

// BytesPerNode is how many bytes one changeset cost each node, on average.
func (r *Result) BytesPerNode() float64 { return r.perNode(r.Bytes) }

func (r *Result) perNode(n int) float64 { return float64(n) / float64(max(r.Config.Nodes*r.Writes, 1)) }

// TableHead are the columns of Row.
const TableHead = "nodes  regions  loss  bytes  repair   p50 ms  p99 ms  max ms  copies  fetched  kB/node  missed by broadcast  missed"

// Row is a line of figures.
func (r *Result) Row() string {
	c := r.Config
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	return fmt.Sprintf("%5d  %7d  %3.0f%%  %5d  %-6s  %7.1f %7.1f %7.1f  %6.3f  %7.4f  %7.2f  %19d  %6d",
		c.Nodes, c.Regions, 100*c.Loss, c.Size, [...]string{"never", "at end", "always"}[c.Repair],
		ms(r.P50), ms(r.P99), ms(r.Max), r.CopiesPerNode(), r.perNode(r.Fetched), r.BytesPerNode()/1000, r.MissedByBroadcast, r.Missed)
}
