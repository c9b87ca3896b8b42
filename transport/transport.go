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
	id      *identity
	links   *registry
	fail    *failures
	count   counters
	limiter handshakeLimiter

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
		cfg: cfg, local: local, nonce: newNonce(), id: id,
		links:     newRegistry(cfg.Actor),
		fail:      newFailures(cfg.Log),
		ready:     make(chan struct{}),
		stopped:   make(chan struct{}),
		duplicate: make(chan struct{}),
		dials:     map[netip.AddrPort]*dial{},
	}
	t.quic = &quic.Transport{
		Conn:                cfg.Conn,
		VerifySourceAddress: func(net.Addr) bool { return t.limiter.exceeded(time.Now()) },
		ConnContext:         t.watchHandshake,
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

func (t *Transport) acceptLoop(ctx context.Context, listener *quic.Listener) error {
	for {
		conn, err := listener.Accept(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("transport: accept on %s: %w", t.local, err)
		}
		addr, err := addrPort(conn.RemoteAddr())
		if err == nil {
			err = t.beginHello()
		}
		if err != nil {
			t.refuse(conn, addr, err)
			continue
		}
		t.spawn(func() { t.incoming(ctx, conn, addr) })
	}
}

func (t *Transport) beginHello() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.hellos >= maxHellos {
		return refusal(CodeBusy, "%d handshakes", maxHellos)
	}
	t.hellos++
	return nil
}

func (t *Transport) endHello() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.hellos--
}

// incoming lives as long as a connection that was accepted.
func (t *Transport) incoming(ctx context.Context, conn *quic.Conn, addr netip.AddrPort) {
	if err := t.links.track(conn); err != nil {
		t.endHello()
		t.refuse(conn, addr, err)
		return
	}
	defer t.links.untrack(conn)
	l, err := t.welcome(ctx, conn, addr)
	t.endHello()
	if err == nil {
		err = t.attach(ctx, l, nil)
	}
	if err != nil {
		t.refuse(conn, addr, err)
	}
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
			t.links.sample(now)
		}
	}
}

// watchHandshake counts incoming handshakes that fail: the listener never
// shows them.
func (t *Transport) watchHandshake(ctx context.Context, info *quic.ClientInfo) (context.Context, error) {
	context.AfterFunc(ctx, func() {
		cause := context.Cause(ctx)
		if te, ok := errors.AsType[*quic.TransportError](cause); !ok || !te.ErrorCode.IsCryptoError() {
			return
		}
		addr, err := addrPort(info.RemoteAddr)
		if err != nil {
			return
		}
		t.settle(linkError(cause, addr, changeset.ActorID{}))
	})
	return ctx, nil
}

// SendDatagram queues one datagram. It never blocks and keeps no reference to
// b. ErrQueueFull means that it was dropped; a nil error does not mean that it
// arrives.
func (t *Transport) SendDatagram(to changeset.ActorID, b []byte) error {
	if len(b) > MaxDatagram {
		return fmt.Errorf("%w: %d bytes, the limit is %d", ErrDatagramTooLarge, len(b), MaxDatagram)
	}
	l := t.links.best(to)
	if l == nil {
		return ErrNoLink
	}
	if !l.enqueue(encodeDatagram(datagramMessage, b)) {
		t.count.datagramsDropped.Add(1)
		return ErrQueueFull
	}
	return nil
}

// OpenUni opens a stream that only this end writes. It waits while the peer
// has too many open streams of ours.
func (t *Transport) OpenUni(ctx context.Context, to changeset.ActorID, k Kind) (*Stream, error) {
	return t.open(ctx, to, k, func(l *link) (*Stream, error) {
		s, err := l.conn.OpenUniStreamSync(ctx)
		if err != nil {
			return nil, err
		}
		return newStream(l, k, s, nil), nil
	})
}

// OpenBi opens a stream that both ends write. The peer learns of it with the
// first bytes sent. The caller must Close or Cancel it.
func (t *Transport) OpenBi(ctx context.Context, to changeset.ActorID, k Kind) (*Stream, error) {
	return t.open(ctx, to, k, func(l *link) (*Stream, error) {
		s, err := l.conn.OpenStreamSync(ctx)
		if err != nil {
			return nil, err
		}
		return newStream(l, k, s, s), nil
	})
}

// open opens a stream on the link in use; if that ends meanwhile, on the next.
func (t *Transport) open(ctx context.Context, to changeset.ActorID, k Kind, on func(*link) (*Stream, error)) (*Stream, error) {
	if k == kindHello {
		return nil, errors.New("transport: stream of kind 0")
	}
	for {
		l := t.links.best(to)
		if l == nil {
			return nil, ErrNoLink
		}
		s, err := on(l)
		if err == nil {
			s.prefix = []byte{byte(k)}
			return s, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if l.live() {
			return nil, fmt.Errorf("transport: open stream to %s: %w", l.addr, err)
		}
	}
}

// handshakeLimiter is a token bucket over incoming handshakes.
type handshakeLimiter struct {
	mu     sync.Mutex
	tokens float64
	last   time.Time
}

// exceeded takes a token; true means that there was none.
func (h *handshakeLimiter) exceeded(now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.last.IsZero() {
		h.tokens = handshakeRate
	} else {
		h.tokens = min(handshakeRate, h.tokens+now.Sub(h.last).Seconds()*handshakeRate)
	}
	h.last = now
	if h.tokens < 1 {
		return true
	}
	h.tokens--
	return false
}
