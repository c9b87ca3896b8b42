package nodetest

import (
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// receiveQueue is how many packets wait in a socket; more are lost.
const receiveQueue = 4096

type packet struct {
	data []byte
	from netip.AddrPort
}

// PacketConn is a socket of a Network.
type PacketConn struct {
	network *Network
	addr    netip.AddrPort
	packets chan packet
	closed  chan struct{}
	once    sync.Once
	dead    atomic.Bool

	mu       sync.Mutex
	deadline time.Time
	changed  chan struct{} // capacity 1: deadline moved
}

var _ net.PacketConn = (*PacketConn)(nil)

func newPacketConn(n *Network, addr netip.AddrPort) *PacketConn {
	return &PacketConn{
		network: n, addr: addr, packets: make(chan packet, receiveQueue),
		closed: make(chan struct{}), changed: make(chan struct{}, 1),
	}
}

// Kill makes the socket silent in both directions, for good, while its owner
// does not notice: what the world sees of a process that dies.
func (c *PacketConn) Kill() { c.dead.Store(true) }

// WriteTo implements net.PacketConn.
func (c *PacketConn) WriteTo(b []byte, to net.Addr) (int, error) {
	select {
	case <-c.closed:
		return 0, net.ErrClosed
	default:
	}
	if !c.dead.Load() {
		c.network.write(b, c.addr, addrPort(to))
	}
	return len(b), nil
}

// ReadFrom implements net.PacketConn.
func (c *PacketConn) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		p, ok, err := c.next()
		if err != nil {
			return 0, nil, err
		}
		if ok {
			return copy(b, p.data), net.UDPAddrFromAddrPort(p.from), nil
		}
	}
}

// next waits for a packet; neither a packet nor an error means that the
// deadline was moved.
func (c *PacketConn) next() (p packet, ok bool, err error) {
	c.mu.Lock()
	deadline := c.deadline
	c.mu.Unlock()
	var expired <-chan time.Time
	if !deadline.IsZero() {
		timer := time.NewTimer(time.Until(deadline))
		defer timer.Stop()
		expired = timer.C
	}
	select {
	case p = <-c.packets:
		return p, true, nil
	case <-c.closed:
		return p, false, net.ErrClosed
	case <-expired:
		return p, false, os.ErrDeadlineExceeded
	case <-c.changed:
		return p, false, nil
	}
}

// Close implements net.PacketConn.
func (c *PacketConn) Close() error {
	c.once.Do(func() {
		close(c.closed)
		c.network.release(c)
	})
	return nil
}

// LocalAddr implements net.PacketConn.
func (c *PacketConn) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(c.addr) }

// SetReadDeadline implements net.PacketConn.
func (c *PacketConn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	c.deadline = t
	c.mu.Unlock()
	select {
	case c.changed <- struct{}{}:
	default:
	}
	return nil
}

// SetDeadline implements net.PacketConn. Writes never wait.
func (c *PacketConn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

// SetWriteDeadline implements net.PacketConn. Writes never wait.
func (c *PacketConn) SetWriteDeadline(time.Time) error { return nil }

// SetReadBuffer keeps QUIC from warning that it cannot set one.
func (c *PacketConn) SetReadBuffer(int) error { return nil }

// SetWriteBuffer keeps QUIC from warning that it cannot set one.
func (c *PacketConn) SetWriteBuffer(int) error { return nil }

func addrPort(a net.Addr) netip.AddrPort {
	u, ok := a.(*net.UDPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	p := u.AddrPort()
	return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
}
