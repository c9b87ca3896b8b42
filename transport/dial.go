package transport

import (
	"context"
	"errors"
	"net"
	"net/netip"

	"github.com/patinadb/patina/changeset"
)

// dial is one attempt that any number of callers wait for.
type dial struct {
	done chan struct{}
	peer Peer // valid once done is closed
	err  error
}

// Dial links to whoever lives at addr and says who that is. A link that is
// known to lead there is reused, and concurrent calls share one attempt, which
// goes on if ctx ends. Errors are *LinkError (errors.Is with a Code says why),
// ErrNotRunning, ErrTooManyDials or of ctx; refusals are logged here.
//
// The peer's PeerUp can come after Dial returns.
func (t *Transport) Dial(ctx context.Context, addr netip.AddrPort) (Peer, error) {
	addr = unmap(addr)
	if !addr.IsValid() {
		return Peer{}, errors.New("transport: dial: no address")
	}
	if addr == t.local || addr == unmap(t.cfg.Advertise) {
		return Peer{}, &LinkError{Code: CodeSelf, Peer: addr}
	}
	select {
	case <-t.ready:
	case <-t.stopped:
		return Peer{}, ErrNotRunning
	case <-ctx.Done():
		return Peer{}, context.Cause(ctx)
	}
	if l := t.links.at(addr); l != nil {
		return l.describe(), nil
	}
	d, err := t.shareDial(addr)
	if err != nil {
		return Peer{}, err
	}
	select {
	case <-d.done:
		return d.peer, d.err
	case <-ctx.Done():
		return Peer{}, context.Cause(ctx)
	}
}

func (t *Transport) shareDial(addr netip.AddrPort) (*dial, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closing {
		return nil, ErrNotRunning
	}
	if d := t.dials[addr]; d != nil {
		return d, nil
	}
	if len(t.dials) >= maxDials {
		return nil, ErrTooManyDials
	}
	d := &dial{done: make(chan struct{})}
	t.dials[addr] = d
	t.dialled++
	number := t.dialled
	t.wg.Go(func() { t.outgoing(d, addr, number) })
	return d, nil
}

// outgoing makes the connection, tells the waiting callers, and lives as long
// as the link.
func (t *Transport) outgoing(d *dial, addr netip.AddrPort, number uint64) {
	answer := func(p Peer, err error) {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.dials, addr)
		d.peer, d.err = p, err
		close(d.done)
	}
	ctx, cancel := context.WithTimeout(t.ctx, dialTimeout)
	defer cancel()
	conn, err := t.quic.Dial(ctx, net.UDPAddrFromAddrPort(addr), t.id.tls(), quicConfig())
	if err != nil {
		e := linkError(err, addr, changeset.ActorID{})
		if e.Code == CodeIdle { // quic-go's word for a handshake without an answer
			e.Code = CodeUnreachable
		}
		t.settle(e)
		answer(Peer{}, e)
		return
	}
	if err := t.links.track(conn); err != nil {
		answer(Peer{}, t.refuse(conn, addr, err))
		return
	}
	defer t.links.untrack(conn)
	l, err := t.greet(ctx, conn, addr, number)
	if err == nil {
		err = t.attach(ctx, l, func() { answer(t.describe(l), nil) })
	}
	if err != nil {
		answer(Peer{}, t.refuse(conn, addr, err))
	}
}

// describe prefers the link in use over l, which may have lost arbitration.
func (t *Transport) describe(l *link) Peer {
	if best := t.links.best(l.peer.actor); best != nil {
		l = best
	}
	return l.describe()
}
