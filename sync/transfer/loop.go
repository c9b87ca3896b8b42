package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/sync/versions"
)

// Part is one part of the state of a database.
type Part struct {
	Block  []byte // an encoded changeset.StateBlock; nil if there are no rows
	Rows   int
	Next   []byte // where the next part begins; nil after the last
	Vector *versions.Vector
}

// Fill is how far a transfer into a store is.
type Fill struct {
	Source   changeset.ActorID
	First    *versions.Vector
	Goal     *versions.Vector
	Cursor   []byte
	Rows     int64
	Complete bool // all rows came; what Goal has beyond First may be lacking
}

// Store is the database. Each change is durable when its method returns.
type Store interface {
	// Vector returns what is durable: an immutable snapshot, without blocking.
	Vector() *versions.Vector
	// StateTables names the tables that replicate.
	StateTables() []changeset.StateBlock
	// ReadState returns the part at a cursor that an earlier part had, nil for the
	// first, without the rows that held covers.
	ReadState(ctx context.Context, cursor []byte, held *versions.Vector) (Part, error)
	// Filling returns how far a transfer into the store is, nil without one.
	Filling() *Fill
	// BeginFill begins one, in the place of any other.
	BeginFill(ctx context.Context, source changeset.ActorID, first *versions.Vector, tables []changeset.StateBlock) error
	// FillPart merges a part.
	FillPart(ctx context.Context, p Part) error
	// SettleFill ends a complete one if nothing of Goal is lacking, and returns what is.
	SettleFill(ctx context.Context) ([]versions.Need, error)
	// EndFill gives up what is lacking.
	EndFill(ctx context.Context) error
}

// Stream is a bidirectional stream of frames, as antientropy has it.
type Stream interface {
	Send(frame uint8, payload []byte) error
	Receive() (frame uint8, payload []byte, err error)
	CloseSend() error
	Cancel(code uint64)
	Close() error
}

// Config is what a Loop is made of.
type Config struct {
	Store Store
	// Open opens a stream to a peer that is up.
	Open func(ctx context.Context, to changeset.ActorID) (Stream, error)
	// Sources returns what is lacking here and not in the logs that were asked.
	Sources func() Lacking
	// Held reports whether some peer holds one of these versions.
	Held func([]versions.Need) bool
	Rand *rand.Rand // seeded at random if nil
	Log  *slog.Logger
}

// Lacking is what no log that was asked has.
type Lacking struct {
	Peers    []changeset.ActorID // that hold some of it, and are up
	Versions uint64
	Most     bool // it is more than what is held: nothing is gained by waiting
}

// Times of the loop.
const (
	interval = 250 * time.Millisecond
	// patience is for how long the logs of others get the chance to bring what one
	// log lacks, where there are rows already.
	patience = 2 * time.Second
	// sourceAway is for how long a source may be away before another one is taken.
	sourceAway = 15 * time.Second
	// settling is for how long a version may be lacking that no peer holds.
	settling = time.Minute
	// stalled ends a stream on which no frame moved.
	stalled = 30 * time.Second
	// maxPause is the longest pause after failures.
	maxPause = 30 * time.Second
	// maxServed is how many peers are served at once.
	maxServed = 2
)

// Loop transfers state for one node.
type Loop struct {
	cfg     Config
	serving atomic.Int64
	given   atomic.Uint64          // rows, since the start
	failure atomic.Pointer[string] // of the last attempt, nil if it went well

	// Owned by Run's goroutine.
	lacking  uint64    // versions, when Sources was last asked
	since    time.Time // since when that many
	unmoved  time.Time // since when the source has not sent anything; zero: it does
	settled  uint64    // versions that lack of a complete transfer
	waiting  time.Time // since when that many
	failures int       // in a row
	next     time.Time // of the next attempt
}

// New returns a loop that does nothing until Run.
func New(cfg Config) *Loop {
	if cfg.Rand == nil {
		cfg.Rand = rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Loop{cfg: cfg}
}

// Given returns how many rows were given to peers since the start.
func (l *Loop) Given() uint64 { return l.given.Load() }

// Failure says why the last attempt to take state failed, "" if it did not.
func (l *Loop) Failure() string {
	if f := l.failure.Load(); f != nil {
		return *f
	}
	return ""
}

// Run fills the store whenever that is needed, until ctx ends.
func (l *Loop) Run(ctx context.Context) error {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := l.step(ctx, time.Now()); err != nil && ctx.Err() == nil {
			l.cfg.Log.Warn("transfer of state failed", "err", err)
		}
	}
}

// step does what is due.
func (l *Loop) step(ctx context.Context, now time.Time) error {
	f := l.cfg.Store.Filling()
	switch {
	case now.Before(l.next):
		return nil
	case f != nil && f.Complete:
		if err := l.settle(ctx, now); err != nil || l.cfg.Store.Filling() == nil {
			return err
		} // what is lacking may be in no log any more: then the state is transferred again
	case f != nil:
		return l.resume(ctx, now, f)
	}
	lacking := l.cfg.Sources()
	if lacking.Versions != l.lacking {
		l.lacking, l.since = lacking.Versions, now
	}
	if len(lacking.Peers) == 0 || !lacking.Most && now.Sub(l.since) < patience {
		return nil
	}
	return l.attempt(ctx, now, l.pick(lacking.Peers), nil)
}

// resume goes on with the source of before, or begins with another one if that was
// away for long.
func (l *Loop) resume(ctx context.Context, now time.Time, f *Fill) error {
	if l.unmoved.IsZero() {
		l.unmoved = now
	}
	if peers := l.cfg.Sources().Peers; now.Sub(l.unmoved) > sourceAway && len(peers) > 0 {
		other := l.pick(peers)
		l.cfg.Log.Warn("the source of the state is away: another one begins", "peer", f.Source, "other", other)
		return l.attempt(ctx, now, other, nil)
	}
	return l.attempt(ctx, now, f.Source, f.Cursor)
}

func (l *Loop) pick(peers []changeset.ActorID) changeset.ActorID {
	return peers[l.cfg.Rand.IntN(len(peers))]
}

// attempt runs one stream, and sets the time of the next attempt.
func (l *Loop) attempt(ctx context.Context, now time.Time, source changeset.ActorID, cursor []byte) error {
	err := l.fill(ctx, source, cursor)
	if err == nil {
		l.failures, l.next, l.lacking = 0, time.Time{}, 0
		l.failure.Store(nil)
		return nil
	}
	why := err.Error()
	l.failure.Store(&why)
	l.failures++
	pause := min(time.Second<<min(l.failures-1, 10), maxPause)
	l.next = now.Add(pause/2 + time.Duration(l.cfg.Rand.Int64N(int64(pause))))
	return fmt.Errorf("from %v: %w", source, err)
}

// settle ends a transfer once everything is here, and gives up what nobody has.
func (l *Loop) settle(ctx context.Context, now time.Time) error {
	lacks, err := l.cfg.Store.SettleFill(ctx)
	if err != nil {
		return err
	}
	var count uint64
	for _, n := range lacks {
		count += n.Len()
	}
	switch {
	case count == 0:
		l.settled, l.waiting = 0, time.Time{}
		l.cfg.Log.Info("filled: all of the state that came is whole")
		return nil
	case count != l.settled || l.waiting.IsZero() || l.cfg.Held(lacks):
		l.settled, l.waiting = count, now
		return nil
	case now.Sub(l.waiting) < settling:
		return nil
	}
	l.cfg.Log.Error("versions that the state shows a part of are lost with their node", "versions", count, "actor", lacks[0].Actor)
	return l.cfg.Store.EndFill(ctx)
}

// guarded cancels a stream when ctx ends or nothing moved for too long.
type guarded struct {
	Stream
	moved    chan struct{} // capacity 1
	done     chan struct{}
	watching sync.WaitGroup
}

func guard(ctx context.Context, s Stream) *guarded {
	g := &guarded{Stream: s, moved: make(chan struct{}, 1), done: make(chan struct{})}
	g.watching.Go(func() { g.watch(ctx) })
	return g
}

func (g *guarded) watch(ctx context.Context) {
	timer := time.NewTimer(stalled)
	defer timer.Stop()
	for {
		select {
		case <-g.moved:
			timer.Reset(stalled)
		case <-timer.C:
			g.Cancel(codeIdle)
			return
		case <-ctx.Done():
			g.Cancel(codeStopped)
			return
		case <-g.done:
			return
		}
	}
}

func (g *guarded) note() {
	select {
	case g.moved <- struct{}{}:
	default:
	}
}

func (g *guarded) Send(frame uint8, payload []byte) error {
	g.note()
	return g.Stream.Send(frame, payload)
}

func (g *guarded) Receive() (uint8, []byte, error) {
	g.note()
	return g.Stream.Receive()
}

// Codes that a stream is cancelled with.
const (
	codeFault   = 1
	codeIdle    = 2
	codeStopped = 6
)

// end closes the stream, which is cancelled if err is not nil.
func (g *guarded) end(err error) {
	close(g.done)
	g.watching.Wait()
	if err != nil {
		g.Cancel(codeFault)
	}
	g.Close()
}

// fill takes the state of a peer from a cursor on, nil for the begin.
func (l *Loop) fill(ctx context.Context, source changeset.ActorID, cursor []byte) (err error) {
	stream, err := l.cfg.Open(ctx, source)
	if err != nil {
		return err
	}
	s := guard(ctx, stream)
	defer func() { s.end(err) }()
	m, err := request{cursor, l.cfg.Store.Vector().AppliedOnly()}.append(nil)
	if err != nil {
		return err
	}
	if err := s.Send(frameRequest, m); err != nil {
		return err
	}
	if err := s.CloseSend(); err != nil {
		return err
	}
	if cursor == nil {
		if err := l.begin(ctx, s, source); err != nil {
			return err
		}
	}
	l.cfg.Log.Info("filling with the state of a peer", "peer", source, "resumed", cursor != nil)
	var p Part
	vector := l.cfg.Store.Filling().Goal
	for {
		frame, payload, err := s.Receive()
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = errors.New("the stream ended before the state was complete")
			}
			return err
		}
		switch frame {
		case frameRows:
			p.Block, err = changeset.Unpack(append([]byte(nil), payload...)) // kept until the next frame
		case frameVector:
			vector, err = versions.DecodeVector(payload)
		case frameNext:
			if len(payload) > 0 {
				p.Next = append([]byte(nil), payload...)
			}
			p.Vector = vector
			err = l.cfg.Store.FillPart(ctx, p)
			l.unmoved, l.failures = time.Time{}, 0
			if err == nil && p.Next == nil {
				l.cfg.Log.Info("all rows of the state came", "peer", source, "rows", l.cfg.Store.Filling().Rows)
				return nil
			}
			p = Part{}
		case frameRefused:
			return fmt.Errorf("it gives no state: %s", refusal(payload))
		default:
			return fmt.Errorf("frame of type %d", frame)
		}
		if err != nil {
			return err
		}
	}
}

// begin hears what the source has and begins a transfer of it.
func (l *Loop) begin(ctx context.Context, s *guarded, source changeset.ActorID) error {
	frame, payload, err := s.Receive()
	switch {
	case err != nil:
		return err
	case frame == frameRefused:
		return fmt.Errorf("it gives no state: %s", refusal(payload))
	case frame != frameBegin:
		return fmt.Errorf("frame of type %d in the place of the begin", frame)
	}
	m, err := decodeBegin(payload)
	if err != nil {
		return err
	}
	return l.cfg.Store.BeginFill(ctx, source, m.first, m.tables)
}

// Serve gives the state of this node to a peer that opened a stream, and returns
// when that has ended.
func (l *Loop) Serve(ctx context.Context, from changeset.ActorID, stream Stream) (err error) {
	s := guard(ctx, stream)
	defer func() { s.end(err) }()
	if n := l.serving.Add(1); n > maxServed {
		l.serving.Add(-1)
		return s.refuse(refusedBusy)
	}
	defer l.serving.Add(-1)
	if l.cfg.Store.Filling() != nil {
		return s.refuse(refusedFilling)
	}
	frame, payload, err := s.Receive()
	if err != nil {
		return err
	}
	if frame != frameRequest {
		return fmt.Errorf("transfer: frame of type %d from %v in the place of a request", frame, from)
	}
	m, err := decodeRequest(append([]byte(nil), payload...))
	if err != nil {
		return fmt.Errorf("transfer: request of %v: %w", from, err)
	}
	// What the first part shows is of this vector, or of later.
	vector := l.cfg.Store.Vector().AppliedOnly()
	if len(m.cursor) == 0 {
		m.cursor = nil
		b, err := begin{vector, l.cfg.Store.StateTables()}.append(nil)
		if err == nil {
			err = s.Send(frameBegin, b)
		}
		if err != nil {
			return err
		}
	} else {
		vector = nil // the peer's goal is an older one
	}
	return l.give(ctx, s, m, vector)
}

// give sends part after part. told is the vector that the peer knows, nil for none.
func (l *Loop) give(ctx context.Context, s *guarded, m request, told *versions.Vector) error {
	for cursor := m.cursor; ; {
		p, err := l.cfg.Store.ReadState(ctx, cursor, m.held)
		if err != nil {
			return errors.Join(err, s.refuse(refusedFailed))
		}
		if p.Block != nil {
			if err := s.Send(frameRows, changeset.Pack(p.Block)); err != nil {
				return err
			}
			l.given.Add(uint64(p.Rows))
		}
		if told == nil || !told.Equal(p.Vector) {
			b, err := p.Vector.AppendBinary(nil)
			if err == nil {
				err = s.Send(frameVector, b)
			}
			if err != nil {
				return err
			}
			told = p.Vector
		}
		if err := s.Send(frameNext, p.Next); err != nil {
			return err
		}
		if cursor = p.Next; cursor == nil {
			return s.CloseSend()
		}
	}
}

// refuse says why there is no state.
func (g *guarded) refuse(why byte) error {
	return errors.Join(g.Send(frameRefused, []byte{why}), g.CloseSend())
}
