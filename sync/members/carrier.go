package members

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/patinadb/patina/changeset"
)

// Limits of what waits between the links and the library.
const (
	packetQueue  = 256
	streamsLimit = 64 // incoming streams that are open at a time
)

var errClosed = errors.New("members: shut down")

// directory is what a carrier must know of the members.
type directory interface {
	// address returns where an actor is reached, the zero value if not known.
	address(actor changeset.ActorID) netip.AddrPort
	// admits reports whether no later process of the actor is known.
	admits(actor changeset.ActorID, epoch uint64) bool
	// guard returns a stream on which nothing comes but what nodes of ours send.
	guard(peer changeset.ActorID, conn net.Conn, incoming bool) net.Conn
}

// carrier is the library's transport over Links. Until the end, nothing that the
// library calls to send a packet blocks or fails: a packet that cannot go is lost,
// as on any network. (A probe whose write fails counts as neither answered nor
// missed, so a dead peer would never be suspected. At the end that ends it.)
type carrier struct {
	links   Links
	self    netip.AddrPort
	label   string
	known   directory
	queue   chan *memberlist.Packet // from the links
	packets chan *memberlist.Packet // unbuffered: what was sent, the library handles
	streams chan net.Conn           // unbuffered: the library starts a goroutine for each
	dials   *dialer
	ctx     context.Context // ends when the library shuts down
	cancel  context.CancelFunc

	packetsDropped atomic.Uint64
	streamsDropped atomic.Uint64

	mu       sync.Mutex
	open     map[*trackedConn]struct{} // nil once closed
	incoming int                       // of open
	pings    lastPings
}

var _ memberlist.NodeAwareTransport = (*carrier)(nil)

func newCarrier(links Links, self netip.AddrPort, label string, known directory) *carrier {
	ctx, cancel := context.WithCancel(context.Background())
	return &carrier{
		links:   links,
		self:    self,
		known:   known,
		label:   label,
		queue:   make(chan *memberlist.Packet, packetQueue),
		packets: make(chan *memberlist.Packet),
		streams: make(chan net.Conn),
		dials:   newDialer(ctx, links),
		ctx:     ctx,
		cancel:  cancel,
		open:    map[*trackedConn]struct{}{},
	}
}

// FinalAdvertiseAddr implements memberlist.Transport.
func (c *carrier) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	return net.IP(c.self.Addr().Unmap().AsSlice()), int(c.self.Port()), nil
}

// WriteTo implements memberlist.Transport.
func (c *carrier) WriteTo(b []byte, addr string) (time.Time, error) {
	return c.WriteToAddress(b, memberlist.Address{Addr: addr})
}

// WriteToAddress sends to the actor that the name gives, over whatever link there
// is to it, so that a node which can only dial out is reached. Without a link, or
// without a name, the address is called in the background.
func (c *carrier) WriteToAddress(b []byte, to memberlist.Address) (time.Time, error) {
	now := time.Now() // the library measures round-trip times from it
	c.mu.Lock()
	if c.open == nil {
		c.mu.Unlock()
		return now, errClosed
	}
	c.pings.add(b)
	c.mu.Unlock()
	actor, epoch, named := parseName(to.Name)
	if named {
		if !c.known.admits(actor, epoch) {
			return now, nil // a process that was replaced: its name must die out
		}
		if err := c.links.SendDatagram(actor, b); !errors.Is(err, ErrNoLink) {
			return now, nil
		}
	}
	if addr, err := netip.ParseAddrPort(to.Addr); err == nil {
		c.dials.packet(addr, actor, b)
	}
	return now, nil
}

// PacketCh implements memberlist.Transport.
func (c *carrier) PacketCh() <-chan *memberlist.Packet { return c.packets }

// StreamCh implements memberlist.Transport.
func (c *carrier) StreamCh() <-chan net.Conn { return c.streams }

// DialTimeout implements memberlist.Transport.
func (c *carrier) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	return c.DialAddressTimeout(memberlist.Address{Addr: addr}, timeout)
}

// DialAddressTimeout opens a stream; unlike packets it may block.
func (c *carrier) DialAddressTimeout(to memberlist.Address, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(c.ctx, timeout)
	defer cancel()
	conn, err := c.dial(ctx, to)
	if err != nil {
		return nil, err
	}
	t := c.track(conn, false)
	if t == nil {
		conn.Close()
		return nil, errClosed
	}
	return t, nil
}

func (c *carrier) dial(ctx context.Context, to memberlist.Address) (net.Conn, error) {
	actor, epoch, named := parseName(to.Name)
	if named {
		if !c.known.admits(actor, epoch) {
			return nil, fmt.Errorf("members: %s was replaced by a later process", to.Name)
		}
		if conn, err := c.openStream(ctx, actor); !errors.Is(err, ErrNoLink) {
			return conn, err
		}
	}
	addr, err := netip.ParseAddrPort(to.Addr)
	if err != nil {
		return nil, fmt.Errorf("members: address of %s: %w", to.Name, err)
	}
	found, err := c.dials.connect(ctx, addr)
	if err != nil {
		return nil, err
	}
	if named && found != actor {
		return nil, fmt.Errorf("members: %s lives at %s, not %s", found, addr, actor)
	}
	return c.openStream(ctx, found)
}

func (c *carrier) openStream(ctx context.Context, to changeset.ActorID) (net.Conn, error) {
	conn, err := c.links.OpenStream(ctx, to)
	if err != nil {
		return nil, err
	}
	return c.known.guard(to, conn, false), nil
}

// pump hands queued packets to the library until the end.
func (c *carrier) pump() {
	for {
		select {
		case <-c.ctx.Done():
			return
		case p := <-c.queue:
			select {
			case <-c.ctx.Done():
				return
			case c.packets <- p:
			}
		}
	}
}

// Shutdown implements memberlist.Transport: it ends every stream and every dial and
// answers the pings that wait, so that the library's goroutines end at once. The
// library still reads packets when it calls this.
func (c *carrier) Shutdown() error {
	c.cancel()
	c.mu.Lock()
	open := c.open
	c.open = nil
	c.mu.Unlock()
	for t := range open {
		t.Close()
	}
	c.dials.close()
	for _, ack := range c.pings.acks(c.label) { // nothing is added any more
		c.packets <- &memberlist.Packet{Buf: ack, From: c.addr(changeset.ActorID{}), Timestamp: time.Now()}
	}
	return nil
}

// ended reports whether Shutdown was called.
func (c *carrier) ended() bool { return c.ctx.Err() != nil }

// datagram queues a peer's packet; when the queue is full, the packet is lost.
func (c *carrier) datagram(from changeset.ActorID, b []byte) {
	p := &memberlist.Packet{Buf: b, From: c.addr(from), Timestamp: time.Now()}
	select {
	case c.queue <- p:
	default:
		c.packetsDropped.Add(1)
	}
}

// stream gives a peer's stream to the library and returns when the library has
// closed it. When too many are open, it is refused.
func (c *carrier) stream(conn net.Conn) {
	t := c.track(conn, true)
	if t == nil {
		c.streamsDropped.Add(1)
		conn.Close()
		return
	}
	select {
	case c.streams <- t:
		<-t.closed
	case <-c.ctx.Done():
		t.Close()
	}
}

// addr is the address that the library sees on a peer's packets.
func (c *carrier) addr(actor changeset.ActorID) net.Addr {
	if a := c.known.address(actor); a.IsValid() {
		return net.UDPAddrFromAddrPort(a)
	}
	return &net.UDPAddr{IP: net.IPv4zero}
}

// trackedConn is a stream that Shutdown can end.
type trackedConn struct {
	net.Conn
	carrier  *carrier
	incoming bool
	once     sync.Once
	closed   chan struct{}
}

// track returns nil after Shutdown, or when there is no room for an incoming one.
func (c *carrier) track(conn net.Conn, incoming bool) *trackedConn {
	t := &trackedConn{Conn: conn, carrier: c, incoming: incoming, closed: make(chan struct{})}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open == nil || incoming && c.incoming >= streamsLimit {
		return nil
	}
	c.open[t] = struct{}{}
	if incoming {
		c.incoming++
	}
	return t
}

// Close implements net.Conn.
func (t *trackedConn) Close() (err error) {
	t.once.Do(func() {
		t.carrier.mu.Lock()
		delete(t.carrier.open, t)
		if t.incoming {
			t.carrier.incoming--
		}
		t.carrier.mu.Unlock()
		err = t.Conn.Close()
		close(t.closed)
	})
	return err
}
