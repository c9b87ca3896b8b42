package members

import (
	"context"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/patinadb/patina/changeset"
)

// Limits of the dialer.
const (
	dialGoroutines = 16
	dialQueue      = 256 // addresses that are called or wait to be
	dialPackets    = 8   // packets that wait for one address
	dialTimeout    = 5 * time.Second
)

// dialer calls addresses in at most dialGoroutines goroutines, each address once at
// a time. Packets for an address wait for its link, within dialPackets; what does
// not fit is lost and counted.
type dialer struct {
	links   Links
	ctx     context.Context
	group   sync.WaitGroup
	dropped atomic.Uint64

	mu      sync.Mutex
	dials   map[netip.AddrPort]*dial
	waiting []*dial // not yet taken by a goroutine
	active  int     // goroutines
	closed  bool    // no call is taken any more
}

type dial struct {
	addr    netip.AddrPort
	packets []heldPacket
	done    chan struct{} // closed when actor and err are set
	actor   changeset.ActorID
	err     error
}

// heldPacket is meant for one actor, or for whoever answers if that is zero.
type heldPacket struct {
	actor changeset.ActorID
	b     []byte
}

func newDialer(ctx context.Context, links Links) *dialer {
	return &dialer{ctx: ctx, links: links, dials: map[netip.AddrPort]*dial{}}
}

// packet keeps b until there is a link to the address. It never blocks.
func (d *dialer) packet(addr netip.AddrPort, actor changeset.ActorID, b []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	call := d.call(addr)
	if call == nil || len(call.packets) >= dialPackets {
		d.dropped.Add(1)
		return
	}
	call.packets = append(call.packets, heldPacket{actor, b})
}

// connect waits for a link to the address.
func (d *dialer) connect(ctx context.Context, addr netip.AddrPort) (changeset.ActorID, error) {
	d.mu.Lock()
	call := d.call(addr)
	d.mu.Unlock()
	if call == nil {
		return changeset.ActorID{}, errClosed
	}
	select {
	case <-call.done:
		return call.actor, call.err
	case <-ctx.Done():
		return changeset.ActorID{}, ctx.Err()
	}
}

// call returns the dial of an address, a new one if there is none; nil if there is
// no room or the dialer has ended. The caller holds mu.
func (d *dialer) call(addr netip.AddrPort) *dial {
	if call := d.dials[addr]; call != nil {
		return call
	}
	if d.closed || len(d.dials) >= dialQueue {
		return nil
	}
	call := &dial{addr: addr, done: make(chan struct{})}
	d.dials[addr] = call
	d.waiting = append(d.waiting, call)
	if d.active < dialGoroutines {
		d.active++
		d.group.Go(d.work)
	}
	return call
}

// work makes calls until none waits.
func (d *dialer) work() {
	for {
		d.mu.Lock()
		if len(d.waiting) == 0 {
			d.active--
			d.mu.Unlock()
			return
		}
		call := d.waiting[0]
		d.waiting = d.waiting[1:]
		d.mu.Unlock()

		ctx, cancel := context.WithTimeout(d.ctx, dialTimeout)
		actor, err := d.links.Connect(ctx, call.addr)
		cancel()

		d.mu.Lock()
		delete(d.dials, call.addr)
		packets := call.packets
		d.mu.Unlock()
		call.actor, call.err = actor, err
		close(call.done)
		for _, p := range packets {
			if err != nil || !p.actor.IsZero() && p.actor != actor || d.links.SendDatagram(actor, p.b) != nil {
				d.dropped.Add(1)
			}
		}
	}
}

// depth is the number of addresses that are called or wait to be.
func (d *dialer) depth() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.dials)
}

// close refuses further calls and returns when no goroutine is left. The context
// must have ended.
func (d *dialer) close() {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	d.group.Wait()
}
