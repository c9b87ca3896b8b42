package transport

import (
	"context"
	"errors"
	"fmt"

	"github.com/patinadb/patina/changeset"
)

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

// Probe asks a linked peer's process for a sign of life, which LastReceived
// shows. Like SendDatagram it never blocks, and may be lost.
func (t *Transport) Probe(to changeset.ActorID) {
	if l := t.links.best(to); l != nil {
		l.enqueue(encodeDatagram(datagramProbe, nil))
	}
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
