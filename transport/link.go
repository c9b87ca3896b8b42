package transport

import (
	"context"
	"io"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/patinadb/patina/changeset"
)

// link is one QUIC connection to a peer whose hello was accepted.
type link struct {
	conn  *quic.Conn
	addr  netip.AddrPort // where its packets come from
	peer  hello
	order order
	pace  *pacer // of the transport
	yield yielder

	membership Kind // of the streams that are as urgent as datagrams

	queue chan []byte   // datagrams; owner of the reading end: sendDatagrams
	kick  chan struct{} // tells supervise that the link may have been demoted

	born    time.Time
	streams atomic.Int64 // open on this link at this end
	quiet   atomic.Int64 // when the last of them was closed, in nanoseconds since born

	// Guarded by registry.mu.
	demoted  time.Time // since when another link is preferred; zero: never
	packets  uint64    // received, at the last sample
	sent     uint64    // packets, at the last sample
	lost     uint64    // of sent
	received time.Time // sample in which packets last rose
}

// order is what both ends know alike about a link and decide by.
type order struct {
	epoch  uint64            // of the peer, as this end sees it
	dialer changeset.ActorID // whose dial it was
	dial   uint64            // the dialler's count
}

// better reports whether link a is to be kept and b to be drained, both
// between actors x and y. Both ends must answer alike, or each drains what the
// other keeps; so nothing but what both know may enter here, no local clock.
func better(a, b order, x, y changeset.ActorID) bool {
	if a.epoch != b.epoch {
		return a.epoch > b.epoch
	}
	if a.dialer != b.dialer {
		smaller := x
		if y.Compare(x) < 0 {
			smaller = y
		}
		return a.dialer == smaller
	}
	return a.dial > b.dial
}

func newLink(conn *quic.Conn, addr netip.AddrPort, peer hello, o order) *link {
	return &link{
		conn: conn, addr: addr, peer: peer, order: o,
		queue: make(chan []byte, datagramQueue),
		kick:  make(chan struct{}, 1),
		born:  time.Now(),
	}
}

// streamClosed notes the end of one of streams.
func (l *link) streamClosed() {
	l.quiet.Store(int64(time.Since(l.born)))
	l.streams.Add(-1)
}

func (l *link) live() bool { return l.conn.Context().Err() == nil }

// close ends the link; the first caller's code is the one that counts.
func (l *link) close(c Code, reason string) {
	l.conn.CloseWithError(quic.ApplicationErrorCode(c), reason)
}

// enqueue never blocks; false means that the datagram was dropped.
func (l *link) enqueue(b []byte) bool {
	select {
	case l.queue <- b:
		return true
	default:
		return false
	}
}

// sendDatagrams owns the link's datagram queue: QUIC's own blocks when it is
// full.
func (l *link) sendDatagrams(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case b := <-l.queue:
			// Fails only with the link: the size was checked against MaxDatagram.
			l.conn.SendDatagram(b)
		}
	}
}

func (l *link) receiveDatagrams(ctx context.Context, h Handler, count *counters) {
	for {
		b, err := l.conn.ReceiveDatagram(ctx)
		if err != nil {
			return
		}
		kind, payload, err := decodeDatagram(b)
		switch {
		case err != nil:
			l.close(CodeBadDatagram, err.Error())
			return
		case kind == datagramMessage:
			count.datagramsIn.Add(1)
			h.Datagram(l.peer.actor, payload)
		case kind != datagramProbe:
			count.datagramsUnknown.Add(1)
		}
	}
}

// serve accepts the peer's streams until the link ends and joins what it
// started. The semaphores bound the goroutines; above them the peer's streams
// wait, up to QUIC's stream limits, where its opening blocks.
func (l *link) serve(h Handler, count *counters) {
	ctx := l.conn.Context()
	var wg sync.WaitGroup
	wg.Go(func() { l.receiveDatagrams(ctx, h, count) })
	wg.Go(func() {
		l.accept(ctx, uniWorkers, func() (incoming, error) {
			s, err := l.conn.AcceptUniStream(ctx)
			return incoming{recv: s}, err
		}, h)
	})
	wg.Go(func() {
		l.accept(ctx, biWorkers, func() (incoming, error) {
			s, err := l.conn.AcceptStream(ctx)
			return incoming{send: s, recv: s}, err
		}, h)
	})
	wg.Wait()
}

type incoming struct {
	send sendSide
	recv recvSide
}

func (l *link) accept(ctx context.Context, workers int, next func() (incoming, error), h Handler) {
	var wg sync.WaitGroup
	defer wg.Wait()
	slots := make(chan struct{}, workers)
	for {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		in, err := next()
		if err != nil {
			return
		}
		wg.Go(func() {
			l.handle(ctx, in, h)
			<-slots
		})
	}
}

// handle reads the kind of one incoming stream and runs the handler.
func (l *link) handle(ctx context.Context, in incoming, h Handler) {
	s := newStream(l, kindHello, in.send, in.recv)
	defer s.Close()
	s.setReadDeadline(time.Now().Add(kindTimeout))
	k, err := s.r.ReadByte()
	if err == io.EOF {
		l.close(CodeFrameTruncated, "stream without a kind")
		return
	}
	if err != nil { // reset by the peer, too slow, or the link ended
		return
	}
	if Kind(k) == kindHello {
		l.close(CodeBadHello, "a second hello")
		return
	}
	s.kind = Kind(k)
	s.setReadDeadline(time.Time{})
	h.Stream(ctx, l.peer.actor, s)
}

// answers asks the peer's QUIC stack for a sign of life: only a process that
// still holds the keys acknowledges a packet. A process that was replaced
// answers with a stateless reset or not at all. It takes up to two seconds.
func (l *link) answers(ctx context.Context) bool {
	const rounds, pause = 8, 250 * time.Millisecond
	before := l.conn.ConnectionStats().PacketsReceived
	for range rounds {
		l.enqueue(encodeDatagram(datagramProbe, nil))
		if !l.pause(ctx, pause) {
			return false
		}
		if l.conn.ConnectionStats().PacketsReceived > before {
			return true
		}
	}
	return false
}

// pause waits; false means that the link or ctx ended first.
func (l *link) pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-l.conn.Context().Done():
		return false
	case <-ctx.Done():
		return false
	}
}
