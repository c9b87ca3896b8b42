package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/patinadb/patina/changeset"
)

// Transport keeps the links of one node. Its methods may be called from any
// goroutine; those that need the network wait until Run has begun.
type Transport struct {
	cfg     Config
	local   netip.AddrPort
	nonce   [16]byte
	quic    *quic.Transport
	id      keyring
	links   *registry
	fail    *failures
	count   counters
	limiter handshakeLimiter
	strays  strays
	pace    *pacer

	started   atomic.Bool
	ready     chan struct{} // closed when Run listens
	stopped   chan struct{} // closed when Run stops
	duplicate chan struct{} // closed when another process showed this node's actor id
	dupOnce   sync.Once
	ctx       context.Context // of Run; set before ready is closed

	mu      sync.Mutex
	dials   map[netip.AddrPort]*dial
	dialled uint64
	hellos  int  // incoming connections that are still saying hello
	closing bool // no goroutine may be added to wg
	wg      sync.WaitGroup
}

// New checks the configuration and derives the identity. It starts nothing.
func New(cfg Config) (*Transport, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	local, err := addrPort(cfg.Conn.LocalAddr())
	if err != nil {
		return nil, err
	}
	id, err := newIdentity(cfg)
	if err != nil {
		return nil, err
	}
	t := &Transport{
		cfg: cfg, local: local, nonce: newNonce(),
		links:     newRegistry(cfg.Actor),
		fail:      newFailures(cfg.Log),
		ready:     make(chan struct{}),
		stopped:   make(chan struct{}),
		duplicate: make(chan struct{}),
		pace:      newPacer(),
		dials:     map[netip.AddrPort]*dial{},
	}
	t.id.Store(id)
	t.strays.log = cfg.Log
	t.pace.set(cfg.BytesPerSecond, time.Now())
	t.quic = &quic.Transport{
		Conn:                cfg.Conn,
		VerifySourceAddress: func(net.Addr) bool { return t.limiter.exceeded(time.Now()) },
		ConnContext:         t.watchHandshake,
		Tracer:              &t.strays,
	}
	if cfg.ResetKey != ([32]byte{}) {
		key := quic.StatelessResetKey(cfg.ResetKey)
		t.quic.StatelessResetKey = &key
	}
	return t, nil
}

// LocalAddr returns the address of the socket.
func (t *Transport) LocalAddr() netip.AddrPort { return t.local }

// Duplicate is closed once another live process was met, or known to a peer,
// under this node's actor id. The node must take a new one and start a new
// Transport.
func (t *Transport) Duplicate() <-chan struct{} { return t.duplicate }

func (t *Transport) duplicated() { t.dupOnce.Do(func() { close(t.duplicate) }) }

// Run listens until ctx ends, then closes every link with CodeLeaving, closes
// the socket and joins all goroutines. It can be called once. Its error is nil
// after ctx ended; else it says why the socket failed.
func (t *Transport) Run(ctx context.Context) error {
	if !t.started.CompareAndSwap(false, true) {
		return errors.New("transport: Run called twice")
	}
	defer close(t.stopped)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	t.ctx = ctx
	listener, err := t.quic.Listen(t.id.tls(), quicConfig())
	if err != nil {
		return errors.Join(fmt.Errorf("transport: listen on %s: %w", t.local, err), t.quic.Close(), t.cfg.Conn.Close())
	}
	quiet := make(chan struct{})
	var last sync.WaitGroup
	n := &notifier{links: t.links, handler: t.cfg.Handler, announced: map[changeset.ActorID]uint64{}}
	last.Go(func() { n.run(quiet) })
	t.spawn(func() { t.sample(ctx) })
	t.spawn(func() { t.readStrays(ctx) })
	close(t.ready)

	err = t.acceptLoop(ctx, listener)
	cancel()
	t.shut(listener)
	close(quiet)
	last.Wait()
	return errors.Join(err, t.quic.Close(), closeConn(t.cfg.Conn))
}

// shut is the shutdown order: no new goroutine, no new connection, every link
// closed with a word, all goroutines joined.
func (t *Transport) shut(listener *quic.Listener) {
	t.mu.Lock()
	t.closing = true
	t.mu.Unlock()
	conns := t.links.shut()
	listener.Close()
	for _, c := range conns {
		c.CloseWithError(quic.ApplicationErrorCode(CodeLeaving), "")
	}
	t.wg.Wait()
}

func closeConn(c net.PacketConn) error {
	if err := c.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("transport: close socket: %w", err)
	}
	return nil
}

// spawn runs f on a goroutine that Run joins; false after Run began to stop.
func (t *Transport) spawn(f func()) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closing {
		return false
	}
	t.wg.Go(f)
	return true
}

// refuse ends a connection that became no link, and counts why.
func (t *Transport) refuse(conn *quic.Conn, addr netip.AddrPort, err error) *LinkError {
	e := linkError(err, addr, changeset.ActorID{})
	conn.CloseWithError(onWire(e.Code), e.Reason)
	t.settle(e)
	return e
}

// settle counts and logs an end. What follows from the stop of this node is no
// failure.
func (t *Transport) settle(e *LinkError) {
	if t.ctx.Err() != nil {
		return
	}
	if e.Code == CodeDuplicateActor && e.Remote {
		t.duplicated()
	}
	t.fail.record(e, time.Now())
}

// attach registers a link and serves it until it ends. registered, if not nil,
// is called once others can use the link.
func (t *Transport) attach(ctx context.Context, l *link, registered func()) error {
	l.pace, l.membership = t.pace, t.cfg.Membership
	up, ok := t.links.add(l, time.Now())
	for !ok {
		if err := t.contest(ctx, l.peer.actor, l.peer.nonce); err != nil {
			return err
		}
		up, ok = t.links.add(l, time.Now())
	}
	if registered != nil {
		registered()
	}
	// The identity may have changed since the handshake, before PrepareIdentity's
	// use could see the link.
	if err := t.id.Load().verify(l.conn.ConnectionState().TLS); err != nil {
		l.close(CodeRevoked, err.Error())
	}
	var wg sync.WaitGroup
	wg.Go(func() { l.sendDatagrams(l.conn.Context()) })
	wg.Go(func() {
		select {
		case <-up:
			l.serve(t.cfg.Handler, &t.count)
		case <-l.conn.Context().Done():
		}
	})
	t.supervise(l)
	t.links.remove(l, time.Now())
	t.settle(linkError(context.Cause(l.conn.Context()), l.addr, l.peer.actor))
	wg.Wait()
	return nil
}

// supervise returns when the link has ended, and ends it after its drain if
// another was preferred.
func (t *Transport) supervise(l *link) {
	timer := time.NewTimer(drainMax)
	defer timer.Stop()
	for {
		select {
		case <-l.conn.Context().Done():
			return
		case <-l.kick:
		case <-timer.C:
		}
		over, again := t.links.drained(l, time.Now())
		if over {
			l.close(CodeSuperseded, "")
			return
		}
		if again > 0 {
			timer.Reset(again)
		}
	}
}

func (t *Transport) sample(ctx context.Context) {
	tick := time.NewTicker(samplePeriod)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			t.pace.charge(t.links.sample(now), now)
			t.strays.report(now)
		}
	}
}
