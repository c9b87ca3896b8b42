package antientropy

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/patinadb/patina/changeset"
)

// fetchBytes is the size after which a Fetch reports what it has done so far.
const fetchBytes = 256 << 10

// link is the I/O of one session: three goroutines that read, write and apply
// what the machine orders, and tell it what came of it.
type link struct {
	loop *Loop
	id   SessionID // set by the loop before the first order
	peer changeset.ActorID
	ctx  context.Context // of the loop, or of Serve's caller
	// opening ends with the session; only Open uses it. A batch with the store
	// outlives the session.
	opening context.Context
	cancel  context.CancelFunc // of opening
	stream  Stream             // of a session of ours: set before Opened is sent
	served  bool
	open    bool // stream is set, as the loop knows; its own

	orders  chan Effect             // Send, Fetch, CloseSend
	reads   chan struct{}           // one for each frame that may be read
	batches chan []changeset.Sealed // at most one waits
	ended   chan struct{}           // closed by end

	// Written by end before ended is closed.
	code Code
	err  error
}

func (l *Loop) newLink(ctx context.Context, peer changeset.ActorID) *link {
	opening, cancel := context.WithCancel(ctx)
	return &link{
		opening: opening, cancel: cancel,
		loop: l, peer: peer, ctx: ctx,
		orders:  make(chan Effect, MaxOrders),
		reads:   make(chan struct{}, 1),
		batches: make(chan []changeset.Sealed, 1),
		ended:   make(chan struct{}),
	}
}

// end lets the goroutines go. Called once, by the loop.
func (k *link) end(code Code, err error) {
	k.code, k.err = code, err
	close(k.ended)
	k.cancel()
	if k.open && code != CodeNone {
		k.stream.Cancel(uint64(code))
	}
}

// tell gives the loop an event, unless the session has ended.
func (k *link) tell(e Event) {
	select {
	case k.loop.events <- e:
	case <-k.ended:
	}
}

// run returns when the session has ended and all its goroutines have.
func (k *link) run() {
	if !k.served && !k.dial() {
		<-k.ended
		return
	}
	var workers sync.WaitGroup
	workers.Go(k.write)
	workers.Go(k.apply)
	k.read()
	workers.Wait()
	if k.code != CodeNone {
		k.stream.Cancel(uint64(k.code)) // it may have been opened after end
	}
	k.stream.Close() // nothing is left to say
}

// dial opens the stream; opening ends with the session.
func (k *link) dial() bool {
	stream, err := k.loop.cfg.Open(k.opening, k.peer)
	if err != nil {
		k.tell(Failed{k.id, fmt.Errorf("open a stream to %s: %w", k.peer, err)})
		return false
	}
	k.stream = stream
	k.tell(Opened{k.id})
	return true
}

// read receives a frame for each token.
func (k *link) read() {
	var d decoder
	for {
		select {
		case <-k.reads:
		case <-k.ended:
			return
		}
		frame, payload, err := k.stream.Receive()
		if err != nil {
			k.tell(Ended{k.id, err})
			continue
		}
		m, err := d.decode(frame, payload)
		if err != nil {
			k.tell(Failed{k.id, err})
			continue
		}
		k.tell(Received{k.id, m})
	}
}

// write carries out orders. It is also who notices that the context ended.
func (k *link) write() {
	for {
		var err error
		select {
		case o := <-k.orders:
			err = k.order(o)
		case <-k.ctx.Done():
			err = k.ctx.Err()
		case <-k.ended:
			return
		}
		if err == nil {
			continue
		}
		if _, ok := errors.AsType[*sendError](err); ok {
			k.tell(SendFailed{k.id, err})
		} else {
			k.tell(Failed{k.id, err})
		}
		<-k.ended
		return
	}
}

// sendError is a failure of the stream's sending side.
type sendError struct {
	what string
	err  error
}

func (e *sendError) Error() string { return e.what + ": " + e.err.Error() }
func (e *sendError) Unwrap() error { return e.err }

func (k *link) order(o Effect) error {
	switch o := o.(type) {
	case Send:
		frame, payload, err := encode(o.Message)
		if err != nil {
			return err
		}
		return k.send(frame, payload)
	case Fetch:
		return k.fetch(o.IDs)
	case CloseSend:
		if err := k.stream.CloseSend(); err != nil {
			return &sendError{"close the sending side", err}
		}
		k.tell(Flushed{k.id})
	}
	return nil
}

func (k *link) send(frame uint8, payload []byte) error {
	return pieces(frame, payload, func(frame uint8, payload []byte) error {
		if err := k.stream.Send(frame, payload); err != nil {
			return &sendError{fmt.Sprintf("send a frame of type %d", frame), err}
		}
		if frame == FramePart {
			k.tell(Progressed{k.id})
		}
		return nil
	})
}

// fetch sends the changesets of ids, or of the first of them if they are large.
func (k *link) fetch(ids []changeset.ID) error {
	var absent []changeset.ID
	count, size := 0, 0
	for count < len(ids) && size < fetchBytes {
		id := ids[count]
		count++
		c, err := k.loop.cfg.Store.Changeset(k.ctx, id)
		switch {
		case err != nil && k.loop.cfg.NotInLog(err):
			absent = append(absent, id)
			continue
		case err != nil:
			return fmt.Errorf("read version %d of %s from the log: %w", uint64(id.Version), id.Actor, err)
		}
		frame, payload, err := encode(Changeset{c})
		if err != nil {
			return err
		}
		if err := k.send(frame, payload); err != nil {
			return err
		}
		size += len(payload)
	}
	k.tell(Fetched{k.id, count, absent})
	return nil
}

// apply gives batches to the store. A batch that was begun is finished even if
// the session ends meanwhile: its changesets are as good as any.
func (k *link) apply() {
	for {
		select {
		case batch := <-k.batches:
			k.tell(Applied{k.id, k.loop.cfg.Store.Apply(k.ctx, batch)})
		case <-k.ended:
			return
		}
	}
}
