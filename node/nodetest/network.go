package nodetest

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// MTU is the largest UDP payload that the network carries; larger packets
// vanish, as on a path that does not fragment.
const MTU = 1472

// Link is how the path between two nodes behaves, in each direction.
type Link struct {
	Latency   time.Duration // one way
	Jitter    time.Duration // at most this much more, at random for each packet: packets overtake
	Loss      float64       // 0 to 1
	Duplicate float64       // 0 to 1: share of packets that arrive twice
}

// Counts are totals of a network's packets.
type Counts struct {
	Sent, Delivered, Lost, Duplicated uint64
	Overflowed                        uint64 // a receiver's queue was full
}

// Network is a packet network in memory. It uses only timers and channels, so
// that it runs inside a bubble.
type Network struct {
	mu     sync.Mutex
	rng    *rand.Rand
	link   Link
	cuts   map[path]bool
	nats   map[netip.AddrPort]bool
	opened map[path]time.Time // by who is behind NAT: when it last sent to the other
	conns  map[netip.AddrPort]*PacketConn
	counts Counts
}

type path struct{ from, to netip.AddrPort }

// NewNetwork returns a network whose losses follow seed.
func NewNetwork(seed uint64, link Link) *Network {
	return &Network{
		rng: rand.New(rand.NewPCG(seed, 1)), link: link,
		cuts: map[path]bool{}, nats: map[netip.AddrPort]bool{}, opened: map[path]time.Time{}, conns: map[netip.AddrPort]*PacketConn{},
	}
}

// Listen binds addr.
func (n *Network) Listen(addr netip.AddrPort) (*PacketConn, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.conns[addr] != nil {
		return nil, fmt.Errorf("listen on %v: address in use", addr)
	}
	c := newPacketConn(n, addr)
	n.conns[addr] = c
	return c, nil
}

// SetLink changes how every path behaves.
func (n *Network) SetLink(l Link) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.link = l
}

// Cut stops packets from one address to another, also those on their way.
// Packets in the other direction still arrive.
func (n *Network) Cut(from, to netip.AddrPort) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cuts[path{from, to}] = true
}

// natKept is how long a translator lets answers in after a packet went out.
const natKept = 30 * time.Second

// NAT puts an address behind a translator: packets reach it only from where it
// has lately sent some to, and none from who is behind another one, as with those
// that give each destination a port of its own.
func (n *Network) NAT(addr netip.AddrPort) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.nats[addr] = true
}

// Heal undoes every Cut.
func (n *Network) Heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.cuts)
}

// Counts returns the totals so far.
func (n *Network) Counts() Counts {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.counts
}

// send decides what becomes of a packet and returns the delays after which
// copies of it arrive.
func (n *Network) send(size int, from, to netip.AddrPort) (delays []time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.nats[from] {
		n.opened[path{from, to}] = time.Now()
	}
	n.counts.Sent++
	if size > MTU || n.rng.Float64() < n.link.Loss {
		n.counts.Lost++
		return nil
	}
	copies := 1
	if n.rng.Float64() < n.link.Duplicate {
		n.counts.Duplicated++
		copies++
	}
	for range copies {
		d := n.link.Latency
		if n.link.Jitter > 0 {
			d += time.Duration(n.rng.Int64N(int64(n.link.Jitter)))
		}
		delays = append(delays, d)
	}
	return delays
}

// arrive hands a packet to whoever listens at its target now.
func (n *Network) arrive(p packet, to netip.AddrPort) {
	n.mu.Lock()
	defer n.mu.Unlock()
	c := n.conns[to]
	shut := n.nats[to] && (n.nats[p.from] || time.Since(n.opened[path{to, p.from}]) > natKept)
	if c == nil || c.dead.Load() || n.cuts[path{p.from, to}] || shut {
		n.counts.Lost++
		return
	}
	select {
	case c.packets <- p:
		n.counts.Delivered++
	default:
		n.counts.Overflowed++
	}
}

// release forgets c; its address can be bound again.
func (n *Network) release(c *PacketConn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.conns[c.addr] == c {
		delete(n.conns, c.addr)
	}
}

// write sends a copy of b.
func (n *Network) write(b []byte, from, to netip.AddrPort) {
	delays := n.send(len(b), from, to)
	if len(delays) == 0 {
		return
	}
	p := packet{slices.Clone(b), from}
	for _, d := range delays {
		time.AfterFunc(d, func() { n.arrive(p, to) })
	}
}
