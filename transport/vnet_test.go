package transport

import (
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"
	"time"
)

// vnet is a packet network in memory. It uses only timers and channels, so it
// runs inside a synctest bubble.
type vnet struct {
	latency time.Duration // one way

	mu    sync.Mutex
	rng   *rand.Rand
	loss  float64
	cut   func(from, to netip.AddrPort) bool // nil: nothing is cut
	nodes map[netip.AddrPort]*vconn
}

func newVnet(seed uint64, latency time.Duration, loss float64) *vnet {
	return &vnet{latency: latency, loss: loss, rng: rand.New(rand.NewPCG(seed, 1)), nodes: map[netip.AddrPort]*vconn{}}
}

const vnetMTU = 1472

type vpacket struct {
	data []byte
	from *net.UDPAddr
}

type vconn struct {
	net     *vnet
	addr    netip.AddrPort
	packets chan vpacket
	closed  chan struct{}
	once    sync.Once

	mu       sync.Mutex
	deadline time.Time
	changed  chan struct{}
}

func (n *vnet) listen(addr netip.AddrPort) *vconn {
	c := &vconn{net: n, addr: addr, packets: make(chan vpacket, 4096), closed: make(chan struct{}), changed: make(chan struct{}, 1)}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.nodes[addr] = c
	return c
}

func (n *vnet) setLoss(p float64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.loss = p
}

func (n *vnet) setCut(f func(from, to netip.AddrPort) bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut = f
}

// route returns where a packet arrives, or nil if it is lost.
func (n *vnet) route(from, to netip.AddrPort) *vconn {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cut != nil && n.cut(from, to) || n.rng.Float64() < n.loss {
		return nil
	}
	return n.nodes[to]
}

func (c *vconn) WriteTo(b []byte, to net.Addr) (int, error) {
	select {
	case <-c.closed:
		return 0, net.ErrClosed
	default:
	}
	if len(b) > vnetMTU {
		return len(b), nil
	}
	p := vpacket{slices.Clone(b), net.UDPAddrFromAddrPort(c.addr)}
	target := unmap(to.(*net.UDPAddr).AddrPort())
	time.AfterFunc(c.net.latency, func() {
		if d := c.net.route(c.addr, target); d != nil {
			select {
			case d.packets <- p:
			default:
			}
		}
	})
	return len(b), nil
}

func (c *vconn) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		c.mu.Lock()
		deadline := c.deadline
		c.mu.Unlock()
		var expired <-chan time.Time
		if !deadline.IsZero() {
			d := time.Until(deadline)
			if d <= 0 {
				return 0, nil, os.ErrDeadlineExceeded
			}
			expired = time.After(d)
		}
		select {
		case p := <-c.packets:
			return copy(b, p.data), p.from, nil
		case <-c.closed:
			return 0, nil, net.ErrClosed
		case <-expired:
			return 0, nil, os.ErrDeadlineExceeded
		case <-c.changed:
		}
	}
}

func (c *vconn) Close() error {
	c.once.Do(func() {
		close(c.closed)
		c.net.mu.Lock()
		defer c.net.mu.Unlock()
		if c.net.nodes[c.addr] == c {
			delete(c.net.nodes, c.addr)
		}
	})
	return nil
}

func (c *vconn) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(c.addr) }

func (c *vconn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	c.deadline = t
	c.mu.Unlock()
	select {
	case c.changed <- struct{}{}:
	default:
	}
	return nil
}

func (c *vconn) SetDeadline(t time.Time) error    { return c.SetReadDeadline(t) }
func (c *vconn) SetWriteDeadline(time.Time) error { return nil }
func (c *vconn) SetReadBuffer(int) error          { return nil }
func (c *vconn) SetWriteBuffer(int) error         { return nil }

func vaddr(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 8787)
}

func TestVnetDeliversToTheRightNode(t *testing.T) {
	n := newVnet(1, 0, 0)
	a, b := n.listen(vaddr(1)), n.listen(vaddr(2))
	defer a.Close()
	defer b.Close()
	a.WriteTo([]byte("x"), b.LocalAddr())
	buf := make([]byte, 10)
	m, from, err := b.ReadFrom(buf)
	if err != nil || string(buf[:m]) != "x" || from.String() != a.LocalAddr().String() {
		t.Fatalf("got %q from %v, %v", buf[:m], from, err)
	}
}
