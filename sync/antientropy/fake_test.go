package antientropy

import (
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/sync/versions"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	errNotInLog = errors.New("not in the log")
	errCut      = errors.New("stream was cut")
)

// memoryStore is a Store in memory.
type memoryStore struct {
	applyTime time.Duration
	applyErr  error
	readErr   error
	meetTime  time.Duration
	meetErr   error

	mu       sync.Mutex
	vector   *versions.Vector
	log      map[changeset.ID]changeset.Sealed
	heard    map[changeset.ActorID]*versions.Vector
	applied  int // changesets
	batches  int
	meetings int
}

func newMemoryStore() *memoryStore {
	return &memoryStore{vector: versions.NewVector(), log: map[changeset.ID]changeset.Sealed{}, heard: map[changeset.ActorID]*versions.Vector{}}
}

// write makes versions first … last of an actor durable.
func (s *memoryStore) write(t testing.TB, who int, first, last changeset.Version, text string) {
	for v := first; v <= last; v++ {
		s.hold(sealed(t, changeset.ID{Actor: actor(who), Version: v}, text))
	}
}

func (s *memoryStore) hold(c changeset.Sealed) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.vector.Clone()
	e := v.Entry(c.Actor)
	e.Applied.Add(versions.Range{First: c.Version, Last: c.Version})
	if e.Applied.Last() == c.Version {
		e.Head = c.Hash
	}
	v.Put(c.Actor, e)
	s.vector, s.log[c.ID()] = v, c
}

// prune takes versions out of the log.
func (s *memoryStore) prune(who int, first, last changeset.Version) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for v := first; v <= last; v++ {
		delete(s.log, changeset.ID{Actor: actor(who), Version: v})
	}
}

func (s *memoryStore) MeetVector(ctx context.Context, peer changeset.ActorID, v *versions.Vector) error {
	select {
	case <-time.After(s.meetTime):
	case <-ctx.Done():
		return ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.heard[peer] = v
	s.meetings++
	return s.meetErr
}

// hears returns what was heard of a peer last.
func (s *memoryStore) hears(who int) *versions.Vector {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.heard[actor(who)]
}

func (s *memoryStore) Vector() *versions.Vector {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.vector
}

func (s *memoryStore) Changeset(_ context.Context, id changeset.ID) (changeset.Sealed, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.log[id]
	switch {
	case s.readErr != nil:
		return c, s.readErr
	case !ok:
		return c, errNotInLog
	}
	return c, nil
}

func (s *memoryStore) Apply(ctx context.Context, batch []changeset.Sealed) error {
	select {
	case <-time.After(s.applyTime):
	case <-ctx.Done():
		return ctx.Err()
	}
	if s.applyErr != nil {
		return s.applyErr
	}
	for i := range batch {
		s.hold(batch[i])
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.applied += len(batch)
	s.batches++
	return nil
}

// wire is a bidirectional stream in memory. It breaks after a number of bytes,
// each frame counting three more than its payload.
type wire struct {
	pace   time.Duration // how long a Send takes
	mu     sync.Mutex
	cond   *sync.Cond
	budget int // bytes until it breaks, negative: never
	sent   int // bytes so far
	err    error
	code   uint64
	ends   [2]wireEnd
}

// wireEnd is one end: a Stream. It holds at most wireFrames frames on their way
// to it.
type wireEnd struct {
	*wire
	peer     *wireEnd
	inbox    []frame
	closed   bool // the other end has closed its direction
	released bool // closed by this end
	taken    int  // frames received
	buffer   []byte
}

const wireFrames = 4

func newWire(budget int) *wire {
	w := &wire{budget: budget}
	w.cond = sync.NewCond(&w.mu)
	w.ends = [2]wireEnd{{wire: w, peer: &w.ends[1]}, {wire: w, peer: &w.ends[0]}}
	return w
}

func (e *wireEnd) Send(kind uint8, payload []byte) error {
	time.Sleep(e.pace)
	e.mu.Lock()
	defer e.mu.Unlock()
	for e.err == nil && !e.peer.released && len(e.peer.inbox) >= wireFrames {
		e.cond.Wait()
	}
	switch {
	case e.err != nil:
		return e.err
	case e.peer.released:
		return errCut
	}
	if e.sent += 3 + len(payload); e.budget >= 0 && e.sent > e.budget {
		e.fail(errCut, 0)
		return e.err
	}
	e.peer.inbox = append(e.peer.inbox, frame{kind, append([]byte(nil), payload...)})
	e.cond.Broadcast()
	return nil
}

func (e *wireEnd) Receive() (uint8, []byte, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	clear(e.buffer) // the last payload is no longer valid
	for e.err == nil && len(e.inbox) == 0 && !e.closed {
		e.cond.Wait()
	}
	switch {
	case e.err != nil:
		return 0, nil, e.err
	case len(e.inbox) == 0:
		return 0, nil, io.EOF
	}
	f := e.inbox[0]
	e.inbox, e.buffer = e.inbox[1:], f.payload
	e.taken++
	e.cond.Broadcast()
	return f.kind, f.payload, nil
}

func (e *wireEnd) CloseSend() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.peer.closed = true
	e.cond.Broadcast()
	return e.err
}

func (e *wireEnd) Cancel(code uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.fail(errCut, code)
}

// Close stops reading: the other end cannot send any more.
func (e *wireEnd) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.released = true
	e.peer.closed = true
	e.cond.Broadcast()
	return nil
}

// fail needs the mutex.
func (w *wire) fail(err error, code uint64) {
	if w.err == nil {
		w.err, w.code = err, code
		w.cond.Broadcast()
	}
}

// state returns the code of the first Cancel and the bytes sent.
func (w *wire) state() (code Code, sent int, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return Code(w.code), w.sent, w.err
}

// met counts the vectors that were met.
func (s *memoryStore) met() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.meetings
}
