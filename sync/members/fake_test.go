package members

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/patinadb/patina/changeset"
)

// fakeNet joins nodes by links that have a delay and lose datagrams. It uses timers
// and channels only, so that it runs in a synctest bubble.
type fakeNet struct {
	t       *testing.T
	oneWay  time.Duration
	mu      sync.Mutex
	loss    float64
	rng     *rand.Rand
	cut     func(a, b netip.AddrPort) bool // partition
	nodes   map[netip.AddrPort]*fakeNode   // that run
	running sync.WaitGroup
	limit   int  // in the place of MaxMembers, if not 0
	mute    bool // links give no sign of life
	resolve func(host string) ([]netip.Addr, error)
}

type fakeNode struct {
	net     *fakeNet
	actor   changeset.ActorID
	addr    netip.AddrPort
	members *Members
	stop    context.CancelFunc
	ended   chan struct{}
	up      bool
	links   map[changeset.ActorID]*fakeNode

	log lockedBuffer // warnings

	mu      sync.Mutex
	events  []Event
	digests map[changeset.ActorID][32]byte
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newFakeNet(t *testing.T, oneWay time.Duration, loss float64) *fakeNet {
	return &fakeNet{t: t, oneWay: oneWay, loss: loss, rng: rand.New(rand.NewPCG(1, 2)),
		cut: func(a, b netip.AddrPort) bool { return false }, nodes: map[netip.AddrPort]*fakeNode{}}
}

func testActor(i int) (a changeset.ActorID) {
	a[0], a[6], a[8], a[15] = byte(i), 0x40, 0x80, byte(i)
	return a
}

func testAddr(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), 7000)
}

// start runs actor i at an address, with seeds by number.
func (n *fakeNet) start(i int, epoch uint64, addr netip.AddrPort, seeds ...int) *fakeNode {
	var texts []string
	for _, s := range seeds {
		texts = append(texts, testAddr(s).String())
	}
	return n.startWith(i, epoch, addr, texts...)
}

// startWith is start with seeds by text.
func (n *fakeNet) startWith(i int, epoch uint64, addr netip.AddrPort, texts ...string) *fakeNode {
	node := &fakeNode{net: n, actor: testActor(i), addr: addr, ended: make(chan struct{}), up: true,
		links: map[changeset.ActorID]*fakeNode{}, digests: map[changeset.ActorID][32]byte{}}
	m, err := New(Config{Actor: node.actor, Epoch: epoch, Addr: addr, APIAddr: "api-" + addr.String(), Version: "test",
		Cluster: "cluster", Seeds: texts, Links: node, Log: slog.New(slog.NewTextHandler(&node.log, &slog.HandlerOptions{Level: slog.LevelWarn})),
		Resolve: func(_ context.Context, host string) ([]netip.Addr, error) {
			n.mu.Lock()
			defer n.mu.Unlock()
			return n.resolve(host)
		},
		Digest: func() [32]byte { return [32]byte{byte(i)} }, OnDigest: node.onDigest, OnChange: node.onChange})
	if err != nil {
		n.t.Fatal(err)
	}
	node.members = m
	if n.limit > 0 {
		m.limit = n.limit
	}
	n.mu.Lock()
	for _, other := range n.nodes { // a stateless reset ends what was linked to the earlier process
		delete(other.links, node.actor)
	}
	n.nodes[addr] = node
	n.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	node.stop = cancel
	go func() {
		defer close(node.ended)
		if err := m.Run(ctx); err != nil {
			n.t.Errorf("run: %v", err)
		}
	}()
	return node
}

func (f *fakeNode) onDigest(peer changeset.ActorID, d [32]byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.digests[peer] = d
}

func (f *fakeNode) onChange(e Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.events = append(f.events, e)
}

// kill ends the process without a word; links to it stay black holes for 30 s.
func (f *fakeNode) kill() {
	f.net.mu.Lock()
	f.up = false
	if f.net.nodes[f.addr] == f {
		delete(f.net.nodes, f.addr)
	}
	f.net.mu.Unlock()
	f.stop()
	<-f.ended
	time.AfterFunc(30*time.Second, func() {
		f.net.mu.Lock()
		defer f.net.mu.Unlock()
		for _, other := range f.net.nodes {
			if other.links[f.actor] == f {
				delete(other.links, f.actor)
			}
		}
	})
}

func (n *fakeNet) stopAll() {
	n.mu.Lock()
	var all []*fakeNode
	for _, f := range n.nodes {
		all = append(all, f)
	}
	n.mu.Unlock()
	for _, f := range all {
		f.kill()
	}
	n.running.Wait()
}

// partition cuts every pair for which cut is true; their links die in 30 s.
func (n *fakeNet) partition(cut func(a, b netip.AddrPort) bool) {
	n.mu.Lock()
	n.cut = cut
	n.mu.Unlock()
	time.AfterFunc(30*time.Second, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		for _, f := range n.nodes {
			for actor, other := range f.links {
				if n.cut(f.addr, other.addr) {
					delete(f.links, actor)
				}
			}
		}
	})
}

// passes reports whether a packet arrives now. The caller holds mu.
func (n *fakeNet) passes(a, b *fakeNode) bool {
	return a.up && b.up && !n.cut(a.addr, b.addr) && n.rng.Float64() >= n.loss
}

func (f *fakeNode) SendDatagram(to changeset.ActorID, b []byte) error {
	f.net.mu.Lock()
	defer f.net.mu.Unlock()
	peer := f.links[to]
	if peer == nil {
		return ErrNoLink
	}
	if len(b) > 1200 {
		f.net.t.Errorf("datagram of %d bytes", len(b))
	}
	if f.net.passes(f, peer) {
		time.AfterFunc(f.net.oneWay, func() { peer.members.Datagram(f.actor, b) })
	}
	return nil
}

func (f *fakeNode) Connect(ctx context.Context, addr netip.AddrPort) (changeset.ActorID, error) {
	for {
		f.net.mu.Lock()
		for _, p := range f.links {
			if p.addr == addr {
				f.net.mu.Unlock()
				return p.actor, nil
			}
		}
		peer := f.net.nodes[addr]
		arrives := peer != nil && f.net.passes(f, peer) && f.net.passes(peer, f)
		f.net.mu.Unlock()
		wait := time.Second
		if arrives {
			wait = 2 * f.net.oneWay
		}
		select {
		case <-ctx.Done():
			return changeset.ActorID{}, ctx.Err()
		case <-time.After(wait):
		}
		if arrives {
			f.net.mu.Lock()
			f.links[peer.actor] = peer
			peer.links[f.actor] = f
			f.net.mu.Unlock()
			return peer.actor, nil
		}
	}
}

// Answers is what a link that repeats what is lost would say.
func (f *fakeNode) Answers(actor changeset.ActorID, _ time.Duration) bool {
	f.net.mu.Lock()
	defer f.net.mu.Unlock()
	peer := f.links[actor]
	return peer != nil && !f.net.mute && f.up && peer.up && !f.net.cut(f.addr, peer.addr)
}

func (f *fakeNode) OpenStream(ctx context.Context, to changeset.ActorID) (net.Conn, error) {
	f.net.mu.Lock()
	defer f.net.mu.Unlock()
	peer := f.links[to]
	if peer == nil {
		return nil, ErrNoLink
	}
	a, b := newHalf(), newHalf()
	ours := &fakeConn{from: f, to: peer, in: a, out: b}
	theirs := &fakeConn{from: peer, to: f, in: b, out: a}
	if f.net.passes(f, peer) {
		f.net.running.Go(func() {
			time.Sleep(f.net.oneWay)
			peer.members.Stream(f.actor, theirs)
		})
	}
	return ours, nil
}

// half is one direction of a stream.
type half struct {
	mu     sync.Mutex
	flight [][]byte // in order; a nil entry is the end
	buf    []byte
	ended  bool
	wake   chan struct{}
}

func newHalf() *half { return &half{wake: make(chan struct{}, 1)} }

func (h *half) arrive() {
	h.mu.Lock()
	b := h.flight[0]
	h.flight = h.flight[1:]
	h.ended = h.ended || b == nil
	h.buf = append(h.buf, b...)
	h.mu.Unlock()
	poke(h.wake)
}

type fakeConn struct {
	from, to *fakeNode
	in, out  *half
	mu       sync.Mutex
	deadline time.Time
	closed   bool
}

func (c *fakeConn) Read(b []byte) (int, error) {
	for {
		c.mu.Lock()
		deadline, closed := c.deadline, c.closed
		c.mu.Unlock()
		c.in.mu.Lock()
		n := copy(b, c.in.buf)
		c.in.buf = c.in.buf[n:]
		ended := c.in.ended
		c.in.mu.Unlock()
		switch {
		case closed:
			return 0, net.ErrClosed
		case n > 0:
			return n, nil
		case ended:
			return 0, io.EOF
		}
		timer := time.NewTimer(time.Until(deadline))
		if deadline.IsZero() {
			timer.Reset(time.Hour)
		}
		select {
		case <-c.in.wake:
		case <-timer.C:
			return 0, os.ErrDeadlineExceeded
		}
		timer.Stop()
	}
}

func (c *fakeConn) Write(b []byte) (int, error) {
	c.send(slices.Clone(b))
	return len(b), nil
}

// send delays by one more round trip what a network loses; a cut network keeps it.
func (c *fakeConn) send(b []byte) {
	n := c.from.net
	n.mu.Lock()
	delay := n.oneWay
	if !n.passes(c.from, c.to) {
		delay *= 3
	}
	blocked := !c.from.up || !c.to.up || n.cut(c.from.addr, c.to.addr)
	n.mu.Unlock()
	c.out.mu.Lock()
	c.out.flight = append(c.out.flight, b)
	c.out.mu.Unlock()
	if !blocked {
		time.AfterFunc(delay, c.out.arrive)
	}
}

func (c *fakeConn) Close() error {
	c.mu.Lock()
	was := c.closed
	c.closed = true
	c.mu.Unlock()
	if !was {
		c.send(nil)
		poke(c.in.wake)
	}
	return nil
}

func (c *fakeConn) LocalAddr() net.Addr  { return net.UDPAddrFromAddrPort(c.from.addr) }
func (c *fakeConn) RemoteAddr() net.Addr { return net.UDPAddrFromAddrPort(c.to.addr) }
func (c *fakeConn) SetDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deadline = t
	return nil
}
func (c *fakeConn) SetReadDeadline(t time.Time) error { return c.SetDeadline(t) }
func (c *fakeConn) SetWriteDeadline(time.Time) error  { return nil }
