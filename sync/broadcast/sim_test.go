package broadcast

import (
	"container/heap"
	"fmt"
	"hash"
	"hash/fnv"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/patinadb/patina/changeset"
)

// sim runs machines in virtual time: nodes in three regions, every batch lost with
// a probability. It is a function of its seed.
type sim struct {
	t        *testing.T
	rng      *rand.Rand
	loss     float64
	machines []*Machine
	now      time.Duration
	queue    simQueue
	order    int             // breaks ties by order of creation
	trace    hash.Hash64     // of every effect; nil: none is kept
	hops     map[simSeen]int // of every changeset that a node made or delivered
	from     map[simSeen]int // who sent it first
	copies   int
	ticks    map[int]time.Duration // of each node, the next
}

type simSeen struct {
	node int
	id   changeset.ID
}

type simEvent struct {
	at    time.Duration
	order int
	node  int
	ev    Event
	hops  int // of a Received: those of its sender and one more
}

type simQueue []simEvent

func (q simQueue) Len() int { return len(q) }
func (q simQueue) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].order < q[j].order
}
func (q simQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *simQueue) Push(x any)   { *q = append(*q, x.(simEvent)) }
func (q *simQueue) Pop() any {
	old := *q
	last := old[len(old)-1]
	*q = old[:len(old)-1]
	return last
}

func simActor(i int) (a changeset.ActorID) { a[0], a[1], a[15] = byte(i), byte(i>>8), 1; return a }

func simNode(a changeset.ActorID) int { return int(a[0]) | int(a[1])<<8 }

// oneWay is the latency between two nodes by their regions.
func oneWay(a, b int) time.Duration {
	distance := max(a%3-b%3, b%3-a%3)
	return [...]time.Duration{time.Millisecond, 30 * time.Millisecond, 100 * time.Millisecond}[distance]
}

func newSim(t *testing.T, nodes int, loss float64, seed uint64) *sim {
	s := &sim{t: t, rng: rand.New(rand.NewPCG(seed, 3)), loss: loss, hops: map[simSeen]int{}, from: map[simSeen]int{}, ticks: map[int]time.Duration{}}
	for i := range nodes {
		m := NewMachine(MachineConfig{Self: simActor(i), Seed: s.rng.Uint64()})
		for j := range nodes {
			m.Handle(t0, PeerUp{simActor(j), 2 * oneWay(i, j)})
		}
		s.machines = append(s.machines, m)
	}
	return s
}

func (s *sim) at(after time.Duration, node int, ev Event, hops int) {
	s.order++
	heap.Push(&s.queue, simEvent{s.now + after, s.order, node, ev, hops})
}

// run handles every event.
func (s *sim) run() {
	for s.queue.Len() > 0 {
		e := heap.Pop(&s.queue).(simEvent)
		s.now = e.at
		switch ev := e.ev.(type) {
		case Local:
			s.hops[simSeen{e.node, ev.Item.ID()}] = 0
		case Received:
			s.copies++
			k := simSeen{e.node, ev.Item.ID()}
			if _, ok := s.from[k]; !ok {
				s.from[k] = simNode(ev.From)
			}
			if ev.Item.Actor == simActor(e.node) {
				s.t.Errorf("node %d was sent its own %v", e.node, ev.Item.Version)
			}
		}
		for _, effect := range s.machines[e.node].Handle(t0.Add(s.now), e.ev) {
			if s.trace != nil {
				fmt.Fprintln(s.trace, s.now, e.node, showEffect(effect))
			}
			switch effect := effect.(type) {
			case Deliver:
				s.deliver(e, effect)
			case Send:
				s.send(e, effect)
			}
		}
		s.tick(e.node)
	}
}

// tick sees to it that a node has its next Tick. One that comes too early does nothing.
func (s *sim) tick(node int) {
	next := s.machines[node].Next()
	if at := next.Sub(t0); !next.IsZero() && (s.ticks[node] <= s.now || at < s.ticks[node]) {
		s.ticks[node] = max(at, s.now+1)
		s.at(s.ticks[node]-s.now, node, Tick{}, 0)
	}
}

func (s *sim) deliver(e simEvent, d Deliver) {
	k := simSeen{e.node, d.Item.ID()}
	if _, ok := s.hops[k]; ok {
		s.t.Errorf("node %d delivers %v twice", e.node, k.id.Version)
	}
	s.hops[k] = e.hops
}

func (s *sim) send(e simEvent, x Send) {
	to := simNode(x.To)
	for _, it := range x.Items {
		if from, ok := s.from[simSeen{e.node, it.ID()}]; x.To == it.Actor || ok && to == from {
			s.t.Errorf("node %d sends version %d of %d back to %d", e.node, it.Version, simNode(it.Actor), to)
		}
	}
	if s.rng.Float64() < s.loss {
		s.at(50*time.Millisecond, e.node, Failed{x.To, x.Batch}, 0)
		return
	}
	s.at(time.Millisecond, e.node, Sent{x.To, x.Batch}, 0)
	if len(x.Have) > 0 {
		s.at(oneWay(e.node, to), to, Announced{simActor(e.node), x.Have}, 0)
	}
	if len(x.Want) > 0 {
		s.at(oneWay(e.node, to), to, Wanted{simActor(e.node), x.Want}, 0)
	}
	for _, it := range x.Items {
		hops, ok := s.hops[simSeen{e.node, it.ID()}]
		if !ok {
			hops = e.hops // being forwarded, before it is delivered
		}
		s.at(oneWay(e.node, to), to, Received{simActor(e.node), it}, hops+1)
	}
}

// publish makes every node write that many versions, at random times.
func (s *sim) publish(versions int) {
	for i := range s.machines {
		for v := 1; v <= versions; v++ {
			it := Item{Packed: make([]byte, 100+s.rng.IntN(2000))}
			it.Actor, it.Version = simActor(i), changeset.Version(v)
			s.at(time.Duration(s.rng.Int64N(int64(2*time.Second))), i, Local{it}, 0)
		}
	}
}

// waiting counts what is in queues.
func (s *sim) waiting() (n int) {
	for _, m := range s.machines {
		for _, q := range m.Queues() {
			n += q.Depth
		}
	}
	return n
}

func TestEverybodyGetsEverything(t *testing.T) {
	for _, tc := range []struct{ nodes, hops int }{{3, 2}, {7, 2}, {20, 6}, {50, 8}} {
		for seed := uint64(1); seed <= 3; seed++ {
			s := newSim(t, tc.nodes, 0, seed)
			versions := 150 / tc.nodes
			s.publish(versions)
			s.run()
			total := tc.nodes * versions
			if want := tc.nodes * total; len(s.hops) != want {
				t.Errorf("%d nodes, seed %d: %d of %d arrived", tc.nodes, seed, len(s.hops), want)
			}
			most := 0
			for _, h := range s.hops {
				most = max(most, h)
			}
			if most > tc.hops {
				t.Errorf("%d nodes, seed %d: %d hops", tc.nodes, seed, most)
			}
			copies := float64(s.copies) / float64(total*(tc.nodes-1))
			if copies > 6.4 {
				t.Errorf("%d nodes, seed %d: %.2f copies per node", tc.nodes, seed, copies)
			}
			if n := s.waiting(); n > 0 {
				t.Errorf("%d nodes, seed %d: %d items are left in queues", tc.nodes, seed, n)
			}
			t.Logf("%d nodes: at most %d hops, %.2f copies per node", tc.nodes, most, copies)
		}
	}
}

func TestLossIsSurvivedByMost(t *testing.T) {
	s := newSim(t, 50, 0.20, 1)
	s.publish(3)
	s.run()
	if part := float64(len(s.hops)) / (50 * 50 * 3); part < 0.99 {
		t.Errorf("%.2f %% arrived", 100*part)
	}
}

func TestSimulationIsDeterministic(t *testing.T) {
	traces := map[uint64]bool{}
	for range 2 {
		for seed := uint64(1); seed <= 2; seed++ {
			s := newSim(t, 20, 0.1, seed)
			s.trace = fnv.New64a()
			s.publish(5)
			s.run()
			traces[s.trace.Sum64()] = true
		}
	}
	if len(traces) != 2 {
		t.Errorf("two seeds, run twice, have %d traces", len(traces))
	}
}
