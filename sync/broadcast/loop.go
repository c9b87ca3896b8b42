package broadcast

import (
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/patinadb/patina/changeset"
)

// Limits of one Loop.
const (
	publishItems = 1024
	publishBytes = 64 << 20
	sendTimeout  = 2 * time.Second
	logEvery     = 10 * time.Second
)

// ErrRunning is returned by Run if the Loop runs or has run already.
var ErrRunning = errors.New("broadcast: loop was run before")

// Sender writes batches to peers.
type Sender interface {
	// SendBatch writes frames to one peer, in order, all in one stream, and returns
	// when they are written. It obeys ctx, and is called by at most MaxFlights
	// goroutines at a time for each peer. It must neither change nor keep the slices.
	SendBatch(ctx context.Context, to changeset.ActorID, batch []Frame) error
}

// Frame is one frame of a broadcast stream.
type Frame struct {
	Kind    uint8
	Payload []byte
}

// Config is what a Loop needs. Self, Sender and Deliver are required.
type Config struct {
	Self   changeset.ActorID
	Seed   uint64 // of the choice of peers; 0: taken from Self
	Sender Sender
	// Deliver hands over a changeset of another node without blocking. False means
	// that there was no room: it is dropped and counted.
	Deliver func(changeset.Sealed) bool
	// Held reports whether the store has a changeset, see MachineConfig.
	Held func(changeset.ID) bool
	Now  func() time.Time // default time.Now
	Log  *slog.Logger     // default slog.Default()
}

// Stats are totals since the Loop was made.
type Stats struct {
	Counters
	Delivered uint64 // changesets that the store took
	Refused   uint64 // changesets that the store had no room for
	Malformed uint64 // streams that ended for what the peer sent
}

// Queue is the state of one bounded queue.
type Queue struct {
	Name            string
	Depth, Capacity int
	Dropped         uint64
}

// Loop gives a Machine its network. Run's goroutine owns the Machine; each peer
// has MaxFlights goroutines that send, from PeerUp to PeerDown, so that a slow peer holds
// up nobody else.
type Loop struct {
	cfg      Config
	publish  chan changeset.Sealed
	received chan Event // of peers' streams; unbuffered: they wait until theirs is handled
	finished chan result
	wake     chan struct{} // capacity 1: wanted changed
	done     chan struct{} // closed when Run has ended
	started  atomic.Bool

	publishSize    atomic.Int64 // bytes in publish
	publishDropped atomic.Uint64
	nextLog        atomic.Int64 // nanoseconds since 1970
	delivered      atomic.Uint64
	refused        atomic.Uint64
	malformed      atomic.Uint64

	mu      sync.Mutex
	machine *Machine                            // changed by Run's goroutine only
	wanted  map[changeset.ActorID]time.Duration // peers that are up, and their RTT
}

// result is the end of one batch.
type result struct {
	worker *worker
	batch  uint64
	err    error
}

// worker sends to one peer. The Machine keeps at most MaxFlights batches in flight,
// so batches never has more.
type worker struct {
	peer    changeset.ActorID
	rtt     time.Duration
	batches chan *Send
	cancel  context.CancelFunc
}

// New returns a Loop. It starts nothing; Publish and PeerUp may be called at once.
func New(cfg Config) *Loop {
	if cfg.Seed == 0 {
		cfg.Seed = binary.LittleEndian.Uint64(cfg.Self[:8]) | 1
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	return &Loop{
		cfg:      cfg,
		publish:  make(chan changeset.Sealed, publishItems),
		received: make(chan Event),
		finished: make(chan result),
		wake:     make(chan struct{}, 1),
		done:     make(chan struct{}),
		machine:  NewMachine(MachineConfig{cfg.Self, cfg.Seed, cfg.Held}),
		wanted:   map[changeset.ActorID]time.Duration{},
	}
}

// Run handles events until ctx is done, and returns nil when every goroutine it
// started has ended. A Loop runs once.
func (l *Loop) Run(ctx context.Context) error {
	if !l.started.CompareAndSwap(false, true) {
		return ErrRunning
	}
	var group sync.WaitGroup
	defer close(l.done)
	defer group.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	workers := map[changeset.ActorID]*worker{}
	due := time.NewTimer(0)
	defer due.Stop()
	for {
		l.set(due)
		select {
		case <-ctx.Done():
			return nil
		case <-l.wake:
			l.reconcile(workers, func(w *worker) {
				own, cancel := context.WithCancel(ctx)
				w.cancel = cancel
				for range MaxFlights {
					group.Go(func() { l.send(own, w) })
				}
			})
		case s := <-l.publish:
			l.publishSize.Add(-int64(len(s.Data)))
			if len(workers) > 0 {
				l.handle(workers, Local{Item{s, changeset.Pack(s.Data)}})
			}
		case ev := <-l.received:
			l.handle(workers, ev)
		case <-due.C:
			l.handle(workers, Tick{})
		case r := <-l.finished:
			if workers[r.worker.peer] != r.worker {
				continue // the peer went in the meantime, and its batch was counted then
			}
			if r.err != nil {
				l.cfg.Log.Debug("broadcast batch failed", "component", "broadcast", "peer", r.worker.peer, "err", r.err)
				l.handle(workers, Failed{r.worker.peer, r.batch})
			} else {
				l.handle(workers, Sent{r.worker.peer, r.batch})
			}
		}
	}
}

// set lets the timer go off when the Machine wants a Tick.
func (l *Loop) set(due *time.Timer) {
	l.mu.Lock()
	next := l.machine.Next()
	l.mu.Unlock()
	if next.IsZero() {
		due.Stop()
		return
	}
	due.Reset(next.Sub(l.cfg.Now()))
}

// reconcile brings workers and Machine to the set of peers that are wanted.
func (l *Loop) reconcile(workers map[changeset.ActorID]*worker, start func(*worker)) {
	now := l.cfg.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	for actor, w := range workers {
		if _, ok := l.wanted[actor]; !ok {
			w.cancel()
			delete(workers, actor)
			l.machine.Handle(now, PeerDown{actor})
		}
	}
	for actor, rtt := range l.wanted {
		w := workers[actor]
		if w == nil {
			w = &worker{peer: actor, rtt: rtt, batches: make(chan *Send, MaxFlights)}
			workers[actor] = w
			start(w)
		} else if w.rtt == rtt {
			continue
		}
		w.rtt = rtt
		l.machine.Handle(now, PeerUp{actor, rtt})
	}
}

// handle gives one event to the Machine and does what it asks for.
func (l *Loop) handle(workers map[changeset.ActorID]*worker, ev Event) {
	l.mu.Lock()
	effects := l.machine.Handle(l.cfg.Now(), ev)
	l.mu.Unlock()
	for _, effect := range effects {
		switch e := effect.(type) {
		case Send:
			workers[e.To].batches <- &e
		case Deliver:
			if l.cfg.Deliver(e.Item.Sealed) {
				l.delivered.Add(1)
			} else {
				l.refused.Add(1)
			}
		}
	}
}

// send writes w's batches until ctx is done.
func (l *Loop) send(ctx context.Context, w *worker) {
	for {
		select {
		case <-ctx.Done():
			return
		case batch := <-w.batches:
			limited, cancel := context.WithTimeout(ctx, sendTimeout)
			err := l.cfg.Sender.SendBatch(limited, w.peer, framesOf(batch))
			cancel()
			select {
			case l.finished <- result{w, batch.Batch, err}:
			case <-ctx.Done():
				return
			}
		}
	}
}

// Publish hands over a changeset that was committed here and is durable. It never
// blocks: when more than 1024 changesets or 64 MiB wait, it is dropped and counted,
// and anti-entropy brings it to the peers.
func (l *Loop) Publish(s changeset.Sealed) {
	size := int64(len(s.Data))
	if l.publishSize.Add(size) <= max(size, publishBytes) {
		select {
		case l.publish <- s:
			return
		default:
		}
	}
	l.publishSize.Add(-size)
	l.publishDropped.Add(1)
	now := l.cfg.Now().UnixNano()
	if next := l.nextLog.Load(); now >= next && l.nextLog.CompareAndSwap(next, now+int64(logEvery)) {
		l.cfg.Log.Warn("broadcast queue is full, changesets are left to anti-entropy", "component", "broadcast", "queue", "broadcast.publish")
	}
}

// PeerUp says that there is a link to a peer, or that its round-trip time (0: not
// known) changed. It never blocks.
func (l *Loop) PeerUp(actor changeset.ActorID, rtt time.Duration) {
	l.mu.Lock()
	l.wanted[actor] = rtt
	l.mu.Unlock()
	l.notify()
}

// PeerDown says that the link to a peer is gone. It never blocks.
func (l *Loop) PeerDown(actor changeset.ActorID) {
	l.mu.Lock()
	delete(l.wanted, actor)
	l.mu.Unlock()
	l.notify()
}

func (l *Loop) notify() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Queues returns the state of the publish queue and of every peer's queue.
func (l *Loop) Queues() []Queue {
	l.mu.Lock()
	states := l.machine.Queues()
	l.mu.Unlock()
	out := []Queue{{"broadcast.publish", len(l.publish), publishItems, l.publishDropped.Load()}}
	for _, s := range states {
		out = append(out, Queue{"broadcast.peer." + s.Peer.String(), s.Depth, QueueItems, s.Dropped})
	}
	return out
}

// Stats returns the totals.
func (l *Loop) Stats() Stats {
	l.mu.Lock()
	c := l.machine.Counters()
	l.mu.Unlock()
	return Stats{Counters: c, Delivered: l.delivered.Load(), Refused: l.refused.Load(), Malformed: l.malformed.Load()}
}
