package antientropy

import (
	"context"
	crand "crypto/rand"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/sync/versions"
)

// Store is the database as a session sees it.
type Store interface {
	// Vector returns what is durable: an immutable snapshot, without blocking.
	Vector() *versions.Vector
	// Changeset returns a changeset that Vector holds. One that is no longer in
	// the log is an error for which Config.NotInLog is true.
	Changeset(ctx context.Context, id changeset.ID) (changeset.Sealed, error)
	// Apply waits until the batch is durable. It keeps the batch, not the slice.
	Apply(ctx context.Context, batch []changeset.Sealed) error
	// MeetVector is told what a peer holds: vectors that it sent, and ours if it said
	// that it has the same. It keeps v, which is not changed, and may wait for what
	// it makes of it to be durable, no longer than ctx lasts. One call at a time.
	MeetVector(ctx context.Context, peer changeset.ActorID, v *versions.Vector) error
}

// Stream is a bidirectional stream of frames. Send and Receive are called by one
// goroutine each, at the same time; Cancel by any, at any time, more than once,
// and also after CloseSend.
type Stream interface {
	// Send blocks until the transport took the frame; it does not keep payload.
	Send(frame uint8, payload []byte) error
	// Receive returns io.EOF at the clean end; payload is valid until the next
	// call.
	Receive() (frame uint8, payload []byte, err error)
	// CloseSend ends our direction cleanly.
	CloseSend() error
	// Cancel ends both directions, so that Send and Receive return at once. It
	// does not block.
	Cancel(code uint64)
	// Close lets go of the stream; what was sent still arrives unless it was
	// cancelled. Called once, when no other call is in progress.
	Close() error
}

// Config is what a Loop is made of.
type Config struct {
	Self  changeset.ActorID
	Store Store
	// Open opens a stream to a peer that is up. It ends when ctx does.
	Open func(ctx context.Context, to changeset.ActorID) (Stream, error)
	// NotInLog reports whether an error of Store.Changeset means that the
	// changeset is not in the log. Nil: no error does.
	NotInLog func(error) bool
	// Now is the clock, time.Now if nil. Only differences matter.
	Now func() time.Time
	// Rand spreads rounds and back-offs; seeded at random if nil.
	Rand *rand.Rand
	// Log gets what the store could not meet, and failed sessions that we began; those that a peer began are
	// returned by Serve. Discarded if nil.
	Log *slog.Logger
}

// Queue is the state of one of the loop's queues.
type Queue struct {
	Name            string
	Depth, Capacity int
	Dropped         uint64
}

// Sizes of the queues.
const (
	// eventCapacity bounds what sessions have to tell; they wait, nothing is
	// dropped.
	eventCapacity = 64
	// newsCapacity bounds the peers with news (up, down, a digest) that wait for
	// the loop. News of a peer replaces older news of it; news of more peers is
	// dropped and counted: the next probe or the slow round repeats it.
	newsCapacity = 8192
)

// Loop runs the sessions of one node. The goroutine of Run owns the machine and
// the table of links; all others send it events.
type Loop struct {
	cfg      Config
	events   chan Event
	arrivals chan *link
	meetings meetings
	stopped  chan struct{} // closed when Run takes nothing more

	// Owned by Run's goroutine.
	machine  *Machine
	revision uint64 // of the machine's Unserved that is published
	links    map[SessionID]*link
	running  sync.WaitGroup // links, and meet

	mu       sync.Mutex
	news     map[changeset.ActorID]news
	dropped  uint64
	stats    Stats
	unserved []Unserved
	wake     chan struct{} // capacity 1: there is news
}

// news is what is new of a peer since the loop last looked.
type news struct {
	link   Event // nil: no change
	probed bool
	digest [32]byte
}

// New returns a loop that does nothing until Run.
func New(cfg Config) *Loop {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Rand == nil {
		var seed [32]byte
		crand.Read(seed[:])
		cfg.Rand = rand.New(rand.NewChaCha8(seed))
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.NotInLog == nil {
		cfg.NotInLog = func(error) bool { return false }
	}
	return &Loop{
		cfg:      cfg,
		events:   make(chan Event, eventCapacity),
		arrivals: make(chan *link),
		meetings: meetings{wake: make(chan struct{}, 1)},
		stopped:  make(chan struct{}),
		links:    map[SessionID]*link{},
		news:     map[changeset.ActorID]news{},
		wake:     make(chan struct{}, 1),
	}
}

// PeerUp says that a link to a peer exists. It never blocks.
func (l *Loop) PeerUp(actor changeset.ActorID) {
	l.tell(actor, func(n *news) { n.link = PeerUp{actor} })
}

// PeerDown says that no link to a peer is left. It never blocks.
func (l *Loop) PeerDown(actor changeset.ActorID) {
	l.tell(actor, func(n *news) { *n = news{link: PeerDown{actor}} })
}

// Digest says what a probe's answer carried: the digest of the peer's applied
// vector. It never blocks.
func (l *Loop) Digest(peer changeset.ActorID, digest [32]byte) {
	l.tell(peer, func(n *news) { n.probed, n.digest = true, digest })
}

func (l *Loop) tell(actor changeset.ActorID, change func(*news)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n, known := l.news[actor]
	if !known && len(l.news) >= newsCapacity {
		l.dropped++
		return
	}
	change(&n)
	l.news[actor] = n
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Serve runs a session that a peer began, until it has ended. A session that is
// done, that was refused with Busy or that gave way to one of ours is no error.
func (l *Loop) Serve(ctx context.Context, from changeset.ActorID, stream Stream) error {
	k := l.newLink(ctx, from)
	k.stream, k.served, k.open = stream, true, true
	select {
	case l.arrivals <- k:
	case <-l.stopped:
		k.cancel()
		stream.Cancel(uint64(CodeStopped))
		return ErrStopped
	case <-ctx.Done():
		k.cancel()
		stream.Cancel(uint64(CodeStopped))
		return ctx.Err()
	}
	defer l.running.Done()
	if k.run(); errors.Is(k.err, ErrBusy) || errors.Is(k.err, ErrSuperseded) {
		return nil
	}
	return k.err
}

// Stats returns the counters.
func (l *Loop) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stats
}

// Unserved returns, per peer, what its last session could not serve.
func (l *Loop) Unserved() []Unserved {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.unserved
}

// Queues returns the state of the queues.
func (l *Loop) Queues() []Queue {
	l.mu.Lock()
	defer l.mu.Unlock()
	return []Queue{
		{"antientropy.events", len(l.events), eventCapacity, 0},
		{"antientropy.news", len(l.news), newsCapacity, l.dropped},
		l.meetings.state(),
	}
}

// Run runs the sessions until ctx ends, and returns nil when all have ended. It
// may be called once.
func (l *Loop) Run(ctx context.Context) error {
	l.machine = NewMachine(MachineConfig{Self: l.cfg.Self, Vector: l.cfg.Store.Vector, Rand: l.cfg.Rand}, l.cfg.Now())
	l.running.Go(func() { l.meet(ctx) })
	timer := time.NewTimer(0)
	defer timer.Stop()
	var armed time.Time
	for {
		if wake := l.machine.Wake(); !wake.Equal(armed) {
			armed = wake
			timer.Reset(max(wake.Sub(l.cfg.Now()), 0))
		}
		select {
		case <-ctx.Done():
			l.stop()
			return nil
		case <-timer.C:
			armed = time.Time{}
			l.do(ctx, l.machine.Tick(l.cfg.Now()))
		case <-l.wake:
			l.readNews(ctx)
		case k := <-l.arrivals:
			l.running.Add(1)
			k.id = l.machine.NewSession()
			l.links[k.id] = k
			l.handle(ctx, Incoming{k.id, k.peer})
		case e := <-l.events:
			if o, ok := e.(Opened); ok && l.links[o.Session] != nil {
				l.links[o.Session].open = true
			}
			l.handle(ctx, e)
		}
	}
}

// stop ends all sessions and waits for them.
func (l *Loop) stop() {
	close(l.stopped)
	for _, k := range l.links {
		k.end(CodeStopped, ErrStopped)
	}
	l.running.Wait()
}

func (l *Loop) readNews(ctx context.Context) {
	l.mu.Lock()
	fresh := l.news
	l.news = map[changeset.ActorID]news{}
	l.mu.Unlock()
	for actor, n := range fresh {
		if n.link != nil {
			l.handle(ctx, n.link)
		}
		if n.probed {
			l.handle(ctx, Probe{actor, n.digest})
		}
	}
}

func (l *Loop) handle(ctx context.Context, e Event) {
	l.do(ctx, l.machine.Handle(l.cfg.Now(), e))
}

// do carries out what the machine wants. No step blocks: the machine keeps what
// is outstanding within the channels' capacities.
func (l *Loop) do(ctx context.Context, effects []Effect) {
	for _, e := range effects {
		switch e := e.(type) {
		case Open:
			k := l.newLink(ctx, e.Peer)
			k.id = e.Session
			l.links[k.id] = k
			l.running.Go(k.run)
		case Send:
			l.links[e.Session].orders <- e
		case Fetch:
			l.links[e.Session].orders <- e
		case CloseSend:
			l.links[e.Session].orders <- e
		case Read:
			l.links[e.Session].reads <- struct{}{}
		case Apply:
			l.links[e.Session].batches <- e.Batch
		case Hear:
			l.meetings.add(e)
		case Close:
			l.close(e)
		}
	}
	l.publish()
}

func (l *Loop) close(e Close) {
	k := l.links[e.Session]
	delete(l.links, e.Session)
	k.end(e.Code, e.Err)
	var f *PeerFault
	switch {
	case k.served || e.Err == nil:
	case errors.As(e.Err, &f):
		l.cfg.Log.Warn("anti-entropy session ended by a fault of the peer", "peer", k.peer, "err", e.Err)
	default:
		l.cfg.Log.Debug("anti-entropy session ended early", "peer", k.peer, "err", e.Err)
	}
}

func (l *Loop) publish() {
	stats := l.machine.Stats()
	l.mu.Lock()
	defer l.mu.Unlock()
	if r := l.machine.unservedRevision; r != l.revision {
		l.revision, l.unserved = r, l.machine.Unserved()
		if stats.Unserved > 0 && l.stats.Unserved == 0 {
			l.cfg.Log.Warn("a peer's log does not go back to all that is lacking here: another peer may have it, else the state is transferred",
				"peer", l.unserved[0].Peer, "versions", stats.Unserved)
		}
	}
	l.stats = stats
}
