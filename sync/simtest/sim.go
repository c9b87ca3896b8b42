package simtest

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/sync/broadcast"
)

// epoch is when virtual time begins, for the machines.
var epoch = time.Unix(1_000_000, 0)

// sim is one run. Nothing in it depends on the order of a map, and chance comes from
// its two sources alone.
type sim struct {
	cfg    Config
	rand   *rand.Rand // of what happens
	fate   *rand.Rand // of what is planned: nodes, writes, faults, whatever the machines do
	now    time.Duration
	queue  steps
	order  uint64 // of steps, to break ties
	ow     [Regions][Regions]time.Duration
	nodes  []*node // by region
	writes []*write
	byID   map[changeset.ID]*write
	faults uint64 // that have begun
	busy   int    // steps of the cluster's life that are to come: writes and faults
	pushes int    // steps of broadcast that are to come
	repair bool   // anti-entropy runs
	trace  uint64
	out    Result
}

// write is a changeset and how it spread.
type write struct {
	item  broadcast.Item
	index int
	at    time.Duration
	// Of each node: when it had it first (0: not yet), whether anti-entropy brought it.
	got      []time.Duration
	repaired []bool
}

// Run simulates one cluster from its start until all is quiet, and all nodes are equal
// or two minutes have passed.
func Run(cfg Config) Result {
	s := newSim(cfg)
	s.plan()
	s.until(func() bool { return s.busy == 0 && s.repair })
	s.out.Calm = s.now
	if cfg.Repair == AtEnd {
		s.startRepair()
	}
	if cfg.Repair != Never {
		limit := s.now + settles
		s.until(func() bool { return s.equal() || s.now > limit })
		s.out.Equal = s.now
		limit = s.now + settles
		s.until(func() bool { return s.pushes == 0 || s.now > limit })
	}
	s.judge()
	return s.out
}

func newSim(cfg Config) *sim {
	cfg.Regions = cmp.Or(cfg.Regions, Regions)
	cfg.Size = cmp.Or(cfg.Size, 1000)
	cfg.Every = cmp.Or(cfg.Every, 100*time.Millisecond)
	s := &sim{cfg: cfg, out: Result{Config: cfg}, rand: rand.New(rand.NewPCG(cfg.Seed, 6)), fate: rand.New(rand.NewPCG(cfg.Seed, 7)), ow: latencies(), byID: map[changeset.ID]*write{}}
	offset := s.fate.Float64()
	for i := range cfg.Nodes {
		s.nodes = append(s.nodes, s.newNode(i, regionAt((float64(i)+offset)/float64(cfg.Nodes), cfg.Regions)))
	}
	sorted := slices.SortedFunc(slices.Values(s.nodes), func(a, b *node) int { return a.actor.Compare(b.actor) })
	for _, n := range s.nodes {
		n.boot()
		for _, p := range sorted {
			if p != n {
				n.linked[p.index] = true
				n.push(broadcast.PeerUp{Peer: p.actor, RTT: s.rtt(n, p)})
			}
		}
	}
	if cfg.Repair == Always {
		s.startRepair()
	}
	return s
}

// plan decides when nodes write and what befalls them.
func (s *sim) plan() {
	// The writers come from all regions by their shares, however few writes there are.
	at, place := time.Second, s.fate.Float64()
	for i := range s.cfg.Writes {
		at += time.Duration(s.fate.ExpFloat64() * float64(s.cfg.Every))
		_, place = math.Modf(place + 1/math.Phi)
		n := s.nodes[int(place*float64(len(s.nodes)))]
		s.live(at, func() { s.write(i, n) })
	}
	for _, f := range s.cfg.Faults {
		s.live(time.Second+f.At, func() { s.begin(f) })
	}
}

// live schedules a step that the run waits for.
func (s *sim) live(after time.Duration, do func()) {
	s.busy++
	s.after(after, func() { s.busy--; do() })
}

// write lets a node commit a changeset, or the next one that is up.
func (s *sim) write(index int, n *node) {
	for i := 0; n.down && i < len(s.nodes); i++ {
		n = s.nodes[(n.index+1)%len(s.nodes)]
	}
	if n.down {
		return
	}
	size := s.cfg.Size
	if s.cfg.Large > 0 && s.fate.Float64() < s.cfg.Large {
		size = LargeSize
	}
	n.made++
	w := &write{index: index, at: s.now, got: make([]time.Duration, len(s.nodes)), repaired: make([]bool, len(s.nodes))}
	w.item.Actor, w.item.Version = n.actor, n.made
	w.item.Hash = hashOf(w.item.ID())
	w.item.Data = make([]byte, size) // its content is nobody's business
	w.item.Packed = w.item.Data
	s.writes = append(s.writes, w)
	s.byID[w.item.ID()] = w
	n.hold(w, false)
	n.push(broadcast.Local{Item: w.item})
}

// hashOf stands for the hash of a changeset's bytes.
func hashOf(id changeset.ID) (h changeset.Hash) {
	copy(h[:], id.Actor[:])
	binary.LittleEndian.PutUint64(h[16:], uint64(id.Version))
	return h
}

// equal reports whether everybody has everything.
func (s *sim) equal() bool { return s.out.Held == len(s.writes)*len(s.nodes) }

// maxBreaches bounds what a run remembers of broken rules; it ends with the last.
const maxBreaches = 10

// breach notes that a rule was broken.
func (s *sim) breach(format string, args ...any) {
	if len(s.out.Breaches) < maxBreaches {
		s.out.Breaches = append(s.out.Breaches, fmt.Sprintf("at %v: ", s.now)+fmt.Sprintf(format, args...))
	}
}

// note takes something into the hash of the run.
func (s *sim) note(words ...uint64) {
	for _, w := range words {
		s.trace = (s.trace<<5 | s.trace>>59) ^ w
		s.trace *= 0x9e3779b97f4a7c15
	}
}

// step is something that happens at a time.
type step struct {
	at    time.Duration
	order uint64
	do    func()
}

func (a *step) before(b *step) bool { return a.at < b.at || a.at == b.at && a.order < b.order }

// steps is a binary heap.
type steps []step

func (q *steps) push(x step) {
	h := append(*q, x)
	*q = h
	for i := len(h) - 1; i > 0 && h[i].before(&h[(i-1)/2]); i = (i - 1) / 2 {
		h[i], h[(i-1)/2] = h[(i-1)/2], h[i]
	}
}

func (q *steps) pop() step {
	h := *q
	first, last := h[0], len(h)-1
	h[0], h[last] = h[last], step{}
	h = h[:last]
	*q = h
	for i := 0; ; {
		child := 2*i + 1
		if child+1 < len(h) && h[child+1].before(&h[child]) {
			child++
		}
		if child >= len(h) || !h[child].before(&h[i]) {
			return first
		}
		h[i], h[child] = h[child], h[i]
		i = child
	}
}

// after lets something happen after a time.
func (s *sim) after(d time.Duration, do func()) {
	s.order++
	s.queue.push(step{s.now + max(d, 0), s.order, do})
}

// pushAfter is after, for broadcast at n: what is void when the process ends.
func (n *node) pushAfter(d time.Duration, do func()) {
	s, life := n.sim, n.life
	s.pushes++
	s.after(d, func() {
		s.pushes--
		if n.life == life && !n.down {
			do()
		}
	})
}

// until lets time pass until enough is true, nothing is left to happen, or so many rules
// were broken that the run may have no end.
func (s *sim) until(enough func() bool) {
	for len(s.queue) > 0 && len(s.out.Breaches) < maxBreaches && !enough() {
		x := s.queue.pop()
		s.now = x.at
		x.do()
	}
}

// time returns what a node's clock shows.
func (s *sim) time() time.Time { return epoch.Add(s.now) }

// actorOf returns the actor of a node: its place in their order is random.
func (s *sim) actorOf(index int) (a changeset.ActorID) {
	binary.BigEndian.PutUint64(a[:], s.fate.Uint64())
	binary.BigEndian.PutUint32(a[12:], uint32(index)+1)
	return a
}

// of returns the node of an actor.
func (s *sim) of(a changeset.ActorID) *node {
	n := s.nodes[binary.BigEndian.Uint32(a[12:])-1]
	if !bytes.Equal(n.actor[:], a[:]) {
		panic("simtest: an actor that is no node's")
	}
	return n
}

func (s *sim) word(id changeset.ID) uint64 {
	return uint64(s.of(id.Actor).index)<<40 | uint64(id.Version)
}
