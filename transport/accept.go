package transport

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/patinadb/patina/changeset"
)

// acceptLoop takes incoming connections until ctx ends or the socket fails.
func (t *Transport) acceptLoop(ctx context.Context, listener *quic.Listener) error {
	for {
		conn, err := listener.Accept(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("transport: accept on %s: %w", t.local, err)
		}
		if done, ok := conn.Context().Value(handshaken{}).(*atomic.Bool); ok {
			done.Store(true)
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

// handshaken is the key under which the context of an incoming connection holds
// whether its handshake was completed, an *atomic.Bool.
type handshaken struct{}

// watchHandshake counts incoming handshakes that fail or are not gone on with: the
// listener never shows them.
func (t *Transport) watchHandshake(ctx context.Context, info *quic.ClientInfo) (context.Context, error) {
	done := new(atomic.Bool)
	context.AfterFunc(ctx, func() {
		addr, err := addrPort(info.RemoteAddr)
		if err != nil {
			return
		}
		e := linkError(context.Cause(ctx), addr, changeset.ActorID{})
		te, ok := errors.AsType[*quic.TransportError](e.Err)
		switch {
		case ok && te.ErrorCode.IsCryptoError(): // also after the handshake: the client's certificate comes last
		case !done.Load() && (e.Code == CodeIdle || e.Code == CodeUnreachable):
			e.Code = CodeUnreachable
		default:
			return
		}
		t.settle(e)
	})
	return context.WithValue(ctx, handshaken{}, done), nil
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
