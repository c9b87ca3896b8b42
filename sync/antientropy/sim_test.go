package antientropy

import (
	"container/heap"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/sync/versions"
)

// simulation drives machines in virtual time over streams that can break at any
// point. It judges them by rules of its own: see check, simStream.deliver and
// TestSimulation.
type simulation struct {
	t     *testing.T
	seed  uint64
	rand  *rand.Rand
	now   time.Time
	queue simQueue
	seq   int
	nodes []*simNode
	size  int     // of changesets, at most
	cut   float64 // probability that a stream breaks at a step
	quiet bool    // nobody writes any more
}

// simNode is a machine and its store.
type simNode struct {
	sim    *simulation
	self   changeset.ActorID
	m      *Machine
	vector *versions.Vector
	log    map[changeset.ID]bool
	ends   map[SessionID]*simEnd
	lost   map[changeset.ID]int // how often Apply took it and did not keep it
}

// simEnd is one node's end of a stream.
type simEnd struct {
	node, to *simNode
	id       SessionID
	other    *simEnd
	opened   bool
	closed   bool
	broken   bool
	inbox    []Message // nil is the end of the stream
	reading  bool
	applying bool
	orders   int
	free     time.Time // when the last order will be done
	held     int       // changesets received and not yet durable

	// What this end must answer and has answered.
	sentVector *versions.Vector
	owes       map[changeset.ID]bool
	done       bool
}

type simStep struct {
	at  time.Time
	seq int
	do  func()
}

type simQueue []simStep

func (q simQueue) Len() int { return len(q) }
func (q simQueue) Less(i, j int) bool {
	return q[i].at.Before(q[j].at) || q[i].at.Equal(q[j].at) && q[i].seq < q[j].seq
}
func (q simQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *simQueue) Push(x any)   { *q = append(*q, x.(simStep)) }
func (q *simQueue) Pop() any {
	old := *q
	x := old[len(old)-1]
	*q = old[:len(old)-1]
	return x
}

func newSimulation(t *testing.T, seed uint64, nodes int) *simulation {
	s := &simulation{t: t, seed: seed, rand: rand.New(rand.NewPCG(seed, 9)), now: epoch}
	for i := range nodes {
		n := &simNode{sim: s, self: actor(i + 1), vector: versions.NewVector(), log: map[changeset.ID]bool{}, ends: map[SessionID]*simEnd{}, lost: map[changeset.ID]int{}}
		n.m = NewMachine(MachineConfig{
			Self: n.self, Vector: func() *versions.Vector { return n.vector }, Rand: rand.New(rand.NewPCG(seed, uint64(i))),
		}, s.now)
		s.nodes = append(s.nodes, n)
	}
	return s
}

func (s *simulation) fatalf(format string, args ...any) {
	s.t.Helper()
	s.t.Fatalf("seed %d at %s: %s", s.seed, s.now.Sub(epoch), fmt.Sprintf(format, args...))
}

func (s *simulation) after(d time.Duration, do func()) {
	s.seq++
	heap.Push(&s.queue, simStep{s.now.Add(d), s.seq, do})
}

func (s *simulation) delay() time.Duration { return 1 + rand64(s.rand, 40*time.Millisecond) }

func rand64(r *rand.Rand, d time.Duration) time.Duration { return time.Duration(r.Int64N(int64(d))) }

// run lets the time pass.
func (s *simulation) run(d time.Duration) {
	end := s.now.Add(d)
	for {
		next, who := end, (*simNode)(nil)
		for _, n := range s.nodes {
			if w := n.m.Wake(); w.Before(next) {
				next, who = w, n
			}
		}
		switch {
		case len(s.queue) > 0 && !s.queue[0].at.After(next):
			step := heap.Pop(&s.queue).(simStep)
			s.now = step.at
			step.do()
		case who != nil:
			s.now = later(s.now, next)
			who.do(who.m.Tick(s.now))
			if !who.m.Wake().After(s.now) {
				s.fatalf("a tick at its time leaves something due")
			}
		default:
			s.now = end
			return
		}
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// hold makes changesets durable at n.
func (n *simNode) hold(id changeset.ID, parked, logged bool) {
	v := n.vector.Clone()
	e := v.Entry(id.Actor)
	r := versions.Range{First: id.Version, Last: id.Version}
	if parked {
		e.Parked.Add(r)
	} else {
		e.Applied.Add(r)
	}
	v.Put(id.Actor, e)
	n.vector = v
	if logged {
		n.log[id] = true
	}
}

func (n *simNode) handle(e Event) { n.do(n.m.Handle(n.sim.now, e)) }

func (n *simNode) do(effects []Effect) {
	for _, e := range slices.Clone(effects) {
		switch e := e.(type) {
		case Open:
			n.open(e)
		case Send:
			n.ends[e.Session].order(func(x *simEnd) { x.send(e.Message) })
		case CloseSend:
			n.ends[e.Session].order(func(x *simEnd) {
				x.send(nil)
				n.handle(Flushed{x.id})
			})
		case Fetch:
			n.ends[e.Session].order(func(x *simEnd) { x.fetch(e.IDs) })
		case Read:
			x := n.ends[e.Session]
			if x.reading {
				n.sim.fatalf("two reads")
			}
			x.reading = true
			x.deliver()
		case Apply:
			n.apply(n.ends[e.Session], e.Batch)
		case Close:
			n.close(e)
		}
	}
}

func (n *simNode) open(e Open) {
	s := n.sim
	i := slices.IndexFunc(s.nodes, func(x *simNode) bool { return x.self == e.Peer })
	x := &simEnd{node: n, to: s.nodes[i], id: e.Session}
	n.ends[x.id] = x
	s.after(s.delay(), func() {
		if x.closed {
			return
		}
		if s.rand.Float64() < s.cut {
			n.handle(Failed{x.id, errors.New("no link")})
			return
		}
		y := &simEnd{node: x.to, to: n, other: x, opened: true, id: x.to.m.NewSession()}
		x.other, x.opened = y, true
		y.node.ends[y.id] = y
		s.after(s.delay(), func() { y.node.handle(Incoming{y.id, n.self}) })
		n.handle(Opened{x.id})
	})
}

func (n *simNode) close(e Close) {
	x := n.ends[e.Session]
	if x == nil || x.closed {
		n.sim.fatalf("session %d closed twice", e.Session)
	}
	var f *PeerFault
	if errors.As(e.Err, &f) {
		n.sim.fatalf("an honest peer is at fault: %v", e.Err)
	}
	x.closed = true
	delete(n.ends, e.Session)
	if e.Code != CodeNone {
		x.breakOff()
	}
}

// breakOff makes both ends fail.
func (x *simEnd) breakOff() {
	for _, y := range []*simEnd{x, x.other} {
		if y != nil && !y.broken {
			y.broken = true
			x.node.sim.after(x.node.sim.delay(), y.deliver)
		}
	}
}

// order does something in its turn, as a writing goroutine would.
func (x *simEnd) order(do func(*simEnd)) {
	s := x.node.sim
	if x.orders++; x.orders > MaxOrders {
		s.fatalf("%d orders at once", x.orders)
	}
	x.free = later(x.free, s.now).Add(s.delay() / 8)
	s.after(x.free.Sub(s.now), func() {
		x.orders--
		switch {
		case x.closed:
		case x.broken:
			x.node.handle(SendFailed{x.id, errors.New("stream broken")})
		default:
			if s.rand.Float64() < s.cut {
				x.breakOff()
			}
			do(x)
		}
	})
}

// send puts a message, or nil for the end, on its way; judging what it says.
func (x *simEnd) send(m Message) {
	s := x.node.sim
	switch m := m.(type) {
	case Vector:
		x.sentVector = m.Vector
		x.settle()
	case Changeset:
		x.answered(m.ID())
	case NotInLog:
		for _, need := range m {
			for _, r := range need.Ranges {
				for v := r.First; v <= r.Last; v++ {
					x.answered(changeset.ID{Actor: need.Actor, Version: v})
				}
			}
		}
	case Done:
		x.done = true
		if len(x.owes) > 0 {
			s.fatalf("done with %d versions unanswered", len(x.owes))
		}
	}
	y := x.other
	at := s.delay()
	y.inbox = append(y.inbox, m)
	s.after(at, y.deliver)
}

// settle works out what each end owes, once both vectors are on their way.
func (x *simEnd) settle() {
	y := x.other
	if y == nil || x.sentVector == nil || y.sentVector == nil {
		return
	}
	for _, p := range [][2]*simEnd{{x, y}, {y, x}} {
		p[0].owes = map[changeset.ID]bool{}
		for _, need := range versions.Missing(p[1].sentVector, p[0].sentVector) {
			for _, r := range need.Ranges {
				for v := r.First; v <= r.Last; v++ {
					p[0].owes[changeset.ID{Actor: need.Actor, Version: v}] = true
				}
			}
		}
	}
}

func (x *simEnd) answered(id changeset.ID) {
	if !x.owes[id] {
		x.node.sim.fatalf("%v was answered twice or not asked for", id)
	}
	delete(x.owes, id)
}

// fetch answers up to the first few of ids.
func (x *simEnd) fetch(ids []changeset.ID) {
	s := x.node.sim
	n := 1 + s.rand.IntN(len(ids))
	var absent []changeset.ID
	for _, id := range ids[:n] {
		if !x.node.vector.Holds(id) {
			s.fatalf("fetch of %v, which is not held", id)
		}
		if !x.node.log[id] {
			absent = append(absent, id)
			continue
		}
		x.send(Changeset{fakeChangeset(id, 1+s.rand.IntN(s.size))})
	}
	x.node.handle(Fetched{x.id, n, absent})
}

// deliver gives the reader one message if it wants one and one is there.
func (x *simEnd) deliver() {
	s := x.node.sim
	if !x.reading || x.closed || !x.broken && len(x.inbox) == 0 {
		return
	}
	x.reading = false
	if x.broken && (len(x.inbox) == 0 || s.rand.IntN(2) == 0) {
		x.node.handle(Ended{x.id, errors.New("stream broken")})
		return
	}
	m := x.inbox[0]
	x.inbox = x.inbox[1:]
	if m == nil {
		x.node.handle(Ended{x.id, io.EOF})
		return
	}
	if c, ok := m.(Changeset); ok && !x.node.vector.Holds(c.ID()) {
		if x.held++; x.held > DepthCount {
			s.fatalf("%d changesets held", x.held)
		}
	}
	x.node.handle(Received{x.id, m})
}

// apply makes a batch durable after a while. Now and then one is dropped, as
// the store's waiting room may, or parked.
func (n *simNode) apply(x *simEnd, batch []changeset.Sealed) {
	s := n.sim
	if x.applying || len(batch) == 0 || len(batch) > BatchCount {
		s.fatalf("batch of %d, another under way: %t", len(batch), x.applying)
	}
	x.applying = true
	s.after(s.delay(), func() {
		for i := range batch {
			id := batch[i].ID()
			if s.rand.IntN(20) == 0 && n.lost[id] < 2 {
				n.lost[id]++
				continue
			}
			n.hold(id, s.rand.IntN(10) == 0, true)
		}
		x.applying = false
		x.held -= len(batch)
		n.handle(Applied{x.id, nil})
	})
}

// probes lets every node hear every other's digest each second.
func (s *simulation) probes() {
	for _, n := range s.nodes {
		for _, p := range s.nodes {
			if p != n {
				n.handle(Probe{p.self, p.vector.Digest()})
			}
		}
	}
	s.after(time.Second, s.probes)
}

// write makes new versions and spreads some of them as broadcast would.
func (s *simulation) write() {
	n := s.nodes[s.rand.IntN(len(s.nodes))]
	id := changeset.ID{Actor: n.self, Version: n.vector.Entry(n.self).Applied.Last() + 1}
	if s.quiet {
		return
	}
	n.hold(id, false, true)
	for _, p := range s.nodes {
		if p != n && s.rand.IntN(2) == 0 {
			s.after(s.delay(), func() { p.hold(id, false, true) })
		}
	}
	s.after(rand64(s.rand, 200*time.Millisecond)+1, s.write)
}

// flap lets links go and come.
func (s *simulation) flap(until time.Time) {
	if s.now.After(until) {
		return
	}
	n, p := s.nodes[s.rand.IntN(len(s.nodes))], s.nodes[s.rand.IntN(len(s.nodes))]
	if n != p {
		n.handle(PeerDown{p.self})
		s.after(rand64(s.rand, time.Second), func() { n.handle(PeerUp{p.self}) })
	}
	s.after(rand64(s.rand, 2*time.Second)+1, func() { s.flap(until) })
}

// TestSimulation shows that machines with random holes, whose streams break at
// random points, end with equal vectors; that each asked version is answered
// exactly once in a session (simEnd.answered, send); and that what is under way
// stays bounded (order, deliver, apply).
func TestSimulation(t *testing.T) {
	completed, failed, absent := uint64(0), uint64(0), uint64(0)
	for seed := range uint64(24) {
		s := newSimulation(t, seed, 2+int(seed%3))
		s.cut = []float64{0, 0.002, 0.02}[seed%3]
		s.size = []int{300_000, 100}[seed/3%2]
		s.populate()
		for _, n := range s.nodes {
			for _, p := range s.nodes {
				if p != n {
					n.handle(PeerUp{p.self})
				}
			}
		}
		s.after(rand64(s.rand, time.Second), s.probes)
		s.after(0, s.write)
		if seed%2 == 0 {
			s.flap(s.now.Add(15 * time.Second))
		}
		s.run(20 * time.Second)
		s.cut, s.quiet = 0, true
		s.run(60 * time.Second)
		s.judge()
		for _, n := range s.nodes {
			st := n.m.Stats()
			completed, failed, absent = completed+st.Completed, failed+st.Failed, absent+st.NotInLogReceived
		}
	}
	t.Logf("%d sessions completed, %d failed, %d ranges not in a log", completed, failed, absent)
	// The runs must have met what they are about.
	if completed < 1000 || failed < 100 || absent < 100 {
		t.Errorf("%d sessions completed, %d failed, %d ranges not in a log", completed, failed, absent)
	}
}

// populate gives each node random versions; each is in the log of at least one,
// but perhaps not in that of all that hold it.
func (s *simulation) populate() {
	for a := range 5 {
		for v := range changeset.Version(s.rand.IntN(150)) {
			id := changeset.ID{Actor: actor(100 + a), Version: v + 1}
			keeper := s.rand.IntN(len(s.nodes))
			for i, n := range s.nodes {
				if i == keeper || s.rand.IntN(3) == 0 {
					n.hold(id, s.rand.IntN(10) == 0, i == keeper || s.rand.IntN(2) == 0)
				}
			}
		}
	}
}

func (s *simulation) judge() {
	s.t.Helper()
	for _, n := range s.nodes[1:] {
		for _, p := range [][2]*simNode{{s.nodes[0], n}, {n, s.nodes[0]}} {
			if needs := versions.Missing(p[0].vector, p[1].vector); len(needs) > 0 {
				s.fatalf("node %s lacks %s; %+v", name(p[0].self), printNeeds(needs), p[0].m.Stats())
			}
		}
	}
	for _, n := range s.nodes {
		if st := n.m.Stats(); len(n.ends) != st.Initiated+st.Serving {
			s.fatalf("%d streams for %+v", len(n.ends), st)
		}
	}
}
