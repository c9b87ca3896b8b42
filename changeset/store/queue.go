package store

import (
	"context"
	"sync/atomic"
	"unsafe"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/sqlite"
)

// Capacities of the writer's queues. Requests and Apply wait for room: their
// callers are few (the API bounds its own). TryApply drops, and anti-entropy
// brings what was dropped.
const (
	requestCapacity = 1024
	applyCapacity   = 256
	controlCapacity = 16
	// applyBytes bounds what TryApply may leave queued, in bytes of memory: a third
	// of a second of applying, which the collector may let grow to twice as much.
	// One changeset may pass it.
	applyBytes = 32 << 20
)

// queues are the ways to the writer.
type queues struct {
	requests chan *request
	applies  chan *applyJob
	fills    chan *control // steps of a transfer of state: applying, as to turns
	controls chan *control
	shared   *queueCounters
}

type queueCounters struct {
	bytes   atomic.Int64  // queued by TryApply
	dropped atomic.Uint64 // by TryApply
	waiting atomic.Int64  // in the waiting room, as of the last batch
	lost    atomic.Uint64 // dropped by the waiting room
}

func newQueues() queues {
	return queues{
		requests: make(chan *request, requestCapacity),
		applies:  make(chan *applyJob, applyCapacity),
		fills:    make(chan *control, 1),
		controls: make(chan *control, controlCapacity),
		shared:   &queueCounters{},
	}
}

func (q queues) enqueue(ctx context.Context, stopped <-chan struct{}, r *request) error {
	return send(ctx, stopped, q.requests, r)
}

func send[T any](ctx context.Context, stopped <-chan struct{}, queue chan<- T, job T) error {
	select {
	case <-stopped:
		return ErrStopped
	default:
	}
	select {
	case queue <- job:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-stopped:
		return ErrStopped
	}
}

// poll returns the next live request, nil if none is queued.
func (q queues) poll() *request {
	for {
		select {
		case r := <-q.requests:
			if r.take() {
				return r
			}
		default:
			return nil
		}
	}
}

// pollApply returns the next job, nil if none is queued.
func (q queues) pollApply() *applyJob {
	select {
	case job := <-q.applies:
		return job
	default:
		return nil
	}
}

// Queue is the state of one bounded queue, for the status.
type Queue struct {
	Name            string
	Depth, Capacity int
	Dropped         uint64
}

// Queues lists the store's queues.
func (s *Store) Queues() []Queue {
	c := s.queues.shared
	return []Queue{
		{"store.requests", len(s.queues.requests), requestCapacity, 0},
		{"store.apply", len(s.queues.applies), applyCapacity, c.dropped.Load()},
		{"store.waiting", int(c.waiting.Load()), waitingCount, c.lost.Load()},
	}
}

// applyJob is a set of remote changesets on their way to the writer.
type applyJob struct {
	items []incoming // what is left of it: the writer takes a batch at a time
	bytes int64      // counted in queueCounters.bytes
	done  chan error // nil for TryApply
	err   error      // the first one, of the batches so far
}

// incoming is a remote changeset with its decoded form.
type incoming struct {
	sealed  changeset.Sealed
	decoded *changeset.Changeset
	size    int  // in memory, in bytes
	waited  bool // has been in the waiting room
}

// newIncoming decodes sealed. A value in memory can be forty times the size that
// it has encoded, so it is the memory that the bounds count.
func newIncoming(sealed changeset.Sealed) (incoming, error) {
	c, err := sealed.Decode()
	if err != nil {
		return incoming{}, err
	}
	size := len(sealed.Data)
	for i := range c.Tables {
		t := &c.Tables[i]
		size += len(t.Changes) * int(unsafe.Sizeof(changeset.Change{}))
		for j := range t.Changes {
			size += (len(t.Changes[j].Key) + len(t.Changes[j].Values)) * int(unsafe.Sizeof(sqlite.Value{}))
		}
	}
	return incoming{sealed: sealed, decoded: c, size: size}, nil
}

// TryApply queues a changeset without waiting. False means that the queue was
// full, or that the changeset does not decode, and that it was dropped.
func (s *Store) TryApply(sealed changeset.Sealed) bool {
	c := s.queues.shared
	if c.bytes.Load() > applyBytes {
		c.dropped.Add(1)
		return false
	}
	in, err := newIncoming(sealed)
	if err != nil {
		c.dropped.Add(1)
		return false
	}
	job := &applyJob{items: []incoming{in}, bytes: int64(in.size)}
	c.bytes.Add(job.bytes)
	select {
	case s.queues.applies <- job:
		return true
	default:
		c.bytes.Add(-job.bytes)
		c.dropped.Add(1)
		return false
	}
}

// Apply merges remote changesets and returns when each is durable here, as
// applied or as parked, or sits in the waiting room. A changeset that does not
// decode is an error before any was taken. After any other error some may be
// here, which Vector tells.
func (s *Store) Apply(ctx context.Context, sealed []changeset.Sealed) error {
	job := &applyJob{items: make([]incoming, len(sealed)), done: make(chan error, 1)}
	for i := range sealed {
		var err error
		if job.items[i], err = newIncoming(sealed[i]); err != nil {
			return err
		}
	}
	if err := send(ctx, s.stopped, s.queues.applies, job); err != nil {
		return err
	}
	select {
	case err := <-job.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-s.stopped:
		return ErrStopped
	}
}
